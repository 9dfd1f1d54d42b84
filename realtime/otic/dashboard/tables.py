"""The two tables: scores of the classes, and what was heard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from otic.dashboard.canvas import Canvas, Rect, Run
from otic.dashboard.moment import HISTORY_SECONDS, FrameData
from otic.dashboard.words import cells, clock, duration, fit, fit_right, wall_clock
from otic.streaming.recent import DetectedEvent

_SPARKS = " ▁▂▃▄▅▆▇█"
_MOST_SPARKS = 30
_NEVER = 1.0
_TIME_WIDTH = 8
_FIGURES_WIDTH = 13  # how long an event was, and its peak

Verdict = Callable[[DetectedEvent], str | None]


def draw_scores(
    canvas: Canvas,
    area: Rect,
    shown: FrameData,
    rows: Sequence[int],
    thresholds: Mapping[str, float],
    chosen: str | None,
    headings: bool = True,
) -> None:
    """A row a class: name, bar with its threshold, score, threshold and the last seconds."""
    labels = shown.bundle.labels
    if headings:
        more = len(labels) - len(rows)
        right: list[Run] = [(f"top {len(rows)} of {len(labels)}", "dim")] if more else []
        canvas.rule(area, "scores", right)
        area = area.rows(1)
    widths = _score_widths(area.width, max((cells(labels[i]) for i in rows), default=1))
    sparks = _sparks(shown.times, shown.history, rows, widths.spark, shown.seconds)
    for row, index in enumerate(rows[: area.height]):
        label, score = labels[index], float(shown.scores[index])
        on = label in shown.active
        threshold = thresholds[label]
        at = area.row + row
        name_style = "on" if on else "chosen" if label == chosen else ""
        mark = "›" if label == chosen else " "
        name = (fit(label, widths.name), name_style)
        canvas.text(at, area.column, widths.name + 2, (mark, "key"), name, (" ", ""))
        column = area.column + widths.name + 2
        canvas.text(at, column, widths.bar, *bar(score, threshold, widths.bar, on))
        column += widths.bar
        canvas.text(at, column, 5, (f" {score:.2f}", "on" if on else ""))
        column += 5
        if widths.threshold:
            changed = threshold != shown.bundle.decision.on_thresholds[index]
            text = "never" if threshold >= _NEVER else f" {threshold:.2f}"
            canvas.text(at, column, 6, (text, "changed" if changed else "dim"))
            column += 6
        if widths.spark:
            canvas.text(at, column, widths.spark + 1, (" ", ""), *_spark_runs(sparks[row], on))
    canvas.blank(area, len(rows))


class _Widths:
    """How a row of scores is divided."""

    def __init__(self, width: int, longest_name: int) -> None:
        self.threshold = 6 if width >= 42 else 0
        left = width - 2 - 5 - self.threshold
        self.name = max(1, min(longest_name, left * 6 // 10))
        left -= self.name
        self.spark = min(_MOST_SPARKS, left * 2 // 5) if left >= 12 else 0
        self.bar = max(0, left - self.spark - (1 if self.spark else 0))


@lru_cache(maxsize=64)
def _score_widths(width: int, longest_name: int) -> _Widths:
    return _Widths(width, longest_name)


def bar(share: float, threshold: float, width: int, on: bool) -> list[Run]:
    """A line as long as the share, in half cells, with a mark at the threshold."""
    if width < 1:
        return []
    halves = round(min(max(share, 0.0), 1.0) * width * 2)
    filled = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    style = "on" if on else "bar"
    line = [(filled, style), ("─" * (width - len(filled)), "track")]
    if threshold <= 0.0:
        return line
    return _with_mark(line, min(int(threshold * width), width - 1))


def _with_mark(line: list[Run], at: int) -> list[Run]:
    """The runs with a threshold's mark in the place of one cell."""
    runs: list[Run] = []
    column = 0
    for text, style in line:
        if column <= at < column + len(text):
            before, behind = text[: at - column], text[at - column + 1 :]
            runs += [(before, style), ("│", "mark"), (behind, style)]
        else:
            runs.append((text, style))
        column += len(text)
    return [run for run in runs if run[0]]


