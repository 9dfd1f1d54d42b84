"""Tables of how well models hear, side by side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from otic_training.scoring.detections import Judged, alarm_rate, delays, event_figures
from otic_training.scoring.hearing import LEVELS, Heard
from otic_training.scoring.metrics import Figures

SHORT = ("crying_baby", "dog", "rooster", "sneezing")
"""Labels whose sounds are over before a stationary one would be decided."""
COLLAR_SECONDS = 1.0
_NONE = "–"


def hearing_figures(heard: Heard, labels: Sequence[str]) -> dict[str, Any]:
    """Sum up what was found of a model, as plain values for JSON.

    Event figures of labels are those of all folds together; ``f1`` is the mean of the folds, with
    its standard deviation. False alarms an hour are the mean of the fold models, and the limit is
    the one that a single model's hours leave.
    """
    figures: dict[str, Any] = {"notes": heard.notes, "events": {}}
    for level, judged in heard.judged.items():
        folds = sorted({fold for fold, _ in judged})
        each = [
            event_figures(labels, [j for f, j in judged if f == fold], COLLAR_SECONDS)["f1"]
            for fold in folds
        ]
        pooled = event_figures(labels, [j for _, j in judged], COLLAR_SECONDS)
        figures["events"][level] = {
            "f1": round(float(np.mean(each)), 4),
            "f1_sd": round(float(np.std(each, ddof=min(1, len(each) - 1))), 4),
            "by_label": pooled["by_label"],
        }
    first = [j for _, j in heard.judged.get(next(iter(LEVELS)), [])]
    figures["onset_error_seconds"] = _median(delays(first, COLLAR_SECONDS)[1])
    delay, error = delays([_short(j) for j in first], COLLAR_SECONDS)
    figures["short"] = {"delay_seconds": _median(delay), "onset_error_seconds": _median(error)}
    figures["alarms"] = {kind: _rate(rows, heard.models) for kind, rows in heard.alarms.items()}
    if heard.tested:
        figures["clips"] = Figures.of(heard.tested, "").to_dict()
    if heard.unknown:
        figures["unknown_named"] = round(float(np.mean(heard.unknown)), 4)
    return figures


def hearing_lines(figures: dict[str, dict[str, Any]], labels: Sequence[str]) -> list[str]:
    """Write the figures of some models as tables in Markdown."""
    rows: dict[str, list[str]] = {}
    for column, values in enumerate(figures.values()):
        for name, text in _cells(values).items():
            rows.setdefault(name, [_NONE] * len(figures))[column] = text
    lines = _table("", list(figures), rows)
    by_label = {
        label: [_of_label(values, label) for values in figures.values()] for label in labels
    }
    low = next(iter(LEVELS))
    lines += ["", *_table(f"{low}: precision / recall", list(figures), by_label)]
    alarms = {
        kind: [
            ", ".join(f"{k} {n}" for k, n in values["alarms"].get(kind, _EMPTY)["by_label"].items())
            for values in figures.values()
        ]
        for kind in dict.fromkeys(kind for values in figures.values() for kind in values["alarms"])
    }
    lines += ["", *_table("false alarms, all fold models together", list(figures), alarms)]
    notes = [f"{name}: {note}" for name, values in figures.items() for note in values["notes"]]
    return [*lines, *(["", *notes] if notes else [])]


_EMPTY: dict[str, Any] = {"by_label": {}}


def _cells(values: dict[str, Any]) -> dict[str, str]:
    """Write the rows of one model."""
    cells = {
        f"event F1, {COLLAR_SECONDS:g}-s collar, {level}": f"{v['f1']:.2f} ± {v['f1_sd']:.2f}"
        for level, v in values["events"].items()
    }
    cells["onset error, median"] = _seconds(values["onset_error_seconds"])
    cells["the same, short sounds"] = _seconds(values["short"]["onset_error_seconds"])
    cells["delay of the decision, median, short sounds"] = _seconds(
        values["short"]["delay_seconds"]
    )
    if "clips" in values:
        clips = values["clips"]
        cells["clips, ESC-10"] = f"{clips['clip_mean']:.1%} ± {clips['clip_sd']:.1%}"
    if "unknown_named" in values:
        cells["clips of unknown classes named"] = f"{values['unknown_named']:.2f}"
    for kind, rate in values["alarms"].items():
        cells[f"false alarms an hour, {kind} ({rate['hours']:.2f} h)"] = (
            f"{rate['per_hour']:.1f} (under {rate['limit_per_hour']:.1f})"
        )
    return cells


def _table(corner: str, names: Sequence[str], rows: dict[str, list[str]]) -> list[str]:
    head = [f"| {corner} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    return head + [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]


def _of_label(values: dict[str, Any], label: str) -> str:
    found = values["events"].get(next(iter(LEVELS)))
    if found is None:
        return _NONE
    row = found["by_label"][label]
    return f"{row['precision']:.2f} / {row['recall']:.2f}"


def _rate(rows: Sequence[tuple[float, list[str]]], models: int) -> dict[str, Any]:
    counts = Counter(label for _, labels in rows for label in labels)
    hours, total = sum(seconds for seconds, _ in rows) / 3600.0 / models, counts.total()
    if not hours:
        return {**alarm_rate(0, math.inf), "hours": 0.0, "by_label": {}}
    return {
        **alarm_rate(math.ceil(total / models), hours),
        "false_alarms": total,
        "per_hour": round(total / models / hours, 2),
        "by_label": dict(counts.most_common()),
    }


def _short(judged: Judged) -> Judged:
    """Keep the short sounds alone."""
    return replace(
        judged,
        truths=tuple(t for t in judged.truths if t.label in SHORT),
        detections=tuple(d for d in judged.detections if d.label in SHORT),
    )


def _median(values: Sequence[float]) -> float | None:
    """Take the median of absolute values."""
    return round(float(np.median(np.abs(values))), 3) if values else None


def _seconds(value: float | None) -> str:
    return _NONE if value is None else f"{value:.2f} s"
