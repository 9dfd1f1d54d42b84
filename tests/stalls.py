"""Stalls this machine now and then, as a busy host does, to find tests that only luck lets pass.

``python -m tests.stalls SECONDS [SEED]``, as root, beside ``make test``: every few seconds nothing
else runs for up to a second and a half, on any core.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import time


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
