"""Tests on folds that training did not see, and what their scores say of confidence."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from otic_training.data.cache import Store, fitting_code, key_of
from otic_training.data.negatives import OTHER_FOLD
from otic_training.data.windows import clip_windows
from otic_training.fitting.calibrate import best_temperature
from otic_training.fitting.fit import fit, logits_of
from otic_training.fitting.prepare import Prepared
from otic_training.networks.presets import Preset
from otic_training.networks.tflite import scores_of, served, to_int8
from otic_training.scoring.metrics import Tested

if TYPE_CHECKING:
    import keras

_F32 = NDArray[np.float32]
_I64 = NDArray[np.int64]

_RANGED_BY = 400
"""Windows that tell an int8 model the ranges of its activations."""

_LISTENED_TO = 40
"""Clips of whose windows the features are computed again."""


@dataclass(frozen=True)
class HeldOut:
    """What a model said of folds that it was not trained on; see :class:`Tested`.

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
        """Scores as they would be served."""
        scores = probabilities(self.logits, temperature, n_labels)
        return Tested(self.fold, scores, self.clip, self.target)

    def tested_int8(self) -> Tested:
        """The same of the int8 version."""
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
    train_folds: Sequence[int],
    test_folds: Sequence[int],
    int8: bool,
    temperature: float = 1.0,
) -> HeldOut:
    """What a model, trained on some folds, says of others; its int8 version too if wanted."""
    x, clip = _windows_of(prepared, test_folds)
    small = None
    if int8:
        scores = served(model, len(prepared.labels), temperature)
        small = scores_of(to_int8(scores, typical(prepared, train_folds)), x)
    return HeldOut(min(test_folds), logits_of(model, x), clip, prepared.target[clip], small)


def hold_out(
    prepared: Prepared,
    preset: Preset,
    train_folds: Sequence[int],
    test_folds: Sequence[int],
    seed: int,
    epochs: int | None,
    store: Store,
    int8: bool = False,
) -> HeldOut:
    """Train on some folds, test on others; what was tested before comes from the store."""
    folds = (tuple(train_folds), tuple(test_folds))
    n_epochs = epochs or preset.epochs
    key = key_of(prepared.key, preset.key, folds, seed, n_epochs, int8, fitting_code())
    known = store.load(key)
    names = {"logits", "model", "int8"} if int8 else {"logits", "model"}
    if known is not None and known.keys() == names:
        _, clip = _windows_of(prepared, test_folds)
        logits, small = (
            np.asarray(known[name], np.float32) if name in known else None
            for name in ("logits", "int8")
        )
        assert logits is not None
        kept = known["model"].tobytes()
        return HeldOut(min(test_folds), logits, clip, prepared.target[clip], small, kept)
    model = fit(prepared, preset, train_folds, seed, epochs)
    result = evaluate_held_out(model, prepared, train_folds, test_folds, int8)
    result = replace(result, model=to_bytes(model))
    found: dict[str, NDArray[np.generic] | None] = {
        "logits": result.logits,
        "int8": result.int8,
        "model": np.frombuffer(result.model, np.uint8),
    }
    store.save(key, {name: array for name, array in found.items() if array is not None})
    return result


def to_bytes(model: keras.Model) -> bytes:
    """A Keras model as a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


def from_bytes(content: bytes) -> keras.Model:
    """Inverse of :func:`to_bytes`."""
    import keras

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        return keras.models.load_model(path)


def _windows_of(prepared: Prepared, folds: Sequence[int]) -> tuple[_F32, _I64]:
    chosen = np.isin(prepared.fold, folds)[prepared.test.clip]
    return prepared.test.x[chosen], prepared.test.clip[chosen]


def typical(prepared: Prepared, folds: Sequence[int]) -> _F32:
    """Some windows of these folds, at the live pace.

    For the ranges of an int8 model, and to compare what is written with what was trained.
    """
    if prepared.base is not None:
        return _typical_features(prepared, folds)
    x, _ = _windows_of(prepared, folds)
    return x[:: -(-len(x) // _RANGED_BY)]


def _typical_features(prepared: Prepared, folds: Sequence[int]) -> _F32:
    """Features of windows, where only their embeddings are kept."""
    assert prepared.base is not None
    clips = np.flatnonzero(np.isin(prepared.fold, folds))
    chosen = [prepared.audio[i] for i in clips[:: -(-len(clips) // _LISTENED_TO)]]
    return clip_windows(chosen, prepared.base.features, prepared.base.inference_hop_frames).x


def cross_validate(
    prepared: Prepared,
    preset: Preset,
    seed: int,
    epochs: int | None,
    tell: Callable[[str], None],
    store: Store,
    folds: Sequence[int] | None = None,
    int8: bool = False,
) -> list[HeldOut]:
    """Train and test with each fold held out in turn; on some folds only, if they are named."""
    results = []
    folds = sorted(set(prepared.fold.tolist()) - {OTHER_FOLD} if folds is None else folds)
    for held_out in folds:
        others = [fold for fold in folds if fold != held_out]
        result = hold_out(prepared, preset, others, [held_out], seed, epochs, store, int8)
        tested = result.tested(1.0, len(prepared.labels))
        tell(
            f"{preset.name}: fold {held_out} held out: {tested.clip_accuracy:.1%} of clips, "
            f"{tested.window_accuracy:.1%} of windows"
        )
        results.append(result)
    return results


def calibrated(results: Sequence[HeldOut], n_labels: int) -> list[Tested]:
    """Each fold at the temperature that the other folds' scores give, not its own."""
    temperatures = temperatures_of(results)
    return [r.tested(t, n_labels) for r, t in zip(results, temperatures, strict=True)]


def temperatures_of(results: Sequence[HeldOut]) -> list[float]:
    """For each fold the temperature that suits the others."""
    rest = [[*results[:i], *results[i + 1 :]] for i in range(len(results))]
    return [temperature_of(others) if others else 1.0 for others in rest]


def temperature_of(results: Sequence[HeldOut]) -> float:
    """The temperature that suits them all."""
    logits = np.concatenate([result.logits for result in results])
    return best_temperature(logits, np.concatenate([result.target for result in results]))
