"""A quick look at how well a base hears: a small head on its frames, fold 5 of ESC-10 held out.

For validation while a base is trained, not for what is shipped.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic_training.base import features
from otic_training.base.trainer import STEPS, Trainer, saved_plan
from otic_training.data.city import BEDS, event_streams, one_after_the_other, urban_clips
from otic_training.data.layouts import load_dataset
from otic_training.data.scenes import Mixer, Scene, Sound, step_targets
from otic_training.data.sound_tables import sounds_of
from otic_training.data.sounds import labelled_sounds, negative_sounds
from otic_training.data.windows import read_clip

F32 = NDArray[np.float32]

TEST_FOLD, N_LABELS = 5, 10
SHORT = (3, 4, 7, 9)  # crying baby, dog, rooster, sneezing: sorted labels
HELD_OUT_SHARE = 5
"""Every so manyth recording of the other sounds is for counting alarms."""
HIDDEN, DROP, EPOCHS, BATCH = 128, 0.2, 12, 96
TAUS = (1.0, 4.0)
STREAM_STEPS = 900


@dataclass(frozen=True)
class Stream:
    """A test stream: samples, and the events in it as (label, onset, offset) in seconds."""

    kind: str
    y: F32
    truths: tuple[tuple[int, float, float], ...] = ()


@dataclass(frozen=True)
class Hearing:
    """How to get frames from samples.

    Attributes
    ----------
    frames : callable
        float32 [n] at 22 050 Hz -> float32 [n_steps, width].
    of_log_mel : callable, optional
        The same from log-mel frames.
    step, first, lag : float
        Seconds between frames, what the first is about, and how much later it is there.
    """

    frames: Callable[[F32], F32]
    step: float
    first: float
    lag: float
    of_log_mel: Callable[[F32], F32] | None = None


def base_hearing(state: Path) -> Hearing:
    """Frames of a base that is being trained: its running mean."""
    import tensorflow as tf

    from otic_training.base.student import Memory

    trainer = Trainer(saved_plan(state))
    trainer.load(state)
    trainer.use_mean()
    student, shape = trainer.student, trainer.student.shape
    print(f"step {trainer.step}", flush=True)
    run: Any = tf.function(lambda mel: student(mel, Memory()))

    def frames(y: F32) -> F32:
        steps = STEPS if len(y) < features.n_samples(STEPS + 1, shape.hops) else STREAM_STEPS
        n = features.n_samples(steps, shape.hops)
        y = np.pad(y[:n], (0, max(0, n - len(y))))
        return of_log_mel(features.LogMel(features.n_hops(steps, shape.hops))(y))

    def of_log_mel(mel: F32) -> F32:
        out: F32 = run(tf.constant(mel[None]))[0].numpy()
        return out

    step = shape.hops * features.HOP_SECONDS
    first = features.FIRST_MIDDLE - shape.delay_hops * features.HOP_SECONDS
    lag = features.n_samples(1, shape.hops) / features.SR - first
    return Hearing(frames, step, first, lag, of_log_mel)


def teacher_hearing(teacher: Path) -> Hearing:
    """Frames of the teacher, ten seconds at a time."""
    from otic_training.base.teacher import TeacherFrames

    model = TeacherFrames(teacher)

    def frames(y: F32) -> F32:
        import soxr

        z = soxr.resample(y, features.SR, 32_000, "HQ").astype(np.float32)
        n = STEPS * 10_240
        z = np.pad(z, (0, -len(z) % n + model.n_samples))
        count = max(1, round(len(y) / features.SR / 9.92))
        parts = [model(z[i * n : i * n + model.n_samples])[:STEPS] for i in range(count)]
        return np.concatenate(parts)

    return Hearing(frames, 0.32, 0.0, 0.0)


def learning_scenes(data: Path, n: int) -> Iterator[Scene]:
    """Scenes that the head learns from."""
    known = esc10(data, lambda fold: fold != TEST_FOLD)
    mixer = Mixer(known + others(data, False), features.SR, features.n_samples(STEPS, 16), 77)
    for i in range(n):
        yield mixer.scene(i)


def learning_log_mels(data: Path, n: int) -> tuple[NDArray[np.float16], list[Scene]]:
    """Log-mel frames of those scenes, and the scenes without their samples."""
    log_mel = features.LogMel(features.n_hops(STEPS, 16))
    mels, scenes = [], []
    for scene in learning_scenes(data, n):
        mels.append(log_mel(scene.y).astype("f2"))
        scenes.append(Scene(scene.y[:0], scene.placed))
    return np.stack(mels), scenes


def labels_of(data: Path) -> tuple[str, ...]:
    """The labels of ESC-10."""
    return load_dataset(str(data / "esc10"), None, "esc10").labels


def esc10(data: Path, wanted: Callable[[int], bool]) -> list[Sound]:
    """Sounds of some folds of ESC-10."""
    dataset = load_dataset(str(data / "esc10"), None, "esc10")
    clips = [clip for clip in dataset.clips if wanted(clip.fold)]
    return labelled_sounds(clips, dataset.labels, features.SR)


def others(data: Path, held_out: bool) -> list[Sound]:
    """Sounds without a label, by recording: those for the head, or those for alarms."""
    listed = sounds_of([str(data / "free")])
    held = sorted({sound.recording for sound in listed})[::HELD_OUT_SHARE]
    chosen = [sound for sound in listed if (sound.recording in held) == held_out]
    return negative_sounds(chosen, labels_of(data), features.SR)


def made_streams(data: Path, seed: int) -> list[Stream]:
    """240 events over city backgrounds at 0 to 20 dB, and sounds that are none, by kind."""
    rng = np.random.default_rng(seed)
    labels, urban8k = labels_of(data), data / "urbansound8k"
    known = [
        (labels[sound.label], sound.y.astype(np.float32) / 32768.0)
        for sound in esc10(data, lambda fold: fold == TEST_FOLD)
    ]
    beds, urban = (
        [read_clip(clip, features.SR) for clip in urban_clips(urban8k, fold, wanted)]
        for fold, wanted in ((1, lambda kind: kind in BEDS), (2, lambda kind: kind != "dog_bark"))
    )
    n = features.n_samples(STREAM_STEPS, 16)
    streams = [
        Stream(
            "events",
            made.y,
            tuple((labels.index(t.label), t.onset, t.offset) for t in made.truths),
        )
        for made in event_streams(known, beds, features.SR, n, (0.0, 20.0), rng)
    ]
    free = dict[str, list[F32]]()
    for sound in others(data, True):
        if not sound.doubt:
            free.setdefault(sound.kind, []).append(sound.y.astype(np.float32) / 32768.0)
    talk = free.pop("speech") + free.pop("music")
    rest = [y for ys in free.values() for y in ys]
    for kind, pool in (("talk", talk), ("rest", rest), ("urban", urban)):
        streams += [Stream(kind, part) for part in one_after_the_other(pool, n, rng)]
    return streams


class Head:
    """A hidden layer on a frame and its decayed means."""

    def __init__(self, frames: F32, labels: F32, weights: F32, step: float) -> None:
        import tensorflow as tf

        self._step = step
        some = frames[:2000].astype("f4")
        self._mean, self._sd = some.mean((0, 1)), some.std((0, 1)) + 1e-3
        rng = np.random.default_rng(0)
        width = frames.shape[-1] * (1 + len(TAUS))
        self._v = [
            tf.Variable((rng.standard_normal((width, HIDDEN)) * np.sqrt(2 / width)).astype("f4")),
            tf.Variable(np.zeros(HIDDEN, "f4")),
            tf.Variable((rng.standard_normal((HIDDEN, labels.shape[-1])) * 0.01).astype("f4")),
            tf.Variable(np.full(labels.shape[-1], -3.0, "f4")),
        ]
        adam = tf.keras.optimizers.AdamW(1e-3, weight_decay=1e-4)

        @tf.function  # type: ignore[untyped-decorator]
        def learn(x: Any, y: Any, w: Any) -> Any:
            with tf.GradientTape() as tape:
                h = tf.nn.relu(tf.nn.dropout(x, DROP) @ self._v[0] + self._v[1])
                z = tf.nn.dropout(h, DROP) @ self._v[2] + self._v[3]
                loss = tf.nn.sigmoid_cross_entropy_with_logits(y, z) * w
                loss = tf.reduce_sum(loss) / tf.reduce_sum(w)
            adam.apply_gradients(zip(tape.gradient(loss, self._v), self._v, strict=True))
            return loss

        order = np.concatenate([rng.permutation(len(frames)) for _ in range(EPOCHS)])
        parts = np.array_split(order, len(order) // BATCH)
        for i, k in enumerate(parts):
            adam.learning_rate.assign(1e-3 * max(0.02, 0.5 + 0.5 * np.cos(np.pi * i / len(parts))))
            learn(tf.constant(self._features(frames[k])), labels[k], weights[k])

    def _features(self, frames: Any) -> F32:
        x = (frames.astype("f4") - self._mean) / self._sd
        parts = [x]
        for tau in TAUS:
            a, mean = np.float32(np.exp(-self._step / tau)), x[:, 0]
            means = []
            for t in range(x.shape[1]):
                mean = a * mean + (1 - a) * x[:, t]
                means.append(mean)
            parts.append(np.stack(means, 1))
        return np.concatenate(parts, -1)

    def __call__(self, frames: F32) -> F32:
        """[n_steps, width] -> scores [n_steps, n_labels]."""
        w1, b1, w2, b2 = (v.numpy() for v in self._v)
        z = np.maximum(self._features(frames[None])[0] @ w1 + b1, 0) @ w2 + b2
        scores: F32 = 1.0 / (1.0 + np.exp(-z))
        return scores


def events(
    scores: F32,
    threshold: float,
    hearing: Hearing,
    ground: float = 0.1,
    back: int = 12,
    hold: int = 6,
) -> list[tuple[int, float, float]]:
    """(label, onset, decision) in seconds: onsets dated back to where the score left the ground."""
    found = list[tuple[int, float, float]]()
    for label, q in enumerate(scores.T):
        on, last, end = False, -hold - 1, -1
        for i in np.flatnonzero(q >= threshold / 2).tolist():
            if on and i - last > hold:
                on, end = False, last
            if not on and q[i] >= threshold:
                j = i
                while j - 1 > end and i - j < back and q[j - 1] >= ground * threshold:
                    j -= 1
                onset = hearing.first + (j - 0.5) * hearing.step
                found.append((label, onset, hearing.first + i * hearing.step + hearing.lag))
                on = True
            if on:
                last = i
    return found


def matched(
    found: Sequence[tuple[int, float, float]], truths: Sequence[tuple[int, float, float]]
) -> list[tuple[int, float, float]]:
    """Events whose onset is within a second of a true one of that label; each counts once.

    Returns label, error of the onset and delay of the decision, in seconds.
    """
    hits, left = list[tuple[int, float, float]](), list(truths)
    for label, onset, decision in sorted(found, key=lambda e: e[1]):
        near = [t for t in left if t[0] == label and abs(t[1] - onset) <= 1.0]
        if near:
            true = min(near, key=lambda t: abs(t[1] - onset))
            left.remove(true)
            hits.append((label, onset - true[1], decision - true[1]))
    return hits


def table(scored: Sequence[tuple[Stream, F32]], hearing: Hearing) -> str:
    """F1 and alarms an hour at some thresholds."""
    lines = [
        "threshold F1 precision recall | alarms/h | onset error, delay of short sounds: "
        + " ".join(sorted({s.kind for s, _ in scored if not s.truths}))
    ]
    for threshold in (0.5, 0.7, 0.8, 0.88, 0.93, 0.96, 0.98, 0.99):
        hits, n_found, n_true = list[tuple[int, float, float]](), 0, 0
        alarms: dict[str, list[float]] = {}
        for stream, scores in scored:
            found = events(scores, threshold, hearing)
            if stream.truths:
                hits += matched(found, stream.truths)
                n_found += len(found)
                n_true += len(stream.truths)
            else:
                count = alarms.setdefault(stream.kind, [0.0, 0.0])
                count[0] += len(found)
                count[1] += len(scores) * hearing.step / 3600
        f1 = 2 * len(hits) / max(1, n_found + n_true)
        rates = " ".join(f"{n / hours:.1f}" for _, (n, hours) in sorted(alarms.items()))
        short = [hit for hit in hits if hit[0] in SHORT]
        error = np.median([abs(e) for _, e, _ in short]) if short else np.nan
        delay = np.median([d for _, _, d in short]) if short else np.nan
        lines.append(
            f"{threshold:.2f} {f1:.3f} {len(hits) / max(1, n_found):.2f} "
            f"{len(hits) / max(1, n_true):.2f} | {rates} | {error:.2f} {delay:.2f}"
        )
    return "\n".join(lines)


def cached(path: Path, make: Callable[[], Any]) -> Any:
    """What ``make`` gives, kept in a pickle."""
    import pickle

    if not path.exists():
        made = make()
        with path.open("wb") as file:
            pickle.dump(made, file)
    with path.open("rb") as file:
        return pickle.load(file)


def main() -> None:
    """Run from a command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("state", help="state.npz of a run, or 'teacher'")
    parser.add_argument("--horizons", type=int, nargs="+", default=[0], help="steps earlier")
    parser.add_argument("--scenes", type=int, default=5000)
    a = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    teacher = a.data / "teacher/mn04-10s.tflite"
    a.cache.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    hearing = teacher_hearing(teacher) if a.state == "teacher" else base_hearing(Path(a.state))
    streams = cached(a.cache / "streams.pickle", lambda: made_streams(a.data, 5))
    if hearing.of_log_mel:
        path = a.cache / f"mels{a.scenes}.pickle"
        mels, scenes = cached(path, lambda: learning_log_mels(a.data, a.scenes))
        pairs = zip(mels, scenes, strict=True)
        heard = ((hearing.of_log_mel(mel.astype("f4")), scene) for mel, scene in pairs)
    else:
        heard = ((hearing.frames(s.y), s) for s in learning_scenes(a.data, a.scenes))
    known = [(frames[:STEPS].astype("f2"), Scene(s.y[:0], s.placed)) for frames, s in heard]
    frames = np.stack([f for f, _ in known])
    test = [(s, hearing.frames(s.y)) for s in streams]
    print(f"frames after {time.monotonic() - began:.0f} s", flush=True)
    for horizon in a.horizons:
        early = horizon * hearing.step
        later = replace(hearing, first=hearing.first + early, lag=hearing.lag - early)
        head = learned_head(frames, [scene for _, scene in known], later)
        print(f"lag {later.lag:.2f} s; head after {time.monotonic() - began:.0f} s", flush=True)
        print(table([(s, head(f)) for s, f in test], later), flush=True)


def learned_head(frames: F32, scenes: Sequence[Scene], hearing: Hearing) -> Head:
    """A head on the frames of scenes."""
    times = hearing.first + hearing.step * np.arange(STEPS)
    targets = [step_targets(scene, times, features.SR, N_LABELS) for scene in scenes]
    labels, weights = (np.stack(a) for a in zip(*targets, strict=True))
    weights[:, times < 0.0] = 0.0
    return Head(frames, labels, weights, hearing.step)


if __name__ == "__main__":
    main()
