"""Messages to people: through Apprise to stand-ins for ntfy, a JSON service and an SMTP server."""

from __future__ import annotations

import base64
import email
import json
import logging
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from otic.config.load import load_settings
from otic.config.settings import ClipsSettings, FilterSettings
from otic.errors import OticError, ParameterError, RuntimeMissingError
from otic.sinks import receivers
from otic.sinks.clip_folder import find_clip
from otic.sinks.delivery.notification import DeliveryError, Notification, RefusedError, Sensor
from otic.sinks.delivery.outbox import Outbox
from otic.sinks.delivery.queue import DeliveryQueue
from otic.sinks.delivery.worker import DeliveryWorker
from otic.sinks.event_filter import EventFilter
from otic.sinks.receivers import notify
from otic.sinks.receivers.notify import Section
from otic.sinks.receivers.notify_client import NotifyReceiver
from otic.system.clock import iso
from otic.types import Event
from tests.unit.test_outbox import FRONT

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ON = Notification(
    event="7f",
    state="on",
    sensor="porch",
    source="mic",
    label="crying_baby",
    onset=1.25,
    time=2.0,
    onset_at=iso(NOON),
    at=iso(NOON),
    score=0.91,
)
OFF = replace(ON, state="off", score=None, peak=0.97, offset=4.5)
PORCH = Sensor("porch", live=False)
KEY = "s3cr3t-t0ken"


