"""How much memory a command takes: the most of its first process, and of any it began."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Cost:
    """What a command took: its time by the wall clock, and resident memory at its highest."""

    seconds: float
    first_megabytes: float
    other_megabytes: float
    code: int
    stdout: str
    stderr: str


def cost(*arguments: str | Path) -> Cost:
    """Run ``otic`` with these arguments; Linux only."""
    command = [sys.executable, "-m", "otic", *map(str, arguments)]
    begin = time.perf_counter()
    first = other = 0.0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None:
            first = max(first, _highest(process.pid))
            other = max([other, *map(_highest, _descendants(process.pid))])
            time.sleep(_POLL_SECONDS)
        seconds = time.perf_counter() - begin
        stdout, stderr = process.communicate()
    return Cost(seconds, first, other, process.returncode, stdout, stderr)


def _highest(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = [int(text) for text in path.read_text().split()]
        except OSError:
            continue
        for child in below:
            found += [child, *_descendants(child)]
    return found
