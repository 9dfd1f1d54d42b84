"""Events as a table in a text file."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass

from otic.config.settings import setting
from otic.errors import ParameterError
from otic.sinks.append_file import AppendFile
from otic.sinks.delivery.notification import DeliveryError, Notification, Receiver, Sensor
from otic.system.findings import Check, folder_checks

COLUMNS = (
    "event",
    "sensor",
    "source",
    "label",
    "onset_at",
    "offset_at",
    "seconds",
    "peak",
    "onset",
    "offset",
    "reason",
)
TAIL_BYTES = 262_144
"""The part of the file's end, in bytes, that is searched for events that come again."""
_MAX_SEEN = 10_000  # the events by which doubles are recognised
_HEADER = (",".join(COLUMNS) + "\r\n").encode()
# What a spreadsheet takes for a formula at the start of a cell, in both widths.
_FORMULA = re.compile(r"(^|;)(\s*[=+\-@＝＋－＠])")


@dataclass(frozen=True)
class Section:
    """Events as a table in a text file."""

    path: str | None = setting(None, "append finished events to this CSV file")


def open_receiver(section: Section, sensor: Sensor) -> Receiver | None:
    """Return the receiver that the section asks for."""
    return None if section.path is None else CsvReceiver(section)


def checks(section: Section) -> list[Check]:
    """List the checks of ``otic doctor``."""
    return folder_checks("csv", section.path)


class CsvReceiver:
    """Appends a row for each event that ended; RFC 4180, one line a row.

    A file that was moved or deleted is begun again. A row is in the file as a whole, and
    synchronised with the disk, or not at all. Not thread safe.

    Parameters
    ----------
    settings : Section

    Raises
    ------
    ParameterError
        If no path is set.
    """

    name = "csv"

    def __init__(self, settings: Section) -> None:
        if not settings.path or "\0" in settings.path:
            raise ParameterError("csv.path is not set: name a file")
        self._path = settings.path
        self._file = AppendFile(settings.path)
        self._seen: dict[str, None] = {}  # events, as in their cells; the oldest first

    def open(self) -> None:
        try:
            self._file.open()
            self._repair()
        except OSError as error:
            self.close()
            raise self._failed(error) from error
        except DeliveryError:
            self.close()
            raise

    def deliver(self, notification: Notification) -> None:
        if notification.state != "off":
            return
        if self._file.was_moved():
            self.open()
        row = as_row(notification)
        if row[0] in self._seen:
            return
        try:
            self._append(_line(row))
        except OSError as error:
            raise self._failed(error) from error
        self._remember(row[0])

    def idle(self) -> None:
        pass

    def close(self) -> None:
        self._file.close()

    def _repair(self) -> None:
        """Check that the file is ours, complete its header, take back a torn last row."""
        head = self._file.read(0, 4096)
        if not head.replace(b"\r\n", b"\n").startswith(_HEADER.replace(b"\r\n", b"\n")):
            # Zeros are what a power cut leaves of what was not yet on the disk.
            begun = _HEADER.startswith(head.rstrip(b"\0"))
            if not begun or self._file.size > len(head):
                raise DeliveryError(
                    f"{self._path!r} is another table, its first line is not otic's: "
                    "move it away, or correct csv.path"
                )
            self._file.cut(0)
            self._append(b"")
        start = max(0, self._file.size - TAIL_BYTES)
        tail = self._file.read(start, TAIL_BYTES)
        end = tail.rfind(b"\n") + 1
        if end == 0:
            raise DeliveryError(
                f"{self._path!r} is damaged, it has a line of over {TAIL_BYTES} bytes: move it away"
            )
        if end < len(tail):
            if _is_whole(tail[end:]):  # someone edited the file and left out the last line's end
                self._append(b"\n" if tail.endswith(b"\r") else b"\r\n")
            else:
                self._file.cut(start + end)
                tail = tail[:end]
        lines = tail.decode("utf-8", "replace").split("\n")[1:]  # without header or a torn first
        self._seen.clear()
        for line in lines:
            if cells := _cells(line):
                self._remember(cells[0])

    def _append(self, line: bytes) -> None:
        """Write all of the line, below a header, or nothing."""
        self._file.append(line if self._file.size else _HEADER + line, sync=True)

    def _remember(self, event: str) -> None:
        self._seen[event] = None
        if len(self._seen) > _MAX_SEEN:
            del self._seen[next(iter(self._seen))]

    def _failed(self, error: OSError) -> DeliveryError:
        return DeliveryError(
            f"can't write {self._path!r}: {error.strerror}: make room, or correct csv.path"
        )


def as_row(notification: Notification) -> list[str]:
    """Return the cells of an event that ended, in the order of :data:`COLUMNS`."""
    seconds = None if notification.offset is None else notification.offset - notification.onset
    text = (notification.event, notification.sensor, notification.source, notification.label)
    when = (notification.onset_at, notification.offset_at)
    numbers = (seconds, notification.peak, notification.onset, notification.offset)
    return [
        *(_text_cell(value) for value in (*text, *when)),
        *("" if value is None else str(round(value, 6)) for value in numbers),
        _text_cell(notification.reason),
    ]


def _text_cell(value: str | None) -> str:
    """Return text that no spreadsheet takes for a formula, even if it splits at semicolons."""
    return _FORMULA.sub(r"\1'\2", value or "")


def _line(row: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(row)
    return text.getvalue().encode()


def _cells(line: str) -> list[str]:
    """Return the cells of a line; none if it is no row."""
    try:
        return next(csv.reader([line.rstrip("\r")], strict=True), [])
    except csv.Error:
        return []


def _is_whole(line: bytes) -> bool:
    """Return whether a last line without its end lacks nothing else: all cells, no reason."""
    cells = _cells(line.decode("utf-8", "replace"))
    return b"\0" not in line and len(cells) == len(COLUMNS) and not cells[-1]
