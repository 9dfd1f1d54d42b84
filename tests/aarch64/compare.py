"""Compares two logs of the same sounds, made on two kinds of processor.

    tests/aarch64/compare.py NATIVE EMULATED

Everything must be the same: the lines, their order, samples, times, events; only scores and peaks
may differ, by 1e-4 at most, because another processor rounds its sums differently.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

TOLERANCE = 1e-4
SHOWN = 5  # differences that are printed

Record = dict[str, Any]


def read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def parted(record: Record) -> tuple[Record, dict[str, float]]:
    """What must be the same, and what may differ a little, of one line."""
    exact, near = dict(record), dict(record.get("scores", {}))
    if near:
        exact["scores"] = list(near)
    for name in ("score", "peak"):
        if name in exact:
            near[name] = exact.pop(name)
            exact[name] = type(near[name]).__name__
    return exact, near


def compared(native: Record | None, emulated: Record | None) -> tuple[str, float]:
    """What is wrong with two lines, or nothing, and their largest score difference."""
    if native is None or emulated is None:
        return f"only in one log: {json.dumps(native or emulated)}", 0.0
    (exact, near), (exact_other, near_other) = parted(native), parted(emulated)
    if exact != exact_other:
        return f"{json.dumps(native)} became {json.dumps(emulated)}", 0.0
    differences = [abs(near[name] - near_other[name]) for name in near]
    largest = max(differences, default=0.0)
    within = all(difference <= TOLERANCE for difference in differences)  # no NaN is
    return ("" if within else f"scores differ by {largest:.2g}"), largest


def compared_logs(native: list[Record], emulated: list[Record]) -> Iterator[tuple[str, float]]:
    for number, pair in enumerate(zip_longest(native, emulated), 1):
        wrong, largest = compared(*pair)
        yield (f"line {number}: {wrong}" if wrong else ""), largest


def main(native_path: str, emulated_path: str) -> int:
    native, emulated = read(Path(native_path)), read(Path(emulated_path))
    results = list(compared_logs(native, emulated))
    wrong = [text for text, _ in results if text]
    print(*wrong[:SHOWN], sep="\n", end="\n" if wrong else "")
    kinds = [record["type"] for record in native]
    # An empty log, or one without events, would prove little.
    passed = not wrong and kinds.count("scores") > 0 and kinds.count("event") > 0
    print(
        f"{'PASS' if passed else 'FAIL'} log: {len(native)} lines, "
        f"{kinds.count('scores')} of scores, {kinds.count('event')} events; "
        f"{len(wrong)} lines differ; "
        f"largest score difference {max((d for _, d in results), default=0.0):.2g}"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
