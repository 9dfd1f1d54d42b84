"""Notifications that wait for their receivers, on the disk."""

from __future__ import annotations

import errno
import json
import os
import re
import threading
import time
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from otic.errors import SinkError
from otic.sinks.delivery.notification import Notification
from otic.system.files import open_locked

_APPEND_WAIT_SECONDS = 0.05
_CLOSE_WAIT_SECONDS = 0.5
_RETRY_SECONDS = 0.25
_SYNC_SECONDS = 30.0
_LONG_OVERDUE = 20.0  # times that: no worker comes by
_COMPACT_BYTES = 1 << 20
_PIECE_BYTES = 1 << 20
_RESERVED_BYTES = 1 << 20  # some 2000 notifications
_DISK_SHARE = 8  # a small disk keeps most of its room
_PAGE = 4096
_CURSOR_ROOM = 2 * _PAGE  # of what is reserved, for cursors only
_BATCH = 100
_LINE = re.compile(rb"\[(\d{1,18}),(\{[^\0]*\}(?:,\[[^\0{}]*\])?)\]\n")
_ID = re.compile(rb'\{"id":"([^"]+)/(on|off)"')
_NO_NOTIFICATION = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}  # not a mistake in the settings


@dataclass
class Cursor:
    """The place of a receiver: it had, or will never have, all up to the sequence ``done``.

    ``waiting`` counts notifications behind that, ``others`` those of them that only other
    receivers get; ``offset`` is where in the file to go on.
    """

    name: str
    done: int
    dropped: int = 0
    waiting: int = 0
    offset: int = 0
    others: int = 0

    def gets(self, text: str) -> bool:
        """Tell whether the receiver is among those of a notification, as :func:`_text` wrote it."""
        if text.endswith("}"):
            return True
        with suppress(ValueError):  # a damaged file: the notification says the same
            return self.name in json.loads(text[text.rindex(",[") + 1 :])
        return True

    def skip(self, sequence: int) -> None:
        """Pass over the oldest that waits, which only others get."""
        self.done = sequence
        self.waiting -= 1
        self.others -= 1

    def drop(self, sequence: int, text: str) -> None:
        """Pass over the oldest that waits."""
        if not self.gets(text):
            self.skip(sequence)
            return
        self.done = sequence
        self.dropped += 1
        self.waiting -= 1


