"""Tests on folds that training did not see: scores, temperatures, protocols."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from otic_training.cli.progress import say
from otic_training.data.cache import fitting_code, key_of
from otic_training.data.dataset import DatasetError, same_data
from otic_training.data.negatives import NEGATIVE_FOLD
from otic_training.data.windows import clip_windows
from otic_training.experiment import Experiment
from otic_training.fitting.calibrate import best_temperature
from otic_training.fitting.fit import fit, logits_of
from otic_training.fitting.prepare import Prepared, prepare
from otic_training.networks.tflite import scores_of, served, to_int8
from otic_training.scoring.metrics import Figures, Tested

if TYPE_CHECKING:
    import keras

_F32 = NDArray[np.float32]
_I64 = NDArray[np.int64]

_RANGED_BY = 400
"""Windows that set the ranges of an int8 model's activations."""

_LISTENED_TO = 40
"""Clips whose features are computed again for that, on a base model."""

INT8 = "int8, scores not calibrated; "
"""Begins the protocol of an int8 model's figures."""


@dataclass(frozen=True)
class HeldOut:
    """A model's logits on folds that it was not trained on; see :class:`Tested`.

    ``int8`` holds the scores of its int8 version, where that was asked for; ``model`` is
    the Keras model as a file.
    """

    fold: int
    logits: _F32
    clip: _I64
    target: _I64
    int8: _F32 | None = None
    model: bytes = b""

    def tested(self, temperature: float, n_labels: int) -> Tested:
        """Scores as they would be served, at a temperature."""
        scores = probabilities(self.logits, temperature, n_labels)
        return Tested(self.fold, scores, self.clip, self.target)

    def tested_int8(self) -> Tested:
        """Scores of the int8 version."""
        assert self.int8 is not None
        return Tested(self.fold, self.int8, self.clip, self.target)


def probabilities(logits: _F32, temperature: float, n_labels: int) -> _F32:
    """``softmax(logits / temperature)`` of the labels; what is left is "none of these"."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    scores: _F32 = shares[:, :n_labels].astype(np.float32)
    return scores


def evaluate_held_out(
    model: keras.Model,
    prepared: Prepared,
    experiment: Experiment,
    train_folds: Sequence[int],
    test_folds: Sequence[int],
    temperature: float = 1.0,
) -> HeldOut:
    """Test a model that was trained on some folds on others, and its int8 version if wanted."""
    x, clip = _windows_of(prepared, test_folds)
    small = None
    if experiment.int8:
        scores = served(model, len(prepared.labels), temperature)
        ranges = calibration_windows(prepared, experiment, train_folds)
        small = scores_of(to_int8(scores, ranges), x)
    return HeldOut(min(test_folds), logits_of(model, x), clip, prepared.target[clip], small)


def hold_out(
    prepared: Prepared,
    experiment: Experiment,
    train_folds: Sequence[int],
    test_folds: Sequence[int],
) -> HeldOut:
    """Train on some folds and test on others; the store keeps the result."""
    folds = (tuple(train_folds), tuple(test_folds))
    store, int8 = experiment.store, experiment.int8
    how = (experiment.preset.key, folds, experiment.seed, experiment.epochs, int8)
    key = key_of(prepared.key, *how, fitting_code())
    known = store.load(key)
    names = {"logits", "model", "int8"} if int8 else {"logits", "model"}
    if known is not None and known.keys() == names:
        _, clip = _windows_of(prepared, test_folds)
        small = np.asarray(known["int8"], np.float32) if int8 else None
        logits, kept = np.asarray(known["logits"], np.float32), known["model"].tobytes()
        return HeldOut(min(test_folds), logits, clip, prepared.target[clip], small, kept)
    model = fit(prepared, experiment, train_folds)
    result = evaluate_held_out(model, prepared, experiment, train_folds, test_folds)
    result = replace(result, model=to_bytes(model))
    found: dict[str, NDArray[np.generic] | None] = {
        "logits": result.logits,
        "int8": result.int8,
        "model": np.frombuffer(result.model, np.uint8),
    }
    store.save(key, {name: array for name, array in found.items() if array is not None})
    return result


def to_bytes(model: keras.Model) -> bytes:
    """Save a Keras model, and return the file's bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


def from_bytes(content: bytes) -> keras.Model:
    """Load a Keras model from the bytes of its file."""
    import keras

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        return keras.models.load_model(path)


