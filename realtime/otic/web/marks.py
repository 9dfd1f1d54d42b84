"""Events that are marked on the page, and those of the history that were marked."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

from otic.errors import OticError
from otic.review.folder import Mark
from otic.streaming.recent import DetectedEvent, StreamMemory
from otic.streaming.session_view import SessionView, recording_of
from otic.system.clock import iso
from otic.web.clips import ClipFiles, facts_of
from otic.web.history import History, Row

_SAME_SECONDS = 2.0  # the same onset by the wall clock, as two sinks have seen it
_SAME_ONSET_SECONDS = 1e-5
_FILE = re.compile(r"\.(?:wav|w64|rf64|flac|ogg|opus|mp3|aiff?|au|caf)(?: \d+)?$", re.IGNORECASE)
"""So ends the name of a source that is a file, see otic.audio.open."""


class Marker:
    """Marks events of the history, whether or not their stream still runs.

    Thread safety: any thread may call any method; they wait for the disk.

    Parameters
    ----------
    desk : SessionView
    history : History or None
    clips : ClipFiles
        Where sound is taken from that is not in memory any more.
    """

    def __init__(self, desk: SessionView, history: History | None, clips: ClipFiles) -> None:
        self._desk = desk
        self._history = history
        self._clips = clips

    def mark(self, event: str, verdict: str, true_label: str | None) -> Mark:
        """Say that an event was ``right`` or ``wrong``, and keep its sound where there is some.

        Raises
        ------
        OticError
            If there is no such event, or it can't be written.
        """
        review = self._desk.review
        if review is None:
            raise OticError("marks are switched off: set review.enabled and review.directory")
        row = None if self._history is None else self._history.row(event)
        if row is None:
            raise OticError(f"event {event!r} is not in the history any more: load the page anew")
        found = self._in_memory(row)
        name = self._clips.of_event(row.source, row.label, row.onset, row.began)
        path = None if name is None else self._clips.path(name)
        if path is None and found is not None:
            return self._desk.mark(row.source, found[1].number, verdict, true_label)
        mark = self._mark(row, None if found is None else found[0], path, verdict, true_label)
        return review.mark(mark, 1, ()) if path is None else review.mark_with_file(mark, path)

    def marks_of(self, rows: list[Row]) -> list[Mark | None]:
        """How each event was marked, if it was."""
        review = self._desk.review
        if review is None or not rows:
            return [None] * len(rows)
        by_event: dict[tuple[str, str, int], list[Mark]] = {}
        for mark in review.marks():
            key = (mark.source, mark.label, round(mark.onset * 1000))
            by_event.setdefault(key, []).append(mark)
        return [
            next((m for m in by_event.get(_key(row), ()) if _is_of(m, row)), None) for row in rows
        ]

    def _in_memory(self, row: Row) -> tuple[StreamMemory, DetectedEvent] | None:
        """The event as it is remembered, while its stream runs."""
        memory = self._desk.memories.of(row.source)
        if memory is None:
            return None
        for each in reversed(memory.heard()):
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
        """What is known of an event that is on the disk only."""
        before = self.marks_of([row])[0]
        facts = {} if clip is None else facts_of(clip)
        # What is replayed twice is one recording: by the wall clock it would be two.
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
        elif began is not None:  # when its stream began; pauses part recordings, not names
            recording = f"{row.source}@{iso(began - timedelta(seconds=row.onset))}"
        else:
            recording = row.source
        return Mark(
            verdict=verdict,
            label=row.label,
            source=row.source,
            sensor=row.sensor,
            model=str(facts.get("model", "")) if memory is None else self._desk.bundle.name,
            model_sha256="" if memory is None else self._desk.bundle.sha256,
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
    """Whether a mark with the same label and onset is of this event, not of another stream's."""
    return not mark.live or _close(datetime.fromisoformat(mark.onset_at), row.began)


def _close(one: datetime | None, other: datetime | None) -> bool:
    """Whether two moments may be the same; where one is not known, they may."""
    if one is None or other is None:
        return True
    return abs((one - other).total_seconds()) < _SAME_SECONDS
