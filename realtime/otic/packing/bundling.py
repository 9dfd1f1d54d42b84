"""Make a bundle of a foreign model, and prove by running it that it can be served."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from otic import __version__
from otic.config.values import MAX_WHOLE
from otic.detection.thresholds import DecisionParams
from otic.errors import BundleError, UsageError, did_you_mean
from otic.features.reference import reference_features
from otic.model.bundle import (
    NOT_STATED,
    Bundle,
    Groups,
    bundle_bytes,
    load_bundle,
    parse_bundle,
    save_bundle,
)
from otic.model.classifier import Classifier, with_golden_cases
from otic.model.golden import golden_sound
from otic.model.interface import ModelInterface
from otic.model.sandbox import try_out
from otic.packing.features import FeatureRequest, derive_features
from otic.packing.files import ModelMetadata
from otic.packing.tflite_file import ModelFile, TensorInfo

MAX_HOP_SECONDS = 1.0
"""Longest time between two predictions where none is given."""

_STATE_LIMIT = 1e-4  # rounding may differ; what a model remembers shows more
_RANGE_LIMIT = 1e-3  # rounding, and an int8 output's last step
_SCORE_TYPES = ("float32", "int8", "uint8", "int16")

_SUM_TOLERANCE = 0.01  # int8 scores are rounded
_SHARE_GROUND, _SCORE_GROUND, _BACK_SECONDS = 0.5, 0.1, 4.0


@dataclass(frozen=True)
class PackRequest:
    """A model and what the command line says about it.

    Attributes
    ----------
    origin : str
        The model's path, for messages and provenance.
    content : bytes
        The file.
    model : ModelFile
    metadata : ModelMetadata
    labels : tuple of str
        Labels of the model's outputs, in their order.
    features : FeatureRequest
    interface : dict
        Values that differ from the defaults of :class:`otic.model.interface.ModelInterface`.
    output : int or None
        Number of the output with the scores; None for the first with a number for each label.
    hop_seconds : float or None
        Time between two predictions; None for a quarter of the window, at most a second.
    threshold : float
        Threshold of labels that ``thresholds`` does not name.
    thresholds : dict of str to float
    groups : dict
    name, license, accuracy_note : str
    """

    origin: str
    content: bytes = field(repr=False)
    model: ModelFile
    metadata: ModelMetadata
    labels: tuple[str, ...]
    features: FeatureRequest
    interface: dict[str, Any]
    output: int | None
    hop_seconds: float | None
    threshold: float
    thresholds: dict[str, float]
    groups: Groups
    name: str
    license: str
    accuracy_note: str


def check_servable(origin: str, model: ModelFile, metadata: ModelMetadata) -> None:
    """Refuse what can't be served, whatever the options.

    Raises
    ------
    BundleError
        If it can't; the message has the reason.
    """
    if model.tensorflow_operators:
        raise BundleError(
            f"model '{origin}' uses {_listed(model.tensorflow_operators)}, TensorFlow's own: "
            "convert it without SELECT_TF_OPS, from layers that TFLite has"
        )
    if model.missing_operators:
        raise BundleError(
            f"model '{origin}' uses {_listed(model.missing_operators)}, which no TFLite runtime "
            "comes with (custom operators): convert the model from layers that TFLite has"
        )
    if len(model.inputs) != 1:
        shown = ", ".join(f"{t.name} {t}" for t in model.inputs[:4]) or "none"
        raise BundleError(
            f"model '{origin}' has {len(model.inputs)} inputs ({shown}): one is needed"
            f"{_about_inputs(model)}"
        )
    if not model.outputs:
        raise BundleError(f"model '{origin}' has no output")
    if metadata.channels > 1:
        raise BundleError(
            f"model '{origin}' takes {metadata.channels} channels of audio, by its metadata: "
            "otic takes one"
        )


def _about_inputs(model: ModelFile) -> str:
    """Explain what the inputs behind the first are, where it shows."""
    others = [tensor for tensor in model.inputs if tensor.size == 1 and -1 not in tensor.shape]
    if others and len(others) == len(model.inputs) - 1:
        return (
            f"; {others[0].name} takes a single number, such as the sampling rate: make it a "
            "constant of the model before it is converted"
        )
    given = [(tensor.dtype, tensor.shape) for tensor in model.outputs]
    if any((tensor.dtype, tensor.shape) in given for tensor in model.inputs):
        return (
            "; a state that is handed on is served only for models that are trained with "
            "otic's base: take one that looks at a window"
        )
    return ""


def make_bundle(request: PackRequest) -> Bundle:
    """Make the bundle, without golden cases; nothing has been run yet.

    Raises
    ------
    UsageError, BundleError, ParameterError
        If something is missing, does not fit, or is beyond the limits.
    """
    output = _chosen_output(request)
    features, order = derive_features(request.features, request.model.inputs[0])
    labels = (*request.labels, *request.groups)
    strange = sorted(set(request.thresholds) - set(labels))
    if strange:
        near = did_you_mean(strange[0], labels)
        raise UsageError(f"--threshold {strange[0]}=…: the model has no such label or group{near}")
    hop = request.hop_seconds
    if hop is None:
        hop = min(MAX_HOP_SECONDS, features.window_seconds / 4)
    hop_frames = min(hop * features.sr / features.hop_length, MAX_WHOLE + 1)  # round() fails at inf
    thresholds = tuple(request.thresholds.get(label, request.threshold) for label in labels)
    return Bundle(
        name=request.name,
        labels=labels,
        features=features,
        inference_hop_frames=max(1, round(hop_frames)),
        decision=_decision(thresholds, features.window_seconds),
        accuracy={"protocol": request.accuracy_note or "not measured by otic"},
        license=request.license or request.metadata.license or NOT_STATED,
        provenance=_provenance(request),
        model=request.content,
        origin=request.origin,
        interface=ModelInterface(**{**request.interface, "order": order, "output": output}),
        groups=request.groups,
    )


def write(bundle: Bundle, path: str) -> Bundle:
    """Write a bundle, and return what is read back."""
    save_bundle(path, bundle)
    return load_bundle(path if path.endswith(".tflite") else str(Path(path).resolve()))


def _chosen_output(request: PackRequest) -> int:
    outputs, n = request.model.outputs, len(request.labels)
    index = request.output
    if index is None:
        fitting = [i for i, tensor in enumerate(outputs) if _may_hold(tensor, n)]
        scores = [i for i in fitting if outputs[i].dtype in _SCORE_TYPES]
        index = next(iter((*scores, *fitting)), 0)
    if index >= len(outputs):
        raise BundleError(
            f"--output {index}: model '{request.origin}' has {len(outputs)} outputs, 0 to "
            f"{len(outputs) - 1}"
        )
    chosen = outputs[index]
    if chosen.dtype not in _SCORE_TYPES:
        raise BundleError(
            f"model '{request.origin}' gives {chosen} at output {index}, no scores: one that "
            "gives a score for each label is needed (take the model from before its argmax)"
        )
    if not _may_hold(chosen, n):
        if chosen.shape[-1:] == (n,) and chosen.size > n:
            raise BundleError(
                f"model '{request.origin}' gives scores a frame, {chosen}, for {n} labels: one "
                "score for each label and window is needed; add a layer that takes the mean or "
                "the maximum over frames before the model is converted"
            )
        counts = chosen.size if request.output is not None else _sizes(outputs)
        raise BundleError(
            f"model '{request.origin}' gives {counts} numbers, but there are {n} labels: "
            "one label for each score is needed, in the model's order"
        )
    return index


def _sizes(outputs: tuple[TensorInfo, ...]) -> str:
    return " or ".join(str(tensor.size) for tensor in outputs)


def _may_hold(tensor: TensorInfo, n: int) -> bool:
    """Return True if a tensor may have ``n`` numbers; an open one shows when it runs."""
    return tensor.size == n or (tensor.size == 1 and -1 in tensor.shape[-1:])


def _decision(thresholds: tuple[float, ...], window_seconds: float) -> DecisionParams:
    """Choose what otic's own models have; ``otic tune`` finds better thresholds for a place."""
    return DecisionParams(
        smoothing_scores=2,
        on_thresholds=thresholds,
        off_thresholds=tuple(value / 2 for value in thresholds),
        min_on_seconds=0.0,
        min_off_seconds=1.0,
        max_on_seconds=600.0,
        lag_seconds=round(window_seconds * 2 / 3, 6),
    )


