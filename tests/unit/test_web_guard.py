"""Who is let in, and what is never served."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from otic.config.settings import ReviewSettings, Settings, WebSettings
from otic.errors import ParameterError
from otic.web import guard
from otic.web import server as web_server
from otic.web.guard import HEADERS
from otic.web.server import WebServer
from tests.conftest import ROOT
from tests.support.web_pages import Room, opened, served

TOKEN = "a token & grüße"
NAME = "20260101T120000.000Z_mic_dog.flac"
MARK = '{"stream": "x", "number": 1, "verdict": "right"}'


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


@pytest.fixture
def server(room: Room) -> Iterator[WebServer]:
    with served(room) as running:
        yield running


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[WebServer]:
    """With a token."""
    with served(Room(tmp_path, web=WebSettings("0", token=TOKEN))) as running:
        yield running


def ask(
    server: WebServer, path: str, body: str | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """Status, content and headers; the path goes as it is."""
    own = {"Host": f"127.0.0.1:{server.port}", **headers}
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.putrequest("GET" if body is None else "POST", path, skip_host=True)
        for name, value in own.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(None if body is None else body.encode())
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, answer.read(), found


def origin(server: WebServer) -> str:
    return f"http://127.0.0.1:{server.port}"


def test_every_answer_has_the_headers(server: WebServer) -> None:
    for path in ("/", "/page.js", "/page.css", "/history", "/nothing", "/clips/x", "/mark"):
        _, _, headers = ask(server, path)
        assert {name: headers.get(name.lower()) for name in HEADERS} == HEADERS, path
    assert HEADERS["Content-Security-Policy"].startswith("default-src 'self';")
    assert "server" not in headers


def test_the_page_needs_nothing_from_elsewhere() -> None:
    for path in (ROOT / "realtime" / "otic" / "web" / "page").iterdir():
        text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"(?:https?:|wss?:)?//[a-z0-9]", text, re.IGNORECASE), path
        assert not re.search(r"\bon\w+=|<script>|<style|style=|javascript:", text), path  # CSP


def test_another_name_is_refused(server: WebServer) -> None:
    """Else a page from elsewhere could have its own name mean this machine."""
    for host in (
        *("evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "[::1].evil"),
        *("[::1]evil:80", "evil@localhost", "localhost/evil", "localhost#evil", "localhost?evil"),
        *("localhost:80:80", "localhost:evil", "[::1", "::1]", "[localhost", "127.0.0.1\t.evil"),
    ):
        assert ask(server, "/", Host=host)[0] == 403
        assert ask(server, "/history", Host=host)[0] == 403


def test_names_of_this_machine(server: WebServer) -> None:
    """Also through ssh -L, by another port."""
    for host in ["localhost", "LOCALHOST:9000", "127.0.0.1", "[::1]:8080"]:
        assert ask(server, "/", Host=host)[0] == 200


def test_requests_of_other_pages(server: WebServer) -> None:
    own = {"Content-Type": "application/json"}
    known = ["https://evil.example", "null", "", "http://127.0.0.1:1", "http://localhost", "//"]
    for foreign in known:
        assert ask(server, "/mark", MARK, Origin=foreign, **own)[0] == 403
        with (
            pytest.raises(InvalidStatus) as caught,
            connect(f"ws://127.0.0.1:{server.port}/live", additional_headers={"Origin": foreign}),
        ):
            pass
        assert caught.value.response.status_code == 403


def test_requests_that_do_not_say_whose_they_are(server: WebServer) -> None:
    assert ask(server, "/mark", MARK)[0] == 403
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{server.port}/live"):
        pass
    assert ask(server, "/mark", MARK, Origin=origin(server))[0] == 400  # there is no such stream


def test_without_the_token(guarded: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_PENALTY_SECONDS", 0.01)
    assert "token" not in guarded.url
    status, content, headers = ask(guarded, "/")
    assert status == 401
    assert b'name="token"' in content
    assert headers["cache-control"] == "no-store"
    for path in ("/page.js", "/history", f"/clips/{NAME}", "/nothing", "/index.html", "/live"):
        assert ask(guarded, path)[0] == 401, path
    assert ask(guarded, "/page.css")[0] == 200  # of the page that asks for it
    for wrong in ("", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper()):
        assert ask(guarded, f"/?token={quote(wrong)}")[0] == 401
    for cookie in ("otic=x", f"otic_{guarded.port}=x", f"otic_{guarded.port}", "=;;=", "otic"):
        assert ask(guarded, "/", Cookie=cookie)[0] == 401
    assert ask(guarded, "/history", Authorization="Bearer wrong")[0] == 401
    assert ask(guarded, "/mark", MARK, Origin=origin(guarded))[0] == 401
    with (
        pytest.raises(InvalidStatus),
        connect(
            f"ws://127.0.0.1:{guarded.port}/live", additional_headers={"Origin": origin(guarded)}
        ),
    ):
        pass


def test_each_wrong_credential_costs_time(
    guarded: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked for, and however the token is guessed: the cookie is derived from it."""
    monkeypatch.setattr(guard, "_PENALTY_SECONDS", 0.2)
    port = guarded.port
    for path in ("/", "/history", "/page.css", "/nothing"):
        for wrong in ({"Authorization": "Bearer wrong"}, {"Cookie": f"otic_{port}=wrong"}):
            begin = time.monotonic()
            ask(guarded, path, **wrong)
            assert time.monotonic() - begin >= 0.2, (path, wrong)
    begin = time.monotonic()
    with (
        pytest.raises(InvalidStatus),
        connect(
            f"ws://127.0.0.1:{port}/live",
            additional_headers={"Origin": origin(guarded), "Authorization": "Bearer wrong"},
        ),
    ):
        pass
    assert time.monotonic() - begin >= 0.2
    monkeypatch.setattr(guard, "_PENALTY_SECONDS", 30.0)
    right = f"Bearer {TOKEN}".encode().decode("latin-1")
    assert ask(guarded, "/history", Authorization=right, Cookie=f"otic_{port}=old")[0] == 200
    assert ask(guarded, "/history", Cookie="otic=another port's")[0] == 401  # no guess at this


