"""Brings what waits in the queue to one receiver, for as long as it takes."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from otic.errors import printable
from otic.sinks.delivery.notification import DeliveryError, Receiver, RefusedError
from otic.sinks.delivery.queue import DeliveryQueue

_log = logging.getLogger(__name__)

_LONGEST_ERROR = 300
_LAST_RETRY_SECONDS = 0.1  # between tries once it is to end


@dataclass(frozen=True)
class DeliveryStatus:
    """The state of the deliveries to one receiver.

    Attributes
    ----------
    name : str
    connected : bool
        Whether it took something, or was found alive, since it was opened.
    delivered, refused : int
        Since the start of the process.
    dropped, waiting : int
        As the queue counts them: also from before a restart.
    retries : int
        How often it was tried again after a failure, since the start of the process.
    last_error : str or None
        The latest failure or refusal, one line, also when all is well since.
    """

    name: str
    connected: bool
    delivered: int
    refused: int
    dropped: int
    waiting: int
    retries: int
    last_error: str | None


class DeliveryWorker:
    """A thread that opens a receiver, delivers in order, and tries again with back-off.

    After the n-th failure in a row it waits ``first_retry_seconds * 2**(n - 1)``, at most
    ``longest_retry_seconds``, less a random half at most: many sensors do not come back to a
    broker in one moment. It is the only thread that calls the receiver, and ends for no
    exception of it.

    Thread safety: :meth:`start`, :meth:`finish` and :meth:`stop` belong to one thread, any may
    call :meth:`status`.

    Parameters
    ----------
    receiver : Receiver
    queue : DeliveryQueue
        Knows the receiver's name.
    first_retry_seconds, longest_retry_seconds, idle_seconds : float
    chance : callable
        Gives a number in [0, 1).
    pause : callable or None
        Waits so many seconds; True if it was ended by :meth:`finish`. For tests.
    """

    def __init__(
        self,
        receiver: Receiver,
        queue: DeliveryQueue,
        *,
        first_retry_seconds: float = 1.0,
        longest_retry_seconds: float = 60.0,
        idle_seconds: float = 1.0,
        chance: Callable[[], float] = random.random,
        pause: Callable[[float], bool] | None = None,
    ) -> None:
        self.name = receiver.name
        self._receiver = receiver
        self._queue = queue
        self._first_retry = first_retry_seconds
        self._longest_retry = longest_retry_seconds
        self._idle_seconds = idle_seconds
        self._chance = chance
        self._finishing = threading.Event()
        self._pause = pause or self._finishing.wait
        self._deadline = 0.0
        self._thread = threading.Thread(target=self._run, name=f"otic-{self.name}", daemon=True)
        self._connected = False
        self._failures = 0  # in a row
        self._unreachable = False  # as far as was said
        self._delivered = self._refused = self._retries = 0
        self._last_error: str | None = None

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def finish(self, drain_timeout: float) -> None:
        """Ask the thread to end: when nothing waits, or after the patience.

        Until then what fails is tried again. A later call can only shorten the patience.
        """
        deadline = time.monotonic() + drain_timeout
        if not self._finishing.is_set():
            self._deadline = deadline
            self._finishing.set()
            self._queue.wake(self.name)
        self._deadline = min(self._deadline, deadline)

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the thread; return whether it has ended, or never began."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, timeout_seconds))
        return not self._thread.is_alive()

    def stop(self, drain_timeout: float) -> bool:
        """:meth:`finish`, and wait for it, no longer than the shortest patience.

        Returns
        -------
        ended : bool
            False where the receiver hangs. What was not delivered stays in the queue.
        """
        self.finish(drain_timeout)
        return self.join(self._deadline - time.monotonic())

    def status(self) -> DeliveryStatus:
        """The state now."""
        return DeliveryStatus(
            name=self.name,
            connected=self._connected,
            delivered=self._delivered,
            refused=self._refused,
            dropped=self._queue.dropped(self.name),
            waiting=self._queue.waiting(self.name),
            retries=self._retries,
            last_error=self._last_error,
        )

    def _run(self) -> None:
        while True:
            try:
                self._queue.tend()
                self._serve()
                return
            except BaseException as error:  # SystemExit too: a library's must not end deliveries
                self._failed(error)
            if not self._rest():
                return
            self._retries += 1

    def _rest(self) -> bool:
        """Wait after a failure; whether to try again."""
        if self._finishing.is_set():
            time.sleep(max(0.0, min(_LAST_RETRY_SECONDS, self._deadline - time.monotonic())))
        elif not self._pause(self._back_off()):
            return True
        left = self._finishing.is_set() and time.monotonic() < self._deadline
        return left and self._queue.waiting(self.name) > 0

    def _serve(self) -> None:
        """Open, and deliver until asked to finish; raises what the receiver raised."""
        try:
            self._receiver.open()
            idle_at = time.monotonic() + self._idle_seconds
            while not self._is_over():
                entry = self._queue.next(self.name)
                if entry is not None:
                    waited = self._queue.waiting(self.name)
                    try:
                        self._receiver.deliver(entry[1])
                        self._delivered += 1
                    except RefusedError as error:
                        self._refused += 1
                        self._last_error = _one_line(error)
                    self._queue.done(self.name, entry[0])
                    self._works(waited)
                elif self._finishing.is_set():
                    return
                elif time.monotonic() >= idle_at:
                    self._receiver.idle()
                    self._works(0)
                else:
                    self._queue.wait(self.name, max(0.0, idle_at - time.monotonic()))
                    continue
                idle_at = time.monotonic() + self._idle_seconds
        finally:
            self._connected = False
            with suppress(Exception):
                self._receiver.close()

    def _is_over(self) -> bool:
        return self._finishing.is_set() and time.monotonic() >= self._deadline

    def _works(self, waited: int) -> None:
        self._connected = True
        self._pass_on_warnings()
        self._failures = 0
        if self._unreachable:
            self._unreachable = False
            _log.info(f"{self.name}: reachable again, {waited} events waited")

    def _failed(self, error: BaseException) -> None:
        self._pass_on_warnings()
        self._failures += 1
        self._last_error = _one_line(error)
        if not self._unreachable:
            self._unreachable = True
            _log.warning(f"{self.name}: {self._last_error}: events wait and it is tried again")

    def _back_off(self) -> float:
        doublings = min(self._failures - 1, 60)
        longest = min(self._first_retry * 2.0**doublings, self._longest_retry)
        return longest * (1.0 - 0.5 * self._chance())

    def _pass_on_warnings(self) -> None:
        """Log what the queue has to say of its disk; any worker may."""
        for line in self._queue.warnings():
            _log.warning(line)


def _one_line(error: BaseException) -> str:
    text = printable(" ".join(str(error).split()))
    if not isinstance(error, DeliveryError):  # a bug in the receiver: its type helps to find it
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= _LONGEST_ERROR else text[: _LONGEST_ERROR - 1] + "…"
