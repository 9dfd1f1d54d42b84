"""Recordings of events: exact, bounded, private where asked, and never in anybody's way."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from otic.audio.recent_audio import RecentAudio, as_int16
from otic.config.settings import ClipsSettings
from otic.errors import SinkError
from otic.sinks import clip_folder, clip_writer
from otic.sinks.clip_folder import ClipFolder
from otic.sinks.clips import ClipSink, file_name_part
from otic.types import AudioSink, Chunk, Event, Gap, Lost, Scores, StreamEnd, StreamStart
from tests.conftest import ROOT

SR = 1000
START = StreamStart(
    otic="0.1.0",
    model="m",
    model_sha256="00",
    source="Kitchen Mic",
    sr=SR,
    window_seconds=2.0,
    inference_hop_seconds=0.25,
    labels=("dog", "rain"),
    started="2026-11-23T04:00:00.000Z",
)
NOW = datetime(2026, 11, 23, 4, 15, 31, 0, UTC)
END = StreamEnd(0, 0.0, 0)


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """Every second is another, and so is every sample's neighbourhood."""
    return np.random.default_rng(seed).uniform(-1, 1, round(seconds * SR)).astype(np.float32)


def on(label: str, onset: float, at: float) -> Event:
    return Event("on", label, onset=onset, time=at, score=0.9)


def off(label: str, onset: float, offset: float, at: float) -> Event:
    return Event("off", label, onset=onset, time=at, offset=offset, peak=0.95)


def new_sink(folder: Path, patience: float = 60.0, **more: Any) -> ClipSink:
    asked = {"directory": str(folder), "pre_seconds": 1.0, "post_seconds": 0.5, **more}
    return ClipSink(ClipsSettings(**asked), "hall", lambda: NOW, drain_timeout=lambda: patience)


def feed(
    sink: ClipSink, chunks: Iterable[Chunk], events: Iterable[Event], stream: StreamStart = START
) -> None:
    """As the runner does: a chunk, then what was decided in it."""
    position = 0
    waiting = sorted(events, key=lambda event: event.time)
    for chunk in chunks:
        sink.on_chunk(stream, chunk)
        position += chunk.samples if isinstance(chunk, Lost) else len(chunk)
        while waiting and round(waiting[0].time * SR) <= position:
            sink.write(stream, waiting.pop(0))
    assert not waiting