class Inbox:
    """A web server that keeps what it is sent, and answers with ``status``."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                inbox.taken.append((self.path, dict(self.headers), body))
                answer = b'{"error": "no"}' if inbox.status >= 300 else b"{}"
                self.send_response(inbox.status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def do_PUT(self) -> None:
                self.do_POST()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    yield inbox
    inbox.close()


@contextmanager
def mailbox() -> Iterator[tuple[int, list[Message]]]:
    """An SMTP server that takes everything."""
    mails: list[Message] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 mail\r\n")
            while line := self.rfile.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = iter(self.rfile.readline, b".\r\n")
                    mails.append(email.message_from_bytes(b"".join(lines)))
                self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1], mails
        server.shutdown()


def receiver(*urls: str, sensor: Sensor = PORCH, **settings: Any) -> NotifyReceiver:
    return NotifyReceiver(Section(urls=urls, **settings), sensor)


def test_ntfy(inbox: Inbox) -> None:
    receiver(f"ntfy://127.0.0.1:{inbox.port}/porch").deliver(ON)
    ((_, _, body),) = inbox.taken
    at = f"{NOON.astimezone():%H:%M:%S}"
    found = json.loads(body)
    assert (found["topic"], found["title"]) == ("porch", "crying baby")
    assert found["message"] == f"porch, mic: crying baby at {at}, score 0.91"


def test_a_service_that_takes_json(inbox: Inbox) -> None:
    title, text = "{sensor}", "{label} for {seconds:.1f} s from {time}"
    unknown = replace(ON, onset_at=None, at=None)
    url = f"json://bot:{KEY}@127.0.0.1:{inbox.port}/sendMessage"
    receiver(url, title=title, text=text).deliver(unknown)
    ((path, headers, body),) = inbox.taken
    assert path == "/sendMessage"
    assert headers["Authorization"] == "Basic " + base64.b64encode(f"bot:{KEY}".encode()).decode()
    found = json.loads(body)
    assert (found["title"], found["message"]) == ("porch", "crying baby for 0.8 s from 0:01.2")


def recorded(folder: Path, onset: datetime) -> Sensor:
    """A sensor whose recording of the event is there."""
    y = 0.1 * np.sin(np.arange(22050) / 5.0)
    name = f"{onset:%Y%m%dT%H%M%S}.{onset.microsecond // 1000:03d}Z"
    soundfile.write(folder / f"{name}_mic_crying-baby.flac", y, 22050)
    return replace(PORCH, clips=ClipsSettings(str(folder), post_seconds=0.0))


def test_mail_with_the_recording_and_its_spectrogram(tmp_path: Path) -> None:
    sensor = recorded(tmp_path, NOON + timedelta(seconds=0.2))
    with mailbox() as (port, mails):
        url = f"mailto://127.0.0.1:{port}?from=otic@example.com&to=me@example.com&mode=insecure"
        mail = receiver(url, sensor=sensor, attach=("clip", "spectrogram"))
        mail.deliver(ON)
        assert mails == []  # it is not recorded yet
        mail.deliver(OFF)
        (message,) = mails
    assert message["Subject"] == "crying baby"
    files = {
        p.get_filename(): p.get_payload(decode=True) for p in message.walk() if p.get_filename()
    }
    assert [Path(str(name)).suffix for name in files] == [".flac", ".png"]
    sound, picture = files.values()
    assert sound == next(tmp_path.glob("*.flac")).read_bytes()
    assert isinstance(picture, bytes)
    assert picture.startswith(b"\x89PNG")


def test_a_service_that_takes_no_files_gets_the_message(tmp_path: Path, inbox: Inbox) -> None:
    sensor = recorded(tmp_path, NOON)
    receiver(f"ntfy://127.0.0.1:{inbox.port}/a", sensor=sensor, attach=("clip",)).deliver(OFF)
    assert any(b"fLaC" in body for _, _, body in inbox.taken)
    inbox.taken.clear()
    receiver(f"form://127.0.0.1:{inbox.port}/", sensor=sensor, attach=("spectrogram",)).deliver(OFF)
    assert b"PNG" in inbox.taken[0][2]


def test_a_recording_that_does_not_come(
    tmp_path: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otic.sinks.receivers.notify_client._CLIP_SECONDS", 0.2)
    sensor = recorded(tmp_path, NOON + timedelta(seconds=3))  # another one
    receiver(f"json://127.0.0.1:{inbox.port}/", sensor=sensor, attach=("clip",)).deliver(OFF)
    assert json.loads(inbox.taken[0][2])["attachments"] == []
    with pytest.raises(ParameterError, match=r"set clips.directory"):
        receiver("json://localhost", attach=("clip",))


def test_the_nearest_recording_of_the_same_sound_is_found(tmp_path: Path) -> None:
    names = [
        "20260101T120000.400Z_mic_dog.flac",
        "20260101T120000.100Z_mic_dog-2.wav",
        "20260101T120000.000Z_mic_dog-bark.flac",
        "20260101T120000.000Z_yard_dog.flac",
        "notes.txt",
    ]
    for name in names:
        (tmp_path / name).touch()
    assert find_clip(tmp_path, "mic", "dog", NOON) == tmp_path / names[1]
    assert find_clip(tmp_path, "mic", "dog", NOON + timedelta(seconds=0.4)) == tmp_path / names[0]
    assert find_clip(tmp_path, "mic", "dog", NOON + timedelta(seconds=1)) is None
    assert find_clip(tmp_path / "none", "mic", "dog", NOON) is None


def test_who_has_it_does_not_get_it_again(inbox: Inbox) -> None:
    other = Inbox()
    other.status = 500
    both = receiver(f"json://127.0.0.1:{inbox.port}/a", f"json://127.0.0.1:{other.port}/{KEY}")
    for _ in range(2):
        with pytest.raises(DeliveryError, match=r"number 2 of notify.urls.*error=500") as failed:
            both.deliver(ON)
        assert not isinstance(failed.value, RefusedError)
        assert KEY not in str(failed.value)
    with pytest.raises(RefusedError):  # the rest must not wait for one that never works
        both.deliver(ON)
    assert (len(inbox.taken), len(other.taken)) == (1, 3)
    other.status = 200
    both.deliver(replace(ON, event="80"))
    assert (len(inbox.taken), len(other.taken)) == (2, 4)
    other.close()


def test_nobody_can_be_reached() -> None:
    dead = receiver(f"json://127.0.0.1:9/{KEY}")
    for _ in range(4):
        with pytest.raises(DeliveryError) as failed:
            dead.deliver(ON)
        assert not isinstance(failed.value, RefusedError)
        assert KEY not in str(failed.value)


def test_old_messages_are_not_sent(inbox: Inbox) -> None:
    section = Section(urls=(f"json://127.0.0.1:{inbox.port}",), longest_wait_seconds=60.0)
    now = NOON + timedelta(seconds=59)
    NotifyReceiver(section, Sensor("porch"), lambda: now).deliver(ON)
    late = NotifyReceiver(section, Sensor("porch"), lambda: NOON + timedelta(hours=2))
    with pytest.raises(RefusedError, match=r"2:00:00 old: messages are sent within 1:00"):
        late.deliver(ON)
    NotifyReceiver(section, PORCH, lambda: NOON + timedelta(days=9)).deliver(ON)  # a replay
    assert len(inbox.taken) == 2


def test_the_cooldown_holds_for_messages_alone(inbox: Inbox) -> None:
    queue = DeliveryQueue(None, ["notify"], 100)
    worker = DeliveryWorker(receiver(f"json://127.0.0.1:{inbox.port}/"), queue)
    calm = EventFilter(FilterSettings(cooldown_seconds=60.0))
    sink = Outbox("porch", queue, [worker], filters={"notify": calm}, drain_timeout=lambda: 20.0)
    for at in (0.0, 10.0, 70.0):
        sink.write(FRONT, Event("on", "dog", onset=at, time=at, score=0.9))
        sink.write(FRONT, Event("off", "dog", onset=at, time=at + 1, offset=at + 1, peak=0.9))
    sink.close()
    assert len(inbox.taken) == 2
    assert sink.undelivered() == 0


def test_nothing_of_an_address_is_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"tgram://123456789:{KEY}/987654321/"
    section = load_settings(None, {"OTIC_NOTIFY_URLS": url}, sections=receivers.sections).receivers[
        "notify"
    ]
    assert section.urls == (url,)
    assert KEY not in repr(section)
    with caplog.at_level(logging.DEBUG), pytest.raises(ParameterError) as failed:
        receiver(f"nosuch://{KEY}")
    assert "nosuch://… (number 1 of notify.urls) is no address" in str(failed.value)
    assert KEY not in str(failed.value) + caplog.text
    file = tmp_path / "urls"
    file.write_text(f"# people\n\njson://localhost/{KEY}\n")
    assert len(NotifyReceiver(Section(urls_file=str(file)), PORCH)._services) == 1
    file.write_text("# nobody\n")
    with pytest.raises(ParameterError, match="holds no address"):
        NotifyReceiver(Section(urls_file=str(file)), PORCH)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{lable}", "no '{lable}'"),
        ("{label", "expected '}'"),
        ("{}", "no '{}'"),
        ("{score:q}", "q"),
    ],
)
def test_a_template_is_checked_at_the_start(template: str, why: str) -> None:
    with pytest.raises(ParameterError, match=r"notify.text: .*it may have \{label\}") as failed:
        receiver("json://localhost", text=template)
    assert why in str(failed.value)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notify.open_receiver(Section(), PORCH) is None
    assert notify.checks(Section()) == []
    names = [check.name for check in notify.checks(Section(urls=("json://a",), urls_file="/s"))]
    assert names == ["extra notify", "notify.urls_file"]
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(RuntimeMissingError, match=r"pip install 'otic\[notify\]'"):
        notify.open_receiver(Section(urls=("json://a",)), PORCH)


def test_urls_that_are_no_list() -> None:
    with pytest.raises(OticError) as failed:
        load_settings(None, {"OTIC_NOTIFY_URLS": f'"{KEY}'}, sections=receivers.sections)
    assert KEY not in str(failed.value)
