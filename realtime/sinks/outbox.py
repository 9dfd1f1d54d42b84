"""From events to notices: what goes out into the world, and when that was by the clock."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from realtime.events import Event, Item
from realtime.sinks.contract import StreamEnd, StreamStart
from realtime.sinks.courier import Courier, CourierStatus
from realtime.sinks.notices import Notice
from realtime.sinks.spool import Spool


def utc_now() -> datetime:
    """The wall-clock time."""
    return datetime.now(UTC)


def random_id() -> str:
    """32 hexadecimal digits that no other event has, on any machine."""
    return uuid.uuid4().hex


class Outbox:
    """A sink that puts each event into the spool, for all receivers.

    From its constructor on the couriers work. Events that were on when the process was killed
    are ended first, with the reason ``restart``: how long they went on is not known, so their
    end is when they were last known to be on, the decision that began them; their ``at`` is now.

    Thread safety: as :class:`realtime.sinks.contract.Sink`; any thread may call
    :meth:`statuses`.

    Parameters
    ----------
    sensor : str
        What this installation is called.
    spool : Spool
        It is closed with the outbox.
    couriers : sequence of Courier
        Not started yet.
    now : callable
        Gives the wall-clock time, with its time zone.
    new_id : callable
        Gives what no event was ever called.
    patience_seconds : float
        How long :meth:`close` lets the couriers deliver what still waits.
    """

    def __init__(
        self,
        sensor: str,
        spool: Spool,
        couriers: Sequence[Courier],
        now: Callable[[], datetime] = utc_now,
        new_id: Callable[[], str] = random_id,
        *,
        patience_seconds: float = 0.4,
    ) -> None:
        self._sensor = sensor
        self._spool = spool
        self._couriers = tuple(couriers)
        self._now = now
        self._new_id = new_id
        self._patience = patience_seconds
        self._on: dict[tuple[str, str], str] = {}  # the event that is on, by source and label
        for notice in spool.open_events():
            spool.append(_ended_by_restart(notice, self._now()))
        for courier in self._couriers:
            courier.start()

    def start(self, stream: StreamStart) -> None:
        pass

    def write(self, stream: StreamStart, item: Item) -> None:
        if isinstance(item, Event):
            self._spool.append(self._notice(stream.source, item, self._now()))

    def end(self, stream: StreamStart, end: StreamEnd) -> None:
        pass

    def close(self) -> None:
        """Let the couriers deliver what waits, all at once, for the patience; what is left stays.

        Takes the patience, and what the disk needs for the spool's file.
        """
        for courier in self._couriers:
            courier.finish(self._patience)
        for courier in self._couriers:
            courier.stop(self._patience)
        self._spool.close()

    def statuses(self) -> tuple[CourierStatus, ...]:
        """How each receiver does, in their order."""
        return tuple(courier.status() for courier in self._couriers)

    def _notice(self, source: str, event: Event, at: datetime) -> Notice:
        def clock(seconds: float) -> str:
            return _iso(at - timedelta(seconds=event.time - seconds))

        key = (source, event.label)
        if event.state == "on":
            name = self._on[key] = self._new_id()
        else:
            name = self._on.pop(key, "") or self._new_id()
        return Notice(
            event=name,
            state=event.state,
            sensor=self._sensor,
            source=source,
            label=event.label,
            onset=event.onset,
            time=event.time,
            onset_at=clock(event.onset),
            at=_iso(at),
            offset=event.offset,
            offset_at=None if event.offset is None else clock(event.offset),
            score=event.score,
            peak=event.peak,
        )


def _ended_by_restart(on: Notice, now: datetime) -> Notice:
    return Notice(
        event=on.event,
        state="off",
        sensor=on.sensor,
        source=on.source,
        label=on.label,
        onset=on.onset,
        time=on.time,
        onset_at=on.onset_at,
        at=_iso(now),
        offset=on.time,
        offset_at=on.at,
        peak=on.score,
        reason="restart",
    )


def _iso(moment: datetime) -> str:
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
