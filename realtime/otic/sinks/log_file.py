"""A file of JSON lines that outlives restarts, rotates, and survives a full disk."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress

from otic.errors import SinkError
from otic.sinks.append_file import AppendFile

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0  # how often to look whether the path is still our file
_RETRY_SECONDS = 1.0  # how often to try to open a file that can't be opened
_ROTATE_AGAIN_SECONDS = 60.0
_TAIL_BYTES = 1 << 20  # how far back to look for a whole line
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO}  # not a mistake in the configuration


class LogFile:
    """Appends whole lines; what can't be written is counted and said, never raised.

    Not thread safe: one thread calls all methods.

    Parameters
    ----------
    path : str
        Appended to. Where its last line is torn (power cut, SIGKILL), it is cut off. No other
        process may have it open for the same.
    max_bytes : int
        A line that would make the file larger goes into a new one; the full file becomes
        ``path.1``, that one ``path.2``, and so on. A new file takes at least one line. 0: never.
    keep : int
        How many full files are kept.
    headings : callable
        The lines that a new file starts with, each with its newline.
    """

    def __init__(
        self,
        path: str,
        max_bytes: int,
        keep: int,
        headings: Callable[[], list[bytes]],
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._headings = headings
        self._file = AppendFile(path)
        self._size = 0  # the file's, as we left it
        self._needs_headings = False
        self._unsaid = 0  # lines dropped since the last one that was written
        self._failing = False
        self._look_at = self._open_at = self._rotate_at = 0.0  # monotonic; not before these
        self.dropped = 0
        """Lines that could not be written so far."""

    def open(self) -> None:
        """Open the file, and repair its end.

        Raises
        ------
        SinkError
            If the path can't be a log here. A disk that is full now is no such error.
        """
        try:
            self._open()
        except OSError as error:
            if error.errno not in _PASSING:
                raise SinkError(
                    f"can't write {self._path!r}: {error.strerror}: "
                    "name a file that can be written with --jsonl"
                ) from error
            self._failed(error)

    def write(self, line: bytes, event: bool = False, heading: bool = False) -> None:
        """Append a line, newline included; whole or not at all.

        ``event``: look at once whether somebody moved the file away. ``heading``: the line
        is repeated by ``headings`` in the next file.
        """
        now = time.monotonic()
        try:
            if not self._file.is_open and now < self._open_at:
                self._drop(heading)
                return
            self._look(now, event)
            if self._file.size < self._size:  # somebody emptied it: logrotate's copytruncate
                self._needs_headings = True
            text = self._before() + line
            full = 0 < self._max_bytes < self._file.size + len(text)
            if self._file.size and full and now >= self._rotate_at:
                self._rotate(now)
                text = self._before() + line
            self._file.append(text)
            self._size = self._file.size
        except OSError as error:
            self._drop(heading)
            self._failed(error)
            return
        self._needs_headings = False
        if self._failing:
            _log.info(f"{self._path!r} can be written again; {self._unsaid} lines were dropped")
        self._failing, self._unsaid = False, 0

    def close(self) -> None:
        """Close the file; say in it what was dropped, if that is possible now."""
        if self._file.is_open and self._unsaid:
            with suppress(OSError):
                self._file.append(self._before())
        self._file.close()

    def _open(self) -> None:
        self._open_at = time.monotonic() + _RETRY_SECONDS
        self._file.open()
        try:
            self._repair()
        except OSError:
            self._file.close()  # else the next line would follow a torn one
            raise
        self._needs_headings = True
        self._look_at = time.monotonic() + _LOOK_SECONDS

    def _repair(self) -> None:
        while (length := _whole_length(self._file)) is None:
            _log.warning(f"{self._path!r} is no log of JSON lines: it is kept as a full file")
            _shift(self._path, self._keep)
            self._file.open()
        if torn := self._file.size - length:
            self._file.cut(length)
            _log.warning(f"{self._path!r} ended in {torn} bytes of a torn line: they are cut off")
        self._size = length

    def _look(self, now: float, always: bool) -> None:
        """Look now and then whether the path is still the open file; open it where it is not."""
        if always or now >= self._look_at or not self._file.is_open:
            self._look_at = now + _LOOK_SECONDS
            if self._file.was_moved():
                self._open()

    def _before(self) -> bytes:
        """Return the lines that must come before the next one."""
        lines = self._headings() if self._needs_headings else []
        if self._unsaid:
            dropped = {"type": "dropped", "lines": self._unsaid}
            lines.append(json.dumps(dropped, separators=(",", ":")).encode() + b"\n")
        return b"".join(lines)

    def _rotate(self, now: float) -> None:
        try:
            _shift(self._path, self._keep)
        except OSError as error:
            self._rotate_at = now + _ROTATE_AGAIN_SECONDS
            _log.warning(f"can't rename {self._path!r}: {error.strerror}: the log grows on")
        else:
            self._open()

    def _drop(self, heading: bool) -> None:
        self.dropped += 1
        self._unsaid += 1
        self._needs_headings |= heading

    def _failed(self, error: OSError) -> None:
        if not self._failing:
            _log.warning(
                f"can't write {self._path!r}: {error.strerror}: "
                "its lines are dropped and counted until it can be"
            )
        self._failing = True


def _whole_length(file: AppendFile) -> int | None:
    """Bytes up to the end of the last whole line; None where this is no log of ours.

    Torn is what a power cut leaves: one line without its end, and before it lines with zeros
    in place of what was not on the disk yet.
    """
    first = max(0, file.size - _TAIL_BYTES)
    tail = file.read(first, file.size - first)
    end = tail.rfind(b"\n") + 1
    if tail[end:].strip(b"\0")[:1] not in (b"", b"{"):
        return None
    if end == 0:
        return 0 if first == 0 else None
    while end:
        begin = tail.rfind(b"\n", 0, end - 1) + 1
        line = tail[begin:end]
        if _is_record(line):
            return first + end
        if b"\0" not in line or line[:1] not in (b"\0", b"{"):
            break
        end = begin
    return None


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _shift(path: str, keep: int) -> None:
    """``path`` becomes ``path.1``, ``path.1`` becomes ``path.2`` …, up to ``keep``."""
    free = next((n for n in range(1, keep) if not os.path.exists(f"{path}.{n}")), keep)  # noqa: PTH110
    for n in range(free, 1, -1):
        os.replace(f"{path}.{n - 1}", f"{path}.{n}")  # noqa: PTH105
    os.replace(path, f"{path}.1")  # noqa: PTH105
    extra = keep + 1  # fewer are kept than before
    with suppress(FileNotFoundError):
        while True:
            os.unlink(f"{path}.{extra}")  # noqa: PTH108
            extra += 1
