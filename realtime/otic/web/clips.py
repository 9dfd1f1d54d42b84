"""Recordings of events, how to find an event's recording, and marks made from the history."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from otic.errors import OticError
from otic.review.folder import Mark
from otic.sinks.clip_folder import stamp
from otic.sinks.clips import file_name_part
from otic.streaming.recent import RecentEvent, StreamMemory
from otic.streaming.session_view import SessionView, recording_of
from otic.system.clock import iso
from otic.web.history import History, Row

# Names as otic.sinks.clip_folder makes them; nothing else is ever served.
_NAME = re.compile(r"(\d{8}T\d{6}\.\d{3}Z)_([a-z0-9-]+)_([a-z0-9-]+)\.(?:flac|wav)")
_CLOCK_SECONDS = 2.0  # sinks read the clock one after the other
_SAME_ONSET_SECONDS = 1e-5
_SETTLED_NS = 2_000_000_000
_MOST_LOOKED_AT = 200  # recordings of a stream without a clock
_SAME_SECONDS = 2.0  # the tolerance between onsets by the wall clock in two sinks

_FILE = re.compile(r"\.(?:wav|w64|rf64|flac|ogg|opus|mp3|aiff?|au|caf)(?: \d+)?$", re.IGNORECASE)
"""The end of a source's name if the source is a file: see otic.audio.open."""


class ClipFiles:
    """The recordings in a folder.

    Thread safety: any thread may call any method.

    Parameters
    ----------
    folder : Path or None
        None for privacy: there are no recordings then.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._names: tuple[str, ...] = ()
        self._seen_ns = -1

    def path(self, name: str) -> Path | None:
        """Return a recording's path; None if the name is not that of a recording."""
        if self._folder is None or _NAME.fullmatch(name) is None:
            return None
        path = self._folder / name
        with suppress(OSError, ValueError):
            if stat.S_ISREG(path.lstat().st_mode):  # not a link, which could lead anywhere
                return path
        return None

    def find(self, source: str, label: str, onset: float, began: datetime | None) -> str | None:
        """Return the name of an event's recording; None if there is none.

        Parameters
        ----------
        source, label : str
        onset : float
            Seconds of the stream.
        began : datetime or None
            The onset by the wall clock; None in a replay.
        """
        names = self._all_names()
        if began is not None:
            low = stamp(began - timedelta(seconds=_CLOCK_SECONDS))
            high = stamp(began + timedelta(seconds=_CLOCK_SECONDS))
            names = tuple(name for name in names if low <= name[: len(low)] <= high)
        parts = file_name_part(source), file_name_part(label)
        fitting = [name for name in names if _fits(name, *parts)]
        for name in reversed(fitting[-_MOST_LOOKED_AT:]):
            path = self.path(name)
            if path is None:
                continue
            facts = facts_of(path)
            same = facts.get("label") == label and facts.get("source") == source
            with suppress(TypeError):
                if same and abs(facts["onset"] - onset) < _SAME_ONSET_SECONDS:
                    return name
        return None

    def _all_names(self) -> tuple[str, ...]:
        """List the recordings in order of time; the folder is read again when it has changed."""
        if self._folder is None:
            return ()
        try:
            changed_ns = self._folder.stat().st_mtime_ns
            if changed_ns != self._seen_ns:
                found = sorted(n for n in os.listdir(self._folder) if _NAME.fullmatch(n))  # noqa: PTH208
                # A folder changed just now may change again within one tick of its clock.
                settled = time.time_ns() - changed_ns > _SETTLED_NS
                self._names, self._seen_ns = tuple(found), changed_ns if settled else -1
        except OSError:
            return ()
        return self._names


def facts_of(path: Path) -> dict[str, Any]:
    """Return the facts in a recording's comment; empty if there are none or reading fails."""
    try:
        return _facts_of(path, path.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=4096)
