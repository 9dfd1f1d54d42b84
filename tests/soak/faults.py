"""What goes wrong, when, and for how long: drawn by chance, from a seed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Fault:
    """Something that begins and ends; of one ``group`` there is never more than one at a time."""

    name: str
    group: str
    begin: Callable[[], None]
    end: Callable[[], None] = _nothing
    shortest_seconds: float = 0.0
    longest_seconds: float = 0.0
    weight: float = 1.0


@dataclass
class Happened:
    """A fault that was, by the wall clock: from before its begin to after its end."""

    name: str
    began: float
    ended: float = 0.0


class Chance:
    """Begins and ends faults.

    Parameters
    ----------
    faults : sequence of Fault
    seed : int
    every_seconds : float
        How often one begins, on average.
    """

    def __init__(self, faults: Sequence[Fault], seed: int, every_seconds: float) -> None:
        self._faults = faults
        self._rng = random.Random(seed)
        self._every = every_seconds
        self._next = time.monotonic() + every_seconds
        self._running: dict[str, tuple[float, Fault, Happened]] = {}
        self.happened: list[Happened] = []

    def look(self) -> None:
        """End what is over, begin what is due."""
        now = time.monotonic()
        for group, (until, fault, happened) in list(self._running.items()):
            if now >= until:
                fault.end()
                happened.ended = time.time()
                del self._running[group]
        if now < self._next:
            return
        self._next = now + self._rng.uniform(0.5, 1.5) * self._every
        free = [fault for fault in self._faults if fault.group not in self._running]
        if not free:
            return
        fault = self._rng.choices(free, [f.weight for f in free])[0]
        happened = Happened(fault.name, time.time())
        self.happened.append(happened)
        fault.begin()
        length = self._rng.uniform(fault.shortest_seconds, fault.longest_seconds)
        self._running[fault.group] = (time.monotonic() + length, fault, happened)

    def end_all(self) -> None:
        """All is well again."""
        for _, fault, happened in self._running.values():
            fault.end()
            happened.ended = time.time()
        self._running.clear()
        self._next = float("inf")
