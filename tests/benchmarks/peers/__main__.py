"""Times otic's front end beside other MFCC front ends.

    python -m tests.benchmarks.peers [--page] [--json PATH]

`make peers` installs what it needs and runs it; alone on the machine, Linux only.
Everything runs in one process pinned to one core, with one thread. Rounds
alternate: each times every contestant once, for some 60 ms, and ratios are
of times of the same round, so that a machine that is faster for a while is so
for all. Medians and quartiles over the rounds are reported. Before anything is
timed, every output is checked, against librosa's where it claims to be the same.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.benchmarks.peers.common import Audio, Contestant, Peer

PAGE = Path(__file__).parents[3] / "docs" / "speed.md"
BEGIN, END = "<!-- peers:begin -->", "<!-- peers:end -->"
ROUNDS = 15
SECONDS = 0.06  # about, a contestant and round
ALONE = 0.95  # of a core's time; with less, something else ran on it
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMBA")


@dataclass(frozen=True)
class Figure:
    """A row of a table; times in µs, None where the peer is not installed."""

    name: str
    note: str
    microseconds: tuple[float, float, float] | None  # quartiles
    ratio: float | None  # median


def on_one_core() -> None:
    """One core and one thread; to be called before numpy is imported, which reads this once."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for library in THREADS:
        os.environ[f"{library}_NUM_THREADS"] = "1"


def prepare(peers: list[Peer], audio: Audio) -> dict[str, Contestant]:
    """Set up and check those that are installed; name the others on stderr."""
    contestants = {}
    for peer in peers:
        try:
            contestant = peer.make(audio)
        except ImportError as error:
            print(f"{peer.name}: not measured ({error})", file=sys.stderr)
            print(f"  pip install {peer.distribution}", file=sys.stderr)
            continue
        try:
            contestant.check()
        except AssertionError as error:
            raise SystemExit(f"{peer.name}: wrong output: {error}") from error
        contestants[peer.name] = contestant
    return contestants


def seconds_of(run: Callable[[], object], times: int) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        run()
    return time.perf_counter() - begin


def repetitions(run: Callable[[], object]) -> int:
    """How many runs take SECONDS; the first one only warms up."""
    run()
    times = 1
    while (seconds := seconds_of(run, times)) < SECONDS / 4:
        times *= 2
    return math.ceil(times * SECONDS / seconds)


def measure(contestants: dict[str, Contestant]) -> dict[str, list[float]]:
    """µs a hop, round by round."""
    times = {name: repetitions(contestant.run) for name, contestant in contestants.items()}
    rounds: dict[str, list[float]] = {name: [] for name in contestants}
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(ROUNDS):
        for name, contestant in contestants.items():
            seconds = seconds_of(contestant.run, times[name])
            rounds[name].append(1e6 * seconds / (times[name] * contestant.hops))
    share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    if share < ALONE:
        print(f"the core was ours for only {share:.0%} of the time: not alone", file=sys.stderr)
    return rounds


def figures(peers: list[Peer], rounds: dict[str, list[float]], unit: str) -> list[Figure]:
    """A row for each peer; ratios are to the peer called ``unit``."""
    rows = []
    for peer in peers:
        if peer.name not in rounds:
            rows.append(Figure(peer.name, peer.note, None, None))
            continue
        low, median, high = statistics.quantiles(rounds[peer.name], method="inclusive")
        ratios = [a / b for a, b in zip(rounds[peer.name], rounds[unit], strict=True)]
        rows.append(Figure(peer.name, peer.note, (low, median, high), statistics.median(ratios)))
    return rows


def short(value: float) -> str:
    """Three digits, or all before the point."""
    decimals = max(0, 2 - math.floor(math.log10(value)))
    return f"{value:.{decimals}f}"


def table(rows: list[Figure], per: str) -> str:
    lines = [f"| | µs {per} | quartiles | × otic | |", "|---|--:|--:|--:|---|"]
    for row in rows:
        if row.microseconds is None or row.ratio is None:
            lines.append(f"| {row.name} | not measured | | | {row.note} |")
            continue
        low, median, high = map(short, row.microseconds)
        ratio = short(row.ratio)
        lines.append(f"| {row.name} | {median} | {low} … {high} | {ratio} | {row.note} |")
    return "\n".join(lines)


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def versions(peers: list[Peer], measured: dict[str, list[float]]) -> dict[str, str]:
    names = {peer.distribution for peer in peers if peer.name in measured}
    return {name: metadata.version(name) for name in sorted(names | {"numba", "numpy"})}


def write_into_page(text: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"docs/speed.md lacks the lines {BEGIN} and {END}")
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/speed.md")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to PATH")
    arguments = parser.parse_args()

    on_one_core()
    # Not before: this imports numpy.
    from tests.benchmarks.peers.common import Audio
    from tests.benchmarks.peers.tables import FRONT_ENDS, INFERENCES, OTIC, OTIC_INFERENCE

    peers = FRONT_ENDS + INFERENCES
    with tempfile.TemporaryDirectory() as folder:
        rounds = measure(prepare(peers, Audio(Path(folder))))
    front_ends = figures(FRONT_ENDS, rounds, OTIC)
    inferences = figures(INFERENCES, rounds, OTIC_INFERENCE)
    installed = versions(peers, rounds)

    text = "\n\n".join(
        [
            table(front_ends, "a hop"),
            table(inferences, "an inference"),
            f"{processor()}, one core, one thread; {ROUNDS} alternated rounds. "
            f"Python {platform.python_version()}, "
            + ", ".join(f"{name} {version}" for name, version in installed.items())
            + ".",
        ]
    )
    print(text)
    if arguments.page:
        write_into_page(text)
    if arguments.json:
        data = {
            "processor": processor(),
            "python": platform.python_version(),
            "versions": installed,
            "front_ends": [asdict(row) for row in front_ends],
            "inferences": [asdict(row) for row in inferences],
            "rounds": rounds,
        }
        arguments.json.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
