"""Pages without a browser: what listens to the page's WebSocket, and what it listens to.

``python -m tests.support.web_pages URL N SECONDS`` opens N of them in this process and prints,
as JSON, what each received.
"""

from __future__ import annotations

import json
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from otic.config.settings import ClipsSettings, Settings, WebSettings
from otic.pipeline import Pipeline
from otic.review.folder import ReviewFolder
from otic.sinks.clips import ClipSink
from otic.sinks.receivers.sqlite import Section as SqliteSection
from otic.streaming.control import Control
from otic.streaming.monitor import Monitor, TimedClassifier
from otic.streaming.recent import MemorySink
from otic.streaming.session_view import SessionView
from otic.streaming.stream import Stream
from otic.types import Chunk, Lost, Sink, SourceHealth
from otic.web.server import WebServer
from tests.support.helpers import F32, FakeClassifier, decision, noise, small_bundle


class FedSource:
    """A live source of what it is given."""

    live = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.given: deque[Chunk] = deque()

    def chunks(self) -> Iterator[Chunk | None]:
        while True:
            yield self.given.popleft() if self.given else None

    def fileno(self) -> int | None:
        return None

    def health(self) -> SourceHealth:
        return SourceHealth()

    def warnings(self) -> list[str]:
        return []

    def close(self) -> None:
        pass


class Room:
    """A session view and real streams with a fake model, fed by a test."""

    def __init__(self, folder: Path, *names: str, **settings: Any) -> None:
        self.bundle = small_bundle(decision=decision(3, on_thresholds=(1.0, 0.6, 1.0)))
        self.memories = MemorySink(self.bundle)
        given: dict[str, Any] = {
            "web": WebSettings("0"),
            "receivers": {"sqlite": SqliteSection(str(folder / "events.sqlite"))},
            "clips": ClipsSettings(str(folder / "clips"), pre_seconds=0.0, post_seconds=0.0),
        }
        self.settings = Settings(name="yard", **{**given, **settings})
        (folder / "clips").mkdir(exist_ok=True)
        self.clips = ClipSink(self.settings.clips, "yard", waits=True, drain_timeout=lambda: 60.0)
        self.session_view = SessionView(
            self.bundle,
            Control(self.bundle.labels, self.bundle.decision),
            self.memories,
            "yard",
            ReviewFolder(folder / "review"),
            folder,
        )
        self._sources = [FedSource(name) for name in names or ("mic",)]
        self._streams: list[Stream] = []
        self.begin()

    def begin(self) -> None:
        """New streams begin, as they do where otic starts again."""
        classifier = TimedClassifier(FakeClassifier())
        monitors = [Monitor(source, self.bundle, classifier) for source in self._sources]
        sinks: list[Sink] = [self.clips, self.memories]
        self._streams = [
            Stream(source, Pipeline(self.bundle, classifier), monitor, sinks, None)
            for source, monitor in zip(self._sources, monitors, strict=True)
        ]
        for stream in self._streams:
            stream.begin()
        self.session_view.show(monitors)

    def on_chunk(self, chunk: Chunk, stream: int = 0) -> None:
        self._sources[stream].given.append(chunk)
        while self._streams[stream].look() and self._streams[stream].next_chunk is not None:
            self._streams[stream].take()

    def lose(self, n: int) -> None:
        self.on_chunk(Lost(n))

    def bang(self, seed: int = 0) -> None:
        """A second of a loud sound, which is an event, and two of silence."""
        self.on_chunk(loud(8000, seed))
        self.on_chunk(np.zeros(16000, np.float32))


def loud(n: int, seed: int = 0) -> F32:
    return noise(n, seed, 0.1)


@contextmanager
def served(room: Room) -> Iterator[WebServer]:
    server = WebServer(room.settings, room.session_view)
    try:
        yield server
    finally:
        server.close()
        room.clips.close()  # its thread would be the next test's


@dataclass
class ReceivedStream:
    """What a page received of one stream."""

    next_column: int = 0
    revision: int = 0
    n_columns: int = 0
    n_scores: int = 0
    now: dict[str, Any] = field(default_factory=dict)
    events: dict[int, dict[str, Any]] = field(default_factory=dict)
    levels: dict[int, bytes] = field(default_factory=dict)


class OpenPage:
    """One page: a WebSocket, and a thread that takes what comes."""

    def __init__(self, url: str, known: dict[str, Any] | None = None, **options: Any) -> None:
        at = urlsplit(url).netloc
        self._open = ExitStack()
        connection = connect(
            f"ws://{at}/live",
            origin=Origin(f"http://{at}"),
            compression=None,
            **options,
        )
        self._socket = self._open.enter_context(connection)
        self._socket.send(json.dumps({"have": {}, "columns": 2400, **(known or {})}))
        self.hello: dict[str, Any] = {}
        self.streams: dict[str, ReceivedStream] = {}
        self.n_messages = self.n_bytes = 0
        self.longest_silence_seconds = 0.0
        self.closed = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def only(self) -> ReceivedStream:
        """The only stream, or the first."""
        return next(iter(self.streams.values()))

    def known(self) -> dict[str, Any]:
        """What it says when it comes back."""
        return {"have": {key: [t.next_column, t.revision] for key, t in self.streams.items()}}

    def wait_for(self, condition: Any, seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.streams and condition(self.only):
                return
            time.sleep(0.01)
        raise AssertionError(f"not received within {seconds:g} s: {self.streams}"[:2000])

    def close(self) -> None:
        self._open.close()
        self._thread.join(5)

    def _read(self) -> None:
        received_at = time.monotonic()
        try:
            for message in self._socket:
                now = time.monotonic()
                self.longest_silence_seconds = max(self.longest_silence_seconds, now - received_at)
                received_at = now
                self.n_messages += 1
                self.n_bytes += len(message)
                self._take(message)
        except ConnectionClosed:
            pass
        self.closed = True

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            kind, index, n_mels, first = struct.unpack_from("<BBHI", message)
            assert kind == 1
            sent = self.streams[self.hello["streams"][index]["key"]]
            for i, start in enumerate(range(8, len(message), n_mels)):
                sent.levels[first + i] = message[start : start + n_mels]
                sent.n_columns += 1
                sent.next_column = first + i + 1
            return
        record = json.loads(message)
        if record["type"] == "hello":
            self.hello = record
            self.streams = {
                s["key"]: self.streams.get(s["key"], ReceivedStream()) for s in record["streams"]
            }
            return
        for key, part in record.get("streams", {}).items():
            sent = self.streams[key]
            sent.now = part.get("now", sent.now)
            sent.n_scores += part.get("scores") is not None
            sent.revision = part.get("revision", sent.revision)
            sent.events |= {event["number"]: event for event in part.get("events", ())}


@contextmanager
def opened(url: str, known: dict[str, Any] | None = None) -> Iterator[OpenPage]:
    with closing(OpenPage(url, known)) as page:
        yield page


def main() -> None:
    url, n, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    pages = [OpenPage(url) for _ in range(n)]
    time.sleep(seconds)
    sent = [
        {
            "messages": page.n_messages,
            "bytes": page.n_bytes,
            "closed": page.closed,
            "longest_silence_seconds": round(page.longest_silence_seconds, 3),
            "scores": sum(t.n_scores for t in page.streams.values()),
            "events": [
                [key, e["number"], e["label"], e["onset"]]
                for key, t in page.streams.items()
                for e in t.events.values()
            ],
        }
        for page in pages
    ]
    print(json.dumps(sent))
    for page in pages:
        page.close()


if __name__ == "__main__":
    main()
