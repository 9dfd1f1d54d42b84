"""A head for a few clips: fitted on scenes, tested on recordings that it has not learned from."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from otic.model.bundle import Bundle
from otic_training.base.head import BaseFrames, Fit, Head, fit_layers, keep_of, spread, with_means
from otic_training.cli.progress import progress
from otic_training.scoring.predictions import Predictions
from otic_training.scoring.thresholds import Room
from otic_training.teaching.clips import Sound
from otic_training.teaching.mixing import Example, Mixer, Placed, power_of
from otic_training.teaching.sketches import Sketch

F32 = NDArray[np.float32]

STEPS = 28
"""Steps of a scene: 9 s."""
_SCENES_AT_ONCE = 40


@dataclass(frozen=True)
class Plan:
    """How much is mixed and how heads are fitted.

    Attributes
    ----------
    scenes, quiet : int
        Scenes with sounds that have a label, and without.
    folds : int
        Tests, at most: as many as the label with the most has recordings, if those are fewer.
    axes : int
        Numbers that a head's inputs are reduced to while it is fitted.
    fit : Fit
    early_steps : int
        Steps by which a head decides earlier than the base's latest frame.
    seed : int
    """

    scenes: int = 480
    quiet: int = 320
    folds: int = 5
    axes: int = 256
    fit: Fit = field(default_factory=lambda: Fit(hidden=48, epochs=24, batch=24, rate=2e-3))
    early_steps: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Heard:
    """Scenes as the base hears them.

    Attributes
    ----------
    frames : float16 [n_scenes, STEPS, width]
    labels, weights : float32 [n_scenes, STEPS, n_labels]
    fold : int64 [n_scenes]
    placed : tuple of tuple of Placed
        The sounds with a label in each scene.
    """

    frames: NDArray[np.float16]
    labels: F32
    weights: F32
    fold: NDArray[np.int64]
    placed: tuple[tuple[Placed, ...], ...]


def fold_of(sounds: Sequence[Sound], same: Sequence[tuple[int, int]], most: int) -> list[int]:
    """Choose in which test each sound is left out: a recording of each label in each, by turns.

    Sounds of one recording, and those that are the ``same``, are left out together.
    """
    names = [s.clip.recording for s in sounds]
    for i, j in same:
        names = [names[i] if name == names[j] else name for name in names]
    by_label: dict[str, dict[str, None]] = defaultdict(dict)
    order = sorted(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode()).digest())
    for i in order:
        by_label[sounds[i].clip.label][names[i]] = None
    n_folds = min(most, max(len(recordings) for recordings in by_label.values()))
    fold: dict[str, int] = {}
    for recordings in by_label.values():
        for i, name in enumerate(recordings):
            fold.setdefault(name, i % n_folds)
    return [fold[name] for name in names]


def examples_of(
    sounds: Sequence[Sound], folds: Sequence[int], labels: Sequence[str]
) -> list[Example]:
    """Examples of sounds, each as recorded, slower and faster."""
    found = []
    for n, (sound, fold) in enumerate(zip(sounds, folds, strict=True)):
        label = labels.index(sound.clip.label)
        for db in (sound.db, *sound.changed):
            scale = len(db) / len(sound.db)
            segments = tuple((round(a * scale), round(b * scale)) for a, b in sound.segments)
            found.append(Example(power_of(db), label, segments, fold, n))
    return found


def quiet_examples(sketches: Sequence[Sketch], n_folds: int) -> list[Example]:
    """Examples of what is to be kept quiet about; a recording is in one fold."""
    return [
        Example(power_of(s.db), -1, (), hashlib.sha256(s.recording.encode()).digest()[0] % n_folds)
        for s in sketches
    ]


def times_of(base: BaseFrames, plan: Plan) -> NDArray[np.float64]:
    """Seconds of a scene that each step is to decide about."""
    return base.times(STEPS) + plan.early_steps * base.step_seconds


def hear(mixer: Mixer, base: BaseFrames, plan: Plan, n_labels: int) -> tuple[Heard, Heard]:
    """Mix all scenes and compute the base's frames of them: those with sounds, and the quiet."""
    with progress("scenes", plan.scenes + plan.quiet) as advance:
        found = []
        for n, quiet in ((plan.scenes, False), (plan.quiet, True)):
            frames, labels, weights, placed = [], [], [], []
            times = times_of(base, plan)
            for number in range(n):
                scene = mixer.scene(number, quiet)
                frames.append(base.of_log_mel(scene.db).astype(np.float16))
                y, w = mixer.targets(scene, times, n_labels)
                labels.append(y)
                weights.append(w)
                placed.append(scene.placed)
                advance(1)
            fold = np.arange(n) % mixer.n_folds
            found.append(
                Heard(np.stack(frames), np.stack(labels), np.stack(weights), fold, tuple(placed))
            )
    return found[0], found[1]


