"""A device that comes late, stalls, vanishes or falls silent, on a clock that tests move."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from otic.audio import microphone
from otic.audio.capture_process import CapturedBlock
from otic.audio.microphone import Microphone
from otic.errors import DeviceError
from otic.system import backoff
from otic.types import Chunk, Lost, SourceHealth
from tests.support.helpers import F32, noise

SR = 8000
TENTH = SR // 10
FACTS = {"name": "Fake USB", "ids": ["usb-fake-00"], "rate": SR, "channels": 1}


class Room:
    """A clock, and what the device does at each time of it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.present = True
        self.dead = False  # delivers nothing any more
        self.level = 0.1
        self.channels: tuple[float, ...] = (1.0,)  # how loud each is
        self.facts: dict[str, Any] = dict(FACTS)
        self.options: list[dict[str, Any]] = []  # of each process
        self.open_processes = 0
        self.overruns = 0
        self.late_start = 0.0  # by how much the first block of a process comes late
        self.processes: list[FakeProcess] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeProcess:
    """Delivers a tenth of a second of noise for each tenth of a second of the room's clock."""

    def __init__(self, room: Room, **options: Any) -> None:
        self._room = room
        self._delivered_until = room.now
        self._late_by = room.late_start
        self.left: list[CapturedBlock] = []  # what is still in the pipe of a process that has ended
        room.processes.append(self)
        room.options.append(options)
        room.open_processes += 1

    @property
    def ended(self) -> bool:
        return not self._room.present

    def fileno(self) -> int:
        return 0

    def opened(self) -> dict[str, Any] | None:
        if not self._room.present:
            raise DeviceError("no input device 'Fake'")
        return self._room.facts

    def read(self, channels: int) -> list[CapturedBlock]:
        found, self.left = self.left, []
        while self._delivered_until + 0.1 <= self._room.now + 1e-9:
            self._delivered_until += 0.1
            if self._room.dead or not self._room.present:
                continue
            samples = noise(TENTH, seed=len(found) + 1, level=self._room.level)[:, None]
            samples = samples * np.array(self._room.channels, np.float32)
            ends_at = self._delivered_until + self._late_by
            self._late_by = 0.0
            found.append(CapturedBlock(0, self._room.overruns, 0.25, ends_at, samples))
        return found

    def close(self) -> None:
        self._room.open_processes -= 1


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    room = Room()
    monkeypatch.setattr(
        microphone, "CaptureProcess", lambda **options: FakeProcess(room, **options)
    )
    for module in (microphone, backoff):
        monkeypatch.setattr(module, "time", room)
    return room


def run(room: Room, chunks: Iterator[Chunk | None], seconds: float) -> list[Chunk]:
    """What comes while the clock goes on, looked at every tenth of a second."""
    found: list[Chunk] = []
    end = room.now + seconds
    while room.now < end - 1e-9:
        room.now += 0.1
        for chunk in chunks:
            if chunk is None:
                break
            found.append(chunk)
    return found


def losses(chunks: list[Chunk]) -> list[float]:
    return [round(c.samples / SR, 1) for c in chunks if isinstance(c, Lost)]


def heard(chunks: list[Chunk]) -> F32:
    return np.concatenate([c for c in chunks if not isinstance(c, Lost)])


@pytest.mark.filterwarnings("error")
def test_a_device_that_gives_garbage_is_named_once(room: Room, said: list[str]) -> None:
    source = Microphone("0", SR, 400)
    source.await_opening()
    chunks = source.chunks()
    run(room, chunks, 1.0)
    room.level = np.inf
    found = run(room, chunks, 5.0)
    assert len(said) == 1
    assert "this is not audio: " in said[0]
    assert sum(losses(found)) == pytest.approx(5.0, abs=1.1)  # as it goes on


def test_gaps_do_not_add_up_to_more_than_the_clock_tells(room: Room) -> None:
    """Each device that is opened delivers its first block late, as sound servers do."""
    room.late_start = 0.085
    source = Microphone("0", SR, 400)
    source.await_opening()
    chunks = source.chunks()
    begin = room.now
    found = run(room, chunks, 3.0)
    for _ in range(13):
        room.present = False
        found += run(room, chunks, 2.0)
        room.present = True
        found += run(room, chunks, 6.0)
    seconds = sum(c.samples if isinstance(c, Lost) else len(c) for c in found) / SR
    assert seconds == pytest.approx(room.now - begin, abs=0.2)