def _provenance(request: PackRequest) -> dict[str, Any]:
    metadata = request.metadata
    read = {
        "name": metadata.name,
        "license": metadata.license,
        "sr": metadata.sr,
        "channels": metadata.channels,
        "label_files": [name for name in metadata.label_files if name],
    }
    said = {key: value for key, value in read.items() if value}
    return {
        "packed_by": f"otic {__version__}",
        "file": Path(request.origin).name,
        "file_sha256": hashlib.sha256(request.content).hexdigest(),
        **({"metadata": said} if said else {}),
        "weights": "int8" if request.model.int8 else "float32",
    }


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def prove(bundle: Bundle) -> Bundle:
    """Run a bundle, first in the sandbox, and return it with golden cases and onsets dated back.

    Raises
    ------
    BundleError
        If the runtime does not run it, if it remembers earlier windows, or if its
        output is no scores from 0 to 1.
    """
    # The checks of the file come before it runs.
    parse_bundle(bundle.origin, bundle_bytes(bundle))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.tflite"
        save_bundle(path, bundle)
        try_out(str(path), bundle.origin)
    try:
        proven = with_golden_cases(bundle)
    except BundleError as error:
        raise _with_remedy(error) from error
    _check_silence(proven)
    _check_memory(proven)
    _check_range(proven)
    return replace(proven, decision=_dated_back(proven))


