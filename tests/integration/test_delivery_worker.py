from __future__ import annotations

import queue
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otic.sinks.delivery.notification import DeliveryError, Notification, Receiver, RefusedError
from otic.sinks.delivery.queue import DeliveryQueue
from otic.sinks.delivery.worker import DeliveryStatus, DeliveryWorker
from tests.unit.test_delivery_queue import notification, wait_for


class Inbox:
    """A receiver that keeps what it got, and does what the test says before that."""

    name = "inbox"

    def __init__(self) -> None:
        self.got: list[int] = []
        self.calls: list[str] = []
        self.threads: set[str] = set()
        self.trouble: dict[str, Callable[[], None]] = {}

    def _call(self, what: str) -> None:
        self.calls.append(what)
        self.threads.add(threading.current_thread().name)
        self.trouble.get(what, lambda: None)()

    def open(self) -> None:
        self._call("open")

    def deliver(self, notification: Notification) -> None:
        self._call("deliver")
        self.got.append(int(notification.event))

    def idle(self) -> None:
        self._call("idle")

    def close(self) -> None:
        self._call("close")


def raising(error: BaseException) -> Callable[[], None]:
    def trouble() -> None:
        raise error

    return trouble


class Delivery:
    """A queue, a receiver and a fast worker."""

    def __init__(self, said: list[str], queue: DeliveryQueue | None = None) -> None:
        self.queue = queue or DeliveryQueue(None, ["inbox"], 1000)
        self.receiver = Inbox()
        self.said = said
        self.worker = self.another()

    def another(self, pause: Callable[[float], bool] | None = None) -> DeliveryWorker:
        return DeliveryWorker(
            self.receiver,
            self.queue,
            first_retry_seconds=0.01,
            longest_retry_seconds=0.05,
            idle_seconds=0.05,
            pause=pause,
        )

    def append(self, *numbers: int) -> None:
        for number in numbers:
            self.queue.append(notification(number))

    def got(self, *numbers: int) -> None:
        wait_for(lambda: len(self.receiver.got) >= len(numbers))
        assert self.receiver.got == list(numbers)
        wait_for(lambda: self.queue.waiting("inbox") == 0)

    @property
    def status(self) -> DeliveryStatus:
        return self.worker.status()


@pytest.fixture
def delivery(said: list[str]) -> Iterator[Delivery]:
    made = Delivery(said)
    yield made
    made.receiver.trouble.clear()
    made.worker.stop(5.0)
    made.queue.close()


def test_a_receiver_that_works(delivery: Delivery) -> None:
    checked: Receiver = delivery.receiver
    assert checked.name == delivery.worker.name == "inbox"
    delivery.append(1, 2)
    assert delivery.status == DeliveryStatus("inbox", False, 0, 0, 0, 2, 0, None)
    delivery.worker.start()
    delivery.got(1, 2)
    delivery.append(3)
    delivery.got(1, 2, 3)
    wait_for(lambda: delivery.status.delivered == 3)
    assert delivery.status == DeliveryStatus("inbox", True, 3, 0, 0, 0, 0, None)
    wait_for(lambda: delivery.receiver.calls.count("idle") >= 2)
    assert delivery.worker.stop(5.0)
    assert delivery.receiver.calls[0] == "open"
    assert delivery.receiver.calls.count("open") == 1
    assert delivery.receiver.calls[-1] == "close"
    assert delivery.receiver.threads == {"otic-inbox"}
    assert not delivery.status.connected
    assert delivery.said == []


def test_idle_is_called_about_once_in_its_time(delivery: Delivery) -> None:
    begin = time.monotonic()
    delivery.worker.start()
    wait_for(lambda: delivery.receiver.calls.count("idle") >= 2)
    time.sleep(0.3)
    n = delivery.receiver.calls.count("idle")
    assert n <= (time.monotonic() - begin) / 0.05


@pytest.mark.parametrize("where", ["open", "deliver", "idle"])
def test_a_receiver_that_fails_and_comes_back(delivery: Delivery, where: str) -> None:
    delivery.receiver.trouble[where] = raising(DeliveryError("no route to\n broker"))
    numbers = () if where == "idle" else (1, 2)
    delivery.append(*numbers)
    delivery.worker.start()
    wait_for(lambda: delivery.status.retries >= 4)
    assert delivery.status.last_error == "no route to broker"
    assert delivery.said == ["inbox: no route to broker: events wait and it is tried again"]
    assert delivery.receiver.got == []
    delivery.receiver.trouble.clear()
    delivery.got(*numbers)
    wait_for(lambda: len(delivery.said) == 2)
    assert delivery.said[1] == f"inbox: reachable again, {len(numbers)} events waited"
    assert delivery.status.last_error == "no route to broker"  # for whoever looks later
    assert delivery.worker.stop(5.0)
    calls = delivery.receiver.calls
    assert calls.count("open") == calls.count("close")
    opened = [call for call in calls if call in ("open", "close")]
    assert opened == ["open", "close"] * calls.count("open")


