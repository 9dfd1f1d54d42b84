from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from otic.errors import SinkError
from otic.sinks.delivery import queue as delivery_queue
from otic.sinks.delivery.notification import Notification
from otic.sinks.delivery.queue import DeliveryQueue
from tests.conftest import ROOT


def notification(number: int, state: str = "on") -> Notification:
    return Notification(
        event=str(number),
        state=state,
        sensor="hall",
        source="front",
        label="dog",
        onset=1.25,
        time=float(number),
        onset_at="2026-01-01T12:00:00.000Z",
        at="2026-01-01T12:00:00.750Z",
    )


def drain(queue: DeliveryQueue, receiver: str) -> list[int]:
    """Take and acknowledge all that waits; the numbers."""
    numbers = []
    while (entry := queue.next(receiver)) is not None:
        numbers.append(int(entry[1].event))
        queue.done(receiver, entry[0])
    return numbers


def kill(queue: DeliveryQueue) -> None:
    """Leave the file as the end of the process would."""
    os.close(queue._fd)
    queue._fd = -1
    queue._closed = True


# ---------------------------------------------------------------- against a simple model

MAX_EVENTS = 6
NAMES = ("a", "b", "c")


class QueueMachine(RuleBasedStateMachine):
    """Any order of calls, restarts and crashes does what two lists would."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.copies = 0
        self.number = 0
        self.queues: dict[str, deque[Notification]] = {}
        self.dropped: dict[str, int] = {}
        self.on: dict[str, Notification] = {}

    def configure(self, names: list[str]) -> None:
        lost = {n: len(queue) for n, queue in self.queues.items() if queue and n not in names}
        self.queues = {n: self.queues.get(n, deque()) for n in names}
        self.dropped = {n: self.dropped.get(n, 0) for n in names}
        self.queue = DeliveryQueue(self.path, names, MAX_EVENTS)
        assert set(self.queue.warnings()) == {
            f"{name} is no longer configured: {n} events that waited for it are dropped"
            for name, n in lost.items()
        }

    @property
    def path(self) -> Path:
        return self.folder / str(self.copies) / "queue.jsonl"

    @initialize(names=st.lists(st.sampled_from(NAMES), unique=True))
    def begin(self, names: list[str]) -> None:
        self.configure(names)

    def append(self, item: Notification) -> None:
        self.queue.append(item)
        for queue in self.queues.values():
            queue.append(item)
        while (most := max(map(len, self.queues.values()), default=0)) > MAX_EVENTS:
            for name, queue in self.queues.items():
                if len(queue) == most:
                    queue.popleft()
                    self.dropped[name] += 1

    @rule(times=st.integers(1, 3))
    def append_on(self, times: int) -> None:
        for _ in range(times):
            self.number += 1
            item = self.on[str(self.number)] = notification(self.number)
            self.append(item)

    @precondition(lambda self: self.on)
    @rule(data=st.data())
    def append_off(self, data: st.DataObject) -> None:
        event = data.draw(st.sampled_from(sorted(self.on)))
        del self.on[event]
        self.append(notification(int(event), "off"))

    @precondition(lambda self: self.queues)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.queues)))
        entry = self.queue.next(name)
        if not self.queues[name]:
            assert entry is None
            return
        assert entry is not None
        assert entry[1] == self.queues[name].popleft()
        self.queue.done(name, entry[0])
        self.queue.done(name, entry[0])  # twice does no harm

    @precondition(lambda self: self.queues)
    @rule(data=st.data())
    def acknowledge_what_was_dropped(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.queues)))
        entry = self.queue.next(name)
        before = self.dropped[name]
        for _ in range(2):
            self.append_on(3)
        if entry is None or self.dropped[name] == before:
            return
        self.queue.done(name, entry[0])

    @rule(names=st.lists(st.sampled_from(NAMES), unique=True))
    def restart(self, names: list[str]) -> None:
        self.queue.close()
        self.configure(names)

    @rule(names=st.lists(st.sampled_from(NAMES), unique=True))
    def crash(self, names: list[str]) -> None:
        """What is in the files at this moment is what a SIGKILL would leave."""
        old = self.path.parent
        self.copies += 1
        shutil.copytree(old, self.path.parent)
        self.queue.close()
        self.configure(names)

    @rule()
    def tend(self) -> None:
        self.queue.tend()

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "queue"):
            return
        assert self.queue.warnings() == ()
        assert {e.event: e for e in self.queue.open_events()} == self.on
        for name, queue in self.queues.items():
            assert self.queue.waiting(name) == len(queue)
            assert self.queue.dropped(name) == self.dropped[name]
            entry = self.queue.next(name)
            assert (entry and entry[1]) == (queue[0] if queue else None)

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            self.queue.close()
        shutil.rmtree(self.folder)


TestAgainstModel = QueueMachine.TestCase
TestAgainstModel.settings = settings(max_examples=20, stateful_step_count=20)


# ---------------------------------------------------------------- SIGKILL

APPENDER = """
import os, sys
from otic.sinks.delivery import queue as delivery_queue
from otic.sinks.delivery.queue import DeliveryQueue
from otic.sinks.delivery.worker import DeliveryWorker
from tests.unit.test_delivery_queue import notification

