"""Fits a preset to windows of clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from otic_training.cli.progress import progress
from otic_training.data.augmentation import Batch, DrawnWindows
from otic_training.data.backgrounds import Backgrounds, background_features
from otic_training.data.dataset import DatasetError
from otic_training.data.negatives import NEGATIVE_FOLD
from otic_training.experiment import Experiment
from otic_training.fitting.prepare import Prepared
from otic_training.networks.presets import Passes, Preset
from otic_training.networks.teacher import DistillationTarget, distillation_targets

if TYPE_CHECKING:
    import keras

_F32 = NDArray[np.float32]
_I64 = NDArray[np.int64]
Watch = Callable[[int, float], None]

_PREDICTED_AT_ONCE = 512
_NEGATIVE_SHARE = 0.25
"""Share of the weight that negatives have among windows taken once."""

_BACKGROUNDS = 1  # their random numbers do not depend on how many the rest takes
_STANDARDISED_BY = 2000
"""Windows whose mean and variance standardise a drawing preset's features."""


class Examples(Protocol):
    """A supply of training windows."""

    def __len__(self) -> int:
        """Count the windows in an epoch."""

    def sample(self, rng: np.random.Generator) -> _F32:
        """Take features to standardise by, float32 [n, n_features]."""

    def order(self, rng: np.random.Generator) -> _I64:
        """Shuffle the indices of an epoch, int64 [n]."""

    def batch(self, chosen: _I64, rng: np.random.Generator) -> Batch:
        """Make a batch of some of these indices."""


class TakenExamples:
    """Windows that were taken once; every clip has the same weight."""

    def __init__(self, prepared: Prepared, experiment: Experiment, chosen: _I64) -> None:
        taken, preset = prepared.train, experiment.preset
        keep = np.isin(taken.clip, chosen)
        self._x, clip = taken.x[keep], taken.clip[keep]
        n_outputs = preset.n_outputs(len(prepared.labels))
        self._y = np.eye(n_outputs, dtype=np.float32)[prepared.target[clip]]
        weight = 1.0 / np.bincount(clip)[clip]
        negative = prepared.target[clip] == len(prepared.labels)
        if negative.any():
            odds = _NEGATIVE_SHARE / (1 - _NEGATIVE_SHARE)
            weight[negative] *= odds * weight[~negative].sum() / weight[negative].sum()
        self._weight = (weight / weight.mean()).astype(np.float32)
        self._n_taken = len(self._x)
        n_none = round(preset.none_share * len(self._x))
        if n_none:
            rng = np.random.default_rng(experiment.seed)
            none = np.eye(1, n_outputs, n_outputs - 1, dtype=np.float32)
            background = background_features(preset.features, n_none, preset.background_dbfs, rng)
            self._x = np.concatenate([self._x, background])
            self._y = np.concatenate([self._y, np.repeat(none, n_none, axis=0)])
            self._weight = np.concatenate([self._weight, np.ones(n_none, np.float32)])

    def __len__(self) -> int:
        return len(self._x)

    def sample(self, rng: np.random.Generator) -> _F32:
        return self._x[: self._n_taken]

    def order(self, rng: np.random.Generator) -> _I64:
        return rng.permutation(len(self._x))

    def batch(self, chosen: _I64, rng: np.random.Generator) -> Batch:
        return taken(self._x[chosen], self._y[chosen], self._weight[chosen])


def taken(x: _F32, y: _F32, weight: _F32) -> Batch:
    """Make a batch that no teacher knows."""
    return Batch(x, y, weight, np.zeros((len(x), 0), np.float32), np.zeros(len(x), np.float32))


