"""How a running stream is asked to stop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from otic.errors import SinkError

_SAME_WISH_SECONDS = 1.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE_SECONDS = 3.0  # that a stop may take; then a blocked write is broken off


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
