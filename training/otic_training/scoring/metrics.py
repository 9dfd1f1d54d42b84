"""Figures from scores on clips that training did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_F32 = NDArray[np.float32]
_I64 = NDArray[np.int64]

RELIABILITY_BINS = 10


@dataclass(frozen=True)
class Tested:
    """Scores of windows of tested clips.

    Attributes
    ----------
    fold : int
        The fold that was held out; the first of several.
    scores : float32 [n_windows, n_labels]
    clip : int64 [n_windows]
        Which clip each window is of; any numbers.
    target : int64 [n_windows]
        The label of each window's clip.
    """

    fold: int
    scores: _F32
    clip: _I64
    target: _I64

    def clips(self) -> tuple[_F32, _I64]:
        """Mean scores of each clip's windows, float32 [n_clips, n_labels], and its label."""
        _, first, inverse = np.unique(self.clip, return_index=True, return_inverse=True)
        sums = np.zeros((len(first), self.scores.shape[1]))
        np.add.at(sums, inverse, self.scores)
        means = sums / np.bincount(inverse)[:, None]
        return means.astype(np.float32), self.target[first]

    @property
    def clip_accuracy(self) -> float:
        """Share of clips whose mean score is highest at their label."""
        scores, target = self.clips()
        return float(np.mean(scores.argmax(axis=1) == target))

    @property
    def window_accuracy(self) -> float:
        """Share of windows whose score is highest at their clip's label."""
        return float(np.mean(self.scores.argmax(axis=1) == self.target))

    def confusion(self) -> _I64:
        """``[i][j]`` counts clips of label ``i`` that were taken for ``j``."""
        scores, target = self.clips()
        counts = np.zeros((scores.shape[1],) * 2, np.int64)
        np.add.at(counts, (target, scores.argmax(axis=1)), 1)
        return counts


@dataclass(frozen=True)
class Figures:
    """What a bundle, a card and a report say of accuracy; shares from 0 to 1, to four places.

    Attributes
    ----------
    protocol : str
        How the clips were tested.
    clips : int
        Clips tested, each counted once.
    clip_mean, clip_sd, window_mean, window_sd : float
        Mean accuracy of clips and of windows over the results, and its standard deviation.
    clip_by_fold : list of float
        Accuracy of clips of each result.
    calibration_error : float
        Expected calibration error of windows.
    confusion : list of list of int
        ``[i][j]`` counts clips of label ``i`` that were taken for ``j``, once for each seed.
    clip_by_seed : list of float, optional
        Mean accuracy of clips of each seed, where there are several.
    """

    protocol: str
    clips: int
    clip_mean: float
    clip_sd: float
    clip_by_fold: list[float]
    window_mean: float
    window_sd: float
    calibration_error: float
    confusion: list[list[int]]
    clip_by_seed: list[float] | None = None

    @classmethod
    def of(cls, results: Sequence[Tested], protocol: str, seeds: int = 1) -> Figures:
        """Sum up the results: a fold each, or the folds of one seed after the other."""
        clip = np.array([r.clip_accuracy for r in results])
        window = np.array([r.window_accuracy for r in results])
        ddof = 1 if len(results) > 1 else 0
        confusion = np.sum([r.confusion() for r in results], axis=0)
        by_seed = clip.reshape(seeds, -1).mean(axis=1)
        return cls(
            protocol=protocol,
            clips=int(confusion.sum()) // seeds,
            clip_mean=round(float(clip.mean()), 4),
            clip_sd=round(float(clip.std(ddof=ddof)), 4),
            clip_by_fold=[round(float(a), 4) for a in clip],
            window_mean=round(float(window.mean()), 4),
            window_sd=round(float(window.std(ddof=ddof)), 4),
            calibration_error=round(calibration_error(reliability(results)), 4),
            confusion=confusion.tolist(),
            clip_by_seed=[round(float(a), 4) for a in by_seed] if seeds > 1 else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def spread(self, kind: str, width: int = 0) -> str:
        """``93.5% ± 1.2%`` for ``clip`` or ``window``; one result alone has no spread."""
        values = self.to_dict()
        mean, sd = f"{values[f'{kind}_mean']:{width}.1%}", f" ± {values[f'{kind}_sd']:.1%}"
        return mean + sd if len(self.clip_by_fold) > 1 else mean

    def line(self, name: str) -> str:
        """One line of text."""
        clip, window = self.spread("clip", 6), self.spread("window", 6)
        return f"  {name:<15} {clip} of {self.clips} clips, {window} of windows"


def by_class(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Recall, precision and F1 of clips for each label; None where nothing was to be found."""
    counts = np.asarray(confusion)
    rows = []
    for i, label in enumerate(labels):
        hits, true, heard = counts[i, i], counts[i].sum(), counts[:, i].sum()
        rows.append(
            {
                "label": label,
                "clips": int(true),
                "recall": _ratio(hits, true),
                "precision": _ratio(hits, heard),
                "f1": _ratio(2 * hits, true + heard),
            }
        )
    return rows


def _ratio(part: int, whole: int) -> float | None:
    return round(float(part / whole), 4) if whole else None


def reliability(results: Sequence[Tested]) -> list[dict[str, Any]]:
    """How often a window's highest score is right, by how high it is.

    C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2.

    Returns
    -------
    list of dict
        For each bin of the highest score that holds windows: ``windows``, the
        mean ``score`` and the ``accuracy``.
    """
    best = np.concatenate([r.scores.max(axis=1) for r in results]).astype(np.float64)
    right = np.concatenate([r.scores.argmax(axis=1) == r.target for r in results])
    bins = np.minimum((best * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    return [
        {
            "windows": int(chosen.sum()),
            "score": round(float(best[chosen].mean()), 4),
            "accuracy": round(float(right[chosen].mean()), 4),
        }
        for chosen in (bins == i for i in range(RELIABILITY_BINS))
        if chosen.any()
    ]


def calibration_error(curve: Sequence[dict[str, Any]]) -> float:
    """Expected calibration error: the mean distance of score and accuracy over windows."""
    n = sum(row["windows"] for row in curve)
    return float(sum(row["windows"] * abs(row["score"] - row["accuracy"]) for row in curve) / n)


def confusion_lines(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[str]:
    """A confusion matrix as text."""
    lines = ["confusion (rows: true, columns: predicted, in the same order; clips):"]
    for label, row in zip(labels, confusion, strict=True):
        lines.append(f"  {label:<16} {' '.join(f'{n:3d}' if n else '  ·' for n in row)}")
    return lines
