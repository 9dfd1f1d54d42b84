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
from otic.streaming.recent import RecentEvent, StreamMemory
from otic.streaming.session_view import SessionView, StreamView, recording_of
from otic.system.clock import iso
from otic.types import Level, StreamStatus

Message = str | bytes

MOST_PAGES = 64
SLOWEST_SECONDS = 5.0
"""A page that falls further behind is disconnected; it reconnects and gets what it missed."""

MOST_COLUMNS = 2400
"""Columns of the spectrogram that a new page gets: two minutes."""

_ALL_LABELS, _TOP_LABELS = (
    40,
    24,
)  # above the first number of labels, only the highest scores are sent
_COLUMNS = 1  # the kind of a binary message
_HEADER = struct.Struct("<BBHI")  # kind, index of the stream, bands, first column

PICTURE_SECONDS = 0.125
"""Time between two messages with levels and spectrogram columns."""

_UPDATE_SECONDS = 0.04  # the longest delay of scores and events
_MARK_SECONDS = 1.0  # the longest delay of marks made elsewhere


class Page:
    """An open page and the messages that it has yet to take.

    All pages share the message objects. The backlog is limited to ``SLOWEST_SECONDS``.

    Parameters
    ----------
    abort : callable
        Ends the page's connection at once.
    """

    def __init__(self, abort: Callable[[], None]) -> None:
        self._abort = abort
        self._waiting: deque[tuple[float, Message]] = deque()
        self._came = asyncio.Event()

    def offer(self, messages: Iterable[Message]) -> bool:
        """Queue messages for the page; return False if it was too slow and is disconnected."""
        now = time.monotonic()
        if self._waiting and now - self._waiting[0][0] > SLOWEST_SECONDS:
            self._waiting.clear()
            self._abort()
            return False
        self._waiting.extend((now, message) for message in messages)
        self._came.set()
        return True

    async def send_all(self, send: Callable[[Message], Awaitable[None]]) -> None:
        """Send the queued messages in order until cancelled or until ``send`` fails."""
        while True:
            await self._came.wait()
            self._came.clear()
            while self._waiting:
                # A message stays queued while it is being sent, so that a stalled page is noticed.
                await send(self._waiting[0][1])
                if self._waiting:
                    self._waiting.popleft()


class Audience:
    """The set of open pages. Not thread safe."""

    def __init__(self) -> None:
        self._admitted: set[Page] = set()
        self._pages: set[Page] = set()  # those of them that get messages

    def __len__(self) -> int:
        return len(self._pages)

    def admit(self, page: Page) -> bool:
        """Reserve a page's place before it joins; return False if there is none."""
        if len(self._admitted) >= MOST_PAGES:
            return False
        self._admitted.add(page)
        return True

    def join(self, page: Page) -> None:
        """Add a page; it gets every message from now on."""
        self._pages.add(page)

    def leave(self, page: Page) -> None:
        """Remove a page and free its place."""
        self._pages.discard(page)
        self._admitted.discard(page)

    def send(self, messages: list[Message]) -> None:
        """Queue messages for every page."""
        if messages:
            for page in [page for page in self._pages if not page.offer(messages)]:
                self._pages.discard(page)


