"""Fits a preset to clips and tests it on others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from realtime.errors import OticError
from training.datasets import Dataset, DatasetError
from training.presets import Preset
from training.windows import Windows, clip_windows, read_clip, silence_windows

if TYPE_CHECKING:
    import keras

_F32 = NDArray[np.float32]
_I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Prepared:
    """A data set as windows: those to train on and, taken at the live pace, those to test on."""

    labels: tuple[str, ...]
    target: _I64  # [n_clips], index into labels
    fold: _I64  # [n_clips]
    train: Windows
    test: Windows
    silence: _F32


@dataclass(frozen=True)
class Tested:
    """Figures on clips that training did not see.

    ``confusion[i][j]`` counts clips of label ``i`` that were taken for ``j``. A
    clip's class is that of the mean score over its windows.
    """

    clip_accuracy: float
    window_accuracy: float
    confusion: _I64


def prepare(dataset: Dataset, preset: Preset, seed: int, tell: Callable[[str], None]) -> Prepared:
    """Read all clips and take their windows; what has to be left out is told, clip by clip.

    Raises
    ------
    OticError
        If a label has no clip in some fold that can be read and is as long as the window.
    """
    features = preset.features
    tell(f"reading {len(dataset.clips)} clips of {dataset.name}")
    kept, clips = [], []
    for clip in dataset.clips:
        try:
            y = read_clip(clip, features.sr)
        except OticError as error:
            tell(f"left out: {error}")
            continue
        # A clip shorter than the window can't fill it live either.
        if len(y) < features.window_samples:
            tell(
                f"left out: '{clip.path}' has {len(y) / features.sr:.2f} s, "
                f"less than the window of {features.window_seconds:.2f} s"
            )
            continue
        kept.append(clip)
        clips.append(y)
    if len(kept) < len(dataset.clips):
        tell(f"{len(dataset.clips) - len(kept)} of {len(dataset.clips)} clips are left out")
    absent = {(c.label, c.fold) for c in dataset.clips} - {(c.label, c.fold) for c in kept}
    if absent:
        label, fold = min(absent)
        raise DatasetError(
            f"all clips of '{label}' in fold {fold} had to be left out: they can't be read, or "
            f"are shorter than {preset.name}'s window of {features.window_seconds:.2f} s"
        )
    tell("computing features")
    rng = np.random.default_rng(seed)
    train = clip_windows(clips, features, preset.train_hop_frames, preset.gains_db, rng)
    return Prepared(
        labels=dataset.labels,
        target=np.array([dataset.labels.index(clip.label) for clip in kept]),
        fold=np.array([clip.fold for clip in kept]),
        train=train,
        test=clip_windows(clips, features, preset.inference_hop_frames),
        silence=silence_windows(features, round(preset.silence_share * len(train.x)), rng),
    )


def fit(
    prepared: Prepared, preset: Preset, folds: Sequence[int], seed: int, epochs: int | None
) -> keras.Model:
    """Train on the clips of these folds; every clip has the same weight.

    The same seed on the same machine gives the same model.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    chosen = np.isin(prepared.fold, folds)[prepared.train.clip]
    x, clip = prepared.train.x[chosen], prepared.train.clip[chosen]
    n_labels = len(prepared.labels)
    y = np.eye(n_labels, dtype=np.float32)[prepared.target[clip]]
    weight = 1.0 / np.bincount(clip)[clip]
    weight /= weight.mean()

    model = preset.build(x, n_labels)
    x = np.concatenate([x, prepared.silence])
    y = np.concatenate([y, np.full((len(prepared.silence), n_labels), 1.0 / n_labels, np.float32)])
    weight = np.concatenate([weight, np.ones(len(prepared.silence))])
    n_epochs = epochs or preset.epochs
    rate: float | keras.optimizers.schedules.LearningRateSchedule = preset.learning_rate
    if preset.cosine:
        steps = n_epochs * -(-len(x) // preset.batch_size)
        rate = keras.optimizers.schedules.CosineDecay(preset.learning_rate, steps)
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.CategoricalCrossentropy(label_smoothing=preset.label_smoothing),
    )
    model.fit(x, y, sample_weight=weight, epochs=n_epochs, batch_size=preset.batch_size, verbose=0)
    return model


def evaluate(model: keras.Model, prepared: Prepared, folds: Sequence[int]) -> Tested:
    """Test on the clips of these folds, on windows taken at the live pace."""
    chosen = np.isin(prepared.fold, folds)[prepared.test.clip]
    x, clip = prepared.test.x[chosen], prepared.test.clip[chosen]
    scores = predict(model, x)
    target = prepared.target
    n_labels = len(prepared.labels)
    confusion = np.zeros((n_labels, n_labels), np.int64)
    for i in np.unique(clip):
        confusion[target[i], scores[clip == i].mean(axis=0).argmax()] += 1
    return Tested(
        clip_accuracy=float(np.trace(confusion) / confusion.sum()),
        window_accuracy=float(np.mean(scores.argmax(axis=1) == target[clip])),
        confusion=confusion,
    )


def predict(model: keras.Model, x: _F32) -> _F32:
    """Scores, float32 [n, n_labels], all in one call: Keras's predict() traces anew each model."""
    return np.asarray(model(x, training=False))


def cross_validate(
    prepared: Prepared,
    preset: Preset,
    seed: int,
    epochs: int | None,
    tell: Callable[[str], None],
) -> list[Tested]:
    """Train and test with each official fold held out in turn."""
    results = []
    folds = sorted(set(prepared.fold.tolist()))
    for held_out in folds:
        model = fit(prepared, preset, [f for f in folds if f != held_out], seed, epochs)
        tested = evaluate(model, prepared, [held_out])
        tell(
            f"{preset.name}: fold {held_out} held out: {tested.clip_accuracy:.1%} of clips, "
            f"{tested.window_accuracy:.1%} of windows"
        )
        results.append(tested)
    return results
