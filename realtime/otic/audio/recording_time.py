"""When a recording began: by what a person says, by what the recorder left in it, by its name."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path, PurePath
from typing import BinaryIO
from zoneinfo import ZoneInfo

from otic.errors import ParameterError

_MOST_CHUNKS = 100
_MOST_BYTES = 2**16  # of a chunk with text
_BEXT_DATE, _BEXT_TIME = slice(320, 330), slice(330, 338)
_IN_NAME = re.compile(
    r"(?<!\d)(\d{4})([-_.]?)(\d\d)\2(\d\d)[T_ -](\d\d)[-_:.h]?(\d\d)[-_:.m]?(\d\d)(?:[.,]\d+)?"
    r"(?:_?(Z|[+-]\d\d:?\d\d))?(?!\d)"
)
_HEXADECIMAL = re.compile(r"[3-6][0-9A-F]{7}")  # of early AudioMoths: seconds since 1970
_AUDIOMOTH = re.compile(
    r"Recorded at (\d\d):(\d\d):(\d\d)(?:\.\d+)? (\d\d)/(\d\d)/(\d{4}) "
    r"\(UTC(?:([+-]\d{1,2})(?::(\d\d))?)?\)"
)
_GUANO_TIME = re.compile(r"^\s*Timestamp\s*:\s*(\S+(?: \S+)?)", re.MULTILINE)
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")


@dataclass(frozen=True)
class TimeRule:
    """How to tell when a recording began.

    Attributes
    ----------
    start : datetime or None
        A person's word.
    time_format : str or None
        What the name without its suffix is to be read with, as :meth:`datetime.strptime` does.
    timezone : str
        The zone of times that name none: ``UTC``, ``Europe/Berlin``, ``+02:00``.

    Raises
    ------
    ParameterError
        If a zone is not known.
    """

    start: datetime | None = None
    time_format: str | None = None
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        zone_of(self.timezone)

    def to_dict(self) -> dict[str, str | None]:
        """Plain values for JSON."""
        start = None if self.start is None else self.start.isoformat()
        return {"start": start, "time_format": self.time_format, "timezone": self.timezone}

    def began(self, path: str) -> datetime | None:
        """When a recording began, with a fixed offset from UTC; None where nobody knows.

        In this order: ``start``; the name, read with ``time_format``; GUANO's ``Timestamp``,
        the comment of an AudioMoth, the ``bext`` chunk; a date and a time in the name. What
        can't be read, and times that can't be, count for nothing.
        """
        found = self.start
        if found is None and self.time_format is not None:
            with suppress(ValueError):
                found = datetime.strptime(PurePath(path).stem, self.time_format)
        if found is None:
            found = _of_metadata(path)
        if found is None:
            found = _of_name(PurePath(path).stem)
        if found is None:
            return None
        if found.tzinfo is None:
            found = found.replace(tzinfo=zone_of(self.timezone))
        offset = found.utcoffset() or timedelta()
        return found.astimezone(timezone(offset))  # a zone's own offset may change on the way


def zone_of(text: str) -> tzinfo:
    """Give the time zone of a name or an offset.

    Raises
    ------
    ParameterError
        If it is not known.
    """
    if match := _OFFSET.fullmatch(text):
        hours, minutes = int(match[2]), int(match[3])
        if hours < 24 and minutes < 60:
            offset = timedelta(hours=hours, minutes=minutes)
            return timezone(offset if match[1] == "+" else -offset)
    if text == "UTC":
        return UTC
    try:
        return ZoneInfo(text)
    except (ValueError, OSError, LookupError) as error:
        raise ParameterError(
            f"time zone '{text}' is not known: give one such as UTC, Europe/Berlin or +02:00"
        ) from error


def parsed_time(text: str) -> datetime:
    """Read a time as ISO 8601 has it.

    Raises
    ------
    ParameterError
        If it is not that.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ParameterError(
            f"'{text}' is no time: write it as 2026-05-01T04:30:00+02:00"
        ) from error


def _of_name(stem: str) -> datetime | None:
    """Read a name of AudioMoth, Song Meter and others, or with ISO 8601."""
    if _HEXADECIMAL.fullmatch(stem):
        return datetime.fromtimestamp(int(stem, 16), UTC)
    for match in _IN_NAME.finditer(stem):
        year, _, *rest, zone = match.groups()
        with suppress(ValueError, ParameterError):
            found = datetime(int(year), *map(int, rest))  # type: ignore[arg-type]
            if zone is not None:
                found = found.replace(tzinfo=UTC if zone == "Z" else zone_of(zone))
            return found
    return None


def _of_metadata(path: str) -> datetime | None:
    """Read what is in a WAV: GUANO, an AudioMoth's comment, or ``bext``."""
    found: dict[bytes, datetime] = {}
    with suppress(OSError, ValueError), Path(path).open("rb") as file:
        for name, content in _chunks(file):
            time = _of_chunk(name, content)
            if time is not None:
                found.setdefault(name, time)
    return next((found[name] for name in (b"guan", b"LIST", b"bext") if name in found), None)


def _of_chunk(name: bytes, content: bytes) -> datetime | None:
    text = content.decode("utf-8", "replace")
    with suppress(ValueError, ParameterError, OverflowError):
        if name == b"guan" and (match := _GUANO_TIME.search(text)):
            return datetime.fromisoformat(match[1])
        if name == b"LIST" and (match := _AUDIOMOTH.search(text)):
            hour, minute, second, day, month, year = map(int, match.groups()[:6])
            offset = timedelta(hours=int(match[7] or 0))
            minutes = timedelta(minutes=int(match[8] or 0))
            offset += -minutes if (match[7] or "").startswith("-") else minutes
            return datetime(year, month, day, hour, minute, second, tzinfo=timezone(offset))
        if name == b"bext":
            date, time = content[_BEXT_DATE].decode(), content[_BEXT_TIME].decode()
            return datetime(
                *map(int, re.split(r"\D", date)),  # type: ignore[arg-type]
                *map(int, re.split(r"\D", time)),
            )
    return None


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a WAV that may hold a time."""
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return
    long_data = 0
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return
        name, length = head[:4], struct.unpack("<I", head[4:])[0]
        start = file.tell()
        if name in (b"guan", b"LIST", b"bext", b"ds64"):
            content = file.read(min(length, _MOST_BYTES))
            if name == b"ds64" and len(content) >= 16:
                long_data = struct.unpack("<Q", content[8:16])[0]
            else:
                yield name, content
        if name == b"data" and length == 0xFFFFFFFF:
            length = long_data
        file.seek(start + length + length % 2)


AS_RECORDED = TimeRule()
"""What recorders leave, in UTC where they name no zone."""
