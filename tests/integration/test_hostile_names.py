"""Names that were made to do harm, in every place that shows or sends them.

Devices, files, hosts, labels and keys have names that others gave them.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import sqlite3
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from otic.cli.doctor import plain_lines
from otic.detection.unknown import UNKNOWN
from otic.sinks.clips import ClipSink
from otic.sinks.delivery.notification import DeliveryError, Notification, Sensor
from otic.sinks.delivery.outbox import Outbox
from otic.sinks.delivery.queue import DeliveryQueue
from otic.sinks.delivery.worker import DeliveryWorker
from otic.sinks.jsonl import JsonlSink
from otic.sinks.metrics_page import Collector, page_of
from otic.sinks.receivers.command import CommandReceiver
from otic.sinks.receivers.command import Section as CommandSection
from otic.sinks.receivers.csv import CsvReceiver
from otic.sinks.receivers.csv import Section as CsvSection
from otic.sinks.receivers.homeassistant import Topics, discovery_payload
from otic.sinks.receivers.sqlite import Section as SqliteSection
from otic.sinks.receivers.sqlite import SqliteReceiver
from otic.sinks.text import TextSink
from otic.system.findings import FAIL, Finding
from otic.types import Event, StreamEnd, StreamStart
from tests.integration.test_metrics_page import DELIVERING, LISTENING
from tests.integration.test_webhook import Hook, receiver

EVIL = "=cmd|' /C calc'!A0;@SUM(1)\r\n\x1b]0;owned\x07\x1b[2J\x9b31m\u202egpj\0\udce9"
ON = Event("on", EVIL, onset=1.0, time=2.0, score=0.9)
OFF = Event("off", EVIL, onset=1.0, time=4.0, offset=3.5, peak=0.9)


def stream(source: str = EVIL) -> StreamStart:
    return StreamStart("0.1.0", "m", "00", source, 22050, 2.0, 0.25, (EVIL, "rain"))


def notifications() -> list[Notification]:
    """What the outbox makes of such an event."""
    queue = DeliveryQueue(None, ["inbox"], 10)
    outbox = Outbox(EVIL, queue, [])
    for item in (ON, OFF):
        outbox.write(stream(), item)
    found = []
    while (entry := queue.next("inbox")) is not None:
        found.append(entry[1])
        queue.done("inbox", entry[0])
    outbox.close()
    assert len(found) == 2
    return found


def harmless(data: bytes | str, ends: str = "\n") -> str:
    """Check that a terminal has nothing to act on but the ends of lines."""
    text = data if isinstance(data, str) else data.decode("utf-8")
    assert "owned" in text
    for line in text.split(ends):
        assert line.isprintable(), repr(line)
    return text


def test_csv(tmp_path: Path) -> None:
    made = CsvReceiver(CsvSection(path=str(tmp_path / "e.csv")))
    for notification in notifications():
        made.deliver(notification)
    made.close()
    text = harmless((tmp_path / "e.csv").read_bytes(), "\r\n")
    [row] = csv.DictReader(io.StringIO(text, newline=""))
    for cell in (row["sensor"], row["source"], row["label"]):
        for part in cell.split(";"):
            assert not part.lstrip().startswith(("=", "+", "-", "@")), cell


def test_sqlite(tmp_path: Path) -> None:
    made = SqliteReceiver(SqliteSection(path=str(tmp_path / "e.db")))
    for notification in notifications():
        made.deliver(notification)
    made.close()
    with sqlite3.connect(tmp_path / "e.db") as db:
        [row] = db.execute("SELECT sensor, source, label FROM events").fetchall()
    db.close()
    harmless("\n".join(row))


def test_command(tmp_path: Path) -> None:
    script = tmp_path / "show"
    script.write_text(f"#!/bin/sh\n(cat; env | grep ^OTIC_) >> {tmp_path}/shown\nexit 75\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    made = CommandReceiver(CommandSection(argv=(str(script),)))
    for notification in notifications():
        with pytest.raises(DeliveryError):
            made.deliver(notification)
    harmless((tmp_path / "shown").read_bytes())


def test_what_a_program_says(tmp_path: Path) -> None:
    script = tmp_path / "say"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.stderr.write({EVIL[:-1]!r})\nexit(75)\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    queue = DeliveryQueue(None, ["command"], 10)
    said: list[str] = []
    logger = logging.getLogger("otic")
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    worker = DeliveryWorker(CommandReceiver(CommandSection(argv=(str(script),))), queue)
    queue.append(notifications()[0])
    worker.start()
    worker.stop(2.0)
    logger.removeHandler(handler)
    assert worker.status().last_error is not None
    for line in (str(worker.status().last_error), *said):
        assert line.isprintable()


def test_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Hook()
    try:
        for notification in notifications():
            receiver(server.url).deliver(notification)
        for _, headers, body in server.requests:
            harmless(body)
            assert all(value.isprintable() for value in headers.values())
    finally:
        server.end()


def test_mqtt() -> None:
    """Topics, and what Home Assistant is told; with a broker in tests/system/test_mqtt.py."""
    sensor = Sensor(EVIL, (EVIL,), (EVIL,))
    [source], [label] = sensor.sources, sensor.labels
    assert (notifications()[0].source, notifications()[0].label) == (source, label)
    topics = Topics("otic", sensor.name)
    every = (topics.status, topics.event(source), topics.state(source, label))
    for topic in (*every, topics.attributes(source, label), topics.health(source)):
        assert topic.isascii()
        assert topic.isprintable()
        assert not set(topic) & set("+#\0")
    payload = discovery_payload(topics, list(sensor.sources), list(sensor.labels))
    harmless(json.dumps(payload, ensure_ascii=False))


def test_the_queue_and_the_logs(tmp_path: Path) -> None:
    queue = DeliveryQueue(tmp_path / "queue.jsonl", ["a"], 10)
    queue.append(notifications()[0])
    queue.close()
    harmless((tmp_path / "queue.jsonl").read_bytes().rstrip(b"\0"))
    sink = JsonlSink(str(tmp_path / "log.jsonl"), frozenset({"events", UNKNOWN}), several=True)
    sink.start(stream())
    for item in (ON, OFF):
        sink.write(stream(), item)
    sink.end(stream(), StreamEnd(1, 1.0, 0))
    sink.close()
    lines = harmless((tmp_path / "log.jsonl").read_bytes()).splitlines()
    assert json.loads(lines[1])["label"] == EVIL.replace("\udce9", "?")  # nothing else is lost
    out = io.StringIO()
    text = TextSink(out, several=True)
    text.start(stream())
    for item in (ON, OFF):
        text.write(stream(), item)
    harmless(out.getvalue())


def test_recordings(tmp_path: Path) -> None:
    from otic.config.settings import ClipsSettings

    sink = ClipSink(ClipsSettings(directory=str(tmp_path), format="wav"), EVIL)
    import numpy as np

    sink.start(stream())
    sink.on_chunk(stream(), np.zeros(6 * 22050, np.float32))
    for item in (ON, OFF):
        sink.write(stream(), item)
    sink.end(stream(), StreamEnd(1, 1.0, 0))
    sink.close()
    [path] = tmp_path.iterdir()
    assert path.name.isascii()
    assert path.name.isprintable()
    import soundfile

    with soundfile.SoundFile(path) as file:
        assert file.title.isprintable()
        assert file.comment.isprintable()


def test_metrics() -> None:
    status = replace(LISTENING, scores={EVIL: 0.5}, event_counts={EVIL: 1})
    collector = Collector(lambda: {EVIL: status}, lambda: [replace(DELIVERING, name=EVIL)], EVIL)
    page = page_of(collector)()
    harmless(page)
    assert list(text_string_to_metric_families(page.decode()))


def test_findings() -> None:
    harmless("\n".join(plain_lines(Finding("level", FAIL, EVIL, (EVIL,)))))
