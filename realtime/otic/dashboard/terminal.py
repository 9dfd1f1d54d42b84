"""The terminal: taken, always restored, and never waited for."""

from __future__ import annotations

import errno
import os
import select
import sys
import termios
import threading
import time
import tty
from contextlib import suppress

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # alternate screen, no cursor, no wrapping
_LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_PATIENCE_SECONDS = 0.5  # time for a terminal that accepts nothing to be restored
_NOT_THERE = (errno.EIO, errno.ENXIO, errno.EPIPE, errno.EBADF)


class Terminal:
    """Standard output's terminal, with the keyboard of the controlling terminal.

    Thread safety: any thread may call any method.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._out = _open_output()
        self._keyboard = _open_keyboard()
        self._before: list[object] | None = None  # the keyboard's settings before :meth:`enter`
        self._entered = False
        self._held = False
        self._pending = b""

    @property
    def keyboard(self) -> int | None:
        """A descriptor to read keys from; None without a keyboard."""
        return self._keyboard

    @property
    def entered(self) -> bool:
        """True while the dashboard has the screen."""
        return self._entered

    def size(self) -> tuple[int, int]:
        """Return the current number of columns and rows."""
        try:
            width, height = os.get_terminal_size(self._out)
        except OSError:
            width = height = 0
        return width or 80, height or 24

    def in_foreground(self) -> bool:
        """Return whether this process has the terminal; in the background a shell has it."""
        if self._keyboard is None:
            return True
        try:
            return os.tcgetpgrp(self._keyboard) == os.getpgrp()
        except OSError:
            return True

    def enter(self) -> None:
        """Take the screen, keeping what is on it, and read single keys."""
        with self._lock:
            if self._entered or self._held:
                return
            self._entered = True
            if self._keyboard is not None:
                with suppress(termios.error, OSError):
                    self._before = termios.tcgetattr(self._keyboard)
                    tty.setcbreak(self._keyboard, termios.TCSANOW)
            self._pending = _ENTER.encode()
            self.flush()

    def leave(self, hold: bool = False) -> None:
        """Restore the terminal as it was; do nothing if it was not taken.

        With ``hold``, :meth:`enter` does nothing until :meth:`release`.
        """
        with self._lock:
            self._held = self._held or hold
            if not self._entered:
                return
            self._entered = False
            if self._keyboard is not None and self._before is not None:
                with suppress(termios.error, OSError):
                    termios.tcsetattr(self._keyboard, termios.TCSANOW, self._before)  # type: ignore[arg-type]
            # A partly written frame ends within a control sequence: CAN cancels that.
            begun = b"\x18" if self._pending else b""
            self._pending = begun + _LEAVE.encode()
            with suppress(termios.error, OSError):  # the output may be stopped with Ctrl-S
                termios.tcflow(
                    self._out, termios.TCOOFF
                )  # only the process that stops output can restart it
                termios.tcflow(self._out, termios.TCOON)
            end = time.monotonic() + _PATIENCE_SECONDS
            while not self.flush() and time.monotonic() < end:
                with suppress(OSError, ValueError):
                    select.select([], [self._out], [], 0.05)
            self._pending = b""

    def release(self) -> None:
        """Allow :meth:`enter` again."""
        with self._lock:
            self._held = False

    def forget(self) -> None:
        """Mark the terminal as not taken without touching it: someone else has it."""
        with self._lock:
            self._entered = False
            self._pending = b""

    def write(self, text: str, encoding: str = "utf-8") -> None:
        """Write as much as the terminal takes now; :meth:`flush` writes the rest."""
        with self._lock:
            if self._entered:
                self._pending += text.encode(encoding, errors="replace")
                self.flush()

    def flush(self) -> bool:
        """Continue writing without waiting; True once everything is written."""
        with self._lock:
            while self._pending:
                try:
                    n = os.write(self._out, self._pending)
                except BlockingIOError:
                    return False
                except OSError as error:
                    self._pending = b""
                    if error.errno in _NOT_THERE:
                        return True
                    raise
                self._pending = self._pending[n:]
            return True

    def close(self) -> None:
        """Restore the terminal and close the descriptors."""
        self.leave()
        with self._lock:
            for fd in {self._out, self._keyboard}:
                if fd is not None and fd > 2:
                    with suppress(OSError):
                        os.close(fd)
            self._keyboard = None


def _open_output() -> int:
    """Open standard output's terminal a second time: non-blocking mode then affects only us."""
    fd = sys.stdout.fileno()
    with suppress(OSError):
        return os.open(os.ttyname(fd), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    return os.dup(fd)


def _open_keyboard() -> int | None:
    """Open the controlling terminal: standard input may be audio."""
    with suppress(OSError):
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return None
