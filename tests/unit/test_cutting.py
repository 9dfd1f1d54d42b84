"""Examples are found in a stream, cut out and judged, however it comes in blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otic_training.base import features
from otic_training.teaching.cutting import (
    AFTER_SECONDS,
    BEFORE_SECONDS,
    CLIPPED,
    ENDLESS,
    LONGEST_SECONDS,
    THE_ROOM,
    TOO_QUIET,
    Example,
    ExampleCutter,
    Room,
)
from tests.support.helpers import F32, noise

P = features.params(19)
SR = P.sr
HUM = (0.05 * np.sin(2 * np.pi * 50.0 * np.arange(60 * SR) / SR)).astype(np.float32)


def place(seconds: float, seed: int = 1) -> F32:
    """A room that hums louder than the sounds of the tests."""
    n = round(seconds * SR)
    return HUM[:n] + np.float32(0.0005) * noise(n, seed)


def bell(seconds: float = 0.8, loud: float = 0.05) -> F32:
    t = np.arange(round(seconds * SR)) / SR
    return (loud * np.exp(-2.0 * t) * np.sin(2 * np.pi * 1500.0 * t)).astype(np.float32)


def with_bells(seconds: float, *at: float, loud: float = 0.05) -> F32:
    y = place(seconds, 2)
    for second in at:
        begin = round(second * SR)
        y[begin : begin + len(bell())] += bell(loud=loud)
    return y


ROOM = Room.of(place(10.0), P)


def cut(y: F32, blocks: list[int], room: Room = ROOM) -> list[Example]:
    cutter, found, at, turn = ExampleCutter(P, room), list[Example](), 0, 0
    while at < len(y):
        n = blocks[turn % len(blocks)]
        found += cutter.push(y[at : at + n])
        at, turn = at + n, turn + 1
    return found + cutter.flush()


def test_examples_are_cut_where_they_sound() -> None:
    y = with_bells(9.0, 2.0, 5.5)
    found = cut(y, [4096])
    assert [e.start / SR for e in found] == pytest.approx(
        [2.0 - BEFORE_SECONDS, 5.5 - BEFORE_SECONDS], abs=0.06
    )
    for example in found:
        assert example.remarks == ()
        assert example.above_db > 20.0
        assert 0.8 + BEFORE_SECONDS <= len(example.y) / SR <= 0.87 + BEFORE_SECONDS + AFTER_SECONDS
        part = y[example.start : example.start + len(example.y)]
        np.testing.assert_allclose(example.y / 32768.0, part, atol=1e-4)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=8))
def test_the_blocks_do_not_matter(blocks: list[int]) -> None:
    y = with_bells(6.0, 1.0, 4.0)
    for one, other in zip(cut(y, [len(y)]), cut(y, [*blocks, 3000]), strict=True):
        assert one.start == other.start
        assert (one.above_db, one.peak_dbfs, one.remarks) == (
            other.above_db,
            other.peak_dbfs,
            other.remarks,
        )
        np.testing.assert_array_equal(one.y, other.y)


def test_two_notes_are_one_example_and_the_last_is_given_by_flush() -> None:
    (example,) = cut(with_bells(4.0, 1.0, 2.5), [1000])
    assert len(example.y) / SR > 2.3


def test_a_room_has_no_example() -> None:
    assert cut(place(30.0, 7), [5000]) == []


def test_what_is_too_quiet_or_clipped_is_said() -> None:
    (quiet,) = cut(with_bells(4.0, 1.0, loud=0.0005), [1000])
    assert quiet.remarks == (TOO_QUIET,)
    (loud,) = cut(np.clip(with_bells(4.0, 1.0, loud=3.0), -1.0, 1.0), [1000])
    assert loud.remarks == (CLIPPED,)
    assert loud.peak_dbfs == pytest.approx(0.0, abs=0.01)


def test_a_sound_without_end_is_cut_off() -> None:
    y = place(16.0)
    y[2 * SR :] += np.float32(0.02) * noise(14 * SR, 3)
    first, _ = cut(y, [1000])
    assert first.remarks == (ENDLESS,)
    assert len(first.y) / SR == pytest.approx(LONGEST_SECONDS + BEFORE_SECONDS, abs=0.1)


def test_the_latest_seconds_are_taken_on_request() -> None:
    cutter = ExampleCutter(P, ROOM)
    assert cutter.latest(3.0) is None
    assert cutter.push(place(5.0, 4)) == []
    example = cutter.latest(3.0)
    assert example is not None
    assert example.remarks == (THE_ROOM,)
    assert (example.start, len(example.y)) == (2 * SR, 3 * SR)
    cutter.push(with_bells(3.0, 0.5))
    example = cutter.latest(10.0)  # no further back than the last request
    assert example is not None
    assert (example.start, len(example.y)) == (5 * SR, 3 * SR)
    assert example.remarks == ()


def test_a_loss_ends_an_example_without_a_trace() -> None:
    cutter = ExampleCutter(P, ROOM)
    y = with_bells(6.0, 1.0, 4.0)
    assert cutter.push(y[: round(1.3 * SR)]) == []
    assert cutter.hears
    assert cutter.lose(500)
    assert not cutter.lose(10)
    (example,) = cutter.push(y[round(2.5 * SR) :])
    assert example.start == pytest.approx((1.3 + 1.5 - BEFORE_SECONDS) * SR + 510, abs=0.06 * SR)


def test_silence_is_a_room_from_which_sounds_stand_out() -> None:
    room = Room.of(np.zeros(SR, np.float32), P)
    assert room.level_dbfs == -np.inf
    y = np.zeros(4 * SR, np.float32)
    assert cut(y, [999], room) == []
    y[SR : SR + len(bell())] = bell()
    (example,) = cut(y, [999], room)
    assert example.remarks == ()
