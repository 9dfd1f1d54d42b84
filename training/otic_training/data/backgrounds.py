"""Backgrounds: what a microphone picks up beside the sounds that have labels, and between them.

Silence, noises and hums are made here; recordings of sounds without a label may be added.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from otic.features.frontend import Frontend
from otic.features.params import FeatureParams

_F32 = NDArray[np.float32]

SILENCE_DB = 20.0
"""A sound is as loud as those of its frames that are within this of the loudest."""

_SILENT_SHARE, _FAINT_SHARE = 0.15, 0.25
_FAINTEST_DBFS, _FAINT_DBFS = -105.0, -70.0
_LOWEST_HZ = 20.0
_STRIPS, _STRIP_WINDOWS = 96, 3
_SILENT_WINDOWS, _RECORDED_SHARE = 0.1, 0.6
_KIND_SHARES = (0.35, 0.45, 0.2)
_FRAME = 1024
_QUIETEST = 1e-6  # the level of digital silence, -120 dB


class Backgrounds:
    """Windows of noise, hum and silence, and of recordings where there are any.

    Not thread safe: one thread owns an instance at a time.

    Parameters
    ----------
    window_samples, sr : int
    loudest_dbfs : float
        The loudest window on its own.
    negatives : sequence of float32 [n]
        Recordings of sounds that have no label, of any length.
    rng : Generator
        Makes the noises, once: to cut windows from a bank is 20 times quicker.
    """

    def __init__(
        self,
        window_samples: int,
        sr: int,
        loudest_dbfs: float,
        negatives: tuple[_F32, ...],
        rng: np.random.Generator,
    ) -> None:
        self._n, self._loudest_dbfs = window_samples, loudest_dbfs
        self._negatives = [y for y in negatives if level(y) > _QUIETEST]
        n = _STRIP_WINDOWS * window_samples
        kinds = rng.choice(3, _STRIPS, p=_KIND_SHARES)
        self._noises = [(noise, shaped, hum)[kind](n, sr, rng) for kind in kinds]

    def alone(self, rng: np.random.Generator) -> _F32:
        """Draw a window without any sound that has a label, float32 [window_samples]."""
        if rng.random() < _SILENT_WINDOWS:
            return np.zeros(self._n, np.float32)
        window = self.beside(rng)
        if self._negatives and rng.random() < 0.3:  # someone over a fan, say
            window = window + np.float32(10.0 ** rng.uniform(-1.5, 0.0)) * self.beside(rng)
        return window * np.float32(10.0 ** (rng.uniform(_FAINTEST_DBFS, self._loudest_dbfs) / 20.0))

    def beside(self, rng: np.random.Generator) -> _F32:
        """Draw a noise, a hum or a recording at level 1, float32 [window_samples]."""
        if self._negatives and rng.random() < _RECORDED_SHARE:
            y = self._cut(self._negatives[int(rng.integers(len(self._negatives)))], rng)
        else:
            y = self._cut(self._noises[int(rng.integers(_STRIPS))], rng)
        return y / np.float32(max(level(y), _QUIETEST))

    def _cut(self, y: _F32, rng: np.random.Generator) -> _F32:
        """Cut a window at a random place; put a shorter recording at a random place in silence."""
        if len(y) < self._n:
            before = int(rng.integers(self._n - len(y) + 1))
            return np.pad(y, (before, self._n - len(y) - before))
        start = int(rng.integers(len(y) - self._n + 1))
        return y[start : start + self._n]


def level(y: _F32) -> float:
    """RMS of those frames that are within ``SILENCE_DB`` of the loudest one."""
    n = min(_FRAME, len(y))
    frames = y[: len(y) // n * n].reshape(-1, n)
    power = np.einsum("ij,ij->i", frames, frames) / n
    return float(np.sqrt(power[power >= power.max() * 10.0 ** (-SILENCE_DB / 10.0)].mean()))


def background(n: int, sr: int, loudest_dbfs: float, rng: np.random.Generator) -> _F32:
    """Digital silence, or a faint or louder noise or hum, float32 [n]."""
    choice = rng.random()
    if choice < _SILENT_SHARE:
        return np.zeros(n, np.float32)
    if choice < _SILENT_SHARE + _FAINT_SHARE:
        level_dbfs = rng.uniform(_FAINTEST_DBFS, _FAINT_DBFS)
    else:
        level_dbfs = rng.uniform(_FAINT_DBFS, max(_FAINT_DBFS, loudest_dbfs))
    y = hum(n, sr, rng) if rng.random() < 0.2 else noise(n, sr, rng)
    return y * np.float32(10.0 ** (level_dbfs / 20.0))


def noise(n: int, sr: int, rng: np.random.Generator) -> _F32:
    """Noise whose power falls by 0 (white) to 6 dB (brown) an octave; RMS 1, float32 [n]."""
    size = 1 << (n - 1).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(size))
    frequencies = np.maximum(np.fft.rfftfreq(size, 1.0 / sr), _LOWEST_HZ)
    y = np.fft.irfft(spectrum * frequencies ** -rng.uniform(0.0, 1.0))[:n]
    return _unit(y)


def hum(n: int, sr: int, rng: np.random.Generator) -> _F32:
    """The mains at 50 or 60 Hz with harmonics, over a little noise; RMS 1, float32 [n]."""
    t = np.arange(n) / sr
    mains_hz = rng.choice([50.0, 60.0]) * rng.uniform(0.98, 1.02)
    y = 0.02 * rng.standard_normal(n)
    for harmonic in range(1, 8):
        turns = mains_hz * harmonic * t + rng.random()
        y += rng.random() * np.sin(2.0 * np.pi * turns)
    return _unit(y)


def shaped(n: int, sr: int, rng: np.random.Generator) -> _F32:
    """Noise of a random smooth spectrum that grows and fades: wind, roads, machines; RMS 1."""
    size = 1 << (n - 1).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(size))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(size, 1.0 / sr), _LOWEST_HZ) / _LOWEST_HZ)
    knots = np.arange(np.ceil(octaves[-1]) + 1.0)
    curve_db = rng.normal(0.0, 8.0, len(knots)) - rng.uniform(0.0, 6.0) * knots
    y = np.fft.irfft(spectrum * 10.0 ** (np.interp(octaves, knots, curve_db) / 20.0))[:n]
    changes = 2 + int(n / sr * 10.0 ** rng.uniform(-0.5, 1.0))
    level_db = rng.normal(0.0, rng.uniform(0.0, 6.0), changes)
    swell = np.interp(np.linspace(0.0, 1.0, n), np.linspace(0.0, 1.0, changes), level_db)
    return _unit(y * 10.0 ** (swell / 20.0))


def _unit(y: NDArray[np.float64]) -> _F32:
    """Scale to RMS 1."""
    return np.asarray(y / np.sqrt(np.mean(y * y)), np.float32)


def background_features(
    params: FeatureParams, n: int, loudest_dbfs: float, rng: np.random.Generator
) -> _F32:
    """Features of ``n`` windows of background, float32 [n, n_features]."""
    frontend = Frontend(params)
    x = np.zeros((n, params.n_features), np.float32)
    for row in x:
        frontend.reset()
        frontend.push(background(params.window_samples, params.sr, loudest_dbfs, rng))
        row[:] = frontend.features()
    return x
