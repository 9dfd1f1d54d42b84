"""The terminal itself: taken, given back for certain, and never waited for."""

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
_PATIENCE_SECONDS = 0.5  # for a terminal that takes nothing, where it is given back
_NOT_THERE = (errno.EIO, errno.ENXIO, errno.EPIPE, errno.EBADF)


class Terminal:
    """Standard output's terminal, and the keyboard of the controlling one.

    Thread safety: any thread may call any method.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._out = _open_output()
        self._keyboard = _open_keyboard()
        self._before: list[object] | None = None  # the keyboard's state as it was found
        self._entered = False
        self._held = False
        self._pending = b""

    @property
    def keyboard(self) -> int | None:
        """To read keys from; None where there is no keyboard."""
        return self._keyboard

    @property
    def entered(self) -> bool:
        """Whether the screen is taken."""
        return self._entered

    def size(self) -> tuple[int, int]:
        """Columns and rows now."""
        try:
            width, height = os.get_terminal_size(self._out)
        except OSError:
            width = height = 0
        return width or 80, height or 24

    def in_foreground(self) -> bool:
        """Whether the terminal is ours: a shell may have it, while we run in the background."""
        if self._keyboard is None:
            return True
        try:
            return os.tcgetpgrp(self._keyboard) == os.getpgrp()
        except OSError:
            return True

    def enter(self) -> None:
        """Take the screen, and each key as it is pressed; what was there is kept."""
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
        """Give the terminal back as it was found; nothing happens where it was.

        With ``hold``, :meth:`enter` does nothing from now on, until :meth:`release`.
        """
        with self._lock:
            self._held = self._held or hold
            if not self._entered:
                return
            self._entered = False
            if self._keyboard is not None and self._before is not None:
                with suppress(termios.error, OSError):
                    termios.tcsetattr(self._keyboard, termios.TCSANOW, self._before)  # type: ignore[arg-type]
            # A frame that is written in part ends in the middle of a sequence: CAN ends that.
            begun = b"\x18" if self._pending else b""
            self._pending = begun + _LEAVE.encode()
            with suppress(termios.error, OSError):  # it may have been stopped with Ctrl-S
                termios.tcflow(self._out, termios.TCOOFF)  # only who stops it may let it go on
                termios.tcflow(self._out, termios.TCOON)
            end = time.monotonic() + _PATIENCE_SECONDS
            while not self.flush() and time.monotonic() < end:
                with suppress(OSError, ValueError):
                    select.select([], [self._out], [], 0.05)
            self._pending = b""

    def release(self) -> None:
        """It may be entered again."""
        with self._lock:
            self._held = False

    def forget(self) -> None:
        """Somebody else has the terminal: leave it as it is."""
        with self._lock:
            self._entered = False
            self._pending = b""

    def write(self, text: str, encoding: str = "utf-8") -> None:
        """Write as much as the terminal takes now; :meth:`flush` goes on."""
        with self._lock:
            if self._entered:
                self._pending += text.encode(encoding, errors="replace")
                self.flush()

    def flush(self) -> bool:
        """Go on writing, without waiting; True where all is written."""
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
        """Give it back, and close what was opened."""
        self.leave()
        with self._lock:
            for fd in {self._out, self._keyboard}:
                if fd is not None and fd > 2:
                    with suppress(OSError):
                        os.close(fd)
            self._keyboard = None


def _open_output() -> int:
    """Standard output's terminal, opened anew so that not to wait is our own affair."""
    fd = sys.stdout.fileno()
    with suppress(OSError):
        return os.open(os.ttyname(fd), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    return os.dup(fd)


def _open_keyboard() -> int | None:
    """The controlling terminal: standard input may be audio."""
    with suppress(OSError):
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return None
