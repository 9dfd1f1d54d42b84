"""Events in a database: doubles, other programs, kills, damage, a disk that is full."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from otic.errors import ParameterError
from otic.sinks.delivery.notification import DeliveryError, Notification, Receiver, RefusedError
from otic.sinks.receivers import sqlite as sqlite_file
from otic.sinks.receivers.sqlite import Section as SqliteSection
from otic.sinks.receivers.sqlite import SqliteReceiver
from otic.system.clock import iso
from tests.conftest import ROOT

ON = Notification(
    event="3f2a-17",
    state="on",
    sensor="yard",
    source="mic",
    label="dog",
    onset=1.25,
    time=2.0,
    onset_at="2026-01-01T12:00:01.250Z",
    at="2026-01-01T12:00:02.000Z",
    score=0.91,
)
OFF = replace(
    ON,
    state="off",
    time=4.75,
    at="2026-01-01T12:00:04.750Z",
    offset=4.5,
    offset_at="2026-01-01T12:00:04.500Z",
    score=None,
    peak=0.97,
)
BEGUN = (
    *("3f2a-17", "yard", "mic", "dog", "2026-01-01T12:00:01.250Z", None),
    *(None, 0.91, None, 1.25, None, None),
)
ENDED = (
    *("3f2a-17", "yard", "mic", "dog", "2026-01-01T12:00:01.250Z", "2026-01-01T12:00:04.500Z"),
    *(3.25, 0.91, 0.97, 1.25, 4.5, None),
)


def numbered(number: int) -> Notification:
    return replace(OFF, event=f"3f2a-{number:06d}")


def opened(path: Path, **settings: Any) -> SqliteReceiver:
    made: Receiver = SqliteReceiver(SqliteSection(path=str(path), **settings))
    made.open()
    assert isinstance(made, SqliteReceiver)
    return made


def put(path: Path, *notifications: Notification) -> None:
    made = opened(path)
    for notification in notifications:
        made.deliver(notification)
    made.idle()
    made.close()


def query(path: Path, text: str = "SELECT * FROM events") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(text).fetchall()


def failure(path: Path, *notifications: Notification) -> str:
    with pytest.raises(DeliveryError) as raised:
        put(path, *notifications)
    assert not isinstance(raised.value, RefusedError)
    assert repr(str(path)) in str(raised.value)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "events.db"
    left = {p.name for p in tmp_path.iterdir() if p.name.startswith("events.db")}
    assert left <= {"events.db"}  # closed properly: no -wal, no -shm


def test_an_event_is_one_row(path: Path) -> None:
    put(path, ON)
    assert query(path) == [BEGUN]
    put(path, OFF)
    assert query(path) == [ENDED]


@pytest.mark.parametrize(
    "order", [(ON, ON, OFF), (ON, OFF, OFF), (ON, OFF, ON), (OFF, ON), (OFF, ON, OFF, ON)]
)
def test_doubles_in_any_order_are_the_same_row(path: Path, order: tuple[Notification, ...]) -> None:
    put(path, *order)
    assert query(path) == [ENDED]


def test_an_end_alone_is_a_row(path: Path) -> None:
    put(path, replace(OFF, reason="restart"))
    assert query(path) == [(*ENDED[:7], None, *ENDED[8:11], "restart")]


def test_any_text_is_stored_but_for_what_a_terminal_acts_on(path: Path) -> None:
    put(path, replace(ON, label="Robert'); DROP TABLE events;--", source="a\0b\udcff"))
    assert query(path, "SELECT label, source FROM events") == [
        ("Robert'); DROP TABLE events;--", "a\ufffdb\ufffd")
    ]


def test_what_other_programs_are_told_of_the_file(path: Path) -> None:
    put(path)
    assert query(path, "PRAGMA user_version") == [(1,)]
    assert query(path, "PRAGMA application_id") == [(int.from_bytes(b"otic"),)]
    assert query(path, "PRAGMA journal_mode") == [("wal",)]
    for condition, index in (
        ("onset_at > '2026'", "events_by_time"),
        ("label = 'dog' AND onset_at > '2026'", "events_by_label"),
    ):
        [plan] = query(path, f"EXPLAIN QUERY PLAN SELECT * FROM events WHERE {condition}")
        assert index in plan[3]


def test_a_file_of_something_else_is_refused_and_kept(path: Path) -> None:
    for statements, message in (
        ("CREATE TABLE events (id)", "another program's"),
        ("PRAGMA application_id = 42", "another program's"),
        ("PRAGMA user_version = 7", "another program's"),
        (
            f"PRAGMA application_id = {sqlite_file.APPLICATION_ID}; PRAGMA user_version = 2",
            "schema version 2",
        ),
    ):
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as db:
            db.executescript(statements)
        before = path.read_bytes()
        assert message in failure(path, ON)
        assert path.read_bytes() == before


def test_a_damaged_file_is_named_and_kept(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"This is no database, whatever its name says. " * 100)
    before = path.read_bytes()
    assert "move it away" in failure(path, ON)
    assert path.read_bytes() == before
    path.unlink()
    put(path, *(numbered(i) for i in range(500)))
    whole = path.read_bytes()
    # All but the first page, which holds the header, the tables' names and nothing else.
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    text = failure(path, ON)
    assert "damaged" in text
    assert "move it away" in text
    assert path.read_bytes()[4096:] == b"\xa5" * (len(whole) - 4096)
    path.rename(tmp_path / "damaged.db")
    put(path, ON)
    assert query(path) == [BEGUN]


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    assert "no plain file" in failure(tmp_path)
    assert "unable to open" in failure(tmp_path / "missing" / "events.db")
    for bad in (None, "", "a\0b"):
        with pytest.raises(ParameterError, match=r"sqlite\.path"):
            SqliteReceiver(SqliteSection(path=bad))


def test_memory_is_a_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put(Path(":memory:"), ON)
    assert query(tmp_path / ":memory:") == [BEGUN]


def test_another_writer_is_waited_for_a_while(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.2)
    made = opened(path, keep_days=1.0)
    monkeypatch.setattr(sqlite_file, "_SWEEP_SECONDS", 0.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        begin = time.monotonic()
        with pytest.raises(DeliveryError, match="in use"):
            made.deliver(ON)
        assert 0.1 < time.monotonic() - begin < 3.0
        made.idle()  # deleting can wait, and is no reason to close
        db.execute("COMMIT")
    made.deliver(ON)
    made.close()
    assert query(path) == [BEGUN]


def test_a_reader_and_the_writer_do_not_wait_for_each_other(path: Path) -> None:
    put(path)
    code = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
last = -1
print("ready", flush=True)
while last < 400:
    db.execute("BEGIN")  # raises, where it would have to wait
    n = db.execute("SELECT count(*) FROM events").fetchone()[0]
    rows = db.execute("SELECT * FROM events ORDER BY onset_at").fetchall()
    assert len(rows) == n >= last, (len(rows), n, last)
    last = n
    time.sleep(0.01)  # while the transaction is open
    db.execute("COMMIT")
"""
    made = opened(path)
    arguments = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        times = []
        for number in range(400):
            begin = time.monotonic()
            made.deliver(numbered(number))
            times.append(time.monotonic() - begin)
        reader.communicate(timeout=60)
    assert reader.returncode == 0
    assert sorted(times)[-4] < sqlite_file.BUSY_SECONDS  # three may fall into a stall
    made.close()


