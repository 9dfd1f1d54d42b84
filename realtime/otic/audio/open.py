"""From what a person asked for to the sources that are opened."""

from __future__ import annotations

import argparse
import glob
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from otic.audio.folders import AUDIO_SUFFIXES, audio_files
from otic.audio.microphone import Microphone, NetworkMicrophone
from otic.audio.pcm import PcmSource
from otic.audio.recording_time import TimeRule
from otic.audio.sources import FileSource
from otic.config.secrets import read_secret
from otic.config.settings import InputSettings, Settings
from otic.config.stream_url import NOT_A_FILE, check_url, is_url, shown_url
from otic.errors import ParameterError, SourceError, UsageError, printable
from otic.types import Source

_STDIN = 0

OpenSource = Callable[[], Source]


def input_settings(
    args: argparse.Namespace, configured: Sequence[InputSettings] = ()
) -> tuple[InputSettings, ...] | None:
    """What ``--device``, ``--url``, ``--input-name`` and ``--channel`` say; None without any.

    Each may be given once for each microphone, in the same order; a single ``--channel``
    is everybody's. Without devices and URLs they are for the microphones that are ``configured``.

    Raises
    ------
    UsageError
        If their numbers do not fit.
    """
    inputs, names, channels = args.inputs or [], args.input_name or [], args.channel or []
    if not (inputs or names or channels):
        return None
    chosen = inputs or list(configured) or [InputSettings()]
    if len(channels) == 1:
        channels = channels * len(chosen)
    for option, given in (("--input-name", names), ("--channel", channels)):
        if given and len(given) != len(chosen):
            raise UsageError(
                f"{option} is given {len(given)} times for {len(chosen)} microphones: "
                "give one for each"
            )
    return tuple(
        replace(
            each,
            name=names[i] if names else each.name,
            channel=channels[i] if channels else each.channel,
        )
        for i, each in enumerate(chosen)
    )


def microphone(
    chosen: InputSettings, sr: int, block: int, silent_seconds: float = 0.0
) -> Microphone:
    """Open a device of this machine, or a stream; see :class:`otic.audio.microphone.Microphone`.

    Raises
    ------
    ParameterError
        If the file with the URL can't be read, or has none.
    DeviceError
        If the process that holds it can't be started.
    """
    url = chosen.url or read_secret(None, chosen.url_file, "inputs.url").strip()
    channel, name = chosen.channel, chosen.name
    if not url:
        device = chosen.device
        return Microphone(device, sr, block, channel, name=name, silent_seconds=silent_seconds)
    try:
        check_url(url)
    except ValueError as error:
        raise ParameterError(f"the URL in {chosen.url_file!r} {error}") from None
    return NetworkMicrophone(url, sr, block, channel, name=name, silent_seconds=silent_seconds)


def microphones(settings: Settings, sr: int) -> list[OpenSource]:
    """What opens each microphone."""

    def opener(chosen: InputSettings) -> OpenSource:
        return lambda: microphone(chosen, sr, settings.block, settings.silent_seconds)

    return [opener(chosen) for chosen in settings.inputs]


def find_recordings(names: Sequence[str]) -> list[str]:
    """The files that are meant: those named, those in folders, and those that match a pattern.

    Hidden files are left out. A name that is no folder and no pattern stays as it is, and so
    does ``-``.

    Raises
    ------
    SourceError
        If a folder has no audio files, or nothing matches a pattern.
    """
    found: list[str] = []
    for name in names:
        if is_url(name):
            raise SourceError(f"can't read '{shown_url(name)}': {NOT_A_FILE}")
        if name != "-" and os.path.isdir(name):  # noqa: PTH112 - false where it can't tell
            inside = [str(path) for path in audio_files(Path(name))]
            if not inside:
                raise SourceError(f"'{name}' has no audio files ({', '.join(AUDIO_SUFFIXES)})")
            found += inside
        elif glob.has_magic(name) and not os.path.lexists(name):
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - of any path
            if not matches:
                raise SourceError(f"no file matches '{name}'")
            found += find_recordings(matches)
        else:
            found.append(name)
    return found


def recordings(args: argparse.Namespace, sr: int, block: int, rule: TimeRule) -> list[OpenSource]:
    """What opens each file, or standard input."""

    def opener(path: str, name: str) -> OpenSource:
        def open_file() -> FileSource:
            source = FileSource(path, sr, block, args.channel)
            source.name = name
            began = rule.began(path)
            source.recorded = None if began is None else began.isoformat()
            return source

        if path == "-":
            return lambda: PcmSource(_STDIN, args.rate, args.channels, sr, block, args.channel)
        return open_file

    return [opener(*each) for each in zip(args.files, source_names(args.files), strict=True)]


def source_names(files: Sequence[str]) -> list[str]:
    """Name the source of each file: its own name, after folders if other files have the same name.

    As many folders are named as tell the files apart: ``a/x.wav`` and ``b/x.wav``. A file that
    occurs twice has one name.
    """
    paths = {file: Path(os.path.abspath(file)).parts for file in files if file != "-"}  # noqa: PTH100
    alike: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for parts in paths.values():
        alike[printable(parts[-1])].add(parts)
    names: dict[tuple[str, ...], str] = {}
    for group in alike.values():
        for n in range(1, max(map(len, group)) + 1):
            found = {parts: printable(str(Path(*parts[-n:]))) for parts in group}
            if len(set(found.values())) == len(group):
                break
        else:  # they differ only in what can't be shown
            found = {parts: f"{found[parts]} {i}" for i, parts in enumerate(sorted(group), 1)}
        names |= found
    return ["stdin" if file == "-" else names[paths[file]] for file in files]


def open_all(
    openers: Sequence[OpenSource], require_devices: bool, give_up: Callable[[], bool]
) -> list[Source]:
    """Open them all, or none; names that occur twice get a number.

    Parameters
    ----------
    openers : sequence of callable
    require_devices : bool
        Whether a microphone that is not there is an error; else it is waited for later.
    give_up : callable
        Asked while a microphone is opened: True ends it early.

    Raises
    ------
    SourceError
        The first that can't be opened.
    """
    sources: list[Source] = []
    try:
        for open_source in openers:
            sources.append(open_source())  # noqa: PERF401 - those before a failure are closed
        for source in sources:  # begun all, so that they open at the same time
            if require_devices and isinstance(source, Microphone):
                source.await_opening(give_up)
    except BaseException:
        for source in sources:
            source.close()
        raise
    taken: set[str] = set()
    for source in sources:
        number, name = 2, source.name
        while source.name in taken:
            source.name = f"{name} {number}"
            number += 1
        taken.add(source.name)
    return sources