class Projection:
    """What most tells the scenes apart: a head's inputs as a few numbers, for quick fits.

    The base's frames with their decayed means, on the first principal axes of all scenes; they
    are found without labels.

    Parameters
    ----------
    heard : sequence of Heard
    step_seconds : float
    axes : int
    """

    def __init__(self, heard: Sequence[Heard], step_seconds: float, axes: int) -> None:
        self._mean, self._sd = spread(np.concatenate([h.frames[::2] for h in heard]))
        self._keep = keep_of(step_seconds)
        n = len(self._mean) * (1 + len(self._keep))
        total, square, count = np.zeros(n), np.zeros((n, n), np.float32), 0
        for part in self._parts(heard):
            rows = part.reshape(-1, n)
            total, count = total + rows.sum(0, dtype=np.float64), count + len(rows)
            square += rows.T @ rows
        self._middle = (total / count).astype(np.float32)
        spreads, ways = np.linalg.eigh(square / count - np.outer(self._middle, self._middle))
        axes = min(axes, n)
        self._ways = ways[:, ::-1][:, :axes] / np.sqrt(spreads[::-1][:axes].mean())
        self._ways = np.ascontiguousarray(self._ways, np.float32)
        self._inputs = np.concatenate([self(part) for part in self._parts(heard)])
        self._labels = np.concatenate([h.labels for h in heard])
        self._weights = np.concatenate([h.weights for h in heard])
        self._fold = np.concatenate([h.fold for h in heard])

    def _parts(self, heard: Sequence[Heard]) -> Iterator[F32]:
        """Frames with their means, some scenes at a time."""
        for h in heard:
            for first in range(0, len(h.frames), _SCENES_AT_ONCE):
                yield self._with_means(h.frames[first : first + _SCENES_AT_ONCE])

    def _with_means(self, frames: NDArray[np.floating]) -> F32:
        return with_means((frames.astype(np.float32) - self._mean) / self._sd, self._keep)

    def __call__(self, x: F32) -> F32:
        """Project frames with their means."""
        projected: F32 = (x - self._middle) @ self._ways
        return projected

    def fit_without(self, fold: int | None, how: Fit) -> Head:
        """Fit a head on all scenes but those of a fold."""
        kept = np.flatnonzero(self._fold != (-1 if fold is None else fold))
        inputs, labels, weights = (a[kept] for a in (self._inputs, self._labels, self._weights))
        w1, b1, w2, b2 = fit_layers(lambda chosen: inputs[chosen], labels, weights, how)
        w1 = self._ways @ w1
        return Head(self._mean, self._sd, w1, b1 - self._middle @ w1, w2, b2, self._keep)


def room_of(scores: F32, base: Bundle, labels: tuple[str, ...]) -> Room:
    """Put scores of scenes, float32 [n, STEPS, n_labels], as streams of their own."""
    assert base.stream is not None
    p, hop = base.features, base.inference_hop_samples
    first = base.stream.warm_up_steps
    sample = p.window_samples + hop * np.arange(first, scores.shape[1])
    began = np.maximum(0, sample - round(base.stream.delay_seconds * p.sr))
    n = int(sample[-1])
    return Room(tuple(Predictions(labels, p.sr, n, sample, s[first:], began) for s in scores))
