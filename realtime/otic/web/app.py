"""The page's routes: its files, live updates, history, recordings and marks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from otic.config.settings import Settings
from otic.errors import OticError
from otic.review.folder import Mark
from otic.streaming.session_view import SessionView
from otic.web.clips import ClipFiles, Marker
from otic.web.feed import Feed, Message, Page
from otic.web.guard import Guard
from otic.web.history import PAGE_EVENTS, EventFilter, History

_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_SOUND_TYPES = {".flac": "audio/flac", ".wav": "audio/wav"}
_FIRST_MESSAGE_SECONDS = 10.0
_MOST_MARK_BYTES = 4096
_BODY_SECONDS = 5.0
_TRY_AGAIN = 1013  # WebSocket's code for "try again later"


def make_app(
    settings: Settings,
    session_view: SessionView,
    host: str,
    token: str,
    abort: Callable[[Any], None],
) -> ASGIApp:
    """Return the application that a server runs.

    Parameters
    ----------
    settings : Settings
    session_view : SessionView
        The session that is shown.
    host : str
        The host that ``web.listen`` names.
    token : str
        Empty for none.
    abort : callable
        Ends a client's connection at once.
    """
    pages = {path.name: path.read_bytes() for path in _page_files()}
    return Guard(_App(settings, session_view, pages, abort).app, token, host, pages["login.html"])


class _App:
    """The request handlers; whatever waits for a disk runs in starlette's threads."""

    def __init__(
        self,
        settings: Settings,
        session_view: SessionView,
        pages: dict[str, bytes],
        abort: Callable[[Any], None],
    ) -> None:
        sound = settings.clips.enabled  # for privacy: not even old recordings otherwise
        folder = settings.clips.directory if sound else None
        review = session_view.review.audio if sound and session_view.review is not None else None
        self._clips = ClipFiles(None if folder is None else Path(folder))
        self._reviewed = ClipFiles(review)
        path = getattr(settings.receivers.get("sqlite"), "path", None)
        self._history = None if path is None else History(path)
        self._marker = Marker(session_view, self._history, self._clips)
        self._session_view = session_view
        self._abort = abort
        facts = {"has_clips": folder is not None, "has_history": path is not None}
        self._feed = Feed(session_view, facts)
        routes = [
            Route("/" if name == "index.html" else f"/{name}", _static(name, content))
            for name, content in pages.items()
        ]
        self.app = Starlette(
            routes=[
                *routes,
                WebSocketRoute("/live", self._live),
                Route("/history", self._rows),
                Route("/mark", self._mark, methods=["POST"]),
                Route("/clip", self._clip_of_live),
                Route("/clips/{name}", self._sound(self._clips)),
                Route("/reviewed/{name}", self._sound(self._reviewed)),
            ],
            exception_handlers={OticError: _answer_error},
        )

    async def _live(self, socket: WebSocket) -> None:
        """Send updates to a page until it closes."""
        await socket.accept()
        page = Page(lambda: self._abort(socket.scope["client"]))
        if not self._feed.admit(page):
            await socket.close(_TRY_AGAIN, "too many pages are open")
            return
        try:
            await self._serve_page(socket, page)
        finally:
            self._feed.leave(page)
            self._abort(socket.scope["client"])

    async def _serve_page(self, socket: WebSocket, page: Page) -> None:
        try:
            first = await asyncio.wait_for(socket.receive_text(), _FIRST_MESSAGE_SECONDS)
            known = json.loads(first)
        except (TimeoutError, ValueError, KeyError, RecursionError, WebSocketDisconnect):
            return

        async def send(message: Message) -> None:
            if isinstance(message, str):
                await socket.send_text(message)
            else:
                await socket.send_bytes(message)

        await self._feed.join(page, known if isinstance(known, dict) else {})
        sending = asyncio.create_task(page.send_all(send))
        try:
            await socket.receive()  # only the end: a page sends nothing else
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _rows(self, request: Request) -> Response:
        """Return a page of the history."""
        query = request.query_params
        before = (query.get("before_at", ""), query.get("before", ""))
        criteria = EventFilter(
            label=query.get("label", ""),
            source=query.get("source", ""),
            since=query.get("since", ""),
            until=query.get("until", ""),
            before=before if before[1] else None,
        )
        return JSONResponse(await run_in_threadpool(self._history_page, criteria))

    def _history_page(self, criteria: EventFilter) -> dict[str, Any]:
        if self._history is None:
            raise OticError("there is no history: start otic with --sqlite-path FILE")
        rows = self._history.rows(criteria)
        events = []
        for row, mark in zip(rows, self._marker.marks_of(rows), strict=True):
            name = self._clips.find(row.source, row.label, row.onset, row.began)
            clip = None if name is None else f"clips/{name}"
            kept = None if mark is None else mark.clip
            if clip is None and kept is not None and self._reviewed.path(kept) is not None:
                clip = f"reviewed/{kept}"
            events.append({**asdict(row), "clip": clip, **_verdict(mark)})
        labels = self._history.labels() if criteria.before is None else None
        return {"events": events, "labels": labels, "more": len(rows) == PAGE_EVENTS}

    async def _mark(self, request: Request) -> Response:
        """Mark an event of a running stream or of the history."""
        body = await _json_body(request)
        verdict, true_label = str(body.get("verdict", "")), body.get("true_label") or None
        if true_label is not None and true_label not in self._session_view.bundle.labels:
            raise OticError(f"the model has no label {true_label!r}: choose one of its labels")
        event, key, number = body.get("event"), body.get("stream"), body.get("number")
        if isinstance(event, str):
            mark = await run_in_threadpool(self._marker.mark, event, verdict, true_label)
        else:
            stream = self._feed.stream(str(key))
            memory = None if stream is None else stream.memory
            source = "" if memory is None else memory.stream.source
            # Another stream may run under that name by now.
            if memory is None or self._session_view.memories.get(source) is not memory:
                raise OticError("this stream has ended: mark the event in the history")
            if type(number) is not int:
                raise OticError("a mark needs the number of an event")
            mark = await run_in_threadpool(
                self._session_view.mark, source, number, verdict, true_label
            )
        await self._feed.marked()
        return JSONResponse(_verdict(mark))

    async def _clip_of_live(self, request: Request) -> Response:
        """Redirect to the recording of an event that a page received live."""
        stream = self._feed.stream(request.query_params.get("stream", ""))
        number = request.query_params.get("number", "")
        events = () if stream is None else stream.memory.events()
        found = next((each for each in events if str(each.number) == number), None)
        if stream is None or found is None:
            raise OticError("this event is no longer in memory: look for it in the history")
        source = stream.memory.stream.source
        name = await run_in_threadpool(
            self._clips.find, source, found.label, found.onset, found.onset_at
        )
        if name is None:
            return _error_response("this event has no recording, or not yet", 404)
        return RedirectResponse(f"clips/{name}", 302, {"Cache-Control": "no-store"})

    @staticmethod
    def _sound(clips: ClipFiles) -> Callable[[Request], Awaitable[Response]]:
        async def sound(request: Request) -> Response:
            path = await run_in_threadpool(clips.path, request.path_params["name"])
            if path is None:
                return _error_response("this recording does not exist or has been deleted", 404)
            headers = {"Cache-Control": "private, max-age=3600"}
            return FileResponse(path, 200, headers, _SOUND_TYPES[path.suffix])

        return sound


