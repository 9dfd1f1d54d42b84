"""The dialogue of ``otic teach --web``: a page in place of a terminal."""

from __future__ import annotations

import asyncio
import io
import json
import os
import select
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from threading import Lock
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from otic.config.settings import WebSettings
from otic.features.params import FeatureParams
from otic.features.spectrogram import Spectrogram, loudness_range, palette, png
from otic.web.guard import Guard
from otic.web.server import PageThread

_TOP_DB = 60.0
_MOST_KEY_BYTES = 256
_FILES = {
    "": ("otic_training.teaching", "teach.html", "text/html"),
    "teach.js": ("otic_training.teaching", "teach.js", "text/javascript"),
    "teach.css": ("otic_training.teaching", "teach.css", "text/css"),
    "dom.js": ("otic.web", "dom.js", "text/javascript"),
    "page.css": ("otic.web", "page.css", "text/css"),
    "icon.svg": ("otic.web", "icon.svg", "image/svg+xml"),
}
_UNKEPT = {"Cache-Control": "no-store"}


class PageScreen:
    """Keeps what a page shows.

    Thread safety: one thread calls the methods of a screen, any :meth:`state` and the rest.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._lines: list[tuple[str, str]] = []
        self._status = ""
        self._answers: tuple[tuple[str, str], ...] = ()
        self._n_examples = 0
        self.picture = self.sound = b""
        """The latest example as PNG and as WAV."""

    def say(self, text: str = "", style: str = "") -> None:
        """Add a line."""
        with self._lock:
            self._lines.append((style, text.strip()))
            self._status, self._answers = "", ()

    def command(self, text: str) -> None:
        """Add a command."""
        self.say(text, "key")

    def status(self, text: str, answers: Mapping[str, str]) -> None:
        """Show what is going on, and what can be answered meanwhile."""
        with self._lock:
            self._status, self._answers = text, tuple(answers.items())

    def ask(self, answers: Mapping[str, str]) -> None:
        """Show what can be answered."""
        self.status("", answers)

    def show(self, y: NDArray[np.int16], p: FeatureParams) -> None:
        """Make the picture and the sound of an example."""
        spectrogram = Spectrogram(p)
        spectrogram.push(y.astype(np.float32) / np.float32(32768.0))
        levels = spectrogram.levels()
        file = io.BytesIO()
        soundfile.write(file, y, p.sr, format="WAV", subtype="PCM_16")
        with self._lock:
            self.picture = png(levels, palette(*loudness_range(levels, _TOP_DB)))
            self.sound = file.getvalue()
            self._n_examples += 1

    def offers(self, key: str) -> bool:
        """Tell if this is one of the answers that there are now."""
        with self._lock:
            return any(key == each for each, _ in self._answers)

    def state(self, seen: int) -> dict[str, Any]:
        """Return what the page needs that has seen so many lines."""
        with self._lock:
            return {
                "lines": self._lines[max(0, seen) :],
                "seen": len(self._lines),
                "status": self._status,
                "answers": self._answers,
                "example": self._n_examples,
            }


class PageKeys:
    """Answers that a page gave, as a keyboard gives keys; to be closed.

    Thread safety: any thread calls :meth:`press`, one the rest.
    """

    def __init__(self) -> None:
        self.fd, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def press(self, key: str) -> None:
        """Give an answer."""
        os.write(self._writer, f"{key}\n".encode())

    def keys(self) -> list[str]:
        """Return the answers since the last call."""
        if not select.select([self.fd], [], [], 0.0)[0]:
            return []
        return os.read(self.fd, 4096).decode().split()

    def wait_for(self, keys: Sequence[str]) -> str:
        """Wait for one of these answers."""
        while True:
            select.select([self.fd], [], [])
            for key in self.keys():
                if key in keys:
                    return key

    def close(self) -> None:
        """Close the pipe."""
        os.close(self.fd)
        os.close(self._writer)


@contextmanager
def served(listen: str) -> Iterator[tuple[PageScreen, PageKeys, str]]:
    """Serve the page; gives its screen, its answers and its address.

    Raises
    ------
    ParameterError, SinkError
        As :class:`otic.web.server.PageThread` does.
    """
    screen, keys = PageScreen(), PageKeys()
    app = _app(screen, keys)
    login = _content("otic.web", "login.html")
    web = WebSettings(listen=listen, token=os.environ.get("OTIC_WEB_TOKEN") or None)
    server = PageThread(web, lambda host, token, _: Guard(app, token, host, login))
    try:
        yield screen, keys, server.url
    finally:
        server.close()
        keys.close()


def _app(screen: PageScreen, keys: PageKeys) -> Starlette:
    async def state(request: Request) -> Response:
        seen = request.query_params.get("seen", "0")
        return JSONResponse(screen.state(int(seen) if seen.isdecimal() else 0), 200, _UNKEPT)

    async def key(request: Request) -> Response:
        pressed = await _key_of(request)
        if not screen.offers(pressed):
            return JSONResponse({"error": "this is no answer to what is asked now"}, 400)
        keys.press(pressed)
        return JSONResponse({})

    async def picture(_: Request) -> Response:
        return Response(screen.picture, 200, _UNKEPT, "image/png")

    async def sound(_: Request) -> Response:
        return Response(screen.sound, 200, _UNKEPT, "audio/wav")

    return Starlette(
        routes=[
            *(Route(f"/{path}", _static(*place)) for path, place in _FILES.items()),
            Route("/state", state),
            Route("/key", key, methods=["POST"]),
            Route("/example.png", picture),
            Route("/example.wav", sound),
        ]
    )


async def _key_of(request: Request) -> str:
    """Read the answer of a request; empty where it is not valid."""
    body = b""
    try:
        async with asyncio.timeout(5.0):
            async for part in request.stream():
                body += part
                if len(body) > _MOST_KEY_BYTES:
                    return ""
        value = json.loads(body)
    except (TimeoutError, ValueError, RecursionError, ClientDisconnect):
        return ""
    return str(value.get("key", "")) if isinstance(value, dict) else ""


def _static(package: str, name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = _content(package, name)

    async def static(_: Request) -> Response:
        return Response(content, 200, {"Cache-Control": "no-cache"}, kind)

    return static


def _content(package: str, name: str) -> bytes:
    return (files(package) / "page" / name).read_bytes()
