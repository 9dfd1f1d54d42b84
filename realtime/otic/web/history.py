"""The history: events that the SQLite receiver has stored, read for the page."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from otic.errors import SinkError
from otic.sinks.receivers.sqlite import APPLICATION_ID, BUSY_SECONDS, SCHEMA_VERSION

PAGE_EVENTS = 50

_COLUMNS = (
    "event, sensor, source, label, onset_at, offset_at, seconds, score, peak, onset, "
    '"offset", reason'
)
# Fetch the next greater label repeatedly: the index answers that however many events there are.
_LABELS = """WITH RECURSIVE known (label) AS (
    SELECT min(label) FROM events
    UNION ALL
    SELECT (SELECT min(label) FROM events WHERE label > known.label) FROM known
    WHERE known.label IS NOT NULL LIMIT 4096)
SELECT label FROM known WHERE label IS NOT NULL"""


@dataclass(frozen=True)
class Row:
    """A row of the events table; see docs/receivers.md."""

    event: str
    sensor: str
    source: str
    label: str
    onset_at: str
    offset_at: str | None
    seconds: float | None
    score: float | None
    peak: float | None
    onset: float
    offset: float | None
    reason: str | None

    @property
    def began(self) -> datetime | None:
        """``onset_at`` as a datetime; None if it is not one."""
        try:
            moment = datetime.fromisoformat(self.onset_at)
        except ValueError:
            return None
        return moment if moment.tzinfo is not None else None


@dataclass(frozen=True)
class EventFilter:
    """Criteria for events; all that are given must match.

    Attributes
    ----------
    label, source : str
        Empty for any.
    since, until : str
        Range of onsets, the end excluded; ISO 8601 in UTC as in the table.
    before : tuple of str, optional
        ``onset_at`` and ``event`` of the last event on the page before.
    """

    label: str = ""
    source: str = ""
    since: str = ""
    until: str = ""
    before: tuple[str, str] | None = None


class History:
    """Reads the database while the receiver writes it; never writes.

    Thread safety: any thread may call any method; each call opens its own connection.

    Parameters
    ----------
    path : str
        The value of ``sqlite.path``; the file need not exist yet.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()

    def rows(self, criteria: EventFilter) -> list[Row]:
        """Return at most ``PAGE_EVENTS`` rows, the latest first.

        Raises
        ------
        SinkError
            If the database can't be read.
        """
        conditions = {
            "label = ?": criteria.label,
            "source = ?": criteria.source,
            "onset_at >= ?": criteria.since,
            "onset_at < ?": criteria.until,
        }
        given = {condition: value for condition, value in conditions.items() if value}
        values = list(given.values())
        texts = list(given)
        if criteria.before is not None:
            texts.append("(onset_at, event) < (?, ?)")
            values.extend(criteria.before)
        where = f"WHERE {' AND '.join(texts)}" if texts else ""
        query = (
            f"SELECT {_COLUMNS} FROM events {where} "
            f"ORDER BY onset_at DESC, event DESC LIMIT {PAGE_EVENTS}"
        )
        with self._opened() as db:
            return [] if db is None else [Row(*row) for row in db.execute(query, values)]

    def row(self, event: str) -> Row | None:
        """Return an event by its identifier; None if there is none. Raises as :meth:`rows`."""
        with self._opened() as db:
            if db is None:
                return None
            query = f"SELECT {_COLUMNS} FROM events WHERE event = ?"
            found = db.execute(query, (event,)).fetchone()
            return None if found is None else Row(*found)

    def labels(self) -> list[str]:
        """Return the labels of all events. Raises as :meth:`rows`."""
        with self._opened() as db:
            return [] if db is None else [label for (label,) in db.execute(_LABELS)]

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection | None]:
        """Open a connection; None before the first event."""
        if not self._path.exists():
            yield None
            return
        try:
            uri = f"file:{quote(str(self._path))}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as db:
                kind = _number(db, "application_id"), _number(db, "user_version")
                if kind == (0, 0):  # being created at this moment
                    yield None
                elif kind != (APPLICATION_ID, SCHEMA_VERSION):
                    raise SinkError(
                        f"'{self._path}' is not this otic's database: change sqlite.path"
                    )
                else:
                    yield db
        except sqlite3.Error as error:
            raise SinkError(f"can't read '{self._path}': {error}: check sqlite.path") from error


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])


assert _COLUMNS.count(",") + 1 == len(fields(Row))
