"""Proves that a packed model can be served, by running it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from otic.errors import BundleError
from otic.features.reference import reference_features
from otic.model.bundle import Bundle, bundle_bytes, parse_bundle, save_bundle
from otic.model.classifier import Classifier
from otic.model.golden import golden_cases, golden_sound
from otic.model.sandbox import try_out

_STATE_LIMIT = 1e-4  # rounding may differ; what a model remembers shows more
_RANGE_LIMIT = 1e-3  # rounding, and an int8 output's last step


def prove(bundle: Bundle) -> Bundle:
    """Run it, in a process of its own first; the same with golden cases.

    Raises
    ------
    BundleError
        Where the runtime does not run it, where it remembers earlier windows, or
        where what it gives are no scores from 0 to 1.
    """
    # What a file may not hold is said before it is run.
    parse_bundle(bundle.origin, bundle_bytes(bundle))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.tflite"
        save_bundle(path, bundle)
        try_out(str(path), bundle.origin)
    try:
        proven = replace(bundle, golden=golden_cases(bundle.features, Classifier(bundle).predict))
    except BundleError as error:
        raise _with_remedy(error) from error
    _check_silence(proven)
    _check_memory(proven)
    _check_range(proven)
    return proven


def _with_remedy(error: BundleError) -> BundleError:
    """What to do, where the runtime names an operator that it does not have."""
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
    """A microphone that is muted gives zeros, and one window without scores ends a stream."""
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
    """The same window gives the same scores, whatever came before it."""
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
