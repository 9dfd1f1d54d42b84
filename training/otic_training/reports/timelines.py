"""The page of ``otic evaluate --streaming --report``: truth above, detections below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from otic_training.reports.page import Page, drawing
from otic_training.reports.report import write_json
from otic_training.scoring.alarms import rate_text
from otic_training.scoring.detections import Judged

_SHOWN = 8
"""Soundscapes with a picture; the figures are of all."""


def write_timelines(
    folder: Path, outcome: dict[str, Any], judged: Sequence[Judged], labels: Sequence[str]
) -> Path:
    """Write ``report.json`` and ``index.html`` into a folder that exists.

    Raises
    ------
    OticError
        If one can't be written.
    """
    page = Page(f"{outcome['model']}: events on soundscapes")
    for note in outcome["notes"]:
        page.note(note)
    page.paragraph(outcome["protocol"])
    _tables(page, outcome)
    if "alarms" in outcome:
        _alarms(page, outcome)
    page.heading("Soundscapes")
    page.paragraph(
        "For each label the truth above (grey) and what was detected below (blue where the onset "
        "is within a second of a true one, orange where it is not)."
    )
    for j in judged[:_SHOWN]:
        _picture(page, j, labels)
    if len(judged) > _SHOWN:
        page.paragraph(f"{len(judged) - _SHOWN} more soundscapes are not shown.")
    write_json(folder / "report.json", outcome)
    path = folder / "index.html"
    page.write(path)
    return path


def _tables(page: Page, outcome: dict[str, Any]) -> None:
    loud, simple = outcome["snr_10_db_and_more"], outcome["naive"]
    rows = [(f"onset within {c} s", v) for c, v in outcome["events"].items()]
    rows += [("1 s, at 10 dB and more", loud), ("1 s, naive 0.5 rule", simple)]
    rows += [("segments of 1 s", outcome["segments"])]
    page.table(
        ("", "F1", "precision", "recall"),
        [(name, *(f"{v[k]:.1%}" for k in ("f1", "precision", "recall"))) for name, v in rows],
    )
    background = outcome["background"]
    facts: list[tuple[str, str]] = [("PSDS", f"{outcome['psds']:.3f}")]
    for name, key in (("decided after the onset", "delay"), ("onset error", "onset_error")):
        values = outcome[f"{key}_seconds"]
        if values:
            facts.append((name, f"{values['p50']:.2f} s median, {values['p90']:.2f} s for 90 %"))
    by_label = ", ".join(f"{k} {n}" for k, n in sorted(background["by_label"].items()))
    facts.append(
        (
            "false alarms",
            f"{rate_text(background)}, in {background['hours']:.2f} h of background"
            + (f" ({by_label})" if by_label else ""),
        )
    )
    if "unknown" in outcome:
        unknown = outcome["unknown"]
        facts.append(
            (
                "unknown sounds",
                f"{unknown['reported']:.1%} of {unknown['sounds']} reported as a known one; "
                f"{unknown['rejected']:.1%} rejected where 90 % of known sounds are kept",
            )
        )
    page.table((), facts)
    page.heading("By label, onset within 1 s")
    page.table(
        ("", "F1", "precision", "recall"),
        [
            (label, *(f"{v[k]:.0%}" for k in ("f1", "precision", "recall")))
            for label, v in outcome["events"]["1.0"]["by_label"].items()
        ],
    )


def _alarms(page: Page, outcome: dict[str, Any]) -> None:
    """Add false alarms by kind of sound, and what they cost."""
    alarms, rows = outcome["alarms"], outcome["curve"]
    page.heading("False alarms in everyday sound")
    kinds = {**alarms["by_kind"], "all": alarms}
    page.table(
        ("", "hours", "alarms", "an hour", "under (95 %)", "labels"),
        [
            (
                kind,
                f"{v['hours']:.2f}",
                v["false_alarms"],
                f"{v['per_hour']:.1f}",
                f"{v['limit_per_hour']:.1f}",
                ", ".join(f"{label} {n}" for label, n in v["by_label"].items()),
            )
            for kind, v in kinds.items()
        ],
    )
    *points, shipped = rows
    with drawing(7.0, 3.5) as figure:
        axes = figure.add_subplot()
        axes.plot([r["per_hour"] for r in points], [r["f1"] for r in points], marker=".")
        axes.plot(shipped["per_hour"], shipped["f1"], "o", color="#d9822b", label="as shipped")
        axes.set_xscale("symlog", linthresh=1.0)
        axes.set_xlabel("false alarms an hour")
        axes.set_ylabel("F1 of events, 1 s")
        axes.legend()
        page.picture(figure, "F1 of events over false alarms an hour, one threshold for all labels")


def _picture(page: Page, judged: Judged, labels: Sequence[str]) -> None:
    with drawing(11.0, 0.6 + 0.28 * len(labels)) as figure:
        axes = figure.add_subplot()
        for row, label in enumerate(labels):
            true = [t for t in judged.truths if t.label == label]
            spans = [(t.onset, t.offset - t.onset) for t in true]
            axes.broken_barh(spans, (row - 0.38, 0.36), color="#8b939e")
            for d in judged.detections:
                if d.label == label:
                    right = any(abs(d.onset - t.onset) <= 1.0 for t in true)
                    colour = "#4a86d8" if right else "#d9822b"
                    length = max(d.offset - d.onset, 0.3)
                    axes.broken_barh([(d.onset, length)], (row + 0.02, 0.36), color=colour)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(0.0, judged.seconds)
        axes.set_xlabel("seconds")
        page.picture(
            figure,
            f"soundscape {judged.name}: {len(judged.truths)} true events and "
            f"{len(judged.detections)} detections by label over time",
            f"soundscape {judged.name}",
        )