def at(days_ago: float, event: str) -> Notification:
    when = datetime.now(UTC) - timedelta(days=days_ago)
    return replace(ON, event=event, onset_at=iso(when))


def test_old_events_are_deleted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = opened(path, keep_days=2.0)
    for notification in (
        at(1.9, "young"),
        at(2.1, "old"),
        at(400.0, "very old"),
        at(-1.0, "future"),
    ):
        made.deliver(notification)
    made.close()
    made = opened(path, keep_days=2.0)
    made.idle()
    assert len(query(path)) == 4  # not every second
    monkeypatch.setattr(sqlite_file, "_SWEEP_SECONDS", 0.0)
    made.idle()
    assert query(path, "SELECT event FROM events ORDER BY event") == [("future",), ("young",)]
    made.close()


def test_many_old_events_are_deleted_a_few_at_a_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(path, at(0.0, "young"))
    with closing(sqlite3.connect(path)) as db, db:
        rows = [(f"{i}", "s", "m", "dog", "2000-01-01T00:00:00.000Z", 0.0) for i in range(2500)]
        columns = "event, sensor, source, label, onset_at, onset"
        db.executemany(f"INSERT INTO events ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows)
    made = opened(path, keep_days=1e9)
    monkeypatch.setattr(sqlite_file, "_SWEEP_SECONDS", 0.0)
    made.idle()  # a hundred years at most: the calendar has a beginning
    made.close()
    made = opened(path, keep_days=1.0)
    left = []
    for _ in range(3):
        made.idle()
        left.append(query(path, "SELECT count(*) FROM events")[0][0])
    assert left == [1501, 501, 1]
    made.close()


def test_nothing_is_deleted_for_ever_by_default_or_by_a_clock_that_is_set(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "_SWEEP_SECONDS", 0.0)
    made = opened(path)
    made.deliver(at(400.0, "old"))
    made.idle()
    made.close()
    made = opened(path, keep_days=1000.0)
    real = time.time
    monkeypatch.setattr(sqlite_file, "_clock_error", lambda: real() - time.monotonic() + 1e9)
    made.idle()
    assert len(query(path)) == 1
    made.close()


@pytest.mark.parametrize("ahead_days", [365.0, -20_000.0])
def test_a_clock_that_is_wrong_from_the_start_costs_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, ahead_days: float
) -> None:
    monkeypatch.setattr(sqlite_file, "_SWEEP_SECONDS", 0.0)
    put(path, *(at(days, f"{days}") for days in range(50)))
    wrong = timedelta(days=ahead_days)
    settings = SqliteSection(str(path), keep_days=90.0)
    made = SqliteReceiver(settings, now=lambda: datetime.now(UTC) + wrong)
    made.open()
    made.idle()
    made.deliver(at(-ahead_days, "by the wrong clock"))
    made.open()  # after a failure, say
    made.idle()
    assert len(query(path, "SELECT event FROM events")) == 51
    made.close()
    made = opened(path, keep_days=30.5)  # now it is right
    made.idle()
    left = [event for (event,) in query(path, "SELECT event FROM events")]
    assert len(left) == 31 + (ahead_days > 0)
    made.close()


