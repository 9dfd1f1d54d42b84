"""What the page's server tells, keeps and plays: real streams, real sockets, no browser."""

from __future__ import annotations

import http.client
import importlib
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from otic.config.settings import Settings, WebSettings
from otic.errors import ParameterError, RuntimeMissingError, SinkError
from otic.sinks.delivery.notification import Notification
from otic.sinks.receivers.sqlite import SqliteReceiver
from otic.system.clock import iso
from otic.types import Event
from otic.web import feed
from otic.web import server as web_server
from otic.web.server import PageServer, WebServer
from tests.support.helpers import noise
from tests.support.web_pages import Room, loud, opened, served


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


@pytest.fixture
def server(room: Room) -> Iterator[WebServer]:
    with served(room) as running:
        yield running


def ask(
    server: WebServer, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any, dict[str, str]]:
    """Status, content (JSON where it is that) and headers; as the page itself would ask."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    own = {"Origin": f"http://127.0.0.1:{server.port}", **(headers or {})}
    method, sent = ("GET", None) if body is None else ("POST", json.dumps(body))
    connection.request(method, path, sent, own)
    answer = connection.getresponse()
    content: Any = answer.read()
    if answer.headers["Content-Type"] == "application/json":
        content = json.loads(content)
    connection.close()
    return answer.status, content, {k.lower(): v for k, v in answer.headers.items()}


def test_a_page_receives_scores_events_and_columns(room: Room, server: WebServer) -> None:
    with opened(server.url) as page:
        room.bang()
        page.wait_for(lambda sent: sent.events.get(1, {}).get("offset") and sent.n_scores)
        (expected,) = room.memories.get("mic").events()  # type: ignore[union-attr]
        event = page.only.events[1]
        assert event["label"] == "loud" == expected.label
        assert event["onset"] == pytest.approx(expected.onset, abs=1e-3)
        assert event["at"] == iso(expected.onset_at)  # type: ignore[arg-type]
        page.wait_for(lambda sent: sent.next_column >= 55)
        memory = room.memories.get("mic")
        assert memory is not None
        last = max(page.only.levels) + 1
        shown = np.array([list(page.only.levels[i]) for i in range(last)], np.uint8)
        np.testing.assert_array_equal(shown, memory.columns(0, last))
        assert page.only.now["health"][0] == "ok"
        room.lose(4000)
        page.wait_for(lambda sent: sent.now["health"][0] == "alarm")
        assert page.only.now["lost"] == 4000
        room.on_chunk(loud(800))
        page.wait_for(lambda sent: 2 in sent.events)
        assert page.only.events[2]["label"] == ""
        assert page.only.events[2]["lost_seconds"] == 0.5
        room.session_view.control.set_threshold("loud", 0.9)
        time.sleep(0.3)
    assert page.hello["labels"] == ["quiet", "loud", "odd"]
    assert page.hello["sensor"] == "yard"


def test_a_page_that_reconnects_receives_only_what_it_missed(room: Room, server: WebServer) -> None:
    room.bang()
    with opened(server.url) as first:
        first.wait_for(lambda sent: sent.events.get(1, {}).get("offset") and sent.next_column)
    had = first.known()  # it is closed, and receives nothing more
    seen = set(first.only.levels)
    room.bang(1)
    room.lose(800)
    room.on_chunk(np.zeros(8000, np.float32))
    with opened(server.url, had) as second:
        second.wait_for(lambda sent: len(sent.events) >= 2)
        second.wait_for(lambda sent: sent.next_column > max(seen) + 40)
        assert 1 not in second.only.events
        assert min(second.only.levels) == max(seen) + 1
    had = second.known()
    room.begin()  # otic was started again
    room.bang(2)
    with opened(server.url, had) as third:
        third.wait_for(lambda sent: sent.events.get(1, {}).get("offset") and sent.levels)
        assert min(third.only.levels) == 0
        assert set(third.streams).isdisjoint(had["have"])


def test_the_limit_of_pages_holds_for_those_that_join_together(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST_PAGES", 3)
    at = f"127.0.0.1:{server.port}"

    def n_served(n_pages: int) -> int:
        with ExitStack() as stack:
            opening = (
                connect(f"ws://{at}/live", origin=Origin(f"http://{at}")) for _ in range(n_pages)
            )
            pages = [stack.enter_context(page) for page in opening]
            served = 0
            for page in pages:
                with suppress(ConnectionClosed):
                    page.send("{}")
            for page in pages:
                with suppress(ConnectionClosed):
                    served += '"hello"' in str(page.recv(10))
            return served

    assert n_served(8) == 3
    end = time.monotonic() + 10
    while n_served(2) < 2:  # closed pages free their places
        assert time.monotonic() < end


def test_several_streams(tmp_path: Path) -> None:
    room = Room(tmp_path, "yard", "küche")
    with served(room) as server, opened(server.url) as page:
        room.on_chunk(loud(8000), 0)
        room.on_chunk(np.zeros(8000, np.float32), 1)
        page.wait_for(lambda sent: sent.next_column > 10)
        yard, kitchen = page.streams.values()
        page.wait_for(lambda _: kitchen.next_column > 10)
        assert [s["source"] for s in page.hello["streams"]] == ["yard", "küche"]
        assert max(map(max, yard.levels.values())) > max(map(max, kitchen.levels.values()))


def test_a_page_that_does_not_read_is_ended_and_delays_nobody(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "SLOWEST_SECONDS", 5.0)
    monkeypatch.setattr(web_server, "_MOST_UNSENT_BYTES", 8192)
    with served(room) as server:
        _stall(room, server)


def _stall(room: Room, server: WebServer) -> None:
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    stalled.connect(("127.0.0.1", server.port))
    stalled.sendall(
        f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Origin: http://127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    assert stalled.recv(12) == b"HTTP/1.1 101"
    stalled.sendall(b"\x81\x82\0\0\0\0{}")  # the first message, masked with zeros
    done = threading.Event()

    def talk() -> None:
        y = noise(8000 * 20)
        while not done.is_set():  # 400 columns of 24 bands each time: much more than ever
            room.on_chunk(y)

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        with opened(server.url) as page:
            connections = server._server.server_state.connections
            end = time.monotonic() + 20
            while len(connections) > 1 and time.monotonic() < end:
                time.sleep(0.05)
            assert len(connections) == 1  # the page's, which stays open
            assert not page.closed
            assert page.longest_silence_seconds < 4.0  # less than the other one may take
    finally:
        done.set()
        talker.join()
        stalled.close()


def test_marks(room: Room, server: WebServer, tmp_path: Path) -> None:
    room.bang()
    with opened(server.url) as page, opened(server.url) as other:
        for each in (page, other):
            each.wait_for(lambda sent: sent.events.get(1, {}).get("offset"))
        key = page.hello["streams"][0]["key"]
        place = {"stream": key, "number": 1}
        said = {"verdict": "wrong", "true_label": "odd"}
        assert ask(server, "/mark", {**place, **said})[:2] == (200, said)
        other.wait_for(lambda sent: sent.events[1]["verdict"] == "wrong")
        (mark,) = room.session_view.review.marks()  # type: ignore[union-attr]
        assert (mark.label, mark.true_label, mark.source) == ("loud", "odd", "mic")
        assert mark.clip is not None
        y, sr = soundfile.read(tmp_path / "review" / "audio" / mark.clip, dtype="int16")
        assert sr == 8000
        assert len(y) > 8000
        room.session_view.mark("mic", 1, "right")  # on the dashboard, say
        other.wait_for(lambda sent: sent.events[1]["verdict"] == "right")
        for wrong in (
            {**place, "number": 99, "verdict": "right"},
            {**place, "verdict": "perhaps"},
            {**place, "verdict": "wrong", "true_label": "no such"},
            {**place, "stream": "gone", "verdict": "right"},
            {"verdict": "right"},
            ["right"],
        ):
            status, content, _ = ask(server, "/mark", wrong)
            assert status == 400, wrong
            assert content["error"]
            assert "\n" not in content["error"]
        assert len(room.session_view.review.marks()) == 1  # type: ignore[union-attr]


def keep(room: Room, *notifications: Notification) -> None:
    receiver = SqliteReceiver(room.settings.receivers["sqlite"])
    receiver.open()
    for notification in notifications:
        receiver.deliver(notification)
    receiver.close()


def notification(number: int, at: str, **changes: Any) -> Notification:
    values: dict[str, Any] = {
        "event": f"e{number:04}",
        "state": "off",
        "sensor": "yard",
        "source": "mic",
        "label": "loud",
        "onset": float(number),
        "time": number + 1.0,
        "onset_at": at,
        "at": at,
        "offset": number + 0.5,
        "peak": 0.9,
    }
    return Notification(**{**values, **changes})


def rows(server: WebServer, **wanted: str) -> dict[str, Any]:
    asked = "&".join(f"{key}={quote(value)}" for key, value in wanted.items())
    status, content, _ = ask(server, f"/history?{asked}")
    assert status == 200, content
    return dict(content)


def test_history(room: Room, server: WebServer) -> None:
    assert rows(server) == {"events": [], "labels": [], "more": False}  # nothing was kept yet
    stamps = [f"2026-01-{1 + i // 60:02}T10:{i % 60:02}:00.000Z" for i in range(120)]
    keep(room, *(notification(i, at) for i, at in enumerate(stamps)))
    keep(room, notification(900, "2026-01-05T10:00:00.000Z", label="odd one's", source="küche"))
    first = rows(server)
    assert first["labels"] == ["loud", "odd one's"]
    assert [e["event"] for e in first["events"]] == [
        "e0900",
        *(f"e{i:04}" for i in range(119, 70, -1)),
    ]
    found = [e["event"] for e in first["events"]]
    page = first
    while page["more"]:
        last = page["events"][-1]
        page = rows(server, before_at=last["onset_at"], before=last["event"])
        found += [e["event"] for e in page["events"]]
    assert found == ["e0900", *(f"e{i:04}" for i in range(119, -1, -1))]
    assert [e["event"] for e in rows(server, label="odd one's")["events"]] == ["e0900"]
    assert [e["event"] for e in rows(server, source="küche")["events"]] == ["e0900"]
    day = rows(server, since="2026-01-01T10:30:00.000Z", until="2026-01-01T10:32:00.000Z")
    assert [e["event"] for e in day["events"]] == ["e0031", "e0030"]
    assert rows(server, label="' OR 1=1 --")["events"] == []


def test_an_event_of_the_history_is_played_and_marked(
    room: Room, server: WebServer, tmp_path: Path
) -> None:
    room.bang()
    (event,) = room.memories.get("mic").events()  # type: ignore[union-attr]
    assert event.onset_at is not None
    at = iso(event.onset_at)
    keep(room, notification(1, at, onset=event.onset, offset=event.offset))
    room.clips.close()  # all is on the disk
    (event,) = rows(server)["events"]
    assert event["verdict"] is None
    status, sound, headers = ask(server, f"/{event['clip']}")
    assert status == 200
    assert headers["content-type"] == "audio/flac"
    assert sound == (tmp_path / event["clip"]).read_bytes()
    status, part, headers = ask(server, f"/{event['clip']}", headers={"Range": "bytes=10-19"})
    assert (status, part) == (206, sound[10:20])
    key = page_key(server)
    status, _, headers = ask(server, f"/clip?stream={key}&number=1")
    assert (status, headers["location"]) == (302, event["clip"])
    assert ask(server, f"/clip?stream={key}&number=2")[0] == 400

    said = {"verdict": "right", "true_label": None}
    assert ask(server, "/mark", {"event": "e0001", **said})[:2] == (200, said)
    (mark,) = room.session_view.review.marks()  # type: ignore[union-attr]
    assert mark.clip is not None
    assert mark.recording.startswith("mic@")
    assert rows(server)["events"][0]["verdict"] == "right"
    # Another day's otic, which remembers nothing of it: the same event, so the same mark.
    room.begin()
    said = {"verdict": "wrong", "true_label": "quiet"}
    assert ask(server, "/mark", {"event": "e0001", **said})[:2] == (200, said)
    (again,) = room.session_view.review.marks()  # type: ignore[union-attr]
    assert (again.event, again.verdict) == (mark.event, "wrong")
    # The recording had to make room: that of the mark is played.
    (tmp_path / event["clip"]).unlink()
    played = rows(server)["events"][0]["clip"]
    assert played == f"reviewed/{again.clip}"
    assert ask(server, f"/{played}")[0] == 200
    assert ask(server, "/mark", {"event": "none", **said})[0] == 400


def test_what_is_replayed_twice_is_one_recording(room: Room, server: WebServer) -> None:
    """By the wall clock it would be two, and the same sound on both sides of a test."""
    days = {"e1": "2026-01-01T10:00:00.000Z", "e2": "2026-01-09T10:00:00.000Z"}
    keep(room, *(notification(1, at, event=e, source="Field 1.WAV") for e, at in days.items()))
    for event in days:
        assert ask(server, "/mark", {"event": event, "verdict": "right"})[0] == 200
    (mark,) = room.session_view.review.marks()  # type: ignore[union-attr]
    assert (mark.recording, mark.live) == ("Field 1.WAV", False)
    assert [e["verdict"] for e in rows(server)["events"]] == ["right", "right"]


def test_a_page_that_fails_is_one_message(
    room: Room, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(PageServer, "on_tick", fail)
    with served(room) as server:
        server._thread.join(5)
        assert not server._thread.is_alive()
        room.bang()
    assert caplog.messages == [
        "the page has failed, all else goes on: OSError: no memory: restart otic to get it back"
    ]


def page_key(server: WebServer) -> str:
    with opened(server.url) as page:
        page.wait_for(lambda sent: sent.now)
        return str(page.hello["streams"][0]["key"])


def test_live_and_history_agree_on_what_they_round(room: Room, server: WebServer) -> None:
    """A page shows whole per cent and tenths of seconds: 0.93496 is 93 %, 0.935 would be 94 %."""
    peak, onset, offset = 0.93496, 1.0004, 2.04996
    memory = room.memories.get("mic")
    assert memory is not None
    memory.write(Event("on", "loud", onset=onset, time=1.5, score=0.7))
    memory.write(Event("off", "loud", onset=onset, time=3.0, offset=offset, peak=peak))
    at = "2026-01-01T12:00:00.000Z"
    keep(room, notification(1, at, onset=onset, offset=offset, peak=peak))
    with opened(server.url) as page:
        page.wait_for(lambda sent: 1 in sent.events)
        live = page.only.events[1]
    (past,) = ask(server, "/history")[1]["events"]
    for name in ("peak", "onset", "offset"):
        assert live[name] == past[name]


def test_a_history_that_can_not_be_read(room: Room, server: WebServer, tmp_path: Path) -> None:
    for content in (b"no database at all, but long enough to be looked at", b"SQLite format 3\0"):
        (tmp_path / "events.sqlite").write_bytes(content * 40)
        status, answer, _ = ask(server, "/history")
        assert status == 400
        assert "events.sqlite" in answer["error"]


@pytest.mark.parametrize("listen", ["203.0.113.1:8080", "[::x]:1"])
def test_an_address_of_somebody_else(room: Room, listen: str) -> None:
    with pytest.raises(SinkError, match="can't serve the page on") as caught:
        WebServer(Settings(web=WebSettings(listen)), room.session_view)
    assert "\n" not in str(caught.value)


def test_a_busy_port_and_a_wrong_address(room: Room, server: WebServer) -> None:
    with pytest.raises(SinkError, match=rf"can't serve the page on {server.port}: Address already"):
        WebServer(Settings(web=WebSettings(str(server.port))), room.session_view)
    with pytest.raises(ParameterError, match=r"web\.listen='70000' must be PORT or HOST:PORT"):
        WebServer(Settings(web=WebSettings("70000")), room.session_view)


def test_a_port_is_free_at_once(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "_STOP_SECONDS", 60.0)
    settings = Settings(web=WebSettings("0"))
    server = WebServer(settings, room.session_view)
    with opened(server.url) as page:
        page.wait_for(lambda sent: sent.now)
        begin = time.monotonic()
        server.close()
        assert time.monotonic() - begin < 10.0
        again = WebServer(Settings(web=WebSettings(str(server.port))), room.session_view)
        again.close()
    assert page.closed
    assert not [t for t in threading.enumerate() if t.name == "otic page" and t.is_alive()]


def test_without_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.startswith("otic.web.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(RuntimeMissingError, match=r"pip install 'otic\[web\]'"):
        importlib.import_module("otic.web.server")


def test_no_history_and_no_sound(tmp_path: Path) -> None:
    room = Room(tmp_path, receivers={})
    with served(room) as server:
        status, answer, _ = ask(server, "/history")
        assert status == 400
        assert "--sqlite-path" in answer["error"]
        assert urlsplit(server.url).hostname == "127.0.0.1"
