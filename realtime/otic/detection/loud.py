"""Sounds that are louder than a limit, whatever they are: events of a label of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from otic.types import Event

LOUD = "loud"
"""The label of such events."""

SCORE_AT_LIMIT = 0.5
"""The score of a sound at the limit; it doubles with 6 dB, and is 1 at most."""

_MIN_OFF_SECONDS = 1.0


class LoudSounds:
    """Events called ``loud``. Not thread safe.

    One begins with the first level at or above the limit, and ends when the level has been below
    for a second.

    Parameters
    ----------
    sr : int
        Rate of the sample clock in Hz.
    limit_db : float
        The level, in dB re full scale.

    Examples
    --------
    >>> sounds = LoudSounds(1000, limit_db=-20.0)
    >>> sounds.update(400, 100, np.array([0.001, 0.04, 0.02, 0.001]))
    >>> [(event.state, event.onset, event.score) for event in sounds.events()]
    [('on', 0.1, 1.0)]
    >>> sounds.update(1400, 100, np.full(10, 0.001))
    >>> [(event.state, event.offset, event.time) for event in sounds.events()]
    [('off', 0.3, 1.3)]
    """

    def __init__(self, sr: int, limit_db: float) -> None:
        self._sr = sr
        self._limit = 10.0 ** (limit_db / 10.0)
        self._events: list[Event] = []
        self._onset: int | None = None  # of what is on
        self._offset = 0
        self._highest = 0.0

    def update(self, end: int, hop_length: int, powers: NDArray[np.floating]) -> None:
        """Take the mean squares of stretches of ``hop_length`` samples.

        Parameters
        ----------
        end : int
            The sample clock at the end of the last stretch.
        hop_length : int
        powers : float [n]
            A-weighted, with time weighting.
        """
        if self._onset is None and powers.max() < self._limit:
            return
        start = end - len(powers) * hop_length
        for power in powers.tolist():
            start += hop_length
            if power >= self._limit:
                self._take_loud(power, start - hop_length, start)
            elif self._onset is not None and start - self._offset >= _MIN_OFF_SECONDS * self._sr:
                self._end(start)

    def close(self, sample: int) -> None:
        """End the stretch of audio at ``sample``: what is on goes off."""
        if self._onset is not None:
            self._offset = min(self._offset, sample)
            self._end(sample)

    def events(self) -> list[Event]:
        """Return the new events."""
        events, self._events = self._events, []
        return events

    def _take_loud(self, power: float, start: int, stop: int) -> None:
        score = min(1.0, SCORE_AT_LIMIT * (power / self._limit) ** 0.5)
        if self._onset is None:
            self._onset, self._highest = start, 0.0
            self._events.append(
                Event("on", LOUD, onset=start / self._sr, time=stop / self._sr, score=score)
            )
        self._highest = max(self._highest, score)
        self._offset = stop

    def _end(self, sample: int) -> None:
        assert self._onset is not None
        self._events.append(
            Event(
                "off",
                LOUD,
                onset=self._onset / self._sr,
                time=sample / self._sr,
                offset=self._offset / self._sr,
                peak=self._highest,
            )
        )
        self._onset = None