def blocks(y: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
    return [y[start : start + size] for start in range(0, len(y), size)]


def run(sink: ClipSink, chunks: Iterable[Chunk], events: Iterable[Event]) -> None:
    sink.start(START)
    feed(sink, chunks, events)
    sink.end(START, END)
    sink.close()


def clips(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if not p.name.startswith("."))


def sound_of(path: Path) -> NDArray[np.int16]:
    y: NDArray[np.int16]
    y, sr = soundfile.read(path, dtype="int16")
    assert sr == SR
    return y


def facts_of(path: Path) -> dict[str, Any]:
    with soundfile.SoundFile(path) as file:
        assert (file.channels, file.subtype) == (1, "PCM_16")
        facts: dict[str, Any] = json.loads(file.comment)
        return {"title": file.title, **facts}


@pytest.mark.parametrize("suffix", ["flac", "wav"])
def test_a_recording(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "new" / "clips"
    sink = new_sink(folder, format=suffix)
    assert isinstance(sink, AudioSink)
    y = noise(10)
    run(sink, blocks(y, 100), [on("dog", 3.25, 5.0), off("dog", 3.25, 6.5, 7.0)])
    # Decided at 04:15:31 about a sound that had begun 1.75 s earlier.
    path = folder / f"20261123T041529.250Z_kitchen-mic_dog.{suffix}"
    assert clips(folder) == list(folder.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600
    assert np.array_equal(sound_of(path), as_int16(y[2250:7000]))
    assert facts_of(path) == {
        "title": "dog",
        "sensor": "hall",
        "source": "Kitchen Mic",
        "model": "m",
        "label": "dog",
        "onset_at": "2026-11-23T04:15:29.250Z",
        "onset": 3.25,
        "offset": 6.5,
        "start": 2.25,
        "stop": 7.0,
    }
    status = sink.status()
    assert (status.written, status.failed, status.dropped, status.waiting) == (1, 0, 0, 0)


def test_a_16_bit_file_comes_back_as_it_was() -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    assert np.array_equal(as_int16(every.astype(np.float32) / np.float32(32768)), every)
    assert as_int16(np.array([1.0, -1.5, 9e5], np.float32)).tolist() == [32767, -32768, 32767]


@given(
    st.integers(0, 3500),  # onset
    st.integers(0, 2000),  # from the onset to the decision: at most the window
    st.integers(0, 4000),  # how long it lasts
    st.integers(0, 2000),  # from its end to the decision
    st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    st.sampled_from([0.0, 0.2, 3.0]),
    st.sampled_from([1.0, 2.0, 30.0]),
    st.lists(st.integers(1, 3000), min_size=1, max_size=6),
    st.integers(0, 20_000),
)
@settings(max_examples=60)
def test_the_samples_are_the_stream_s_at_any_block_size(
    tmp_path_factory: pytest.TempPathFactory,
    onset: int,
    until_on: int,
    lasts: int,
    until_off: int,
    pre: float,
    post: float,
    longest: float,
    sizes: list[int],
    lost_at: int,
) -> None:
    folder = tmp_path_factory.mktemp("clips")
    total = 12_000
    y = noise(total / SR)
    chunks: list[Chunk] = []
    expected = as_int16(y)
    position = index = 0
    while position < total:
        size = min(sizes[index % len(sizes)], total - position)
        if position <= lost_at < position + size:
            chunks.append(Lost(size))
            expected[position : position + size] = 0
        else:
            chunks.append(y[position : position + size])
        position, index = position + size, index + 1
    on_at = onset + until_on
    offset = onset + lasts
    off_at = max(on_at, offset + until_off)
    sink = new_sink(folder, pre_seconds=pre, post_seconds=post, longest_seconds=longest)
    events = [
        on("dog", onset / SR, on_at / SR),
        off("dog", onset / SR, offset / SR, off_at / SR),
    ]
    run(sink, chunks, events)
    start, stop = max(0, onset - round(pre * SR)), onset + round(longest * SR)
    if off_at <= stop:
        stop = min(stop, offset + round(post * SR))
    stop = min(stop, total)
    found = clips(folder)
    if start == stop:
        assert not found
        return
    assert np.array_equal(sound_of(found[0]), expected[start:stop])
    missing = np.count_nonzero(expected[start:stop] == 0)
    assert facts_of(found[0]).get("lost_seconds", 0.0) <= missing / SR


def test_a_sound_that_was_long_there_is_recorded_from_its_onset(tmp_path: Path) -> None:
    """A model that dates onsets back to where the score left the ground."""
    sink, y = new_sink(tmp_path), noise(20)
    slow = replace(START, window_seconds=0.5, dated_back_seconds=4.7)
    sink.start(slow)
    feed(sink, blocks(y, 100), [on("rain", 8.0, 13.0), off("rain", 8.0, 15.0, 16.0)], slow)
    sink.end(slow, END)
    sink.close()
    (path,) = clips(tmp_path)
    np.testing.assert_array_equal(sound_of(path), as_int16(y[7 * SR : round(15.5 * SR)]))


def test_events_of_several_labels_and_streams_each_get_theirs(tmp_path: Path) -> None:
    sink = new_sink(tmp_path)
    yard = replace(START, source="yard")
    y, other = noise(10), noise(10, seed=1)
    for stream in (START, yard):
        sink.start(stream)
    overlapping = [
        *(on("dog", 3.0, 4.0), off("dog", 3.0, 6.0, 6.5)),
        *(on("rain", 4.0, 5.0), off("rain", 4.0, 7.0, 7.5)),
        *(on("dog", 6.2, 7.0), off("dog", 6.2, 7.5, 8.0)),  # while the first still has post-roll
    ]
    feed(sink, blocks(y, 64), overlapping)
    feed(sink, blocks(other, 333), [on("dog", 2.0, 4.0), off("dog", 2.0, 5.0, 5.5)], yard)
    for stream in (START, yard):
        sink.end(stream, END)
    sink.close()
    sounds = {(facts_of(p)["source"], facts_of(p)["onset"]): sound_of(p) for p in clips(tmp_path)}
    assert len(sounds) == 4
    assert np.array_equal(sounds["Kitchen Mic", 3.0], as_int16(y[2000:6500]))
    assert np.array_equal(sounds["Kitchen Mic", 4.0], as_int16(y[3000:7500]))
    assert np.array_equal(sounds["Kitchen Mic", 6.2], as_int16(y[5200:8000]))
    assert np.array_equal(sounds["yard", 2.0], as_int16(other[1000:5500]))


def test_recordings_of_the_same_moment_and_name_are_both_kept(tmp_path: Path) -> None:
    sink = new_sink(tmp_path)
    run(sink, blocks(noise(6), 500), [on("a b", 2.0, 3.0), on("a/b", 2.0, 3.0)])
    assert [p.name for p in clips(tmp_path)] == [
        "20261123T041530.000Z_kitchen-mic_a-b-2.flac",
        "20261123T041530.000Z_kitchen-mic_a-b.flac",
    ]
    assert {facts_of(p)["title"] for p in clips(tmp_path)} == {"a b", "a/b"}


def test_a_long_event_is_written_before_it_ends(tmp_path: Path) -> None:
    sink = new_sink(tmp_path, longest_seconds=2.0)
    sink.start(START)
    y = noise(9)
    feed(sink, blocks(y, 100), [on("dog", 3.0, 4.0)])
    deadline = time.monotonic() + 10.0
    while not sink.status().written:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (path,) = clips(tmp_path)
    assert np.array_equal(sound_of(path), as_int16(y[2000:5000]))
    assert facts_of(path)["offset"] is None
    sink.close()


def test_the_end_of_the_stream_ends_recordings(tmp_path: Path) -> None:
    sink = new_sink(tmp_path)
    sink.start(START)
    y = noise(5)
    feed(sink, blocks(y, 100), [on("dog", 3.0, 4.0)])
    sink.write(START, off("dog", 3.0, 5.0, 5.0))
    sink.end(START, END)
    sink.close()
    assert np.array_equal(sound_of(clips(tmp_path)[0]), as_int16(y[2000:]))


def test_lost_samples_are_silence_and_the_file_says_so(tmp_path: Path) -> None:
    sink = new_sink(tmp_path)
    y = noise(8)
    chunks: list[Chunk] = [y[:3500], Lost(100), Lost(150), y[3750:]]
    run(sink, chunks, [on("dog", 3.0, 3.4), off("dog", 3.0, 3.5, 3.5)])
    expected = as_int16(y)
    expected[3500:3750] = 0
    (path,) = clips(tmp_path)
    assert np.array_equal(sound_of(path), expected[2000:4000])
    assert facts_of(path)["lost"] == [[1.5, 0.25]]
    assert facts_of(path)["lost_seconds"] == 0.25


@pytest.mark.parametrize("size", [1, 250, 10_000])
@pytest.mark.parametrize(
    ("heard_at", "kept"),
    [((), True), ((1.5,), True), ((2.5,), False), ((6.9,), False), ((9.6,), True)],
)
def test_where_speech_is_heard_nothing_is_written(
    tmp_path: Path, heard_at: tuple[float, ...], kept: bool, size: int
) -> None:
    """The file would hold 2 to 4.5 s; what is heard 3 s later may still be about that."""
    stream = replace(START, labels=("dog", "Speech"))
    times = np.arange(1, 120) / 10
    scores = [
        Scores(round(t * SR), float(t), {"dog": 0.9, "Speech": 0.3 if t in heard_at else 0.29}, {})
        for t in times
    ]
    events = [on("dog", 3.0, 3.4), off("dog", 3.0, 4.0, 4.6)]
    for speech, expected in (("keep", 1), ("drop", int(kept))):
        sink = new_sink(tmp_path / speech, speech=speech)
        sink.start(stream)
        feed(sink, blocks(noise(12), size), [*events, *scores], stream)  # type: ignore[list-item]
        sink.end(stream, END)
        sink.close()
        assert len(clips(tmp_path / speech)) == expected


def test_a_device_that_was_away_for_a_day_costs_nothing(tmp_path: Path) -> None:
    sink = new_sink(tmp_path)
    y = noise(6)
    day = 86_400 * SR
    chunks: list[Chunk] = [y, Lost(day), y]
    late = day / SR + 6.0
    events = [
        *(on("dog", 4.0, 5.0), off("dog", 4.0, 6.0, 6.0)),
        *(on("dog", late + 0.1, late + 2.0), off("dog", late + 0.1, late + 3.0, late + 4.0)),
    ]
    run(sink, chunks, events)
    assert sink.kept_bytes == 0
    silence = np.zeros(500, np.int16)
    first, second = sorted(clips(tmp_path), key=lambda p: float(facts_of(p)["onset"]))
    assert np.array_equal(sound_of(first), np.concatenate([as_int16(y[3000:]), silence]))
    before = np.zeros(900, np.int16)
    assert np.array_equal(sound_of(second), np.concatenate([before, as_int16(y[:3500])]))


@pytest.mark.parametrize("size", [1, 250, 10_000])
def test_memory_is_bounded(tmp_path: Path, size: int) -> None:
    """Pre-roll, window and a margin; and the longest recording, however many overlap."""
    sink = new_sink(tmp_path, pre_seconds=2.0, longest_seconds=10.0)
    sink.start(START)
    y = noise(10)
    most = 0
    for _ in range(4):
        for block in blocks(y, size):
            sink.on_chunk(START, block)
            most = max(most, sink.kept_bytes)
    assert most <= 2 * (2.0 + 2.0 + 1.0 + 2.0) * SR + 2 * size
    for n in range(20):
        sink.write(START, on(f"label {n}", 38.0, 40.0))
    for _ in range(4):
        for block in blocks(y, size):
            sink.on_chunk(START, block)
            most = max(most, sink.kept_bytes)
    assert most <= 2 * (2.0 + 10.0 + 2.0) * SR + 2 * size
    sink.close()
    assert sink.status().written == 20


@pytest.mark.parametrize("asked", [{"enabled": False}, {"directory": None}])
def test_privacy(tmp_path: Path, asked: dict[str, Any]) -> None:
    folder = tmp_path / "clips"
    sink = new_sink(folder, **asked)
    others = set(threading.enumerate())
    sink.start(START)
    feed(sink, blocks(noise(6), 100), [on("dog", 2.0, 3.0), off("dog", 2.0, 4.0, 5.0)])
    assert sink.kept_bytes == 0
    assert not set(threading.enumerate()) - others
    sink.end(START, END)
    sink.close()
    assert not folder.exists()


def test_the_oldest_make_room_and_nobody_else_s_files(tmp_path: Path, said: list[str]) -> None:
    others = ["20200101T000000.000Z_note.flac", "notes.txt", "holiday.flac"]
    for name in others:
        (tmp_path / name).write_bytes(b"x" * 200_000)
    old = [f"20250101T00000{n}.000Z_mic_dog.flac" for n in range(4)]
    for name in old:
        (tmp_path / name).write_bytes(b"x" * 40_000)
    future = "20990101T000000.000Z_mic_dog.wav"  # from before the clock was set
    (tmp_path / future).write_bytes(b"x" * 40_000)
    sink = new_sink(tmp_path, max_megabytes=0.1, format="wav")
    sink.start(START)
    deadline = time.monotonic() + 10.0
    while sink.status().deleted < 3:  # at start already
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert {p.name for p in clips(tmp_path)} == {*others, *old[2:]}
    feed(sink, blocks(noise(10), 100), [on("dog", 3.0, 4.0), off("dog", 3.0, 8.0, 8.5)])
    sink.end(START, END)
    sink.close()
    assert not said
    new = "20261123T041530.000Z_kitchen-mic_dog.wav"
    assert {p.name for p in clips(tmp_path)} == {*others, *old[3:], new}
    assert sink.status().deleted == 4


def test_the_budget_holds_at_every_moment(tmp_path: Path) -> None:
    budget = 50_000
    times = iter(NOW + timedelta(seconds=n) for n in range(10**6))
    asked = ClipsSettings(str(tmp_path), pre_seconds=0.5, post_seconds=0.5, max_megabytes=0.05)
    sink = ClipSink(asked, "hall", now=lambda: next(times), drain_timeout=lambda: 60.0)
    sink.start(START)
    stop = threading.Event()
    most = 0

    def watch() -> None:
        nonlocal most
        while not stop.is_set():
            sizes = []
            for path in tmp_path.iterdir():
                try:
                    sizes.append(path.stat().st_size)
                except FileNotFoundError:
                    break
            else:
                most = max(most, sum(sizes))

    watcher = threading.Thread(target=watch)
    watcher.start()
    y = noise(60)
    events = [
        event
        for n in range(2, 56, 3)
        for event in (on("dog", n, n + 1), off("dog", n, n + 1.5, n + 2))
    ]
    for _ in range(3):
        feed(sink, blocks(y, 500), events)
        sink.end(START, END)
        sink.start(START)
    sink.close()
    stop.set()
    watcher.join()
    status = sink.status()
    assert status.written == 3 * len(events) / 2
    assert status.deleted == status.written - len(clips(tmp_path))
    assert 0 < most <= budget


def test_a_recording_larger_than_the_budget_is_dropped_and_said(
    tmp_path: Path, said: list[str]
) -> None:
    sink = new_sink(tmp_path, max_megabytes=0.01)
    run(sink, blocks(noise(10), 100), [on("dog", 2.0, 3.0), off("dog", 2.0, 8.0, 9.0)])
    assert clips(tmp_path) == []
    assert sink.status().dropped == 1
    assert len(said) == 1
    assert "larger than clips.max_megabytes" in said[0]


@pytest.mark.parametrize(
    "label", ["../../etc/passwd", "/", "..", "dog\0bark", "a" * 5000, "狗", "Straße\n", "\udcff"]
)
def test_a_foreign_model_s_label_stays_in_the_folder(tmp_path: Path, label: str) -> None:
    folder = tmp_path / "a" / "clips"
    sink = new_sink(folder)
    run(sink, blocks(noise(6), 100), [on(label, 2.0, 3.0), off(label, 2.0, 4.0, 5.0)])
    found = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(found) == 1
    assert found[0].parent == folder
    assert found[0].name.isascii()
    assert len(found[0].name) < 100


@given(st.text())
def test_names_hold_letters_digits_and_hyphens(text: str) -> None:
    name = file_name_part(text)
    assert 0 < len(name) <= 60
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_a_folder_that_can_t_be_written_is_said_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sink = new_sink(tmp_path / "file" / "clips")
    with pytest.raises(SinkError, match=r"can't record into '.*clips': .*set clips\.directory"):
        sink.start(START)


def test_a_folder_that_vanishes_is_said_once_and_recording_goes_on(
    tmp_path: Path, said: list[str]
) -> None:
    folder = tmp_path / "stick"
    sink = new_sink(folder)
    sink.start(START)
    y = noise(6)
    events = [on("dog", 2.0, 3.0), off("dog", 2.0, 4.0, 5.0)]

    def again(done: int) -> None:
        feed(sink, blocks(y, 100), events)
        sink.end(START, END)
        sink.start(START)
        deadline = time.monotonic() + 10.0
        while sink.status().written + sink.status().failed < done:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    again(1)
    folder.rename(tmp_path / "pulled out")
    again(2)
    again(3)
    folder.mkdir()
    again(4)
    sink.close()
    assert (sink.status().written, sink.status().failed) == (2, 2)
    assert len(said) == 2
    assert "No such file" in said[0]
    assert said[1] == "recordings are written again"


FULL_DISK = """
import resource, signal, sys
from tests.integration.test_clips import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, suffix = Path(sys.argv[1]), sys.argv[2]
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), hard))
from tests.support.helpers import Recorder
said = Recorder().start()
sink = new_sink(folder, format=suffix)
run(sink, blocks(noise(10), 100), [on("dog", 3.0, 4.0), off("dog", 3.0, 8.0, 8.5)])
assert list(folder.iterdir()) == [], "a part of a recording was left"
assert sink.status().failed == 1
print(*said)
"""


@pytest.mark.parametrize("suffix", ["flac", "wav"])
@pytest.mark.parametrize("room", [0, 5000])
def test_a_full_disk_leaves_no_part_of_a_recording(tmp_path: Path, suffix: str, room: int) -> None:
    """A limit on the file's size acts like a full disk."""
    said = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), suffix, str(room)],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert said.stdout == f"a recording is lost, {str(tmp_path)!r}: File too large\n"
    assert said.stderr == ""


def test_a_slow_disk_drops_whole_recordings_and_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    go_on = threading.Event()
    write_sound = clip_writer.write_sound

    def slowly(*args: Any) -> bool:
        go_on.wait(20.0)
        return write_sound(*args)

    monkeypatch.setattr(clip_writer, "write_sound", slowly)
    monkeypatch.setattr(clip_writer, "_MOST_WAITING_BYTES", 50_000)
    sink = new_sink(tmp_path)
    sink.start(START)
    y = noise(100)
    events = [
        event
        for n in range(2, 90, 3)
        for event in (on("dog", n, n + 1), off("dog", n, n + 1.5, n + 2))
    ]
    begin = time.monotonic()
    feed(sink, blocks(y, 500), events)
    sink.end(START, END)
    assert time.monotonic() - begin < 5.0
    status = sink.status()
    kept = 50_000 // 6_000
    assert (status.waiting, status.dropped) == (kept, len(events) / 2 - kept)
    assert len(said) == 1
    assert "the disk is too slow" in said[0]
    go_on.set()
    sink.close()
    assert sink.status().written == len(clips(tmp_path)) == kept


def test_a_replay_waits_for_a_slow_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    write_sound = clip_writer.write_sound

    def slowly(*args: Any) -> bool:
        time.sleep(0.02)
        return write_sound(*args)

    monkeypatch.setattr(clip_writer, "write_sound", slowly)
    monkeypatch.setattr(clip_writer, "_MOST_WAITING_BYTES", 20_000)
    asked = ClipsSettings(str(tmp_path), pre_seconds=1.0, post_seconds=0.5)
    sink = ClipSink(asked, "hall", lambda: NOW, waits=True, drain_timeout=lambda: 20.0)
    events = [
        event
        for n in range(2, 90, 3)
        for event in (on("dog", n, n + 1), off("dog", n, n + 1.5, n + 2))
    ]
    run(sink, blocks(noise(100), 500), events)
    assert said == []
    assert sink.status().written == len(clips(tmp_path)) == len(events) / 2


def test_close_waits_no_longer_than_asked_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    write_sound = clip_writer.write_sound
    go_on, done = threading.Event(), threading.Event()

    def slowly(*args: Any) -> bool:
        go_on.wait(60.0)
        try:
            return write_sound(*args)
        finally:
            done.set()

    monkeypatch.setattr(clip_writer, "write_sound", slowly)
    sink = new_sink(tmp_path, patience=0.3)
    sink.start(START)
    feed(sink, blocks(noise(6), 100), [on("dog", 2.0, 3.0), off("dog", 2.0, 4.0, 5.0)])
    begin = time.monotonic()
    sink.close()
    assert 0.3 <= time.monotonic() - begin < 20.0
    assert said == ["1 recordings could not be written before the end"]
    go_on.set()
    assert done.wait(20.0)
    deadline = time.monotonic() + 10.0
    while list(tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_close_ends_what_is_running(tmp_path: Path) -> None:
    others = threading.enumerate()
    sink = new_sink(tmp_path)
    sink.start(START)
    feed(sink, blocks(noise(6), 100), [on("dog", 2.0, 3.0)])
    assert [t for t in threading.enumerate() if t.name == "otic clips" and t not in others]
    sink.close()
    assert len(sound_of(clips(tmp_path)[0])) == 5000
    assert not [t for t in threading.enumerate() if t.name == "otic clips" and t not in others]


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / ".20250101T000000.000Z_mic_dog.flac.part"
    fresh = tmp_path / ".20250101T000001.000Z_mic_dog.flac.part"
    other = tmp_path / ".download.part"
    for path in (left, fresh, other):
        path.touch()
    os.utime(left, (0, 0))
    ClipFolder(tmp_path, 1000, lambda: NOW).make_room(0)
    assert sorted(tmp_path.iterdir()) == sorted([fresh, other])


def test_what_was_just_left_by_a_killed_process_counts_and_goes_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_folder, "_SCAN_AGAIN_SECONDS", 0.0)
    fresh = tmp_path / ".20250101T000001.000Z_mic_dog.flac.part"
    whole = tmp_path / "20250101T000000.000Z_mic_dog.flac"
    for path in (fresh, whole):
        path.write_bytes(bytes(600))
    folder = ClipFolder(tmp_path, 1000, lambda: NOW)
    assert folder.make_room(0)
    assert list(tmp_path.iterdir()) == [fresh]  # somebody may be writing it
    fresh.write_bytes(bytes(700))
    assert folder.make_room(0)
    assert list(tmp_path.iterdir()) == [fresh]  # somebody is
    assert folder.make_room(0)
    assert list(tmp_path.iterdir()) == []


def test_what_can_not_be_deleted_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"2025010{day}T000000.000Z_mic_dog.flac" for day in (1, 2, 3)]
    for name in names:
        (tmp_path / name).write_bytes(bytes(300))
    unlink = Path.unlink

    def somebody_elses(path: Path, missing_ok: bool = False) -> None:
        if path.name in names[:n_theirs]:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", somebody_elses)
    n_theirs = 1
    folder = ClipFolder(tmp_path, 1000, lambda: NOW)
    assert folder.make_room(300)
    assert {p.name for p in tmp_path.iterdir()} == {names[0], names[2]}
    n_theirs = 3
    with pytest.raises(PermissionError):
        folder.make_room(900)


