"""Honest figures for few clips: each recording is tested by a head that has not learned from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otic.detection.thresholds import DecisionParams
from otic_training.base.head import BaseFrames, Head
from otic_training.cli.progress import progress
from otic_training.scoring.predictions import at_thresholds, decide
from otic_training.scoring.thresholds import thresholds
from otic_training.teaching.clips import Sound
from otic_training.teaching.learn import STEPS, Heard, Plan, Projection, room_of, times_of

F32 = NDArray[np.float32]

HEARD_FROM_DB = 5.0
"""SNR from which on a sound should be found."""
_LEAST_FRAMES = 10
_LATE_SECONDS = 1.3
_Z95 = 1.96
_CLIP_DBFS, _ROOM_DBFS = -20.0, -75.0
GOOD_RECALL, WEAK_RECALL = 0.8, 0.5


@dataclass(frozen=True)
class LabelFigures:
    """What cross-validation says of a label.

    Attributes
    ----------
    label : str
    clips, recordings : int
    recall : float
        Share of sounds at 5 dB and more over their background that are found, as a mean over
        recordings.
    low, high : float
        Wilson's 95 % interval of it, for so many recordings.
    threshold : float
        1 for a label that can't be had within the budget of false alarms.
    alarms_per_hour : float
        On the negatives, left out too.
    taken_for : tuple of (str, int)
        Clips that another label's score was higher for, by that label.
    """

    label: str
    clips: int
    recordings: int
    recall: float
    low: float
    high: float
    threshold: float
    alarms_per_hour: float
    taken_for: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Assessment:
    """Figures of all labels, and what they were measured on.

    Attributes
    ----------
    labels : tuple of LabelFigures
    accuracy : float
        Share of clips that their own label's score is the highest for.
    precision : float
        Share of events in scenes that are right.
    quiet_hours : float
        Negatives that alarms were counted on.
    suspects : tuple of (int, str)
        Clips that sound like another label: their number, and that label.
    decision : DecisionParams
        With thresholds within the budget.
    folds : int
    """

    labels: tuple[LabelFigures, ...]
    accuracy: float
    precision: float
    quiet_hours: float
    suspects: tuple[tuple[int, str], ...]
    decision: DecisionParams
    folds: int


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of ``n`` (E. B. Wilson, JASA 22, 1927)."""
    if n == 0:
        return 0.0, 1.0
    z = _Z95 * _Z95 / n
    middle = (share + z / 2.0) / (1.0 + z)
    half = _Z95 * float(np.sqrt(share * (1.0 - share) / n + z / (4.0 * n))) / (1.0 + z)
    return max(0.0, middle - half), min(1.0, middle + half)


