"""Scores that are kept, and events that are decided from them again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otic.detection.detector import EventDetector, FindOnset
from otic.detection.thresholds import DecisionParams
from otic.errors import ParameterError
from otic.types import Event

NO_ONSET = -1
"""In place of an onset that was not looked for."""

_KEPT_FROM = 0.1
"""Onsets are looked for where a smoothed score reaches this, or a lower one that matters."""


@dataclass(frozen=True)
class ScoreTable:
    """Predictions of a stream, one a row.

    Attributes
    ----------
    samples : int64 [n]
        The sample clock at the end of each prediction's window.
    onsets : int64 [n]
        The sample with which the latest sound in the window began; ``NO_ONSET`` where no score
        was high enough to ask.
    scores : float32 [n, n_labels]
        Of no shape that matters where there are no rows.
    """

    samples: NDArray[np.int64]
    onsets: NDArray[np.int64]
    scores: NDArray[np.float32]


class ScoreKeeper:
    """A detector that keeps what another one is given; for :class:`otic.Pipeline`.

    Not thread safe.

    Parameters
    ----------
    detector : EventDetector
    from_score : float
        Onsets are kept where a smoothed score reaches this; see :func:`onsets_from`.
    """

    def __init__(self, detector: EventDetector, from_score: float) -> None:
        self._detector = detector
        self._from_score = from_score
        self._clear()

    @property
    def on(self) -> bool:
        return self._detector.on

    @property
    def busy(self) -> bool:
        return self._detector.busy

    def set_threshold(self, label: str, value: float) -> None:
        self._detector.set_threshold(label, value)

    def start(self, sample: int) -> None:
        self._detector.start(sample)

    def update(
        self, sample: int, scores: NDArray[np.float32], began: FindOnset
    ) -> tuple[NDArray[np.float64], list[Event]]:
        asked: list[int] = []

        def began_once() -> int:
            if not asked:
                asked.append(began())
            return asked[0]

        smoothed, events = self._detector.update(sample, scores, began_once)
        if smoothed.max() >= self._from_score:
            began_once()
        self._samples.append(sample)
        self._onsets.append(asked[0] if asked else NO_ONSET)
        self._scores.append(scores)
        return smoothed, events

    def close(self, sample: int) -> list[Event]:
        return self._detector.close(sample)

    def __len__(self) -> int:
        return len(self._samples)

    def take(self) -> ScoreTable:
        """Give the rows since the last call, and forget them."""
        table = ScoreTable(
            np.array(self._samples, np.int64),
            np.array(self._onsets, np.int64),
            np.array(self._scores, np.float32),
        )
        self._clear()
        return table

    def _clear(self) -> None:
        self._samples: list[int] = []
        self._onsets: list[int] = []
        self._scores: list[NDArray[np.float32]] = []


def onsets_from(params: DecisionParams) -> float:
    """Give the smoothed score from which on a :class:`ScoreKeeper` should keep onsets."""
    return min(_KEPT_FROM, _lowest_that_asks(params))


def decide(
    labels: tuple[str, ...],
    params: DecisionParams,
    sr: int,
    tables: Iterable[ScoreTable],
    gaps: Sequence[tuple[int, int]],
    n_samples: int,
    from_score: float,
) -> list[Event]:
    """Decide the events of a stream from its scores, as :class:`otic.Pipeline` does.

    Parameters
    ----------
    labels : tuple of str
    params : DecisionParams
    sr : int
        Rate of the sample clock in Hz.
    tables : iterable of ScoreTable
        All predictions, in order.
    gaps : sequence of (int, int)
        Where samples are lost, and how many, in order.
    n_samples : int
        Length of the stream.
    from_score : float
        Onsets are known where a smoothed score reaches this.

    Raises
    ------
    ParameterError
        If a threshold is so low that onsets are asked for which were not kept.
    """
    lowest = _lowest_that_asks(params)
    if lowest < from_score:
        raise ParameterError(
            f"onsets were kept from a score of {from_score:g} on, and these thresholds need them "
            f"from {lowest:g}: give higher ones, or scan the recordings again"
        )
    detector = EventDetector(labels, params, sr)
    detector.start(0)
    events: list[Event] = []
    waiting = list(reversed(gaps))

    def pass_gaps(before: int) -> None:
        while waiting and waiting[-1][0] < before:
            sample, lost = waiting.pop()
            events.extend(detector.close(sample))
            detector.start(sample + lost)

    for table in tables:
        rows = zip(table.samples.tolist(), table.onsets.tolist(), table.scores, strict=True)
        for sample, onset, scores in rows:
            pass_gaps(sample)
            events += detector.update(sample, scores, lambda onset=onset: onset)[1]  # type: ignore[misc]
    pass_gaps(n_samples + 1)
    events += detector.close(n_samples)
    return events


def _lowest_that_asks(params: DecisionParams) -> float:
    """The lowest smoothed score at which a detector may ask for an onset."""
    lowest = min(params.on_thresholds)
    return lowest * params.onset_ground if params.onset_back_seconds else lowest