def test_a_replug_is_a_gap_of_its_length(room: Room, said: list[str]) -> None:
    source = Microphone("0", SR, 400)
    source.await_opening()
    assert source.name == "Fake USB"
    chunks = source.chunks()
    before = run(room, chunks, 2.0)
    assert losses(before) == []
    assert len(heard(before)) == 2 * SR
    room.present = False
    away = run(room, chunks, 3.5)
    assert sum(losses(away)) == pytest.approx(3.5, abs=0.51)  # as it goes on
    assert source.health().state == "waiting"
    room.present = True
    after = run(room, chunks, 10.0)
    gap = sum(losses(away + after))
    assert isinstance(after[0], Lost)
    assert gap + len(heard(after)) / SR == pytest.approx(13.5, abs=0.11)
    assert gap >= 3.5
    assert source.health() == SourceHealth("listening", 0.25, 0, 1)
    # By its index it would be another device, perhaps; by its id it is the same.
    assert room.options[0]["wanted"] == "0"
    assert {options["wanted"] for options in room.options[1:]} == {"usb-fake-00"}
    assert room.open_processes == 1
    assert said[0] == "Fake USB: it is gone: waiting for it"
    assert said[-1] == "Fake USB: heard again"
    assert len(said) == 3  # and why it can't be opened, once
    assert "opened again 1 times" in source.warnings()[0]


def test_a_device_that_stalls_is_opened_again(room: Room) -> None:
    source = Microphone(None, SR, 400)
    chunks = source.chunks()
    run(room, chunks, 1.0)
    room.dead = True
    assert losses(run(room, chunks, 5.0)) == []
    assert losses(run(room, chunks, 0.3)) == [5.1]
    assert source.health().state == "waiting"
    room.dead = False
    after = run(room, chunks, 3.0)
    assert sum(losses(after)) == pytest.approx(0.2, abs=0.11)
    assert source.health().reopenings == 1


def test_our_own_stop_is_not_a_stall_of_the_device(room: Room) -> None:
    """SIGSTOP, say: what was delivered meanwhile is there, and no reason to open it again."""
    source = Microphone(None, SR, 400)
    chunks = source.chunks()
    run(room, chunks, 1.0)
    room.now += 7.0
    after = run(room, chunks, 1.0)
    assert losses(after) == []
    assert len(heard(after)) == 8 * SR
    assert len(room.options) == 1


def test_what_was_not_read_before_it_vanished_is_no_loss_and_what_followed_is(room: Room) -> None:
    """Stopped for five seconds, during which the device goes: four of them were not heard."""
    source = Microphone(None, SR, 400)
    chunks = source.chunks()
    begin = room.now
    before = run(room, chunks, 1.0)
    room.now += 1.0
    (process,) = room.processes
    kept = process.read(1)
    room.now += 4.0
    room.present = False
    process.left = kept
    away = run(room, chunks, 2.0)
    room.present = True
    after = run(room, chunks, 5.0)
    found = [*before, *away, *after]
    assert sum(losses(found)) + len(heard(found)) / SR == pytest.approx(room.now - begin, abs=0.11)
    assert sum(losses(found)) >= 6.0


def test_a_late_reader_invents_no_gap(room: Room) -> None:
    source = Microphone(None, SR, 400)
    chunks = source.chunks()
    begin = room.now
    found = run(room, chunks, 1.0)
    room.present = False
    found += run(room, chunks, 2.0)
    room.present = True
    while len(room.options) < 2 or room.open_processes == 0:
        found += run(room, chunks, 0.1)
    room.now += 5.0  # the reader sleeps, the device delivers
    found += run(room, chunks, 2.0)
    assert len(heard(found)) / SR + sum(losses(found)) == pytest.approx(room.now - begin, abs=0.2)


def test_zeros_after_sound_are_a_broken_device(room: Room, said: list[str]) -> None:
    source = Microphone(None, SR, 400, silent_seconds=10.0)
    chunks = source.chunks()
    run(room, chunks, 1.0)
    room.level = 0.0
    run(room, chunks, 9.8)
    assert len(room.options) == 1
    run(room, chunks, 1.0)
    assert len(room.options) == 2
    assert "delivers exact zeros since 10 s" in said[0]
    run(room, chunks, 15.0)
    assert len(room.options) == 2  # the second time it takes twice as long
    run(room, chunks, 10.0)
    assert len(room.options) == 3
    room.level = 0.1
    run(room, chunks, 60.0)
    assert len(room.options) == 3
    room.level = 0.0
    run(room, chunks, 11.0)
    assert len(room.options) == 4


