"""Somebody's clips: read, cut into stretches that sound, and examined for faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import soxr
from numpy.typing import NDArray

from otic.features.params import FeatureParams
from otic_training.data.backgrounds import level
from otic_training.data.dataset import Clip, DatasetError
from otic_training.data.windows import active_part, read_clip
from otic_training.teaching.sketches import log_mel

F32 = NDArray[np.float32]

_LONGEST_SECONDS, _SHORTEST_SECONDS = 20.0, 0.1
_SOUNDING_DB, _PAUSE_SECONDS = 25.0, 0.5
_CLIPPED, _CLIPPED_SHARE = 0.999, 0.002
_QUIET_DBFS = -50.0
_SPEEDS = (0.94, 1.06)
_ALIKE, _START_SAMPLES = 0.9, 16_384


@dataclass(frozen=True)
class Sound:
    """A clip as a scene takes it.

    Attributes
    ----------
    clip : Clip
        Its fold is that of its recording.
    db : float32 [n_frames, n_mels]
        Log-mel frames at RMS 1.
    changed : tuple of float32 [n_frames, n_mels]
        The same, played slower and faster.
    start : float32 [16384]
        Samples from where it begins to sound.
    segments : tuple of (int, int)
        Stretches of frames that sound.
    seconds : float
        Sounding, together.
    remarks : tuple of str
        What is wrong with it: "clipped", "very quiet".
    """

    clip: Clip
    db: F32 = field(repr=False)
    changed: tuple[F32, ...] = field(repr=False)
    start: F32 = field(repr=False)
    segments: tuple[tuple[int, int], ...]
    seconds: float
    remarks: tuple[str, ...]


def read_sound(clip: Clip, p: FeatureParams, known: bool = True) -> Sound:
    """Read a clip; of what is ``known``, changed copies too.

    Raises
    ------
    DatasetError
        If there is no sound in it.
    SourceError
        If it can't be read.
    """
    y = read_clip(clip, p.sr)
    begin, end = active_part(y, p.sr)
    clipped, quiet = faults(y[begin:end])
    y = _most_of(y[begin:end], round(_LONGEST_SECONDS * p.sr)) if known else y[begin:end]
    loud = level(y) if len(y) else 0.0
    if len(y) < _SHORTEST_SECONDS * p.sr or loud < 1e-6:
        raise DatasetError(f"'{clip.path}' is silent or shorter than {_SHORTEST_SECONDS:g} s")
    remarks = ["clipped"] * clipped + ["very quiet"] * quiet
    y = np.pad(y / np.float32(loud), (0, max(0, p.n_fft - len(y))))
    db = log_mel(y, p)
    segments = sounding(db, p) if known else ((0, len(db)),)
    changed = tuple(log_mel(_played(y, speed, p.n_fft), p) for speed in _SPEEDS if known)
    seconds = sum(stop - first for first, stop in segments) * p.hop_length / p.sr
    start = y[segments[0][0] * p.hop_length :][:_START_SAMPLES]
    start = np.pad(start, (0, _START_SAMPLES - len(start)))
    return Sound(clip, db, changed, start, segments, seconds, tuple(remarks))


def faults(y: F32) -> tuple[bool, bool]:
    """Tell if samples in [-1, 1] are clipped, and if they are very quiet."""
    loudest = np.abs(y)
    clipped = float(np.sum(loudest >= _CLIPPED)) > _CLIPPED_SHARE * len(y)
    return clipped, float(loudest.max(initial=0.0)) < 10.0 ** (_QUIET_DBFS / 20.0)


def _most_of(y: F32, n: int) -> F32:
    """Take the ``n`` samples with the most power."""
    if len(y) <= n:
        return y
    sums = np.concatenate([[0.0], np.cumsum(y.astype(np.float64) ** 2)])
    first = int(np.argmax(sums[n:] - sums[:-n]))
    return y[first : first + n]


def _played(y: F32, speed: float, n_fft: int) -> F32:
    """Play samples so much faster, pitch and all."""
    changed: F32 = soxr.resample(y, speed, 1.0, quality="QQ").astype(np.float32)
    return np.pad(changed, (0, max(0, n_fft - len(changed))))


def sounding(db: F32, p: FeatureParams) -> tuple[tuple[int, int], ...]:
    """Stretches of frames within 25 dB of the loudest, over pauses of up to half a second."""
    power = np.power(10.0, db.astype(np.float64) / 10.0).sum(1)
    frames = np.flatnonzero(power >= power.max() * 10.0 ** (-_SOUNDING_DB / 10.0))
    pause = round(_PAUSE_SECONDS * p.sr / p.hop_length)
    runs = np.split(frames, np.flatnonzero(np.diff(frames) > pause) + 1)
    return tuple((int(run[0]), int(run[-1]) + 1) for run in runs)


def alike(sounds: Sequence[Sound]) -> list[tuple[int, int]]:
    """Find pairs that are one recording, encoded or cut twice: their samples run together."""
    starts = [s.start / np.float32(np.sqrt(np.sum(s.start**2)) + 1e-9) for s in sounds]
    spectra = [np.fft.rfft(y, 2 * _START_SAMPLES) for y in starts]
    return [
        (i, j)
        for j in range(len(sounds))
        for i in range(j)
        if float(np.abs(np.fft.irfft(spectra[i] * spectra[j].conj())).max()) >= _ALIKE
    ]
