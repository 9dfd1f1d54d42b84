"""What open pages are told: made once for all of them, from what the desk remembers."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from otic import __version__
from otic.errors import OticError
from otic.features.spectrogram import frequency_ticks, palette
from otic.streaming.session_view import SessionView
from otic.web.audience import Audience, Message, Page
from otic.web.told import StreamUpdates

PICTURE_SECONDS = 0.125
"""Between two messages with levels and columns of the picture."""

_LOOK_SECONDS = 0.04  # how soon scores and events are told
_MARK_SECONDS = 1.0  # how soon marks are told that were made elsewhere


class Feed:
    """Looks at the streams while a page is open, and tells all pages the same.

    In a page's life: one ``hello``; then ``update`` messages, JSON, with what has changed of
    each stream; and columns of the picture, binary (see :mod:`otic.web.told`). What a page
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
