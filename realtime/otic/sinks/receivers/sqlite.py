"""Events in a SQLite database."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from otic.config.settings import setting
from otic.errors import ParameterError
from otic.sinks.delivery.notification import DeliveryError, Notification, Receiver, Sensor
from otic.system.clock import iso, utc_now
from otic.system.findings import Check, folder_checks

APPLICATION_ID = 0x6F746963  # "otic", in the file's header
SCHEMA_VERSION = 1
BUSY_SECONDS = 2.0  # how long to wait for another program that writes
_SWEEP_SECONDS = 600.0  # how often old events are looked for
_SWEEP_ROWS = 1000  # how many are deleted at once: nobody waits long for that
_MAX_CLOCK_ERROR_SECONDS = 60.0
_MAX_KEEP_DAYS = 36_500.0

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS events (
    event TEXT PRIMARY KEY,
    sensor TEXT NOT NULL,
    source TEXT NOT NULL,
    label TEXT NOT NULL,
    onset_at TEXT NOT NULL,
    offset_at TEXT,
    seconds REAL,
    score REAL,
    peak REAL,
    onset REAL NOT NULL,
    "offset" REAL,
    reason TEXT
)""",
    "CREATE INDEX IF NOT EXISTS events_by_time ON events (onset_at)",
    "CREATE INDEX IF NOT EXISTS events_by_label ON events (label, onset_at)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
# Whatever comes twice or in another order completes the row and takes nothing from it.
_UPSERT = """INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (event) DO UPDATE SET
    offset_at = coalesce(excluded.offset_at, offset_at),
    seconds = coalesce(excluded.seconds, seconds),
    score = coalesce(excluded.score, score),
    peak = coalesce(excluded.peak, peak),
    "offset" = coalesce(excluded."offset", "offset"),
    reason = coalesce(excluded.reason, reason)"""
_DELETE = f"""DELETE FROM events WHERE event IN (
    SELECT event FROM events WHERE onset_at < ? AND onset_at != ''
    ORDER BY onset_at LIMIT {_SWEEP_ROWS})"""


_LEVELS = """CREATE TABLE IF NOT EXISTS levels (
    level TEXT PRIMARY KEY,
    sensor TEXT NOT NULL,
    source TEXT NOT NULL,
    at TEXT NOT NULL,
    time REAL NOT NULL,
    seconds REAL NOT NULL,
    calibrated INTEGER NOT NULL,
    laeq REAL NOT NULL,
    l10 REAL NOT NULL,
    l50 REAL NOT NULL,
    l90 REAL NOT NULL,
    peak REAL NOT NULL,
    bands TEXT NOT NULL
)"""
_DELETE_LEVELS = f"""DELETE FROM levels WHERE level IN (
    SELECT level FROM levels WHERE at < ? AND at != '' ORDER BY at LIMIT {_SWEEP_ROWS})"""


@dataclass(frozen=True)
class Section:
    """Events in a database."""

    path: str | None = setting(None, "keep events in this SQLite database")
    keep_days: float = setting(0.0, "delete events older than this; 0: never", least=0.0)


def open_receiver(section: Section, sensor: Sensor) -> Receiver | None:
    """Return the receiver that the section asks for."""
    return None if section.path is None else SqliteReceiver(section)


def checks(section: Section) -> list[Check]:
    """List the checks of ``otic doctor``."""
    return folder_checks("sqlite", section.path)


