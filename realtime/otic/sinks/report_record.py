"""What a report shows of one recording: collected while it is replayed, bounded in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otic.features.spectrogram import Spectrogram
from otic.model.bundle import Bundle
from otic.types import Event, Gap, Item, Scores, usable_runs

MAX_BUCKETS = 10_000
MAX_LISTED = 10_000
"""Events, and gaps, that are kept one by one; further ones are counted."""

SCORE_UNITS = 65535
"""Scores are kept as whole numbers: 0 is 0.0, this is 1.0."""


class ScoreHistory:
    """Each label's lowest and highest smoothed score, in buckets of consecutive scores.

    A bucket holds one score at first. When all are full, each two become one,
    and buckets hold twice as many from then on.

    Parameters
    ----------
    n_labels : int
    max_buckets : int
        Even.
    """

    def __init__(self, n_labels: int, max_buckets: int = MAX_BUCKETS) -> None:
        self._times = np.zeros(max_buckets)
        self._low = np.zeros((max_buckets, n_labels), np.uint16)
        self._high = np.zeros((max_buckets, n_labels), np.uint16)
        self.step = 1  # scores a bucket
        self._n = 0  # buckets in use
        self._fill = 1  # scores in the latest of them

    def add(self, time: float, scores: NDArray[np.float64]) -> None:
        """Take the scores of one moment, float64 [n_labels], later than all before."""
        values = np.rint(np.clip(scores, 0.0, 1.0) * SCORE_UNITS).astype(np.uint16)
        if self._n and self._fill < self.step:
            i = self._n - 1
            self._low[i] = np.minimum(self._low[i], values)
            self._high[i] = np.maximum(self._high[i], values)
            self._fill += 1
            return
        if self._n == len(self._times):
            self._merge()
            self.add(time, scores)
            return
        self._times[self._n] = time
        self._low[self._n] = self._high[self._n] = values
        self._n += 1
        self._fill = 1

    @property
    def times(self) -> NDArray[np.float64]:
        """float64 [n]: the time of each bucket's first score, in seconds."""
        return self._times[: self._n]

    @property
    def low(self) -> NDArray[np.uint16]:
        """uint16 [n, n_labels]: each bucket's lowest scores, in ``1 / SCORE_UNITS``."""
        return self._low[: self._n]

    @property
    def high(self) -> NDArray[np.uint16]:
        """uint16 [n, n_labels]: each bucket's highest scores."""
        return self._high[: self._n]

    def _merge(self) -> None:
        half = self._n // 2
        self._times[:half] = self._times[0::2]
        self._low[:half] = np.minimum(self._low[0::2], self._low[1::2])
        self._high[:half] = np.maximum(self._high[0::2], self._high[1::2])
        self._n = half
        self.step *= 2
        self._fill = self.step


@dataclass(frozen=True)
class ReportedEvent:
    """A finished event; all times are seconds of the stream.

    ``decided`` is when it was said that it is on, ``ended`` when that it is off.
    """

    label: str
    onset: float
    offset: float
    decided: float
    ended: float
    peak: float


class ReplayRecord:
    """Collects what one stream gives.

    The same samples and items give the same record however they are cut into
    blocks. Not thread safe.

    Parameters
    ----------
    bundle : Bundle
        The model that is served.
    spectrogram : Spectrogram
        Empty; this record's from now on.
    """

    def __init__(self, bundle: Bundle, spectrogram: Spectrogram) -> None:
        self.spectrogram = spectrogram
        self.history = ScoreHistory(len(bundle.labels))
        self.peaks: dict[str, tuple[float, float]] = {}  # label: highest score, and its time
        self.events: list[ReportedEvent] = []
        self.gaps: list[Gap] = []
        self.n_events = dict.fromkeys(bundle.labels, 0)
        self.n_gaps = 0
        self._decided: dict[str, float] = {}  # label: when the event that is on was decided

    def add_samples(self, y: NDArray[np.float32]) -> None:
        """Take samples, float32 [n], as the pipeline does."""
        for start, stop, usable in usable_runs(y):
            if usable:
                self.spectrogram.push(y[start:stop])
            else:
                self.add_loss(stop - start)

    def add_loss(self, n: int) -> None:
        """The next ``n`` samples are lost."""
        self.spectrogram.lose(n)

    def add(self, item: Item) -> None:
        """Take what the pipeline gave."""
        if isinstance(item, Scores):
            self.add_scores(item)
        elif isinstance(item, Event):
            self.add_event(item)
        else:
            self.add_gap(item)

    def add_scores(self, item: Scores) -> None:
        """Take one prediction."""
        self.history.add(item.time, np.fromiter(item.smoothed.values(), np.float64))
        for label, score in item.smoothed.items():
            if label not in self.peaks or score > self.peaks[label][0]:
                self.peaks[label] = (score, item.time)

    def add_event(self, item: Event) -> None:
        """Take the start or the end of an event."""
        if item.state == "on":
            self._decided[item.label] = item.time
            return
        self.n_events[item.label] = self.n_events.get(item.label, 0) + 1
        if len(self.events) < MAX_LISTED:
            assert item.offset is not None
            assert item.peak is not None
            decided = self._decided[item.label]
            self.events.append(
                ReportedEvent(item.label, item.onset, item.offset, decided, item.time, item.peak)
            )

    def add_gap(self, item: Gap) -> None:
        """Take a gap."""
        self.n_gaps += 1
        if len(self.gaps) < MAX_LISTED:
            self.gaps.append(item)
