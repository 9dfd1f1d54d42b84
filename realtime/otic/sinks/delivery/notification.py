"""Notifications: one for the on of an event, one for its off; the contract of receivers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from otic.errors import OticError, printable

if TYPE_CHECKING:
    from otic.config.settings import ClipsSettings
    from otic.types import StreamStatus


_TEXTS = ("event", "state", "sensor", "source", "label", "onset_at", "at", "offset_at", "reason")


@dataclass(frozen=True)
class Notification:
    """An event's on or off, or a minute's level, for someone who knows nothing of the stream.

    Its texts are printable: a line, without control characters.

    Attributes
    ----------
    event : str
        The same for the on and the off of one event, and for no other event ever: by it
        a receiver recognises doubles, since delivery is at least once. A file that is replayed
        again gives its events the same ones.
    state : str
        ``on`` or ``off``; ``level`` for how loud a minute was, which only those receivers get
        whose ``takes_levels`` is True.
    sensor, source, label : str
        Which installation, which of its inputs, which sound.
    onset, time : float
        Seconds of the stream: when the sound began, when this was decided.
    offset : float or None
        When the sound ended; None with an ``on``.
    score, peak : float or None
        The smoothed score with an ``on``, the highest one with an ``off``.
    onset_at, at, offset_at : str or None
        The same three times by the wall clock, ISO 8601 in UTC with milliseconds. They are
        counted back from the moment of the decision, so a sound card's drifting clock does
        not add up. In a replay they are the recording's own times; None where it is not known
        when it was recorded.
    reason : str or None
        Why an event ended without its end being detected: ``restart`` where the process was
        killed while it was on. Else None.
    level : dict or None
        What :meth:`otic.types.Level.record` gives, with a ``level``, whose label is ``level``, too.
    receivers : tuple of str or None
        Names of those that get it; None for all. Known to the queue only.
    """

    event: str
    state: str
    sensor: str
    source: str
    label: str
    onset: float
    time: float
    onset_at: str | None = None
    at: str | None = None
    offset: float | None = None
    offset_at: str | None = None
    score: float | None = None
    peak: float | None = None
    reason: str | None = None
    level: dict[str, Any] | None = None
    receivers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        # Names come from files, devices, models: no receiver gets what a terminal acts on.
        for name in _TEXTS:
            if (text := getattr(self, name)) is not None:
                object.__setattr__(self, name, printable(text))

    @property
    def id(self) -> str:
        """Names this notification: ``<event>/on``, ``<event>/off`` or ``<event>/level``."""
        return f"{self.event}/{self.state}"

    def to_dict(self) -> dict[str, Any]:
        """``id`` and what is not None, in the order above, floats rounded to 6 decimals."""
        record: dict[str, Any] = {"id": self.id}
        for key, value in asdict(self).items():
            if value is not None and key != "receivers":
                record[key] = round(value, 6) if isinstance(value, float) else value
        return record

    def to_json(self) -> str:
        """:meth:`to_dict` on one line."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Notification:
        """Return what :meth:`to_json` was called on.

        Raises
        ------
        ValueError, TypeError
            If it is not that.
        """
        record = json.loads(text)
        record.pop("id")
        return cls(**record)


class DeliveryError(OticError):
    """A receiver could not be reached or did not take a notification: try again later."""


class RefusedError(DeliveryError):
    """A receiver will never take this notification: count it as refused and go on to the next."""


@dataclass(frozen=True)
class Sensor:
    """The sensor, as far as a receiver may want to know it.

    Attributes
    ----------
    name : str
    sources, labels : tuple of str
        Its inputs, and the sounds of which the receiver may hear.
    status : callable
        The status of each running stream, by its source.
    page : str or None
        The address of its page, for others on the network; None where they can't open it.
    clips : ClipsSettings or None
        Where recordings go; None where nothing is recorded.
    live : bool
        False where what is heard can be played again, and may be long past.
    level_unit : str or None
        The unit of levels, ``dB`` or ``dBFS``; None where they are not measured.
    """

    name: str
    sources: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    status: Callable[[], Mapping[str, StreamStatus]] = dict
    page: str | None = None
    level_unit: str | None = None
    clips: ClipsSettings | None = None
    live: bool = True

    def __post_init__(self) -> None:
        # As notifications have them.
        object.__setattr__(self, "name", printable(self.name))
        object.__setattr__(self, "sources", tuple(map(printable, self.sources)))
        object.__setattr__(self, "labels", tuple(map(printable, self.labels)))


class Receiver(Protocol):
    """Takes notifications, one after the other; all methods are called by one worker's thread.

    A method may block for some seconds, at most ``timeout_seconds`` of its settings. The
    worker retries with back-off, closing and opening in between; a notification may so come twice.
    A receiver that also wants levels has an attribute ``takes_levels``, True.
    """

    name: str
    """Short and fixed, as in the configuration: ``mqtt``, ``webhook``, … Its place in the
    queue and its counters are kept under it."""

    def open(self) -> None:
        """Connect, or open the file.

        Raises
        ------
        DeliveryError
        """

    def deliver(self, notification: Notification) -> None:
        """Hand over a notification; on return the receiver has it.

        Raises
        ------
        DeliveryError
            Nobody took it: it is delivered again, after :meth:`close` and :meth:`open`.
        RefusedError
            It is not delivered again.
        """

    def idle(self) -> None:
        """Called about once a second while open and nothing waits: keep alive, publish health.

        Raises
        ------
        DeliveryError
            The connection is gone.
        """

    def close(self) -> None:
        """Disconnect; also after a failure. Raises nothing."""
