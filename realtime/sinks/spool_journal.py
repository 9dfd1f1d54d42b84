"""A few notices beside the spool's file, for the moments when that takes none."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LARGEST_BYTES = 4 << 20


class SpoolJournal:
    """Numbered lines that survive SIGKILL, until :meth:`clear`.

    It raises nothing and is small: where the disk takes no line, there is none.

    Thread safety: one thread.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._bytes = 0

    def read(self) -> Iterator[tuple[int, str]]:
        """What was written and not cleared; a line that was cut off is left out."""
        try:
            lines = self._path.read_bytes()[: 2 * _LARGEST_BYTES].splitlines()
        except OSError:
            return
        for line in lines:
            with suppress(ValueError, TypeError):
                number, text = json.loads(line)
                yield int(number), str(text)

    def write(self, number: int, text: str) -> None:
        """Add a line; it is with the operating system on return."""
        line = b"\n" + json.dumps([number, text]).encode() + b"\n"  # after a line that was cut off
        if self._bytes + len(line) > _LARGEST_BYTES:
            return
        with suppress(OSError):
            if self._file < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o600)
                self._bytes = os.fstat(self._file).st_size
            self._bytes += os.write(self._file, line)

    def clear(self) -> None:
        """Forget all lines."""
        if self._bytes:
            with suppress(OSError):
                os.ftruncate(self._file, 0)
                self._bytes = 0

    def close(self, remove: bool) -> None:
        """Let go of the file; ``remove`` it where all that it held is kept elsewhere."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if remove:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
