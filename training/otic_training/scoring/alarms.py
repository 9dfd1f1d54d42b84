"""False alarms: how many events a model reports an hour of sound that holds none of its labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from otic.detection.thresholds import DecisionParams
from otic.model.bundle import Bundle
from otic.model.classifier import Classifier
from otic_training.cli.progress import progress, say
from otic_training.data.dataset import Clip, DatasetError
from otic_training.data.sound_tables import ListedSound
from otic_training.data.windows import read_clip
from otic_training.scoring.detections import alarm_rate
from otic_training.scoring.predictions import (
    Detection,
    Predictions,
    at_threshold,
    decide,
    predictions_of,
)

MARGIN_SECONDS = 2.0
"""Around a stretch that may hold a label, which is left out of alarms and hours."""

POINTS = (*(i / 20 for i in range(1, 20)), 0.97, 0.99, 0.995, 0.999)
"""Thresholds of the curve."""

SHIPPED = "shipped"


@dataclass(frozen=True)
class QuietSound:
    """The predictions of a recording without the labels, and its stretches in doubt in seconds."""

    kind: str
    predictions: Predictions
    left_out: tuple[tuple[float, float], ...]

    @property
    def seconds(self) -> float:
        """The length of what counts."""
        return self.predictions.n_samples / self.predictions.sr - sum(
            b - a for a, b in self.left_out
        )

    def alarms(self, params: DecisionParams) -> list[Detection]:
        """List the events that were decided outside the stretches in doubt, and began there."""
        return [
            d
            for d in decide(self.predictions, params)
            if not any(a <= d.time and d.onset <= b for a, b in self.left_out)
        ]


def listen(bundle: Bundle, sounds: Sequence[ListedSound]) -> list[QuietSound]:
    """Stream each recording through the live pipeline.

    Recordings that are shorter than the model's window are left out: it says nothing of them.

    Raises
    ------
    DatasetError
        If nothing is left.
    """
    classifier, found, short = Classifier(bundle), [], 0
    with progress("recordings", len(sounds)) as advance:
        for sound in sounds:
            y = read_clip(Clip(sound.path, "", 0, ""), bundle.features.sr)
            predictions = predictions_of(bundle, classifier, y)
            seconds = len(y) / bundle.features.sr
            if len(predictions.scores):
                found.append(QuietSound(sound.kind, predictions, left_out(sound, seconds)))
            else:
                short += 1
            advance(1)
    window = f"the window of {bundle.features.window_seconds:.2f} s"
    if short:
        say(f"left out: {short} of {len(sounds)} recordings are shorter than {window}")
    if not sum(sound.seconds for sound in found) > 0.0:
        raise DatasetError(
            f"--alarms: nothing is left to count in: recordings must be longer than {window}, and "
            "not in doubt as a whole"
        )
    return found


def count_alarms(sounds: Sequence[QuietSound], params: DecisionParams) -> dict[str, Any]:
    """Count false alarms: in all, by label and by kind of sound."""
    alarms = [(sound.kind, d.label) for sound in sounds for d in sound.alarms(params)]
    kinds = sorted({sound.kind for sound in sounds if sound.seconds > 0.0})
    return {
        **_rate(sounds, len(alarms)),
        "left_out_seconds": round(sum(b - a for s in sounds for a, b in s.left_out), 1),
        "by_label": dict(Counter(label for _, label in alarms).most_common()),
        "by_kind": {
            kind: {
                **_rate([s for s in sounds if s.kind == kind], sum(k == kind for k, _ in alarms)),
                "by_label": dict(Counter(label for k, label in alarms if k == kind).most_common()),
            }
            for kind in kinds
        },
    }


def curve(
    sounds: Sequence[QuietSound],
    shipped: DecisionParams,
    figures: Callable[[DecisionParams], dict[str, Any]],
) -> list[dict[str, Any]]:
    """Pair event figures with alarms an hour, at one threshold for all labels and as shipped.

    Parameters
    ----------
    sounds : sequence of QuietSound
    shipped : DecisionParams
    figures : callable
        Gives F1, precision and recall of events with these parameters.
    """
    rows = []
    points: list[float | str] = [*POINTS, SHIPPED]
    for point in points:
        params = shipped if isinstance(point, str) else at_threshold(shipped, point)
        rate = _rate(sounds, sum(len(sound.alarms(params)) for sound in sounds))
        values = {key: value for key, value in figures(params).items() if key != "by_label"}
        rows.append({"threshold": point, **values, **rate})
    return rows


def alarm_lines(alarms: dict[str, Any], rows: Sequence[dict[str, Any]]) -> list[str]:
    """Say both for people."""
    lines = [
        f"  everyday sound, {alarms['hours']:.2f} h, {alarms['left_out_seconds']:.0f} s in doubt "
        f"left out: {rate_text(alarms)}"
    ]
    lines += [
        f"    {kind:<14}{values['hours']:6.2f} h: {rate_text(values)}"
        + (f" ({_listed(values['by_label'])})" if values["by_label"] else "")
        for kind, values in alarms["by_kind"].items()
    ]
    lines.append("  events at 1 s over alarms an hour, with one threshold for all labels:")
    lines.append(
        f"    {'threshold':<11}{'F1':>6}{'precision':>11}{'recall':>8}{'alarms an hour':>16}"
    )
    for row in rows:
        name = row["threshold"] if row["threshold"] == SHIPPED else f"{row['threshold']:g}"
        lines.append(
            f"    {name:<11}{row['f1']:>6.1%}{row['precision']:>11.1%}{row['recall']:>8.1%}"
            f"{row['per_hour']:>16.1f}"
        )
    shipped = rows[-1]
    level = [row for row in rows[:-1] if row["per_hour"] <= shipped["per_hour"]]
    if level:
        best = max(level, key=lambda row: row["f1"])
        lines.append(
            f"    as shipped: F1 {shipped['f1']:.1%}; one threshold for all with no more alarms "
            f"reaches {best['f1']:.1%}, at {best['threshold']:g}"
        )
    return lines


def rate_text(values: dict[str, Any]) -> str:
    """Say a rate with the limit that its hours leave."""
    return (
        f"{values['false_alarms']} false alarms, {values['per_hour']:.1f} an hour (95 % sure: "
        f"under {values['limit_per_hour']:.1f})"
    )


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{label} {n}" for label, n in counts.items())


def _rate(sounds: Sequence[QuietSound], alarms: int) -> dict[str, Any]:
    return alarm_rate(alarms, sum(sound.seconds for sound in sounds) / 3600.0)


def left_out(sound: ListedSound, seconds: float) -> tuple[tuple[float, float], ...]:
    """Join the stretches in doubt, with their margins, of a recording of so many seconds."""
    spans = [(d.start - MARGIN_SECONDS, d.end + MARGIN_SECONDS) for d in sound.doubts]
    merged: list[tuple[float, float]] = []
    for start, end in sorted((max(0.0, a), min(seconds, b)) for a, b in spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif start < end:
            merged.append((start, end))
    return tuple(merged)
