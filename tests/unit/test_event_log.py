"""Events are paired once, for all that shows, counts or writes them."""

from __future__ import annotations

import pytest

from otic.detection.event_log import DetectedEvent, EventLog
from otic.types import Event


def test_starts_and_ends_are_paired_by_label() -> None:
    log = EventLog()
    dog = log.add(Event("on", "dog", onset=1.0, time=1.5, score=0.7))
    assert dog == DetectedEvent("dog", 1.0, decided=1.5, peak=0.7)
    log.add(Event("on", "rain", onset=1.2, time=2.0, score=0.6))
    ended = log.add(Event("off", "dog", onset=1.0, time=4.0, offset=3.0, peak=0.9))
    assert ended == DetectedEvent("dog", 1.0, decided=1.5, peak=0.9, offset=3.0, ended=4.0)
    again = log.add(Event("on", "dog", onset=4.0, time=4.0, score=0.8))  # after the longest time
    assert again.offset is None
    assert log.add(Event("off", "rain", onset=1.2, time=5.0, offset=5.0, peak=0.6)).decided == 2.0


def test_an_end_needs_a_start() -> None:
    with pytest.raises(KeyError):
        EventLog().add(Event("off", "dog", onset=1.0, time=4.0, offset=3.0, peak=0.9))
