"""Recordings behind URLs such as ``s3://bucket/night/``, through fsspec (extra ``cloud``)."""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from otic.audio.folders import AUDIO_SUFFIXES, is_hidden_name
from otic.errors import ParameterError, RuntimeMissingError, printable

_URL = re.compile(r"[a-z][a-z0-9+.-]*://")
_PASSWORD = re.compile(r"[^/]*://[^/@]*:[^/@]*@")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")  # as backends call them

Entry = tuple[str, int, int]
"""A file: its URL, its bytes, and when it was last written, in nanoseconds since 1970 (0 where the
other side does not tell)."""


def is_remote(name: str) -> bool:
    """Tell a URL from a path."""
    return _URL.match(name) is not None


def list_remote(url: str) -> Iterator[Entry]:
    """List the audio files below a URL, those of a pattern, or the one file that it names.

    Raises
    ------
    OSError
        If it can't be looked into.
    ParameterError
        If the URL holds a password, or nothing reads such URLs.
    RuntimeMissingError
        If a package for such URLs is missing.
    """
    fs, top = _file_system(url)
    head = url.rstrip("/").removesuffix(top.rstrip("/"))  # what paths of this store begin with
    with _as_os_error():
        if glob.has_magic(url):
            found = sorted(fs.glob(top, detail=True).items())
            found = [item for item in found if item[1]["type"] == "file"]
            yield from ((head + path, *_state(fs, path, info)) for path, info in found)
        elif fs.isfile(top) and not fs.isdir(top):
            yield head + top, *_state(fs, top, fs.info(top))
        else:
            for _, folders, files in fs.walk(top, detail=True, on_error="raise"):
                seen = sorted(item for item in folders.items() if not is_hidden_name(item[0]))
                folders.clear()  # what is left here is walked through, in this order
                folders.update(seen)
                for name, info in sorted(files.items()):
                    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - of a URL
                    if suffix in AUDIO_SUFFIXES and not is_hidden_name(name):
                        yield head + info["name"], *_state(fs, info["name"], info)


def remote_state(url: str) -> tuple[int, int]:
    """Look up the bytes of a file and when it was last written; raises OSError if that fails."""
    fs, path = _file_system(url)
    with _as_os_error():
        return _state(fs, path, fs.info(path))


@contextmanager
def at_hand(name: str, folder: Path) -> Iterator[str]:
    """Give the path of a file; one behind a URL is fetched into a folder, and removed at the end.

    Raises
    ------
    OSError
        If it can't be fetched.
    """
    if not is_remote(name):
        yield name
        return
    fs, there = _file_system(name)
    try:
        with _as_os_error():
            folder.mkdir(parents=True)
            here = str(folder / there.rpartition("/")[2])
            fs.get_file(there, here)
        yield here
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _file_system(url: str) -> tuple[Any, str]:
    if _PASSWORD.match(url):
        raise ParameterError(
            "a URL with a password would be written into the tables: leave it out, and give it "
            "to fsspec by its configuration or the environment"
        )
    scheme = url.partition("://")[0]
    try:
        import fsspec

        return fsspec.core.url_to_fs(url)  # type: ignore[no-any-return]
    except ImportError as error:
        raise RuntimeMissingError(
            f"{scheme}:// needs a package that can't be imported ({error}): "
            "pip install 'otic[cloud]'"
        ) from error
    except ValueError as error:
        raise ParameterError(f"'{printable(url)}' can't be read: {error}") from error


def _state(fs: Any, path: str, info: Mapping[str, Any]) -> tuple[int, int]:
    if info.get("size") is None:  # of a page that lists files
        info = fs.info(path)
    times = (info[key] for key in _TIMES if info.get(key) is not None)
    return int(info.get("size") or 0), _nanoseconds(next(times, 0))


def _nanoseconds(time: Any) -> int:
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    return int((time.timestamp() if isinstance(time, datetime) else time) * 1e9)


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Give what stores raise, which is anything, as one kind of error."""
    try:
        yield
    except FileNotFoundError as error:
        raise OSError("there is no such file or folder") from error
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
