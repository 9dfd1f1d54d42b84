"""Runs a program in a pseudo-terminal and keeps what a person would see."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable

_HOME = re.compile(r"\x1b\[H")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\r")


class Terminal:
    """The otic command in a terminal of ``columns`` × ``rows``."""

    def __init__(
        self, *arguments: str, columns: int = 80, rows: int = 24, env: dict[str, str] | None = None
    ) -> None:
        self._master, slave = pty.openpty()
        self._set_size(columns, rows)
        environment = {**os.environ, **(env or {}), "TERM": "xterm-256color"}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "realtime", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self._data = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, columns: int, rows: int) -> None:
        self._set_size(columns, rows)
        self.process.send_signal(signal.SIGWINCH)

    def text(self) -> str:
        """Everything so far, control sequences included."""
        return self._data.decode(errors="replace")

    def frames(self) -> list[list[str]]:
        """Each whole frame drawn so far, as lines without control sequences."""
        parts = _HOME.split(self.text())[1:-1]
        return [_CONTROL.sub("", part).split("\n") for part in parts]

    def wait_for(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.text()[-3000:]
            time.sleep(0.05)

    def finish(self, seconds: float = 30.0) -> int:
        """Wait for the program's end; returns its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the program closed its side
                return
            if not data:
                return
            self._data += data
