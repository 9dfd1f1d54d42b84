"""What is kept of a stream for those who look at it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from otic.streaming.recent import (
    MOST_ENDED,
    MOST_EVENTS,
    MOST_SCORES,
    SOUND_SECONDS,
    MemorySink,
    StreamMemory,
)
from otic.types import AudioSink, Event, Gap, Lost, Scores, StreamEnd, StreamStart
from tests.support.helpers import SMALL, noise, small_bundle

SR = SMALL.sr
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def start(source: str = "mic", live: bool = True) -> StreamStart:
    return StreamStart(
        otic="1",
        model="small",
        model_sha256="",
        source=source,
        sr=SR,
        window_seconds=0.1,
        inference_hop_seconds=0.05,
        labels=("quiet", "loud", "odd"),
        started="2026-01-02T03:00:00.000Z" if live else None,
    )


@pytest.fixture
def memory() -> StreamMemory:
    return StreamMemory(start(), small_bundle(), lambda: NOW)


def score(number: int) -> Scores:
    values = dict(zip(("quiet", "loud", "odd"), (0.1, number / 5000, 0.3), strict=True))
    return Scores(number * 100, number * 0.05, values, values)


def test_scores_come_back_as_far_as_they_are_kept(memory: StreamMemory) -> None:
    for number in range(MOST_SCORES + 50):
        memory.write(score(number))
    assert memory.n_scores == MOST_SCORES + 50
    times, scores = memory.scores(MOST_SCORES, MOST_SCORES + 99)
    assert times.tolist() == pytest.approx([n * 0.05 for n in range(1200, 1250)])
    assert scores[0].tolist() == pytest.approx([0.1, 1200 / 5000, 0.3])
    times, _ = memory.scores(0, 60)  # the first 50 are forgotten
    assert times.tolist() == pytest.approx([n * 0.05 for n in range(50, 60)])
    assert memory.scores(0, 10)[0].shape == (0,)
    assert memory.scores(0, 10)[1].shape == (0, 3)


def test_an_event_is_one_from_its_beginning_to_its_end(memory: StreamMemory) -> None:
    memory.write(Event("on", "loud", 1.0, 1.5, score=0.7))
    (on,) = memory.events()
    assert (on.number, on.label, on.onset, on.offset, on.decided) == (1, "loud", 1.0, None, 1.5)
    assert on.peak == 0.7
    memory.write(score(4000))  # loud: 0.8
    memory.write(score(1000))
    assert [event.peak for event in memory.events() if event.label == "loud"] == [0.8]
    assert on.onset_at == NOW - timedelta(seconds=0.5)
    memory.write(Event("on", "odd", 1.2, 1.6, score=0.6))
    memory.write(Event("off", "loud", 1.0, 3.0, offset=2.5, peak=0.9))
    loud, odd = memory.events()
    assert (loud.number, loud.offset, loud.peak, loud.onset_at) == (1, 2.5, 0.9, on.onset_at)
    assert (odd.number, odd.offset) == (2, None)
    assert on.offset is None  # what was given never changes


def test_events_of_a_file_have_no_time_of_day() -> None:
    memory = StreamMemory(start(live=False), small_bundle(), lambda: NOW)
    memory.write(Event("on", "loud", 1.0, 1.5, score=0.7))
    assert memory.events()[0].onset_at is None


def test_the_oldest_events_are_forgotten(memory: StreamMemory) -> None:
    memory.write(Event("on", "quiet", 0.0, 0.1, score=0.7))
    for number in range(MOST_EVENTS + 2):
        memory.write(Event("on", "loud", float(number), number + 0.1, score=0.7))
        memory.write(Event("off", "loud", float(number), number + 0.5, number + 0.4, peak=0.8))
    memory.write(Event("off", "quiet", 0.0, 900.0, offset=2.0, peak=0.9))  # no longer in memory
    events = memory.events()
    assert [h.number for h in events] == list(range(4, MOST_EVENTS + 4))
    assert all((h.label, h.offset, h.peak) == ("loud", h.onset + 0.4, 0.8) for h in events)


def test_sound_is_kept_for_a_while_and_gaps_are_silence(memory: StreamMemory) -> None:
    y = noise(SR * 3)
    memory.on_chunk(y)
    memory.on_chunk(Lost(SR))
    memory.on_chunk(y[:SR])
    memory.write(Gap(3 * SR, SR))
    assert memory.seconds == 5.0
    begin, pieces = memory.sound(2.5, 4.5)
    got = np.concatenate(pieces)
    assert begin == 2.5
    assert len(got) == 2 * SR
    half = SR // 2
    assert np.array_equal(got[:half], np.rint(y[-half:] * 32768).astype(np.int16))
    assert not got[half : half + SR].any()
    assert memory.events()[0].lost == SR
    assert not memory.events()[0].paused
    assert memory.sound(-3.0, 0.5)[0] == 0.0
    assert memory.sound(8.0, 9.0)[1] == ()
    for _ in range(round(SOUND_SECONDS)):
        memory.on_chunk(y[:SR])
    first, pieces = memory.sound(0.0, 10.0)
    assert 5.0 <= first <= 6.0
    kept = sum(map(len, memory.sound(0.0, 1e6)[1])) / SR
    assert SOUND_SECONDS <= kept <= SOUND_SECONDS + 1.0


def test_the_picture_has_a_column_for_each_moment(memory: StreamMemory) -> None:
    memory.on_chunk(noise(SR * 2))
    bad = noise(SR)
    bad[100:200] = np.nan
    memory.on_chunk(bad)
    assert memory.next_column == pytest.approx(3.0 / memory.column_seconds, abs=1)
    columns = memory.columns(0, memory.next_column)
    assert columns.shape == (memory.next_column, SMALL.n_mels)
    assert columns[5:30].all()
    assert memory.seconds == 3.0


def test_a_pause_is_no_loss() -> None:
    paused = False
    memory = StreamMemory(start(), small_bundle(), lambda: NOW, lambda: paused)
    memory.on_chunk(noise(SR))
    paused = True
    memory.on_chunk(Lost(SR))
    paused = False
    memory.on_chunk(noise(SR))
    memory.write(Gap(SR, SR))
    memory.on_chunk(Lost(SR))
    memory.on_chunk(noise(SR))
    memory.write(Gap(3 * SR, SR))
    assert [h.paused for h in memory.events()] == [True, False]
    assert [h.onset for h in memory.events()] == [1.0, 3.0]


def test_without_sound_there_is_still_a_picture() -> None:
    memory = StreamMemory(start(), small_bundle(), lambda: NOW, keeps_sound=False)
    memory.on_chunk(noise(SR * 2))
    assert memory.seconds == 2.0
    assert memory.sound(0.0, 2.0)[1] == ()
    assert memory.columns(5, 30).all()


@pytest.mark.parametrize("kept", [True, False])
def test_the_sink_keeps_sound_only_where_it_may(kept: bool) -> None:
    sink = MemorySink(small_bundle(), lambda: NOW, keeps_sound=kept)
    sink.start(start())
    sink.on_chunk(start(), noise(SR))
    memory = sink.get("mic")
    assert memory is not None
    assert bool(memory.sound(0.0, 1.0)[1]) == kept


def test_of_many_files_in_a_row_the_latest_are_kept() -> None:
    sink = MemorySink(small_bundle(), lambda: NOW)
    sink.start(start("always on"))
    for number in range(20):
        sink.start(start(f"{number}.wav"))
        sink.end(start(f"{number}.wav"), StreamEnd(0, 0.0, 0))
    kept = [number for number in range(20) if sink.get(f"{number}.wav") is not None]
    assert kept == list(range(20 - MOST_ENDED - 1, 20))
    assert sink.get("always on") is not None


def test_one_looks_while_another_listens(memory: StreamMemory) -> None:
    done = threading.Event()

    def listen() -> None:
        y = noise(2000)
        for number in range(300):  # 75 s: nothing is forgotten yet
            memory.on_chunk(y)
            memory.write(score(number))
        done.set()

    thread = threading.Thread(target=listen)
    thread.start()
    looks = 0
    while not done.is_set() or looks == 0:
        n = memory.next_column
        assert memory.columns(n - 50, n).shape == (50, SMALL.n_mels)
        times, scores = memory.scores(max(0, memory.n_scores - 50), memory.n_scores)
        assert len(times) == len(scores)
        assert (np.diff(times) > 0).all()
        seconds = memory.seconds
        begin, pieces = memory.sound(seconds - 1.0, seconds)
        assert sum(map(len, pieces)) == round((seconds - begin) * SR)
        looks += 1
    thread.join()


def test_the_sink_keeps_each_stream_by_its_name() -> None:
    sink = MemorySink(small_bundle(), lambda: NOW)
    assert isinstance(sink, AudioSink)
    one, other = start("one"), start("other")
    for stream in (one, other):
        sink.start(stream)
    sink.on_chunk(one, noise(SR))
    sink.write(other, score(3))
    first, second = sink.get("one"), sink.get("other")
    assert first is not None
    assert second is not None
    assert (first.seconds, second.seconds, second.n_scores) == (1.0, 0.0, 1)
    assert not first.ended
    sink.end(one, StreamEnd(SR, 1.0, 0))
    assert first.ended
    assert sink.get("third") is None
    sink.start(one)  # a new stream of that name: the old one is gone
    fresh = sink.get("one")
    assert fresh is not None
    assert fresh.seconds == 0.0
    sink.close()