def _page_files() -> list[Path]:
    folder = files("otic.web") / "page"
    return [path for path in map(Path, map(str, folder.iterdir())) if path.suffix in _TYPES]


def _static(name: str, content: bytes) -> Callable[[Request], Awaitable[Response]]:
    kind = _TYPES[Path(name).suffix]

    async def static(_: Request) -> Response:
        return Response(content, 200, {"Cache-Control": "no-cache"}, kind)

    return static


async def _json_body(request: Request) -> dict[str, Any]:
    """Return the small JSON object that was sent.

    Raises
    ------
    OticError
        If it is anything else.
    """
    body = b""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > _MOST_MARK_BYTES:
                    break
        value = json.loads(body)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate can't be encoded
    except (TimeoutError, ValueError, RecursionError, ClientDisconnect) as error:
        raise OticError("a mark is JSON in UTF-8 of at most 4 kB") from error
    if not isinstance(value, dict):
        raise OticError("a mark is a JSON object")
    return value


def _verdict(mark: Mark | None) -> dict[str, str | None]:
    if mark is None:
        return {"verdict": None, "true_label": None}
    return {"verdict": mark.verdict, "true_label": mark.true_label}


async def _answer_error(_: Request, error: Exception) -> Response:
    return _error_response(str(error), 400)


def _error_response(reason: str, status: int) -> Response:
    return JSONResponse({"error": reason}, status)
