"""What a sensor does for months: nothing grows and nothing drifts.

    python -m tests.benchmarks.long_run

Ten million hops, one a call, must leave the process's memory as it was. A week
of audio must end with the features of a fresh front end, bit for bit. About a
minute.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from otic import Frontend, load_bundle

HOPS = 10_000_000
WEEK_SECONDS = 7 * 24 * 3600
_PAGE_KILOBYTES = 4


def resident_kilobytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_KILOBYTES


def ten_million_hops() -> None:
    p = load_bundle("esc10-mfcc-mlp").features
    frontend = Frontend(p)
    rng = np.random.default_rng(0)
    blocks = list(0.1 * rng.standard_normal((500, p.hop_length)).astype(np.float32))

    def push(n: int) -> None:
        for i in range(n // len(blocks)):
            for block in blocks:
                frontend.push(block)
            if i % 1000 == 0:
                frontend.features()

    push(HOPS // 100)
    before = resident_kilobytes()
    begin = time.perf_counter()
    push(HOPS)
    seconds = time.perf_counter() - begin
    grown = resident_kilobytes() - before
    print(f"{HOPS} hops, one a call, {seconds:.0f} s: memory grew by {grown} kB")
    assert grown <= 0


def a_week() -> None:
    p = load_bundle("esc10-mfcc-mlp").features
    rng = np.random.default_rng(1)
    minute = (0.1 * rng.standard_normal(60 * p.sr)).astype(np.float32)
    frontend = Frontend(p)
    samples = 0
    begin = time.perf_counter()
    while samples < WEEK_SECONDS * p.sr:
        # Louder and softer minutes, none like the last, each cut at another place.
        y = minute[int(rng.integers(0, p.sr)) :] * np.float32(rng.uniform(1e-4, 5.0))
        frontend.push(y)
        samples += len(y)
    seconds = time.perf_counter() - begin
    # The window ends with the last complete frame.
    unused = (samples - p.n_fft) % p.hop_length
    fresh = Frontend(p)
    fresh.push(y[len(y) - unused - p.window_samples : len(y) - unused])
    same = np.array_equal(frontend.features(), fresh.features())
    print(
        f"{samples / p.sr / 3600:.1f} hours, {frontend.n_frames} frames, {seconds:.0f} s: "
        f"features {'equal' if same else 'NOT equal'} to a fresh front end's, bit for bit"
    )
    assert same


if __name__ == "__main__":
    ten_million_hops()
    a_week()
