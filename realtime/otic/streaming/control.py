"""What a person or a signal can ask of running streams: stop, pause, other thresholds."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from otic.detection.thresholds import DecisionParams
from otic.errors import ParameterError, SinkError

_SAME_WISH_SECONDS = 1.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE_SECONDS = 3.0  # that a stop may take; then a blocked write is broken off
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.01, 1.0


class Stop:
    """Set by a signal handler, looked at by the loop.

    ``streaming`` is True from the first line of the log to the last. ``wakeup`` is a
    descriptor that becomes readable with the first signal: a handler can't end a wait.
    """

    def __init__(self, wakeup: int | None = None) -> None:
        self.requested = False
        self.streaming = False
        self.wakeup = wakeup
        self.requested_at = 0.0

    def request(self) -> None:
        """Ask for an orderly stop that does not take long; any thread may."""
        if self.requested:
            return
        self.requested_at = time.monotonic()
        self.requested = True
        if self.wakeup is not None:  # within stop_on_signals
            # Again and again: the log's end is a write that may block, too.
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE_SECONDS, _PATIENCE_SECONDS)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """SIGINT, SIGTERM and SIGHUP ask for an orderly stop; one a second later interrupts.

    Sooner, it is the same wish twice: a service manager may signal both a process
    and its group.

    Raises
    ------
    SinkError
        Within the body, where the stop takes too long: then a reader of our
        output has stalled, and nothing but an exception ends a blocked write.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    stop = Stop(reader)

    def give_up(number: int, frame: FrameType | None) -> None:
        if stop.streaming:
            raise SinkError("the reader of the log does not read: its end could not be written")

    def handle(number: int, frame: FrameType | None) -> None:
        if not stop.requested:
            stop.request()
        elif time.monotonic() - stop.requested_at > _SAME_WISH_SECONDS:
            raise KeyboardInterrupt

    before = {n: signal.signal(n, handle) for n in _STOP_SIGNALS}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, give_up)
    wakeup_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield stop
    finally:
        stop.wakeup = None  # a wish that comes later sets no alarm
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.set_wakeup_fd(wakeup_before)
        os.close(reader)
        os.close(writer)
        for number, handler in before.items():
            signal.signal(number, handler)


class Control:
    """Wishes: any thread makes them, the loop that runs the streams fulfils them.

    Parameters
    ----------
    labels : tuple of str
    decision : DecisionParams
        The model's own thresholds.
    """

    def __init__(self, labels: tuple[str, ...], decision: DecisionParams) -> None:
        self._lock = threading.Lock()
        self._stop: Stop | None = None
        self._own = dict(zip(labels, decision.on_thresholds, strict=True))
        self._thresholds = dict(self._own)
        self.paused = False
        """Whether nothing is to be classified for now. A file waits; of a microphone it is a gap
        that was wanted."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        """By label; 1 is never. Never changes: a new one is made for each change."""
        return self._thresholds

    @property
    def own_thresholds(self) -> Mapping[str, float]:
        """The model's."""
        return self._own

    @property
    def changed_thresholds(self) -> dict[str, float]:
        """Those that are not the model's own."""
        return {k: v for k, v in self._thresholds.items() if v != self._own[k]}

    def bind(self, stop: Stop) -> None:
        """Whom :meth:`quit` asks."""
        self._stop = stop

    def quit(self) -> None:
        """End all streams in order."""
        if self._stop is not None:
            self._stop.request()

    def clear_wakeup(self) -> None:
        """A signal that was no wish to stop has woken the loop: take that back."""
        wakeup = None if self._stop is None else self._stop.wakeup
        if wakeup is not None and select.select([wakeup], [], [], 0.0)[0]:
            os.read(wakeup, 64)

    def set_threshold(self, label: str, value: float) -> None:
        """Have events of a label start at this smoothed score, from ``LOWEST_THRESHOLD`` to 1.

        Raises
        ------
        ParameterError
            If there is no such label, or the value is outside the range.
        """
        if label not in self._own:
            raise ParameterError(f"the model has no label '{label}': see 'otic models'")
        if not LOWEST_THRESHOLD <= value <= HIGHEST_THRESHOLD:
            raise ParameterError(
                f"threshold {value:g} of '{label}' must lie from {LOWEST_THRESHOLD:g} to "
                f"{HIGHEST_THRESHOLD:g} (1: never)"
            )
        with self._lock:
            self._thresholds = {**self._thresholds, label: value}
