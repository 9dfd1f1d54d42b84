from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from otic.sinks.delivery.notification import DeliveryError, Notification, RefusedError
from otic.sinks.delivery.outbox import Outbox, random_id
from otic.sinks.delivery.queue import DeliveryQueue
from otic.sinks.delivery.worker import DeliveryWorker
from otic.types import Event, Gap, Scores, Sink, StreamEnd, StreamStart
from tests.conftest import ROOT
from tests.integration.test_delivery_worker import Inbox, raising

NOON = datetime(2026, 1, 1, 12, 0, 0, 123_900, tzinfo=UTC)


def stream(source: str) -> StreamStart:
    began = "2026-01-01T11:00:00.000Z"
    return StreamStart("0.1.0", "m", "00", source, 22050, 2.0, 0.25, ("dog", "rain"), began)


FRONT, BACK = stream("front"), stream("back")


def on(label: str, onset: float, at: float) -> Event:
    return Event("on", label, onset=onset, time=at, score=0.75)


def off(label: str, onset: float, at: float) -> Event:
    return Event("off", label, onset=onset, time=at, offset=at - 0.25, peak=0.875)


def outbox(queue: DeliveryQueue, *workers: DeliveryWorker, now: datetime = NOON) -> Outbox:
    ids = iter(f"event-{n}" for n in range(1, 100))
    return Outbox("hall", queue, workers, now=lambda: now, new_id=lambda: next(ids))


def drain(queue: DeliveryQueue, receiver: str = "inbox") -> list[Notification]:
    notifications = []
    while (entry := queue.next(receiver)) is not None:
        notifications.append(entry[1])
        queue.done(receiver, entry[0])
    return notifications


def test_events_become_notifications() -> None:
    queue = DeliveryQueue(None, ["inbox"], 100)
    sink: Sink = outbox(queue)
    sink.start(FRONT)
    sink.write(FRONT, Scores(44100, 2.0, {"dog": 0.75}, {"dog": 0.75}))
    sink.write(FRONT, on("dog", 1.25, 2.0))
    sink.write(FRONT, Gap(96000, 4410))
    sink.write(FRONT, off("dog", 1.25, 4.75))
    sink.end(FRONT, StreamEnd(661500, 30.0, 0))
    assert drain(queue) == [
        Notification(
            event="event-1",
            state="on",
            sensor="hall",
            source="front",
            label="dog",
            onset=1.25,
            time=2.0,
            onset_at="2026-01-01T11:59:59.373Z",
            at="2026-01-01T12:00:00.123Z",
            score=0.75,
        ),
        Notification(
            event="event-1",
            state="off",
            sensor="hall",
            source="front",
            label="dog",
            onset=1.25,
            time=4.75,
            onset_at="2026-01-01T11:59:59.373Z",
            at="2026-01-01T12:00:00.123Z",
            offset=4.5,
            offset_at="2026-01-01T12:00:02.623Z",
            peak=0.875,
        ),
    ]
    assert queue.open_events() == ()
    sink.close()


def test_on_and_off_belong_together_by_source_and_label() -> None:
    queue = DeliveryQueue(None, ["inbox"], 100)
    sink = outbox(queue)
    sink.write(FRONT, on("dog", 1.0, 2.0))  # event-1
    sink.write(BACK, on("dog", 1.0, 2.0))  # event-2
    sink.write(FRONT, on("unknown", 1.0, 3.0))  # event-3
    sink.write(BACK, off("dog", 1.0, 4.0))
    sink.write(FRONT, off("unknown", 1.0, 5.0))
    sink.write(BACK, on("dog", 6.0, 7.0))  # event-4
    assert [e.event for e in queue.open_events()] == ["event-1", "event-4"]
    sink.write(FRONT, off("dog", 1.0, 8.0))
    assert [n.id for n in drain(queue)] == [
        "event-1/on",
        "event-2/on",
        "event-3/on",
        "event-2/off",
        "event-3/off",
        "event-4/on",
        "event-1/off",
    ]
    sink.close()


def test_times_are_utc_whatever_the_clock_says() -> None:
    queue = DeliveryQueue(None, ["inbox"], 100)
    sink = outbox(queue, now=NOON.astimezone(timezone(timedelta(hours=5, minutes=30))))
    sink.write(FRONT, on("dog", 2.0, 2.0))
    (notification,) = drain(queue)
    assert notification.at == notification.onset_at == "2026-01-01T12:00:00.123Z"
    sink.close()


