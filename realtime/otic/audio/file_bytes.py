"""The bytes of an audio file, and the part of them that libsndfile is shown."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

_CACHE_BYTES = 2**20
_AHEAD_BYTES = 2**15
_OVERLAP_BYTES = 64  # no pattern that is searched for is longer
_TAG_BYTES = 128  # at the end of an MP3 the decoder looks for a tag of so many
_HIDDEN_SIZE = 2**50  # where a decoder would take the file's size for the sound's length


class FileBytes:
    """Random access to a file that is open for reading; the latest MiB stays in memory.

    Parameters
    ----------
    file : binary file
        Seekable; stays open.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        self._start = 0
        self._cache = b""

    def get(self, start: int, n: int) -> bytes:
        """``n`` bytes from ``start`` on; fewer where the file ends, or the disk fails."""
        if start >= self.size:
            return b""
        at = start - self._start
        if at < 0 or at + n > len(self._cache):
            self._start, at, self._cache = start, 0, b""
            with suppress(OSError):  # what can't be read is told by what decodes it
                self._file.seek(start)
                self._cache = self._file.read(max(n, _CACHE_BYTES)) or b""
        return self._cache[at : at + n]

    def find(self, pattern: re.Pattern[bytes], start: int, stop: int | None = None) -> int:
        """Find the first match of ``pattern``, at most 64 bytes long; -1 if it has none."""
        stop = self.size if stop is None else min(stop, self.size)
        while start < stop:
            found = pattern.search(self.get(start, min(_CACHE_BYTES, stop - start)))
            if found is not None:
                return start + found.start()
            start += _CACHE_BYTES - _OVERLAP_BYTES
        return -1


@dataclass
class Part:
    """A stretch of a file that holds one encoded stream.

    Attributes
    ----------
    start, stop : int
        The first byte and one past the last.
    header : bytes
        A header to put before them, in place of one that does not fit them.
    frames : int or None
        Samples of each channel that the bytes hold; None: the decoder's own count holds.
    hide_size : bool
        Whether the decoder must not see the size: it would estimate the length from it.
    whole : bool
        Whether it is the file as it is.
    reached : int
        How far the decoder has read, once it is done.
    """

    start: int
    stop: int
    header: bytes = b""
    frames: int | None = None
    hide_size: bool = False
    whole: bool = False
    reached: int = 0


class PartFile:
    """A part as a file of its own, for libsndfile's callbacks; those never raise.

    Attributes
    ----------
    error : OSError or None
        What kept a read from its bytes.
    """

    def __init__(self, file: BinaryIO, part: Part) -> None:
        self.error: OSError | None = None
        self._file = file
        self._part = part
        self._end = len(part.header) + part.stop - part.start
        self._size = _HIDDEN_SIZE if part.hide_size else self._end
        self._at = 0
        self._ahead = b""  # read already: decoders ask for a few bytes at a time
        self._ahead_at = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:
        if self._at >= self._size - _TAG_BYTES > self._end:
            buffer[:] = bytes(len(buffer))  # there is no tag
            return len(buffer)
        n = min(len(buffer), max(0, self._end - self._at))
        at = self._at - self._ahead_at
        if at < 0 or at + n > len(self._ahead):
            self._read_ahead(n)
            at = 0
        found = self._ahead[at : at + n]
        buffer[: len(found)] = found
        self._at += len(found)
        self._part.reached = self._part.start + self._at - len(self._part.header)
        return len(found)

    def _read_ahead(self, n: int) -> None:
        """Have the next ``n`` bytes in memory, and some more; fewer where the file fails."""
        header = self._part.header
        found = [header[self._at : self._at + max(n, _AHEAD_BYTES)]]
        start = self._at + len(found[0])
        left = min(max(n, _AHEAD_BYTES), self._end - self._at) - len(found[0])
        try:
            self._file.seek(self._part.start + start - len(header))
            while left > 0 and (read := self._file.read(left)):
                found.append(read)
                left -= len(read)
        except OSError as error:
            self.error = error
        self._ahead, self._ahead_at = b"".join(found), self._at

    def read(self, n: int) -> bytes:
        buffer = bytearray(n)
        return bytes(buffer[: self.readinto(memoryview(buffer))])