delivery_queue._COMPACT_BYTES = 20_000  # often in the middle of one
delivery_queue._SYNC_SECONDS = 0.01

class File:
    name = "file"
    def open(self): self.file = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    def deliver(self, n): os.write(self.file, f"{n.event} {n.state}\\n".encode())
    def idle(self): pass
    def close(self): os.close(self.file)

queue = DeliveryQueue(sys.argv[1], ["file"], 1_000_000, max_memory=1_000_000)
DeliveryWorker(File(), queue).start()
number = int(sys.argv[3])
while True:
    queue.append(notification(number // 2, "off" if number % 2 else "on"))
    os.write(1, b"%d\\n" % number)
    number += 1
"""


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.002)


def whole_lines(path: Path) -> list[str]:
    text = path.read_text() if path.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def test_nothing_is_lost_when_killed(tmp_path: Path) -> None:
    chance = random.Random(6)
    database, delivered = tmp_path / "queue.jsonl", tmp_path / "delivered"
    printed: list[int] = []
    for turn in range(10):
        out = tmp_path / f"printed-{turn}"
        number = printed[-1] + 2 - printed[-1] % 2 if printed else 0
        command = [sys.executable, "-c", APPENDER, str(database), str(delivered), str(number)]
        with out.open("wb") as file, subprocess.Popen(command, stdout=file, cwd=ROOT) as child:
            try:
                wait_for(lambda out=out: out.stat().st_size > 0, 120.0)  # type: ignore[misc]
                time.sleep(chance.uniform(0.0, 0.15))
            finally:
                child.send_signal(signal.SIGKILL)
        lines = whole_lines(out)
        printed += [int(line) for line in lines]
    queue = DeliveryQueue(database, ["file"], 1_000_000)
    assert len(queue.open_events()) <= 10
    came = [int(e) * 2 + (s == "off") for e, s in (line.split() for line in whole_lines(delivered))]
    while (entry := queue.next("file")) is not None:
        came.append(int(entry[1].event) * 2 + (entry[1].state == "off"))
        queue.done("file", entry[0])
    queue.close()
    assert len(printed) > 100
    assert set(printed) <= set(came)
    first = list(dict.fromkeys(came))
    assert first == sorted(first)
    assert len(came) - len(first) <= 10  # one delivery at a kill was not acknowledged


def test_an_append_while_the_file_is_brought_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow SD card: the append does not wait, and yet survives SIGKILL."""
    entered, leave = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(fd: int) -> None:
        entered.set()
        assert leave.wait(20.0)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", slow)
    monkeypatch.setattr(delivery_queue, "_SYNC_SECONDS", 0.0)
    monkeypatch.setattr(delivery_queue, "_LONG_OVERDUE", float("inf"))
    folder = tmp_path / "a"
    queue = DeliveryQueue(folder / "queue.jsonl", ["a"], 1000)
    for number in range(2):
        queue.append(notification(number))
    thread = threading.Thread(target=queue.tend)
    thread.start()
    assert entered.wait(20.0)
    begin = time.perf_counter()
    for number in range(2, 20):
        queue.append(notification(number))
    queue.append(notification(0, "off"))
    assert time.perf_counter() - begin < 10.0  # waiting would take 20
    shutil.copytree(folder, tmp_path / "b")
    leave.set()
    thread.join(20.0)
    assert queue.waiting("a") == 21
    queue.close()
    killed = DeliveryQueue(tmp_path / "b" / "queue.jsonl", ["a"], 1000)
    assert [e.event for e in killed.open_events()] == [str(n) for n in range(1, 20)]
    assert drain(killed, "a") == [*range(20), 0]
    killed.close()
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["queue.jsonl"]


# ---------------------------------------------------------------- a disk that is full


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A disk in memory, mounted where that is allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "otic-test", str(folder)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("can't mount a small disk here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disk(tmp_path / "disk", "size=400k") as folder:
        yield folder


def fill(folder: Path) -> None:
    with (folder / "ballast").open("ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


def through_a_full_disk(path: Path, full: Callable[[], None], room: Callable[[], None]) -> None:
    queue = DeliveryQueue(path, ["works", "fails"], 10_000, max_memory=400)
    for number in range(100):
        queue.append(notification(number))
    full()
    number = 100
    while not (warnings := queue.warnings()):
        queue.append(notification(number))
        number += 1
        assert number < 5000, "the disk is never full"
    assert "can't be written" in warnings[0]
    assert len(warnings) == 1
    last = number + 299
    times = []
    for number in range(last - 299, last + 1):
        begin = time.perf_counter()
        queue.append(notification(number))
        times.append(time.perf_counter() - begin)
    assert sorted(times)[-4] < 0.2  # three may fall into a stall
    assert drain(queue, "works") == list(range(last + 1))  # from file and memory
    assert queue.waiting("fails") == last + 1
    assert queue.dropped("fails") == 0
    assert queue.warnings() == ()  # said once
    room()
    time.sleep(0.3)
    queue.append(notification(last + 1))
    queue.tend()
    assert queue.warnings() == (f"{str(path)!r} can be written again",)
    killed = path.parent / "killed"
    killed.mkdir()
    shutil.copy(path, killed)
    queue.close()
    queue = DeliveryQueue(killed / "queue.jsonl", ["works", "fails"], 10_000)
    assert drain(queue, "fails") == list(range(last + 2))
    assert drain(queue, "works") == [last + 1]
    assert len(queue.open_events()) == last + 2
    queue.close()


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    def room() -> None:
        (small_disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)

    through_a_full_disk(small_disk / "queue.jsonl", lambda: fill(small_disk), room)


def test_files_that_may_not_grow_lose_nothing(tmp_path: Path) -> None:
    """The same without root: a limit on the size of files, in a process of its own."""
    code = (
        "import sys; from pathlib import Path; from tests.unit import test_delivery_queue as t;"
        "t.within_a_limit_on_files(Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "queue.jsonl")], check=True, cwd=ROOT
    )


def within_a_limit_on_files(path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    through_a_full_disk(path, lambda: limit(500_000), lambda: limit(hard))


def test_what_a_full_disk_does_not_take_outlives_a_kill(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=12m", str(small_disk)], check=True)
    queue = DeliveryQueue(small_disk / "queue.jsonl", ["a"], 10_000)
    queue.append(notification(0))
    fill(small_disk)
    for life in range(3):  # the disk stays full over all of them
        for number in range(1 + 100 * life, 101 + 100 * life):
            queue.append(notification(number))
        kill(queue)
        queue = DeliveryQueue(small_disk / "queue.jsonl", ["a"], 10_000)
        assert queue.waiting("a") == 101 + 100 * life
    (small_disk / "ballast").unlink()
    time.sleep(0.3)
    assert drain(queue, "a") == list(range(301))
    queue.append(notification(301))
    queue.close()
    queue = DeliveryQueue(small_disk / "queue.jsonl", ["a"], 10_000)
    assert drain(queue, "a") == [301]
    queue.close()


def test_what_was_delivered_on_a_full_disk_is_not_delivered_again(small_disk: Path) -> None:
    """The room that is kept for such times holds the cursors, too, however long they last."""
    path = small_disk / "queue.jsonl"
    names = ["works", "late"]
    queue = DeliveryQueue(path, names, 10_000)
    queue.append(notification(0))
    fill(small_disk)
    number = 0
    for life in range(1, 6):
        for number in range(1000 * life, 1000 * life + 500):
            queue.append(notification(number))
            assert drain(queue, "works")[-1:] == [number]
        late = drain(queue, "late")
        assert late[-1] == number
        assert life == 1 or "can't be written" in queue.warnings()[0]  # the room is used up
        kill(queue)
        queue = DeliveryQueue(path, names, 10_000)
        assert drain(queue, "works") == drain(queue, "late") == []
    (small_disk / "ballast").unlink()
    time.sleep(0.3)
    queue.append(notification(1))
    kill(queue)
    queue = DeliveryQueue(path, names, 10_000)
    assert drain(queue, "works") == drain(queue, "late") == [1]
    queue.close()


def test_room_is_reserved_when_there_is_some(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=12m", str(small_disk)], check=True)
    DeliveryQueue(small_disk / "queue.jsonl", ["a"], 10_000).close()
    os.truncate(small_disk / "queue.jsonl", 0)
    fill(small_disk)
    queue = DeliveryQueue(small_disk / "queue.jsonl", ["a"], 10_000)
    queue.append(notification(0))
    (small_disk / "ballast").unlink()
    time.sleep(0.3)
    queue.append(notification(1))
    fill(small_disk)
    for number in range(2, 102):
        queue.append(notification(number))
    kill(queue)
    queue = DeliveryQueue(small_disk / "queue.jsonl", ["a"], 10_000)
    assert drain(queue, "a") == list(range(102))
    queue.close()


def test_a_disk_that_filled_up_after_a_clean_stop_is_no_reason_not_to_start(
    small_disk: Path,
) -> None:
    path = small_disk / "queue.jsonl"
    queue = DeliveryQueue(path, ["works"], 100)
    for number in range(20):
        queue.append(notification(number))
    queue.close()
    fill(small_disk)
    queue = DeliveryQueue(path, ["works"], 100)
    queue.append(notification(20))
    assert drain(queue, "works") == list(range(21))
    (small_disk / "ballast").unlink()
    queue.close()


def test_a_disk_that_fails_to_read_for_a_moment_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "queue.jsonl"
    queue = DeliveryQueue(path, ["works"], 100)
    for number in range(20):
        queue.append(notification(number))
    read = os.pread
    failures = [3]

    def failing(fd: int, size: int, offset: int) -> bytes:
        failures[0] -= 1
        if failures[0] >= 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(fd, size, offset)

    monkeypatch.setattr(os, "pread", failing)
    for _ in range(3):
        assert queue.next("works") is None
        queue.tend()
    assert queue.warnings() == (
        f"{str(path)!r} can't be read now ({os.strerror(errno.EIO)}): what waits in it is tried "
        "again",
    )
    assert drain(queue, "works") == list(range(20))
    assert queue.dropped("works") == 0
    queue.close()


def test_a_name_that_is_no_utf_8_does_not_poison_the_queue(tmp_path: Path) -> None:
    queue = DeliveryQueue(tmp_path / "queue.jsonl", ["works"], 100)
    queue.append(replace(notification(1), source="caf\udce9"))
    queue.append(notification(2))
    entry = queue.next("works")
    assert entry is not None
    assert entry[1].source == "caf\ufffd"
    assert drain(queue, "works") == [1, 2]
    assert queue.warnings() == ()
    queue.close()


def test_a_disk_full_from_the_start_and_too_long(small_disk: Path) -> None:
    fill(small_disk)
    queue = DeliveryQueue(small_disk / "queue.jsonl", ["a", "b"], 10_000, max_memory=50)
    for number in range(40):
        queue.append(notification(number))
    assert len(queue.warnings()) == 1
    entry = queue.next("a")
    assert entry is not None
    for number in range(40, 60):
        queue.append(notification(number))
    assert (queue.waiting("a"), queue.dropped("a")) == (50, 10)
    queue.done("a", entry[0])  # it was dropped meanwhile
    assert drain(queue, "a") == list(range(10, 60))
    (small_disk / "ballast").unlink()
    time.sleep(0.3)
    queue.close()
    queue = DeliveryQueue(small_disk / "queue.jsonl", ["a", "b"], 10_000)
    assert (queue.waiting("a"), queue.dropped("a")) == (0, 10)
    assert (queue.waiting("b"), queue.dropped("b")) == (50, 10)
    assert drain(queue, "b") == list(range(10, 60))
    queue.close()


def test_memory_that_is_full_leaves_a_hole(small_disk: Path) -> None:
    """What was written before the disk was full is older than what is dropped."""
    queue = DeliveryQueue(small_disk / "queue.jsonl", ["a"], 10_000, max_memory=20)
    for number in range(10):
        queue.append(notification(number))
    fill(small_disk)
    while queue.warnings() == ():
        number += 1
        queue.append(notification(number))
    written = number - 1
    for number in range(written + 2, written + 42):
        queue.append(notification(number))
    assert queue.dropped("a") == 21
    (small_disk / "ballast").unlink()
    time.sleep(0.3)
    queue.tend()
    expected = [*range(written + 1), *range(number - 19, number + 1)]
    assert queue.waiting("a") == len(expected)
    assert drain(queue, "a") == expected
    assert queue.waiting("a") == 0
    queue.close()


@pytest.mark.parametrize("how", ["missing", "refused"])
def test_a_system_that_reserves_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """macOS has no posix_fallocate, and some file systems refuse it: all else goes on."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    if how == "missing":
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    monkeypatch.setattr(delivery_queue, "_COMPACT_BYTES", 10_000)
    path = tmp_path / "queue.jsonl"
    for begin in (0, 100, 200):
        queue = DeliveryQueue(path, ["a"], 1000)
        for number in range(begin, begin + 100):
            queue.append(notification(number))
        assert drain(queue, "a") == list(range(begin, begin + 100))
        assert queue.warnings() == ()
        kill(queue)
        assert b"\0" not in path.read_bytes()


# ---------------------------------------------------------------- files that are not right


def test_a_file_of_which_nothing_can_be_read_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    path.write_bytes(content := random.Random(1).randbytes(5000))
    queue = DeliveryQueue(path, ["a"], 1000)
    (line,) = queue.warnings()
    assert "is damaged" in line
    assert "queue.jsonl.damaged" in line
    assert "\n" not in line
    assert (tmp_path / "queue.jsonl.damaged").read_bytes() == content
    queue.append(notification(7))
    assert drain(queue, "a") == [7]
    queue.close()
    queue = DeliveryQueue(path, ["a"], 1000)
    assert queue.warnings() == ()
    queue.close()


@pytest.mark.parametrize(
    ("begin", "length", "cut", "warnings"),
    [
        (16, 2000, False, 1),
        (10_003, 5000, False, 1),
        (15_003, 10**6, False, 0),
        (15_003, 0, True, 0),
    ],
)
def test_what_a_power_cut_leaves_is_delivered(
    tmp_path: Path, begin: int, length: int, cut: bool, warnings: int
) -> None:
    """Zeros in place of what was not on the disk, or a shorter file."""
    path = tmp_path / "queue.jsonl"
    queue = DeliveryQueue(path, ["a"], 1000)
    for number in range(100):
        queue.append(notification(number))
    queue.close()
    content = path.read_bytes().rstrip(b"\0")
    end = begin + length
    spoilt = content[:begin] if cut else content[:begin] + bytes(length) + content[end:]
    path.write_bytes(spoilt)
    left = [n for n in range(100) if b'{"id":"%d/on"' % n in spoilt]
    queue = DeliveryQueue(path, ["a"], 1000)
    assert len(found := queue.warnings()) == warnings, found
    came = drain(queue, "a")
    assert set(came) <= set(left)
    assert len(came) >= len(left) - 2  # those at the edges are torn
    for number in range(100, 120):  # over what is torn
        queue.append(notification(number))
    queue.close()
    queue = DeliveryQueue(path, ["a"], 1000)
    assert drain(queue, "a") == list(range(100, 120))
    queue.close()


def test_a_file_that_is_damaged_while_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    queue = DeliveryQueue(path, ["a", "b"], 100_000)
    for number in range(1000):
        queue.append(notification(number))
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert drain(queue, "a") == []
    queue.tend()
    assert queue.dropped("a") == queue.dropped("b") == 1000
    for number in range(1000, 1010):
        queue.append(notification(number))
    assert drain(queue, "a") == list(range(1000, 1010))
    assert (
        queue.warnings()
        == (f"{str(path)!r} is damaged: 1000 events that waited in it are lost",) * 2
    )
    queue.close()
    queue = DeliveryQueue(path, ["a", "b"], 100_000)
    assert queue.warnings() == ()
    assert drain(queue, "b") == list(range(1000, 1010))
    assert queue.dropped("b") == 1000
    assert len(queue.open_events()) == 1010
    queue.close()


def test_what_is_no_notification_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    queue = DeliveryQueue(path, ["a"], 100)
    for number in range(3):
        queue.append(notification(number))
    queue.close()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b'[2,{"id":"\xff\x80/on","no":1}]\n'
    path.write_bytes(b"".join(lines))
    queue = DeliveryQueue(path, ["a"], 100)
    assert drain(queue, "a") == [0, 2]
    assert queue.dropped("a") == 1
    assert [e.event for e in queue.open_events()] == ["0", "2"]
    assert len(queue.warnings()) == 2
    queue.close()


def refusal(path: Path) -> str:
    with pytest.raises(SinkError) as caught:
        DeliveryQueue(path, ["a"], 100)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    assert "--spool-directory" in line
    return line


def test_a_file_that_another_otic_uses(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    code = (
        "import sys; from otic.sinks.delivery.queue import DeliveryQueue;"
        "s = DeliveryQueue(sys.argv[1], ['a'], 10); print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        assert "another otic" in refusal(path)
        child.kill()
    DeliveryQueue(path, ["a"], 10).close()  # at once after the other's end


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "can't be kept" in refusal(tmp_path / "file" / "queue.jsonl")
    (tmp_path / "folder" / "queue.jsonl").mkdir(parents=True)
    assert "can't be kept" in refusal(tmp_path / "folder" / "queue.jsonl")


def test_a_folder_without_permission(tmp_path: Path) -> None:
    if os.geteuid() == 0:  # who may write everywhere else
        with disk(tmp_path / "disk", "ro") as folder:
            assert "can't be kept" in refusal(folder / "queue.jsonl")
        return
    tmp_path.chmod(0o500)
    try:
        assert "can't be kept" in refusal(tmp_path / "queue.jsonl")
    finally:
        tmp_path.chmod(0o700)


# ---------------------------------------------------------------- cost and size


def test_appending_is_cheap(tmp_path: Path) -> None:
    queue = DeliveryQueue(tmp_path / "queue.jsonl", ["a", "b"], 500)
    times = []
    for number in range(1500):  # beyond 500, one is dropped for each
        item = notification(number // 2, "off" if number % 2 else "on")
        begin = time.perf_counter()
        queue.append(item)
        times.append(time.perf_counter() - begin)
    queue.close()
    assert statistics.median(times) < 0.3e-3


def test_the_file_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_queue, "_COMPACT_BYTES", 100_000)
    monkeypatch.setattr(delivery_queue, "_SYNC_SECONDS", 0.0)
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    path = tmp_path / "queue.jsonl"
    queue = DeliveryQueue(path, ["a"], 100_000)
    for number in range(6000):
        queue.append(notification(number // 2, "off" if number % 2 else "on"))
    queue.tend()
    assert path.stat().st_size > 1_200_000
    assert drain(queue, "a") == [number // 2 for number in range(6000)]
    for number in range(8000, 8200):
        queue.append(notification(number))
        assert drain(queue, "a") == [number]
    assert path.stat().st_size < 1_100_000  # some room is kept for the next ones
    assert [file.name for file in tmp_path.iterdir()] == ["queue.jsonl"]
    queue.close()


# ---------------------------------------------------------------- without a disk


def test_memory_only() -> None:
    queue = DeliveryQueue(None, ["a", "b"], 10)
    for number in range(4):
        queue.append(notification(number))
    assert drain(queue, "a") == [0, 1, 2, 3]
    for number in range(4, 14):
        queue.append(notification(number))
    assert (queue.waiting("a"), queue.dropped("a")) == (10, 0)
    assert (queue.waiting("b"), queue.dropped("b")) == (10, 4)
    assert drain(queue, "b") == list(range(4, 14))
    assert len(queue.open_events()) == 14
    queue.close()
    queue.append(notification(20))
    assert queue.next("a") is None


def test_memory_is_bounded_while_the_file_hangs() -> None:
    queue = DeliveryQueue(None, ["a"], 10)
    with queue._lock:
        for number in range(15):
            queue.append(notification(number))
        assert len(queue._inbox) == 10
    queue.append(notification(15))
    assert (queue.waiting("a"), queue.dropped("a")) == (10, 6)
    assert drain(queue, "a") == list(range(6, 16))


def test_waiting_ends_with_news_and_when_woken() -> None:
    queue = DeliveryQueue(None, ["a"], 10)
    for wake in (lambda: queue.append(notification(1)), lambda: queue.wake("a")):
        timer = threading.Timer(0.05, wake)
        timer.start()
        begin = time.monotonic()
        queue.wait("a", 20.0)
        assert time.monotonic() - begin < 10.0
        timer.join()
    begin = time.monotonic()
    queue.wait("a", 0.05)
    assert time.monotonic() - begin >= 0.045
