"""Sounds made here, of endless variety: calls, knocks, ticks, motors, hiss.

Nobody says what they are. They are for learning from a teacher that says what it makes of
them, and so for the many sounds of which no free recording is at hand.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.signal
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

Rng = np.random.Generator


def made(sr: int, rng: Rng) -> F32:
    """A sound of 0.1 to 6 s, float32, peak 1."""
    make = _KINDS[int(rng.integers(len(_KINDS)))]
    y = make(sr, rng)
    return np.asarray(y / max(float(np.abs(y).max()), 1e-9), np.float32)


def _curve(n: int, knots: F64) -> F64:
    """``n`` values that go smoothly through knots."""
    k = max(2, len(knots))
    at = np.linspace(0.0, k - 1.0, n)
    i = np.minimum(at.astype(np.int64), k - 2)
    t = at - i
    t = t * t * (3.0 - 2.0 * t)
    smooth: F64 = knots[i] * (1.0 - t) + knots[i + 1] * t
    return smooth


def _envelope(n: int, sr: int, rng: Rng) -> F64:
    """Up within 2 to 80 ms, then down by some power of what is left."""
    rise = min(n, max(2, int(sr * 10.0 ** rng.uniform(-2.7, -1.1))))
    e = np.linspace(1.0, 0.0, n) ** rng.uniform(0.2, 3.0)
    e[:rise] *= np.linspace(0.0, 1.0, rise)
    return e


def _formants(y: F64, sr: int, rng: Rng) -> F64:
    """Sound through one to four resonances beside each other, as of a throat or a box."""
    out = 0.1 * y
    for _ in range(int(rng.integers(1, 5))):
        hz = min(10.0 ** rng.uniform(2.4, 3.75), 0.4 * sr)
        b, a = scipy.signal.iirpeak(hz, rng.uniform(2.0, 15.0), fs=sr)
        out = out + rng.uniform(0.2, 1.0) * scipy.signal.lfilter(b, a, y)
    return np.asarray(out, np.float64)


def _repeated(one: Callable[[], F64], sr: int, rng: Rng, most: int) -> F64:
    """Some of a sound after each other, regularly or not."""
    period, jitter = sr * 10.0 ** rng.uniform(-0.9, 0.2), rng.uniform(0.0, 0.5)
    parts, at, starts = [], 0.0, []
    for _ in range(int(rng.integers(1, most + 1))):
        parts.append(one() * rng.uniform(0.5, 1.0))
        starts.append(int(at))
        at += period * (1.0 + jitter * rng.uniform(-1.0, 1.0))
    y = np.zeros(max(s + len(p) for s, p in zip(starts, parts, strict=True)))
    for start, part in zip(starts, parts, strict=True):
        y[start : start + len(part)] += part
    return y[: 6 * sr]


def _call(sr: int, rng: Rng) -> F64:
    """A voice of some animal: harmonics whose pitch wanders, some breath, resonances."""
    middle, bend = 10.0 ** rng.uniform(1.8, 3.4), rng.uniform(0.0, 0.7)
    tilt, breath, rough = rng.uniform(0.3, 2.0), rng.uniform(0.0, 0.8), rng.uniform(0.0, 0.6)
    length = 10.0 ** rng.uniform(-1.0, 0.2)
    shape = rng.normal(0.0, 0.5, int(rng.integers(2, 6)))

    def one() -> F64:
        n = int(sr * length * rng.uniform(0.7, 1.4))
        pitch = middle * 2.0 ** (bend * _curve(n, shape + rng.normal(0.0, 0.1, len(shape))))
        pitch *= 1.0 + 0.02 * rough * rng.standard_normal() * np.sin(
            2 * np.pi * rng.uniform(4.0, 60.0) * np.arange(n) / sr
        )
        turns = np.cumsum(pitch) / sr
        y = np.zeros(n)
        for k in range(1, min(30, int(0.45 * sr / pitch.max())) + 1):
            y += k**-tilt * np.sin(2 * np.pi * k * turns)
        y += breath * rng.standard_normal(n) * np.abs(_curve(n, rng.normal(0.5, 0.5, 6)))
        y *= 1.0 + rough * np.sin(2 * np.pi * rng.uniform(15.0, 90.0) * np.arange(n) / sr)
        return y * _envelope(n, sr, rng)

    return _formants(_repeated(one, sr, rng, 6), sr, rng)


def _burst(sr: int, rng: Rng) -> F64:
    """Breath, a sneeze, a splash: noise whose colour changes."""
    length = 10.0 ** rng.uniform(-1.2, 0.3)

    def one() -> F64:
        n = int(sr * length * rng.uniform(0.7, 1.4)) + 8
        a = _formants(rng.standard_normal(n), sr, rng)
        b = _formants(rng.standard_normal(n), sr, rng)
        share = np.clip(_curve(n, rng.uniform(-0.5, 1.5, 3)), 0.0, 1.0)
        mixed = a * share + b * (1.0 - share)
        return mixed * _envelope(n, sr, rng)

    return _repeated(one, sr, rng, 4)


def _knock(sr: int, rng: Rng) -> F64:
    """Something struck: partials that die away, each at its own pace, after a click."""
    n = int(sr * 10.0 ** rng.uniform(-1.3, 0.0)) + 8
    t = np.arange(n) / sr
    hz = 10.0 ** rng.uniform(1.9, 3.9, int(rng.integers(1, 9)))
    decay = 10.0 ** rng.uniform(0.5, 2.5, len(hz))
    height = rng.uniform(0.1, 1.0, len(hz))
    noisy, sharp = rng.uniform(0.0, 1.0), 10.0 ** rng.uniform(1.5, 3.0)

    def one() -> F64:
        y = np.sum([h * np.sin(2 * np.pi * f * t) * np.exp(-d * t)
                    for f, d, h in zip(hz, decay, height, strict=True) if f < 0.45 * sr]
                   or [np.zeros(n)], axis=0)  # fmt: skip
        y = y + noisy * rng.standard_normal(n) * np.exp(-sharp * t)
        return np.asarray(y, np.float64)

    return _repeated(one, sr, rng, 12)


def _motor(sr: int, rng: Rng) -> F64:
    """An engine, a saw, rotor blades: pulses through resonances, the speed not quite steady."""
    n = int(sr * rng.uniform(0.8, 6.0))
    hz = 10.0 ** rng.uniform(0.8, 2.4) * 2.0 ** _curve(n, rng.normal(0.0, rng.uniform(0.0, 0.5), 5))
    turns = np.cumsum(hz) / sr
    phase = turns % 1.0
    pulse = np.exp(-phase * rng.uniform(2.0, 30.0))
    y = pulse * (rng.uniform(0.0, 1.0) * rng.standard_normal(n) + rng.uniform(0.1, 1.0))
    y = y + rng.uniform(0.0, 0.4) * rng.standard_normal(n)
    swell = np.abs(_curve(n, rng.uniform(0.3, 1.0, 4)))
    return _formants(y - y.mean(), sr, rng) * swell


def _crackle(sr: int, rng: Rng) -> F64:
    """Fire, rain, gravel: clicks at random, few or many, loud and soft, each with its ring."""
    n = int(sr * rng.uniform(0.8, 6.0))
    rate = 10.0 ** rng.uniform(0.3, 3.3) * np.abs(_curve(n, rng.uniform(0.2, 1.0, 5)))
    clicks = (rng.random(n) < rate / sr) * rng.exponential(1.0, n) ** rng.uniform(1.0, 3.0)
    clicks = clicks * rng.choice((-1.0, 1.0), n)
    decay = np.exp(-1.0 / (sr * 10.0 ** rng.uniform(-3.7, -2.0)))
    y = scipy.signal.lfilter([1.0], [1.0, -decay], clicks)
    hiss = rng.uniform(0.0, 0.3) * rng.standard_normal(n) * float(np.std(y) + 1e-9)
    return _formants(np.diff(y, prepend=0.0) + hiss, sr, rng)


def _wash(sr: int, rng: Rng) -> F64:
    """Waves, wind, a road: noise that swells and changes its colour slowly."""
    n = int(sr * rng.uniform(2.0, 6.0))
    knots = int(rng.integers(2, 8))
    parts = [
        _formants(rng.standard_normal(n), sr, rng) * np.abs(_curve(n, rng.normal(0.0, 1.0, knots)))
        for _ in range(2)
    ]
    return np.asarray(parts[0] + parts[1], np.float64)


def _tones(sr: int, rng: Rng) -> F64:
    """Beeps, bells, chords: steady partials, steps of pitch."""
    length = 10.0 ** rng.uniform(-1.2, 0.0)
    odd = rng.random() < 0.3

    def one() -> F64:
        n = int(sr * length) + 8
        t, base = np.arange(n) / sr, 10.0 ** rng.uniform(2.0, 3.5)
        y = np.zeros(n)
        for k in range(1, int(rng.integers(2, 8))):
            hz = base * (k if not odd else k ** rng.uniform(1.0, 1.6))
            if hz < 0.45 * sr:
                y += rng.uniform(0.1, 1.0) * np.sin(2 * np.pi * hz * t) * np.exp(-k * t)
        return y * _envelope(n, sr, rng)

    return _repeated(one, sr, rng, 8)


_KINDS = (_call, _call, _burst, _burst, _knock, _motor, _crackle, _wash, _tones)


def machine(sr: int, seconds: float, rng: Rng) -> tuple[F32, str]:
    """A machine that runs all the time, float32, peak 1, and what it is.

    No blade passes 8 to 40 times a second: that would be a helicopter.
    """
    make = _MACHINES[int(rng.integers(len(_MACHINES)))]
    y = make(int(sr * seconds), sr, rng)
    return np.asarray(y / max(float(np.abs(y).max()), 1e-9), np.float32), make.__name__.strip("_")


def _partials(turns: F64, most: int, rng: Rng) -> F64:
    """Harmonics of a phase in turns, each of a random height."""
    tilt = rng.uniform(0.5, 2.0)
    y = np.zeros(len(turns))
    for k in range(1, int(rng.integers(2, most + 1))):
        y += rng.uniform(0.0, 1.0) * k**-tilt * np.sin(2 * np.pi * (k * turns + rng.random()))
    return y


def _hum(n: int, sr: int, rng: Rng) -> F64:
    """Mains in a transformer, a fridge, a loudspeaker; it may come in slow beats."""
    hz = float(rng.choice((50.0, 60.0, 100.0, 120.0))) * rng.uniform(0.995, 1.005)
    t = np.arange(n) / sr
    beat = 1.0 + rng.uniform(0.0, 0.5) * np.sin(2 * np.pi * rng.uniform(0.2, 4.0) * t)
    hiss = 10.0 ** rng.uniform(-3.0, -1.0) * rng.standard_normal(n)
    return _formants(_partials(hz * t, 30, rng) * beat + hiss, sr, rng)


def _fan(n: int, sr: int, rng: Rng) -> F64:
    """Air past blades: coloured noise that each of them modulates, and their tone."""
    rate = 10.0 ** (rng.uniform(1.6, 2.7) if rng.random() < 0.8 else rng.uniform(-0.3, 0.9))
    turns = np.cumsum(rate * 2.0 ** (0.03 * _curve(n, rng.standard_normal(6)))) / sr
    air = _formants(rng.standard_normal(n), sr, rng)
    swell = 1.0 + rng.uniform(0.0, 0.8) * np.sin(2 * np.pi * turns)
    tone = rng.uniform(0.0, 0.5) * _partials(turns, 8, rng) if rate > 40.0 else 0.0
    return np.asarray(air * swell / float(np.std(air)) + tone, np.float64)


def _sweep(n: int, sr: int, rng: Rng) -> F64:
    """A motor or a siren that goes up and down: tones whose pitch wanders far."""
    far = rng.uniform(0.2, 1.5) * _curve(n, rng.standard_normal(int(rng.integers(3, 12))))
    hz = 10.0 ** rng.uniform(1.8, 3.2) * 2.0**far
    y = _partials(np.cumsum(np.minimum(hz, 0.05 * sr)) / sr, 9, rng)
    return _formants(y + rng.uniform(0.0, 0.3) * rng.standard_normal(n), sr, rng)


def _whine(n: int, sr: int, rng: Rng) -> F64:
    """Disks, chargers, screens: some high steady tones in a hiss."""
    t = np.arange(n) / sr
    hz = 10.0 ** rng.uniform(2.8, 4.0, int(rng.integers(1, 5)))
    y = 10.0 ** rng.uniform(-2.0, 0.0) * _formants(rng.standard_normal(n), sr, rng)
    for each in hz:
        y = y + rng.uniform(0.1, 1.0) * np.sin(2 * np.pi * each * t)
    return np.asarray(y, np.float64)


_MACHINES = (_hum, _fan, _fan, _sweep, _whine)
