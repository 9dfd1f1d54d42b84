"""``otic evaluate --streaming``: events on soundscapes mixed from clips of the test folds."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.detection.thresholds import DecisionParams
from otic.errors import OticError
from otic.model.bundle import Bundle
from otic.model.classifier import Classifier
from otic_training.cli.progress import progress, say
from otic_training.data.dataset import Clip, Dataset, listed
from otic_training.data.sound_tables import audio_below, sounds_of
from otic_training.data.soundscapes import Sound, Soundscape, as_sound, mix, noises
from otic_training.data.windows import active_part, read_clip
from otic_training.reports.page import report_folder
from otic_training.reports.timelines import write_timelines
from otic_training.scoring.alarms import (
    alarm_lines,
    count_alarms,
    curve,
    listen,
    rate_text,
)
from otic_training.scoring.detections import (
    COLLARS_SECONDS,
    PSDS_DESCRIPTION,
    Judged,
    alarm_rate,
    delays,
    event_figures,
    psds,
    segment_figures,
)
from otic_training.scoring.predictions import (
    Detection,
    Predictions,
    at_threshold,
    decide,
    naive,
    predictions_of,
)

_F32 = NDArray[np.float32]

_ROUNDS = 2
"""How often each clip is in a soundscape, over different backgrounds."""

_NOISE_SECONDS = 60.0
_POINTS = np.linspace(0.05, 0.95, 19)
_KNOWN_KEPT = 0.9
_ALONE_DB = 20.0
"""Level of a single sound over the faint noise of a room."""

_LEAD_SECONDS, _TAIL_SECONDS = 3.0, 2.0


@dataclass(frozen=True)
class Material:
    """What soundscapes are made of.

    Attributes
    ----------
    sounds : list of Sound
        Of the test folds.
    backgrounds : list of list of float32 [n]
        Pools.
    unknown : list of float32 [n]
        Sounds of which no label is true.
    """

    sounds: list[Sound]
    backgrounds: list[list[_F32]]
    unknown: list[_F32]


def evaluate_streaming(
    args: argparse.Namespace, bundle: Bundle, dataset: Dataset, folds: list[int], notes: list[str]
) -> dict[str, Any]:
    """Mix, listen and judge; return the figures, and write the report if one is wanted."""
    folder = report_folder(args.report) if args.report else None
    sr = bundle.features.sr
    clips = [clip for clip in dataset.clips if clip.fold in folds]
    material = Material(
        [as_sound(clip.label, read_recording(clip, sr), sr) for clip in clips],
        _backgrounds(args.background, sr, args.seed),
        [_active(path, sr) for path in _files(args.unknown)],
    )
    everyday = sounds_of(args.alarms)
    classifier = Classifier(bundle)
    low, high = args.snr
    soundscapes = list(_mixed(material, sr, (low, high), args.seed))
    loud = list(_mixed(material, sr, (max(low, 10.0), max(high, 10.0)), args.seed))
    predictions = _heard(bundle, classifier, soundscapes)
    rule = partial(decide, params=bundle.decision)
    judged = _judged(soundscapes, predictions, rule)
    figures = _figures(bundle, soundscapes, predictions, judged)
    heard_loud = _heard(bundle, classifier, loud)
    figures["snr_10_db_and_more"] = event_figures(
        bundle.labels, _judged(loud, heard_loud, rule), 1.0
    )
    figures["naive"] = event_figures(bundle.labels, _judged(soundscapes, predictions, naive), 1.0)
    figures["background"] = _alarms(bundle, classifier, material)
    if material.unknown:
        figures["unknown"] = _unknown(bundle, classifier, material, args.seed)
    if everyday:
        quiet = listen(bundle, everyday)
        figures["alarms"] = count_alarms(quiet, bundle.decision)

        def at(params: DecisionParams) -> dict[str, Any]:
            rule = partial(decide, params=params)
            return event_figures(bundle.labels, _judged(soundscapes, predictions, rule), 1.0)

        figures["curve"] = curve(quiet, bundle.decision, at)
    leak = "a LEAK: " if any(note.startswith("a LEAK") for note in notes) else ""
    protocol = (
        f"{leak}{len(soundscapes)} soundscapes of 5 min, each clip of {dataset.name}, folds "
        f"{listed(folds)}, {_ROUNDS} times over background at {low:g} to {high:g} dB; "
        f"seed {args.seed}"
    )
    outcome = {"model": bundle.name, "protocol": protocol, "notes": notes, **figures}
    if folder is not None:
        say(f"wrote {write_timelines(folder, outcome, judged, bundle.labels)}")
    return outcome


def lines(outcome: dict[str, Any]) -> list[str]:
    """The figures for people."""
    events, background = outcome["events"], outcome["background"]
    loud, simple = outcome["snr_10_db_and_more"], outcome["naive"]
    delay = outcome["delay_seconds"]
    told = [f"{outcome['protocol']}:"]
    told += [
        f"  events, onset within {collar} s: F1 {v['f1']:.1%}, precision {v['precision']:.1%}, "
        f"recall {v['recall']:.1%}"
        for collar, v in events.items()
    ]
    told += [
        f"  the same, 1 s, at 10 dB and more: F1 {loud['f1']:.1%}",
        f"  the same, 1 s, with a naive 0.5 rule: F1 {simple['f1']:.1%}",
        f"  segments of 1 s: F1 {outcome['segments']['f1']:.1%}; {PSDS_DESCRIPTION}: "
        f"{outcome['psds']:.3f}",
        "  decided after the onset: "
        + (f"{delay['p50']:.2f} s (median), {delay['p90']:.2f} s (90 %)" if delay else "never"),
        f"  background only, {background['hours']:.2f} h: {rate_text(background)}",
    ]
    if "unknown" in outcome:
        unknown = outcome["unknown"]
        told.append(
            f"  {unknown['sounds']} unknown sounds: {unknown['reported']:.1%} reported as a known "
            f"one; {unknown['rejected']:.1%} rejected where {_KNOWN_KEPT:.0%} of known are kept"
        )
    if "alarms" in outcome:
        told += alarm_lines(outcome["alarms"], outcome["curve"])
    by_label = events["1.0"]["by_label"]
    told.append("  F1 by label: " + ", ".join(f"{k} {v['f1']:.0%}" for k, v in by_label.items()))
    return told


def _figures(
    bundle: Bundle,
    soundscapes: list[Soundscape],
    predictions: list[Predictions],
    judged: list[Judged],
) -> dict[str, Any]:
    delay, error = delays(judged, 1.0)
    points = [
        _judged(soundscapes, predictions, partial(decide, params=at_threshold(bundle.decision, t)))
        for t in _POINTS.tolist()
    ]
    return {
        "events": {str(c): event_figures(bundle.labels, judged, c) for c in COLLARS_SECONDS},
        "segments": segment_figures(bundle.labels, judged),
        "psds": round(psds(judged, points), 4),
        "delay_seconds": _quantiles(delay),
        "onset_error_seconds": _quantiles(np.abs(error).tolist()),
    }


def _quantiles(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {f"p{q}": round(float(np.quantile(values, q / 100)), 3) for q in (50, 90)}


def _mixed(
    material: Material, sr: int, snr_db: tuple[float, float], seed: int
) -> Sequence[Soundscape]:
    rng = np.random.default_rng(seed)
    pools = material.backgrounds
    mixed = []
    for i in range(_ROUNDS):
        turned = pools[i % len(pools) :] + pools[: i % len(pools)]
        mixed += list(mix(material.sounds, turned, sr, snr_db, rng))
    return [Soundscape(f"{i}", s.y, s.truths) for i, s in enumerate(mixed, 1)]


def _heard(
    bundle: Bundle, classifier: Classifier, soundscapes: list[Soundscape]
) -> list[Predictions]:
    predictions = []
    with progress("soundscapes", len(soundscapes)) as advance:
        for soundscape in soundscapes:
            predictions.append(predictions_of(bundle, classifier, soundscape.y))
            advance(1)
    return predictions


def _judged(
    soundscapes: list[Soundscape],
    predictions: list[Predictions],
    rule: Callable[[Predictions], list[Detection]],
) -> list[Judged]:
    return [
        Judged(s.name, h.n_samples / h.sr, s.truths, tuple(rule(h)))
        for s, h in zip(soundscapes, predictions, strict=True)
    ]


def _alarms(bundle: Bundle, classifier: Classifier, material: Material) -> dict[str, Any]:
    """Events in background alone: all of each pool, one recording after the other, and silence."""
    sr = bundle.features.sr
    streams = [np.concatenate(pool) for pool in material.backgrounds]
    streams.append(np.zeros(round(_NOISE_SECONDS * sr), np.float32))
    count: dict[str, int] = {}
    for y in streams:
        for detection in decide(predictions_of(bundle, classifier, y), bundle.decision):
            count[detection.label] = count.get(detection.label, 0) + 1
    hours = sum(map(len, streams)) / sr / 3600.0
    return {**alarm_rate(sum(count.values()), hours), "by_label": count}


def _unknown(
    bundle: Bundle, classifier: Classifier, material: Material, seed: int
) -> dict[str, Any]:
    """Each sound alone: how sure the model is of those that it can't know, and of the others."""
    rng = np.random.default_rng(seed)
    sr = bundle.features.sr
    known = [predictions_of(bundle, classifier, alone(s.y, sr, rng)) for s in material.sounds]
    unknown = [predictions_of(bundle, classifier, alone(y, sr, rng)) for y in material.unknown]
    sure = [np.array([_most_sure(h, bundle) for h in group]) for group in (known, unknown)]
    threshold = np.quantile(sure[0], 1.0 - _KNOWN_KEPT)
    reported = [bool(decide(h, bundle.decision)) for h in unknown]
    return {
        "sounds": len(unknown),
        "reported": round(float(np.mean(reported)), 4),
        "rejected": round(float(np.mean(sure[1] < threshold)), 4),
    }