def test_with_the_token(guarded: WebServer) -> None:
    status, _, headers = ask(guarded, "/?token=a%20token%20%26%20gr%C3%BC%C3%9Fe")
    assert status == 303
    assert headers["location"] == "./"
    cookie, _, attributes = headers["set-cookie"].partition("; ")
    assert "HttpOnly" in attributes
    assert "samesite=lax" in attributes.lower()
    assert "secure" not in attributes.lower()
    assert TOKEN not in cookie
    assert ask(guarded, "/", Cookie=cookie)[0] == 200
    # By the same address again, and from a second form: it does not stay in the address bar.
    for again in (
        ask(guarded, "/?token=gr%C3%BC%C3%9Fe%ff", Cookie=cookie),
        ask(guarded, "/", "token=x", Cookie=cookie, Origin=origin(guarded)),
    ):
        assert (again[0], again[2]["location"]) == (303, "./")
    assert (
        ask(guarded, "/", Cookie=f"other=1; {cookie}", Host="sensor.example")[0] == 401
    )  # other port
    assert ask(guarded, "/mark", MARK, Cookie=cookie, Origin="https://evil.example")[0] == 403
    with connect(
        f"ws://127.0.0.1:{guarded.port}/live",
        additional_headers={"Origin": origin(guarded), "Cookie": cookie},
    ) as page:
        page.send("{}")
        assert '"hello"' in str(page.recv(5))
    # As a form, and through a proxy that has the encryption.
    form = "token=a+token+%26+gr%C3%BC%C3%9Fe"
    sent = {"Host": "sensor.example", "Origin": "https://sensor.example"}
    status, _, headers = ask(guarded, "/", form, **sent, **{"X-Forwarded-Proto": "https"})
    assert status == 303
    assert "Secure" in headers["set-cookie"]
    cookie = headers["set-cookie"].partition("; ")[0]
    assert ask(guarded, "/", Host="sensor.example", Cookie=cookie)[0] == 200
    assert ask(guarded, "/history", Authorization="bearer plain")[0] == 401


