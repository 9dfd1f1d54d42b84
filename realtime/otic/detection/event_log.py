"""Pairs the start and the end of each event of a stream."""

from __future__ import annotations

from dataclasses import dataclass, replace

from otic.types import Event


@dataclass(frozen=True)
class DetectedEvent:
    """An event from its start to its end; all times are seconds of the stream.

    Attributes
    ----------
    label : str
    onset : float
    decided : float
        When the event was reported as on.
    peak : float
        The highest smoothed score so far, 0 to 1.
    offset : float or None
        None while the event is on.
    ended : float or None
        When the event was reported as off; None while it is on.
    """

    label: str
    onset: float
    decided: float
    peak: float
    offset: float | None = None
    ended: float | None = None


class EventLog:
    """Pairs the events of one stream, which has at most one active event per label.

    Not thread safe.

    Examples
    --------
    >>> log = EventLog()
    >>> log.add(Event("on", "dog", onset=0.3, time=0.5, score=0.9)).offset is None
    True
    >>> log.add(Event("off", "dog", onset=0.3, time=2.5, offset=1.0, peak=0.95))
    DetectedEvent(label='dog', onset=0.3, decided=0.5, peak=0.95, offset=1.0, ended=2.5)
    """

    def __init__(self) -> None:
        self._active: dict[str, DetectedEvent] = {}

    def add(self, event: Event) -> DetectedEvent:
        """Add a start or an end; return the event as it is known now.

        Raises
        ------
        KeyError
            If an event ends that has not started.
        """
        if event.state == "on":
            started = DetectedEvent(event.label, event.onset, event.time, event.score or 0.0)
            self._active[event.label] = started
            return started
        started = self._active.pop(event.label)
        peak = started.peak if event.peak is None else event.peak
        return replace(started, offset=event.offset, ended=event.time, peak=peak)
