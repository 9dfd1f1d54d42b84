"""Training windows, taken from clips with the code that takes them live."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otic.audio.sources import FileSource
from otic.features.frontend import Frontend
from otic.features.params import FeatureParams
from otic.types import Lost
from otic_training.data.dataset import Clip, DatasetError

_F32 = NDArray[np.float32]

ACTIVE_DB = 60.0
"""The active part of a clip reaches from the first to the last 10 ms within this of the loudest."""

SOUNDING_DB = 30.0
MAX_PAUSE_SECONDS = 1.0

_ROOM = 1.25
"""Windows that a recording of something else has at least, for a place in it to be drawn."""

MIN_ACTIVE_SHARE = 0.5
"""A window counts where this much of it is active."""


@dataclass(frozen=True)
class Windows:
    """Features of windows.

    Attributes
    ----------
    x : float32 [n, n_features]
    clip : int64 [n]
        Index of each window's clip.
    """

    x: _F32
    clip: NDArray[np.int64]


@dataclass(frozen=True)
class Recording:
    """A clip's samples, and what its file is.

    Attributes
    ----------
    y : float32 [n]
    rate, channels : int
        Of the file.
    notes : tuple of str
        What a person should know of it, a line each.
    """

    y: _F32
    rate: int
    channels: int
    notes: tuple[str, ...]


def read_clip(clip: Clip, sr: int) -> _F32:
    """Read a clip's samples as ``otic replay`` classifies them: see :func:`read_recording`."""
    return read_recording(clip, sr).y


def read_recording(clip: Clip, sr: int | None) -> Recording:
    """Read a clip as the live path does: mixed down, resampled with soxr; None: its own rate.

    Raises
    ------
    DatasetError
        If some of it is NaN, infinite or absurdly large.
    SourceError
        If it can't be read.
    """
    source = FileSource(str(clip.path), sr, 65536, clip.channel)
    try:
        chunks = list(source.chunks())
    finally:
        source.close()
    y = [chunk for chunk in chunks if chunk is not None and not isinstance(chunk, Lost)]
    if len(y) < len(chunks):
        raise DatasetError(
            f"'{clip.path}' holds NaN, infinite or absurdly large samples: leave it out"
        )
    rate, channels = source.format
    return Recording(np.concatenate(y), rate, channels, tuple(source.warnings()))


def active_part(y: _F32, sr: int) -> tuple[int, int]:
    """First and one past the last sample of the part that is not silence.

    Many clips of ESC-10 are a short sound and then digital silence; a model that
    is shown the silence learns the padding in place of the sound.
    """
    step = sr // 100
    if len(y) < step:
        return 0, len(y)
    frames = y[: len(y) // step * step].reshape(-1, step)
    level = np.sqrt(np.mean(frames.astype(np.float64) ** 2, axis=1))
    active = np.flatnonzero(level >= level.max(initial=0.0) * 10 ** (-ACTIVE_DB / 20))
    return int(active[0]) * step, int(active[-1] + 1) * step


def sounding_part(y: _F32, sr: int) -> tuple[int, int]:
    """First and one past the last sample of the stretch that carries most of a clip's sound.

    A stretch reaches over pauses of up to ``MAX_PAUSE_SECONDS``; what is softer
    than the loudest 10 ms by ``SOUNDING_DB`` is a pause.
    """
    step = sr // 100
    if len(y) < step:
        return 0, len(y)
    frames = y[: len(y) // step * step].reshape(-1, step).astype(np.float64)
    power = np.mean(frames**2, axis=1)
    sounding = np.flatnonzero(power >= power.max(initial=0.0) * 10 ** (-SOUNDING_DB / 10))
    breaks = np.flatnonzero(np.diff(sounding) * step > MAX_PAUSE_SECONDS * sr) + 1
    stretches = np.split(sounding, breaks)
    most = max(stretches, key=lambda stretch: float(power[stretch].sum()))
    return int(most[0]) * step, int(most[-1] + 1) * step


def with_room(y: _F32, params: FeatureParams) -> _F32:
    """The active part, with silence around it where it does not fill a window."""
    begin, end = active_part(y, params.sr)
    missing = max(0, round(_ROOM * params.window_samples) - (end - begin))
    return np.pad(y[begin:end], (missing // 2, missing - missing // 2))


def clip_windows(
    clips: list[_F32],
    params: FeatureParams,
    hop_frames: int,
    gains_db: tuple[float, ...] = (0.0,),
    rng: np.random.Generator | None = None,
) -> Windows:
    """Stream each clip through the front end and keep its windows.

    A window counts where at least half of it is active. Of a clip whose active
    part is too short for that, those windows count that hold the most of it.

    Parameters
    ----------
    clips : list of float32 [n]
        Each at least a window long.
    params : FeatureParams
    hop_frames : int
        Frames between two windows.
    gains_db : tuple of float
        One pass for each.
    rng : Generator, optional
        With it, every pass starts at a random sample of the first hop, or
        before a short active part.
    """
    frontend = Frontend(params)
    hop = hop_frames * params.hop_length
    x: list[_F32] = []
    index: list[int] = []
    for i, y in enumerate(clips):
        begin, end = active_part(y, params.sr)
        starts = min(hop, len(y) - params.window_samples + 1)
        if end - begin < params.window_samples:
            starts = min(starts, begin + 1)
        for gain_db in gains_db:
            skip = int(rng.integers(starts)) if rng else 0
            played = y[skip:] * np.float32(10 ** (gain_db / 20))
            found = _windows_of(frontend, played, hop, begin - skip, end - skip)
            x += found
            index += [i] * len(found)
    return Windows(np.stack(x), np.array(index, np.int64))


def _windows_of(frontend: Frontend, y: _F32, hop: int, begin: int, end: int) -> list[_F32]:
    """Features of the windows that are active enough; always at least one."""
    window = frontend.params.window_samples
    stops = range(window, len(y) + 1, hop)
    active = [min(stop, end) - max(stop - window, begin) for stop in stops]
    needed = min(MIN_ACTIVE_SHARE * window, max(active))
    frontend.reset()
    found = []
    position = 0
    for stop, n_active in zip(stops, active, strict=True):
        frontend.push(y[position:stop])
        position = stop
        if n_active >= needed:
            found.append(frontend.features())
    return found