def test_a_refused_notice_is_counted_and_passed(delivery: Delivery) -> None:
    def pick() -> None:
        if delivery.receiver.calls.count("deliver") == 2:
            raise RefusedError("400: what is this?")

    delivery.receiver.trouble["deliver"] = pick
    delivery.append(1, 2, 3)
    delivery.worker.start()
    delivery.got(1, 3)
    wait_for(lambda: delivery.status.delivered == 2)
    assert delivery.status == DeliveryStatus("inbox", True, 2, 1, 0, 0, 0, "400: what is this?")
    assert delivery.said == []


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("payload"), "KeyError: 'payload'"),
        (SystemExit(3), "SystemExit: 3"),
        (MemoryError(), "MemoryError"),
        (ValueError("x" * 1000), "ValueError: " + "x" * 287 + "…"),
    ],
)
def test_a_bug_in_a_receiver_ends_nothing(
    delivery: Delivery, error: BaseException, text: str
) -> None:
    delivery.receiver.trouble["deliver"] = raising(error)
    delivery.receiver.trouble["close"] = raising(OSError("never mind"))
    delivery.append(1)
    delivery.worker.start()
    wait_for(lambda: delivery.status.retries >= 2)
    assert delivery.status.last_error == text
    delivery.receiver.trouble.clear()
    delivery.got(1)


def test_it_waits_longer_each_time_up_to_a_limit() -> None:
    queue = DeliveryQueue(None, ["inbox"], 10)
    receiver = Inbox()
    receiver.trouble["open"] = raising(DeliveryError("away"))
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) == 9

    for chance, factor in ((0.0, 1.0), (0.5, 0.75), (1.0, 0.5)):
        pauses.clear()
        worker = DeliveryWorker(
            receiver,
            queue,
            chance=lambda chance=chance: chance,  # type: ignore[misc]
            pause=pause,
        )
        worker.start()
        worker._thread.join(10.0)
        assert pauses == [factor * s for s in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0)]


def test_a_delivery_begins_the_back_off_anew_and_an_open_does_not(delivery: Delivery) -> None:
    """A server that answers, but takes nothing, is not asked more often for that."""
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 4:
            delivery.receiver.trouble["deliver"] = deliver_one
        return len(pauses) == 6

    def deliver_one() -> None:
        if delivery.receiver.got:
            raise DeliveryError("no more")

    delivery.receiver.trouble["deliver"] = raising(DeliveryError("no"))
    delivery.append(1, 2)
    delivery.worker = DeliveryWorker(
        delivery.receiver, delivery.queue, chance=lambda: 0.0, pause=pause
    )
    delivery.worker.start()
    delivery.worker._thread.join(10.0)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 1.0, 2.0]
    assert [line.split(":")[1] for line in delivery.said] == [
        " no",
        " reachable again, 2 events waited",
        " no more",
    ]


def test_a_receiver_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    """Appends are as cheap as ever, another receiver gets its notifications, stop returns."""
    queue = DeliveryQueue(tmp_path / "queue.jsonl", ["inbox", "other"], 1000)
    hung, other = Inbox(), Inbox()
    other.name = "other"
    release = threading.Event()

    def hang() -> None:
        release.wait(60.0)

    hung.trouble["deliver"] = hang
    workers = [DeliveryWorker(r, queue, idle_seconds=0.05) for r in (hung, other)]
    for worker in workers:
        worker.start()
    times = []
    for number in range(300):
        begin = time.perf_counter()
        queue.append(notification(number))
        times.append(time.perf_counter() - begin)
        time.sleep(0.001)
    assert statistics.median(times) < 1e-3
    wait_for(lambda: len(other.got) == 300)
    begin = time.monotonic()
    for worker in workers:
        worker.finish(0.2)
    assert not workers[0].stop(0.2)
    assert workers[1].join(20.0)
    assert time.monotonic() - begin < 20.0
    assert queue.waiting("inbox") == 300
    queue.close()
    release.set()  # it goes on after the end, which must not hurt
    workers[0]._thread.join(10.0)
    assert not workers[0]._thread.is_alive()
    assert hung.calls[-1] == "close"
    queue = DeliveryQueue(tmp_path / "queue.jsonl", ["inbox", "other"], 1000)
    entry = queue.next("inbox")
    assert entry is not None
    assert entry[1] == notification(0)
    assert queue.waiting("other") == 0
    queue.close()


