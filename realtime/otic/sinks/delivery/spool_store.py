"""The spool's file: which notices wait, how far each receiver is, which events are on."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from otic.errors import SinkError

_APPLICATION = 0x6F746963  # "otic" in the file's header: nobody else's database is touched
_FORMAT = 1
_SCHEMA = """
CREATE TABLE notices (sequence INTEGER PRIMARY KEY, notice TEXT NOT NULL);
CREATE TABLE receivers (name TEXT PRIMARY KEY, done INTEGER NOT NULL, dropped INTEGER NOT NULL);
CREATE TABLE open_events (event TEXT PRIMARY KEY, notice TEXT NOT NULL);
CREATE TABLE taken (number INTEGER NOT NULL);
INSERT INTO taken VALUES (0);
"""
_DELETE_ROWS = 100
_CHECKPOINT_WRITES = 1000
_CHECKPOINT_SECONDS = 30.0
_FREE_PAGES = 1000
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_IN_USE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_UNWRITABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}


class SpoolStore:
    """One SQLite database that this process has for itself.

    Between checkpoints nothing waits for the disk: what is saved is with the operating
    system, so it survives the end of the process in any manner, and a power cut from the
    latest checkpoint on only by chance.

    Thread safety: none; the caller holds a lock.

    Parameters
    ----------
    path : Path
        Its folder is made where it is missing.
    warn : callable
        Is told in one line when a damaged file was put aside.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self.path = path
        self._warn = warn
        self._db: sqlite3.Connection | None = None
        self.places: dict[str, tuple[int, int]] = {}
        """By receiver: the last sequence it had, and how many were dropped; as on the disk."""
        self.open_events: dict[str, str] = {}
        """The ``on`` notices without an ``off``, by event; as on the disk."""
        self.taken = 0
        """The number of the latest append that is here whole; as on the disk."""
        self._deleted_through = 0
        self._writes = 0
        self._checkpointed = time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether the file can be used."""
        return self._db is not None

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever kept in it."""
        return not self.path.exists() or self.path.stat().st_size == 0

    def open(self) -> None:
        """Open or begin the file; a damaged one is renamed to end in ``.damaged`` first.

        Raises
        ------
        SinkError
            If it can't be written, is in use, or is something else's.
        sqlite3.Error
            If the disk is full or fails.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._connect()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._put_aside(error)
                self._connect()
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error
        except sqlite3.Error as error:
            code = _code(error)
            if code in _IN_USE:
                raise SinkError(
                    f"{str(self.path)!r} is in use by another otic: stop that one, or name "
                    "another folder with --spool-directory"
                ) from error
            if code in _UNWRITABLE:
                raise self._unwritable(str(error)) from error
            raise

    def close(self) -> None:
        """Let go of the file; all of it is then in one file, where the disk takes it."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def last(self) -> int:
        """The highest sequence that is known here, 0 with none."""
        (row,) = self._use().execute("SELECT coalesce(max(sequence), 0) FROM notices").fetchone()
        return max([int(row), *(done for done, _ in self.places.values())])

    def oldest_after(self, sequence: int) -> tuple[int, str] | None:
        """The first row after ``sequence``."""
        found: tuple[int, str] | None = (
            self._use()
            .execute(
                "SELECT sequence, notice FROM notices WHERE sequence > ? ORDER BY sequence LIMIT 1",
                (sequence,),
            )
            .fetchone()
        )
        return found

    def count_after(self, sequence: int) -> int:
        """How many rows are after ``sequence``."""
        query = "SELECT count(*) FROM notices WHERE sequence > ?"
        return int(self._use().execute(query, (sequence,)).fetchone()[0])

    def save(
        self,
        rows: Iterable[tuple[int, str]],
        places: Mapping[str, tuple[int, int]],
        open_events: Mapping[str, str],
        taken: int,
        delete_through: int,
    ) -> None:
        """Add rows, and make the rest as given, in one transaction.

        Rows up to ``delete_through`` are deleted once they are many.
        """
        rows = list(rows)
        changed = [(n, *place) for n, place in places.items() if self.places.get(n) != place]
        gone = [(name,) for name in self.places.keys() - places.keys()]
        began = [(e, text) for e, text in open_events.items() if e not in self.open_events]
        ended = [(event,) for event in self.open_events.keys() - open_events.keys()]
        delete = delete_through - self._deleted_through >= _DELETE_ROWS
        if not (rows or changed or gone or began or ended or delete or taken != self.taken):
            return
        with self._transaction() as db:
            # "or replace": a commit that failed half-way may be found done when opened anew.
            db.executemany("INSERT OR REPLACE INTO notices VALUES (?, ?)", rows)
            db.executemany("INSERT OR REPLACE INTO receivers VALUES (?, ?, ?)", changed)
            db.executemany("DELETE FROM receivers WHERE name = ?", gone)
            db.executemany("INSERT OR REPLACE INTO open_events VALUES (?, ?)", began)
            db.executemany("DELETE FROM open_events WHERE event = ?", ended)
            if taken != self.taken:
                db.execute("UPDATE taken SET number = ?", (taken,))
            if delete:
                db.execute("DELETE FROM notices WHERE sequence <= ?", (delete_through,))
        self.places, self.open_events, self.taken = dict(places), dict(open_events), taken
        self._deleted_through = delete_through if delete else self._deleted_through
        self._writes += 1

    def checkpoint_is_due(self, factor: float = 1.0) -> bool:
        """Whether there is enough to bring to the disk, or it is long ago; times ``factor``."""
        old = time.monotonic() - self._checkpointed > factor * _CHECKPOINT_SECONDS
        return self._writes > factor * _CHECKPOINT_WRITES or (old and self._writes > 0)

    def checkpoint(self) -> None:
        """Bring all to the disk and wait for it: milliseconds to seconds."""
        db = self._use()
        self._checkpointed = time.monotonic()
        if db.execute("PRAGMA freelist_count").fetchone()[0] > _FREE_PAGES:
            db.executescript("PRAGMA incremental_vacuum")  # execute() would free one page
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._writes = 0
        # The first write after it waits for the disk too: that is this one, and no append.
        db.execute(f"PRAGMA user_version = {_FORMAT}")

    def _connect(self) -> None:
        db = sqlite3.connect(self.path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            if self._check(db):
                # Only here: each writes, and a file that is there must open on a full disk.
                db.execute("PRAGMA page_size = 1024")  # a notice has 400 bytes
                db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA wal_autocheckpoint = 0")
            self._db = db
            self._read(db)
        except BaseException:
            self._db = None
            db.close()
            raise

    def _check(self, db: sqlite3.Connection) -> bool:
        """Whether it is a new one; raises where it is damaged or another's."""
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise _DamageError(" ".join(str(found).split()))
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and (application, version) != (_APPLICATION, _FORMAT):
            raise SinkError(
                f"{str(self.path)!r} is not a spool of this otic (application {application}, "
                f"version {version}): move it away, or name another folder with --spool-directory"
            )
        return not tables

    def _read(self, db: sqlite3.Connection) -> None:
        with self._transaction():  # takes the lock of the file, also where there is no change
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in _SCHEMA.strip().splitlines():
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {_APPLICATION}")
                db.execute(f"PRAGMA user_version = {_FORMAT}")
        places = db.execute("SELECT name, done, dropped FROM receivers").fetchall()
        self.places = {name: (done, dropped) for name, done, dropped in places}
        events = db.execute("SELECT event, notice FROM open_events ORDER BY rowid").fetchall()
        self.open_events = dict(events)
        (self.taken,) = db.execute("SELECT number FROM taken").fetchone()
        (first,) = db.execute("SELECT min(sequence) FROM notices").fetchone()
        self._deleted_through = self.last() if first is None else first - 1

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._use()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise

    def _use(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.OperationalError("the file is closed")
        return self._db

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = f"{self.path}.damaged"
        for end in ("", "-wal", "-journal"):
            with suppress(FileNotFoundError):
                os.replace(f"{self.path}{end}", f"{aside}{end}")  # noqa: PTH105
        self._warn(
            f"{str(self.path)!r} is damaged ({error}): kept as {aside!r}, begun anew; what waited "
            "in it is not delivered"
        )

    def _unwritable(self, why: str) -> SinkError:
        return SinkError(
            f"events can't be kept in {str(self.path)!r}: {why}: name a folder that can be "
            "written with --spool-directory"
        )


class _DamageError(sqlite3.DatabaseError):
    """The check of the whole file found something."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is not, or no longer, a database."""
    return isinstance(error, _DamageError) or _code(error) in _DAMAGE


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
