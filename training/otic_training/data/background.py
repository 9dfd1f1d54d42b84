"""Sounds that are none of the labels: silence, noises and hums, made here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from otic.features.frontend import Frontend
from otic.features.params import FeatureParams

_F32 = NDArray[np.float32]

_SILENT_SHARE, _FAINT_SHARE = 0.15, 0.25
_FAINTEST_DBFS, _FAINT_DBFS = -105.0, -70.0
_LOWEST_HZ = 20.0


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
    """At RMS 1."""
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
