"""Which classes have a row on the dashboard where not all have room."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from otic.dashboard.view_state import Ranking


def test_rows_stay_while_scores_swing() -> None:
    labels = [f"l{i}" for i in range(50)]
    ranking = Ranking(labels)
    rng = np.random.default_rng(0)
    scores = np.linspace(1.0, 0.0, 50).astype(np.float32)
    before = ranking.choose(scores, 8)
    assert before == list(range(8))
    for _ in range(200):
        rows = ranking.choose(scores + rng.normal(0, 0.01, 50).astype(np.float32), 8)
        assert rows == before  # noise moves nothing
    scores[30] = 2.0
    after = ranking.choose(scores, 8)
    assert 30 in after
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1  # one row gave way
    assert ranking.choose(scores, 8, {"l49"}).count(49) == 1
    assert ranking.choose(scores, 60) == list(range(50))
    assert ranking.choose(scores, 0) == []


@given(st.lists(st.lists(st.floats(0, 1), min_size=9, max_size=9), min_size=1, max_size=8))
def test_the_greatest_always_have_a_row(frames: list[list[float]]) -> None:
    ranking = Ranking([f"l{i}" for i in range(9)], ["l7", "l8"])
    for values in frames:
        scores = np.array(values, np.float32)
        rows = ranking.choose(scores, 4, {"l3"})
        assert len(rows) == len(set(rows)) == 4
        assert 3 in rows
        assert rows[0] in (7, 8)
        assert max(scores[:7]) in scores[[i for i in rows if i < 7]] or 3 in rows
