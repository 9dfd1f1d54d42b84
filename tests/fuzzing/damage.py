"""Damage to bytes, and what the fuzzers measure and require."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

from otic.errors import OticError

MAX_MESSAGE = 900
"""Characters of an error: one line that a person reads."""
MAX_GROWTH_MIB = 128
"""Between a tenth of the inputs and all of them; allocators keep some, and libsndfile loses a third
of a KiB with each file that it refuses, also without otic."""

EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damage(data: bytes, rng: Random) -> bytes:
    """One to four of: flips, numbers at the edge, what is cut out, doubled, put in, cut off."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(out) + 1)
        length = rng.choice((1, 2, 4, rng.randrange(1, 200)))
        kind = rng.randrange(6)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            put_number(out, at, rng)
        elif kind == 3:
            del out[at : at + length]
        elif kind == 4:
            out[at:at] = out[at : at + length]
        elif rng.random() < 0.3:
            del out[at:]
    return bytes(out)


def put_number(out: bytearray, at: int, rng: Random) -> None:
    """Overwrite what is there by a number at the edge of what its bytes can hold."""
    size = rng.choice((1, 2, 4))
    number = rng.choice(EDGES) % 256**size
    out[at : at + size] = number.to_bytes(size, rng.choice(("little", "little", "big")))


def check_message(error: OticError) -> None:
    """Require one readable line."""
    text = str(error)
    assert text, "an error without words"
    assert len(text) <= MAX_MESSAGE, f"an error of {len(text)} characters: {text[:200]}"
    assert text.isprintable(), f"an error that a terminal would obey: {text!r}"


def rss_mib() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) / 256  # pages of 4 KiB


class Watch:
    """Time of each input, and memory after a tenth of them and at the end."""

    def __init__(self, wanted: int, max_seconds: float) -> None:
        self.wanted = wanted
        self.done = 0
        self.slowest = 0.0
        self._max_seconds = max_seconds
        self._start = time.perf_counter()
        self._early = 0.0

    def begin(self) -> None:
        self._began = time.thread_time()  # of a shared machine's other work knows nothing

    def end(self) -> None:
        seconds = time.thread_time() - self._began
        self.slowest = max(self.slowest, seconds)
        assert seconds <= self._max_seconds, f"it took {seconds:.1f} s"
        self.done += 1
        if self.done == max(1, self.wanted // 10):
            self._early = rss_mib()

    def report(self) -> str:
        seconds = time.perf_counter() - self._start
        growth = rss_mib() - self._early
        assert growth <= MAX_GROWTH_MIB, f"memory grew by {growth:.0f} MiB"
        return (
            f"{self.done} inputs in {seconds:.0f} s ({self.done / seconds:.0f} a second), "
            f"the slowest {self.slowest * 1000:.0f} ms; memory {self._early:.0f} MiB after a "
            f"tenth, {self._early + growth:.0f} at the end"
        )
