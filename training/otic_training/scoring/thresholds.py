"""Thresholds from what a model hears in background and a budget of false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from otic.detection.thresholds import DecisionParams
from otic.errors import OticError
from otic.model.bundle import Bundle
from otic.model.classifier import Classifier
from otic_training.cli.progress import say
from otic_training.data.dataset import Clip
from otic_training.data.soundscapes import faded
from otic_training.data.windows import active_part, read_clip
from otic_training.scoring.predictions import (
    Predictions,
    at_thresholds,
    decide,
    predictions_of,
)

_F64 = NDArray[np.float64]

BLOCK_SECONDS = 10.0
_TAIL_SHARE = 0.02
_FEWEST_PEAKS = 5  # there are at least six blocks
LOWEST, _HIGHEST = 0.2, 0.999
_GROWTH, _MOST_GROWTHS = 1.3, 20  # of a label's share of the budget
_STREAM_SECONDS = 600.0


@dataclass(frozen=True)
class Room:
    """What the model hears in background alone."""

    predictions: tuple[Predictions, ...]

    @property
    def hours(self) -> float:
        """Its length."""
        return sum(h.n_samples / h.sr for h in self.predictions) / 3600.0

    def of_label(self, i: int) -> Room:
        """What it hears of one label: events of labels do not depend on each other."""
        return Room(
            tuple(
                replace(p, labels=p.labels[i : i + 1], scores=p.scores[:, i : i + 1])
                for p in self.predictions
            )
        )

    def alarms(self, params: DecisionParams) -> dict[str, int]:
        """Events by label: all of them are false."""
        count = dict.fromkeys(self.predictions[0].labels, 0)
        for predictions in self.predictions:
            for detection in decide(predictions, params):
                count[detection.label] += 1
        return count


def thresholds(
    room: Room, params: DecisionParams, budget_per_hour: float, lowest: float = LOWEST
) -> tuple[float, ...]:
    """One for each label, such that all together stay within the budget.

    Each label gets an equal share of it. An hour of background says nothing directly of
    one alarm in eight hours: the highest scores of ten-second blocks, as log-odds, are
    taken to fall off exponentially above their 98 % quantile (peaks over threshold;
    S. Coles, "An Introduction to Statistical Modeling of Extreme Values", 2001,
    chapter 4, with shape 0), how steeply being known only as well as so many peaks tell.
    What the background itself says comes first: all shares grow as long as the budget has
    room for one alarm more than are found in it, then those of single labels, the highest
    threshold first; and while there are more than the budget allows, the threshold of the
    label with most of them is raised.

    Parameters
    ----------
    room : Room
    params : DecisionParams
        Smoothing and durations.
    budget_per_hour : float
    lowest : float
        What no threshold is below: an hour of background may lack what a label is taken for.

    Returns
    -------
    tuple of float
        From ``lowest`` to 0.999; 1 for a label that can't be had within the budget.
    """
    labels = room.predictions[0].labels
    peaks = np.concatenate([_block_peaks(h, params.smoothing_scores) for h in room.predictions])
    allowed = budget_per_hour * room.hours

    def of_shares(shares: _F64) -> list[float]:
        return [
            _threshold(peaks[:, i], room.hours, share, lowest) for i, share in enumerate(shares)
        ]

    @cache
    def alarms_of(i: int, value: float) -> int:
        return room.of_label(i).alarms(_of_label(params, i, value))[labels[i]]

    def alarms(values: list[float]) -> list[int]:
        return [alarms_of(i, value) for i, value in enumerate(values)]

    shares = np.full(len(labels), budget_per_hour / len(labels))
    found = of_shares(shares)
    one_by_one = [np.arange(len(labels)) == i for i in np.argsort(found)[::-1]]
    for growing in (np.full(len(labels), True), *one_by_one):
        for _ in range(_MOST_GROWTHS):
            grown = np.where(growing, shares * _GROWTH, shares)
            values = of_shares(grown)
            if values == found or sum(alarms(values)) + 1 > allowed:
                break
            shares, found = grown, values
    while sum(count := alarms(found)) > allowed:
        loudest = int(np.argmax(count))
        raised = _probability(_log_odds(np.array(found[loudest])) + 0.25)
        found[loudest] = float(raised) if raised <= _HIGHEST else 1.0
    return tuple(float(np.ceil(value * 1e4) / 1e4) for value in found)


def _of_label(params: DecisionParams, i: int, threshold: float) -> DecisionParams:
    """Keep the decision of one label, at another threshold."""
    kept = (params.on_thresholds[i : i + 1], params.off_thresholds[i : i + 1])
    alone = replace(params, on_thresholds=kept[0], off_thresholds=kept[1])
    return at_thresholds(alone, (threshold,))


def within_budget(
    bundle: Bundle, clips: Sequence[Clip], per_hour: float, lowest: float = LOWEST
) -> Bundle:
    """Give a bundle thresholds with which so few alarms an hour are found in clips without labels.

    Clips are put one after the other, in streams of ten minutes, since many are shorter than a
    model's window. Without clips the bundle stays as it is.
    """
    if not clips:
        return bundle
    room = _listen(bundle, clips)
    if not room.predictions:
        say("no negative is left to set thresholds on: they are the preset's")
        return bundle
    params = at_thresholds(bundle.decision, thresholds(room, bundle.decision, per_hour, lowest))
    budget = {
        "budget_per_hour": per_hour,
        "hours": round(room.hours, 4),
        "false_alarms": sum(room.alarms(params).values()),
    }
    return replace(bundle, decision=params, provenance={**bundle.provenance, "budget": budget})


def _listen(bundle: Bundle, clips: Sequence[Clip]) -> Room:
    classifier, sr = Classifier(bundle), bundle.features.sr
    streams: list[list[NDArray[np.float32]]] = [[]]
    for clip in clips:
        try:
            y = read_clip(clip, sr)
        except OticError as error:
            say(f"left out: {error}")
            continue
        if sum(map(len, streams[-1])) >= _STREAM_SECONDS * sr:
            streams.append([])
        begin, end = active_part(y, sr)
        streams[-1].append(faded(y[begin:end].copy(), sr))
    found = [predictions_of(bundle, classifier, np.concatenate(s)) for s in streams if s]
    return Room(tuple(predictions for predictions in found if len(predictions.scores)))


def _threshold(peaks: _F64, hours: float, rate: float, lowest: float) -> float:
    """Threshold that the tail of a label's peaks crosses ``rate`` times an hour."""
    n = max(_FEWEST_PEAKS, round(_TAIL_SHARE * len(peaks)))
    begins, *tail = np.sort(_log_odds(peaks))[-n - 1 :]
    excess = max(float(np.sum(np.array(tail) - begins)), 1e-3)
    # An exponential tail whose scale is not known: the predictive distribution is a Pareto's.
    odds = max(len(tail) / hours / rate, 1.0) ** (1.0 / len(tail)) - 1.0
    value = float(_probability(np.array(begins + excess * odds)))
    return 1.0 if value > _HIGHEST else max(value, lowest)


def _block_peaks(predictions: Predictions, smoothing: int) -> _F64:
    """The highest smoothed score of each label in each ten seconds, float64 [n, n_labels]."""
    n = min(smoothing, len(predictions.scores))
    sums = np.cumsum(np.pad(predictions.scores.astype(np.float64), ((1, 0), (0, 0))), axis=0)
    smoothed = (sums[n:] - sums[:-n]) / n
    block = (predictions.sample[n - 1 :] / (predictions.sr * BLOCK_SECONDS)).astype(int)
    starts = np.flatnonzero(np.diff(block, prepend=-1))
    peaks: _F64 = np.maximum.reduceat(smoothed, starts, axis=0)
    return peaks


def _log_odds(p: _F64) -> _F64:
    clipped = np.clip(p, 1e-6, 1.0 - 1e-6)
    return np.asarray(np.log(clipped / (1.0 - clipped)))


def _probability(log_odds: _F64) -> _F64:
    return np.asarray(1.0 / (1.0 + np.exp(-log_odds)))
