"""The recordings that a person means: files, folders and patterns, one after the other."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from otic.audio.folders import AUDIO_SUFFIXES, is_hidden_name
from otic.scan.remote import is_remote, list_remote


@dataclass(frozen=True, slots=True)
class Recording:
    """A file to classify, and its state when it was found.

    Attributes
    ----------
    path : str
        Absolute; the folder that was named has no symbolic links in it. Or a URL.
    size : int
        Bytes.
    modified_ns : int
        When it was last written, in nanoseconds since 1970.
    """

    path: str
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Problem:
    """What can't be looked into, and why."""

    path: str
    reason: str


def find(names: Sequence[str]) -> Iterator[Recording | Problem]:
    """Find the audio files that names mean, in the same order each time.

    A folder means all audio files below it that are not hidden; links to folders are followed,
    and no folder is entered twice. A file that is named is taken whatever it is called. Memory
    is taken for the names of one folder at a time, for the folders entered, and for what
    patterns match.

    Parameters
    ----------
    names : sequence of str
        Files, folders, patterns such as ``night/**/*.wav``, and URLs of all these, see
        :mod:`otic.scan.remote`. Of several URLs memory is taken for all that they name.

    Yields
    ------
    Recording or Problem

    Raises
    ------
    ParameterError, RuntimeMissingError
        If URLs are of a kind that can't be read.
    """
    roots: set[str] = set()
    urls = sorted({name for name in names if is_remote(name)})
    yield from _found_at(urls)
    for name in names:
        if name in urls:
            continue
        if not glob.has_magic(name) or os.path.lexists(name):
            roots.add(os.path.realpath(name))
            continue
        match = None
        for match in glob.iglob(name, recursive=True):  # noqa: PTH207 - of any path
            roots.add(os.path.realpath(match))
        if match is None:
            yield Problem(name, "no file matches this pattern")
    entered: set[tuple[int, int]] = set()
    for root in sorted(roots):
        if any(above in roots for above in _folders_above(root)):
            continue  # its folder is named, too
        try:
            state = os.stat(root)  # noqa: PTH116
        except OSError as error:
            yield Problem(root, _reason(error))
            continue
        if not stat.S_ISDIR(state.st_mode):
            yield _as_found(root, state)
            continue
        count = 0
        for found in _walk(root, state, entered):
            count += 1
            yield found
        if not count:
            yield Problem(root, f"it has no audio files ({', '.join(AUDIO_SUFFIXES)})")


def _found_at(urls: Sequence[str]) -> Iterator[Recording | Problem]:
    seen: set[str] = set()
    for url in urls:
        count = 0
        try:
            for entry in list_remote(url):
                count += 1
                if entry[0] not in seen:
                    yield Recording(*entry)
                if len(urls) > 1:
                    seen.add(entry[0])
        except OSError as error:
            yield Problem(url, _reason(error))
        else:
            if not count:
                yield Problem(url, "there are no audio files")


def _walk(
    root: str, state: os.stat_result, entered: set[tuple[int, int]]
) -> Iterator[Recording | Problem]:
    """Walk through a folder: its files by name, then its folders by name."""
    waiting = [(root, _identity(state), frozenset[tuple[int, int]]())]
    while waiting:
        folder, identity, above = waiting.pop()
        if identity in above:
            yield Problem(folder, "it leads back into a folder above it: a loop of links")
            continue
        if identity in entered:
            continue
        entered.add(identity)
        try:
            files, folders = _names(folder)
        except OSError as error:
            yield Problem(folder, _reason(error))
            continue
        inside, below = above | {identity}, []
        for name in [*files, *folders]:
            path = os.path.join(folder, name)  # noqa: PTH118 - of a million files
            try:
                found = os.stat(path)  # noqa: PTH116
            except OSError as error:
                yield Problem(path, _reason(error))
                continue
            if stat.S_ISDIR(found.st_mode):
                below.append((path, _identity(found), inside))
            else:
                yield _as_found(path, found)
        waiting += reversed(below)


def _names(folder: str) -> tuple[list[str], list[str]]:
    """Give the names of the audio files and of the folders in a folder, each sorted."""
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden_name(entry.name):
                continue
            try:
                is_folder = entry.is_dir()
            except OSError:  # such as a link to itself; opening it gives the reason
                is_folder = True
            if is_folder:
                folders.append(entry.name)
            elif os.path.splitext(entry.name)[1].lower() in AUDIO_SUFFIXES:  # noqa: PTH122
                files.append(entry.name)
    return sorted(files), sorted(folders)


def _as_found(path: str, state: os.stat_result) -> Recording | Problem:
    if not stat.S_ISREG(state.st_mode):
        return Problem(path, "it is no file")
    return Recording(path, state.st_size, state.st_mtime_ns)


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _folders_above(path: str) -> Iterator[str]:
    while (above := os.path.dirname(path)) != path:  # noqa: PTH120
        yield above
        path = above


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