class StreamUpdates:
    """A stream and how much of it has been sent.

    Not thread safe: used by the page's thread only.

    Parameters
    ----------
    key : str
        Unique to this stream, even across restarts.
    view : StreamView
    memory : StreamMemory
    """

    def __init__(self, key: str, view: StreamView, memory: StreamMemory) -> None:
        self.key = key
        self.view = view
        self.memory = memory
        self.revision = 0
        """Counts the changes of events, so that a page can say which of them it has."""
        self._behind_frame = math.ceil(
            view.monitor.bundle.features.n_fft / 2 / (memory.column_seconds * memory.sr)
        )
        self._column = self._last_column()
        self._n_scores = 0
        self._minute: Level | None = None
        self._events: dict[int, RecentEvent] = {}
        self._revisions: dict[int, int] = {}
        self._marks: dict[int, tuple[str, str | None]] = {}

    def has_new_scores(self) -> bool:
        """Return whether there were predictions since the last call."""
        before, self._n_scores = self._n_scores, self.memory.n_scores
        return self._n_scores != before

    def status(self, snapshot: StreamStatus, health: Health) -> dict[str, Any]:
        """Return the stream's state as shown to people."""
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

    def new_minute(self, snapshot: StreamStatus) -> dict[str, Any] | None:
        """Return how loud the latest minute was, once; None where that was sent."""
        if snapshot.minute is self._minute or snapshot.minute is None:
            return None
        self._minute = snapshot.minute
        return self._minute.record()

    def latest_scores(
        self, snapshot: StreamStatus, thresholds: Mapping[str, float]
    ) -> dict[str, Any] | None:
        """Return the latest smoothed scores and active labels; None before the first prediction."""
        n = self.memory.n_scores
        times, rows = self.memory.scores(n - 1, n)
        if not len(times):
            return None
        row, labels = rows[0], self.memory.stream.labels
        indices: list[int] = list(range(len(row)))
        if len(row) > _ALL_LABELS:
            limits = np.array([thresholds[label] for label in labels])
            top = np.argpartition(row, -_TOP_LABELS)[-_TOP_LABELS:]
            indices = np.union1d(top, np.flatnonzero(row >= limits)).tolist()
        return {
            "time": round(float(times[0]), 3),
            "values": [[i, round(float(row[i]), 3)] for i in indices],
            "on": [i for i, label in enumerate(labels) if label in snapshot.active],
        }

    def new_columns(self, index: int) -> bytes | None:
        """Return a message with the columns completed since the last call; None without any."""
        stop = self._last_column()
        first = max(self._column, stop - MOST_COLUMNS)
        self._column = stop
        return self._message(index, first, stop) if stop > first else None

    def columns_since(self, index: int, known: int, limit: int) -> bytes | None:
        """Return a message with columns that were sent before, for a page that joins late."""
        first = max(0, known, self._column - min(limit, MOST_COLUMNS))
        return self._message(index, first, self._column) if self._column > first else None

    def new_events(self) -> list[dict[str, Any]]:
        """Return events and gaps that began, ended or were marked since the last call."""
        before, events = self._events, self.memory.events()
        changed = [each for each in events if before.get(each.number) is not each]
        for each in changed:
            self._touch(each.number)
        self._events = {each.number: each for each in events}
        for number in before.keys() - self._events.keys():
            self._revisions.pop(number, None)
            self._marks.pop(number, None)
        return [self._event(each) for each in changed]

    def new_marks(self, marks: Mapping[EventKey, Mark]) -> list[dict[str, Any]]:
        """Return events whose mark has changed since the last call."""
        recording = recording_of(self.memory)
        changed = []
        for number, each in self._events.items():
            mark = marks.get((recording, each.label, round(each.onset, 6)))
            if mark is not None and (current := (mark.verdict, mark.true_label)) != self._marks.get(
                number
            ):
                self._marks[number] = current
                self._touch(number)
                changed.append(self._event(each))
        return changed

    def events_since(self, revision: int) -> list[dict[str, Any]]:
        """Return events that changed after a revision."""
        return [
            self._event(each)
            for number, each in self._events.items()
            if self._revisions[number] > revision
        ]

    def _touch(self, number: int) -> None:
        self.revision += 1
        self._revisions[number] = self.revision

    def _event(self, each: RecentEvent) -> dict[str, Any]:
        verdict, true_label = self._marks.get(each.number, (None, None))
        return {
            "number": each.number,
            "label": each.label,
            # As the history has them: rounded twice, some would be shown as other numbers.
            "onset": round(each.onset, 6),
            "offset": None if each.offset is None else round(each.offset, 6),
            "decided": round(each.decided, 6),
            "peak": round(each.peak, 6),
            "at": None if each.onset_at is None else iso(each.onset_at),
            "lost_seconds": round(each.lost / self.memory.sr, 3),
            "verdict": verdict,
            "true_label": true_label,
        }

    def _last_column(self) -> int:
        """Return one past the last column whose frames are complete."""
        ended, stop = self.memory.ended, self.memory.next_column
        return stop if ended else max(0, stop - 1 - self._behind_frame)

    def _message(self, index: int, first: int, stop: int) -> bytes:
        columns = self.memory.columns(first, stop)
        return _HEADER.pack(_COLUMNS, index, columns.shape[1], first) + columns.tobytes()