def alone(y: _F32, sr: int, rng: np.random.Generator) -> _F32:
    """Put a sound into the faint noise of a room, 3 s after it begins."""
    lead, tail = round(_LEAD_SECONDS * sr), round(_TAIL_SECONDS * sr)
    level = float(np.sqrt(np.mean(y.astype(np.float64) ** 2)))
    room = rng.standard_normal(lead + len(y) + tail) * level * 10.0 ** (-_ALONE_DB / 20.0)
    room[lead : lead + len(y)] += y
    return np.asarray(room * 0.03 / max(level, 1e-6), np.float32)


def _most_sure(predictions: Predictions, bundle: Bundle) -> float:
    """The highest smoothed score of any label."""
    if not len(predictions.scores):
        return 0.0
    n = min(bundle.decision.smoothing_scores, len(predictions.scores))
    sums = np.cumsum(np.pad(predictions.scores.astype(np.float64), ((1, 0), (0, 0))), axis=0)
    return float(((sums[n:] - sums[:-n]) / n).max())


def _backgrounds(paths: Sequence[str], sr: int, seed: int) -> list[list[_F32]]:
    """A pool of the files given, or one of each noise that is made here."""
    if paths:
        return [[_active(path, sr) for path in _files(paths)]]
    rng = np.random.default_rng([seed, 1])
    return [[y] for y in noises(sr, _NOISE_SECONDS, rng)]


def _files(names: Sequence[str]) -> list[str]:
    return [str(path) for name in names for path in audio_below(name)]


def _active(path: str, sr: int) -> _F32:
    y = read_whole(path, sr)
    begin, end = active_part(y, sr)
    return y[begin:end]


def read_whole(path: str, sr: int) -> _F32:
    """A recording as it is, float32 [n]."""
    return read_clip(Clip(Path(path), "", 0, ""), sr)


def read_recording(clip: Clip, sr: int) -> _F32:
    """A clip for a soundscape; says what to do where it can't be read."""
    try:
        return read_clip(clip, sr)
    except OticError as error:
        raise OticError(f"{error}: mend or remove it, soundscapes take every clip") from error
