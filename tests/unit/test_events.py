"""Smoothing, hysteresis, minimum durations; and what must hold for any scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from otic.detection.detector import EventDetector
from otic.types import Event
from tests.support.helpers import always, decision

SR = 1000
HOP = 100  # 0.1 s


def run(scores: list[float], start: int = 0, age: int = 150, **changes: Any) -> list[Event]:
    """Feed one label a score every 0.1 s, then close; every sound began 0.15 s ago."""
    detector = EventDetector(("x",), decision(1, smoothing_scores=1, **changes), SR)
    detector.start(start)
    events: list[Event] = []
    sample = start
    for score in scores:
        sample += HOP
        began = sample - age
        events += detector.update(sample, np.array([score], np.float32), always(began))[1]
    return events + detector.close(sample)


def test_on_and_off_with_times_and_peak() -> None:
    on, off = run([0.1, 0.7, 0.8, 0.9, 0.5, 0.3, 0.2, 0.1], min_on_seconds=0.1)
    assert (on.state, on.label) == ("on", "x")
    assert on.time == 0.3  # 0.1 s after the threshold was crossed at 0.2
    assert on.onset == 0.15  # asked when it was decided
    assert on.score == np.float32(0.8)
    assert (off.state, off.onset) == ("off", on.onset)
    assert off.time == 0.7  # crossed at 0.6; 0.5 was above the off threshold
    assert off.offset == 0.55
    assert off.peak == np.float32(0.9)


def test_a_short_peak_is_no_event() -> None:
    assert run([0.1, 0.9, 0.1, 0.9, 0.1], min_on_seconds=0.1) == []


def test_a_short_dip_does_not_end_an_event() -> None:
    events = run([0.9, 0.9, 0.9, 0.1, 0.9, 0.9], min_off_seconds=0.1)
    assert [e.state for e in events] == ["on", "off"]
    assert events[1].time == 0.6  # closed by the end


def test_the_peak_counts_from_the_crossing() -> None:
    on, off = run([0.1, 0.95, 0.8, 0.7, 0.1, 0.1, 0.65, 0.9, 0.1], min_on_seconds=0.1)[:2]
    assert on.score == np.float32(0.8)
    assert off.peak == np.float32(0.95)


def test_zero_durations_decide_at_once() -> None:
    on, off = run([0.7, 0.2], min_on_seconds=0.0, min_off_seconds=0.0)
    assert (on.time, off.time) == (0.1, 0.2)


def test_no_onset_before_the_stretch_began_or_the_last_offset() -> None:
    on, *_ = run([0.9, 0.9], start=5000, age=3000)
    assert on.onset == 5.0
    events = run([0.9, 0.1, 0.9, 0.9], age=500, min_on_seconds=0.0, min_off_seconds=0.0)
    assert [e.state for e in events] == ["on", "off", "on", "off"]
    assert events[2].onset >= (events[1].offset or 0)


DATED_BACK: dict[str, Any] = {"onset_ground": 0.5, "onset_back_seconds": 1.0}


def test_an_onset_is_dated_back_to_where_the_score_left_the_ground() -> None:
    slow = [0.1, 0.35, 0.2, 0.3, 0.5, 0.59, 0.7, 0.8]  # for good from 0.4 s on, at 0.3 = 0.5 * 0.6
    late, *_ = run(slow, min_on_seconds=0.0, age=50)
    assert (late.onset, late.time) == (0.65, 0.7)
    early, off = run(slow, min_on_seconds=0.0, age=50, **DATED_BACK)
    assert (early.onset, early.time, early.score) == (0.35, late.time, late.score)
    assert off.onset == early.onset
    # The time that a score must stay above its threshold does not count as time back.
    near, *_ = run(slow, min_on_seconds=0.1, age=50, onset_ground=0.5, onset_back_seconds=0.25)
    assert (near.onset, near.time) == (0.45, 0.8)


def test_an_onset_is_not_dated_back_into_another_event_or_over_a_gap() -> None:
    events = run([0.9, 0.35, 0.35, 0.9], age=50, min_on_seconds=0.0, lag_seconds=0.0, **DATED_BACK)
    assert [e.state for e in events] == ["on", "off", "on", "off"]
    assert events[2].onset == events[1].offset == 0.2  # 0.35 never reached the ground
    detector = EventDetector(("x",), decision(1, smoothing_scores=1, **DATED_BACK), SR)
    detector.start(0)
    detector.update(100, np.array([0.5], np.float32), lambda: 50)
    detector.start(150)
    events = []
    for sample in (250, 350):
        events += detector.update(sample, np.array([0.9], np.float32), lambda: 160)[1]
    assert [e.onset for e in events] == [0.16]


def test_a_label_that_was_set_to_another_threshold_has_its_ground_there() -> None:
    detector = EventDetector(("x",), decision(1, smoothing_scores=1, **DATED_BACK), SR)
    detector.start(0)
    detector.set_threshold("x", 0.9)  # the ground is at 0.45
    events = []
    for sample, score in [(100, 0.4), (200, 0.5), (300, 0.95), (400, 0.95)]:
        at = sample - 50
        values = np.array([score], np.float32)
        events += detector.update(sample, values, always(at))[1]
    assert [e.onset for e in events] == [0.15]


def test_smoothing_is_the_mean_of_the_latest() -> None:
    detector = EventDetector(("x",), decision(1, smoothing_scores=3), SR)
    detector.start(0)
    smoothed = [
        detector.update(i, np.array([s], np.float32), lambda: 0)[0][0]
        for i, s in enumerate([3, 0, 3, 6])
    ]
    assert smoothed == [3.0, 1.5, 2.0, 3.0]
    detector.start(100)
    assert detector.update(101, np.array([9], np.float32), lambda: 0)[0][0] == 9.0


def test_an_event_that_does_not_end_is_ended_and_goes_on_as_a_new_one() -> None:
    events = run([0.9] * 25, max_on_seconds=1.0, age=100)
    assert [e.state for e in events] == ["on", "off"] * 3
    assert [e.onset for e in events if e.state == "on"] == [0.1, 1.1, 2.1]
    assert [e.offset for e in events if e.state == "off"] == [1.1, 2.1, 2.5]


def test_the_longest_time_does_not_begin_what_is_ending() -> None:
    events = run([0.9] * 10 + [0.1] * 4, max_on_seconds=1.05, min_off_seconds=0.3, age=100)
    assert [e.state for e in events] == ["on", "off"]


def test_an_event_has_a_length() -> None:
    """Its score fell sooner after the sound than this model's scores typically do."""
    on, off = run([0.1, 0.9, 0.1, 0.1], lag_seconds=1.0, min_on_seconds=0.0, age=130)
    assert (on.onset, off.offset) == (0.07, 0.17)