class Feed:
    """Watches the streams while a page is open and sends the same messages to all pages.

    A page gets one ``hello``, then ``update`` messages in JSON with each stream's changes, and
    binary messages with spectrogram columns (see :class:`StreamUpdates`). A page that reconnects
    is not sent again what it has.

    Not thread safe: everything happens in the page's event loop.

    Parameters
    ----------
    session_view : SessionView
    facts : mapping
        Further members of ``hello``.
    """

    def __init__(self, session_view: SessionView, facts: Mapping[str, Any]) -> None:
        self._session_view = session_view
        self._facts = facts
        self._boot = secrets.token_hex(4)
        self._audience = Audience()
        self._streams: list[StreamUpdates] = []
        self._count = 0
        self._thresholds: Mapping[str, float] = session_view.control.thresholds
        self._task: asyncio.Task[None] | None = None
        self._picture_at = self._marks_at = 0.0

    def admit(self, page: Page) -> bool:
        """Reserve a page's place before it joins; return False if there is none."""
        return self._audience.admit(page)

    async def join(self, page: Page, known: Mapping[str, Any]) -> None:
        """Send a page what it lacks, and from then on everything new.

        Parameters
        ----------
        page : Page
        known : mapping
            The page's first message: ``have`` holds, by stream key, the next column and the
            revision that the page has; ``columns`` is how many columns it shows.
        """
        await self._send_marks()
        # No await from here on: nothing is sent twice, and nothing is missed.
        self._audience.send(self._new_messages(picture=True))
        page.offer(self._backlog(known))
        self._audience.join(page)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())

    def leave(self, page: Page) -> None:
        """Remove a page that was closed."""
        self._audience.leave(page)

    async def marked(self) -> None:
        """Send a mark that was just made to every page."""
        await self._send_marks()

    def stream(self, key: str) -> StreamUpdates | None:
        """Return the stream with that key; None if it is not running."""
        return next((each for each in self._streams if each.key == key), None)

    async def _watch(self) -> None:
        """Send what is new until no page is open."""
        while len(self._audience):
            await asyncio.sleep(_UPDATE_SECONDS)
            now = time.monotonic()
            picture = now >= self._picture_at
            if picture:
                # Not "+=": after a delay there is nothing to catch up with.
                self._picture_at = now + PICTURE_SECONDS
            self._audience.send(self._new_messages(picture))
            if now >= self._marks_at:
                await self._send_marks()

    def _new_messages(self, picture: bool) -> list[Message]:
        """Return messages with everything that is new since the last call."""
        messages: list[Message] = []
        if self._find_streams():
            messages.append(self._hello())
        update: dict[str, Any] = {}
        columns: list[Message] = []
        if self._session_view.control.thresholds is not self._thresholds:
            self._thresholds = self._session_view.control.thresholds
            update["thresholds"] = list(self._thresholds.values())
        parts = {}
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
                    part["now"] = stream.status(snapshot, self._session_view.health(snapshot))
                    if (minute := stream.new_minute(snapshot)) is not None:
                        part["minute"] = minute
                    if (message := stream.new_columns(index)) is not None:
                        columns.append(message)
            if part:
                parts[stream.key] = part
        if parts:
            update["streams"] = parts
        if update:
            messages.append(_json({"type": "update", **update}))
        return messages + columns

    def _find_streams(self) -> bool:
        """Update the list of streams; return whether it has changed."""
        views = [(view, view.memory) for view in self._session_view.views()]
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
        bundle = self._session_view.bundle
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
                "sensor": self._session_view.sensor,
                "model": bundle.name,
                "labels": bundle.labels,
                "thresholds": list(self._thresholds.values()),
                "window_seconds": bundle.window_seconds,
                "top_db": bundle.features.top_db,
                "ticks": ticks,
                "palette": palette(0, 255).tobytes().hex(),
                "can_mark": self._session_view.review is not None,
                **self._facts,
                "streams": streams,
            }
        )

    def _backlog(self, known: Mapping[str, Any]) -> list[Message]:
        """Return messages with everything sent so far, except what a page already has."""
        messages: list[Message] = [self._hello()]
        have = known.get("have")
        limit = _whole(known.get("columns"), 600)
        parts: dict[str, Any] = {}
        columns: list[Message] = []
        for index, stream in enumerate(self._streams):
            sent = have.get(stream.key) if isinstance(have, dict) else None
            column, revision = sent if isinstance(sent, list) and len(sent) == 2 else (0, 0)
            snapshot = stream.view.snapshot()
            parts[stream.key] = {
                "now": stream.status(snapshot, self._session_view.health(snapshot)),
                "scores": stream.latest_scores(snapshot, self._thresholds),
                "events": stream.events_since(_whole(revision, 0)),
                "revision": stream.revision,
                "minute": None if snapshot.minute is None else snapshot.minute.record(),
            }
            message = stream.columns_since(index, _whole(column, 0), limit)
            if message is not None:
                columns.append(message)
        return [*messages, _json({"type": "update", "streams": parts}), *columns]

    async def _send_marks(self) -> None:
        """Send marks made here, on the dashboard or by another process."""
        self._marks_at = time.monotonic() + _MARK_SECONDS
        review = self._session_view.review
        if review is None:
            return
        try:
            by_event = await asyncio.to_thread(review.by_event)
        except OticError:  # reported where a mark is made
            return
        changed = {
            stream.key: {"events": events, "revision": stream.revision}
            for stream in self._streams
            if (events := stream.new_marks(by_event))
        }
        if changed:
            self._audience.send([_json({"type": "update", "streams": changed})])


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="replace").decode()  # a file's name may not be valid UTF-8


def _whole(value: Any, default: int) -> int:
    """Return a whole number that a page sent, if it is one and not negative."""
    return value if type(value) is int and 0 <= value < 2**53 else default
