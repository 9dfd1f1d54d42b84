"""Scenes of log-mel frames: somebody's sounds over noise, rooms and what is to be kept quiet about.

Powers of sounds that have nothing to do with each other add up, band by band. So scenes are mixed
from log-mel frames, without samples: 20 times quicker than from samples, with sketches as they
are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from otic.features.params import FeatureParams
from otic_training.data.backgrounds import hum, noise, shaped
from otic_training.teaching.sketches import log_mel

F32 = NDArray[np.float32]

SNR_DB = (-3.0, 25.0)
"""Power of a sound over that of its background, at least and at most."""
_OTHERS_SNR_DB = (0.0, 25.0)
_LEVEL_DBFS, _SILENCE_DBFS = (-60.0, -25.0), (-90.0, -65.0)
_NOISES, _NOISE_SECONDS = 24, 12.0
_AMIN = 1e-10  # what a silent cell of log-mel frames has, -100 dB
_AFTER_ONSET_SECONDS = 0.12


@dataclass(frozen=True)
class Example:
    """Frames of a sound that can be put into a scene.

    Attributes
    ----------
    power : float32 [n_frames, n_mels]
        Mel powers, of the sound at RMS 1.
    label : int
        -1 for what is to be kept quiet about.
    segments : tuple of (int, int)
        First and one past the last frame of each stretch in which the sound is there.
    fold : int
        In which test it is left out.
    source : int
        Number of the clip that it is of.
    """

    power: F32 = field(repr=False)
    label: int
    segments: tuple[tuple[int, int], ...]
    fold: int
    source: int = -1


@dataclass(frozen=True)
class Placed:
    """A sound in a scene: its label and clip, first and one past its last frame, and its SNR."""

    label: int
    source: int
    first: int
    stop: int
    snr_db: float


@dataclass(frozen=True)
class Scene:
    """Log-mel frames in dB, float32 [n_frames, n_mels], and the sounds with a label in them."""

    db: F32
    placed: tuple[Placed, ...]


def power_of(db: F32) -> F32:
    """Turn dB into power."""
    power: F32 = np.power(np.float32(10.0), db / np.float32(10.0))
    return power


class Mixer:
    """Scenes by number, each of one fold's sounds alone.

    Parameters
    ----------
    examples, others, rooms : sequence of Example
        Sounds with a label; sounds without; recordings of the place itself.
    p : FeatureParams
    n_frames : int
        Of a scene.
    n_folds : int
    seed : int
    """

    def __init__(
        self,
        examples: Sequence[Example],
        others: Sequence[Example],
        rooms: Sequence[Example],
        p: FeatureParams,
        n_frames: int,
        n_folds: int,
        seed: int,
    ) -> None:
        self._p, self._n, self._seed, self.n_folds = p, n_frames, seed, n_folds
        labels = sorted({e.label for e in examples})
        self._known = [
            [
                of
                for label in labels
                if (of := [e for e in examples if (e.label, e.fold) == (label, f)])
            ]
            for f in range(n_folds)
        ]
        self._others = [[e for e in others if e.fold == f] for f in range(n_folds)]
        self._rooms = [[e for e in rooms if e.fold == f] for f in range(n_folds)]
        rng = np.random.default_rng([seed, 0])
        n = round(_NOISE_SECONDS * p.sr)
        makers = (noise, shaped, shaped, hum)
        self._noises = [
            power_of(log_mel(makers[i % len(makers)](n, p.sr, rng), p)) for i in range(_NOISES)
        ]

    def scene(self, number: int, quiet: bool = False) -> Scene:
        """Mix the scene of this number; a ``quiet`` one has no sound with a label."""
        rng = np.random.default_rng([self._seed, 1 + number, int(quiet)])
        fold = number % self.n_folds
        others = self._others[fold]
        level_db = rng.uniform(*(_LEVEL_DBFS if rng.random() < 0.9 else _SILENCE_DBFS))
        power = self._background(fold, rng) * _gain(level_db)
        placed = list[Placed]()
        for _ in range(int(rng.choice(3, p=(0.3, 0.5, 0.2))) if others else 0):
            other = others[int(rng.integers(len(others)))]
            self._put(power, other, level_db + rng.uniform(*_OTHERS_SNR_DB), rng)
        for _ in range(0 if quiet else int(rng.choice(4, p=(0.2, 0.4, 0.3, 0.1)))):
            known = self._known[fold]
            if not known:
                break
            of = known[int(rng.integers(len(known)))]
            example, snr_db = of[int(rng.integers(len(of)))], rng.uniform(*SNR_DB)
            at = self._put(power, example, level_db + snr_db, rng)
            placed += [
                Placed(
                    example.label,
                    example.source,
                    max(0, at + first),
                    min(self._n, at + stop),
                    snr_db,
                )
                for first, stop in example.segments
                if at + stop > 0 and at + first < self._n
            ]
        if rng.random() < 0.3:
            power *= self._colour(rng)
        power *= _gain(rng.uniform(-10.0, 10.0))
        db = 10.0 * np.log10(np.maximum(power, np.float32(_AMIN)))
        return Scene(db.astype(np.float32), tuple(placed))

    def _background(self, fold: int, rng: np.random.Generator) -> F32:
        choice, rooms, others = rng.random(), self._rooms[fold], self._others[fold]
        if rooms and choice < 0.35:
            return self._strip([rooms[int(rng.integers(len(rooms)))]], rng)
        if others and choice < 0.75:
            one = others[int(rng.integers(len(others)))]
            more = [others[int(i)] for i in rng.integers(len(others), size=6)]
            return self._strip([one] if rng.random() < 0.3 else [one, *more], rng)
        made = self._noises[int(rng.integers(_NOISES))]
        return made[(int(rng.integers(len(made))) + np.arange(self._n)) % len(made)].copy()

    def _strip(self, sounds: Sequence[Example], rng: np.random.Generator) -> F32:
        """Sounds one after the other, from somewhere on, until the scene is full."""
        parts, length = list[F32](), 0
        while length < self._n:
            part = sounds[len(parts) % len(sounds)].power
            parts.append(part[int(rng.integers(max(1, len(part) // 2))) :])
            length += len(parts[-1])
        return np.concatenate(parts)[: self._n]

    def _put(self, power: F32, e: Example, level_db: float, rng: np.random.Generator) -> int:
        """Add a sound at a random place; returns the frame that it begins with."""
        n = len(e.power)
        at = int(rng.integers(-(n // 3), max(1, self._n - min(n, 25))))
        part = e.power * _gain(level_db)
        if rng.random() < 0.5:
            part = part * self._colour(rng)
        low, high = max(0, at), min(self._n, at + n)
        power[low:high] += part[low - at : high - at]
        return at

    def _colour(self, rng: np.random.Generator) -> F32:
        """Gains of the bands, as of another microphone, distance or wall: float32 [n_mels]."""
        knots = rng.normal(0.0, 3.0, 6) + np.linspace(0.0, 1.0, 6) * rng.normal(0.0, 6.0)
        curve = np.interp(np.linspace(0.0, 5.0, self._p.n_mels), np.arange(6.0), knots)
        return power_of(curve.astype(np.float32))

    def targets(self, scene: Scene, times: NDArray[np.float64], n_labels: int) -> tuple[F32, F32]:
        """Say what each step should give, and how much that counts: float32 [n_steps, n_labels].

        A weight is 0 near an onset or an offset.
        """
        hop, step = self._p.hop_length / self._p.sr, float(times[1] - times[0])
        labels = np.zeros((len(times), n_labels), np.float32)
        weights = np.ones_like(labels)
        weights[times < 0.0] = 0.0
        for sound in scene.placed:
            begin, end = sound.first * hop, sound.stop * hop
            on = (times >= begin + _AFTER_ONSET_SECONDS) & (times <= end + step)
            near = ~on & (times > begin - step) & (times < end + 4 * step)
            labels[on, sound.label] = 1.0
            weights[near & (labels[:, sound.label] == 0.0), sound.label] = 0.0
            weights[on, sound.label] = 0.3 if sound.snr_db < 0.0 else 1.0
        return labels, weights


def _gain(db: float) -> np.float32:
    return np.float32(10.0 ** (db / 10.0))
