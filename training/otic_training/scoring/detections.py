"""How good detections are: events by their onsets, segments, PSDS, delays, false alarms.

The figures are those of sed_eval and psds_eval; ``tests/golden/detections.json`` has theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic_training.data.soundscapes import Truth
from otic_training.scoring.predictions import Detection

COLLARS_SECONDS = (0.5, 1.0, 2.0)
"""How far an onset may be off. Offsets are not judged by events, only by segments."""

PSDS_DESCRIPTION = "PSDS, DTC 0.5, GTC 0.5, no cost of instability or cross triggers, 100 FP/h"
_TOLERANCE = 0.5
_MAX_FALSE_RATE = 100.0
_SEGMENT_SECONDS = 1.0
_CONFIDENCE = 0.95

_Counts = NDArray[np.int64]
"""What was right, what was there, what was detected."""


@dataclass(frozen=True)
class Judged:
    """A soundscape's truth and what was detected in it."""

    name: str
    seconds: float
    truths: tuple[Truth, ...]
    detections: tuple[Detection, ...]


def event_figures(labels: Sequence[str], judged: Sequence[Judged], collar: float) -> dict[str, Any]:
    """F1, precision and recall of events by their onsets, all together and by label.

    A. Mesaros, T. Heittola, T. Virtanen, "Metrics for Polyphonic Sound Event
    Detection", Applied Sciences 6(6), 2016. As many events as possible are matched.
    """
    counts = _by_label(labels, judged, lambda true, found: _matched(true, found, collar))
    by_label = {label: _fpr(row) for label, row in zip(labels, counts, strict=True)}
    return {**_fpr(counts.sum(axis=0)), "by_label": by_label}


def segment_figures(labels: Sequence[str], judged: Sequence[Judged]) -> dict[str, float]:
    """F1, precision and recall of a label's segments of a second: active or not."""
    return _fpr(_by_label(labels, judged, _common_segments).sum(axis=0))


def psds(truth: Sequence[Judged], points: Sequence[Sequence[Judged]]) -> float:
    """The polyphonic sound detection score over operating points.

    C. Bilen et al., "A Framework for the Robust Evaluation of Sound Event
    Detection", ICASSP 2020: a detection counts where half of it lies within truths, a truth
    where such detections cover half of it. A label's true-positive rate at a rate of false
    detections is the best of all points that have no more; the score is the area below the
    mean over labels.

    Parameters
    ----------
    truth : sequence of Judged
    points : sequence of sequence of Judged
        The same soundscapes, with the detections of each threshold.
    """
    labels = sorted({t.label for j in truth for t in j.truths})
    hours = sum(j.seconds for j in truth) / 3600.0
    counts = np.array([_by_label(labels, judged, _covered) for judged in points]).reshape(
        -1, len(labels), 3
    )
    true_rate, false_rate = counts[:, :, 0] / counts[:, :, 1], counts[:, :, 2] / hours
    within = np.unique(false_rate[false_rate < _MAX_FALSE_RATE])
    edges = np.concatenate([[0.0], within[within > 0.0], [_MAX_FALSE_RATE]])
    best = [np.where(false_rate <= e, true_rate, 0.0).max(axis=0, initial=0.0) for e in edges[:-1]]
    return float(np.sum(np.diff(edges) * np.mean(best, axis=1)) / _MAX_FALSE_RATE)


def delays(judged: Sequence[Judged], collar: float) -> tuple[list[float], list[float]]:
    """How long after their onsets the found events were decided, and the errors of the onsets.

    Each truth is given the nearest detection of its label within the collar that is still free.
    """
    delay, error = [], []
    for j in judged:
        free = list(j.detections)
        for truth in j.truths:
            near = [
                d for d in free if d.label == truth.label and abs(d.onset - truth.onset) <= collar
            ]
            if near:
                best = min(near, key=lambda d: abs(d.onset - truth.onset))
                free.remove(best)
                delay.append(best.time - truth.onset)
                error.append(best.onset - truth.onset)
    return delay, error


def alarm_rate(alarms: int, hours: float) -> dict[str, Any]:
    """False alarms an hour, and the rate that so many in so many hours leave possible.

    The limit is the exact one-sided 95 % limit of a Poisson rate: 0 in 2.5 h is under 1.2 an hour.
    """
    from scipy.special import pdtri

    limit = float(pdtri(alarms, 1.0 - _CONFIDENCE))
    return {
        "hours": round(hours, 4),
        "false_alarms": alarms,
        "per_hour": round(alarms / hours, 2),
        "limit_per_hour": round(limit / hours, 2),
    }


def _by_label(
    labels: Sequence[str],
    judged: Sequence[Judged],
    count: Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[int, int, int]],
) -> _Counts:
    """Counts of each label over all soundscapes, int64 [n_labels, 3].

    ``count`` takes the onsets and offsets of truths and of detections, float64 [n, 2] each.
    """
    counts = np.zeros((len(labels), 3), np.int64)
    for j in judged:
        for row, label in zip(counts, labels, strict=True):
            true, found = (
                np.array([(e.onset, e.offset) for e in some if e.label == label]).reshape(-1, 2)
                for some in (j.truths, j.detections)
            )
            row += count(true, found)
    return counts


def _matched(
    true: NDArray[np.float64], found: NDArray[np.float64], collar: float
) -> tuple[int, int, int]:
    """Count pairs of onsets within the collar: the earliest with the earliest gives most."""
    onsets, free, pairs = np.sort(true[:, 0]), np.sort(found[:, 0]).tolist(), 0
    for onset in onsets:
        while free and free[0] < onset and abs(free[0] - onset) > collar:
            free.pop(0)
        if free and abs(free[0] - onset) <= collar:
            free.pop(0)
            pairs += 1
    return pairs, len(true), len(found)


def _common_segments(true: NDArray[np.float64], found: NDArray[np.float64]) -> tuple[int, int, int]:
    """Count the segments that truths and detections touch."""
    there, heard = (
        {
            k
            for onset, offset in some
            for k in range(int(onset // _SEGMENT_SECONDS), int(-(-offset // _SEGMENT_SECONDS)))
        }
        for some in (true, found)
    )
    return len(there & heard), len(there), len(heard)


def _covered(true: NDArray[np.float64], found: NDArray[np.float64]) -> tuple[int, int, int]:
    """Count the truths that are covered, the truths, and the false detections."""
    found = found[found[:, 1] > found[:, 0]]
    start = np.maximum(true[:, None, 0], found[None, :, 0])
    stop = np.minimum(true[:, None, 1], found[None, :, 1])
    shared = np.maximum(stop - start, 0.0)  # [n_true, n_found]
    right = (shared / np.diff(found, axis=1).T).sum(axis=0) >= _TOLERANCE
    covered = (shared[:, right] / np.diff(true, axis=1)).sum(axis=1) >= _TOLERANCE
    return int(covered.sum()), len(true), int((~right).sum())


def _fpr(counts: _Counts) -> dict[str, float]:
    """F1, precision and recall of counts; 0 where there is nothing to count."""
    right, there, detected = counts.tolist()
    values = {"f1": (2 * right, there + detected), "precision": (right, detected)}
    return {
        name: round(part / whole, 4) if whole else 0.0
        for name, (part, whole) in {**values, "recall": (right, there)}.items()
    }