def test_the_defaults_are_now_and_unique() -> None:
    queue = DeliveryQueue(None, ["inbox"], 100)
    sink = Outbox("hall", queue, [])
    for _ in range(2):
        sink.write(FRONT, on("dog", 2.0, 2.0))
        sink.write(FRONT, off("dog", 2.0, 3.0))
    events = [notification.event for notification in drain(queue)]
    assert len(set(events)) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", event) for event in [*events, random_id()])
    sink.write(FRONT, on("dog", 2.0, 2.0))
    (notification,) = drain(queue)
    at = datetime.fromisoformat(notification.at or "")
    assert abs((datetime.now(UTC) - at).total_seconds()) < 20.0
    sink.close()


KILLED = """
import os, signal, sys
from otic.sinks.delivery.queue import DeliveryQueue
from tests.unit.test_outbox import BACK, FRONT, drain, off, on, outbox

queue = DeliveryQueue(sys.argv[1], ["inbox"], 100)
sink = outbox(queue)
sink.write(FRONT, on("dog", 1.25, 2.0))
sink.write(BACK, on("rain", 1.0, 2.0))
sink.write(BACK, off("rain", 1.0, 3.0))
drain(queue)  # all was delivered
queue.tend()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_events_that_were_on_when_killed_are_ended(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    command = [sys.executable, "-c", KILLED, str(path)]
    killed = subprocess.run(command, check=False, cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    queue = DeliveryQueue(path, ["inbox"], 100)
    later = NOON + timedelta(minutes=5)
    ids = iter(["after-1"])
    sink = Outbox("hall", queue, [], now=lambda: later, new_id=lambda: next(ids))
    sink.write(FRONT, on("dog", 0.5, 1.0))
    assert drain(queue)[0] == Notification(
        event="event-1",
        state="off",
        sensor="hall",
        source="front",
        label="dog",
        onset=1.25,
        time=2.0,
        onset_at="2026-01-01T11:59:59.373Z",
        at="2026-01-01T12:05:00.123Z",
        offset=2.0,  # it was on until then at least
        offset_at="2026-01-01T12:00:00.123Z",
        peak=0.75,
        reason="restart",
    )
    assert [e.id for e in queue.open_events()] == ["after-1/on"]
    sink.write(FRONT, off("dog", 0.5, 2.0))
    sink.close()
    queue = DeliveryQueue(path, ["inbox"], 100)
    assert outbox(queue).statuses() == ()
    assert [n.id for n in drain(queue)] == ["after-1/off"]  # and nothing again
    queue.close()


def test_a_clean_stop_delivers_the_last_events_and_takes_no_second(tmp_path: Path) -> None:
    names = ["inbox", "slow", "hung"]
    queue = DeliveryQueue(tmp_path / "queue.jsonl", names, 100)
    works, slow, hung = (Inbox() for _ in names)
    slow.name, hung.name = names[1:]
    release = threading.Event()

    def hang() -> None:
        release.wait(60.0)

    slow.trouble["deliver"] = lambda: time.sleep(0.02)
    hung.trouble["open"] = hang
    ids = iter(map(str, range(10)))
    workers = [DeliveryWorker(receiver, queue) for receiver in (works, slow, hung)]

    def patience() -> float:
        """Of a minute until those that work are done."""
        return 60.0 if any(map(queue.waiting, names[:2])) else 0.4

    sink = Outbox("hall", queue, workers, new_id=lambda: next(ids), drain_timeout=patience)
    sink.write(FRONT, on("dog", 1.0, 2.0))
    sink.write(FRONT, off("dog", 1.0, 3.0))
    begin = time.monotonic()
    sink.close()
    assert time.monotonic() - begin < 20.0  # the one that hangs would take 60
    assert works.got == slow.got == [0, 0]
    assert [status.name for status in sink.statuses()] == names
    assert [status.delivered for status in sink.statuses()] == [2, 2, 0]
    sink.write(FRONT, on("dog", 4.0, 5.0))  # too late, but no harm
    release.set()
    workers[2]._thread.join(10.0)
    queue = DeliveryQueue(tmp_path / "queue.jsonl", names, 100)
    assert [queue.waiting(name) for name in names] == [0, 0, 2]
    queue.close()


def test_a_stop_with_nothing_to_wait_for_is_immediate(tmp_path: Path) -> None:
    queue = DeliveryQueue(tmp_path / "queue.jsonl", ["inbox"], 100)
    worker = DeliveryWorker(Inbox(), queue, idle_seconds=60.0)
    sink = Outbox("hall", queue, [worker], drain_timeout=lambda: 60.0)
    begin = time.monotonic()
    sink.close()
    assert time.monotonic() - begin < 10.0
    assert not [thread for thread in threading.enumerate() if thread.name == "otic-inbox"]


def test_the_clock_may_be_set_during_an_event() -> None:
    queue = DeliveryQueue(None, ["inbox"], 100)
    clock = [NOON]
    sink = Outbox("hall", queue, [], now=lambda: clock[0])
    sink.write(FRONT, on("dog", 1.25, 2.0))
    clock[0] -= timedelta(hours=1)
    sink.write(FRONT, off("dog", 1.25, 4.75))
    first, second = drain(queue)
    assert second.onset_at == first.onset_at == "2026-01-01T11:59:59.373Z"
    assert second.offset_at == "2026-01-01T12:00:02.623Z"  # 3.25 s later, as in the stream
    assert second.at == "2026-01-01T11:00:00.123Z"
    sink.close()


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_was_not_delivered_is_said_and_counted(
    tmp_path: Path, on_disk: bool, said: list[str]
) -> None:
    path = tmp_path / "queue.jsonl" if on_disk else None
    queue = DeliveryQueue(path, ["inbox", "other"], 100)
    away, refusing = Inbox(), Inbox()
    refusing.name = "other"
    away.trouble["open"] = raising(DeliveryError("no route"))
    refusing.trouble["deliver"] = raising(RefusedError("400 Bad Request"))
    workers = [DeliveryWorker(each, queue) for each in (away, refusing)]

    def patience() -> float:
        return 60.0 if queue.waiting("other") else 0.3

    sink = Outbox("hall", queue, workers, drain_timeout=patience)
    sink.write(FRONT, on("dog", 1.0, 2.0))
    sink.close()
    where = "" if path is None else f", they wait in '{path}'"
    assert said[-2:] == [
        f"inbox: 1 events were not delivered{where}",
        "other: 1 events were refused, lately: 400 Bad Request",
    ]
    assert sink.undelivered() == 2


def test_a_patience_that_becomes_shorter_ends_the_wait() -> None:
    queue = DeliveryQueue(None, ["inbox"], 100)
    receiver = Inbox()
    receiver.trouble["deliver"] = raising(DeliveryError("no route"))
    patience = [60.0]
    worker = DeliveryWorker(receiver, queue)
    sink = Outbox("hall", queue, [worker], drain_timeout=lambda: patience[0])
    sink.write(FRONT, on("dog", 1.0, 2.0))
    timer = threading.Timer(0.5, lambda: patience.__setitem__(0, 0.1))
    timer.start()
    begin = time.monotonic()
    sink.close()
    assert time.monotonic() - begin < 20.0
    assert sink.undelivered() == 1
    timer.join()


def replayed(recording: str = "/a/street.wav 99", model: str = "00") -> StreamStart:
    return replace(FRONT, started=None, recording=recording, model_sha256=model)


def notifications_of(stream: StreamStart, *items: Event) -> list[Notification]:
    queue = DeliveryQueue(None, ["inbox"], 100)
    sink = Outbox("hall", queue, [], now=lambda: NOON)
    for item in items:
        sink.write(stream, item)
    found = drain(queue)
    sink.close()
    return found


def test_a_replay_knows_no_wall_clock() -> None:
    for notification in notifications_of(replayed(), on("dog", 1.0, 2.0), off("dog", 1.0, 3.0)):
        assert notification.onset_at is notification.at is notification.offset_at is None
        assert not [key for key in notification.to_dict() if key.endswith("at")]
        assert Notification.from_json(notification.to_json()) == notification


def test_a_recording_that_is_replayed_again_has_the_same_events() -> None:
    items = on("dog", 1.0, 2.0), off("dog", 1.0, 3.0), on("rain", 1.0, 2.0), on("dog", 4.0, 5.0)
    first, again = (notifications_of(replayed(), *items) for _ in range(2))
    assert first == again
    assert len({n.event for n in first}) == 3
    others = [replayed("/b/street.wav 99"), replayed(model="01"), replace(FRONT, recording=None)]
    for other in others:
        ids = {n.event for n in notifications_of(other, *items)}
        assert not ids & {n.event for n in first}
