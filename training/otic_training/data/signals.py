"""Signals made here: beeping alarms, sirens, doorbells, car horns.

There are few free recordings of them. Each function makes some seconds of one kind, whose pitches,
rhythms and colours are drawn at random. A teacher may tell which of them sound like what they are
meant to be.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.signal
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Rng = np.random.Generator


def signal_of(label: str, sr: int, rng: Rng) -> F32:
    """Make one of ``SIGNALS``, float32, peak 1, mostly in a room that echoes a little."""
    y = SIGNALS[label](sr, rng)
    if rng.random() < 0.8:
        n = int(sr * 10.0 ** rng.uniform(-1.3, 0.0))
        ring = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n)
        wet = scipy.signal.fftconvolve(y, ring)[: len(y) + n // 2]
        wet *= rng.uniform(0.05, 0.6) * np.abs(y).max() / max(float(np.abs(wet).max()), 1e-9)
        wet[: len(y)] += y
        y = wet
    return np.asarray(y / max(float(np.abs(y).max()), 1e-9), np.float32)


def _at(starts: F64, make: Callable[[], F64], sr: int) -> F64:
    """Put something that is made each time at some seconds."""
    parts = [(int(sr * start), make()) for start in starts]
    y = np.zeros(max(at + len(part) for at, part in parts))
    for at, part in parts:
        y[at : at + len(part)] += part
    return y


def _rhythm(rng: Rng, period: float, jitter: float, seconds: float) -> F64:
    """Draw times about a period apart."""
    gaps = period * (1.0 + jitter * rng.uniform(-1.0, 1.0, int(seconds / period) + 1))
    return np.asarray(np.cumsum(gaps) - gaps[0], np.float64)


def _struck(hz: F64, decay: F64, height: F64, n: int, sr: int) -> F64:
    """Partials that die away; those over the band are left out."""
    t = np.arange(n) / sr
    y = np.zeros(n)
    for f, d, h in zip(hz, decay, height, strict=True):
        if f < 0.45 * sr:
            y += h * np.sin(2 * np.pi * f * t) * np.exp(-d * t)
    return y


def _tone(hz: F64, sr: int, harmonics: F64) -> F64:
    """Harmonics of a pitch that may change."""
    turns = np.cumsum(hz) / sr
    y = np.zeros(len(hz))
    for k, height in enumerate(harmonics, 1):
        if k * hz.max() < 0.45 * sr:
            y += height * np.sin(2 * np.pi * k * turns)
    return y


def _edges(y: F64, sr: int, seconds: float = 0.004) -> F64:
    n = min(len(y) // 2, max(1, int(sr * seconds)))
    y[:n] *= np.linspace(0.0, 1.0, n)
    y[len(y) - n :] *= np.linspace(1.0, 0.0, n)
    return y


def _harmonics(rng: Rng, most: int) -> F64:
    return rng.uniform(0.0, 1.0, most) / np.arange(1, most + 1) ** rng.uniform(0.3, 2.0)


def _alarm(sr: int, rng: Rng) -> F64:
    """Beeps of a clock, a smoke detector, a reversing lorry, an appliance."""
    hz = 10.0 ** rng.uniform(2.8, 3.6)
    on = 10.0 ** rng.uniform(-1.3, -0.1)
    gap, many = on * rng.uniform(0.5, 1.5), int(rng.integers(1, 6))
    pause = rng.choice((gap, rng.uniform(0.3, 1.5)))
    harmonics = np.r_[1.0, rng.uniform(0.0, 0.7, 5) * (rng.random(5) < 0.5)]
    second = hz * rng.choice((1.0, 1.0, 1.0, 1.25, 0.8, 1.5))
    parts = list[F64]()
    while sum(len(part) for part in parts) < 4 * sr:
        for i in range(many):
            pitch = np.full(int(sr * on), second if i % 2 else hz)
            parts += [_edges(_tone(pitch, sr, harmonics), sr), np.zeros(int(sr * gap))]
        parts.append(np.zeros(int(sr * pause)))
    return np.concatenate(parts)


def _siren(sr: int, rng: Rng) -> F64:
    """Wail, yelp or two tones of a car; the slow rise of a siren on a roof."""
    n = int(sr * rng.uniform(4.0, 7.0))
    t = np.arange(n) / sr
    kind = int(rng.integers(4))
    low = rng.uniform(350.0, 750.0)
    if kind == 0:
        low = rng.uniform(350.0, 600.0)
        step = rng.uniform(0.35, 0.8)
        hz = np.where((t // step) % 2 == 0, low, low * rng.uniform(1.2, 1.5))
    elif kind == 3:
        rise = rng.uniform(2.0, 5.0)
        hz = low * rng.uniform(0.4, 1.0) * (1.0 - 0.8 * np.exp(-t / rise))
    else:
        period = rng.uniform(0.2, 0.5) if kind == 1 else rng.uniform(1.5, 6.0)
        wave = 0.5 - 0.5 * np.cos(2 * np.pi * (t / period + rng.random()))
        if rng.random() < 0.5:
            wave = scipy.signal.sawtooth(2 * np.pi * (t / period + rng.random()), 0.6) / 2 + 0.5
        hz = low * (rng.uniform(1.8, 3.0)) ** wave
    y = np.tanh(rng.uniform(0.5, 4.0) * _tone(hz, sr, _harmonics(rng, 10)))
    swell = np.interp(t, np.linspace(0.0, t[-1], 4), 10.0 ** rng.uniform(-1.0, 0.0, 4))
    return _edges(y * swell, sr, 0.1)


def _doorbell(sr: int, rng: Rng) -> F64:
    """Ding-dong, some chimes, or a hammer on a small bell."""
    base = 10.0 ** rng.uniform(2.5, 3.0)
    ratios = np.array([1.0, 2.0, 2.76, 3.0, 4.0, 5.4])
    decay, height = rng.uniform(1.0, 5.0) * ratios**0.7, rng.uniform(0.1, 1.0, 6) / ratios
    if rng.random() < 0.3:
        times = _rhythm(rng, 1.0 / rng.uniform(14.0, 28.0), 0.02, rng.uniform(0.5, 2.0))
        return _at(times, lambda: _struck(3 * base * ratios, 4 * decay, height, sr // 2, sr), sr)
    notes = (1.0, 0.794) if rng.random() < 0.7 else tuple(rng.choice((1, 0.794, 0.667, 0.89), 4))
    gap, parts = rng.uniform(0.35, 0.9), iter(notes)
    return _at(
        np.arange(len(notes), dtype=np.float64) * gap,
        lambda: _struck(base * next(parts) * ratios, decay, height, 2 * sr, sr),
        sr,
    )


def _car_horn(sr: int, rng: Rng) -> F64:
    """Two reeds a third apart, blown once or more."""
    low = rng.uniform(300.0, 480.0)
    high = low * rng.uniform(1.15, 1.35)
    harmonics = np.arange(1, 25, dtype=np.float64) ** -rng.uniform(0.2, 1.0)

    def one() -> F64:
        n = int(sr * 10.0 ** rng.uniform(-0.8, 0.4))
        drift = 1.0 - 0.02 * np.exp(-np.arange(n) / (0.05 * sr))
        return _edges(
            _tone(low * drift, sr, harmonics) + _tone(high * drift, sr, harmonics), sr, 0.02
        )

    return _at(_rhythm(rng, rng.uniform(0.4, 2.0), 0.5, rng.uniform(0.5, 4.0)), one, sr)


SIGNALS: dict[str, Callable[[int, Rng], F64]] = {
    "alarm": _alarm,
    "siren": _siren,
    "doorbell": _doorbell,
    "car_horn": _car_horn,
}
"""What makes each kind."""