@pytest.mark.parametrize("other", ['prefs={"a":1}', "a b=c", "a=1; a", 'x="', "y=[1, 2]", "z=\xc3"])
def test_cookies_of_other_programs_on_the_machine(guarded: WebServer, other: str) -> None:
    """Browsers send a host's cookies to all of its ports, and not all are as the RFC wants."""
    cookie = ask(guarded, f"/?token={quote(TOKEN)}")[2]["set-cookie"].partition("; ")[0]
    for sent in (f"{other}; {cookie}", f"{cookie}; {other}"):
        assert ask(guarded, "/", Cookie=sent)[0] == 200


def test_programs_send_the_token_as_utf_8(guarded: WebServer) -> None:
    sent = f"Bearer {TOKEN}".encode().decode("latin-1")
    assert ask(guarded, "/history", Authorization=sent)[0] == 200


def test_a_stranger_holds_no_connection(
    guarded: WebServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not with a second request that drips, a form or a handshake that never comes whole."""
    monkeypatch.setattr(guard, "_FORM_SECONDS", 0.2)
    own = f"Host: 127.0.0.1:{guarded.port}\r\nOrigin: {origin(guarded)}\r\n"
    websocket = (
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    )
    for sent in (
        f"GET /page.css HTTP/1.1\r\n{own}\r\nGET /",
        f"GET /nothing HTTP/1.1\r\n{own}Content-Length: 9\r\n\r\nx",
        f"POST / HTTP/1.1\r\n{own}Content-Length: 9\r\n\r\ntoken=",
        f"GET /live HTTP/1.1\r\n{own}{websocket}Content-Length: 9\r\n\r\n",
        f"GET /live HTTP/1.1\r\n{own}{websocket}Transfer-Encoding: chunked\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", guarded.port), 3) as raw:
            raw.sendall(sent.encode())
            while raw.recv(65536):  # until it is ended
                pass
    guarded.close()
    assert caplog.messages == []


def test_the_token_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("correct horse battery\n")
    room = Room(tmp_path, web=WebSettings("0", token_file=str(tmp_path / "token")))
    with served(room) as server:
        assert ask(server, "/history")[0] == 401
        known = {"Authorization": "Bearer correct horse battery"}
        assert ask(server, "/page.js", **known)[0] == 200


def test_other_machines_need_a_token(tmp_path: Path) -> None:
    room = Room(tmp_path, web=WebSettings("0.0.0.0:0"))
    with served(room) as first, served(room) as second:
        tokens = [parse_qs(urlsplit(server.url).query)["token"][0] for server in (first, second)]
        assert tokens[0] != tokens[1]
        assert len(tokens[0]) >= 20
        assert urlsplit(first.url).hostname not in ("0.0.0.0", None)
        assert ask(first, "/")[0] == 401
        assert ask(first, f"/?token={tokens[1]}")[0] == 401
        assert ask(first, f"/?token={tokens[0]}")[0] == 303


def test_a_token_that_will_not_do(room: Room) -> None:
    with pytest.raises(ParameterError, match=r"web\.token has 6 characters, .* at least 12"):
        WebServer(Settings(web=WebSettings("0", token="secret")), room.session_view)
    with pytest.raises(ParameterError, match=r"web\.token_file '/no/such'"):
        WebServer(Settings(web=WebSettings("0", token_file="/no/such")), room.session_view)
    for token in (
        "a token with a space at its end ",
        "two lines\nof a token",
        "not UTF-8: \udcff\udcfe",
    ):
        with pytest.raises(ParameterError, match=r"web\.token must be one line") as caught:
            WebServer(Settings(web=WebSettings("0", token=token)), room.session_view)
        assert token not in str(caught.value)
    assert TOKEN not in repr(Settings(web=WebSettings("0", token=TOKEN)))


def test_only_recordings_are_served(server: WebServer, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    (tmp_path / "secret.flac").write_text("secret")
    (tmp_path / NAME).write_text("secret")  # above the folder
    (clips / "notes.flac").write_text("secret")
    (clips / NAME).write_bytes(b"fLaC sound")
    link = "20260101T120001.000Z_mic_dog.flac"
    (clips / link).symlink_to(tmp_path / "secret.flac")
    assert ask(server, f"/clips/{NAME}")[:2] == (200, b"fLaC sound")
    folder = "20260101T120002.000Z_mic_dog.flac"
    (clips / folder).mkdir()
    ups = ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", ".%00./", "%252e%252e%252f", "....//"]
    paths = [f"/clips/{up}{name}" for up in ups for name in (NAME, "secret.flac", "events.sqlite")]
    paths += [
        f"/clips/{name}" for name in ("notes.flac", link, "", ".", "..", NAME + "%00", NAME + "/")
    ]
    paths += [f"/clips/{NAME}%0a", f"/clips//{NAME}", f"/clips/clips/{NAME}", f"/{NAME}"]
    paths += [
        "/clips/20260101T120002.000Z_mic_dog.flac",
        f"/reviewed/{NAME}",
        f"/reviewed/../{NAME}",
    ]
    paths += ["/../pyproject.toml", "/..%2fserver.py", "/%2e%2e/server.py", "//etc/passwd"]
    for path in paths:
        status, content, _ = ask(server, path)
        assert status in (307, 404), path
        assert b"secret" not in content, path


def test_privacy(tmp_path: Path) -> None:
    """Where no sound may be written, no recording is served, however old."""
    room = Room(tmp_path)
    (tmp_path / "clips" / NAME).write_bytes(b"fLaC sound")
    quiet = Settings(
        web=WebSettings("0"),
        clips=type(room.settings.clips)(str(tmp_path / "clips"), enabled=False),
        review=ReviewSettings(str(tmp_path / "review")),
    )
    with closing(WebServer(quiet, room.session_view)) as server, opened(server.url) as page:
        page.wait_for(lambda sent: sent.now)
        assert page.hello["has_clips"] is False
        assert ask(server, f"/clips/{NAME}")[0] == 404


def test_what_is_no_request_or_too_much(server: WebServer) -> None:
    at = {"Origin": origin(server)}
    assert ask(server, "/mark", "x" * 100_000, **at)[0] == 400
    assert ask(server, "/mark", "[" * 4000, **at)[0] == 400
    assert ask(server, "/mark", '{"event": "\\ud800", "verdict": "right"}', **at)[0] == 400
    assert ask(server, "/" + "x" * 20_000)[0] in (400, 404)
    for sent in (b"\0\xff\n\n", b"GET / HTTP/9\r\n\r\n", b"GET"):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
            raw.settimeout(3)
            with suppress(OSError):
                raw.recv(4096)
    for first in (
        "",
        "no json",
        "[" * 5000,
        '{"have": 7, "columns": "many"}',
        '{"have": {"x": [1]}}',
    ):
        with connect(f"ws://127.0.0.1:{server.port}/live", additional_headers=at) as page:
            page.send(first)
            page.close()
    assert ask(server, "/")[0] == 200


def test_connections_that_ask_nothing_are_ended(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would take the descriptors that recording needs."""
    monkeypatch.setattr(web_server, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(web_server, "MOST_CONNECTIONS", 8)
    many = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    many[3].sendall(b"GET / HTTP/1.1\r\nHost: 127")  # and drips
    time.sleep(0.2)
    connections: set[Any] = server._server.server_state.connections
    assert len(connections) <= 8
    end = time.monotonic() + 5
    while connections and time.monotonic() < end:
        time.sleep(0.05)
    assert not connections
    for each in many:
        each.close()
    assert ask(server, "/")[0] == 200
