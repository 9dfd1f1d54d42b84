"""Which classes have a row where there are more classes than rows; rows stay put."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

_STAYS_WITHIN = 1.5  # of the rows: a class keeps its row while its rank is not below this


class Ranking:
    """Chooses the greatest scores and keeps each in its row while it is about as great.

    Where all classes have room they are in the model's order, groups first.

    Not thread safe.

    Parameters
    ----------
    labels : sequence of str
        The model's.
    groups : collection of str
        Those of the labels that are groups: they come first.
    """

    def __init__(self, labels: Sequence[str], groups: Collection[str] = ()) -> None:
        members = [i for i, label in enumerate(labels) if label not in groups]
        self._groups = [i for i, label in enumerate(labels) if label in groups]
        self._members = members
        self._labels = list(labels)
        self._rows: dict[str, list[int]] = {"groups": [], "members": []}

    def choose(
        self, scores: NDArray[np.float32], n_rows: int, wanted: Collection[str] = ()
    ) -> list[int]:
        """Indices of the labels to show, from the top.

        Parameters
        ----------
        scores : float32 [n_labels]
        n_rows : int
        wanted : collection of str
            These have a row in any case, as far as there are rows: what is on, what is chosen.
        """
        if n_rows >= len(self._labels):
            return self._groups + self._members
        if n_rows <= 0:
            return []
        n_groups = min(len(self._groups), n_rows // 3)
        wish = {self._labels.index(label) for label in wanted if label in self._labels}
        groups = self._kept("groups", self._groups, scores, n_groups, wish)
        return groups + self._kept("members", self._members, scores, n_rows - n_groups, wish)

    def _kept(
        self,
        kind: str,
        candidates: list[int],
        scores: NDArray[np.float32],
        n_rows: int,
        wish: set[int],
    ) -> list[int]:
        """The rows of one kind: those before, where they still belong; new ones in the others."""
        if len(candidates) <= n_rows:
            return candidates
        order = sorted(candidates, key=lambda i: (i not in wish, -float(scores[i]), i))
        must = {i for i in order[:n_rows] if i in wish} | set(order[: max(1, n_rows // 2)])
        may = set(order[: round(n_rows * _STAYS_WITHIN)])
        before = self._rows[kind]
        if len(before) != n_rows:
            before = []
        stay = [i for i in before if i in must]
        for i in sorted((i for i in before if i in may - must), key=order.index):
            if len(stay) + len(must - set(stay)) < n_rows:
                stay.append(i)
        new = [i for i in order if i not in stay][: n_rows - len(stay)]
        waiting = iter(new)
        rows = [i if i in stay else next(waiting) for i in before] if before else new
        self._rows[kind] = rows
        return rows
