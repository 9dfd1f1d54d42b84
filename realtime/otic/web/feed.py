"""Updates for open pages: made once for all of them, from what the streams have in memory."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import numpy as np

from otic import __version__
from otic.errors import OticError
from otic.features.spectrogram import frequency_ticks, palette
from otic.review.folder import Mark
from otic.review.mark import EventKey
from otic.streaming.monitor import Health
from otic.streaming.recent import DetectedEvent, StreamMemory
from otic.streaming.session_view import SessionView, StreamView, recording_of
from otic.system.clock import iso
from otic.types import StreamStatus

Message = str | bytes

MOST_PAGES = 64
SLOWEST_SECONDS = 5.0
"""A page that is further behind is ended; it comes back and is told what it has missed."""

MOST_COLUMNS = 2400
"""Of the picture, that a page is told when it comes: two minutes."""

_ALL_LABELS, _TOP_LABELS = 40, 24  # with more labels than that, the highest are told
_COLUMNS = 1  # the kind of message
_HEADER = struct.Struct("<BBHI")  # kind, index of the stream, bands, number of the first column

PICTURE_SECONDS = 0.125
"""Between two messages with levels and columns of the picture."""

_LOOK_SECONDS = 0.04  # how soon scores and events are told
_MARK_SECONDS = 1.0  # how soon marks are told that were made elsewhere


class Page:
    """One open page, and the messages that it has not taken yet.

    They are the same objects for all pages, and never more than of ``SLOWEST_SECONDS``.

    Parameters
    ----------
    abort : callable
        Ends its connection at once.
    """

    def __init__(self, abort: Callable[[], None]) -> None:
        self._abort = abort
        self._waiting: deque[tuple[float, Message]] = deque()
        self._came = asyncio.Event()

    def offer(self, messages: Iterable[Message]) -> bool:
        """Have it take these when it can; False where it is too slow, and was ended."""
        now = time.monotonic()
        if self._waiting and now - self._waiting[0][0] > SLOWEST_SECONDS:
            self._waiting.clear()
            self._abort()
            return False
        self._waiting.extend((now, message) for message in messages)
        self._came.set()
        return True

    async def send_all(self, send: Callable[[Message], Awaitable[None]]) -> None:
        """Hand over what comes, in order, until this is cancelled or ``send`` fails."""
        while True:
            await self._came.wait()
            self._came.clear()
            while self._waiting:
                # It waits as long as it is being sent, so that a page that takes nothing is known.
                await send(self._waiting[0][1])
                if self._waiting:
                    self._waiting.popleft()


class Audience:
    """All open pages. Not thread safe."""

    def __init__(self) -> None:
        self._pages: set[Page] = set()

    def __len__(self) -> int:
        return len(self._pages)

    @property
    def full(self) -> bool:
        """Whether no further page may come."""
        return len(self._pages) >= MOST_PAGES

    def join(self, page: Page) -> None:
        """It gets what is told from now on."""
        self._pages.add(page)

    def leave(self, page: Page) -> None:
        """It gets nothing any more."""
        self._pages.discard(page)

    def tell(self, messages: list[Message]) -> None:
        """To everybody."""
        if messages:
            for page in [page for page in self._pages if not page.offer(messages)]:
                self._pages.discard(page)


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


class Feed:
    """Looks at the streams while a page is open, and tells all pages the same.

    In a page's life: one ``hello``; then ``update`` messages, JSON, with what has changed of
    each stream; and columns of the picture, binary (see :mod:`otic.web.feed`). What a page
    that comes back knows already is not told again.

    Not thread safe: everything happens in the page's event loop.

    Parameters
    ----------
    desk : SessionView
    facts : mapping
        What ``hello`` says besides.
    """

    def __init__(self, desk: SessionView, facts: Mapping[str, Any]) -> None:
        self._desk = desk
        self._facts = facts
        self._boot = secrets.token_hex(4)
        self._audience = Audience()
        self._streams: list[StreamUpdates] = []
        self._count = 0
        self._thresholds: Mapping[str, float] = desk.control.thresholds
        self._task: asyncio.Task[None] | None = None
        self._picture_at = self._marks_at = 0.0

    @property
    def full(self) -> bool:
        """Whether no further page can be told anything."""
        return self._audience.full

    async def join(self, page: Page, known: Mapping[str, Any]) -> None:
        """Tell a page what it does not know, and from then on what is new.

        Parameters
        ----------
        page : Page
        known : mapping
            What it says: ``have``, by a stream's key the next column and the revision that it
            has; ``columns``, how many it shows.
        """
        await self._look_at_marks()
        # From here on nothing is awaited: nothing is told twice, and nothing left out.
        self._audience.tell(self._news(picture=True))
        page.offer(self._backlog(known))
        self._audience.join(page)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())

    def leave(self, page: Page) -> None:
        """The page is gone."""
        self._audience.leave(page)

    async def marked(self) -> None:
        """A mark was made: tell everybody now."""
        await self._look_at_marks()

    def stream(self, key: str) -> StreamUpdates | None:
        """A stream by its key."""
        return next((each for each in self._streams if each.key == key), None)

    async def _watch(self) -> None:
        """Tell what is new until nobody looks any more."""
        while len(self._audience):
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            picture = now >= self._picture_at
            if picture:
                # Not "+=": a thread that could not run has nothing to catch up with.
                self._picture_at = now + PICTURE_SECONDS
            self._audience.tell(self._news(picture))
            if now >= self._marks_at:
                await self._look_at_marks()

    def _news(self, picture: bool) -> list[Message]:
        """What is new since the last time, for all."""
        messages: list[Message] = []
        if self._find_streams():
            messages.append(self._hello())
        update: dict[str, Any] = {}
        columns: list[Message] = []
        if self._desk.control.thresholds is not self._thresholds:
            self._thresholds = self._desk.control.thresholds
            update["thresholds"] = list(self._thresholds.values())
        told = {}
        for index, stream in enumerate(self._streams):
            part: dict[str, Any] = {}
            fresh = stream.has_new_scores()
            if fresh or picture:
                snapshot = stream.view.snapshot()
                if fresh and (scores := stream.latest_scores(snapshot, self._thresholds)):
                    part["scores"] = scores
                if events := stream.new_events():
                    part |= {"events": events, "revision": stream.revision}
                if picture:
                    part["now"] = stream.now(snapshot, self._desk.health(snapshot))
                    if (message := stream.new_columns(index)) is not None:
                        columns.append(message)
            if part:
                told[stream.key] = part
        if told:
            update["streams"] = told
        if update:
            messages.append(_json({"type": "update", **update}))
        return messages + columns

    def _find_streams(self) -> bool:
        """See which streams run; whether they are others than before."""
        views = [(view, view.memory) for view in self._desk.views()]
        now = [(view, memory) for view, memory in views if memory is not None]
        before = [stream.memory for stream in self._streams]
        if len(now) == len(before) and all(
            memory is old for (_, memory), old in zip(now, before, strict=True)
        ):
            return False
        known = {id(stream.memory): stream for stream in self._streams}
        streams = []
        for view, memory in now:
            stream = known.get(id(memory))
            if stream is None:
                self._count += 1
                stream = StreamUpdates(f"{self._boot}-{self._count}", view, memory)
            streams.append(stream)
        self._streams = streams
        return True

    def _hello(self) -> str:
        bundle = self._desk.bundle
        ticks = frequency_ticks(bundle.features)
        streams = [
            {
                "key": stream.key,
                "source": stream.memory.stream.source,
                "started": stream.memory.stream.started,
                "column_seconds": stream.memory.column_seconds,
                "n_mels": bundle.features.n_mels,
            }
            for stream in self._streams
        ]
        return _json(
            {
                "type": "hello",
                "otic": __version__,
                "sensor": self._desk.sensor,
                "model": bundle.name,
                "labels": bundle.labels,
                "thresholds": list(self._thresholds.values()),
                "window_seconds": bundle.features.window_seconds,
                "top_db": bundle.features.top_db,
                "ticks": ticks,
                "palette": palette(0, 255).tobytes().hex(),
                "can_mark": self._desk.review is not None,
                **self._facts,
                "streams": streams,
            }
        )

    def _backlog(self, known: Mapping[str, Any]) -> list[Message]:
        """All that was told, but for what a page knows."""
        messages: list[Message] = [self._hello()]
        have = known.get("have")
        wanted = _whole(known.get("columns"), 600)
        told: dict[str, Any] = {}
        columns: list[Message] = []
        for index, stream in enumerate(self._streams):
            its = have.get(stream.key) if isinstance(have, dict) else None
            column, revision = its if isinstance(its, list) and len(its) == 2 else (0, 0)
            snapshot = stream.view.snapshot()
            told[stream.key] = {
                "now": stream.now(snapshot, self._desk.health(snapshot)),
                "scores": stream.latest_scores(snapshot, self._thresholds),
                "events": stream.events_since(_whole(revision, 0)),
                "revision": stream.revision,
            }
            message = stream.columns_since(index, _whole(column, 0), wanted)
            if message is not None:
                columns.append(message)
        return [*messages, _json({"type": "update", "streams": told}), *columns]

    async def _look_at_marks(self) -> None:
        """Tell the marks that were made here, on the dashboard or by another process."""
        self._marks_at = time.monotonic() + _MARK_SECONDS
        review = self._desk.review
        if review is None:
            return
        try:
            by_event = await asyncio.to_thread(review.by_event)
        except OticError:  # said where one is made
            return
        told = {
            stream.key: {"events": events, "revision": stream.revision}
            for stream in self._streams
            if (events := stream.new_marks(by_event))
        }
        if told:
            self._audience.tell([_json({"type": "update", "streams": told})])


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="replace").decode()  # a file's name may be no UTF-8


def _whole(value: Any, default: int) -> int:
    """What a page sent as a whole number that is not negative."""
    return value if type(value) is int and 0 <= value < 2**53 else default
