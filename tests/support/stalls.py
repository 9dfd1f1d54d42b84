"""Sees where this machine stood still, and stalls it to find tests that only luck lets pass.

``python -m tests.support.stalls SECONDS [SEED]``, as root, beside ``make test``: every few seconds
nothing else runs for up to a second and a half, on any core.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_STEP_SECONDS = 0.02


class Stalls:
    """What a thread that only sleeps has missed."""

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []  # when it woke up, and by how much too late
        self._end = threading.Event()

    def ran(self, begin: float, end: float) -> float:
        """Seconds between two times of ``time.monotonic()``, but for those in which nothing ran."""
        time.sleep(2 * _STEP_SECONDS)  # the thread may not have looked since the end
        stood = (min(woke, end) - max(woke - late, begin) for woke, late in self._late)
        return end - begin - sum(max(0.0, seconds) for seconds in stood)

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._end.wait(_STEP_SECONDS):
            now = time.monotonic()
            late = now - last - _STEP_SECONDS
            if late > _STEP_SECONDS:  # less is the rule
                self._late.append((now, late))
            last = now


@contextmanager
def watched() -> Iterator[Stalls]:
    """Watch for stalls meanwhile, to tell a slow program from a slow machine."""
    stalls = Stalls()
    thread = threading.Thread(target=stalls._watch)
    thread.start()
    try:
        yield stalls
    finally:
        stalls._end.set()
        thread.join()


def stall(core: int, seconds: float) -> None:
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def main() -> None:
    end = time.monotonic() + float(sys.argv[1])
    chance = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    while time.monotonic() < end:
        time.sleep(chance.uniform(3.0, 10.0))
        seconds = chance.uniform(0.3, 1.5)
        cores = os.sched_getaffinity(0)
        stalls = [multiprocessing.Process(target=stall, args=(core, seconds)) for core in cores]
        for each in stalls:
            each.start()
        for each in stalls:
            each.join()
        if any(each.exitcode for each in stalls):
            sys.exit("could not stall the machine: that needs root")


if __name__ == "__main__":
    main()
