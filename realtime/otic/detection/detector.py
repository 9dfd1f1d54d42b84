"""The detector: smooths scores, compares them with thresholds, and makes events of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from otic.detection.thresholds import DecisionParams
from otic.errors import ParameterError
from otic.types import Event

FindOnset = Callable[[], int]
"""The sample with which the latest sound in the window began.

Asked when an event starts or, where onsets are dated back, when a score leaves the ground.
"""


SHORTEST_EVENT_SECONDS = 0.1
"""An event has a length, of at least this where the stream goes on for so long."""


class _Label:
    """The state of one label.

    =========  ==========  ==================================================
    state      is          goes on to
    =========  ==========  ==================================================
    off        not ``on``  *rising* once the score reaches the on threshold
    rising     ``since``   *on* when it stayed there for the minimum time
                           (an ``on`` event); *off* when it fell below
    on         ``on``      *falling* once it falls below the off threshold;
                           *on* anew after the maximum time (``off``, ``on``)
    falling    both        *off* when it stayed there for the minimum time, or
                           after the maximum time (an ``off`` event); *on* when
                           it came back
    =========  ==========  ==================================================

    The end of a stretch of audio (a gap, the end, a signal) takes every state to
    *off*, with an ``off`` event where one is due.
    """

    __slots__ = ("earliest", "on", "onset", "peak", "since")

    def __init__(self) -> None:
        self.clear(0)

    def clear(self, sample: int) -> None:
        self.on = False
        self.since = -1  # where the threshold was crossed
        self.onset = 0
        self.peak = 0.0
        self.earliest = sample  # no onset before this sample


class EventDetector:
    """Smoothing, hysteresis and durations; one state machine for each label.

    Deterministic in the sequence of calls. Not thread safe.

    Parameters
    ----------
    labels : tuple of str
    params : DecisionParams
        As many thresholds as labels.
    sr : int
        Rate of the sample clock in Hz.

    Examples
    --------
    A clock of 100 Hz, a score each half second, and a sound that began at sample 30:

    >>> params = DecisionParams(
    ...     smoothing_scores=1,
    ...     on_thresholds=(0.5,),
    ...     off_thresholds=(0.25,),
    ...     min_on_seconds=0.0,
    ...     min_off_seconds=1.0,
    ...     max_on_seconds=600.0,
    ...     lag_seconds=0.5,
    ... )
    >>> detector = EventDetector(("dog",), params, sr=100)
    >>> detector.start(0)
    >>> for sample, score in [(50, 0.9), (100, 0.8), (150, 0.1), (200, 0.1), (250, 0.1)]:
    ...     smoothed, events = detector.update(sample, np.array([score]), lambda: 30)
    ...     for event in events:
    ...         print(event)
    Event(state='on', label='dog', onset=0.3, time=0.5, offset=None, score=0.9, peak=None)
    Event(state='off', label='dog', onset=0.3, time=2.5, offset=1.0, score=None, peak=0.9)
    """

    def __init__(self, labels: tuple[str, ...], params: DecisionParams, sr: int) -> None:
        self._labels = labels
        self._set_thresholds(params)
        self._sr = sr
        self._min_on = round(params.min_on_seconds * sr)
        self._min_off = round(params.min_off_seconds * sr)
        self._max_on = round(params.max_on_seconds * sr)
        self._lag = round(params.lag_seconds * sr)
        self._shortest = round(SHORTEST_EVENT_SECONDS * sr)
        self._back = round(params.onset_back_seconds * sr)
        self._history = np.zeros((params.smoothing_scores, len(labels)), np.float64)
        self._n_history = 0  # how many of its rows are filled
        self._next_row = 0
        self._risen = np.zeros(len(labels), bool)  # scores that left the ground,
        self._began = np.zeros(len(labels), np.int64)  # and with which sound they did
        self._states = [_Label() for _ in labels]
        self._busy: set[int] = set()  # labels in another state than off

    @property
    def on(self) -> bool:
        """True while a label is on."""
        return any(self._states[index].on for index in self._busy)

    @property
    def busy(self) -> bool:
        """True while a label is on, or about to be."""
        return bool(self._busy)

    def set_threshold(self, label: str, value: float) -> None:
        """Start events of a label at this smoothed score, in (0, 1]; 1 is never.

        The off threshold keeps its ratio to it, so the model's hysteresis stays. What is on
        stays on until its score falls below.

        Raises
        ------
        ParameterError
            If there is no such label, or the value is outside the range.
        """
        if label not in self._labels:
            raise ParameterError(f"there is no label '{label}'")
        self._set_thresholds(self._params.with_threshold(self._labels.index(label), value))

    def start(self, sample: int) -> None:
        """Begin a stretch of unbroken audio at ``sample``; nothing is on."""
        self._n_history = self._next_row = 0
        self._risen = np.zeros(len(self._labels), bool)
        self._latest = sample  # of the prediction before
        self._busy.clear()
        for state in self._states:
            state.clear(sample)

    def update(
        self, sample: int, scores: NDArray[np.float32], began: FindOnset
    ) -> tuple[NDArray[np.float64], list[Event]]:
        """Take one prediction.

        Parameters
        ----------
        sample : int
            The sample clock at the end of the prediction's window.
        scores : float32 [n_labels]
        began : callable
            Gives the onset of a sound that shows in the latest scores, as a sample.

        Returns
        -------
        smoothed : float64 [n_labels]
        events : list of Event
            In the order of the labels.
        """
        smoothed = self._smooth(scores)
        if self._back:
            self._follow(smoothed, began)
        # Nearly always, nearly all labels are off and stay so: those cost one comparison together.
        crossed = (smoothed >= self._on_thresholds).nonzero()[0]
        if len(crossed):
            self._busy.update(crossed.tolist())
        events: list[Event] = []
        for index in sorted(self._busy):
            self._step(index, sample, float(smoothed[index]), began, events)
        self._latest = sample
        return smoothed, events

    def close(self, sample: int) -> list[Event]:
        """End the stretch at ``sample``: whatever is on goes off."""
        events = []
        for index in sorted(self._busy):
            state = self._states[index]
            if state.on:
                end = state.since - self._lag if state.since >= 0 else sample
                events.append(self._off(index, end, sample))
        return events

    def _set_thresholds(self, params: DecisionParams) -> None:
        on = np.array(params.on_thresholds)
        self._params = params
        self._on_thresholds = np.where(on >= 1.0, np.inf, on)  # 1 is never
        self._off_thresholds = np.array(params.off_thresholds)
        self._grounds = on * params.onset_ground

    def _smooth(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        self._history[self._next_row] = scores
        self._next_row = (self._next_row + 1) % len(self._history)
        self._n_history = min(self._n_history + 1, len(self._history))
        total: NDArray[np.float64] = np.add.reduce(self._history[: self._n_history], axis=0)
        return total / self._n_history

    def _follow(self, smoothed: NDArray[np.float64], began: FindOnset) -> None:
        """Note with which sound each score left the ground."""
        risen = smoothed >= self._grounds
        leaving = risen > self._risen
        if leaving.any():
            self._began[leaving] = began()
        self._risen = risen

    def _step(
        self, index: int, sample: int, score: float, began: FindOnset, events: list[Event]
    ) -> None:
        state = self._states[index]
        state.peak = max(state.peak, score)
        if state.on:
            crossed, hold = score < self._off_thresholds[index], self._min_off
        else:
            crossed, hold = score >= self._on_thresholds[index], self._min_on
        if crossed and state.since < 0:
            state.since = sample
        if not crossed:
            state.since = -1
            if not state.on:
                state.peak = 0.0
                self._busy.discard(index)
        elif sample - state.since >= hold:
            if state.on:
                events.append(self._off(index, state.since - self._lag, sample))
            else:
                if self._back:
                    onset = max(int(self._began[index]), state.since - self._back)
                else:
                    onset = began()
                onset = max(state.earliest, min(onset, sample - 1))
                events.append(self._on(index, onset, sample, score))
            return
        if state.on and sample - state.onset > self._max_on:
            falling = state.since >= 0
            end = state.since - self._lag if falling else self._latest
            events.append(self._off(index, end, sample))
            if not falling:
                events.append(self._on(index, state.earliest, sample, score))

    def _on(self, index: int, onset: int, sample: int, score: float) -> Event:
        state = self._states[index]
        state.on, state.onset, state.since = True, onset, -1
        state.peak = max(state.peak, score)
        self._busy.add(index)
        return Event(
            "on", self._labels[index], self._seconds(onset), self._seconds(sample), score=score
        )

    def _off(self, index: int, offset: int, sample: int) -> Event:
        state = self._states[index]
        # The score fell sooner than this model's scores do: the sound was short, but it was one.
        offset = min(max(state.onset + self._shortest, offset), sample)
        peak, onset = state.peak, state.onset
        state.clear(offset)
        self._busy.discard(index)
        return Event(
            "off",
            self._labels[index],
            self._seconds(onset),
            self._seconds(sample),
            offset=self._seconds(offset),
            peak=peak,
        )

    def _seconds(self, sample: int) -> float:
        return sample / self._sr
