"""Figures from scores: by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from otic_training.fitting.calibrate import best_temperature
from otic_training.fitting.validate import HeldOut, calibrated, probabilities, temperature_of
from otic_training.scoring.metrics import Figures, by_class, calibration_error, reliability
from otic_training.scoring.metrics import Tested as Outcome

LABELS = ("a", "b", "c")


def scores(rng: np.random.Generator, n: int = 60) -> Outcome:
    raw = rng.random((n, 3)).astype(np.float32)
    clip = np.sort(rng.integers(0, 15, n))
    return Outcome(1, raw / raw.sum(axis=1, keepdims=True), clip, clip % 3)


def test_a_clip_is_the_mean_of_its_windows() -> None:
    tested = Outcome(
        1,
        np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]], np.float32),
        np.array([7, 7, 9, 9]),
        np.array([0, 0, 0, 0]),
    )
    means, target = tested.clips()
    np.testing.assert_allclose(means, [[0.55, 0.45], [0.35, 0.65]], atol=1e-6)
    assert target.tolist() == [0, 0]
    assert tested.clip_accuracy == 0.5
    assert tested.window_accuracy == 0.25
    assert tested.confusion().tolist() == [[1, 1], [0, 0]]


def test_figures_by_class_are_scikit_learns() -> None:
    tested = scores(np.random.default_rng(0))
    means, target = tested.clips()
    heard = means.argmax(axis=1)
    np.testing.assert_array_equal(tested.confusion(), confusion_matrix(target, heard))
    rows = by_class(LABELS, tested.confusion().tolist())
    precision, recall, f1, clips = precision_recall_fscore_support(target, heard)
    for i, row in enumerate(rows):
        assert row["recall"] == pytest.approx(recall[i], abs=1e-4)
        assert row["precision"] == pytest.approx(precision[i], abs=1e-4)
        assert row["f1"] == pytest.approx(f1[i], abs=1e-4)
        assert row["clips"] == clips[i]
    nothing = by_class(("a", "b"), [[0, 0], [0, 3]])[0]
    assert (nothing["recall"], nothing["precision"], nothing["f1"]) == (None, None, None)


def test_means_and_spread_are_over_folds() -> None:
    results = [scores(np.random.default_rng(seed)) for seed in range(3)]
    found = Figures.of(results, "protocol")
    by_fold = [r.clip_accuracy for r in results]
    assert found.clip_by_fold == pytest.approx(by_fold, abs=1e-4)
    assert found.clip_sd == pytest.approx(np.std(by_fold, ddof=1), abs=1e-4)
    assert found.clips == sum(len(r.clips()[1]) for r in results)
    assert Figures(**found.to_dict()) == found
    assert "clip_by_seed" not in found.to_dict()
    assert found.spread("clip") == f"{found.clip_mean:.1%} ± {found.clip_sd:.1%}"
    assert Figures.of(results[:1], "protocol").spread("window").endswith("%")
    several = Figures.of(results * 2, "protocol", 2)
    assert several.clip_by_seed == [found.clip_mean] * 2
    assert several.clips == found.clips


def test_reliability_counts_every_window_once() -> None:
    tested = scores(np.random.default_rng(1), 500)
    curve = reliability([tested])
    assert sum(row["windows"] for row in curve) == 500
    best = tested.scores.max(axis=1)
    chosen = (best >= 0.4) & (best < 0.5)
    row = next(r for r in curve if 0.4 <= r["score"] < 0.5)
    right = tested.scores.argmax(axis=1) == tested.target
    assert row["windows"] == chosen.sum()
    assert row["accuracy"] == pytest.approx(right[chosen].mean(), abs=1e-4)
    perfect = [{"windows": 3, "score": 0.7, "accuracy": 0.7}]
    assert calibration_error(perfect) == pytest.approx(0.0)
    off = [*perfect, {"windows": 1, "score": 0.9, "accuracy": 0.5}]
    assert calibration_error(off) == pytest.approx(0.1)


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found(true_temperature: float) -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0.0, 2.0, (20_000, 4)).astype(np.float32)
    chances = probabilities(logits, true_temperature, 4)
    target = (chances.cumsum(axis=1) > rng.random((len(logits), 1))).argmax(axis=1)
    assert best_temperature(logits, target) == pytest.approx(true_temperature, rel=0.05)


def test_no_fold_sees_its_own_temperature() -> None:
    rng = np.random.default_rng(3)
    results = [
        HeldOut(fold, rng.normal(size=(50, 3)).astype(np.float32), np.arange(50), np.arange(50) % 2)
        for fold in (1, 2, 3)
    ]
    tested = calibrated(results, 2)
    for i, result in enumerate(results):
        others = [r for r in results if r is not result]
        expected = probabilities(result.logits, temperature_of(others), 2)
        np.testing.assert_array_equal(tested[i].scores, expected)
    assert (tested[0].scores.sum(axis=1) < 1.0).all()  # what is left is "none of these"
