"""The sound of a marked event: which part of a stream, and how it is written and read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.errors import SinkError
from otic.sinks.clip_folder import Clip
from otic.sinks.clip_writer import write_sound

MARGIN_SECONDS = 1.0
"""What a clip holds from before the onset, and from after the offset."""

LONGEST_SECONDS = 30.0
"""What is later than this in a clip is left out."""

SUFFIX = "flac"

_I16 = NDArray[np.int16]


def wanted_sound(onset: float, offset: float | None) -> tuple[float, float]:
    """First and last second of the stream that a mark's clip should hold, as far as they exist.

    Parameters
    ----------
    onset : float
        Seconds of the stream.
    offset : float or None
        None: it is still on.
    """
    start = max(0.0, onset - MARGIN_SECONDS)
    longest = start + LONGEST_SECONDS
    return start, longest if offset is None else min(longest, offset + MARGIN_SECONDS)


def at_most(pieces: Sequence[_I16], n: int) -> tuple[_I16, ...]:
    """The first ``n`` samples of the pieces; empty where there is no sample."""
    kept = []
    for piece in pieces:
        if n > 0 and len(piece):
            kept.append(piece[:n])
            n -= len(kept[-1])
    return tuple(kept)


def read_part(
    path: Path, start: float = 0.0, stop: float | None = None
) -> tuple[int, NDArray[np.int16]]:
    """A part of a recording: its rate, and its samples, int16 [n], mono.

    Parameters
    ----------
    path : Path
        Any format that libsndfile reads; 16 bit is kept bit for bit.
    start : float
        Seconds of the file; what is beyond its ends is left out.
    stop : float, optional
        Likewise. Default: the end.

    Raises
    ------
    SinkError
        If it can't be read.
    """
    with _opened(path) as file:
        sr = int(file.samplerate)
        first = min(file.frames, max(0, round(start * sr)))
        last = file.frames if stop is None else min(file.frames, max(first, round(stop * sr)))
        file.seek(first)
        y = file.read(last - first, dtype="int16", always_2d=True)
    if y.shape[1] > 1:
        return sr, np.rint(y.mean(axis=1)).astype(np.int16)
    return sr, np.ascontiguousarray(y[:, 0])


def length_of(path: Path) -> tuple[int, int]:
    """Rate and number of samples of a recording. Raises as :func:`read_part`."""
    with _opened(path) as file:
        return int(file.samplerate), int(file.frames)


def recorded_from(path: Path) -> float | None:
    """The second of the stream with which a recording of events begins, from its comment.

    None where it does not say so: it is not one of :class:`otic.sinks.clips.ClipSink`.
    Raises as :func:`read_part`.
    """
    with _opened(path) as file:
        comment = str(file.comment)
    with suppress(ValueError, TypeError, KeyError):
        return float(json.loads(comment)["start"])
    return None


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            yield file
    except (OSError, RuntimeError) as error:
        raise SinkError(f"can't read the recording {str(path)!r}: {reason(error)}") from error


def write_new(folder: Path, clip: Clip) -> str:
    """Write a clip into a folder under a name that is free; the name.

    Beside, then renamed. Nobody else may give names in the folder meanwhile.

    Raises
    ------
    OSError, RuntimeError, AssertionError
        If it can't be written whole; then nothing is left of it.
    """
    name, count = f"{clip.name}.{SUFFIX}", 1
    while (folder / name).exists():
        count += 1
        name = f"{clip.name}-{count}.{SUFFIX}"
    unfinished = folder / f".{name}.part"
    try:
        unfinished.unlink(missing_ok=True)
        write_sound(unfinished, clip, SUFFIX, lambda: False)
        unfinished.rename(folder / name)
        sync_folder(folder)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return name


def sync_folder(folder: Path) -> None:
    """Have the folder's names outlive a power cut, where the file system can."""
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def reason(error: Exception) -> str:
    """Why something could not be read or written, on one line; libsndfile has its own words."""
    return (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
