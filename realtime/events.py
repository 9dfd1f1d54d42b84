"""What the pipeline says, and how smoothed scores become events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realtime.params import DecisionParams


@dataclass(frozen=True)
class Scores:
    """One prediction.

    Attributes
    ----------
    sample : int
        Samples of the stream up to the end of the window, at the model's rate.
    time : float
        The same in seconds.
    scores : dict of str to float
        What the model said, by label.
    smoothed : dict of str to float
        The mean of the latest scores: what is compared with the thresholds.
    """

    sample: int
    time: float
    scores: dict[str, float]
    smoothed: dict[str, float]


@dataclass(frozen=True)
class Event:
    """The start (``state="on"``) or the end (``"off"``) of a sound.

    All times are seconds of the stream. ``time`` is when it was decided,
    ``onset`` and ``offset`` are when the sound began and ended; ``score`` is
    the smoothed score at an ``on``, ``peak`` the highest from when the threshold
    was crossed until the ``off``.
    """

    state: str
    label: str
    onset: float
    time: float
    offset: float | None = None
    score: float | None = None
    peak: float | None = None


@dataclass(frozen=True)
class Gap:
    """``lost`` samples are missing from ``sample`` on; both at the model's rate."""

    sample: int
    lost: int


Item = Scores | Event | Gap


class _Label:
    """The state of one label.

    States: *off*, *rising* (``since`` set, not ``on``), *on*, *falling*
    (``since`` set and ``on``). A threshold crossed sets ``since``; crossed back
    clears it; held for the minimum time it toggles ``on``.
    """

    __slots__ = ("earliest", "on", "onset", "peak", "since")

    def __init__(self) -> None:
        self.clear(0)

    def clear(self, sample: int) -> None:
        self.on = False
        self.since = -1
        self.onset = 0
        self.peak = 0.0
        self.earliest = sample  # no onset before this sample


class EventDetector:
    """Smoothing, hysteresis and minimum durations; one state machine for each label.

    Deterministic in the sequence of calls. Not thread safe.

    Parameters
    ----------
    labels : tuple of str
    params : DecisionParams
        As many thresholds as labels.
    sr : int
        Rate of the sample clock in Hz.
    """

    def __init__(self, labels: tuple[str, ...], params: DecisionParams, sr: int) -> None:
        self._labels = labels
        self._params = params
        self._sr = sr
        self._min_on = round(params.min_on_seconds * sr)
        self._min_off = round(params.min_off_seconds * sr)
        self._lag = round(params.lag_seconds * sr)
        self._history = np.zeros((params.smoothing_scores, len(labels)), np.float32)
        self._n_history = 0  # how many of its last rows are filled
        self._states = [_Label() for _ in labels]

    def start(self, sample: int) -> None:
        """Begin a stretch of unbroken audio at ``sample``; nothing is on."""
        self._n_history = 0
        for state in self._states:
            state.clear(sample)

    def update(
        self, sample: int, scores: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], list[Event]]:
        """Take one prediction.

        Parameters
        ----------
        sample : int
            The sample clock at the end of the prediction's window.
        scores : float32 [n_labels]

        Returns
        -------
        smoothed : float64 [n_labels]
        events : list of Event
            In the order of the labels.
        """
        self._history[:-1] = self._history[1:]
        self._history[-1] = scores
        self._n_history = min(self._n_history + 1, len(self._history))
        latest = self._history[-self._n_history :]
        smoothed: NDArray[np.float64] = latest.mean(axis=0, dtype=np.float64)
        events = []
        for index, score in enumerate(smoothed.tolist()):
            event = self._step(index, sample, score)
            if event is not None:
                events.append(event)
        return smoothed, events

    def close(self, sample: int) -> list[Event]:
        """End the stretch at ``sample``: whatever is on goes off."""
        events = []
        for label, state in zip(self._labels, self._states, strict=True):
            if state.on:
                end = state.since if state.since >= 0 else sample
                lag = self._lag if state.since >= 0 else 0
                events.append(self._off(label, state, end - lag, sample))
        return events

    def _step(self, index: int, sample: int, score: float) -> Event | None:
        state, params = self._states[index], self._params
        state.peak = max(state.peak, score)
        if state.on:
            crossed = score < params.off_thresholds[index]
            hold = self._min_off
        else:
            crossed = score >= params.on_thresholds[index]
            hold = self._min_on
        if not crossed:
            state.since = -1
            if not state.on:
                state.peak = 0.0
            return None
        if state.since < 0:
            state.since = sample
        if sample - state.since < hold:
            return None
        since, state.since = state.since, -1
        if state.on:
            return self._off(self._labels[index], state, since - self._lag, sample)
        state.on = True
        state.onset = max(state.earliest, since - self._lag)
        return Event(
            "on",
            self._labels[index],
            self._seconds(state.onset),
            self._seconds(sample),
            score=score,
        )

    def _off(self, label: str, state: _Label, offset: int, sample: int) -> Event:
        offset = max(state.onset, offset)
        peak, onset = state.peak, state.onset
        state.clear(offset)
        return Event(
            "off",
            label,
            self._seconds(onset),
            self._seconds(sample),
            offset=self._seconds(offset),
            peak=peak,
        )

    def _seconds(self, sample: int) -> float:
        return sample / self._sr
