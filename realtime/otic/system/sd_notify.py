"""Notifications to systemd, and priorities of lines in its journal (sd_notify, journald).

A notification is one datagram of ``KEY=value`` lines to the socket that ``$NOTIFY_SOCKET`` names
(sd_notify(3)). Outside systemd, nothing happens.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

_PRIORITIES = {"error": "<3>", "warning": "<4>", "info": "<6>"}
_STDERR = 2
_BEATS_A_PERIOD = 3


class Notifier:
    """Reports the state of the service to the service manager.

    No method raises or waits: what can't be sent at once is dropped, since a notification must
    never stop the audio.

    Thread safety: any thread may call any method.

    Parameters
    ----------
    address : str or None
        The socket: a path, or ``@name`` for an abstract one; None if nobody listens.
    watchdog_seconds : float or None
        The manager ends the service after this much silence; None if it has no watchdog.
    clock : callable, optional
        Returns monotonic seconds.
    """

    def __init__(
        self,
        address: str | None,
        watchdog_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.watchdog_seconds = watchdog_seconds
        self._address = _socket_address(address)
        self._clock = clock
        self._last_beat: float | None = None
        self._last_status: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Notifier:
        """Read ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``."""
        values = os.environ if environment is None else environment
        return cls(values.get("NOTIFY_SOCKET"), _watchdog_seconds(values))

    @property
    def active(self) -> bool:
        """True if a manager listens."""
        return self._address is not None

    def ready(self, status: str = "") -> None:
        """Report that the service has started; ``systemctl status`` shows ``status``."""
        self._last_status = status or self._last_status
        self._send("READY=1", *([_status_line(status)] if status else []))

    def status(self, text: str) -> None:
        """Report what the service does, on one line; the same line is not sent twice in a row."""
        if text != self._last_status:
            self._last_status = text
            self._send(_status_line(text))

    def stopping(self) -> None:
        """Report that the service is about to end."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Report that the service works; the main loop may call this at any rate.

        At most three messages are sent per period of the watchdog.
        """
        if self.watchdog_seconds is None:
            return
        now = self._clock()
        if (
            self._last_beat is None
            or now - self._last_beat >= self.watchdog_seconds / _BEATS_A_PERIOD
        ):
            self._last_beat = now
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        message = "\n".join(lines).encode("utf-8", "replace")
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,  # not inherited: PEP 446
        ):
            sender.setblocking(False)
            sender.sendto(message, self._address)


def journal_prefix(level: str, environment: Mapping[str, str] | None = None) -> str:
    """Return the prefix that gives a line its priority in the journal; empty without a journal.

    Parameters
    ----------
    level : str
        ``error``, ``warning`` or ``info``.
    environment : mapping, optional
        Contains ``JOURNAL_STREAM``: device and inode of the journal's socket, which are those
        of standard error unless it was redirected.
    """
    values = os.environ if environment is None else environment
    stream = values.get("JOURNAL_STREAM")
    if not stream:
        return ""
    try:
        stderr = os.fstat(_STDERR)
    except OSError:  # closed
        return ""
    return _PRIORITIES[level] if stream == f"{stderr.st_dev}:{stderr.st_ino}" else ""


def _socket_address(address: str | None) -> str | None:
    """Return the address for ``sendto``; None for other kinds of sockets (``vsock:``)."""
    if not address or address[0] not in "/@" or not hasattr(socket, "AF_UNIX"):
        return None
    return "\0" + address[1:] if address[0] == "@" else address


def _status_line(text: str) -> str:
    return "STATUS=" + " ".join(text.split())


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    try:
        microseconds = int(environment["WATCHDOG_USEC"])
        process = int(environment.get("WATCHDOG_PID", os.getpid()))
    except (KeyError, ValueError):
        return None
    return microseconds / 1e6 if microseconds > 0 and process == os.getpid() else None
