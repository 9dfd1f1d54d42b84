"""Rooms, fans, wind and roads, made here: backgrounds of soundscapes.

On purpose not the generator of :mod:`otic_training.data.background`, which training uses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_F32 = NDArray[np.float32]
_F64 = NDArray[np.float64]


def noises(sr: int, seconds: float, rng: np.random.Generator) -> list[_F32]:
    """One of each kind at RMS 0.1, each float32 [round(sr * seconds)]."""
    n = round(sr * seconds)
    made = []
    for make in (_room, _fan, _wind, _road, _pump):
        y = make(n, sr, rng)
        made.append((0.1 * y / np.sqrt(np.mean(y * y))).astype(np.float32))
    return made


def _filtered(n: int, sr: int, low_hz: float, high_hz: float, rng: np.random.Generator) -> _F64:
    """White noise through a Butterworth band-pass of second order."""
    from scipy.signal import butter, sosfilt

    sos = butter(2, (low_hz, min(high_hz, 0.45 * sr)), "bandpass", fs=sr, output="sos")
    y: _F64 = sosfilt(sos, rng.standard_normal(n))
    return y


def _slow(n: int, sr: int, hz: float, depth: float, rng: np.random.Generator) -> _F64:
    """A factor around 1 that wanders at about ``hz``."""
    knots = rng.uniform(1.0 - depth, 1.0 + depth, 2 + int(2.0 * hz * n / sr))
    wander: _F64 = np.interp(np.linspace(0.0, 1.0, n), np.linspace(0.0, 1.0, len(knots)), knots)
    return wander


def _room(n: int, sr: int, rng: np.random.Generator) -> _F64:
    return _filtered(n, sr, 40.0, 400.0, rng) + 0.05 * rng.standard_normal(n)


def _fan(n: int, sr: int, rng: np.random.Generator) -> _F64:
    t = np.arange(n) / sr
    blade_hz = rng.uniform(60.0, 140.0)
    blades = sum(np.sin(2 * np.pi * k * blade_hz * t + k) / k for k in range(1, 5))
    return _filtered(n, sr, 80.0, 3000.0, rng) + 0.1 * np.asarray(blades)


def _wind(n: int, sr: int, rng: np.random.Generator) -> _F64:
    return _filtered(n, sr, 30.0, 300.0, rng) * _slow(n, sr, 0.3, 0.7, rng)


def _road(n: int, sr: int, rng: np.random.Generator) -> _F64:
    return _filtered(n, sr, 50.0, 1500.0, rng) * _slow(n, sr, 0.1, 0.5, rng)


def _pump(n: int, sr: int, rng: np.random.Generator) -> _F64:
    beat = 1.0 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.5, 2.0) * np.arange(n) / sr)
    return _filtered(n, sr, 100.0, 2000.0, rng) * beat  # slower than any rotor
