from __future__ import annotations

import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from otic import Classifier
from otic.errors import BundleError, RuntimeMissingError
from otic.model.interface import ModelInterface
from otic.model.tensors import input_shape
from tests.support.helpers import bundled, decision


def test_scores_are_probabilities() -> None:
    bundle = bundled()
    classifier = Classifier(bundle)
    features = np.zeros(bundle.features.n_features, np.float32)
    scores = classifier.predict(features)
    assert scores.dtype == np.float32
    assert scores.shape == (len(bundle.labels),)
    assert 0.0 < scores.sum() <= 1.0 + 1e-5  # what is left is "none of these"
    kept = scores.copy()
    classifier.predict(features + 10.0)
    np.testing.assert_array_equal(scores, kept)  # a copy, not a view of the runtime's memory


def test_a_label_count_that_does_not_fit() -> None:
    bundle = replace(bundled(), labels=("a", "b"), decision=decision(2))
    with pytest.raises(BundleError, match=r"names 2 labels, but the model's output has .*10"):
        Classifier(bundle)


def test_a_feature_size_that_does_not_fit() -> None:
    bundle = bundled()
    bundle = replace(bundle, features=replace(bundle.features, statistics=("mean",)))
    with pytest.raises(BundleError, match=r"names 40 features, but the model's input has .*160"):
        Classifier(bundle)


def test_an_output_that_is_not_there() -> None:
    bundle = replace(bundled(), interface=ModelInterface(output=1))
    with pytest.raises(BundleError, match="output 1 should be the scores, but the model has 1"):
        Classifier(bundle)


def test_groups_and_scale() -> None:
    """Groups score what their best label does; a scale of 2 and features of half are the same."""
    bundle = bundled()
    features = np.linspace(-1.0, 1.0, bundle.features.n_features, dtype=np.float32)
    scores = Classifier(bundle).predict(features)
    groups = {"some": bundle.labels[2:5], "one": bundle.labels[:1]}
    n = len(bundle.labels) + 2
    labels = (*bundle.labels, *groups)
    grouped = replace(
        bundle,
        labels=labels,
        groups=groups,
        decision=decision(n),
        golden=(),
        interface=ModelInterface(scale=(2.0,)),
    )
    assert grouped.model_labels == bundle.labels
    expected = [*scores, scores[2:5].max(), scores[0]]
    np.testing.assert_array_equal(Classifier(grouped).predict(features / np.float32(2)), expected)


@pytest.mark.parametrize(
    ("shape", "n", "expected"),
    [
        ([1, 40], 40, (1, 40)),
        ([-1, 40], 40, (1, 40)),
        ([-1, 40], 80, (2, 40)),  # which no label count will fit
        ([-1], 15600, (15600,)),
        ([-1, -1, 64], 6144, (1, 96, 64)),
        ([1, 40], 80, None),
        ([-1, 64], 100, None),
        ([0, 40], 40, None),
    ],
)
def test_shapes_that_are_open(shape: list[int], n: int, expected: tuple[int, ...] | None) -> None:
    assert input_shape(shape, n) == expected


def test_a_damaged_model(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BundleError, match="can't load it"):
        Classifier(replace(bundled(), model=b"\x20\x00\x00\x00TFL3" + bytes(100)))
    assert capfd.readouterr().err == ""


def test_loading_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    Classifier(bundled())
    assert capfd.readouterr() == ("", "")


def test_no_runtime_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RuntimeMissingError, match="pip install ai-edge-litert"):
        Classifier(bundled())


def test_tflite_runtime_with_numpy_2_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """It imports there, and dies in Interpreter(...) with a misleading SystemError."""
    fake = types.ModuleType("tflite_runtime.interpreter")
    fake.Interpreter = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", fake)
    monkeypatch.setenv("OTIC_RUNTIME", "tflite-runtime")
    monkeypatch.setattr(np, "__version__", "2.4.0")
    with pytest.raises(RuntimeMissingError, match=r"numpy below 2 only, and numpy is 2\.4\.0"):
        Classifier(bundled())


def test_the_runtime_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTIC_RUNTIME", "onnx")
    with pytest.raises(RuntimeMissingError, match="OTIC_RUNTIME=onnx must be one of litert, tf"):
        Classifier(bundled())
    monkeypatch.setenv("OTIC_RUNTIME", "litert")
    Classifier(bundled())
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(RuntimeMissingError, match="pip install ai-edge-litert"):
        Classifier(bundled())
