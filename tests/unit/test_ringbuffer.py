from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otic.audio.ring_buffer import RingBuffer
from otic.errors import ParameterError


def ramp(start: int, n: int, channels: int = 1) -> np.ndarray:
    return np.repeat(np.arange(start, start + n, dtype=np.float32)[:, None], channels, axis=1)


def test_reads_what_was_written() -> None:
    ring = RingBuffer(8, channels=2)
    ring.write(ramp(0, 5, 2))
    assert ring.fill == 5 / 8
    lost, block = ring.read(3)
    assert lost == 0
    np.testing.assert_array_equal(block, ramp(0, 3, 2))
    ring.write(ramp(5, 6, 2))  # wraps
    lost, block = ring.read(100)
    assert lost == 0
    np.testing.assert_array_equal(block, ramp(3, 8, 2))
    assert ring.fill == 0.0
    assert ring.read(5)[1].shape == (0, 2)


def test_a_slow_reader_is_told_what_it_missed() -> None:
    ring = RingBuffer(4)
    for start in range(0, 12, 3):
        ring.write(ramp(start, 3))
    lost, block = ring.read(10)
    assert lost == 8
    np.testing.assert_array_equal(block, ramp(8, 4))


def test_a_block_larger_than_the_ring() -> None:
    ring = RingBuffer(4)
    ring.write(ramp(0, 11))
    lost, block = ring.read(10)
    assert lost == 7
    np.testing.assert_array_equal(block, ramp(7, 4))


def test_a_loss_known_to_the_producer_stays_in_its_place() -> None:
    ring = RingBuffer(16)
    ring.write(ramp(0, 3))
    ring.write(ramp(3, 3), lost_before=5)
    ring.write(ramp(6, 3), lost_before=2)
    got = [ring.read(100) for _ in range(4)]
    assert [lost for lost, _ in got] == [0, 5, 2, 0]
    assert [len(block) for _, block in got] == [3, 3, 3, 0]


def test_capacity_must_be_positive() -> None:
    with pytest.raises(ParameterError, match="capacity=0"):
        RingBuffer(0)


operations = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 25), st.integers(0, 3)),
        st.tuples(st.just("read"), st.integers(0, 25), st.just(0)),
    ),
    max_size=60,
)


@given(capacity=st.integers(1, 20), operations=operations)
@settings(max_examples=200)
def test_every_frame_is_read_or_counted(
    capacity: int, operations: list[tuple[str, int, int]]
) -> None:
    """Frames carry their number on the stream's clock: what is read sits where it belongs."""
    ring = RingBuffer(capacity)
    produced = consumed = 0
    for kind, n, lost_before in [*operations, *[("read", 1000, 0)] * 70]:
        if kind == "write":
            produced += lost_before
            ring.write(ramp(produced, n), lost_before)
            produced += n
        else:
            lost, block = ring.read(n)
            consumed += lost
            np.testing.assert_array_equal(block, ramp(consumed, len(block)))
            consumed += len(block)
    assert consumed == produced


def test_two_threads() -> None:
    """Under overruns, no frame is torn, doubled, or lost without being counted."""
    ring = RingBuffer(300)
    total = 200_000
    done = threading.Event()

    def produce() -> None:
        rng = np.random.default_rng(0)
        at = 0
        while at < total:
            n = min(int(rng.integers(1, 120)), total - at)
            ring.write(ramp(at, n))
            at += n
        done.set()

    producer = threading.Thread(target=produce)
    producer.start()
    clock = lost_total = 0
    while True:
        finished = done.is_set()
        lost, block = ring.read(90)
        clock += lost
        lost_total += lost
        np.testing.assert_array_equal(block, ramp(clock, len(block)))
        clock += len(block)
        if finished and not len(block) and not lost:
            break
    producer.join()
    assert clock == total
    assert lost_total < total