def _dated_back(bundle: Bundle) -> DecisionParams:
    """Choose from which share of a threshold on a score counts as risen.

    Scores of labels by themselves lie near 0 without their sound. Shares that sum to 1 have to
    go to some label, and a tenth of a threshold says nothing of them.
    """
    n = len(bundle.model_labels)
    sums = [sum(case.scores[:n]) for case in bundle.golden]
    shares = all(abs(total - 1.0) < _SUM_TOLERANCE for total in sums)
    ground = _SHARE_GROUND if shares else _SCORE_GROUND
    return replace(bundle.decision, onset_ground=ground, onset_back_seconds=_BACK_SECONDS)


def _with_remedy(error: BundleError) -> BundleError:
    """Add what to do, where the runtime names an operator that it lacks."""
    remedies = {
        "Didn't find op": "update the runtime (pip install -U ai-edge-litert), or convert the "
        "model with an older TensorFlow",
        "custom op": "convert the model from layers that TFLite has",
        "its output has shape": "give it a window of which it makes one score for each label "
        "(--window-seconds)",
    }
    found = (remedy for words, remedy in remedies.items() if words in str(error))
    remedy = next(found, None)
    return error if remedy is None else BundleError(f"{str(error).rstrip('.?')}: {remedy}")


def _check_silence(bundle: Bundle) -> None:
    """Require scores for silence: a muted microphone gives it, and NaN would end the stream."""
    silence = np.zeros(bundle.features.window_samples, np.float32)
    features = reference_features(silence, bundle.features).astype(np.float32)
    try:
        Classifier(bundle).predict(features)
    except BundleError as error:
        raise BundleError(
            f"model '{bundle.origin}' has no finite scores for silence, which a muted microphone "
            "gives: where it divides by the window's level, or takes its logarithm, a small "
            "number must be added first"
        ) from error


def _check_memory(bundle: Bundle) -> None:
    """Require the same scores for the same window, whatever came before it."""
    p, case = bundle.features, bundle.golden[0]
    y = golden_sound(case.sound, p.sr, p.window_samples)
    classifier = Classifier(bundle)
    features = reference_features(y, p).astype(np.float32)
    first = classifier.predict(features)
    classifier.predict(-features)
    off = float(np.abs(classifier.predict(features) - first).max())
    if off > _STATE_LIMIT:
        raise BundleError(
            f"model '{bundle.origin}' gives scores that differ by {off:.2g} for the same sound "
            "after another one: it keeps a state from window to window and can't be served"
        )


def _check_range(bundle: Bundle) -> None:
    scores = np.array([case.scores for case in bundle.golden])
    if scores.min() < -_RANGE_LIMIT or scores.max() > 1.0 + _RANGE_LIMIT:
        raise BundleError(
            f"model '{bundle.origin}' gives scores from {scores.min():.3g} to {scores.max():.3g}, "
            "which must lie in 0 to 1: if they are logits, say --activation softmax (one sound "
            "at a time) or sigmoid (several at once)"
        )
