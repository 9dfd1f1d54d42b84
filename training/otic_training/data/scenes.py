"""Scenes: sounds over backgrounds, made by number, with what is in them and when.

The same seed and number give the same samples. After Scaper (J. Salamon et al., "Scaper: A
Library for Soundscape Synthesis and Augmentation", WASPAA 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.signal
import soxr
from numpy.typing import NDArray

from otic_training.data.backgrounds import background, shaped
from otic_training.data.synthetic import made

F32 = NDArray[np.float32]

BEDS = (
    "environment",
    "household",
    "machine",
    "music",
    "speech",
    "traffic",
    "weather",
    "room",
    "crowd",
)
"""Kinds of recordings that can be the background of a scene."""

_QUIETEST = 1e-6
_FADE_SECONDS, _CROSSFADE_SECONDS = 0.01, 0.1
_SHORTEST_SECONDS = 0.3
_HIGHEST_CUT = 0.46  # of the sampling rate


@dataclass(frozen=True)
class Sound:
    """A recording that scenes are made of.

    Attributes
    ----------
    y : int16 [n]
        Its samples; the level means nothing.
    kind : str
    label : int
        Which of the labels it is; -1 for none of them.
    doubt : tuple of int
        Labels that it may hold: nobody knows.
    also : tuple of int
        More labels that are true of it.
    """

    y: NDArray[np.int16]
    kind: str
    label: int = -1
    doubt: tuple[int, ...] = ()
    also: tuple[int, ...] = ()

    @property
    def labels(self) -> tuple[int, ...]:
        """All labels that are true of it."""
        return (self.label, *self.also) if self.label >= 0 else ()


_UNKNOWN = Sound(np.zeros(0, np.int16), "")


@dataclass(frozen=True)
class Placed:
    """A sound in a scene.

    Attributes
    ----------
    label : int
        -1 for a sound that is none of the labels.
    doubt : tuple of int
    onset, offset : int
        Samples of the scene.
    snr_db : float
        Its power over that of the background.
    """

    label: int
    doubt: tuple[int, ...]
    onset: int
    offset: int
    snr_db: float


@dataclass(frozen=True)
class Scene:
    """Samples, float32 [n], and what is in them."""

    y: F32
    placed: tuple[Placed, ...]


@dataclass(frozen=True)
class Recipe:
    """How scenes are mixed: shares, numbers, levels.

    Attributes
    ----------
    bed_share, synthetic_share : float
        Scenes over recordings, and over noise made here; the others are nearly silent.
    one_kind_share : float
        Scenes whose background is of one kind.
    others : tuple of float
        How likely 0, 1, 2 … sounds without a label are.
    known : tuple of float
        How likely 0, 1, 2 … sounds with a label are.
    level_dbfs, snr_db, others_snr_db, gain_db : tuple of float
        Least and most.
    colour_share : float
        Sounds that come from another microphone, distance or wall; and a third as many scenes.
    cut_share : float
        Sounds with a label of which only a part is in the scene.
    speed, speed_share : float
        Played faster or slower by up to this factor, pitch and all.
    made_share : float
        Sounds without a label that are made here, by :mod:`otic_training.data.synthetic`.
    strange_share : float
        Sounds without a label that are played backwards, or through an echo.
    known_anywhere : bool
        Sounds with a label are backgrounds and others, too, by their kind.
    """

    bed_share: float = 0.84
    synthetic_share: float = 0.1
    one_kind_share: float = 0.7
    others: tuple[float, ...] = (0.15, 0.4, 0.3, 0.15)
    known: tuple[float, ...] = (0.3, 0.4, 0.2, 0.1)
    level_dbfs: tuple[float, float] = (-60.0, -22.0)
    snr_db: tuple[float, float] = (-4.0, 25.0)
    others_snr_db: tuple[float, float] = (0.0, 28.0)
    gain_db: tuple[float, float] = (-12.0, 12.0)
    colour_share: float = 0.5
    cut_share: float = 0.4
    speed: float = 1.12
    speed_share: float = 0.25
    made_share: float = 0.0
    strange_share: float = 0.0
    known_anywhere: bool = False


@dataclass
class Mixer:
    """Scenes from a bank of sounds.

    Parameters
    ----------
    sounds : sequence of Sound
    sr : int
    n : int
        Samples of a scene.
    seed : int
    recipe : Recipe
    """

    sounds: Sequence[Sound]
    sr: int
    n: int
    seed: int
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        self._kinds: dict[str, list[Sound]] = {}
        self._labels: dict[int, list[Sound]] = {}
        for sound in self.sounds:
            if sound.label < 0 or self.recipe.known_anywhere:
                self._kinds.setdefault(sound.kind, []).append(sound)
            for label in sound.labels:
                self._labels.setdefault(label, []).append(sound)
        self._beds = [kind for kind in BEDS if kind in self._kinds]

    def scene(self, number: int) -> Scene:
        """The scene of this number."""
        rng = np.random.default_rng([self.seed, number])
        how, placed = self.recipe, list[Placed]()
        level_db = float(rng.uniform(*how.level_dbfs))
        choice = rng.random()
        if choice < how.bed_share and self._beds:
            y = self._bed(rng, placed)
        elif choice < how.bed_share + how.synthetic_share:
            y = shaped(self.n, self.sr, rng)
        else:
            y = background(self.n, self.sr, -60.0, rng)
            level_db = float(rng.uniform(-85.0, -60.0))
        if y.any():
            y = y * np.float32(10.0 ** (level_db / 20.0) / max(rms(y), _QUIETEST))
        for _ in range(_count(rng, how.others) if self._kinds else 0):
            self._put_other(y, level_db, rng, placed)
        for _ in range(_count(rng, how.known) if self._labels else 0):
            self._put_known(y, level_db, rng, placed)
        if rng.random() < how.colour_share / 3:
            y = coloured(y, self.sr, rng)
        y = y * np.float32(10.0 ** (rng.uniform(*how.gain_db) / 20.0))
        y = y * np.float32(min(1.0, 0.98 / max(float(np.abs(y).max()), _QUIETEST)))
        return Scene(y, tuple(placed))

    def _bed(self, rng: np.random.Generator, placed: list[Placed]) -> F32:
        """Recordings one after the other, each as loud as the next, cross-faded."""
        if rng.random() < self.recipe.one_kind_share:
            kinds = [self._beds[rng.integers(len(self._beds))]]
        else:
            kinds = self._beds
        y, at = np.zeros(self.n, np.float32), 0
        cross = round(_CROSSFADE_SECONDS * self.sr)
        while at < self.n:
            sound = self._pick(kinds, rng)
            start = int(rng.integers(max(1, len(sound.y) - self.sr)))
            part = samples(sound.y[start : start + self.n])
            part = faded(part / max(rms(part), 1e-4), cross)[: self.n - at]
            y[at : at + len(part)] += part
            placed += _placed(sound, at, at + len(part), 0.0)
            at += max(len(part) - cross, self.sr // 4)
        return y

    def _pick(self, kinds: Sequence[str], rng: np.random.Generator) -> Sound:
        sounds = self._kinds[kinds[int(rng.integers(len(kinds)))]]
        return sounds[rng.integers(len(sounds))]

    def _put_other(
        self, scene: F32, level_db: float, rng: np.random.Generator, placed: list[Placed]
    ) -> None:
        how, sound = self.recipe, _UNKNOWN
        if how.made_share and rng.random() < how.made_share:
            y = made(self.sr, rng)
        else:
            sound = self._pick(sorted(self._kinds), rng)
            length = int(min(len(sound.y), rng.uniform(_SHORTEST_SECONDS, 6.0) * self.sr))
            start = int(rng.integers(max(1, len(sound.y) - length + 1)))
            y = samples(sound.y[start : start + length])
            if how.strange_share and rng.random() < how.strange_share:
                y = y[::-1] if rng.random() < 0.3 else echoed(y, self.sr, rng)
        y = self._changed(y, rng)
        at = int(rng.integers(-len(y) // 2, self.n))
        snr_db = float(rng.uniform(*self.recipe.others_snr_db))
        placed += self._put(scene, y, at, level_db, sound, snr_db)

    def _put_known(
        self, scene: F32, level_db: float, rng: np.random.Generator, placed: list[Placed]
    ) -> None:
        labels = sorted(self._labels)
        sounds = self._labels[labels[rng.integers(len(labels))]]
        sound = sounds[rng.integers(len(sounds))]
        part = sound.y
        if len(part) > self.sr and rng.random() < self.recipe.cut_share:
            length = int(rng.uniform(0.5, 1.0) * len(part))
            start = int(rng.integers(len(part) - length + 1)) if rng.random() < 0.5 else 0
            part = part[start : start + length]
        y = self._changed(samples(part), rng)
        at = int(rng.integers(-len(y) // 3, self.n - self.sr // 2))
        snr_db = float(rng.uniform(*self.recipe.snr_db))
        placed += self._put(scene, y, at, level_db, sound, snr_db)

    def _changed(self, y: F32, rng: np.random.Generator) -> F32:
        """A sound as it may be elsewhere: faster, slower, muffled; its ends faded."""
        if rng.random() < self.recipe.speed_share:
            factor = self.recipe.speed ** rng.uniform(-1.0, 1.0)
            y = soxr.resample(y, factor, 1.0, quality="QQ")
        if rng.random() < self.recipe.colour_share:
            y = coloured(y, self.sr, rng)
        return faded(y, round(_FADE_SECONDS * self.sr))

    def _put(
        self, scene: F32, y: F32, at: int, level_db: float, sound: Sound, snr_db: float
    ) -> list[Placed]:
        power = max(float(np.mean(y * y)), 1e-7)
        y = y * np.float32(np.sqrt(10.0 ** ((level_db + snr_db) / 10.0) / power))
        low, high = max(at, 0), min(at + len(y), self.n)
        scene[low:high] += y[low - at : high - at]
        return _placed(sound, low, high, snr_db)


def _placed(sound: Sound, onset: int, offset: int, snr_db: float) -> list[Placed]:
    """List a sound by each of its labels; without any, only if it may hold one."""
    labels = sound.labels or ((-1,) if sound.doubt else ())
    return [Placed(label, sound.doubt, onset, offset, snr_db) for label in labels]


def _count(rng: np.random.Generator, shares: Sequence[float]) -> int:
    return int(rng.choice(len(shares), p=shares))


def samples(y: NDArray[np.int16]) -> F32:
    """int16 as float32 in [-1, 1)."""
    return y.astype(np.float32) / np.float32(32768.0)


def rms(y: F32) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean(np.square(y, dtype=np.float64))))


def faded(y: F32, n: int) -> F32:
    """A copy whose first and last ``n`` samples rise and fall."""
    n, y = min(n, len(y) // 2), y.copy()
    ramp = np.linspace(0.0, 1.0, n, dtype=np.float32)
    y[:n] *= ramp
    y[len(y) - n :] *= ramp[::-1]
    return y


def coloured(y: F32, sr: int, rng: np.random.Generator) -> F32:
    """A sound through a low-pass or a high-pass, as of another microphone, distance or wall."""
    if rng.random() < 0.6:
        order = int(rng.integers(1, 4))
        cut_hz = min(10.0 ** rng.uniform(3.4, 4.0), _HIGHEST_CUT * sr)
        sos: Any = scipy.signal.butter(order, cut_hz, "low", fs=sr, output="sos")
    else:
        order, cut_hz = int(rng.integers(1, 3)), 10.0 ** rng.uniform(1.7, 2.7)
        sos = scipy.signal.butter(order, cut_hz, "high", fs=sr, output="sos")
    changed: F32 = scipy.signal.sosfilt(sos, y).astype(np.float32)
    return changed


def echoed(y: F32, sr: int, rng: np.random.Generator) -> F32:
    """A sound in a room that rings for 0.1 to 1 s."""
    n = int(sr * 10.0 ** rng.uniform(-1.0, 0.0))
    ring = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n) * rng.uniform(0.02, 0.2)
    ring[0] = 1.0
    wet: F32 = scipy.signal.fftconvolve(y, ring.astype(np.float32))[: len(y) + n // 2]
    return wet.astype(np.float32)


def step_targets(
    scene: Scene, times: NDArray[np.floating], sr: int, n_labels: int
) -> tuple[F32, F32]:
    """What each step should say, and how much that counts.

    Parameters
    ----------
    scene : Scene
    times : float64 [n_steps]
        Seconds of the scene that the steps are about.
    sr, n_labels : int

    Returns
    -------
    labels, weights : float32 [n_steps, n_labels]
        A weight is 0 where nobody knows: near an onset or an offset, and where a sound may
        hold the label.
    """
    step = float(times[1] - times[0])
    labels = np.zeros((len(times), n_labels), np.float32)
    weights = np.ones_like(labels)
    for sound in scene.placed:
        onset, offset = sound.onset / sr, sound.offset / sr
        doubtful = (times > onset - step) & (times < offset + 3 * step)
        for label in sound.doubt:
            weights[doubtful, label] = 0.0
    for sound in scene.placed:
        if sound.label < 0:
            continue
        onset, offset = sound.onset / sr, sound.offset / sr
        on = (times >= onset + 0.12) & (times <= offset + step)
        near = ~on & (times > onset - step) & (times < offset + 3 * step)
        labels[on, sound.label] = 1.0
        weights[near & (labels[:, sound.label] == 0), sound.label] = 0.0
        weights[on, sound.label] = 0.3 if sound.snr_db < 0.0 else 1.0
    return labels, weights