def _windows_of(prepared: Prepared, folds: Sequence[int]) -> tuple[_F32, _I64]:
    chosen = np.isin(prepared.fold, folds)[prepared.test.clip]
    return prepared.test.x[chosen], prepared.test.clip[chosen]


def calibration_windows(prepared: Prepared, experiment: Experiment, folds: Sequence[int]) -> _F32:
    """Take some windows of these folds, at the live pace, float32 [n, n_features].

    They set the ranges of an int8 model, and what is written is compared on them with
    what was trained.
    """
    if experiment.base is None:
        x, _ = _windows_of(prepared, folds)
        return x[:: -(-len(x) // _RANGED_BY)]
    clips = np.flatnonzero(np.isin(prepared.fold, folds))  # only their embeddings are kept
    chosen = [prepared.audio[i] for i in clips[:: -(-len(clips) // _LISTENED_TO)]]
    return clip_windows(chosen, experiment.base.features, experiment.base.inference_hop_frames).x


class CrossValidated(NamedTuple):
    """The test of each fold, and its scores as served: float32 and, where wanted, int8."""

    held_out: list[HeldOut]
    float32: list[Tested]
    int8: list[Tested]


def cross_validate(
    prepared: Prepared, experiment: Experiment, tell: Callable[[str], None] = say
) -> CrossValidated:
    """Train and test with each fold held out in turn, each at the others' temperature.

    ``tell`` is called with a line for each fold.
    """
    results = []
    folds = sorted(set(prepared.fold.tolist()) - {NEGATIVE_FOLD})
    for held_out in folds:
        others = [fold for fold in folds if fold != held_out]
        result = hold_out(prepared, experiment, others, [held_out])
        tested = result.tested(1.0, len(prepared.labels))
        tell(
            f"{experiment.preset.name}: fold {held_out} held out: {tested.clip_accuracy:.1%} of "
            f"clips, {tested.window_accuracy:.1%} of windows"
        )
        results.append(result)
    small = [r.tested_int8() for r in results] if experiment.int8 else []
    return CrossValidated(results, calibrated(results, len(prepared.labels)), small)


def tutorial_figures(experiment: Experiment) -> Figures | None:
    """Cross-validate the tutorial on the same data, to compare with; None where it can't be."""
    try:
        prepared = prepare(experiment.tutorial)
        tested = cross_validate(prepared, experiment.tutorial).float32
    except DatasetError as error:  # clips that are too short for it, say: no reason to fail
        say(f"no comparison with the tutorial: {error}")
        return None
    return Figures.of(tested, protocol_of(prepared, experiment.tutorial))


def protocol_of(prepared: Prepared, experiment: Experiment) -> str:
    """Describe how a cross-validation of this experiment tests."""
    dataset = experiment.dataset
    sure = "" if dataset.warnings else " (a recording is in one fold only)"
    return (
        f"{dataset.name}, {len(dataset.folds)} {dataset.protocol}, each held out in turn{sure}; "
        "scores averaged over a clip's windows, taken "
        f"at the live pace, without those that are silent for more than half"
        f"{reservations(prepared, experiment)}"
    )


def reservations(prepared: Prepared, experiment: Experiment) -> str:
    """List what must be said with every figure: warnings, clips that could not be used, leaks."""
    dataset, base = experiment.dataset, experiment.base
    found = [*dataset.warnings]
    if prepared.left_out:
        found.append(f"{prepared.left_out} clips left out")
    if prepared.untrained:
        found.append(f"{len(prepared.untrained)} tested, but by their licence not trained on")
    if base is not None and base.data is not None and same_data(base.data, dataset.name):
        found.append(
            f"a LEAK: the base was trained on {base.data} itself, this is no figure to rely on"
        )
    return "".join(f"; {text}" for text in found)


def calibrated(results: Sequence[HeldOut], n_labels: int) -> list[Tested]:
    """Scale each fold's scores by the temperature that the other folds give, not its own."""
    temperatures = temperatures_of(results)
    return [r.tested(t, n_labels) for r, t in zip(results, temperatures, strict=True)]


def temperatures_of(results: Sequence[HeldOut]) -> list[float]:
    """Find for each fold the temperature that suits the others."""
    rest = [[*results[:i], *results[i + 1 :]] for i in range(len(results))]
    return [temperature_of(others) if others else 1.0 for others in rest]


def temperature_of(results: Sequence[HeldOut]) -> float:
    """Find the temperature that suits all results."""
    logits = np.concatenate([result.logits for result in results])
    return best_temperature(logits, np.concatenate([result.target for result in results]))
