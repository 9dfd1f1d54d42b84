"""Thresholds from a budget of alarms, on scores that are made here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from otic_training.scoring.predictions import Predictions, at_thresholds
from otic_training.scoring.thresholds import Room, thresholds
from tests.support.helpers import decision

SR, STEP = 1000, 320
AT_ONCE: dict[str, Any] = {"smoothing_scores": 1, "min_on_seconds": 0.0}


def room(spreads: tuple[float, ...], hours: float) -> Room:
    """Log-odds of each label: noise around -4, as a head's scores are in a quiet room."""
    n = round(hours * 3600 * SR / STEP)
    z = np.random.default_rng(3).standard_normal((n, len(spreads))) * spreads - 4.0
    sample = STEP * np.arange(1, n + 1)
    scores = (1.0 / (1.0 + np.exp(-z))).astype(np.float32)
    labels = tuple(f"label {i}" for i in range(len(spreads)))
    return Room((Predictions(labels, SR, n * STEP, sample, scores, sample - 100),))


@pytest.mark.parametrize("budget", [10.0, 20.0, 40.0])
def test_a_budget_is_used_and_kept_by_all_labels_together(budget: float) -> None:
    quiet, params = room((0.5, 1.0, 1.5, 2.0), 0.7), decision(4, **AT_ONCE)
    found = thresholds(quiet, params, budget)
    alarms = sum(quiet.alarms(at_thresholds(params, found)).values())
    assert 0.5 * budget * 0.7 <= alarms <= budget * 0.7
    assert found == tuple(sorted(found))  # what wanders more needs more
    assert found[0] < 0.5 * found[3]


def test_what_the_background_is_too_short_to_show_is_extrapolated() -> None:
    """One alarm in eight hours, from one hour."""
    quiet, params = room((1.0, 2.0), 1.0), decision(2, **AT_ONCE)
    found = thresholds(quiet, params, 0.125)
    assert sum(quiet.alarms(at_thresholds(params, found)).values()) == 0
    highest = quiet.predictions[0].scores.max(axis=0)
    assert all(log_odds(np.array(found)) > log_odds(highest) + 0.5)


def log_odds(p: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.log(p / (1.0 - p))


def test_a_label_that_never_rests_is_raised_and_the_others_are_not() -> None:
    """Every so often one label jumps to 0.95, higher than its other peaks foretell."""
    quiet, params = room((1.0, 1.0), 1.0), decision(2, **AT_ONCE)
    alone = thresholds(quiet, params, 4.0)
    quiet.predictions[0].scores[::2000, 1] = 0.95
    found = thresholds(quiet, params, 4.0)
    assert found[1] > 0.95
    assert found[0] <= alone[0] * 1.2
    assert sum(quiet.alarms(at_thresholds(params, found)).values()) <= 4


def test_no_threshold_is_below_the_lowest() -> None:
    quiet, params = room((0.5, 2.0), 0.2), decision(2, **AT_ONCE)
    free, held = (thresholds(quiet, params, 20.0, lowest) for lowest in (0.2, 0.6))
    assert free[0] < 0.6 == held[0]
    assert held[1] >= 0.6
