"""What the live pipeline hears in a recording, kept so that many decisions can be tried on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from otic.detection.detector import EventDetector, FindOnset
from otic.detection.thresholds import DecisionParams
from otic.model.bundle import Bundle
from otic.pipeline import Pipeline, Predictor
from otic.types import Event

_F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Predictions:
    """The predictions of one recording.

    Attributes
    ----------
    labels : tuple of str
    sr, n_samples : int
        Of the recording, at the model's rate.
    sample : int64 [n]
        The sample clock at each prediction.
    scores : float32 [n, n_labels]
    began : int64 [n]
        With which sample an event would begin that is decided there.
    """

    labels: tuple[str, ...]
    sr: int
    n_samples: int
    sample: NDArray[np.int64]
    scores: _F32
    began: NDArray[np.int64]


@dataclass(frozen=True)
class Detection:
    """An event, in seconds; ``time`` is when it was decided."""

    label: str
    onset: float
    offset: float
    time: float


class _Notes:
    """In the place of the pipeline's event detector: writes down what that is told."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, _F32, int]] = []

    on = busy = False

    def set_threshold(self, label: str, value: float) -> None: ...

    def start(self, sample: int) -> None: ...

    def update(
        self, sample: int, scores: _F32, began: FindOnset
    ) -> tuple[NDArray[np.float64], list[Event]]:
        self.rows.append((sample, scores.copy(), began()))
        return scores.astype(np.float64), []

    def close(self, sample: int) -> list[Event]:
        return []


def predictions_of(bundle: Bundle, classifier: Predictor, y: _F32) -> Predictions:
    """Stream a recording without losses through the live pipeline."""
    notes = _Notes()
    Pipeline(bundle, classifier, notes).process(y)
    sample, scores, began = zip(*notes.rows, strict=True) if notes.rows else ((), (), ())
    n_labels = len(bundle.labels)
    return Predictions(
        bundle.labels,
        bundle.features.sr,
        len(y),
        np.array(sample, np.int64),
        np.array(scores, np.float32).reshape(-1, n_labels),
        np.array(began, np.int64),
    )


def decide(predictions: Predictions, params: DecisionParams) -> list[Detection]:
    """The events that the live pipeline would report with these parameters, by onset."""
    detector = EventDetector(predictions.labels, params, predictions.sr)
    detector.start(0)
    events: list[Event] = []
    for sample, scores, began in zip(
        predictions.sample, predictions.scores, predictions.began, strict=True
    ):
        events += detector.update(int(sample), scores, began.item)[1]
    events += detector.close(predictions.n_samples)
    return paired(events)


def paired(events: Sequence[Event]) -> list[Detection]:
    """Each ``on`` with its ``off``, by onset."""
    decided: dict[str, float] = {}
    found = []
    for event in events:
        if event.state == "on":
            decided[event.label] = event.time
        else:
            assert event.offset is not None
            time = decided.pop(event.label)
            found.append(Detection(event.label, event.onset, event.offset, time))
    return sorted(found, key=lambda d: (d.onset, d.label))


def naive(predictions: Predictions, threshold: float = 0.5) -> list[Detection]:
    """What most programs do: an event wherever a score is over a threshold."""
    found = []
    for index, label in enumerate(predictions.labels):
        over = predictions.scores[:, index] >= threshold
        edges = np.flatnonzero(np.diff(np.concatenate([[False], over, [False]])))
        for start, stop in edges.reshape(-1, 2):
            times = predictions.sample[[start, min(stop, len(over) - 1)]] / predictions.sr
            found.append(Detection(label, float(times[0]), float(times[1]), float(times[0])))
    return sorted(found, key=lambda d: (d.onset, d.label))


def at_threshold(params: DecisionParams, threshold: float) -> DecisionParams:
    """The same, with one threshold for all labels; they end at the same share of it."""
    return at_thresholds(params, (threshold,) * len(params.on_thresholds))


def at_thresholds(params: DecisionParams, thresholds: Sequence[float]) -> DecisionParams:
    """The same, with these thresholds; each label ends at the same share of its own."""
    shares = np.divide(params.off_thresholds, params.on_thresholds)
    return replace(
        params,
        on_thresholds=tuple(thresholds),
        off_thresholds=tuple(float(t * s) for t, s in zip(thresholds, shares, strict=True)),
    )
