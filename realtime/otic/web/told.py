"""What pages are told of one stream, each thing once."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from otic.review.folder import Mark
from otic.review.mark import EventKey
from otic.streaming.health import Health
from otic.streaming.recent import DetectedEvent, StreamMemory
from otic.streaming.session_view import StreamView, recording_of
from otic.system.clock import iso
from otic.types import StreamStatus

MOST_COLUMNS = 2400
"""Of the picture, that a page is told when it comes: two minutes."""
_ALL_LABELS, _TOP_LABELS = 40, 24  # with more labels than that, the highest are told

_COLUMNS = 1  # the kind of message
_HEADER = struct.Struct("<BBHI")  # kind, index of the stream, bands, number of the first column


class StreamUpdates:
    """A stream, and how much of it was told.

    Not thread safe: the page's thread has it.

    Parameters
    ----------
    key : str
        No other stream ever had it, also not before a restart.
    view : StreamView
    memory : StreamMemory
    """

    def __init__(self, key: str, view: StreamView, memory: StreamMemory) -> None:
        self.key = key
        self.view = view
        self.memory = memory
        self.revision = 0
        """Counts the changes of events, so that a page can say what it knows."""
        self._behind_frame = math.ceil(
            view.monitor.bundle.features.n_fft / 2 / (memory.column_seconds * memory.sr)
        )
        self._column = self._last_column()
        self._n_scores = 0
        self._heard: dict[int, DetectedEvent] = {}
        self._revisions: dict[int, int] = {}
        self._marks: dict[int, tuple[str, str | None]] = {}

    def has_new_scores(self) -> bool:
        """Whether there were predictions since this was asked the last time."""
        before, self._n_scores = self._n_scores, self.memory.n_scores
        return self._n_scores != before

    def now(self, snapshot: StreamStatus, health: Health) -> dict[str, Any]:
        """Its state, for people."""
        return {
            "seconds": round(snapshot.seconds, 2),
            "level": round(snapshot.level_dbfs, 1),
            "peak": round(snapshot.peak_dbfs, 1),
            "clipped": snapshot.clipped,
            "health": [health.level, health.reason],
            "lost": snapshot.lost_samples,
            "lost_seconds": round(snapshot.lost_seconds, 3),
            "skipped_seconds": round(snapshot.skipped_samples / self.memory.sr, 1),
            "speed": round(snapshot.real_time_factor, 1),
            "inference_ms": round(snapshot.inference_p50_ms, 2),
            "queue": round(snapshot.queue_fill, 2),
            "n_scores": snapshot.n_scores,
            "ended": self.memory.ended,
        }

    def latest_scores(
        self, snapshot: StreamStatus, thresholds: Mapping[str, float]
    ) -> dict[str, Any] | None:
        """The latest smoothed scores, and what is on; None before the first prediction."""
        n = self.memory.n_scores
        times, rows = self.memory.scores(n - 1, n)
        if not len(times):
            return None
        row, labels = rows[0], self.memory.stream.labels
        told: list[int] = list(range(len(row)))
        if len(row) > _ALL_LABELS:
            limits = np.array([thresholds[label] for label in labels])
            top = np.argpartition(row, -_TOP_LABELS)[-_TOP_LABELS:]
            told = np.union1d(top, np.flatnonzero(row >= limits)).tolist()
        return {
            "time": round(float(times[0]), 3),
            "values": [[i, round(float(row[i]), 3)] for i in told],
            "on": [i for i, label in enumerate(labels) if label in snapshot.active],
        }

    def new_columns(self, index: int) -> bytes | None:
        """The columns that are complete since the last time, as a message."""
        stop = self._last_column()
        first = max(self._column, stop - MOST_COLUMNS)
        self._column = stop
        return self._message(index, first, stop) if stop > first else None

    def columns_since(self, index: int, known: int, wanted: int) -> bytes | None:
        """The columns that were told already, as a message for a page that comes late."""
        first = max(0, known, self._column - min(wanted, MOST_COLUMNS))
        return self._message(index, first, self._column) if self._column > first else None

    def new_events(self) -> list[dict[str, Any]]:
        """Events and gaps that began, ended or were marked since the last time."""
        before, heard = self._heard, self.memory.heard()
        changed = [each for each in heard if before.get(each.number) is not each]
        for each in changed:
            self._touch(each.number)
        self._heard = {each.number: each for each in heard}
        for number in before.keys() - self._heard.keys():
            self._revisions.pop(number, None)
            self._marks.pop(number, None)
        return [self._event(each) for each in changed]

    def new_marks(self, marks: Mapping[EventKey, Mark]) -> list[dict[str, Any]]:
        """Events that were marked otherwise since the last time."""
        recording = recording_of(self.memory)
        changed = []
        for number, each in self._heard.items():
            mark = marks.get((recording, each.label, round(each.onset, 6)))
            if mark is not None and (said := (mark.verdict, mark.true_label)) != self._marks.get(
                number
            ):
                self._marks[number] = said
                self._touch(number)
                changed.append(self._event(each))
        return changed

    def events_since(self, revision: int) -> list[dict[str, Any]]:
        """Events that changed after a revision."""
        return [
            self._event(each)
            for number, each in self._heard.items()
            if self._revisions[number] > revision
        ]

    def _touch(self, number: int) -> None:
        self.revision += 1
        self._revisions[number] = self.revision

    def _event(self, each: DetectedEvent) -> dict[str, Any]:
        verdict, true_label = self._marks.get(each.number, (None, None))
        return {
            "number": each.number,
            "label": each.label,
            "onset": round(each.onset, 3),
            "offset": None if each.offset is None else round(each.offset, 3),
            "decided": round(each.decided, 3),
            "peak": round(each.peak, 3),
            "at": None if each.onset_at is None else iso(each.onset_at),
            "lost_seconds": round(each.lost / self.memory.sr, 3),
            "verdict": verdict,
            "true_label": true_label,
        }

    def _last_column(self) -> int:
        """The number behind the last column whose frames are all there."""
        ended, stop = self.memory.ended, self.memory.next_column
        return stop if ended else max(0, stop - 1 - self._behind_frame)

    def _message(self, index: int, first: int, stop: int) -> bytes:
        columns = self.memory.columns(first, stop)
        return _HEADER.pack(_COLUMNS, index, columns.shape[1], first) + columns.tobytes()
