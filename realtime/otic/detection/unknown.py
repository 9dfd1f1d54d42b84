"""Sounds that stand out from the background and are given to no label: a state of their own."""

from __future__ import annotations

import numpy as np

from otic.detection.detector import EventDetector, FindOnset
from otic.detection.thresholds import DecisionParams
from otic.types import Event

UNKNOWN = "unknown"
"""The label of such events."""

ON_DB, OFF_DB = 6.0, 3.0
"""Above the noise floor: where an event starts, and where it ends."""

FLOOR_RISE_DB = 1.0
"""A second: so slowly does the noise floor follow what is louder. Down it follows at once."""

_QUIETEST_DB = -100.0
_FULL_DB = 2.0 * ON_DB  # scores are shares of it
_PARAMS = DecisionParams(
    smoothing_scores=1,
    on_thresholds=(ON_DB / _FULL_DB,),
    off_thresholds=(OFF_DB / _FULL_DB,),
    min_on_seconds=1.0,  # a label is decided sooner, most of the time
    min_off_seconds=1.0,
    max_on_seconds=600.0,
    lag_seconds=0.0,
)


class UnknownSounds:
    """Events called ``unknown``. Not thread safe.

    The noise floor is the lowest level so far, which rises slowly. A sound that is louder
    for a second, while no label is on or about to be, is unknown; it ends when it is soft
    again, or when a label comes on.

    Parameters
    ----------
    sr : int
        Rate of the sample clock in Hz.
    """

    def __init__(self, sr: int) -> None:
        self._sr = sr
        self._detector = EventDetector((UNKNOWN,), _PARAMS, sr)
        self._floor_db: float | None = None
        self._began: int | None = None  # of what is loud now
        self._sample = 0

    def start(self, sample: int) -> None:
        """Begin a stretch of unbroken audio at ``sample``; the floor is forgotten."""
        self._floor_db = self._began = None
        self._sample = sample
        self._detector.start(sample)

    def update(
        self, sample: int, level_db: float, on: bool, rising: bool, began: FindOnset
    ) -> list[Event]:
        """Take the level of what is new.

        Parameters
        ----------
        sample : int
            The sample clock.
        level_db : float
            Since the last call.
        on, rising : bool
            Whether a label is on, or may be about to be.
        began : callable
            Gives the onset of an event that starts, as a sample.
        """
        if level_db <= _QUIETEST_DB:  # digital silence says nothing of the room
            self._floor_db = self._began = None
            self._sample = sample
            return self._detector.update(sample, np.zeros(1, np.float32), began)[1]
        floor_db = level_db if self._floor_db is None else self._floor_db
        rise_db = FLOOR_RISE_DB * (sample - self._sample) / self._sr
        self._floor_db, self._sample = min(level_db, floor_db + rise_db), sample
        if on:
            events = self._detector.close(sample)
            self._detector.start(sample)
            return events
        above_db = level_db - self._floor_db
        if above_db < ON_DB:
            self._began = None
        elif self._began is None:
            self._began = began()  # now: by the time it has lasted, the window may be past it
        onset = sample if self._began is None else self._began
        share = np.array([min(1.0, above_db / _FULL_DB)], np.float32)
        if rising and not self._detector.on:
            share[:] = 0.0  # wait for what the label makes of it
        return self._detector.update(sample, share, lambda: onset)[1]

    def close(self, sample: int) -> list[Event]:
        """End the stretch at ``sample``: what is on goes off."""
        return self._detector.close(sample)
