"""What a process takes: memory, threads, descriptors; and whether that grows."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Vitals:
    """At one moment, by the wall clock."""

    at: float
    rss_kilobytes: int
    threads: int
    descriptors: int


def vitals(pid: int, at: float) -> Vitals | None:
    """None where there is no such process any more."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
        facts = dict(line.split(":", 1) for line in status.splitlines())
        return Vitals(at, int(facts["VmRSS"].split()[0]), int(facts["Threads"]), descriptors)
    except (OSError, KeyError):
        return None


def children(pid: int) -> list[int]:
    """Of the process's first thread."""
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def growth(life: Sequence[Vitals]) -> tuple[float, int, int]:
    """RSS in MB, threads and descriptors: medians of the last tenth less those after a tenth."""
    if not life:
        return 0.0, 0, 0
    tenth = max(1, len(life) // 10)
    early, late = life[tenth : 2 * tenth + 1] or life, life[-tenth - 1 :]

    def by(name: str) -> float:
        def median(part: Sequence[Vitals]) -> float:
            return float(statistics.median(getattr(v, name) for v in part))

        return median(late) - median(early)

    return by("rss_kilobytes") / 1024, round(by("threads")), round(by("descriptors"))