def test_a_time_that_is_none_deletes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "_SWEEP_SECONDS", 0.0)
    put(path, at(1.0, "young"), replace(ON, event="odd", onset_at="whenever"))
    made = opened(path, keep_days=2.0)
    made.idle()
    assert len(query(path)) == 2
    made.close()


def test_kills_lose_and_double_nothing(path: Path) -> None:
    code = """
import itertools, sys
from pathlib import Path
from tests.unit.test_sqlite_file import numbered, opened
made = opened(Path(sys.argv[1]))
for number in itertools.count(int(sys.argv[2])):
    made.deliver(numbered(number))
    print(number, flush=True)
"""
    taken = -1
    for _ in range(4):
        arguments = [sys.executable, "-c", code, str(path), str(max(0, taken))]
        with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            taken = int(child.stdout.readline())
            time.sleep(random.uniform(0.0, 0.1))
            child.send_signal(signal.SIGKILL)
            taken = max([taken, *(int(line) for line in child.stdout if line.endswith("\n"))])
    put(path)
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    seen = [event for (event,) in query(path, "SELECT event FROM events ORDER BY event")]
    assert seen == [numbered(i).event for i in range(len(seen))]
    assert len(seen) >= taken + 1


def test_a_full_disk_is_waited_for(path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from tests.unit.test_sqlite_file import DeliveryError, SqliteReceiver, SqliteSection, numbered
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), limit[1]))
made = SqliteReceiver(SqliteSection(path=sys.argv[1]))
number = failures = 0
while failures < 3:
    try:
        made.open()
        while True:
            made.deliver(numbered(number))
            number += 1
    except DeliveryError as error:
        assert "can't write" in str(error), error
        made.close()
        failures += 1
resource.setrlimit(resource.RLIMIT_FSIZE, limit)
made.open()
made.deliver(numbered(number))
made.close()
print(number)
"""
    for limit in (2000, 60_000):
        path.unlink(missing_ok=True)
        out = subprocess.run(
            [sys.executable, "-c", code, str(path), str(limit)],
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
        seen = [event for (event,) in query(path, "SELECT event FROM events ORDER BY event")]
        assert seen == [numbered(i).event for i in range(int(out) + 1)]
        assert query(path, "PRAGMA integrity_check") == [("ok",)]


def test_the_documented_queries_work(path: Path) -> None:
    page = (ROOT / "docs" / "receivers.md").read_text(encoding="utf-8")
    put(path, ON, replace(OFF, event="other", onset_at=iso(datetime.now(UTC))))
    [text] = [part.split("```")[0] for part in page.split("```sql\n")[1:]]
    now, today = (query(path, line) for line in text.splitlines())
    assert now == [("dog", "2026-01-01T12:00:01.250Z")]
    assert today == [("dog", 1, 3.25)]
    copied = path.parent / "copy.db"
    made = opened(path)
    if shutil.which("sqlite3"):
        subprocess.run(["sqlite3", path, f".backup {copied}"], check=True)
    else:
        query(path, f"VACUUM INTO '{copied}'")
    made.close()
    assert len(query(copied)) == 2
