"""Which notices wait for whom: in the spool's file, in memory while the disk takes none."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from otic.errors import SinkError
from otic.sinks.delivery.spool_store import SpoolStore, is_damage

_RETRY_SECONDS = 0.25
_BATCH = 100


class Place:
    """How far a receiver is.

    ``done`` is the sequence up to which it had, or will never have, every notice;
    ``dropped`` and ``waiting`` count notices.
    """

    def __init__(self, done: int, dropped: int, waiting: int) -> None:
        self.done = done
        self.dropped = dropped
        self.waiting = waiting

    def skip(self, sequence: int) -> None:
        """Drop the oldest that waits, which is ``sequence``."""
        self.done = sequence
        self.dropped += 1
        self.waiting -= 1


class Backlog:
    """Everything that :class:`otic.sinks.delivery.spool.Spool` knows, for one thread at a time.

    What is in memory is the truth; :meth:`settle` makes the file equal to it. No method but
    the constructor raises for a disk that is full or fails: that is tried again four times a
    second, by whichever call comes.

    Parameters
    ----------
    path : Path or None
    receivers : sequence of str
    max_events, max_memory : int
        How many notices may wait, and how many of these in memory for want of a disk.

    Raises
    ------
    SinkError
    """

    def __init__(
        self, path: Path | None, receivers: Sequence[str], max_events: int, max_memory: int
    ) -> None:
        self.warnings: deque[str] = deque(maxlen=20)
        self.open_events: dict[str, str] = {}
        """The ``on`` notices without an ``off``, as JSON, by event."""
        self.taken = 0
        """The number of the latest append."""
        self._max_events = max_events
        self._max_memory = max_events if path is None else max_memory
        # Sequence, JSON and number of what is not in the file; a run up to the last sequence.
        self._pending: deque[tuple[int, str, int]] = deque()
        self._last = 0  # the latest sequence
        self._failing = False
        self._unreadable = False  # as far as was said
        self._retry_at = 0.0
        self._store = None if path is None else SpoolStore(path, self.warnings.append)
        known: dict[str, Place] = {}  # to the file
        if self._store is not None:
            known = self._open_at_start(self._store)
        self.places = {name: known.get(name) or Place(self._last, 0, 0) for name in receivers}
        for name, place in known.items():
            if place.waiting and name not in self.places:
                self.warnings.append(
                    f"{name} is no longer configured: {place.waiting} events that waited for it "
                    "are dropped"
                )
        self.settle()

    @property
    def is_saved(self) -> bool:
        """Whether the file holds all."""
        store = self._store
        return store is not None and store.is_open and store.taken == self.taken

    def add(self, number: int, event: str, state: str, text: str) -> None:
        """Append a notice, in memory; numbers rise."""
        self.taken = number
        if state == "on":
            self.open_events[event] = text
        else:
            self.open_events.pop(event, None)
        if self.places:
            self._last += 1
            self._pending.append((self._last, text, number))
        for place in self.places.values():
            place.waiting += 1

    def oldest_after(self, sequence: int) -> tuple[int, str] | None:
        """The first notice after ``sequence``, as JSON, with its own sequence."""
        store = self._store
        if store is not None and store.is_open:
            try:
                found = store.oldest_after(sequence)
            except sqlite3.Error as error:
                self._note_unreadable(store, error)
                if store.is_open:
                    return None  # what is in the file comes first: it is read again, later
            else:
                self._unreadable = False
                if found is not None:
                    return found
        if not self._pending:
            return None
        index = max(0, sequence + 1 - self._pending[0][0])
        return self._pending[index][:2] if index < len(self._pending) else None

    def settle(self, quick: bool = False) -> None:
        """Drop what is too much, then write what is not written; ``quick``: some of it."""
        self._drop_beyond_limit()
        all_done = self._all_done()
        while self._pending and self._pending[0][0] <= all_done:
            self._pending.popleft()
        if self._store is not None and time.monotonic() >= self._retry_at:
            self._write(self._store, quick)
        while len(self._pending) > self._max_memory:
            self._drop_from_memory()

    def checkpoint_is_due(self, factor: float = 1.0) -> bool:
        """Whether it is time for :meth:`checkpoint`; a ``factor`` above 1: long past it."""
        store = self._store
        if store is None or not store.is_open or time.monotonic() < self._retry_at:
            return False
        return store.checkpoint_is_due(factor)

    def checkpoint(self) -> None:
        """Bring the file to the disk and wait for that."""
        assert self._store is not None
        try:
            self._store.checkpoint()
        except sqlite3.Error as error:
            self._note_failure(self._store, error)

    def close(self) -> bool:
        """Write what the disk takes and let go of the file; whether it took all."""
        self._retry_at = 0.0
        self.settle()
        saved = self.is_saved
        if self._store is not None:
            self._store.close()
        return saved

    def _open_at_start(self, store: SpoolStore) -> dict[str, Place]:
        """What the file holds, and how far each receiver is that it knows."""
        try:
            store.open()
            self._last = store.last()
            self.taken = store.taken
            self.open_events = dict(store.open_events)
            return {
                name: Place(done, dropped, store.count_after(done))
                for name, (done, dropped) in store.places.items()
            }
        except sqlite3.Error as error:
            if not store.is_new:
                raise SinkError(
                    f"{str(store.path)!r} can't be read: {error}: mend the disk, or name another "
                    "folder with --spool-directory"
                ) from error
            self._note_failure(store, error)  # a full disk: it may have room later
            return {}

    def _write(self, store: SpoolStore, quick: bool) -> None:
        try:
            if not store.is_open:
                if quick:
                    return
                store.open()
            while True:
                rows = list(islice(self._pending, _BATCH))
                places = {name: (p.done, p.dropped) for name, p in self.places.items()}
                taken = self.taken if len(rows) == len(self._pending) else rows[-1][2]
                pairs = [row[:2] for row in rows]
                store.save(pairs, places, self.open_events, taken, self._all_done())
                for _ in rows:
                    self._pending.popleft()
                if quick or not self._pending:
                    break
        except (sqlite3.Error, SinkError) as error:
            self._note_failure(store, error)
        else:
            if self._failing:
                self._failing = False
                self.warnings.append(f"{str(store.path)!r} can be written again")

    def _drop_beyond_limit(self) -> None:
        while max((p.waiting for p in self.places.values()), default=0) > self._max_events:
            found = self.oldest_after(self._all_done())
            if found is None:
                break
            for place in self.places.values():
                if place.done < found[0]:
                    place.skip(found[0])

    def _drop_from_memory(self) -> None:
        first = self._pending[0][0]
        for place in self.places.values():
            if place.done >= first:
                continue
            if place.waiting == self._in_memory(place):  # nothing older waits in the file
                place.skip(first)
            else:
                place.dropped += 1
                place.waiting -= 1
        self._pending.popleft()

    def _in_memory(self, place: Place) -> int:
        """How many of those that wait for a receiver are not in the file."""
        return min(len(self._pending), self._last - place.done)

    def _all_done(self) -> int:
        return min((place.done for place in self.places.values()), default=self._last)

    def _note_failure(self, store: SpoolStore, error: Exception) -> None:
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        if isinstance(error, sqlite3.Error) and is_damage(error) and store.is_open:
            self._give_up_file(store, error)
        elif not self._failing:
            self._failing = True
            self.warnings.append(
                f"{str(store.path)!r} can't be written ({error}): up to {self._max_memory} events "
                "wait in memory until it can"
            )

    def _note_unreadable(self, store: SpoolStore, error: sqlite3.Error) -> None:
        if is_damage(error):
            self._give_up_file(store, error)
        elif not self._unreadable:
            self._unreadable = True
            self.warnings.append(
                f"{str(store.path)!r} can't be read now ({error}): what waits in it is tried again"
            )

    def _give_up_file(self, store: SpoolStore, error: Exception) -> None:
        """The file can't be read: what waits in it is lost, what is in memory goes on."""
        store.close()  # the next settle opens it anew, or puts it aside and begins one
        self._failing = True
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        before_memory = self._last - len(self._pending)
        for place in self.places.values():
            lost = place.waiting - self._in_memory(place)
            place.done = max(place.done, before_memory)
            place.dropped += lost
            place.waiting -= lost
        self.warnings.append(f"{str(store.path)!r} can't be read ({error}): what waited is lost")
