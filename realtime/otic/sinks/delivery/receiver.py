"""The contract of whoever is told of events: a broker, a web server, a program, a file."""

from __future__ import annotations

from typing import Protocol

from otic.errors import OticError
from otic.sinks.delivery.notification import Notice


class DeliveryError(OticError):
    """A receiver could not be reached or did not take a notice: try again later."""


class RefusedError(DeliveryError):
    """A receiver will never take this notice: count it as refused and go on to the next."""


class Receiver(Protocol):
    """Takes notices, one after the other; all methods are called by one courier's thread.

    A method may block for some seconds, at most ``timeout_seconds`` of its settings. The
    courier retries with back-off, closing and opening in between; a notice may so come twice.
    """

    name: str
    """Short and fixed, as in the configuration: ``mqtt``, ``webhook``, … Its place in the
    spool and its counters are kept under it."""

    def open(self) -> None:
        """Connect, or open the file.

        Raises
        ------
        DeliveryError
        """

    def deliver(self, notice: Notice) -> None:
        """Hand over a notice; on return the receiver has it.

        Raises
        ------
        DeliveryError
            Nobody took it: it is delivered again, after :meth:`close` and :meth:`open`.
        RefusedError
            It is not delivered again.
        """

    def idle(self) -> None:
        """Called about once a second while open and nothing waits: keep alive, tell health.

        Raises
        ------
        DeliveryError
            The connection is gone.
        """

    def close(self) -> None:
        """Disconnect; also after a failure. Raises nothing."""