class DeliveryQueue:
    """Keeps each notification until every receiver had it, also over a restart.

    Each receiver takes them in the order in which they were appended. What :meth:`append` took
    is in the file when it returns, and so survives SIGKILL. After a power cut, the last minute
    may be missing, and some may be delivered again.

    While the disk is full or fails, notifications go into room that was reserved ahead, then
    into memory; they are delivered from there, and written once the disk takes them.

    A line of the file is ``[sequence, notification]``, with ``, [name, …]`` where not every
    receiver gets it, or the cursors, ``{name: [done, dropped]}``, of which the last count. Zeros
    behind the last line are reserved room.

    Thread safety: one thread appends; any thread may call the rest. An append raises nothing,
    and waits 50 ms at most for another thread that hangs in the file.

    Parameters
    ----------
    path : str, Path or None
        The file; None keeps all in memory, for a machine without a disk.
    receivers : sequence of str
        A new one gets what is appended from now on. One that is no longer named is forgotten,
        with a warning where something waited for it.
    max_events : int
        Beyond this number the oldest are dropped, and counted for each receiver that lacks them.
    max_memory : int
        The same for what the disk does not take.

    Raises
    ------
    SinkError
        If the file can't be written, or another otic uses it.
    """

    def __init__(
        self,
        path: str | Path | None,
        receivers: Sequence[str],
        max_events: int,
        max_memory: int = 5000,
    ) -> None:
        self.path = None if path is None else Path(path)
        """The file; None where all is in memory."""
        self.receivers = tuple(receivers)
        """Their names."""
        self._max_events = max_events
        self._max_memory = max_events if path is None else max_memory
        self._lock = threading.Lock()  # for all below; its holder empties the inbox
        self._upkeep = threading.Lock()  # for the thread that waits for the disk
        self._inbox: deque[Notification] = deque()
        self._overflows = 0  # of the inbox
        self._closed = self._failing = False
        self._unreadable = self._damaged = self._dirty = False
        self._retry_at = self._compact_at = 0.0
        self._synced_at = time.monotonic()
        self._warnings: deque[str] = deque(maxlen=20)
        self._news = {name: threading.Event() for name in receivers}
        self._cursors: dict[str, Cursor] = {}
        self._last = 0  # the latest sequence
        self._pending: deque[tuple[int, str]] = deque()  # not in the file; up to the latest
        self._on: dict[str, tuple[int, str]] = {}  # what has no ``off``, by event
        self._fd = -1
        self._end = self._reserved = 0  # of the file: where the next line goes; room ends there
        self._places: dict[str, list[int]] | None = None  # the cursors, as they are in the file
        self._last_line = b""  # of the file, where that is the cursors
        if self.path is not None:
            self._open_at_start(self.path)
        for name in self._cursors.keys() - self._news.keys():
            if waiting := self._cursors.pop(name).waiting:
                self._warnings.append(
                    f"{name} is no longer configured: {waiting} events that waited for it "
                    "are dropped"
                )
        for name in receivers:
            self._cursors.setdefault(name, Cursor(name, self._last, offset=self._end))
        self._settle()

    def append(self, notification: Notification) -> None:
        """Keep a notification for its receivers."""
        if self._closed:
            return
        if len(self._inbox) >= self._max_memory:  # the disk hangs, and the lock with it
            self._overflows += 1
            with suppress(IndexError):
                self._inbox.popleft()
        self._inbox.append(notification)
        if self._lock.acquire(timeout=_APPEND_WAIT_SECONDS):
            try:
                self._settle()
            finally:
                self._lock.release()
            self._maintain(_LONG_OVERDUE)  # all receivers hang: one pause beats an endless file
        self._take_what_came()

    def next(self, receiver: str) -> tuple[int, Notification] | None:
        """Return sequence and notification of the oldest that ``receiver`` has not acknowledged."""
        self.tend()
        cursor = self._cursors[receiver]
        with self._lock:
            while not self._closed and (found := self._oldest(cursor)) is not None:
                if not cursor.gets(found[1]):
                    cursor.skip(found[0])
                elif (notification := self._parsed(found[1])) is not None:
                    return found[0], notification
                else:
                    cursor.drop(*found)
        return None

    def done(self, receiver: str, sequence: int) -> None:
        """Acknowledge what :meth:`next` gave: ``receiver`` has it or will never take it."""
        cursor = self._cursors[receiver]
        with self._lock:
            if sequence > cursor.done:  # else it was dropped meanwhile
                cursor.done = sequence
                cursor.waiting -= 1
            self._settle()
        self._take_what_came()

    def tend(self) -> None:
        """Write what is not written, and bring the file to the disk now and then.

        Some thread that may wait should call this, or :meth:`next`, at least once a minute.
        """
        with self._lock:
            self._settle()
        self._maintain()
        self._take_what_came()

    def wait(self, receiver: str, timeout_seconds: float) -> None:
        """Wait until something new is there for ``receiver``, or :meth:`wake` is called."""
        self._news[receiver].wait(timeout_seconds)
        self._news[receiver].clear()

    def wake(self, receiver: str) -> None:
        """End the wait of ``receiver``, or its next one."""
        self._news[receiver].set()

    def waiting(self, receiver: str) -> int:
        """Return the number of notifications that ``receiver`` has not got yet."""
        cursor = self._cursors[receiver]
        return cursor.waiting - cursor.others

    def dropped(self, receiver: str) -> int:
        """Return the number that ``receiver`` will never get, since the file was begun."""
        return self._cursors[receiver].dropped

    def open_events(self) -> tuple[Notification, ...]:
        """Return the ``on`` notifications whose ``off`` was not appended, oldest first."""
        with self._lock:
            self._settle()
            found = [self._parsed(text) for _, text in self._on.values()]
        return tuple(notification for notification in found if notification is not None)

    def warnings(self) -> tuple[str, ...]:
        """Return what a person should know, a line each; each is given once."""
        with self._lock:
            lines = tuple(self._warnings)
            self._warnings.clear()
        return lines

    def close(self, drain_timeout: float = _CLOSE_WAIT_SECONDS) -> None:
        """Write what the disk takes and let go of the file; nothing is taken any more.

        Waits no longer than the patience for another thread that is in the file.
        """
        if self._lock.acquire(timeout=drain_timeout):
            try:
                self._retry_at = 0.0
                self._settle()
                self._closed = True
                if self._fd >= 0:
                    os.close(self._fd)
                    self._fd = -1
            finally:
                self._lock.release()
        self._closed = True  # also where the disk hangs

    # ---------------------------------------------------------------- below, the lock is held

    def _settle(self) -> None:
        """Take what is in the inbox, drop what is too much, write what is not written."""
        if self._closed:
            return
        overflows, self._overflows = self._overflows, 0
        for cursor in self._cursors.values():
            cursor.dropped += overflows
        came = bool(self._inbox)
        while self._inbox:
            with suppress(IndexError):  # an append that found it full was faster
                self._add(self._inbox.popleft())
        self._drop_beyond_limit()
        if self.path is not None:
            self._write()
        else:
            all_done = self._all_done()
            while self._pending and self._pending[0][0] <= all_done:
                self._pending.popleft()
        while len(self._pending) > self._max_memory:
            self._drop_from_memory()
        if came:
            for news in self._news.values():
                news.set()

    def _take_what_came(self) -> None:
        """Take what was appended while this thread held the lock, which it does no more."""
        while self._inbox and not self._closed and self._lock.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._lock.release()

    def _add(self, notification: Notification) -> None:
        self._last += 1
        entry = self._last, _text(notification)
        self._pending.append(entry)
        self._note_state(notification.event, notification.state, entry)
        for cursor in self._cursors.values():
            cursor.waiting += 1
            cursor.others += not cursor.gets(entry[1])

    def _note_state(self, event: str, state: str, entry: tuple[int, str]) -> None:
        if state == "on":
            self._on[event] = entry
        else:
            self._on.pop(event, None)

    def _oldest(self, cursor: Cursor) -> tuple[int, str] | None:
        """Return sequence and JSON of the first that waits; the cursor's offset is moved there."""
        try:
            while self._fd >= 0 and cursor.offset < self._end:
                line = self._line_at(cursor.offset)
                match = _LINE.fullmatch(line)
                if match is not None and int(match[1]) > cursor.done:
                    return int(match[1]), match[2].decode("utf-8", "replace")
                cursor.offset += len(line)
        except OSError as error:  # what is in the file comes first: it is read again, later
            if not self._unreadable:
                self._warn(f"can't be read now ({error.strerror}): what waits in it is tried again")
            self._unreadable = True
            return None
        self._unreadable = False
        if lost := cursor.waiting - self._in_memory(cursor):
            cursor.dropped += lost
            cursor.waiting -= lost
            cursor.others = min(cursor.others, cursor.waiting)
            cursor.done = max(cursor.done, self._last - len(self._pending))
            self._warn(f"is damaged: {lost} events that waited in it are lost")
            self._damaged = True
        first = len(self._pending) - self._in_memory(cursor)
        return self._pending[first] if first < len(self._pending) else None

    def _parsed(self, text: str) -> Notification | None:
        try:
            json_text, _, names = text.rpartition("}")
            notification = Notification.from_json(json_text + "}")
            return replace(notification, receivers=tuple(json.loads(names[1:])) if names else None)
        except _NO_NOTIFICATION:
            self._warnings.append(f"the queue held what is no event: {text[:80]!r}")
            return None

    def _drop_beyond_limit(self) -> None:
        while (most := max((c.waiting for c in self._cursors.values()), default=0)) > (
            self._max_events
        ):
            for cursor in [c for c in self._cursors.values() if c.waiting == most]:
                if (found := self._oldest(cursor)) is None:
                    return
                cursor.drop(*found)

    def _drop_from_memory(self) -> None:
        first, text = self._pending[0]
        for cursor in [c for c in self._cursors.values() if c.done < first]:
            if cursor.waiting == self._in_memory(cursor):  # nothing older waits in the file
                cursor.drop(first, text)
            else:
                cursor.drop(cursor.done, text)
        self._pending.popleft()

    def _in_memory(self, cursor: Cursor) -> int:
        """Return how many of those that wait for a receiver are not in the file."""
        return min(len(self._pending), self._last - cursor.done)

    def _all_done(self) -> int:
        return min((cursor.done for cursor in self._cursors.values()), default=self._last)

    def _warn(self, what: str) -> None:
        self._warnings.append(f"{str(self.path)!r} {what}")

    # ---------------------------------------------------------------- the file

    def _open_at_start(self, path: Path) -> None:
        where = "name another folder with --spool-directory"
        try:
            if not self._open(path):
                aside = path.replace(path.with_name(path.name + ".damaged"))
                self._warn(
                    f"is damaged: kept as {str(aside)!r}, what waited in it is not delivered"
                )
                self._open(path)
        except BlockingIOError as error:
            raise SinkError(
                f"{str(path)!r} is in use by another otic: stop that one, or {where}"
            ) from error
        except OSError as error:
            if error.errno not in _PASSING:
                raise SinkError(
                    f"events can't be kept in {str(path)!r}: {error.strerror}: {where}"
                ) from error
            if path.exists() and path.stat().st_size:
                raise SinkError(
                    f"{str(path)!r} can't be read: {error.strerror}: replace the disk, or {where}"
                ) from error
            self._note_failure(error)  # a full disk: it may have room later

    def _open(self, path: Path) -> bool:
        """Open or begin the file, and take in what it holds; False where nothing can be read."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = open_locked(path, os.O_RDWR | os.O_CREAT, 0o600)
        places: dict[str, list[int]] | None = None
        sequences, offsets, end, damaged = array("Q"), array("Q"), 0, 0
        limited: list[tuple[int, str]] = []  # those that not every receiver gets
        line = last_line = b""
        with os.fdopen(os.dup(fd), "rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                last_line = b""
                if (match := _LINE.fullmatch(line)) is not None:
                    sequences.append(int(match[1]))
                    offsets.append(end)
                    if match[2].endswith(b"]"):
                        limited.append((int(match[1]), match[2].decode("utf-8", "replace")))
                    if (named := _ID.match(match[2])) is not None:
                        entry = sequences[-1], match[2].decode("utf-8", "replace")
                        event = named[1].decode("utf-8", "replace")
                        self._note_state(event, named[2].decode(), entry)
                else:
                    try:
                        found = json.loads(line).items()
                        places = {
                            name: [int(done), int(dropped)] for name, (done, dropped) in found
                        }
                    except _NO_NOTIFICATION:
                        damaged += 1
                    else:
                        last_line = line
                end += len(line)
        torn = b"" if line.endswith(b"\n") else line.rstrip(b"\0")
        if places is None and not sequences and (damaged or torn):
            os.close(fd)
            return False
        if damaged:
            self._warn(f"is damaged: {damaged} lines can't be read")
        _write_all(fd, bytes(len(torn)), end)  # not cut off: the room stays reserved
        self._fd, self._end, self._reserved = fd, end, max(end, os.fstat(fd).st_size)
        self._places, self._last_line = places, last_line
        if places is None:  # a new file, or one whose cursors were lost
            places = {name: [0, 0] for name in self._news} if sequences else {}
        for name, place in places.items() if not self._cursors else ():
            cursor = self._cursors[name] = Cursor(name, *place)
            first = bisect_right(sequences, cursor.done)
            cursor.waiting = len(sequences) - first
            cursor.others = sum(n > cursor.done and not cursor.gets(text) for n, text in limited)
            cursor.offset = offsets[first] if cursor.waiting else end
        self._last = max([self._last, *sequences[-1:], *(c.done for c in self._cursors.values())])
        return True

    def _line_at(self, offset: int) -> bytes:
        """Return the line that begins there; what is left of the file where a line has no end."""
        line = b""
        while b"\n" not in line and offset + len(line) < self._end:
            size = min(max(_PAGE, len(line)), self._end - offset - len(line))
            line += os.pread(self._fd, size, offset + len(line))
        return line[: line.find(b"\n") + 1 or None]

    def _write(self) -> None:
        """Make the file equal to what is in memory, as far as the disk lets it."""
        assert self.path is not None
        is_early = time.monotonic() < self._retry_at
        if is_early and self._fd < 0:
            return
        try:
            if self._fd < 0:
                self._open(self.path)
            if self._reserved <= self._end:  # before the first notification: the disk may fill
                self._reserved = _reserve(self._fd, self._end, self._reserved)
            self._write_cursors()
            if is_early or not self._pending:
                return
            while self._pending:
                batch = list(islice(self._pending, _BATCH))
                data = b"".join(map(_line, batch))
                self._reserved = _reserve(self._fd, self._end, self._reserved)
                if 0 < self._reserved < self._end + len(data) + _CURSOR_ROOM:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                _write_all(self._fd, data, self._end)
                self._end += len(data)
                self._last_line = b""
                for _ in batch:
                    self._pending.popleft()
        except OSError as error:
            self._note_failure(error)
            return
        self._dirty = True
        if self._failing:
            self._failing = False
            self._warn("can be written again")

    def _write_cursors(self) -> None:
        """Write how far each is, if that has changed; over the last line, where that says it."""
        places = {name: [cursor.done, cursor.dropped] for name, cursor in self._cursors.items()}
        if places == self._places:
            return
        line = json.dumps(places, separators=(",", ":")).encode()
        line = line.ljust(len(self._last_line) - 1) + b"\n"
        at = self._end - len(self._last_line)
        if at // _PAGE != (at + len(line) - 1) // _PAGE:  # a kill may tear what is in two pages
            at = self._end
        _write_all(self._fd, line, at)
        self._end, self._last_line, self._places, self._dirty = at + len(line), line, places, True

    def _maintain(self, factor: float = 1.0) -> None:
        """Compact, or wait for the disk: one thread at a time, and the lock is free meanwhile."""
        now = time.monotonic()
        if self._fd < 0 or self._failing or not self._upkeep.acquire(blocking=False):
            return
        try:
            waste = min((c.offset for c in self._cursors.values()), default=self._end)
            much = waste > factor * _COMPACT_BYTES and 2 * waste > self._end
            if self._damaged or (much and now >= self._compact_at):
                self._damaged = False
                self._compact_at = now + _SYNC_SECONDS
                self._compact()
            elif self._dirty and now - self._synced_at > factor * _SYNC_SECONDS:
                self._synced_at, self._dirty = now, False
                os.fsync(self._fd)
        except OSError as error:
            with self._lock:
                if not self._closed:
                    self._note_failure(error)
        finally:
            self._upkeep.release()

    def _compact(self) -> None:
        """Write what waits, and which events are on, into a new file, which takes the place."""
        assert self.path is not None
        with self._lock:
            for cursor in self._cursors.values():
                self._oldest(cursor)
            begin = min((c.offset for c in self._cursors.values()), default=self._end)
            stop, all_done = self._end, self._all_done()
            head = b"".join(_line(entry) for entry in self._on.values() if entry[0] <= all_done)
        shift = len(head) - begin
        new_path = self.path.with_name(self.path.name + ".new")
        new = open_locked(new_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _write_all(new, head, 0)
            _copy(self._fd, new, begin, stop, shift)
            reserved = _reserve(new, stop + shift, stop + shift)
            os.fsync(new)
            with self._lock:
                if self._closed or 0 < reserved < stop + shift + _CURSOR_ROOM:
                    return  # a disk that is nearly full: keep the room there is
                _copy(self._fd, new, stop, self._end, shift)
                line = json.dumps(self._places, separators=(",", ":")).encode() + b"\n"
                _write_all(new, line, self._end + shift)
                new_path.replace(self.path)
                self._fd, new = new, self._fd
                self._end, self._last_line = self._end + shift + len(line), line
                self._reserved, self._dirty = reserved, True
                for cursor in self._cursors.values():
                    cursor.offset += shift
        finally:
            os.close(new)
            with suppress(OSError):
                new_path.unlink(missing_ok=True)

    def _note_failure(self, error: OSError) -> None:
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        if not self._failing:
            self._failing = True
            self._warn(
                f"can't be written ({error.strerror}): up to {self._max_memory} events wait in "
                "memory until it can"
            )


def _text(notification: Notification) -> str:
    """Return a notification as it is in the file."""
    if notification.receivers is None:
        return notification.to_json()
    return f"{notification.to_json()},{json.dumps(notification.receivers)}"


def _line(entry: tuple[int, str]) -> bytes:
    return f"[{entry[0]},{entry[1]}]\n".encode()


def _write_all(fd: int, data: bytes, at: int) -> None:
    """Write all or nothing; raises OSError."""
    written = 0
    try:
        while written < len(data):
            written += os.pwrite(fd, data[written:], at + written)
    except OSError:
        with suppress(OSError):
            os.pwrite(fd, bytes(written), at)
        raise


def _copy(source: int, target: int, begin: int, end: int, shift: int) -> None:
    while begin < end and (piece := os.pread(source, min(_PIECE_BYTES, end - begin), begin)):
        _write_all(target, piece, begin + shift)
        begin += len(piece)


def _reserve(fd: int, end: int, reserved: int) -> int:
    """Have room on the disk behind ``end``; where it ends, 0 where the system reserves none."""
    allocate = getattr(os, "posix_fallocate", None)
    if allocate is None:  # macOS
        return 0
    disk = os.fstatvfs(fd)
    size = min(_RESERVED_BYTES, disk.f_blocks * disk.f_frsize // _DISK_SHARE)
    if reserved - end >= size // 2 or disk.f_bavail * disk.f_frsize <= size:
        return reserved
    try:
        allocate(fd, end, size)
    except OSError as error:
        return reserved if error.errno in _PASSING else 0
    return end + size
