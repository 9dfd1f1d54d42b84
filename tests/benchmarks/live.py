"""Measures the live path as a whole: replay speed, memory, start-up.

    make bench                                        # or, with the ratio to bare FFTW:
    .venv-peers/bin/python -m tests.benchmarks.live   # after `make peers`

Run it alone on the machine. Everything runs as a person would run it, in
processes of its own, pinned to one core; rounds alternate what is compared, and
medians are reported.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile

from otic.audio.soundscape import synthesise

OTIC = [sys.executable, "-m", "otic"]
ROUNDS = 9


def on_one_core() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def run(command: list[str]) -> tuple[float, float]:
    """Seconds and peak resident memory in MB of a process."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=on_one_core
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    assert process.stderr is not None
    assert status == 0, process.stderr.read().decode()
    return seconds, usage.ru_maxrss / 1024


def until_first_scores(path: Path) -> float:
    """Seconds from the start of the process to the first line of scores."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [*OTIC, "replay", str(path), "--speed", "max", "--jsonl", "-"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    for line in process.stdout:
        if b'"scores"' in line:
            seconds = time.perf_counter() - begin
            process.stdout.read()
            process.wait()
            return seconds
    raise AssertionError("no scores")


def write_soundscape(path: Path, rate: int, channels: int, seconds: int) -> Path:
    """The demo's soundscape over and over, with events in it."""
    y, _ = synthesise(rate)
    y = np.resize(y, rate * seconds)
    frames = np.repeat(y[:, None], channels, axis=1)
    soundfile.write(path, frames, rate, subtype="PCM_16")
    return path


def fftw_seconds() -> float | None:
    """A bare real FFT of 2048 float32, a call; None where pyfftw is not installed."""
    if find_spec("pyfftw") is None:
        return None
    import pyfftw

    frame = pyfftw.empty_aligned(2048, "float32")
    spectrum = pyfftw.empty_aligned(1025, "complex64")
    execute = pyfftw.FFTW(frame, spectrum, flags=("FFTW_PATIENT",)).execute
    rounds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for _ in range(20_000):
            execute()
        rounds.append((time.perf_counter() - begin) / 20_000)
    return statistics.median(rounds)


def replays(folder: Path) -> None:
    print("otic replay --speed max, one core, start-up, log and events included")
    fftw = fftw_seconds()
    if fftw is None:
        print("  without the ratio to bare FFTW: pyfftw is not installed (make peers)")
    for rate, channels, seconds in [(22050, 1, 600), (22050, 1, 3600), (44100, 2, 3600)]:
        path = write_soundscape(folder / "hour.wav", rate, channels, seconds)
        log = folder / "log.jsonl"
        command = [*OTIC, "replay", str(path), "--speed", "max", "--jsonl", str(log)]
        took, memory = zip(*(run(command) for _ in range(3)), strict=True)
        median = statistics.median(took)
        n_events = log.read_bytes().count(b'"event"')
        print(
            f"  {seconds} s, {rate} Hz, {channels} ch: {median:.2f} s = "
            f"{seconds / median:.0f} × real time, peak {max(memory):.0f} MB, {n_events} events"
        )
        if fftw is not None:
            a_hop = median / (seconds * 22050 / 512)
            print(f"    {1e6 * a_hop:.1f} µs a hop = {a_hop / fftw:.1f} × bare FFTW 2048")


def ratio(name: str, of: list[float], to: list[float], limit: str) -> None:
    a, b = statistics.median(of), statistics.median(to)
    print(f"  {name}: {a:.3f} s, {a / b:.2f} × ({limit})")


def start_up(folder: Path) -> None:
    path = write_soundscape(folder / "short.wav", 22050, 1, 3)
    until_first_scores(path)  # fills numba's cache
    first, numba, bare, usage = [], [], [], []
    for _ in range(ROUNDS):
        numba.append(run([sys.executable, "-c", "import numba"])[0])
        first.append(until_first_scores(path))
        bare.append(run([sys.executable, "-c", "pass"])[0])
        usage.append(run([*OTIC, "--help"])[0])
    print("start-up, medians of alternated rounds")
    ratio("python -c pass", bare, bare, "1")
    ratio("python -c 'import numba'", numba, numba, "1")
    ratio("process start to first scores, warm cache", first, numba, "of import numba; limit 3")
    ratio("otic --help", usage, bare, f"of pass; limit {3 * statistics.median(bare) + 0.1:.3f} s")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        start_up(Path(folder))
        replays(Path(folder))


if __name__ == "__main__":
    main()