def assess(
    known: Heard,
    quiet: Heard,
    projection: Projection,
    sounds: Sequence[Sound],
    folds: Sequence[int],
    base: BaseFrames,
    labels: tuple[str, ...],
    decision: DecisionParams,
    budget_per_hour: float,
    plan: Plan,
) -> tuple[Assessment, tuple[Head, ...]]:
    """Cross-validate heads: each scene and each clip is scored by a head that has not heard it.

    Returns the figures, and the head of each fold, which did not learn from it.

    Parameters
    ----------
    known, quiet : Heard
        Scenes of :func:`otic_training.teaching.learn.hear`.
    projection : Projection
        Of both.
    sounds : sequence of Sound
    folds : sequence of int
        In which test each sound is left out.
    base : BaseFrames
    labels : tuple of str
    decision : DecisionParams
        Times; its thresholds are set here.
    budget_per_hour : float
        False alarms on the quiet scenes, of all labels together.
    plan : Plan
    """
    n_folds = max(folds) + 1
    alone = [clip_frames(sound, base) for sound in sounds]
    heads = list[Head]()
    clip_scores = np.zeros((len(sounds), len(labels)), np.float32)
    scores = [np.zeros(h.labels.shape, np.float32) for h in (known, quiet)]
    with progress("tests", n_folds) as advance:
        for fold in range(n_folds):
            head = projection.fit_without(fold, plan.fit)
            heads.append(head)
            for heard, scored in zip((known, quiet), scores, strict=True):
                chosen = heard.fold == fold
                scored[chosen] = head.scores(heard.frames[chosen].astype(np.float32))
            for n in np.flatnonzero(np.array(folds) == fold).tolist():
                clip_scores[n] = head.scores(alone[n])[1:].max(0)
            advance(1)
    room = room_of(scores[1], base.base, labels)
    params = at_thresholds(decision, thresholds(room, decision, budget_per_hour))
    alarms = room.alarms(params)
    times = times_of(base, plan)
    found = _found(known, scores[0], base, times, np.array(params.on_thresholds), len(sounds))
    own = np.array([labels.index(sound.clip.label) for sound in sounds])
    named = clip_scores.argmax(1)
    figures = []
    for i, label in enumerate(labels):
        mine = np.flatnonzero(own == i).tolist()
        by_recording: dict[str, list[float]] = {}
        for n in mine:
            if found[n]:
                by_recording.setdefault(sounds[n].clip.recording, []).extend(found[n])
        shares = [float(np.mean(hits)) for hits in by_recording.values()]
        recall = float(np.mean(shares)) if shares else 0.0
        wrong = Counter(labels[named[n]] for n in mine if named[n] != i)
        figures.append(
            LabelFigures(
                label,
                len(mine),
                len({sounds[n].clip.recording for n in mine}),
                recall,
                *wilson(recall, len(shares)),
                params.on_thresholds[i],
                alarms[label] / room.hours,
                tuple(wrong.most_common()),
            )
        )
    suspects = tuple(
        (n, labels[named[n]])
        for n in range(len(sounds))
        if clip_scores[n].max() > 0.7 and clip_scores[n, own[n]] < 0.2
    )
    assessment = Assessment(
        tuple(figures),
        float(np.mean(named == own)),
        _precision(known, scores[0], base, labels, params),
        room.hours,
        suspects,
        params,
        n_folds,
    )
    return assessment, tuple(heads)


def clip_frames(sound: Sound, base: BaseFrames) -> F32:
    """Compute frames of a clip alone, after a second of near silence and before another."""
    p = base.base.features
    pad = np.full((round(p.sr / p.hop_length), p.n_mels), _ROOM_DBFS, np.float32)
    least = p.window_frames + (STEPS // 4) * base.base.inference_hop_frames
    db = np.concatenate([pad, sound.db + np.float32(_CLIP_DBFS), pad])
    short = max(0, least - len(db))
    return base.of_log_mel(np.pad(db, ((0, short), (0, 0)), constant_values=_ROOM_DBFS))


def _found(
    known: Heard,
    scores: F32,
    base: BaseFrames,
    times: NDArray[np.float64],
    on: NDArray[np.float64],
    n_clips: int,
) -> list[list[float]]:
    """List for each clip where it was put, well to be heard: 1 where it was found, else 0."""
    hop = base.base.features.hop_length / base.sr
    found: list[list[float]] = [[] for _ in range(n_clips)]
    for placed, rows in zip(known.placed, scores, strict=True):
        for sound in placed:
            short = sound.stop - sound.first < _LEAST_FRAMES
            late = sound.first * hop > times[-2]
            if sound.snr_db < HEARD_FROM_DB or short or late:
                continue
            within = (times >= sound.first * hop - base.step_seconds) & (
                times <= sound.stop * hop + _LATE_SECONDS
            )
            limit = on[sound.label]
            hit = limit < 1.0 and rows[within, sound.label].max(initial=0.0) >= limit
            found[sound.source].append(float(hit))
    return found


def _precision(
    known: Heard, scores: F32, base: BaseFrames, labels: tuple[str, ...], params: DecisionParams
) -> float:
    """Share of events in the scenes that overlap a sound of their label."""
    right = total = 0
    hop = base.base.features.hop_length / base.sr
    room = room_of(scores, base.base, labels)
    for placed, predictions in zip(known.placed, room.predictions, strict=True):
        for event in decide(predictions, params):
            total += 1
            right += any(
                labels[s.label] == event.label
                and s.first * hop < event.offset + 1.0
                and s.stop * hop > event.onset - 1.0
                for s in placed
            )
    return right / total if total else 0.0
