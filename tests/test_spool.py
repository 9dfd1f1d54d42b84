from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sqlite3
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
from otic.sinks.delivery import spool_store
from otic.sinks.delivery.notification import Notice
from otic.sinks.delivery.spool import Spool
from otic.sinks.delivery.spool_journal import SpoolJournal
from tests.conftest import ROOT


def notice(number: int, state: str = "on") -> Notice:
    return Notice(
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


def drain(spool: Spool, receiver: str) -> list[int]:
    """Take and acknowledge all that waits; the numbers."""
    numbers = []
    while (entry := spool.next(receiver)) is not None:
        numbers.append(int(entry[1].event))
        spool.done(receiver, entry[0])
    return numbers


# ---------------------------------------------------------------- against a simple model

MAX_EVENTS = 6
NAMES = ("a", "b", "c")


class SpoolMachine(RuleBasedStateMachine):
    """Any order of calls, restarts and crashes does what two lists would."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.copies = 0
        self.number = 0
        self.queues: dict[str, deque[Notice]] = {}
        self.dropped: dict[str, int] = {}
        self.on: dict[str, Notice] = {}

    def configure(self, names: list[str]) -> None:
        lost = {n: len(queue) for n, queue in self.queues.items() if queue and n not in names}
        self.queues = {n: self.queues.get(n, deque()) for n in names}
        self.dropped = {n: self.dropped.get(n, 0) for n in names}
        self.spool = Spool(self.path, names, MAX_EVENTS)
        assert set(self.spool.warnings()) == {
            f"{name} is no longer configured: {n} events that waited for it are dropped"
            for name, n in lost.items()
        }

    @property
    def path(self) -> Path:
        return self.folder / str(self.copies) / "spool.db"

    @initialize(names=st.lists(st.sampled_from(NAMES), unique=True))
    def begin(self, names: list[str]) -> None:
        self.configure(names)

    def append(self, item: Notice) -> None:
        self.spool.append(item)
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
            item = self.on[str(self.number)] = notice(self.number)
            self.append(item)

    @precondition(lambda self: self.on)
    @rule(data=st.data())
    def append_off(self, data: st.DataObject) -> None:
        event = data.draw(st.sampled_from(sorted(self.on)))
        del self.on[event]
        self.append(notice(int(event), "off"))

    @precondition(lambda self: self.queues)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.queues)))
        entry = self.spool.next(name)
        if not self.queues[name]:
            assert entry is None
            return
        assert entry is not None
        assert entry[1] == self.queues[name].popleft()
        self.spool.done(name, entry[0])
        self.spool.done(name, entry[0])  # twice does no harm

    @precondition(lambda self: self.queues)
    @rule(data=st.data())
    def acknowledge_what_was_dropped(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.queues)))
        entry = self.spool.next(name)
        before = self.dropped[name]
        for _ in range(2):
            self.append_on(3)
        if entry is None or self.dropped[name] == before:
            return
        self.spool.done(name, entry[0])

    @rule(names=st.lists(st.sampled_from(NAMES), unique=True))
    def restart(self, names: list[str]) -> None:
        self.spool.close()
        self.configure(names)

    @rule(names=st.lists(st.sampled_from(NAMES), unique=True))
    def crash(self, names: list[str]) -> None:
        """What is in the files at this moment is what a SIGKILL would leave."""
        old = self.path.parent
        self.copies += 1
        shutil.copytree(old, self.path.parent)
        self.spool.close()
        self.configure(names)

    @rule()
    def tend(self) -> None:
        self.spool.tend()

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "spool"):
            return
        assert self.spool.warnings() == ()
        assert {e.event: e for e in self.spool.open_events()} == self.on
        for name, queue in self.queues.items():
            assert self.spool.waiting(name) == len(queue)
            assert self.spool.dropped(name) == self.dropped[name]
            entry = self.spool.next(name)
            assert (entry and entry[1]) == (queue[0] if queue else None)

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            self.spool.close()
        shutil.rmtree(self.folder)


TestAgainstModel = SpoolMachine.TestCase
TestAgainstModel.settings = settings(max_examples=20, stateful_step_count=20)


# ---------------------------------------------------------------- SIGKILL

APPENDER = """
import os, sys
from pathlib import Path
from otic.sinks.delivery import spool_journal
from otic.sinks.delivery import spool_store
from otic.sinks.delivery.worker import Courier
from otic.sinks.delivery.spool import Spool
from tests.test_spool import notice

spool_store._CHECKPOINT_WRITES = 20  # often in the middle of one
spool_journal._LARGEST_BYTES = 1 << 30  # what comes in one: a thousand, not one in an hour

class File:
    name = "file"
    def open(self): self.file = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    def deliver(self, notice): os.write(self.file, f"{notice.event} {notice.state}\\n".encode())
    def idle(self): pass
    def close(self): os.close(self.file)

spool = Spool(sys.argv[1], ["file"], 1_000_000, max_memory=1_000_000)
Courier(File(), spool, print).start()
number = int(sys.argv[3])
while True:
    spool.append(notice(number // 2, "off" if number % 2 else "on"))
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
    database, delivered = tmp_path / "spool.db", tmp_path / "delivered"
    printed: list[int] = []
    for turn in range(10):
        out = tmp_path / f"printed-{turn}"
        number = printed[-1] + 2 - printed[-1] % 2 if printed else 0
        command = [sys.executable, "-c", APPENDER, str(database), str(delivered), str(number)]
        with out.open("wb") as file, subprocess.Popen(command, stdout=file, cwd=ROOT) as child:
            wait_for(lambda out=out: out.stat().st_size > 0)  # type: ignore[misc]
            time.sleep(chance.uniform(0.0, 0.15))
            child.send_signal(signal.SIGKILL)
        lines = whole_lines(out)
        printed += [int(line) for line in lines]
    spool = Spool(database, ["file"], 1_000_000)
    assert len(spool.open_events()) <= 10
    came = [int(e) * 2 + (s == "off") for e, s in (line.split() for line in whole_lines(delivered))]
    while (entry := spool.next("file")) is not None:
        came.append(int(entry[1].event) * 2 + (entry[1].state == "off"))
        spool.done("file", entry[0])
    spool.close()
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
    checkpoint = spool_store.SpoolStore.checkpoint

    def slow(store: spool_store.SpoolStore) -> None:
        entered.set()
        assert leave.wait(20.0)
        checkpoint(store)

    monkeypatch.setattr(spool_store.SpoolStore, "checkpoint", slow)
    monkeypatch.setattr(spool_store, "_CHECKPOINT_WRITES", 1)
    folder = tmp_path / "a"
    spool = Spool(folder / "spool.db", ["a"], 1000)
    for number in range(2):
        spool.append(notice(number))
    thread = threading.Thread(target=spool.tend)
    thread.start()
    assert entered.wait(20.0)
    begin = time.perf_counter()
    for number in range(2, 20):
        spool.append(notice(number))
    spool.append(notice(0, "off"))
    assert time.perf_counter() - begin < 10.0  # waiting would take 20
    shutil.copytree(folder, tmp_path / "b")
    leave.set()
    thread.join(20.0)
    assert spool.waiting("a") == 21
    spool.close()
    killed = Spool(tmp_path / "b" / "spool.db", ["a"], 1000)
    assert [e.event for e in killed.open_events()] == [str(n) for n in range(1, 20)]
    assert drain(killed, "a") == [*range(20), 0]
    killed.close()
    left = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert left == ["spool.db", "spool.db-journaled"]  # its room stays taken


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
    spool = Spool(path, ["works", "fails"], 10_000, max_memory=400)
    for number in range(100):
        spool.append(notice(number))
    full()
    number = 100
    while not (warnings := spool.warnings()):
        spool.append(notice(number))
        number += 1
        assert number < 5000, "the disk is never full"
    assert "can't be written" in warnings[0]
    assert len(warnings) == 1
    last = number + 299
    times = []
    for number in range(last - 299, last + 1):
        begin = time.perf_counter()
        spool.append(notice(number))
        times.append(time.perf_counter() - begin)
    assert sorted(times)[-4] < 0.2  # three may fall into a stall
    assert drain(spool, "works") == list(range(last + 1))  # from file and memory
    assert spool.waiting("fails") == last + 1
    assert spool.dropped("fails") == 0
    assert spool.warnings() == ()  # said once
    room()
    time.sleep(0.3)
    spool.append(notice(last + 1))
    spool.tend()
    assert spool.warnings() == (f"{str(path)!r} can be written again",)
    killed = path.parent / "killed"
    killed.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", killed / f"spool.db{suffix}")
    spool.close()
    spool = Spool(killed / "spool.db", ["works", "fails"], 10_000)
    assert drain(spool, "fails") == list(range(last + 2))
    assert drain(spool, "works") == [last + 1]
    assert len(spool.open_events()) == last + 2
    spool.close()


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    def room() -> None:
        (small_disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)

    through_a_full_disk(small_disk / "spool.db", lambda: fill(small_disk), room)


def test_files_that_may_not_grow_lose_nothing(tmp_path: Path) -> None:
    """The same without root: a limit on the size of files, in a process of its own."""
    code = (
        "import sys; from pathlib import Path; from tests import test_spool as t;"
        "t.within_a_limit_on_files(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "spool.db")], check=True, cwd=ROOT)


def within_a_limit_on_files(path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    through_a_full_disk(path, lambda: limit(500_000), lambda: limit(hard))

    # Killed meanwhile: what the database had no room for is in the journal, which is smaller.
    folder = path.parent / "full"
    spool = Spool(folder / "spool.db", ["a"], 10_000)
    limit(200_000)
    number = 0
    while not spool.warnings():
        spool.append(notice(number))
        number += 1
    for number in range(number, number + 50):  # noqa: B020
        spool.append(notice(number))
    limit(hard)
    shutil.copytree(folder, path.parent / "left")
    spool.close()
    spool = Spool(path.parent / "left" / "spool.db", ["a"], 10_000)
    assert drain(spool, "a") == list(range(number + 1))
    spool.close()


def test_what_a_full_disk_does_not_take_outlives_a_kill(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=12m", str(small_disk)], check=True)
    spool = Spool(small_disk / "spool.db", ["a"], 10_000)
    spool.append(notice(0))
    fill(small_disk)
    for life in range(3):  # the disk stays full over all of them
        for number in range(1 + 100 * life, 101 + 100 * life):
            spool.append(notice(number))
        spool._backlog._store.close()  # type: ignore[union-attr] - as a kill would
        spool = Spool(small_disk / "spool.db", ["a"], 10_000)
        assert spool.waiting("a") == 101 + 100 * life
    (small_disk / "ballast").unlink()
    time.sleep(0.3)
    assert drain(spool, "a") == list(range(301))
    spool.append(notice(301))
    spool.close()
    spool = Spool(small_disk / "spool.db", ["a"], 10_000)
    assert drain(spool, "a") == [301]
    spool.close()


def test_room_for_the_journal_is_taken_when_there_is_some(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=12m", str(small_disk)], check=True)
    Spool(small_disk / "spool.db", ["a"], 10_000).close()
    (small_disk / "spool.db-journaled").unlink()
    fill(small_disk)
    spool = Spool(small_disk / "spool.db", ["a"], 10_000)
    spool.append(notice(0))
    (small_disk / "ballast").unlink()
    time.sleep(0.3)
    spool.append(notice(1))
    fill(small_disk)
    for number in range(2, 102):
        spool.append(notice(number))
    spool._backlog._store.close()  # type: ignore[union-attr] - as a kill would
    spool = Spool(small_disk / "spool.db", ["a"], 10_000)
    assert drain(spool, "a") == list(range(102))
    spool.close()


def test_what_the_journal_has_forgotten_stays_so(tmp_path: Path) -> None:
    """Also where the file that knew its numbers is gone, and lines are written over old ones."""
    journal = SpoolJournal(tmp_path / "journal")
    journal.reserve()
    for number in range(1, 21):
        journal.write(number, "x" * number)
    journal.clear()
    journal.write(21, "y")
    journal.write(22, "z" * 30)
    journal.close()
    journal = SpoolJournal(tmp_path / "journal")
    assert journal.read(after=0) == [(21, "y"), (22, "z" * 30)]
    journal.write(23, "new")
    assert SpoolJournal(tmp_path / "journal").read(after=21) == [(22, "z" * 30), (23, "new")]
    journal.clear()
    journal.close()
    journal = SpoolJournal(tmp_path / "journal")
    assert journal.read(after=0) == []
    assert journal.latest == 23


def test_a_spool_begun_anew_beside_an_old_journal(tmp_path: Path) -> None:
    for number in range(3):
        spool = Spool(tmp_path / "spool.db", ["a"], 10_000)
        journal = spool._journal
        assert journal is not None
        journal.write(spool._number + 1, notice(number).to_json())  # then it was killed
        spool._backlog._store.close()  # type: ignore[union-attr]
        spool = Spool(tmp_path / "spool.db", ["a"], 10_000)
        assert drain(spool, "a") == [number]
        spool.close()
        for file in tmp_path.glob("spool.db*"):
            if file.name != "spool.db-journaled":
                file.unlink()


def test_a_disk_that_filled_up_after_a_clean_stop_is_no_reason_not_to_start(
    small_disk: Path,
) -> None:
    path = small_disk / "spool.db"
    spool = Spool(path, ["works"], 100)
    for number in range(20):
        spool.append(notice(number))
    spool.close()
    fill(small_disk)
    spool = Spool(path, ["works"], 100)
    spool.append(notice(20))
    assert drain(spool, "works") == list(range(21))
    (small_disk / "ballast").unlink()
    spool.close()


def test_a_disk_that_fails_to_read_for_a_moment_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "spool.db"
    spool = Spool(path, ["works"], 100)
    for number in range(20):
        spool.append(notice(number))
    read = spool_store.SpoolStore.oldest_after
    failures = [3]

    def failing(store: spool_store.SpoolStore, sequence: int) -> tuple[int, str] | None:
        failures[0] -= 1
        if failures[0] >= 0:
            raise sqlite3.OperationalError("disk I/O error")
        return read(store, sequence)

    monkeypatch.setattr(spool_store.SpoolStore, "oldest_after", failing)
    for _ in range(3):
        assert spool.next("works") is None
        spool.tend()
    assert spool.warnings() == (
        f"{str(path)!r} can't be read now (disk I/O error): what waits in it is tried again",
    )
    assert drain(spool, "works") == list(range(20))
    assert spool.dropped("works") == 0
    spool.close()


def test_a_name_that_is_no_utf_8_does_not_poison_the_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", ["works"], 100)
    spool.append(replace(notice(1), source="caf\udce9"))
    spool.append(notice(2))
    entry = spool.next("works")
    assert entry is not None
    assert entry[1].source == "caf?"
    assert drain(spool, "works") == [1, 2]
    assert spool.warnings() == ()
    spool.close()


def test_a_disk_full_from_the_start_and_too_long(small_disk: Path) -> None:
    fill(small_disk)
    spool = Spool(small_disk / "spool.db", ["a", "b"], 10_000, max_memory=50)
    for number in range(40):
        spool.append(notice(number))
    assert len(spool.warnings()) == 1
    entry = spool.next("a")
    assert entry is not None
    for number in range(40, 60):
        spool.append(notice(number))
    assert (spool.waiting("a"), spool.dropped("a")) == (50, 10)
    spool.done("a", entry[0])  # it was dropped meanwhile
    assert drain(spool, "a") == list(range(10, 60))
    (small_disk / "ballast").unlink()
    time.sleep(0.3)
    spool.close()
    spool = Spool(small_disk / "spool.db", ["a", "b"], 10_000)
    assert (spool.waiting("a"), spool.dropped("a")) == (0, 10)
    assert (spool.waiting("b"), spool.dropped("b")) == (50, 10)
    assert drain(spool, "b") == list(range(10, 60))
    spool.close()


def test_memory_that_is_full_leaves_a_hole(small_disk: Path) -> None:
    """What was written before the disk was full is older than what is dropped."""
    spool = Spool(small_disk / "spool.db", ["a"], 10_000, max_memory=20)
    for number in range(10):
        spool.append(notice(number))
    fill(small_disk)
    while spool.warnings() == ():
        number += 1
        spool.append(notice(number))
    written = number - 1
    for number in range(written + 2, written + 42):
        spool.append(notice(number))
    assert spool.dropped("a") == 21
    (small_disk / "ballast").unlink()
    time.sleep(0.3)
    spool.tend()
    expected = [*range(written + 1), *range(number - 19, number + 1)]
    assert spool.waiting("a") == len(expected)
    assert drain(spool, "a") == expected
    assert spool.waiting("a") == 0
    spool.close()


# ---------------------------------------------------------------- files that are not right


def spoil(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "garbage":
        path.write_bytes(random.Random(1).randbytes(5000))
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "overwritten":
        path.write_bytes(content[:3000] + bytes(len(content) - 3000))
    else:
        path.write_bytes(content[:16] + bytes(2000) + content[2016:])


@pytest.mark.parametrize("how", ["garbage", "cut", "overwritten", "header"])
def test_a_damaged_file_is_put_aside(tmp_path: Path, how: str) -> None:
    path = tmp_path / "spool.db"
    spool = Spool(path, ["a"], 1000)
    for number in range(100):
        spool.append(notice(number))
    spool.close()
    spoil(path, how)
    content = path.read_bytes()
    spool = Spool(path, ["a"], 1000)
    (line,) = spool.warnings()
    assert "is damaged" in line
    assert "spool.db.damaged" in line
    assert "\n" not in line
    assert (tmp_path / "spool.db.damaged").read_bytes() == content
    spool.append(notice(7))
    assert drain(spool, "a") == [7]
    spool.close()
    spool = Spool(path, ["a"], 1000)
    assert spool.warnings() == ()
    spool.close()


def test_a_file_that_is_damaged_while_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spool = Spool(path, ["a", "b"], 100_000)
    for number in range(1000):
        spool.append(notice(number))
    spool.tend()
    assert spool._backlog._store is not None
    spool._backlog._store._use().execute("PRAGMA cache_size = 10")  # else it needs no file
    spool._backlog.checkpoint()  # all is in the file that is spoilt now
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    came = drain(spool, "a")
    assert came == list(range(len(came)))
    assert spool.dropped("a") == 1000 - len(came) > 0
    assert spool.dropped("b") == 1000
    for number in range(1000, 1010):
        spool.append(notice(number))
    assert drain(spool, "a") == list(range(1000, 1010))
    time.sleep(0.3)
    spool.tend()
    assert "can't be read" in spool.warnings()[0]
    spool.close()
    assert (tmp_path / "spool.db.damaged").exists()
    spool = Spool(path, ["a", "b"], 100_000)
    assert drain(spool, "b") == list(range(1000, 1010))
    assert spool.dropped("b") == 1000
    assert len(spool.open_events()) == 1010
    spool.close()


def test_what_is_no_notice_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spool = Spool(path, ["a"], 100)
    for number in range(3):
        spool.append(notice(number))
    spool.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE notices SET notice = '{\"no\": 1}' WHERE sequence = 2")
        db.execute("UPDATE open_events SET notice = '[]' WHERE event = '0'")
    db.close()
    spool = Spool(path, ["a"], 100)
    assert drain(spool, "a") == [0, 2]
    assert spool.dropped("a") == 1
    assert [e.event for e in spool.open_events()] == ["1", "2"]
    assert len(spool.warnings()) == 2
    spool.close()


def refusal(path: Path) -> str:
    with pytest.raises(SinkError) as caught:
        Spool(path, ["a"], 100)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    assert "--spool-directory" in line
    return line


def test_a_file_that_another_otic_uses(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    code = (
        "import sys; from otic.sinks.delivery.spool import Spool;"
        "s = Spool(sys.argv[1], ['a'], 10); print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        assert "another otic" in refusal(path)
        child.kill()
    Spool(path, ["a"], 10).close()  # at once after the other's end


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "can't be kept" in refusal(tmp_path / "file" / "spool.db")
    (tmp_path / "folder" / "spool.db").mkdir(parents=True)
    assert "can't be kept" in refusal(tmp_path / "folder" / "spool.db")


def test_a_folder_without_permission(tmp_path: Path) -> None:
    if os.geteuid() == 0:  # who may write everywhere else
        with disk(tmp_path / "disk", "ro") as folder:
            assert "can't be kept" in refusal(folder / "spool.db")
        return
    tmp_path.chmod(0o500)
    try:
        assert "can't be kept" in refusal(tmp_path / "spool.db")
    finally:
        tmp_path.chmod(0o700)


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE precious (x)")
    db.close()
    content = path.read_bytes()
    assert "is not a spool" in refusal(path)
    assert path.read_bytes() == content


# ---------------------------------------------------------------- cost and size


def test_appending_is_cheap(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", ["a", "b"], 500)
    times = []
    for number in range(1500):  # beyond 500, one is dropped for each
        item = notice(number // 2, "off" if number % 2 else "on")
        begin = time.perf_counter()
        spool.append(item)
        times.append(time.perf_counter() - begin)
    spool.close()
    assert statistics.median(times) < 0.3e-3


def test_the_file_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_store, "_CHECKPOINT_WRITES", 100)
    path = tmp_path / "spool.db"
    spool = Spool(path, ["a"], 100_000)
    for number in range(6000):
        spool.append(notice(number // 2, "off" if number % 2 else "on"))
    spool.tend()
    assert path.stat().st_size > 1_200_000
    assert drain(spool, "a") == [number // 2 for number in range(6000)]
    for number in range(8000, 8200):
        spool.append(notice(number))
        assert drain(spool, "a") == [number]
    assert path.stat().st_size < 1_100_000  # some room is kept for the next ones
    assert path.with_name("spool.db-wal").stat().st_size < 1_000_000
    spool.close()


# ---------------------------------------------------------------- without a disk


def test_memory_only() -> None:
    spool = Spool(None, ["a", "b"], 10)
    for number in range(4):
        spool.append(notice(number))
    assert drain(spool, "a") == [0, 1, 2, 3]
    for number in range(4, 14):
        spool.append(notice(number))
    assert (spool.waiting("a"), spool.dropped("a")) == (10, 0)
    assert (spool.waiting("b"), spool.dropped("b")) == (10, 4)
    assert drain(spool, "b") == list(range(4, 14))
    assert len(spool.open_events()) == 14
    spool.close()
    spool.append(notice(20))
    assert spool.next("a") is None


def test_memory_is_bounded_while_the_file_hangs() -> None:
    spool = Spool(None, ["a"], 10)
    with spool._lock:
        for number in range(15):
            spool.append(notice(number))
        assert len(spool._inbox) == 10
    spool.append(notice(15))
    assert (spool.waiting("a"), spool.dropped("a")) == (10, 6)
    assert drain(spool, "a") == list(range(6, 16))


def test_waiting_ends_with_news_and_when_woken() -> None:
    spool = Spool(None, ["a"], 10)
    for wake in (lambda: spool.append(notice(1)), lambda: spool.wake("a")):
        timer = threading.Timer(0.05, wake)
        timer.start()
        begin = time.monotonic()
        spool.wait("a", 20.0)
        assert time.monotonic() - begin < 10.0
        timer.join()
    begin = time.monotonic()
    spool.wait("a", 0.05)
    assert time.monotonic() - begin >= 0.045
