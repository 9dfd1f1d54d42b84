"""Soundscapes with known events, mixed from clips over background.

After Scaper (J. Salamon et al., "Scaper: A Library for Soundscape Synthesis and
Augmentation", WASPAA 2017), whose last release needs SoX and is not kept up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otic_training.data.dataset import DatasetError
from otic_training.data.windows import sounding_part

_F32 = NDArray[np.float32]
_F64 = NDArray[np.float64]

SOUNDSCAPE_SECONDS = 300.0
_FADE_SECONDS = 0.01
_LEAD_SECONDS = 4.0
"""Background before the first sound, for a window to fill."""
_PAUSE_SECONDS = (1.0, 5.0)
_OVERLAP_SHARE = 0.15
_LONGEST_SECONDS = 30.0
_BACKGROUND_DBFS = (-60.0, -40.0)
_CROSSFADE_SECONDS = 0.1
_QUIETEST = 1e-6
_PEAK = 0.95


@dataclass(frozen=True)
class Sound:
    """Sound of a clip, ready for a soundscape.

    Attributes
    ----------
    label : str
    y : float32 [n]
        From where the sound rises to where it ends.
    """

    label: str
    y: _F32


@dataclass(frozen=True)
class Truth:
    """One sound of a soundscape: its label, its times in seconds, and its level."""

    label: str
    onset: float
    offset: float
    snr_db: float


@dataclass(frozen=True)
class Soundscape:
    """Samples ``y``, float32 [n], and the sounds in them, by onset."""

    name: str
    y: _F32
    truths: tuple[Truth, ...]


def as_sound(label: str, y: _F32, sr: int) -> Sound:
    """Cut out the stretch of a clip that carries its sound, 30 s at most, and fade its ends.

    Raises
    ------
    DatasetError
        If it is silent.
    """
    begin, end = sounding_part(y, sr)
    part = y[begin : min(end, begin + round(_LONGEST_SECONDS * sr))].copy()
    if not part.any():
        raise DatasetError(f"a clip of '{label}' is silent: leave it out")
    return Sound(label, faded(part, sr))


def faded(y: _F32, sr: int) -> _F32:
    """Fade the first and the last 10 ms, in place."""
    n = min(round(_FADE_SECONDS * sr), len(y) // 2)
    fade = np.linspace(0.0, 1.0, n, dtype=np.float32)
    y[:n] *= fade
    y[len(y) - n :] *= fade[::-1]
    return y


def mix(
    sounds: Sequence[Sound],
    backgrounds: Sequence[Sequence[_F32]],
    sr: int,
    snr_db: tuple[float, float],
    rng: np.random.Generator,
) -> Iterator[Soundscape]:
    """Mix every sound once, in random order, into soundscapes of five minutes.

    Sounds follow each other after 1 to 5 s; every seventh begins while the one
    before, of another label, is still heard. The signal-to-noise ratio is that of
    the sound's mean power to the background's, equally likely in decibels. The
    background is at -60 to -40 dBFS.

    Parameters
    ----------
    sounds : sequence of Sound
    backgrounds : sequence of sequence of float32 [n]
        Pools of recordings; they take turns, a pool a soundscape.
    sr : int
    snr_db : tuple of float
        The least and the most.
    rng : Generator

    Raises
    ------
    DatasetError
        If a background is silent.
    """
    n = round(SOUNDSCAPE_SECONDS * sr)
    waiting = [sounds[i] for i in rng.permutation(len(sounds))]
    count = 0
    while waiting:
        count += 1
        background = _background(backgrounds[(count - 1) % len(backgrounds)], n, sr, rng)
        y = background.copy()
        noise_power = float(np.mean(background.astype(np.float64) ** 2))
        if noise_power == 0.0:
            raise DatasetError("the background is silent: sounds can't be so much louder than it")
        truths: list[Truth] = []
        free = round(_LEAD_SECONDS * sr)
        while waiting:
            sound = waiting[0]
            start = free + round(rng.uniform(*_PAUSE_SECONDS) * sr)
            if truths and rng.random() < _OVERLAP_SHARE:
                early = round(rng.uniform(truths[-1].onset, truths[-1].offset) * sr)
                own = [t.offset for t in truths if t.label == sound.label]
                if early >= max(own, default=0.0) * sr:
                    start = early
            if start + len(sound.y) > n - sr:
                break
            waiting.pop(0)
            snr = float(rng.uniform(*snr_db))
            power = float(np.mean(sound.y.astype(np.float64) ** 2))
            y[start : start + len(sound.y)] += sound.y * np.float32(
                np.sqrt(noise_power * 10.0 ** (snr / 10.0) / power)
            )
            truths.append(Truth(sound.label, start / sr, (start + len(sound.y)) / sr, snr))
            free = max(free, start + len(sound.y))
        y *= np.float32(_PEAK / max(_PEAK, float(np.abs(y).max())))
        truths.sort(key=lambda truth: truth.onset)
        yield Soundscape(f"soundscape-{count}", y, tuple(truths))


def _background(
    pool: Sequence[_F32], n: int, sr: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Join recordings of a pool to ``n`` samples at the level of a room."""
    y = np.zeros(n, np.float64)
    fade = round(_CROSSFADE_SECONDS * sr)
    at = 0
    while at < n:
        whole = pool[int(rng.integers(len(pool)))]
        wanted = n - at + 2 * fade
        if len(whole) > wanted:  # an hour of a room: any part of it
            start = int(rng.integers(len(whole) - wanted + 1))
            whole = whole[start : start + wanted]
        part = whole.astype(np.float64)
        part = part / max(float(np.sqrt(np.mean(part**2))), _QUIETEST)
        slope = np.sqrt(np.linspace(0.0, 1.0, min(fade, len(part) // 2)))  # powers add up to 1
        part[: len(slope)] *= slope
        part[len(part) - len(slope) :] *= slope[::-1]
        y[at : at + len(part)] += part[: n - at]
        at += len(part) - len(slope)
    loudness = 10.0 ** (rng.uniform(*_BACKGROUND_DBFS) / 20.0)
    return np.asarray(y * loudness, np.float32)


def noises(sr: int, seconds: float, rng: np.random.Generator) -> list[_F32]:
    """Make a room, a fan, wind, a road and a pump at RMS 0.1, float32 [round(sr * seconds)] each.

    They are not made by :mod:`otic_training.data.backgrounds`, on purpose: training uses that.
    """
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
    """Make a factor around 1 that wanders at about ``hz``."""
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