def test_other_items_are_not_recorded(tmp_path: Path) -> None:
    sink = new_sink(tmp_path)
    sink.start(START)
    sink.on_chunk(START, noise(1))
    sink.write(START, Gap(500, 10))
    sink.write(START, Scores(1000, 1.0, {"dog": 1.0}, {"dog": 1.0}))
    sink.write(START, off("dog", 0.1, 0.2, 0.3))  # of nothing that is known
    sink.end(START, END)
    sink.close()
    assert clips(tmp_path) == []


@given(
    st.lists(
        st.tuples(st.sampled_from(["push", "lose", "forget"]), st.integers(0, 2500)), max_size=30
    )
)
def test_recent_audio_is_an_array(steps: list[tuple[str, int]]) -> None:
    audio = RecentAudio(SR)
    whole = np.zeros(0, np.int16)
    kept: list[tuple[NDArray[np.int16], NDArray[np.int16]]] = []
    for number, (step, n) in enumerate(steps):
        if step == "push":
            y = noise(n / SR, seed=number)
            audio.push(y)
            whole = np.concatenate([whole, as_int16(y)])
        elif step == "lose":
            audio.lose(n)
            whole = np.concatenate([whole, np.zeros(n, np.int16)])
        else:
            audio.forget(max(0, len(whole) - n))
        assert audio.position == len(whole)
        views = audio.cut(audio.oldest, audio.position)
        if views:
            kept.append((np.concatenate(views), whole[audio.oldest :]))
    for found, expected in kept:
        assert np.array_equal(found, expected)
