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
    for label, make, level in _SOUNDS:
        sound = make(n, sr, rng)
        fade = np.minimum(1.0, np.minimum(np.arange(n), np.arange(n)[::-1]) / (0.02 * sr))
        y[at : at + n] = sound / np.abs(sound).max() * fade * level
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
    """Damped resonances, twice a second: tick, tock; each strikes twice, 20 ms apart."""
    y = np.zeros(n)
    t = np.arange(int(0.08 * sr)) / sr
    for i, at in enumerate(range(int(0.2 * sr), n - len(t) - int(0.02 * sr), sr // 2)):
        pitch = 2000.0 if i % 2 else 2500.0
        click = rng.standard_normal(len(t)) * np.exp(-t / 0.0015)
        for partial, sustain in ((1.0, 1.0), (1.53, 0.8), (2.31, 0.6), (3.1, 0.4)):
            ring = np.sin(2 * np.pi * pitch * partial * t + rng.uniform(0.0, 2 * np.pi))
            click += ring * np.exp(-t / (0.01 * sustain))
        for start, loudness in ((at, 1.0), (at + int(0.02 * sr), 0.5)):
            y[start : start + len(t)] += loudness * click
    return y


def _bursts(n: int, sr: int, rng: _Rng, rate: float, decay: float) -> _F64:
    """Short bursts of noise at random times, ``rate`` a second; now and then a loud one."""
    y = np.zeros(n)
    t = np.arange(int(0.02 * sr)) / sr
    for at in np.cumsum(rng.exponential(sr / rate, int(1.5 * rate * n / sr))).astype(int):
        if at + len(t) <= n:
            loudness = 10.0 ** -rng.exponential(0.5)
            y[at : at + len(t)] += loudness * np.exp(-t / decay) * rng.standard_normal(len(t))
    return y


def _rain(n: int, sr: int, rng: _Rng) -> _F64:
    """Steady bright noise, and drops."""
    steady = _shaped_noise(n, sr, rng, lambda f: np.sqrt(f / (f + 500.0)) / (1 + (f / 9000.0) ** 2))
    drops = _bursts(n, sr, rng, 300.0, 0.004)
    y: _F64 = steady / steady.std() + drops / drops.std()
    return y


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
    roar = _shaped_noise(n, sr, rng, lambda f: 1.0 / (1.0 + (f / 200.0) ** 1.2))
    y: _F64 = _bursts(n, sr, rng, 20.0, 0.003) + 0.03 * roar / roar.std()
    return y


def _helicopter(n: int, sr: int, rng: _Rng) -> _F64:
    """Blades: dull noise that beats 23 times a second; the hum of the engine, and wind."""
    t = np.arange(n) / sr
    beat = np.exp(-(23.4 * t % 1.0) / 0.43) + 0.08
    air = _shaped_noise(n, sr, rng, lambda f: (f / (f + 10.0)) ** 2 / (1.0 + (f / 460.0) ** 1.8))
    hum = np.zeros(n)
    for harmonic in range(1, 12):
        hum += np.sin(2 * np.pi * 182.0 * harmonic * t + harmonic**2) / harmonic
    wind = _shaped_noise(n, sr, rng, lambda f: 1.0 / (1.0 + (f / 2500.0) ** 1.5))
    blades = air / air.std() * beat / beat.std()
    y: _F64 = blades + 0.2 * hum / hum.std() + 0.2 * wind / wind.std()
    return y


def _crying_baby(n: int, sr: int, rng: _Rng) -> _F64:
    """Wails: a voice of many harmonics around 450 Hz that rises and falls, with breaths."""
    t = np.arange(n) / sr
    beat = (t % 0.97) / 0.97
    envelope = np.where(beat < 0.76, np.sin(np.pi * np.minimum(beat / 0.76, 1.0)) ** 0.5, 0.0)
    pitch = 390.0 + 112.0 * np.sin(np.pi * beat / 0.76) + 5.0 * np.sin(2 * np.pi * 6.0 * t)
    phase = np.cumsum(pitch) / sr
    voice = np.zeros(n)
    for harmonic in range(1, 20):
        frequency = harmonic * 450.0
        formant = sum(np.exp(-(((frequency - c) / w) ** 2)) for c, w in _FORMANTS)
        voice += (0.08 + formant) * np.sin(2 * np.pi * harmonic * phase)
    breath = _shaped_noise(n, sr, rng, lambda f: f / (f + 1000.0))
    y: _F64 = (voice + 0.05 * breath) * envelope
    return y


_FORMANTS = ((1300.0, 500.0), (3300.0, 700.0), (5000.0, 800.0))

_SOUNDS: tuple[tuple[str, Callable[[int, int, _Rng], _F64], float], ...] = (
    ("rain", _rain, 0.5),
    ("clock_tick", _clock_tick, 0.15),
    ("crackling_fire", _crackling_fire, 0.5),
    ("crying_baby", _crying_baby, 0.05),
    ("helicopter", _helicopter, 0.2),
    ("sea_waves", _sea_waves, 0.5),
)
"""Label, sound, and its highest sample."""
