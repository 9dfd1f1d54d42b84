"""Levels on their way out: the log, the terminal, receivers, metrics; and their settings."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from otic.config.load import load_settings
from otic.detection.loud import LOUD
from otic.errors import OticError
from otic.review.export import label_of
from otic.sinks.delivery.notification import Notification
from otic.sinks.delivery.outbox import Outbox
from otic.sinks.delivery.queue import DeliveryQueue
from otic.sinks.jsonl import JsonlSink
from otic.sinks.receivers.homeassistant import Topics, discovery_payload
from otic.sinks.receivers.sqlite import Section, SqliteReceiver
from otic.sinks.text import TextSink
from otic.streaming.monitor import Monitor, TimedClassifier
from otic.system.clock import iso
from otic.types import Level
from otic.web.feed import StreamUpdates
from tests.integration.test_metrics_page import LISTENING, scrape, serving, value
from tests.support.helpers import FakeClassifier, otic, small_bundle
from tests.support.review_marks import mark_of
from tests.support.web_pages import FedSource, Room
from tests.unit.test_homeassistant import check_payload
from tests.unit.test_outbox import FRONT, NOON, drain

MINUTE = Level(
    sample=1323000,
    time=60.0,
    seconds=59.5,
    laeq=41.2349,
    l10=44.0,
    l50=40.5,
    l90=33.25,
    peak=71.0,
    bands={"25": 20.0, "31.5": 21.126},
    calibrated=True,
)
RECORD = {
    "seconds": 59.5,
    "calibrated": True,
    "laeq": 41.23,
    "l10": 44.0,
    "l50": 40.5,
    "l90": 33.25,
    "peak": 71.0,
    "bands": {"25": 20.0, "31.5": 21.13},
}


@pytest.mark.parametrize("kept", [frozenset[str](), frozenset(["scores", "events"])])
def test_the_log_has_a_line_of_its_own_kind(tmp_path: Path, kept: frozenset[str]) -> None:
    sink = JsonlSink(str(tmp_path / "log"), kept)
    sink.start(FRONT)
    sink.write(FRONT, MINUTE)
    sink.close()
    line = (tmp_path / "log").read_text().splitlines()[1]
    assert line == (
        '{"type":"level","sample":1323000,"time":60.0,"seconds":59.5,"calibrated":true,'
        '"laeq":41.23,"l10":44.0,"l50":40.5,"l90":33.25,"peak":71.0,'
        '"bands":{"25":20.0,"31.5":21.13}}'
    )


def test_a_line_for_a_person() -> None:
    out = io.StringIO()
    for level in (MINUTE, replace(MINUTE, calibrated=False)):
        TextSink(out).write(FRONT, level)
    first, second = out.getvalue().splitlines()
    words = "… 1:00.00 LAeq 41.2, L10 44.0, L50 40.5, L90 33.2, peak 71.0 dB"
    assert first.split() == words.split()
    assert second.endswith("peak 71.0 dBFS (uncalibrated)")


def test_only_receivers_that_want_levels_get_them(tmp_path: Path) -> None:
    queue = DeliveryQueue(tmp_path / "queue.jsonl", ["inbox", "shelf"], 100)
    sink = Outbox(
        "hall", queue, [], now=lambda: NOON, new_id=lambda: "one", level_receivers=["shelf"]
    )
    sink.write(FRONT, MINUTE)
    sink.close()
    again = DeliveryQueue(tmp_path / "queue.jsonl", ["inbox", "shelf"], 100)
    assert list(again.open_events()) == []
    assert drain(again) == []
    (sent,) = drain(again, "shelf")
    assert sent.id == "one/level"
    assert (sent.level, sent.at, sent.source) == (RECORD, iso(NOON), "front")
    assert sent.onset_at == iso(NOON - timedelta(seconds=59.5))
    again.close()


def test_nobody_wants_levels() -> None:
    queue = DeliveryQueue(None, ["inbox"], 100)
    sink = Outbox("hall", queue, [])
    sink.write(FRONT, MINUTE)
    assert queue.waiting("inbox") == 0
    sink.close()


def notification(at: datetime, event: str = "one") -> Notification:
    return Notification(
        event, "level", "hall", "mic", "level", 0.5, 60.0, at=iso(at), level=dict(RECORD)
    )


def rows(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT * FROM levels").fetchall()


def test_a_database_has_a_row_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otic.sinks.receivers.sqlite._SWEEP_SECONDS", 0.0)
    path = tmp_path / "otic.db"
    receiver = SqliteReceiver(Section(str(path), keep_days=1.0), now=lambda: NOON)
    assert receiver.takes_levels
    receiver.open()
    receiver.idle()  # nothing is there yet
    for _ in range(2):  # delivery is at least once
        receiver.deliver(notification(NOON))
    receiver.deliver(notification(NOON - timedelta(days=2), "two"))
    assert len(rows(path)) == 2
    receiver.idle()
    receiver.close()
    (row,) = rows(path)
    assert row[:7] == ("one", "hall", "mic", iso(NOON), 60.0, 59.5, 1)
    assert row[7:12] == (41.23, 44.0, 40.5, 33.25, 71.0)
    assert json.loads(row[12]) == RECORD["bands"]


@pytest.mark.parametrize(("unit", "weighted"), [("dB", "dBA"), ("dBFS", "dBFS")])
def test_home_assistant_finds_them(unit: str, weighted: str) -> None:
    topics = Topics("otic", "porch", ("mic",), ("dog",))
    payload = discovery_payload(topics, ["mic"], ["dog"], level_unit=unit)
    check_payload(payload)
    laeq = payload["components"]["mic.level.laeq"]
    assert (laeq["name"], laeq["unit_of_measurement"]) == ("LAeq", weighted)
    assert laeq["state_topic"] == topics.level("mic") == "otic/porch/mic/level"
    assert payload["components"]["mic.level.peak"]["unit_of_measurement"] == unit
    without = discovery_payload(topics, ["mic"], ["dog"])
    assert payload["components"].keys() - without["components"].keys() == {
        f"mic.level.{name}" for name in ("laeq", "l10", "l50", "l90", "peak")
    }


def test_the_status_has_the_latest_minute() -> None:
    monitor = Monitor(FedSource("mic"), small_bundle(), TimedClassifier(FakeClassifier()))
    assert monitor.snapshot().minute is None
    monitor.record_items([replace(MINUTE, time=1.0), MINUTE])
    assert monitor.snapshot().minute == MINUTE
    assert monitor.snapshot().events == ()


def test_settings() -> None:
    assert not load_settings(None, {}).level.enabled
    environment = {"OTIC_LEVEL_ENABLED": "true", "OTIC_LEVEL_CALIBRATION_DB": "94"}
    settings = load_settings(None, environment).level
    assert (settings.enabled, settings.calibration_db, settings.loud_db) == (True, 94.0, None)
    with pytest.raises(OticError, match=r"at most 250"):
        load_settings(None, {**environment, "OTIC_LEVEL_CALIBRATION_DB": "1000"})


def test_what_needs_levels_says_so() -> None:
    run = otic("listen", "--no-dashboard", "--level-loud-db", "-30")
    assert run.returncode == 1
    assert b"level.loud_db is set, but level.enabled is not" in run.stderr


def test_a_loud_sound_teaches_only_what_it_is_called() -> None:
    for verdict in ("right", "wrong"):
        with pytest.raises(LookupError):
            label_of(mark_of(label=LOUD, verdict=verdict))
    assert label_of(mark_of(label=LOUD, verdict="wrong", true_label="dog")) == "dog"


def test_the_page_is_sent_a_minute_once(tmp_path: Path) -> None:
    (view,) = Room(tmp_path).session_view.views()
    assert view.memory is not None
    updates = StreamUpdates("key", view, view.memory)
    status = LISTENING
    assert updates.new_minute(status) is None
    status = replace(status, minute=MINUTE)
    assert updates.new_minute(status) == RECORD
    assert updates.new_minute(status) is None


def test_the_metrics_have_the_latest_minute() -> None:
    health = {"mic": replace(LISTENING, minute=MINUTE), "door": LISTENING}
    with serving(lambda: health) as server:
        samples, _ = scrape(server)
    found = {"source": "mic", "calibrated": "true"}
    assert value(samples, "otic_minute_level_db", level="laeq", **found) == 41.2349
    assert value(samples, "otic_minute_band_db", band="31.5", **found) == 21.126