def _facts_of(path: Path, _changed_ns: int) -> dict[str, Any]:
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            facts = json.loads(str(file.comment))
    except (OSError, RuntimeError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _fits(name: str, source: str, label: str) -> bool:
    """Return whether a name may belong to them; a number after the label separates equal names."""
    match = _NAME.fullmatch(name)
    return (
        match is not None
        and match[2] == source
        and re.fullmatch(rf"{re.escape(label)}(?:-\d+)?", match[3]) is not None
    )


class Marker:
    """Marks events of the history, whether or not their stream is still running.

    Thread safety: any thread may call any method; a call waits for the disk.

    Parameters
    ----------
    session_view : SessionView
    history : History or None
    clips : ClipFiles
        Source of sound that is no longer in memory.
    """

    def __init__(
        self, session_view: SessionView, history: History | None, clips: ClipFiles
    ) -> None:
        self._session_view = session_view
        self._history = history
        self._clips = clips

    def mark(self, event: str, verdict: str, true_label: str | None) -> Mark:
        """Mark an event ``right`` or ``wrong`` and keep its sound if there is any.

        Raises
        ------
        OticError
            If there is no such event, or the mark can't be written.
        """
        review = self._session_view.review
        if review is None:
            raise OticError(
                "marks are switched off: set review.enabled = true (the demo keeps none)"
            )
        row = None if self._history is None else self._history.row(event)
        if row is None:
            raise OticError(f"event {event!r} is no longer in the history: reload the page")
        found = self._in_memory(row)
        name = self._clips.find(row.source, row.label, row.onset, row.began)
        path = None if name is None else self._clips.path(name)
        if path is None and found is not None:
            return self._session_view.mark(row.source, found[1].number, verdict, true_label)
        mark = self._mark(row, None if found is None else found[0], path, verdict, true_label)
        return review.mark(mark, 1, ()) if path is None else review.mark_with_file(mark, path)

    def marks_of(self, rows: list[Row]) -> list[Mark | None]:
        """Return each event's mark; None if it has none."""
        review = self._session_view.review
        if review is None or not rows:
            return [None] * len(rows)
        by_event: dict[tuple[str, str, int], list[Mark]] = {}
        for mark in review.marks():
            key = (mark.source, mark.label, round(mark.onset * 1000))
            by_event.setdefault(key, []).append(mark)
        return [
            next((m for m in by_event.get(_key(row), ()) if _is_of(m, row)), None) for row in rows
        ]

    def _in_memory(self, row: Row) -> tuple[StreamMemory, RecentEvent] | None:
        """Return the event from memory while its stream is running."""
        memory = self._session_view.memories.get(row.source)
        if memory is None:
            return None
        for each in reversed(memory.events()):
            same = each.label == row.label and abs(each.onset - row.onset) < _SAME_ONSET_SECONDS
            if same and _close(each.onset_at, row.began):
                return memory, each
        return None

    def _mark(
        self,
        row: Row,
        memory: StreamMemory | None,
        clip: Path | None,
        verdict: str,
        true_label: str | None,
    ) -> Mark:
        """Make a mark for an event that is only on the disk."""
        before = self.marks_of([row])[0]
        facts = {} if clip is None else facts_of(clip)
        # A file that is replayed twice is one recording; the wall clock would make it two.
        live = (
            _FILE.search(row.source) is None
            if memory is None
            else memory.stream.started is not None
        )
        began = row.began if live else None
        if before is not None:
            recording = before.recording
        elif memory is not None:
            recording = recording_of(memory)
        elif began is not None:  # names when the stream began; a pause does not change a name
            recording = f"{row.source}@{iso(began - timedelta(seconds=row.onset))}"
        else:
            recording = row.source
        return Mark(
            verdict=verdict,
            label=row.label,
            source=row.source,
            sensor=row.sensor,
            model=str(facts.get("model", "")) if memory is None else self._session_view.bundle.name,
            model_sha256="" if memory is None else self._session_view.bundle.sha256,
            recording=recording,
            onset=row.onset,
            offset=row.offset,
            onset_at=row.onset_at if began is not None else "",
            peak=row.peak,
            true_label=true_label,
        )


def _key(row: Row) -> tuple[str, str, int]:
    return (row.source, row.label, round(row.onset * 1000))


def _is_of(mark: Mark, row: Row) -> bool:
    """Return whether a mark with the same label and onset is of this event."""
    return not mark.live or _close(datetime.fromisoformat(mark.onset_at), row.began)


def _close(one: datetime | None, other: datetime | None) -> bool:
    """Return whether two times may be the same; an unknown one may be any."""
    if one is None or other is None:
        return True
    return abs((one - other).total_seconds()) < _SAME_SECONDS
