"""The pure core: exact times, gaps, and independence of the block size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otic import Event, Gap, Pipeline, Scores
from otic.errors import ParameterError
from otic.features.frontend import Frontend
from otic.types import MAX_AMPLITUDE, Item, usable_runs
from tests.soak.random_streams import check
from tests.support.helpers import (
    F32,
    SMALL,
    FakeClassifier,
    bundled,
    cut,
    decision,
    noise,
    small_bundle,
)

WINDOW = SMALL.window_samples
HOP = 3 * SMALL.hop_length
DATED_BACK = {"onset_ground": 0.5, "onset_back_seconds": 1.0}


def pipeline(**changes: float) -> Pipeline:
    return Pipeline(small_bundle(decision=decision(3, **changes)), FakeClassifier())


def loud_and_quiet(n: int, seed: int = 0) -> F32:
    level = 10.0 ** np.repeat(np.random.default_rng(seed).uniform(-4, 0, n // 900 + 1), 900)[:n]
    return (noise(n, seed, 1.0) * level).astype(np.float32)


def run(pipe: Pipeline, blocks: list[F32]) -> list[Item]:
    return [item for block in blocks for item in pipe.process(block)] + pipe.flush()


def test_predictions_come_at_exact_samples() -> None:
    pipe = pipeline()
    y = loud_and_quiet(WINDOW + 10 * HOP - 1)
    scores = [i for i in pipe.process(y) if isinstance(i, Scores)]
    assert [s.sample for s in scores] == [WINDOW + i * HOP for i in range(10)]
    assert scores[0].time == WINDOW / SMALL.sr
    assert pipe.sample == len(y)


def test_a_prediction_looks_at_its_window_and_nothing_else() -> None:
    y = loud_and_quiet(WINDOW + 10 * HOP)
    for item in pipeline().process(y):
        if isinstance(item, Scores):
            frontend = Frontend(SMALL)
            frontend.push(y[item.sample - WINDOW : item.sample])
            expected = FakeClassifier().predict(frontend.features())
            assert list(item.scores.values()) == expected.tolist()


def test_no_prediction_before_the_window_is_full() -> None:
    pipe = pipeline()
    assert pipe.process(noise(WINDOW - 1)) == []
    assert pipe.flush() == []


@given(
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=10),
    holes=st.lists(st.tuples(st.integers(0, 19999), st.integers(1, 3000)), max_size=3),
    dated=st.sampled_from([{}, DATED_BACK]),
)
@settings(max_examples=60)
def test_any_cutting_gives_the_same_items(
    sizes: list[int], holes: list[tuple[int, int]], dated: dict[str, float]
) -> None:
    y = loud_and_quiet(20000)
    for start, length in holes:
        y[start : start + length] = np.nan
    whole = run(pipeline(**dated), [y])
    assert run(pipeline(**dated), cut(y, sizes)) == whole
    lost = sum(i.lost for i in whole if isinstance(i, Gap))
    assert lost == np.isnan(y).sum()


def test_dating_back_moves_onsets_and_nothing_else() -> None:
    y = loud_and_quiet(60000)
    plain, dated = run(pipeline(), [y]), run(pipeline(**DATED_BACK), [y])
    assert [i for i in plain if not isinstance(i, Event)] == [
        i for i in dated if not isinstance(i, Event)
    ]
    pairs = [
        (a, b)
        for a, b in zip(plain, dated, strict=True)
        if isinstance(a, Event) and isinstance(b, Event)
    ]
    assert any(b.onset < a.onset for a, b in pairs)
    assert [replace(b, onset=a.onset) for a, b in pairs] == [a for a, _ in pairs]


def test_events_close_at_a_gap_and_the_window_starts_anew() -> None:
    pipe = pipeline()
    loud = noise(4 * WINDOW, level=0.5)
    before = pipe.process(loud)
    assert [i.state for i in before if isinstance(i, Event)] == ["on"]
    (off,) = pipe.lose(500)
    assert isinstance(off, Event)
    assert off.state == "off"
    assert off.time == off.offset == 4 * WINDOW / SMALL.sr
    assert pipe.lose(100) == []  # the same gap goes on
    first, *rest = pipe.process(loud)
    assert first == Gap(4 * WINDOW, 600)
    scores = [i for i in rest if isinstance(i, Scores)]
    assert scores[0].sample == 4 * WINDOW + 600 + WINDOW
    again = [i for i in rest if isinstance(i, Event)]
    assert again[0].onset >= (4 * WINDOW + 600) / SMALL.sr
    assert [i.state for i in pipe.flush() if isinstance(i, Event)] == ["off"]
    assert (pipe.sample, pipe.lost) == (8 * WINDOW + 600, 600)


def test_a_gap_at_the_end_is_reported() -> None:
    pipe = pipeline()
    pipe.process(noise(100))
    pipe.lose(7)
    assert pipe.flush() == [Gap(100, 7)]
    assert pipe.flush() == []


def test_reset_starts_over() -> None:
    y = loud_and_quiet(5 * WINDOW)
    pipe = pipeline()
    first = run(pipe, [y])
    pipe.reset()
    assert run(pipe, [y]) == first


def test_losing_nothing_is_nothing() -> None:
    pipe = pipeline()
    assert pipe.lose(0) == []
    assert pipe.process(np.zeros(0, np.float32)) == []
    with pytest.raises(ParameterError, match=r"shape \(2, 2\)"):
        pipe.process(np.zeros((2, 2), np.float32))


def test_the_readme_example() -> None:
    """A bundled model, by name, on its own classifier."""
    pipe = Pipeline(bundled())
    items = [*pipe.process(noise(22050 * 4)), *pipe.flush()]
    scores = [i for i in items if isinstance(i, Scores)]
    assert len(scores) == (22050 * 4 - 44032) // (11 * 512) + 1
    assert all(0.0 < sum(s.scores.values()) < 1.0 + 1e-5 for s in scores)


def test_usable_runs() -> None:
    y = np.array([1, np.nan, 1e25, 2, -MAX_AMPLITUDE, -np.inf], np.float32)
    assert list(usable_runs(y)) == [(0, 1, True), (1, 3, False), (3, 5, True), (5, 6, False)]
    assert list(usable_runs(y[:0])) == []
    assert list(usable_runs(y[1:3])) == [(0, 2, False)]


def test_every_on_has_its_off_whatever_happens_to_the_stream() -> None:
    """``python -m tests.soak.random_streams 10000`` tries more."""
    assert sum(check(seed) for seed in range(300)) > 300
