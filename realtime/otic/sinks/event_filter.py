"""Which events are sent on: the one stage before the receivers and the recordings. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from otic.config.settings import FilterSettings
from otic.config.values import clock_range
from otic.errors import ConfigurationError, did_you_mean
from otic.types import Event, StreamStart

_MINUTES = 24 * 60


class EventFilter:
    """Decides of each event's start whether it is sent on; its end then goes where its start went.

    An event that is held back leaves no trace: it neither begins a cooldown nor counts as the
    first of its day. Both are kept for each label of each source, and begin again with the process.

    Not thread safe.

    Parameters
    ----------
    settings : FilterSettings
    groups : mapping of str to sequence of str
        The model's groups: to mute one also mutes the labels in it.

    Examples
    --------
    >>> dogs = EventFilter(FilterSettings(only=("dog",), cooldown_seconds=60.0))
    >>> barks = [Event("on", "dog", onset=t, time=t, score=0.9) for t in (0.0, 30.0, 60.0)]
    >>> [dogs.takes("door", bark, None) for bark in barks]
    [True, False, True]
    """

    def __init__(
        self, settings: FilterSettings, groups: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._settings = settings
        members = (label for name in settings.never for label in (groups or {}).get(name, ()))
        self._never = {*settings.never, *members}
        self._zone: tzinfo | None = ZoneInfo(settings.time_zone) if settings.time_zone else None
        self._quiet = [clock_range(text) for text in settings.quiet]
        self._active = [clock_range(text) for text in settings.active]
        self._sent: dict[tuple[str, str], tuple[float, datetime | None]] = {}

    def labels(self, known: Iterable[str]) -> tuple[str, ...]:
        """Return those of the labels whose events may be sent on."""
        only = self._settings.only
        return tuple(n for n in known if n not in self._never and (not only or n in only))

    def takes(self, source: str, event: Event, at: datetime | None) -> bool:
        """Decide whether an event that begins is sent on.

        Parameters
        ----------
        source : str
            The stream.
        event : Event
            Its ``state`` is ``on``.
        at : datetime or None
            From :func:`decided_at`. Where it is None it is never quiet, always active, and
            all of a stream is one day.
        """
        local = None if at is None else at.astimezone(self._zone)
        if not self.labels([event.label]) or (event.score or 0.0) < self._settings.minimum_score:
            return False
        if local is not None and not self._in_hours(local):
            return False
        key = source, event.label
        if (last := self._sent.get(key)) is not None:
            sent_time, sent_at = last
            # A sensor may go on in a new stream, whose time begins at 0.
            if 0.0 <= event.time - sent_time < self._settings.cooldown_seconds:
                return False
            same_day = (local and local.date()) == (sent_at and sent_at.date())
            if self._settings.first_of_day and same_day:
                return False
        self._sent[key] = event.time, local
        return True

    def _in_hours(self, local: datetime) -> bool:
        minute = local.hour * 60 + local.minute
        if any(_within(minute, *hours) for hours in self._quiet):
            return False
        return not self._active or any(_within(minute, *hours) for hours in self._active)


def open_filters(
    settings: FilterSettings,
    own: Mapping[str, FilterSettings],
    names: Iterable[str],
    labels: Sequence[str],
    groups: Mapping[str, Sequence[str]],
) -> dict[str, EventFilter]:
    """Make the filter of each receiver.

    Parameters
    ----------
    settings : FilterSettings
        For those that have none of their own.
    own : mapping of str to FilterSettings
        By the receiver's name.
    names : iterable of str
        The receivers.
    labels, groups
        The model's.

    Raises
    ------
    ConfigurationError
        If a filter names a label that the model does not have.
    """
    for where, each in (("filter", settings), *((f"filter.{n}", own[n]) for n in own)):
        for label in (*each.only, *each.never):
            if label not in labels:
                raise ConfigurationError(
                    f"{where}: the model has no label '{label}'{did_you_mean(label, labels)}: "
                    "'otic inspect MODEL' lists them"
                )
    return {name: EventFilter(own.get(name, settings), groups) for name in names}


def decided_at(stream: StreamStart, time: float, now: Callable[[], datetime]) -> datetime | None:
    """Return the moment of what was decided now, at ``time`` seconds of the stream; None: unknown.

    In a replay it is the recording's own time.
    """
    if stream.recorded is not None:
        return datetime.fromisoformat(stream.recorded) + timedelta(seconds=time)
    return None if stream.started is None else now()


def _within(minute: int, start: int, stop: int) -> bool:
    """Tell whether a minute of the day is in a range, which may go over midnight."""
    return (minute - start) % _MINUTES < (stop - start) % _MINUTES or start == stop