def _sparks(
    times: NDArray[np.float64],
    history: NDArray[np.float32],
    rows: Sequence[int],
    width: int,
    seconds: float,
) -> list[str]:
    """The last seconds of each row in little columns, the greatest score of each stretch.

    Stretches begin at multiples of their length: what is drawn moves, but never changes.
    """
    if not width or not len(rows):
        return [""] * len(rows)
    stretch = HISTORY_SECONDS / width
    newest = int(seconds / stretch)
    place = (times / stretch).astype(np.intp) - newest + width - 1
    heights = np.zeros((len(rows), width), np.intp)
    inside = (place >= 0) & (place < width)
    scaled = np.clip(np.ceil(history[inside][:, list(rows)] * 8), 1, 8).astype(np.intp)
    np.maximum.at(heights.T, place[inside], scaled)
    return ["".join([_SPARKS[h] for h in row]) for row in heights.tolist()]


def _spark_runs(spark: str, on: bool) -> list[Run]:
    """Silence is dim."""
    runs: list[Run] = []
    for low, cells_ in groupby(spark, lambda cell: cell in " ▁"):
        runs.append(("".join(cells_), "track" if low else "on" if on else "spark"))
    return runs


def draw_events(
    canvas: Canvas,
    area: Rect,
    shown: FrameData,
    verdict: Verdict,
    chosen: int | None,
    headings: bool = True,
) -> None:
    """The latest first: when, how long, what, its peak, and what a person said of it."""
    if headings:
        n = shown.heard[-1].number if shown.heard else 0
        canvas.rule(area, "events", [(f"{n} so far", "dim")] if n > area.height - 1 else [])
        area = area.rows(1)
    newest = list(reversed(shown.heard))
    first = next((i for i, h in enumerate(newest) if h.number == chosen), 0)
    newest = newest[max(0, first - area.height + 1) :][: area.height]
    for row, heard in enumerate(newest):
        at = area.row + row
        if heard.lost:
            canvas.text(at, area.column, area.width, *_gap_runs(heard, shown))
        else:
            _draw_event(canvas, at, area, heard, shown, verdict(heard), heard.number == chosen)
    if not newest and area.height:
        canvas.text(area.row, area.column, area.width, ("none yet", "dim"))
    canvas.blank(area, max(1, len(newest)))


def _draw_event(
    canvas: Canvas,
    at: int,
    area: Rect,
    heard: DetectedEvent,
    shown: FrameData,
    verdict: str | None,
    chosen: bool,
) -> None:
    on = heard.offset is None
    said = {"right": ("✓", "ok"), "wrong": ("✗", "bad")}.get(verdict or "")
    marks = [("›" if chosen else " ", "key"), said or (("●", "on") if on else (" ", ""))]
    when = fit_right(_when(heard, shown.live), _TIME_WIDTH)
    left = area.width - _FIGURES_WIDTH
    label_width = max(1, left - 2 - 1 - _TIME_WIDTH - 2)
    label = (fit(heard.label, label_width), "on" if on else "")
    canvas.text(at, area.column, left, *marks, (f" {when}  ", "dim"), label)
    lasted = (shown.seconds if heard.offset is None else heard.offset) - heard.onset
    # While it goes on, whole seconds are enough: it shall not flicker.
    text = f"{int(lasted)} s …" if on else duration(lasted)
    canvas.text(
        at,
        area.column + left,
        _FIGURES_WIDTH,
        (fit_right(text, _FIGURES_WIDTH - 6), "on" if on else "dim"),
        (f"  {heard.peak:.2f}", "on" if on else ""),
    )


def _gap_runs(gap: DetectedEvent, shown: FrameData) -> list[Run]:
    when = f"   {fit_right(_when(gap, shown.live), _TIME_WIDTH)}  "
    seconds = (gap.offset or gap.onset) - gap.onset
    if gap.wanted:
        return [(when, "dim"), (f"paused for {duration(seconds)}", "warning")]
    text = f"LOST {gap.lost:,} samples ({seconds:.2f} s)"
    return [(when, "dim"), (text, "bad")]


def _when(heard: DetectedEvent, live: bool) -> str:
    if live and heard.onset_at is not None:
        return wall_clock(heard.onset_at)
    return clock(heard.onset)
