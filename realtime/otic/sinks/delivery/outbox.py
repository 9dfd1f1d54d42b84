"""From events to notifications, with their times by the wall clock."""

from __future__ import annotations

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from otic.sinks.delivery.notification import Notification
from otic.sinks.delivery.queue import DeliveryQueue
from otic.sinks.delivery.worker import DeliveryStatus, DeliveryWorker
from otic.sinks.event_filter import EventFilter, decided_at
from otic.system.clock import iso, utc_now
from otic.types import Event, Item, Level, StreamEnd, StreamStart

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05  # how soon a shorter patience is noticed
_QUEUE_SECONDS = 0.05  # for a thread that is at the disk once the patience is over


def random_id() -> str:
    """32 hexadecimal digits that no other event has, on any machine."""
    return uuid.uuid4().hex


class Outbox:
    """A sink that puts each event into the queue, for the receivers whose filters take it.

    From its constructor on the workers work. Events that were on when the process was killed
    are ended first, with the reason ``restart``: how long they went on is not known, so their
    end is when they were last known to be on, the decision that began them; their ``at`` is now.

    Thread safety: as :class:`otic.types.Sink`; any thread may call
    :meth:`statuses`.

    Parameters
    ----------
    sensor : str
        What this installation is called.
    queue : DeliveryQueue
        It is closed with the outbox.
    workers : sequence of DeliveryWorker
        Not started yet.
    now : callable
        Gives the wall-clock time, with its time zone.
    new_id : callable
        Gives what no event was ever called.
    filters : mapping of str to EventFilter
        By a receiver's name; one without a filter gets every event.
    level_receivers : sequence of str
        Names of the receivers that get levels; no filter holds these back.
    drain_timeout : callable
        How long the workers may go on from :meth:`finish` on with what still waits. Asked
        again and again until then: it may become shorter.
    """

    def __init__(
        self,
        sensor: str,
        queue: DeliveryQueue,
        workers: Sequence[DeliveryWorker],
        now: Callable[[], datetime] = utc_now,
        new_id: Callable[[], str] = random_id,
        *,
        filters: Mapping[str, EventFilter] | None = None,
        level_receivers: Sequence[str] = (),
        drain_timeout: Callable[[], float] = lambda: 0.4,
    ) -> None:
        self._sensor = sensor
        self._queue = queue
        self._workers = tuple(workers)
        self._now = now
        self._new_id = new_id
        self._filters = filters or {}
        self._level_receivers = tuple(level_receivers)
        self._patience = drain_timeout
        self._finishing_since: float | None = None
        self._undelivered = 0
        # The event that is on, when it began, and who got that, by source and label.
        self._on: dict[tuple[str, str], tuple[str, datetime | None, tuple[str, ...] | None]] = {}
        for notification in queue.open_events():
            queue.append(_ended_by_restart(notification, self._now()))
        for worker in self._workers:
            worker.start()

    def start(self, stream: StreamStart) -> None:
        pass

    def write(self, stream: StreamStart, item: Item) -> None:
        if isinstance(item, Event):
            notification = self._notification(stream, item)
            if notification.receivers != ():
                self._queue.append(notification)
        elif isinstance(item, Level) and self._level_receivers:
            self._queue.append(self._of_level(stream, item))

    def end(self, stream: StreamStart, end: StreamEnd) -> None:
        pass

    def finish(self) -> None:
        """No further event comes: the workers have the patience from now on. Does not wait."""
        if self._finishing_since is None:
            self._finishing_since = time.monotonic()
            patience = self._patience()
            for worker in self._workers:
                worker.finish(patience)

    def close(self) -> None:
        """:meth:`finish`, and wait for that; what is left stays in a queue on the disk.

        Takes what is left of the patience, and what the disk needs for the queue's file.
        """
        self.finish()
        for worker in self._workers:
            while not worker.join(min(_LOOK_SECONDS, self._left())) and self._left() > 0.0:
                pass
            worker.finish(0.0)  # where the patience became shorter
        self._queue.close(self._left() + _QUEUE_SECONDS)
        self._tell()

    def undelivered(self) -> int:
        """After :meth:`close`: how many deliveries were not made, by all receivers together.

        What waits, what was refused since the start, and what a queue in memory dropped.
        """
        return self._undelivered

    def statuses(self) -> tuple[DeliveryStatus, ...]:
        """Return the status of each receiver, in their order."""
        return tuple(worker.status() for worker in self._workers)

    def _left(self) -> float:
        """Return what is left of the patience, in seconds; 0 when it is over."""
        assert self._finishing_since is not None
        return max(0.0, self._finishing_since + self._patience() - time.monotonic())

    def _tell(self) -> None:
        path = self._queue.path
        self._undelivered = 0
        for status in self.statuses():
            left = status.waiting if path is not None else status.waiting + status.dropped
            self._undelivered += left + status.refused
            where = "" if path is None else f", they wait in '{path}'"
            if left:
                _log.warning(f"{status.name}: {left} events were not delivered{where}")
            if status.refused:
                why = f": {status.last_error}" if status.last_error else ""
                _log.warning(f"{status.name}: {status.refused} events were refused, lately{why}")

    def _notification(self, stream: StreamStart, event: Event) -> Notification:
        key = (stream.source, event.label)
        at = decided_at(stream, event.time, self._now)
        began = None if event.state == "on" else self._on.pop(key, None)
        if began is None:
            before = timedelta(seconds=event.time - event.onset)
            began = (
                self._id_of(stream, event.label, event.onset),
                None if at is None else at - before,
                self._takers(stream, event, at),
            )
        if event.state == "on":
            self._on[key] = began
        # An end is counted from the beginning: the clock may have been set in between.
        name, onset_at, takers = began
        offset_at = None
        if event.offset is not None and onset_at is not None:
            offset_at = iso(onset_at + timedelta(seconds=event.offset - event.onset))
        return Notification(
            event=name,
            state=event.state,
            sensor=self._sensor,
            source=stream.source,
            label=event.label,
            onset=event.onset,
            time=event.time,
            onset_at=None if onset_at is None else iso(onset_at),
            at=None if at is None else iso(at),
            offset=event.offset,
            offset_at=offset_at,
            score=event.score,
            peak=event.peak,
            receivers=takers,
        )

    def _of_level(self, stream: StreamStart, level: Level) -> Notification:
        at = decided_at(stream, level.time, self._now)
        onset_at = None if at is None else at - timedelta(seconds=level.seconds)
        return Notification(
            event=self._id_of(stream, "level", level.time),
            state="level",
            sensor=self._sensor,
            source=stream.source,
            label="level",
            onset=level.time - level.seconds,
            time=level.time,
            onset_at=None if onset_at is None else iso(onset_at),
            at=None if at is None else iso(at),
            level=level.record(),
            receivers=self._level_receivers,
        )

    def _takers(
        self, stream: StreamStart, event: Event, at: datetime | None
    ) -> tuple[str, ...] | None:
        """Return the receivers whose filters take an event that begins; None for all."""
        if event.state != "on":  # its start is not known: better too much than an event for ever on
            return None
        refusing = {
            name for name, each in self._filters.items() if not each.takes(stream.source, event, at)
        }
        if not refusing:
            return None
        return tuple(name for name in self._queue.receivers if name not in refusing)

    def _id_of(self, stream: StreamStart, label: str, at: float) -> str:
        """Return a new id; for a recording the one that the same got the last time."""
        if stream.recording is None:
            return self._new_id()
        facts = [self._sensor, stream.recording, stream.model_sha256, label, at]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _ended_by_restart(on: Notification, now: datetime) -> Notification:
    return replace(
        on,
        state="off",
        at=iso(now),
        offset=on.time,
        offset_at=on.at,
        score=None,
        peak=on.score,
        reason="restart",
    )