def test_zeros_from_the_start_are_told_and_left_alone(room: Room, said: list[str]) -> None:
    room.level = 0.0
    source = Microphone(None, SR, 400, silent_seconds=10.0)
    chunks = source.chunks()
    found = run(room, chunks, 60.0)
    assert len(room.options) == 1
    assert len(said) == 1
    assert source.health().state == "silent"
    assert len(heard(found)) == 60 * SR
    room.level = 0.1
    run(room, chunks, 1.0)
    assert source.health().state == "listening"


def test_zeros_can_be_allowed(room: Room) -> None:
    source = Microphone(None, SR, 400, silent_seconds=0.0)
    chunks = source.chunks()
    run(room, chunks, 1.0)
    room.level = 0.0
    run(room, chunks, 1000.0)
    assert len(room.options) == 1


def test_a_device_that_is_not_there_yet_is_waited_for(room: Room, said: list[str]) -> None:
    room.present = False
    with pytest.raises(DeviceError, match="no input device 'Fake'"):
        Microphone("Fake", SR, 400).await_opening()
    assert room.open_processes == 0
    room.options.clear()
    source = Microphone("Fake", SR, 400, name="door")
    chunks = source.chunks()
    away = run(room, chunks, 60.0)
    assert sum(losses(away)) == pytest.approx(60.0, abs=0.61)
    assert len(away) <= 120  # told now and then: a runner that waits must not spin
    # Sooner at first, then ever later, ten seconds at most; said once.
    assert 8 <= len(room.options) <= 14
    assert said == ["door: no input device 'Fake': waiting for it"]
    room.present = True
    found = run(room, chunks, 12.0)
    assert sum(losses(away + found)) >= 60.0
    assert sum(losses(away + found)) + len(heard(found)) / SR == pytest.approx(72.0, abs=0.11)
    assert source.name == "door"


def test_a_device_that_opens_at_once_loses_nothing(room: Room) -> None:
    source = Microphone("Fake", SR, 400)
    found = run(room, source.chunks(), 3.0)
    assert losses(found) == []
    assert len(heard(found)) >= 2.8 * SR


def test_another_rate_after_a_replug(room: Room) -> None:
    source = Microphone("Fake", SR, 400)
    chunks = source.chunks()
    run(room, chunks, 1.0)
    room.present = False
    run(room, chunks, 1.0)
    room.present = True
    room.facts = {**FACTS, "rate": 2 * SR}  # what it delivers then lasts half as long
    found = run(room, chunks, 5.0)
    assert len(heard(found)) == pytest.approx(0.5 * SR * 4.5, abs=0.5 * SR)


def test_a_sound_system_that_hangs_is_given_up(room: Room) -> None:
    room.facts = None  # type: ignore[assignment]
    with pytest.raises(DeviceError, match="does not open it within 15 s"):
        Microphone("Fake", SR, 400).await_opening()
    assert room.open_processes == 0


def test_overruns_add_up_over_reopenings(room: Room) -> None:
    source = Microphone("Fake", SR, 400)
    chunks = source.chunks()
    room.overruns = 2
    run(room, chunks, 1.0)
    room.present = False
    run(room, chunks, 1.0)
    room.present, room.overruns = True, 1
    run(room, chunks, 5.0)
    assert source.health().overruns == 3


def test_not_finite_samples_are_told(room: Room) -> None:
    room.level = float("nan")
    source = Microphone("Fake", SR, 400)
    run(room, source.chunks(), 1.0)
    assert "8000 samples are NaN" in source.warnings()[0]


def test_channels_that_cancel_each_other_are_told_at_the_end(room: Room) -> None:
    room.channels = (1.0, -1.0)
    room.facts["channels"] = 2
    source = Microphone("0", SR, 400)
    source.await_opening()
    run(room, source.chunks(), 2.0)
    (line,) = source.warnings()
    assert line == (
        "Fake USB: the mean of its 2 channels is silence, unlike channel 1, the loudest: "
        "classify that one alone with --channel 1"
    )
