"""Reads the few tables of a flatbuffer that are asked for; made for files from anybody.

A table is a list of numbered fields, each absent or at an offset. Every read is within the
file, or it is a ValueError; nothing that a file says makes memory be allocated.
"""

from __future__ import annotations

import struct
from typing import Any

_MAX_ITEMS = 1_000_000


class Table:
    """One table of a flatbuffer.

    Parameters
    ----------
    data : bytes
        All of it.
    at : int
        Where the table begins.

    Raises
    ------
    ValueError
        If it does not lie within the data; so do all methods.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._fields = at - _number(data, at, "<i")
        self._n_fields = (_number(data, self._fields, "<H") - 4) // 2

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """A number; ``kind`` is a format of :mod:`struct`, such as ``<i``."""
        at = self._place(field)
        return default if at is None else _number(self._data, at, kind)

    def table(self, field: int) -> Table | None:
        """A table, or None."""
        at = self._place(field)
        return None if at is None else Table(self._data, self._behind(at))

    def tables(self, field: int) -> list[Table]:
        """A list of tables."""
        start, n = self._vector(field, 4)
        return [Table(self._data, self._behind(start + 4 * i)) for i in range(n)]

    def numbers(self, field: int, kind: str) -> list[Any]:
        """A list of numbers."""
        size = struct.calcsize(kind)
        start, n = self._vector(field, size)
        return [_number(self._data, start + size * i, kind) for i in range(n)]

    def blob(self, field: int) -> bytes:
        """Bytes; empty where there are none."""
        start, n = self._vector(field, 1)
        return self._data[start : start + n]

    def text(self, field: int) -> str:
        """Text; empty where there is none."""
        return self.blob(field).decode("utf-8", "replace")

    def _place(self, field: int) -> int | None:
        if field >= self._n_fields:
            return None
        offset = _number(self._data, self._fields + 4 + 2 * field, "<H")
        return self._at + offset if offset else None

    def _behind(self, at: int) -> int:
        return at + _number(self._data, at, "<I")

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Where the items of a list begin, and their number."""
        at = self._place(field)
        if at is None:
            return 0, 0
        start = self._behind(at)
        n = _number(self._data, start, "<I")
        if start + 4 + n * size > len(self._data) or (size > 1 and n > _MAX_ITEMS):
            raise ValueError(f"a list of {n} items does not fit into the file")
        return start + 4, n


def root(data: bytes, identifier: bytes) -> Table:
    """The table that a flatbuffer begins with.

    Raises
    ------
    ValueError
        If it has another identifier, or is too short.
    """
    if data[4:8] != identifier:
        raise ValueError(f"it does not begin with {identifier.decode()}")
    return Table(data, _number(data, 0, "<I"))


def _number(data: bytes, at: int, kind: str) -> int:
    size = struct.calcsize(kind)
    if not 0 <= at <= len(data) - size:
        raise ValueError(f"an offset of {at} is outside of the file")
    (value,) = struct.unpack_from(kind, data, at)
    return int(value)