class SqliteReceiver:
    """Keeps a row for each event: begun by its ``on``, completed by its ``off``.

    Minutes' levels are rows of a second table, which is made when the first one comes.

    In WAL mode, so other processes read while this one writes. Not thread safe.

    Parameters
    ----------
    settings : Section
    now : callable
        The wall clock, with a time zone.

    Raises
    ------
    ParameterError
        If no path is set.
    """

    name = "sqlite"
    takes_levels = True

    def __init__(self, settings: Section, now: Callable[[], datetime] = utc_now) -> None:
        if not settings.path or "\0" in settings.path:
            raise ParameterError("sqlite.path is not set: name a file")
        self._path = settings.path
        self._keep_days = min(settings.keep_days, _MAX_KEEP_DAYS)
        self._db: sqlite3.Connection | None = None
        self._swept = time.monotonic()
        self._clock_error = _clock_error()
        self._now = now
        # The newest event that was there at first, and when that was by time.monotonic().
        self._known: tuple[datetime, float] | None = None

    def open(self) -> None:
        self.close()
        path = Path(self._path).absolute()  # so ":memory:" is a file too
        if path.exists() and not path.is_file():
            raise DeliveryError(f"{self._path!r} is no plain file: correct sqlite.path")
        try:
            self._db = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._prepare(self._db)
            if self._known is None:
                self._known = (self._newest(self._db), time.monotonic())
        except sqlite3.Error as error:
            self.close()
            raise self._failed(error) from error
        except DeliveryError:
            self.close()
            raise

    def deliver(self, notification: Notification) -> None:
        if self._db is None:
            self.open()
        assert self._db is not None
        try:
            if notification.level is None:
                self._db.execute(_UPSERT, as_row(notification))
            else:
                self._db.execute(_LEVELS)
                row = level_row(notification, notification.level)
                marks = ", ".join("?" * len(row))
                self._db.execute(f"INSERT OR IGNORE INTO levels VALUES ({marks})", row)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def idle(self) -> None:
        """Now and then, delete what is older than ``keep_days``.

        Old is what is old by the clock, and also by the events that were there at first: a
        clock that is ahead makes nothing old that they do not.
        """
        if not self._keep_days or self._db is None or self._known is None:
            return
        if time.monotonic() - self._swept < _SWEEP_SECONDS:
            return
        before, self._clock_error = self._clock_error, _clock_error()
        if abs(self._clock_error - before) > _MAX_CLOCK_ERROR_SECONDS:
            # The clock was set. If that was a mistake, it must not cost the history.
            self._swept = time.monotonic()
            return
        newest, known_at = self._known
        at_most = newest + timedelta(seconds=time.monotonic() - known_at)
        oldest = min(self._now(), at_most) - timedelta(days=self._keep_days)
        try:
            deleted = self._db.execute(_DELETE, (iso(oldest),)).rowcount
            if _number(self._db, "SELECT count(*) FROM sqlite_master WHERE name = 'levels'"):
                gone = self._db.execute(_DELETE_LEVELS, (iso(oldest),)).rowcount
                deleted = max(deleted, gone)
        except sqlite3.Error as error:
            if _is_busy(error):
                return  # there is time
            raise self._failed(error) from error
        if deleted < _SWEEP_ROWS:
            self._swept = time.monotonic()

    def close(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _prepare(self, db: sqlite3.Connection) -> None:
        # Look before anything is written: the file may be another program's.
        kind, version = _number(db, "PRAGMA application_id"), _number(db, "PRAGMA user_version")
        is_new = not (kind or version or _number(db, "SELECT count(*) FROM sqlite_master"))
        if not is_new and kind != APPLICATION_ID:
            raise DeliveryError(
                f"{self._path!r} is another program's database: correct sqlite.path"
            )
        if not is_new and version != SCHEMA_VERSION:
            raise DeliveryError(
                f"{self._path!r} has schema version {version}, this otic knows "
                f"{SCHEMA_VERSION}: move it away, or install the otic that wrote it"
            )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # what was taken is not lost with the power
        db.execute("PRAGMA journal_size_limit = 4194304")
        if is_new:
            db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                db.execute(statement)
            db.execute("COMMIT")

    def _newest(self, db: sqlite3.Connection) -> datetime:
        """Return when the newest event began; now, if there is none, or none with a time."""
        (text,) = db.execute("SELECT max(onset_at) FROM events").fetchone()
        try:
            newest = datetime.fromisoformat(text)
        except (TypeError, ValueError):
            return self._now()
        return newest if newest.tzinfo is not None else newest.replace(tzinfo=UTC)

    def _failed(self, error: sqlite3.Error) -> DeliveryError:
        code = _primary_code(error)
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return DeliveryError(
                f"{self._path!r} is damaged or no database ({error}): move it away, "
                f"with -wal and -shm; `sqlite3 FILE .recover` shows what it still holds"
            )
        if _is_busy(error):
            return DeliveryError(
                f"{self._path!r} is in use, another program has been writing "
                f"for over {BUSY_SECONDS:g} s: end it"
            )
        remedies = {
            sqlite3.SQLITE_FULL: "make room",
            sqlite3.SQLITE_READONLY: "let otic's user write it and its folder",
            sqlite3.SQLITE_CANTOPEN: "let otic's user write it, or correct sqlite.path",
        }
        remedy = remedies.get(code, "see to the disk, or correct sqlite.path")
        return DeliveryError(f"can't write {self._path!r}: {error}: {remedy}")


def as_row(notification: Notification) -> tuple[str | float | None, ...]:
    """Return a notification's values in the order of the table's columns."""
    seconds = None if notification.offset is None else notification.offset - notification.onset
    values = (
        *(notification.event, notification.sensor, notification.source, notification.label),
        *(
            notification.onset_at or "",
            notification.offset_at,
            seconds,
            notification.score,
            notification.peak,
        ),
        *(notification.onset, notification.offset, notification.reason),
    )
    return tuple(round(value, 6) if isinstance(value, float) else value for value in values)


def level_row(
    notification: Notification, level: Mapping[str, Any]
) -> tuple[str | float | None, ...]:
    """Return a level's values in the order of its table's columns."""
    return (
        *(notification.event, notification.sensor, notification.source, notification.at or ""),
        *(round(notification.time, 6), round(level["seconds"], 6), int(level["calibrated"])),
        *(level[name] for name in ("laeq", "l10", "l50", "l90", "peak")),
        json.dumps(level["bands"], separators=(",", ":")),
    )


def _number(db: sqlite3.Connection, query: str) -> int:
    return int(db.execute(query).fetchone()[0])


def _clock_error() -> float:
    """Changes where the wall clock is set, and not while it runs."""
    return time.time() - time.monotonic()


def _primary_code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_busy(error: sqlite3.Error) -> bool:
    return _primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
