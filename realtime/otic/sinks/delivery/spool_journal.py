"""A few notices beside the spool's file, for the moments when that takes none."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

_LARGEST_BYTES = 4 << 20
_RESERVED_BYTES = 1 << 20  # some 2000 notices
_DISK_SHARE = 8  # a small disk keeps most of it
_DIGITS = 20
_HEAD_BYTES = _DIGITS + 1  # up to which number all is forgotten, and a newline


class SpoolJournal:
    """Numbered lines that survive SIGKILL, until :meth:`clear`; also on a full disk.

    Its room on the disk is taken beforehand, for a disk that is full is when it is needed. So
    what is forgotten stays in the file until it is written over; the first line tells what that is.

    It raises nothing and is small: where the disk takes no line, there is none.

    Thread safety: one thread.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._reserved = False
        self._bytes = _HEAD_BYTES  # where the next line goes
        self.latest = 0
        """The highest number that was ever written here."""

    def read(self, after: int) -> list[tuple[int, str]]:
        """The lines with higher numbers, in order; one that was cut off is left out.

        What is written next goes behind them.
        """
        try:
            data = self._path.read_bytes()[: 2 * _LARGEST_BYTES]
        except OSError:
            return []
        head = data[:_DIGITS]
        forgotten = int(head) if head.isdigit() else 0
        after = max(after, forgotten)
        found: dict[int, str] = {}
        place = _HEAD_BYTES
        for line in data[_HEAD_BYTES:].splitlines(keepends=True):
            place += len(line)
            with suppress(ValueError, TypeError):
                number, text = json.loads(line)
                if number > after:
                    found[int(number)] = str(text)
                    self._bytes = place
        self.latest = max(found, default=forgotten)
        return sorted(found.items())

    def reserve(self) -> None:
        """Take the room that it may need; where the disk has none, with a later :meth:`clear`."""
        if self._reserved:
            return
        with suppress(OSError):
            self._open()
            disk = os.fstatvfs(self._file)
            size = min(_RESERVED_BYTES, disk.f_blocks * disk.f_frsize // _DISK_SHARE)
            os.posix_fallocate(self._file, 0, size)
            self._reserved = True

    def write(self, number: int, text: str) -> None:
        """Add a line; it is with the operating system on return."""
        # The first newline ends what is left of an older line.
        line = b"\n" + json.dumps([number, text]).encode() + b"\n"
        if self._bytes + len(line) > _LARGEST_BYTES:
            return
        with suppress(OSError):
            self._open()
            if os.pwrite(self._file, line, self._bytes) == len(line):
                self._bytes += len(line)
                self.latest = number

    def clear(self) -> None:
        """Forget all lines."""
        if self._bytes > _HEAD_BYTES:
            self._bytes = _HEAD_BYTES
            with suppress(OSError):
                self._open()
                os.pwrite(self._file, f"{self.latest:0{_DIGITS}}\n".encode(), 0)
        self.reserve()

    def close(self) -> None:
        """Let go of the file. It stays: the next process may begin on a full disk."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        if self._file < 0:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