def test_an_event_at_the_very_end_has_a_length() -> None:
    on, off = run([0.1, 0.9], min_on_seconds=0.0, age=0)
    assert off.offset == 0.2
    assert on.onset < 0.2
    for n in range(9, 14):  # the longest time ends with the stream
        events = run([0.9] * n, max_on_seconds=1.0, min_on_seconds=0.0, age=100)
        assert all(e.offset is None or e.offset - e.onset >= 0.1 - 1e-9 for e in events)


def test_a_threshold_of_one_is_never() -> None:
    assert run([1.0] * 20, on_thresholds=(1.0,)) == []


def test_labels_are_on_at_the_same_time_and_a_sound_that_comes_back_goes_on() -> None:
    detector = EventDetector(
        ("a", "b"), decision(2, smoothing_scores=1, min_on_seconds=0.0, min_off_seconds=0.3), SR
    )
    detector.start(0)
    events: list[Event] = []
    for i, scores in enumerate([(0.9, 0.0), (0.9, 0.8), (0.1, 0.9), (0.1, 0.9), (0.9, 0.9)]):
        values = np.array(scores, np.float32)
        events += detector.update(i * HOP, values, always(i * HOP))[1]
    assert [(e.state, e.label) for e in events] == [("on", "a"), ("on", "b")]
    assert [(e.state, e.label) for e in detector.close(600)] == [("off", "a"), ("off", "b")]


score = st.floats(0.0, 1.0, width=32)
stretches = st.lists(st.lists(st.tuples(score, score), max_size=40), min_size=1, max_size=4)


@given(
    stretches=stretches,
    smoothing=st.integers(1, 4),
    durations=st.tuples(*[st.sampled_from([0.0, 0.1, 0.25])] * 2),
    lag=st.sampled_from([0.0, 0.05, 1.0]),
    longest=st.sampled_from([0.6, 1.0, 60.0]),
    age=st.integers(-50, 2000),
    dated=st.sampled_from([{}, DATED_BACK, {"onset_ground": 0.05, "onset_back_seconds": 0.3}]),
)
def test_what_must_hold_for_any_scores(
    stretches: list[list[tuple[float, float]]],
    smoothing: int,
    durations: tuple[float, float],
    lag: float,
    longest: float,
    age: int,
    dated: dict[str, float],
) -> None:
    """For each label on and off alternate; times never run backwards or beyond the audio."""
    params = decision(
        2,
        smoothing_scores=smoothing,
        min_on_seconds=durations[0],
        min_off_seconds=durations[1],
        lag_seconds=lag,
        max_on_seconds=longest,
        **dated,
    )
    detector = EventDetector(("a", "b"), params, SR)
    sample = 0
    events: list[Event] = []
    for stretch in stretches:
        begin = sample
        detector.start(sample)
        found: list[Event] = []
        for scores in stretch:
            sample += HOP
            began = sample - age
            values = np.array(scores, np.float32)
            found += detector.update(sample, values, always(began))[1]
        found += detector.close(sample)
        assert all(begin / SR <= e.onset <= e.time <= sample / SR for e in found)
        events += found
        sample += 1000
    assert [e.time for e in events] == sorted(e.time for e in events)
    for label in ("a", "b"):
        own = [e for e in events if e.label == label]
        assert [e.state for e in own] == ["on", "off"] * (len(own) // 2)
        last_offset = 0.0
        for on, off in zip(own[::2], own[1::2], strict=True):
            assert off.onset == on.onset >= last_offset
            assert off.offset is not None
            assert on.onset < off.offset <= off.time
            assert off.peak is not None
            assert on.score is not None
            # One that goes on as a new event after the longest time may be between the two.
            assert off.peak >= on.score >= (0.6 if longest == 60.0 else 0.4)
            assert off.time - on.time <= longest + HOP / SR + 1e-9
            last_offset = off.offset