def test_a_clean_stop_drains(delivery: Delivery) -> None:
    delivery.receiver.trouble["deliver"] = lambda: time.sleep(0.002)
    delivery.worker.start()
    wait_for(lambda: delivery.status.connected)
    delivery.append(*range(50))
    assert delivery.worker.stop(20.0)
    assert delivery.receiver.got == list(range(50))
    assert delivery.queue.waiting("inbox") == 0


def test_a_stop_at_once_after_the_start_drains(delivery: Delivery) -> None:
    delivery.append(1)
    delivery.worker.start()
    assert delivery.worker.stop(20.0)
    assert delivery.receiver.got == [1]


def test_a_stop_while_waiting_or_never_started_is_immediate() -> None:
    queue = DeliveryQueue(None, ["inbox"], 10)
    receiver = Inbox()
    worker = DeliveryWorker(receiver, queue, idle_seconds=60.0)
    assert worker.stop(60.0)
    worker = DeliveryWorker(receiver, queue, idle_seconds=60.0)
    worker.start()
    wait_for(lambda: "open" in receiver.calls)
    begin = time.monotonic()
    assert worker.stop(60.0)
    receiver.trouble["open"] = raising(DeliveryError("away"))
    queue.append(notification(1))
    worker = DeliveryWorker(receiver, queue, first_retry_seconds=60.0)
    worker.start()
    wait_for(lambda: worker.status().last_error is not None)
    worker.finish(60.0)  # the wait of a minute ends, and it is tried again
    wait_for(lambda: receiver.calls.count("open") >= 3)
    worker.stop(0.3)
    assert worker.join(20.0)
    assert time.monotonic() - begin < 20.0
    assert queue.waiting("inbox") == 1


def test_what_fails_at_the_end_is_tried_again_until_the_patience_is_over() -> None:
    queue = DeliveryQueue(None, ["inbox"], 10)
    receiver = Inbox()
    left = [3]

    def restarting() -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise DeliveryError("restarting")

    receiver.trouble["deliver"] = restarting
    worker = DeliveryWorker(receiver, queue, first_retry_seconds=60.0)
    worker.start()
    for number in range(3):
        queue.append(notification(number))
    assert worker.stop(20.0)
    assert receiver.got == [0, 1, 2]


def test_one_that_was_never_reached_is_not_connected() -> None:
    queue = DeliveryQueue(None, ["inbox"], 10)
    receiver = Inbox()
    receiver.trouble["deliver"] = raising(DeliveryError("refused"))
    queue.append(notification(1))
    worker = DeliveryWorker(receiver, queue, first_retry_seconds=0.01)
    worker.start()
    seen = set()
    while worker.status().retries < 5:
        seen.add(worker.status().connected)
    assert seen == {False}
    worker.stop(0.0)
    worker.join(20.0)


def test_a_slow_receiver_keeps_what_the_patience_left(delivery: Delivery) -> None:
    delivery.receiver.trouble["deliver"] = lambda: time.sleep(0.05)
    delivery.append(*range(400))
    delivery.worker.start()
    wait_for(lambda: bool(delivery.receiver.got))
    begin = time.monotonic()
    delivery.worker.stop(0.3)
    assert time.monotonic() - begin < 10.0  # all would take 20
    delivery.worker._thread.join(10.0)
    n_got = len(delivery.receiver.got)
    assert n_got < 400
    assert delivery.queue.waiting("inbox") == 400 - n_got


def test_nothing_is_lost_between_appends_and_failures(tmp_path: Path, said: list[str]) -> None:
    """A receiver that fails at every third delivery, half of these after it took the event."""
    delivery = Delivery(said, DeliveryQueue(tmp_path / "queue.jsonl", ["inbox"], 10_000))
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()

    def sometimes() -> None:
        asked.put(1)
        if asked.qsize() % 3 == 0:
            if asked.qsize() % 2:
                delivery.receiver.got.append(delivery.receiver.got[-1] + 1)
            raise DeliveryError("sometimes")

    delivery.receiver.trouble["deliver"] = sometimes
    delivery.append(0)
    delivery.worker = delivery.another(pause=lambda seconds: False)
    delivery.worker.start()
    delivery.append(*range(1, 200))
    wait_for(lambda: delivery.queue.waiting("inbox") == 0)
    delivery.worker.stop(10.0)
    delivery.queue.close()
    assert sorted(set(delivery.receiver.got)) == list(range(200))
    assert list(dict.fromkeys(delivery.receiver.got)) == list(range(200))
