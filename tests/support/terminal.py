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
from pathlib import Path
from typing import Any

from rich.cells import cell_len

FRAME = "\x1b[?2026h"  # begins each frame that is written
_MARK = b"\x00that was all"
_CSI = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Terminal:
    """The otic command in a terminal of ``columns`` × ``rows``, which is its controlling one.

    Parameters
    ----------
    stdin : file, optional
        In place of the terminal.
    command : sequence of str, optional
        In place of otic.
    """

    def __init__(
        self,
        *arguments: str,
        columns: int = 80,
        rows: int = 24,
        env: dict[str, str] | None = None,
        stdin: Any = None,
        command: list[str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._master, self._slave = pty.openpty()
        self._set_size(columns, rows)
        self.state_before = termios.tcgetattr(self._slave)
        environment = {**os.environ, "TERM": "xterm-256color"}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        environment |= env or {}
        self.process = subprocess.Popen(
            command or [sys.executable, "-m", "otic", *arguments],
            stdin=self._slave if stdin is None else stdin,
            stdout=self._slave,
            stderr=self._slave,
            env=environment,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=self._control,
        )
        self._data = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def state(self) -> list[Any]:
        """What stty would show now."""
        return termios.tcgetattr(self._slave)

    def resize(self, columns: int, rows: int) -> None:
        self._set_size(columns, rows)
        self.process.send_signal(signal.SIGWINCH)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def text(self) -> str:
        """Everything so far, control sequences included."""
        return self._data.decode(errors="replace")

    def n_frames(self) -> int:
        """So many times something was drawn."""
        return self.text().count(FRAME)

    def screens(self, first: int = 0) -> list[list[str]]:
        """The screen after each frame from number ``first`` on."""
        *before, last = self.text().split(FRAME)
        glass = _Glass(*reversed(self._size))
        found = []
        for number, part in enumerate([*before, last]):
            glass.feed(part)
            if number > first:
                found.append(glass.lines())
        return found

    def lines(self) -> list[str]:
        """What is on the screen now, without colours."""
        return screen_of(self.text(), *reversed(self._size))

    def shows(self, text: str) -> bool:
        """Whether a text is on the screen now."""
        return any(text in line for line in self.lines())

    def wait_for(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "\n".join(self.lines()) + self.text()[-500:]
            assert self.process.poll() is None or condition(), self.text()[-3000:]
            time.sleep(0.03)

    def finish(self, seconds: float = 30.0) -> int:
        """Wait for the program's end; returns its exit code."""
        code = self.process.wait(seconds)
        os.write(self._slave, _MARK)  # comes after what it wrote last
        end = time.monotonic() + 10.0
        while not self._data.endswith(_MARK):
            assert time.monotonic() < end
            time.sleep(0.01)
        del self._data[-len(_MARK) :]
        return code

    def close(self) -> None:
        """End it, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._slave)
        self._reader.join(5)
        os.close(self._master)

    def _control(self) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSCTTY, 0)

    def _set_size(self, columns: int, rows: int) -> None:
        self._size = columns, rows
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # all closed their side
                return
            if not data:
                return
            self._data += data


def screen_of(text: str, rows: int, columns: int) -> list[str]:
    """What a terminal of this size shows after this."""
    glass = _Glass(rows, columns)
    glass.feed(text.rsplit("\x1b[?1049h", 1)[-1])
    return glass.lines()


class _Glass:
    """As much of a terminal as it takes: places, clearing and text; colours are passed over."""

    def __init__(self, rows: int, columns: int) -> None:
        self._rows, self._columns = rows, columns
        self._place = 0, 0
        self._clear()

    def lines(self) -> list[str]:
        return ["".join(line) for line in self._grid]

    def feed(self, text: str) -> None:
        at = 0
        for found in _CSI.finditer(text):
            self._write(text[at : found.start()])
            at = found.end()
            values, kind = found.groups()
            if kind == "H":
                row, column = (int(v) for v in (values or "1;1").split(";"))
                self._place = row - 1, column - 1
            elif kind == "J":
                self._clear()
        self._write(text[at:])

    def _clear(self) -> None:
        self._grid = [[" "] * self._columns for _ in range(self._rows)]

    def _write(self, text: str) -> None:
        row, column = self._place
        for character in text:
            if character == "\n":
                row, column = row + 1, 0
            elif character.isprintable() and row < self._rows:
                n = cell_len(character)
                if column + n <= self._columns:
                    self._grid[row][column : column + n] = [character, *[""] * (n - 1)]
                column += n
        self._place = row, column
