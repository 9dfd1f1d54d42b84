"""Reports of tests: one HTML page, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from otic.errors import OticError
from otic_training.reports.cost import Cost
from otic_training.reports.page import LINE_COLOUR, Page, drawing
from otic_training.scoring.metrics import Figures, Tested, by_class, reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_NUMBERED = 20
"""Labels up to which a confusion matrix has room for counts."""


@dataclass(frozen=True)
class Report:
    """Figures of a test, and what they came from.

    Attributes
    ----------
    title : str
    labels : tuple of str
    figures : dict of Figures
        By name; the report is about the first.
    results : sequence of Tested
        What the first figures sum up.
    cost : Cost, optional
    notes : tuple of str
        What must not be missed.
    """

    title: str
    labels: tuple[str, ...]
    figures: dict[str, Figures]
    results: Sequence[Tested]
    cost: Cost | None = None
    notes: tuple[str, ...] = ()

    @property
    def subject(self) -> Figures:
        """Figures that the report is about: the first."""
        return next(iter(self.figures.values()))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "labels": list(self.labels),
            "presets": {name: figures.to_dict() for name, figures in self.figures.items()},
            "by_class": by_class(self.labels, self.subject.confusion),
            "reliability": reliability(self.results),
            "cost": None if self.cost is None else self.cost.to_dict(),
            "notes": list(self.notes),
        }

    def write(self, folder: Path) -> Path:
        """Write ``report.json`` and ``index.html``; returns the page's path.

        Raises
        ------
        OticError
            If one can't be written.
        """
        page = folder / "index.html"
        write_json(folder / "report.json", self.to_dict())
        self._page().write(page)
        return page

    def _page(self) -> Page:
        page = Page(self.title)
        page.paragraph(self.subject.protocol)
        for note in self.notes:
            page.note(note)
        page.heading("Accuracy")
        page.table(
            ["", "clips", "of clips", "of windows", "calibration error", "by fold"],
            [_row(name, figures) for name, figures in self.figures.items()],
        )
        page.heading("By class")
        page.table(["", "clips", "recall", "precision", "F1"], self._class_rows())
        page.heading("Confusion")
        page.picture(
            confusion_picture(self.labels, self.subject.confusion),
            "Confusion matrix; the same counts are in report.json",
            "Rows: what it was. Columns: what it was taken for. Counts of clips.",
        )
        page.heading("Reliability")
        page.picture(
            reliability_picture(reliability(self.results)),
            "Accuracy of windows by their highest score",
            "How often a window's highest score was right, by how high it was; on the line "
            "scores mean what they say.",
        )
        if self.cost is not None:
            page.heading("Facts")
            page.table([], [("cost", self.cost.text())])
        return page

    def _class_rows(self) -> list[list[str | int]]:
        return [
            [row["label"], row["clips"], *(_percent(row[k]) for k in ("recall", "precision", "f1"))]
            for row in by_class(self.labels, self.subject.confusion)
        ]


def _row(name: str, figures: Figures) -> list[str | int]:
    return [
        name,
        figures.clips,
        figures.spread("clip"),
        figures.spread("window"),
        f"{figures.calibration_error:.1%}",
        "  ".join(f"{a:.1%}" for a in figures.clip_by_fold),
    ]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def confusion_picture(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> Figure:
    """Draw counts of clips, rows true, columns predicted; shaded by the share of the row."""
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n, places = len(labels), np.arange(len(labels))
    with drawing(3.0 + 0.38 * n, 2.0 + 0.34 * n) as figure:
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
        axes.set_xticks(places, labels, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(places, labels, parse_math=False)
        for i, j in np.argwhere(counts) if n <= _MAX_NUMBERED else ():
            colour = "white" if shares[i, j] > 0.5 else "#1c2128"
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour)
        return figure


def reliability_picture(curve: Sequence[dict[str, Any]]) -> Figure:
    """Draw the accuracy by score, with the share of windows below."""
    scores, accuracies = [r["score"] for r in curve], [r["accuracy"] for r in curve]
    windows = np.array([r["windows"] for r in curve])
    with drawing(5.0, 4.2) as figure:
        upper, lower = figure.subplots(2, height_ratios=(3, 1), sharex=True)
        upper.plot([0, 1], [0, 1], linestyle="--", linewidth=0.8, color="#757b84")
        upper.plot(scores, accuracies, marker="o", color=LINE_COLOUR)
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        lower.bar(scores, windows / windows.sum(), width=0.04, color=LINE_COLOUR)
        lower.set(xlabel="highest score of a window", ylabel="share")
        return figure


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write beside, then rename.

    Raises
    ------
    OticError
        If it can't be written.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise OticError(f"can't write '{path}': {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
