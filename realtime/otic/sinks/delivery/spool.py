"""Notices that wait for their receivers, on the disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from otic.sinks.delivery.backlog import Backlog
from otic.sinks.delivery.notification import Notice
from otic.sinks.delivery.spool_journal import SpoolJournal

_APPEND_PATIENCE_SECONDS = 0.002
_CLOSE_PATIENCE_SECONDS = 0.5
_LONG_PAST_DUE = 20.0


class Spool:
    """Keeps each notice until every receiver had it, also over a restart.

    Each receiver takes the notices in the order in which they were appended. They survive
    SIGKILL at any moment: what :meth:`append` took is then in the file or, where that was just
    being brought to the disk, in a small journal beside it. After a power cut, the notices of
    the last minute may be missing, and some may be delivered again.

    While the disk is full or fails, notices are kept in memory, delivered from there, and
    written once the disk takes them.

    Thread safety: one thread appends; any thread may call the rest. An append waits for nobody
    (2 ms at most for another thread that is in the file) and raises nothing.

    Parameters
    ----------
    path : str, Path or None
        The file; None keeps all in memory, for a machine without a disk.
    receivers : sequence of str
        A new one gets what is appended from now on. One that is no longer named is forgotten,
        with a warning where something waited for it.
    max_events : int
        Beyond so many notices the oldest are dropped, and counted for whoever had not got them.
    max_memory : int
        The same for what the disk does not take.

    Raises
    ------
    SinkError
        If the file can't be written, is another's, or another otic uses it.
    """

    def __init__(
        self,
        path: str | Path | None,
        receivers: Sequence[str],
        max_events: int,
        max_memory: int = 5000,
    ) -> None:
        self._lock = threading.Lock()  # for the backlog; whoever held it empties the inbox
        self._inbox: deque[tuple[int, str, str, str]] = deque()  # number, event, state, as JSON
        self._max_inbox = max_events if path is None else max_memory
        self._overflows = self._counted_overflows = 0
        self._at_the_disk = self._closed = False
        self.path = path
        """The file; None where all is in memory."""
        self._news = {name: threading.Event() for name in receivers}
        file = None if path is None else Path(path)
        self._backlog = Backlog(file, receivers, max_events, max_memory)
        self._number = self._backlog.taken
        self._journal = None if file is None else SpoolJournal(Path(f"{file}-journaled"))
        if self._journal is not None:
            self._take_journal(self._journal)

    def append(self, notice: Notice) -> None:
        """Keep a notice for every receiver."""
        if self._closed:
            return
        if len(self._inbox) >= self._max_inbox:  # the disk hangs, and who waits for it has the lock
            self._overflows += 1
            with suppress(IndexError):
                self._inbox.popleft()
        text = notice.to_json()
        self._number += 1
        self._inbox.append((self._number, notice.event, notice.state, text))
        saved = False
        if self._lock.acquire(timeout=0.0 if self._at_the_disk else _APPEND_PATIENCE_SECONDS):
            try:
                self._settle(quick=True)
                if self._backlog.checkpoint_is_due(_LONG_PAST_DUE):
                    # All receivers hang: better one pause than a file without end.
                    self._backlog.checkpoint()
                saved = self._backlog.is_saved
            finally:
                self._lock.release()
        if self._journal is not None:
            if saved:
                self._journal.clear()
            else:
                self._journal.write(self._number, text)
        self._take_what_came()

    def next(self, receiver: str) -> tuple[int, Notice] | None:
        """The oldest notice that ``receiver`` has not acknowledged, and its sequence."""
        place = self._backlog.places[receiver]
        self.tend()
        with self._lock:
            while not self._closed:
                found = self._backlog.oldest_after(place.done)
                if found is None:
                    break
                if (notice := self._parsed(found[1])) is not None:
                    return found[0], notice
                place.skip(found[0])
        return None

    def done(self, receiver: str, sequence: int) -> None:
        """Acknowledge what :meth:`next` gave: ``receiver`` has it or will never take it."""
        place = self._backlog.places[receiver]
        with self._lock:
            if sequence > place.done:  # else it was dropped meanwhile
                place.done = sequence
                place.waiting -= 1
            self._settle()
        self._take_what_came()

    def tend(self) -> None:
        """Write what is not written, and bring the file to the disk now and then.

        Some thread that may wait should call this, or :meth:`next`, at least once a minute.
        """
        with self._lock:
            self._settle()
            if not self._closed and self._backlog.checkpoint_is_due():
                self._at_the_disk = True
                self._backlog.checkpoint()
                self._at_the_disk = False
                self._settle()
        self._take_what_came()

    def wait(self, receiver: str, timeout_seconds: float) -> None:
        """Wait until something new is there for ``receiver``, or :meth:`wake` is called."""
        self._news[receiver].wait(timeout_seconds)
        self._news[receiver].clear()

    def wake(self, receiver: str) -> None:
        """End the wait of ``receiver``, or its next one."""
        self._news[receiver].set()

    def waiting(self, receiver: str) -> int:
        """How many notices ``receiver`` has not got yet."""
        return self._backlog.places[receiver].waiting

    def dropped(self, receiver: str) -> int:
        """How many notices ``receiver`` will never get, since the file was begun."""
        return self._backlog.places[receiver].dropped

    def open_events(self) -> tuple[Notice, ...]:
        """The ``on`` notices whose ``off`` was not appended, oldest first."""
        with self._lock:
            self._settle()
            texts = self._backlog.open_events
            notices = {event: self._parsed(text) for event, text in texts.items()}
            for event in [event for event, notice in notices.items() if notice is None]:
                del texts[event]
        return tuple(notice for notice in notices.values() if notice is not None)

    def warnings(self) -> tuple[str, ...]:
        """What a person should know, a line each; each is given once."""
        lines = []
        with suppress(IndexError):
            while True:
                lines.append(self._backlog.warnings.popleft())
        return tuple(lines)

    def close(self, drain_timeout: float = _CLOSE_PATIENCE_SECONDS) -> None:
        """Write what the disk takes and let go of the file; nothing is taken any more.

        Waits no longer than the patience for another thread that is at the disk.
        """
        if self._lock.acquire(timeout=drain_timeout):
            try:
                self._settle()
                if not self._closed:
                    self._closed = True
                    saved = self._backlog.close()
                    if self._journal is not None:
                        if saved:
                            self._journal.clear()
                        self._journal.close()
            finally:
                self._lock.release()
        self._closed = True  # also where the disk hangs

    def _take_journal(self, journal: SpoolJournal) -> None:
        """What the process before this one appended last, if it was killed just then."""
        for number, text in journal.read(after=self._number):
            notice = self._parsed(text)
            if notice is not None:
                self._number = number
                self._inbox.append((number, notice.event, notice.state, text))
        self._number = max(self._number, journal.latest)  # also where the spool was begun anew
        with self._lock:
            self._settle()
            if self._backlog.is_saved:
                journal.clear()
        journal.reserve()

    def _take_what_came(self) -> None:
        """Take what was appended while this thread held the lock."""
        while self._inbox and not self._closed and self._lock.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._lock.release()

    def _settle(self, quick: bool = False) -> None:
        """Empty the inbox and write it; the lock is held."""
        if self._closed:
            return
        overflows = self._overflows - self._counted_overflows
        self._counted_overflows += overflows
        for place in self._backlog.places.values():
            place.dropped += overflows
        came = bool(self._inbox)
        while self._inbox:
            with suppress(IndexError):  # an append that found it full was faster
                self._backlog.add(*self._inbox.popleft())
        self._backlog.settle(quick)
        if came:
            for news in self._news.values():
                news.set()

    def _parsed(self, text: str) -> Notice | None:
        try:
            return Notice.from_json(text)
        except (ValueError, TypeError, KeyError, AttributeError):
            self._backlog.warnings.append(f"the spool held what is no event: {text[:80]!r}")
            return None
