"""Requests to running streams from a person or a signal: stop, pause, other thresholds."""

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

_SAME_REQUEST_SECONDS = 1.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE_SECONDS = 3.0  # the longest an orderly stop may take; then a blocked write is interrupted
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.01, 1.0


class Stop:
    """A request to stop: set by a signal handler or any thread, read by the loop.

    ``streaming`` is True from the first line of the log to the last. ``wakeup`` is a
    descriptor that becomes readable with the first signal: a handler alone can't end a wait.
    """

    def __init__(self, wakeup: int | None = None) -> None:
        self.requested = False
        self.streaming = False
        self.wakeup = wakeup
        self.requested_at = 0.0

    def request(self) -> None:
        """Request an orderly and quick stop; any thread may call this."""
        if self.requested:
            return
        self.requested_at = time.monotonic()
        self.requested = True
        if self.wakeup is not None:  # only within stop_on_signals
            # The alarm repeats: writing the end of the log may block as well.
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE_SECONDS, _PATIENCE_SECONDS)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turn SIGINT, SIGTERM and SIGHUP into an orderly stop; a second one interrupts.

    A second signal within one second counts as the same request: a service manager may signal
    both a process and its group. A signal that is ignored at the start stays ignored.

    Raises
    ------
    SinkError
        Raised within the body if the stop takes too long: the reader of our output has
        stalled, and only an exception ends a blocked write.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    stop = Stop(reader)

    def give_up(_number: int, _frame: FrameType | None) -> None:
        if stop.streaming:
            raise SinkError("the log's reader has stalled: the end of the log could not be written")

    def handle(_number: int, _frame: FrameType | None) -> None:
        if not stop.requested:
            stop.request()
        elif time.monotonic() - stop.requested_at > _SAME_REQUEST_SECONDS:
            raise KeyboardInterrupt

    heeded = [n for n in _STOP_SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]  # nohup
    before = {n: signal.signal(n, handle) for n in heeded}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, give_up)
    wakeup_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield stop
    finally:
        stop.wakeup = None  # a later request sets no alarm
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.set_wakeup_fd(wakeup_before)
        os.close(reader)
        os.close(writer)
        for number, handler in before.items():
            signal.signal(number, handler)


class Control:
    """Holds a person's requests: any thread makes them, the streams' loop carries them out.

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
        """True while nothing is to be classified. A file waits; a microphone's audio is skipped."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Thresholds by label, 0.01 to 1 (never on); each change makes a new mapping."""
        return self._thresholds

    @property
    def own_thresholds(self) -> Mapping[str, float]:
        """The model's thresholds by label."""
        return self._own

    @property
    def changed_thresholds(self) -> dict[str, float]:
        """The thresholds that differ from the model's."""
        return {k: v for k, v in self._thresholds.items() if v != self._own[k]}

    def bind(self, stop: Stop) -> None:
        """Set the stop that :meth:`quit` requests."""
        self._stop = stop

    def quit(self) -> None:
        """Request an orderly end of all streams."""
        if self._stop is not None:
            self._stop.request()

    def clear_wakeup(self) -> None:
        """Discard a wake-up by a signal that did not request a stop."""
        wakeup = None if self._stop is None else self._stop.wakeup
        if wakeup is not None and select.select([wakeup], [], [], 0.0)[0]:
            os.read(wakeup, 64)

    def set_threshold(self, label: str, value: float) -> None:
        """Set the smoothed score at which events of a label start, from ``LOWEST_THRESHOLD`` to 1.

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
