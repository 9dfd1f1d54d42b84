"""Streams of noise with losses, NaN, resets and sudden ends; what must hold for their events.

10 000 of them: ``python -m tests.soak.random_streams 10000`` (a minute).
"""

from __future__ import annotations

import sys

import numpy as np

from otic import Event, Pipeline
from otic.types import Item
from tests.support.helpers import SMALL, FakeClassifier, decision, small_bundle


def stream(seed: int) -> tuple[list[list[Item]], list[float]]:
    """What a pipeline said between resets, and how long each part was, in seconds."""
    rng = np.random.default_rng(seed)
    low = float(rng.uniform(0.05, 0.5))
    params = decision(
        3,
        smoothing_scores=int(rng.integers(1, 5)),
        on_thresholds=(float(rng.uniform(low, 0.9)),) * 3,
        off_thresholds=(low,) * 3,
        min_on_seconds=float(rng.choice([0.0, 0.05, 0.2])),
        min_off_seconds=float(rng.choice([0.0, 0.05, 0.2])),
        max_on_seconds=float(rng.choice([0.5, 1.0, 60.0])),
        lag_seconds=float(rng.choice([0.0, 0.05])),
    )
    pipe = Pipeline(small_bundle(decision=params), FakeClassifier())
    parts: list[list[Item]] = [[]]
    seconds: list[float] = []
    for _ in range(int(rng.integers(1, 12))):
        n = int(rng.integers(0, 6000))
        y = (rng.standard_normal(n) * 10.0 ** rng.uniform(-5, 0)).astype(np.float32)
        kind = rng.random()
        if kind < 0.15 and n:
            y[int(rng.integers(n)) :][: int(rng.integers(1, 200))] = rng.choice([np.nan, np.inf])
        elif kind < 0.3:
            parts[-1] += pipe.lose(int(rng.integers(0, 3000)))
        elif kind < 0.4:  # a signal: what is on goes off, and no more is said
            parts[-1] += pipe.flush()
            seconds.append(pipe.sample / SMALL.sr)
            pipe.reset()
            parts.append([])
        parts[-1] += pipe.process(y)
    parts[-1] += pipe.flush()
    return parts, [*seconds, pipe.sample / SMALL.sr]


def check(seed: int) -> int:
    """Raise AssertionError where the events of a stream are not in order; gives their number."""
    parts, lengths = stream(seed)
    count = 0
    for items, length in zip(parts, lengths, strict=True):
        events = [item for item in items if isinstance(item, Event)]
        count += len(events)
        times = [e.time for e in events]
        assert times == sorted(times)
        assert all(0.0 <= e.onset <= e.time <= length for e in events)
        for label in ("quiet", "loud", "odd"):
            own = [e for e in events if e.label == label]
            assert [e.state for e in own] == ["on", "off"] * (len(own) // 2)
            last = 0.0
            for on, off in zip(own[::2], own[1::2], strict=True):
                assert off.offset is not None
                assert last <= on.onset == off.onset <= off.offset <= off.time
                last = off.offset
    return count


if __name__ == "__main__":
    wanted = int(sys.argv[1])
    events = sum(check(seed) for seed in range(wanted))
    print(f"{wanted} streams, {events} events: each on has its off, times are in order")
