"""The tables at the end of a replay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otic.sinks import summary as module
from otic.sinks.summary import ReplaySummary
from otic.types import Event, StreamEnd, StreamStart

STREAM = StreamStart("1.0", "m", "00", "a/x.wav", 8000, 0.1, 0.1, ("dog", "rain"))


def event(label: str, onset: float, offset: float) -> Event:
    return Event("off", label, onset=onset, time=offset, offset=offset, peak=0.9)


def test_events_and_times_by_label_and_by_file() -> None:
    summary = ReplaySummary()
    other = replace(STREAM, source="b/\x1bx.wav")
    summary.write(STREAM, Event("on", "rain", onset=6.0, time=7.0, score=0.5))
    for stream, item in (
        (STREAM, event("rain", 6.0, 66.0)),
        (STREAM, event("dog", 36.0, 96.0)),  # half of it with the rain
        (other, event("dog", 0.0, 12.0)),
    ):
        summary.write(stream, item)
    summary.end(STREAM, StreamEnd(960_000, 120.0, 0))
    summary.end(other, StreamEnd(480_000, 60.0, 0))
    assert summary.lines() == [
        "label     events    time",
        "dog            2  1:12.0",
        "rain           1  1:00.0",
        "file      events    time      of",
        "a/x.wav        2  1:30.0  2:00.0",
        "b/�x.wav       1  0:12.0  1:00.0",
    ]


def test_nothing_and_very_much(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = ReplaySummary()
    assert summary.lines() == []
    monkeypatch.setattr(module, "MOST_FILES", 2)
    for name in "abcd":
        summary.end(replace(STREAM, source=name), StreamEnd(8000, 1.0, 0))
    assert summary.lines()[1] == "no events       0  0:00.0"
    assert summary.lines()[-1] == "and 2 more files with no more events than these"
    summary.write(replace(STREAM, source="d"), event("dog", 0.0, 1.0))
    assert [line.split()[0] for line in summary.lines()[3:5]] == ["a", "d"]