class DrawnExamples:
    """Windows that are drawn when they are needed."""

    def __init__(self, prepared: Prepared, experiment: Experiment, chosen: _I64) -> None:
        preset = experiment.preset
        assert not isinstance(preset.windows, Passes)
        self._base = experiment.base
        distillation: list[DistillationTarget] = []
        n_labels = len(prepared.labels)
        if prepared.embeddings:
            embeddings = [prepared.embeddings[i] for i in chosen]
            target, fold = prepared.target[chosen], _spread(prepared.fold[chosen])
            n_outputs = preset.n_outputs(n_labels)
            distillation = distillation_targets(embeddings, target, fold, n_outputs)
        p = preset.features
        negatives = tuple(prepared.audio[i] for i in chosen if prepared.target[i] == n_labels)
        rng = np.random.default_rng([experiment.seed, _BACKGROUNDS])
        backgrounds = Backgrounds(p.window_samples, p.sr, preset.background_dbfs, negatives, rng)
        self._windows = DrawnWindows(
            [prepared.audio[i] for i in chosen],
            prepared.target[chosen],
            preset.n_outputs(n_labels),
            preset.features,
            preset.windows,
            preset.none_share,
            backgrounds,
            distillation,
            preset.soft_share,
        )

    def __len__(self) -> int:
        return len(self._windows)

    def sample(self, rng: np.random.Generator) -> _F32:
        rounds = -(-_STANDARDISED_BY // len(self))
        order = np.concatenate([self.order(rng) for _ in range(rounds)])
        return self.batch(order[:_STANDARDISED_BY], rng).x

    def order(self, rng: np.random.Generator) -> _I64:
        return self._windows.order(rng)

    def batch(self, chosen: _I64, rng: np.random.Generator) -> Batch:
        batch = self._windows.batch(chosen, rng)
        return batch if self._base is None else batch._replace(x=self._base.embeddings(batch.x))


def _spread(fold: _I64) -> _I64:
    """Spread negatives over the folds of labelled clips, neighbours together."""
    negative = fold == NEGATIVE_FOLD
    folds, n = np.unique(fold[~negative]), int(negative.sum())
    spread = fold.copy()
    spread[negative] = folds[np.arange(n) * len(folds) // max(1, n)]
    return spread


def fit(
    prepared: Prepared, experiment: Experiment, folds: Sequence[int], watch: Watch | None = None
) -> keras.Model:
    """Train on the clips of these folds; the model gives logits.

    The same seed on the same machine gives the same model. ``watch`` is called at the end
    of each epoch with its number, from 1, and its mean loss.

    Raises
    ------
    DatasetError
        If the folds have no clip of some label.
    """
    preset, seed = experiment.preset, experiment.seed
    import keras
    import tensorflow as tf

    keras.backend.clear_session()  # else names count on from the models before, in the file too
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    rng = np.random.default_rng(seed)
    chosen = trained_on(prepared, preset, folds)
    absent = set(range(len(prepared.labels))) - set(prepared.target[chosen].tolist())
    if absent:
        raise DatasetError(
            f"folds {', '.join(map(str, folds))} have no clip of "
            f"'{prepared.labels[min(absent)]}' to train on: hold out others"
        )
    examples: Examples
    if isinstance(preset.windows, Passes):
        examples = TakenExamples(prepared, experiment, chosen)
    else:
        examples = DrawnExamples(prepared, experiment, chosen)
    n_outputs = preset.n_outputs(len(prepared.labels))
    model = preset.build(preset.features, examples.sample(rng), n_outputs)
    train(model, preset, examples, experiment.epochs, rng, watch)
    return model


def trained_on(prepared: Prepared, preset: Preset, folds: Sequence[int]) -> _I64:
    """Choose the clips that a model of these folds is trained on: their indices, int64 [n].

    Negatives are among them unless they are of a recording of another fold; a clip whose
    licence keeps it out is not.
    """
    seen = list(folds) if preset.none_share == 0.0 else [*folds, NEGATIVE_FOLD]
    wanted = np.isin(prepared.fold, seen)
    if preset.none_share > 0.0:
        wanted &= np.isin(prepared.beside, seen)
    wanted[list(prepared.untrained)] = False
    return np.flatnonzero(wanted)


def train(
    model: keras.Model,
    preset: Preset,
    examples: Examples,
    epochs: int,
    rng: np.random.Generator,
    watch: Watch | None = None,
) -> None:
    """Fit the model's weights, in place, as the preset says."""
    n_outputs = model.output.shape[-1]
    steps = max(1, epochs * len(examples) // preset.batch_size)
    batches = _batches(examples, preset.batch_size, steps, rng)
    first = next(batches)
    step, averages = _make_step(model, preset, steps, first.distilled.shape[1])
    losses: list[float] = []
    with progress("training", epochs) as advance:
        for done, batch in enumerate(_one_ahead(chain([first], batches)), 1):
            flat = np.float32(preset.label_smoothing)
            losses.append(float(step(*batch._replace(y=batch.y * (1 - flat) + flat / n_outputs))))
            if done * epochs // steps > (done - 1) * epochs // steps:  # an epoch ends here
                advance(1)
                if watch is not None:
                    watch(done * epochs // steps, float(np.mean(losses)))
                losses.clear()
    for variable, average in averages:
        variable.assign(average)


def _make_step(
    model: keras.Model, preset: Preset, steps: int, n_components: int
) -> tuple[Any, list[tuple[Any, Any]]]:
    """Make the function that trains on one batch, and averages of the weights where wanted.

    A dense layer beside the last one learns the teacher's components from the same input;
    it is not kept. Keras's own ``fit`` takes twice as long for models as small as these.
    """
    import keras
    import tensorflow as tf

    seen = model.layers[-1].input
    components = keras.layers.Dense(n_components)(seen) if n_components else seen
    both = keras.Model(model.input, [model.output, components])
    variables = both.trainable_variables
    optimizer = keras.optimizers.AdamW(_rate(preset, steps), weight_decay=preset.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    optimizer.build(variables)
    weights = [w.value for w in model.weights if w.dtype == "float32"] if preset.averaging else []
    averages = [(weight, tf.Variable(weight)) for weight in weights]

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(x: Any, y: Any, weight: Any, distilled: Any, known: Any) -> Any:
        with tf.GradientTape() as tape:
            logits, learnt = both(x, training=True)
            losses = weight * tf.nn.softmax_cross_entropy_with_logits(y, logits)
            if n_components:
                error = tf.reduce_mean((learnt - distilled) ** 2, axis=1)
                losses += preset.distillation_weight * known * error
            loss = tf.reduce_mean(losses) + tf.add_n([*model.losses, 0.0])
        optimizer.apply(tape.gradient(loss, variables), variables)
        for variable, average in averages:
            average.assign_add((1.0 - preset.averaging) * (variable - average))
        return loss

    return step, averages


def _rate(preset: Preset, steps: int) -> Any:
    import keras

    if not preset.cosine:
        return preset.learning_rate
    warmup = round(preset.warmup_share * steps)
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(preset.learning_rate, steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=preset.learning_rate, warmup_steps=warmup
    )


def _batches(
    examples: Examples, size: int, steps: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """Yield batches of one size; one may reach over the end of an epoch."""
    waiting = np.zeros(0, np.int64)
    for _ in range(steps):
        while len(waiting) < size:
            waiting = np.concatenate([waiting, examples.order(rng)])
        yield examples.batch(waiting[:size], rng)
        waiting = waiting[size:]


def _one_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the same batches; the next one is made while one is trained on."""
    with ThreadPoolExecutor(1) as worker:
        upcoming = worker.submit(next, batches, None)
        while (batch := upcoming.result()) is not None:
            upcoming = worker.submit(next, batches, None)
            yield batch


def logits_of(model: keras.Model, x: _F32) -> _F32:
    """Compute logits, float32 [n, n_outputs]. Keras's predict() traces every new model."""
    parts = [
        np.asarray(model(x[i : i + _PREDICTED_AT_ONCE], training=False))
        for i in range(0, len(x), _PREDICTED_AT_ONCE)
    ]
    return np.concatenate(parts)
