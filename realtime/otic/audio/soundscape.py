"""A short synthetic soundscape: six sounds made of noise, pulses and tones, no recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_F64 = NDArray[Any]  # float64
_Rng = np.random.Generator

_SOUND_SECONDS = 5.0
_PAUSE_SECONDS = 2.0
_ROOM_DBFS = -85.0  # the faint noise of the room, under everything


@dataclass(frozen=True)
class PlannedSound:
    """What is synthesised, and when."""

    label: str
    onset_seconds: float
    offset_seconds: float


def synthesise(sr: int, seed: int = 0) -> tuple[NDArray[np.float32], list[PlannedSound]]:
    """Six sounds of five seconds each, with pauses between.

    Parameters
    ----------
    sr : int
        Sampling rate in Hz.
    seed : int
        Of the noise.

    Returns
    -------
    y : float32 [n]
        In [-1, 1].
    plan : list of PlannedSound

    Examples
    --------
    >>> y, plan = synthesise(sr=22050)
    >>> len(y) / 22050
    44.0
    >>> plan[0]
    PlannedSound(label='rain', onset_seconds=2.0, offset_seconds=7.0)
    """
    rng = np.random.default_rng(seed)
    n, pause = round(_SOUND_SECONDS * sr), round(_PAUSE_SECONDS * sr)
    y = np.zeros(pause + len(_SOUNDS) * (n + pause))
    plan = []
    at = pause
    for label, make in _SOUNDS:
        sound = make(n, sr, rng)
        fade = np.minimum(1.0, np.minimum(np.arange(n), np.arange(n)[::-1]) / (0.02 * sr))
        y[at : at + n] = sound / np.abs(sound).max() * fade * 0.5
        plan.append(PlannedSound(label, at / sr, (at + n) / sr))
        at += n + pause
    y += 10 ** (_ROOM_DBFS / 20) * rng.standard_normal(len(y))
    return y.astype(np.float32), plan


def _shaped_noise(n: int, sr: int, rng: _Rng, gain: Callable[[NDArray[Any]], NDArray[Any]]) -> _F64:
    """White noise through a zero-phase filter: ``gain`` takes frequencies in Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    filtered: _F64 = np.fft.irfft(spectrum * gain(np.fft.rfftfreq(n, 1.0 / sr)), n)
    return filtered


def _clock_tick(n: int, sr: int, rng: _Rng) -> _F64:
    """Two short damped resonances a second apart by a half: tick, tock."""
    y = np.zeros(n)
    t = np.arange(int(0.03 * sr)) / sr
    for i, at in enumerate(range(int(0.2 * sr), n - len(t), sr // 2)):
        pitch = 3200.0 if i % 2 else 2700.0
        click = np.sin(2 * np.pi * pitch * t) + 0.6 * np.sin(2 * np.pi * 2.31 * pitch * t)
        y[at : at + len(t)] += (click + 0.5 * rng.standard_normal(len(t))) * np.exp(-t / 0.004)
    return y


def _rain(n: int, sr: int, rng: _Rng) -> _F64:
    """Steady bright noise."""
    return _shaped_noise(n, sr, rng, lambda f: np.sqrt(f / (f + 500.0)) / (1 + (f / 9000.0) ** 2))


def _sea_waves(n: int, sr: int, rng: _Rng) -> _F64:
    """Noise that swells and falls, twice, and grows duller as it falls."""
    t = np.arange(n) / sr
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * t / 2.5)
    dull = _shaped_noise(n, sr, rng, lambda f: (f / (f + 150.0)) ** 2 / (1.0 + (f / 900.0) ** 1.6))
    bright = _shaped_noise(n, sr, rng, lambda f: 1.0 / (1.0 + (f / 2000.0) ** 2.5))
    y: _F64 = dull / dull.std() * (0.3 + swell) + 0.4 * bright / bright.std() * swell**2
    return y


def _crackling_fire(n: int, sr: int, rng: _Rng) -> _F64:
    """Short cracks, now and then a loud one, over a dull roar."""
    y = np.zeros(n)
    length = int(0.018 * sr)
    decay = np.exp(-np.arange(length) / (0.003 * sr))
    for at in np.cumsum(rng.exponential(sr / 20.0, n // (sr // 60))).astype(int):
        if at + length <= n:
            loudness = 10.0 ** -rng.exponential(0.5)
            y[at : at + length] += loudness * decay * rng.standard_normal(length)
    roar = _shaped_noise(n, sr, rng, lambda f: 1.0 / (1.0 + (f / 200.0) ** 1.2))
    burning: _F64 = y + 0.03 * roar / roar.std()
    return burning


def _chainsaw(n: int, sr: int, rng: _Rng) -> _F64:
    """A two-stroke engine: a buzz of many harmonics that revs up and down, and noise."""
    t = np.arange(n) / sr
    rev = 0.5 - 0.5 * np.cos(2 * np.pi * t / 1.7)
    phase = np.cumsum(100.0 + 70.0 * rev) / sr
    buzz = np.zeros(n)
    for harmonic in range(1, 60):
        buzz += np.cos(2 * np.pi * harmonic * phase) / harmonic**0.3
    noise = _shaped_noise(n, sr, rng, lambda f: 1.0 / (1.0 + (f / 3000.0) ** 1.5))
    y: _F64 = (buzz / buzz.std() + 0.3 * noise / noise.std()) * (0.2 + rev)
    return y


def _crying_baby(n: int, sr: int, rng: _Rng) -> _F64:
    """Wails: a voice of many harmonics around 450 Hz that rises and falls, with breaths."""
    t = np.arange(n) / sr
    beat = (t % 1.1) / 1.1
    envelope = np.where(beat < 0.75, np.sin(np.pi * np.minimum(beat / 0.75, 1.0)) ** 0.5, 0.0)
    pitch = 400.0 + 120.0 * np.sin(np.pi * beat / 0.75) + 12.0 * np.sin(2 * np.pi * 6.0 * t)
    phase = np.cumsum(pitch) / sr
    voice = np.zeros(n)
    for harmonic in range(1, 16):
        frequency = harmonic * 460.0
        formant = sum(np.exp(-(((frequency - c) / w) ** 2)) for c, w in _FORMANTS)
        voice += (0.08 + formant) * np.sin(2 * np.pi * harmonic * phase)
    breath = _shaped_noise(n, sr, rng, lambda f: f / (f + 1000.0))
    y: _F64 = (voice + 0.02 * breath) * envelope
    return y


_FORMANTS = ((1100.0, 500.0), (2800.0, 700.0), (4200.0, 800.0))

_SOUNDS: tuple[tuple[str, Callable[[int, int, _Rng], _F64]], ...] = (
    ("rain", _rain),
    ("clock_tick", _clock_tick),
    ("crackling_fire", _crackling_fire),
    ("crying_baby", _crying_baby),
    ("chainsaw", _chainsaw),
    ("sea_waves", _sea_waves),
)
