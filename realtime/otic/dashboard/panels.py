"""The panels of text: title, level, sources, scores, events, losses, health and keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from otic.dashboard.canvas import (
    Canvas,
    Rect,
    Run,
    cells,
    clock,
    decibels,
    duration,
    fit,
    fit_right,
    wall_clock,
)
from otic.dashboard.view_state import HISTORY_SECONDS, FrameData, ViewState
from otic.streaming.monitor import ALARM, OK, RECENT_SECONDS, Health
from otic.streaming.recent import DetectedEvent
from otic.types import StreamStatus

_SPARKS = " ▁▂▃▄▅▆▇█"
_MOST_SPARKS = 30
_NEVER = 1.0
_TIME_WIDTH = 8
_FIGURES_WIDTH = 13  # how long an event was, and its peak

Verdict = Callable[[DetectedEvent], str | None]
_CLOCK_WIDTH = 10
_FLOOR_DBFS = -60.0  # left end of the level bar
_LOUD_DBFS = -12.0
_CLIPPED_DBFS = -0.01
_LEVEL_STYLES = {OK: "ok", ALARM: "alarm"}

HELP = (
    ("q", "quit"),
    ("space", "pause, and go on"),
    ("f", "freeze the picture, and live again"),
    ("← →", "a second back, forward"),
    ("PgUp PgDn", "ten seconds back, forward"),
    ("End", "live again"),
    ("Tab", "next source; Shift-Tab: the one before"),
    ("↑ ↓", "choose a class"),
    ("+ -", "raise, lower its threshold"),
    ("[ ]", "choose an earlier, a later event"),
    ("y x", "mark it right, wrong (no choice: the last)"),
    ("s", "save the last ten seconds"),
    ("? Esc", "this help, and away"),
)
_HINT_GAP = "   "
_HINTS = "q quit  space pause  f freeze  y/x right/wrong  s save  ? help"


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


def draw_title(canvas: Canvas, area: Rect, shown: FrameData, paused: bool) -> None:
    """Source and model, what is unusual, and the clock."""
    badge = _badge(shown, paused)
    width = area.width - _CLOCK_WIDTH
    badge_width = cells(badge) + 1 if badge else 0
    room = max(0, width - badge_width)
    name_room = room - cells("otic  ")
    runs: list[Run] = [("otic  ", "brand")] if name_room >= 12 else []
    arrow = f" → {shown.bundle.name}"
    room_for_source = (name_room if runs else room) - cells(arrow)
    if room_for_source >= 10:
        source = fit(shown.source, min(cells(shown.source) or 1, room_for_source))
        runs += [(source, "name"), (" → ", "dim"), (shown.bundle.name, "name")]
    else:
        runs.append((fit(shown.source, max(1, name_room if runs else room)), "name"))
    canvas.text(area.row, area.column, room, *runs)
    if badge:
        canvas.text(area.row, area.column + room, badge_width, (badge, "badge"))
    time = fit_right(clock(shown.seconds), _CLOCK_WIDTH)
    canvas.text(area.row, area.column + width, _CLOCK_WIDTH, (time, "clock"))


def _badge(shown: FrameData, paused: bool) -> str:
    words = []
    if paused:
        words.append("PAUSED")
    if shown.frozen:
        behind = max(0.0, shown.now.seconds - shown.seconds)
        words.append(f"FROZEN −{behind:.0f} s")
    if not words and shown.now.n_scores == 0:
        words.append(f"filling {shown.bundle.features.window_seconds:.1f} s")
    return f" {', '.join(words)} " if words else ""


def draw_level(canvas: Canvas, area: Rect, shown: FrameData) -> None:
    """The loudness of the last tenth of a second, and the peak of the last two seconds."""
    said = f" {decibels(shown.level_dbfs)} dB"
    clipped = shown.peak_dbfs >= _CLIPPED_DBFS
    peak = "" if area.width < 40 else f"  peak {decibels(shown.peak_dbfs)} dB"
    if clipped:
        peak = fit_right(" CLIP ", len(peak)) if peak else " CLIP "
    width = max(0, area.width - 6 - len(said) - len(peak))
    canvas.text(area.row, area.column, 6, ("level ", "heading"))
    meter = bar(share(shown.level_dbfs), share(shown.peak_dbfs), width, False)
    loud = "warning" if shown.level_dbfs > _LOUD_DBFS else "ok"
    runs = [(text, loud if style == "bar" else style) for text, style in meter]
    canvas.text(area.row, area.column + 6, width, *runs)
    column = area.column + 6 + width
    canvas.text(area.row, column, len(said), (said, ""))
    canvas.text(area.row, column + len(said), len(peak), (peak, "alarm" if clipped else "dim"))


def share(dbfs: float) -> float:
    """Where a level lies on the bar, 0 to 1."""
    return min(max((dbfs - _FLOOR_DBFS) / -_FLOOR_DBFS, 0.0), 1.0)


def draw_sources(
    canvas: Canvas, area: Rect, sources: Sequence[tuple[str, StreamStatus, Health]], chosen: int
) -> None:
    """A line each for all streams, the chosen one marked; those around it, where room is short."""
    first = min(max(0, chosen - area.height // 2), max(0, len(sources) - area.height))
    name_width = max(8, min(24, area.width // 4))
    for row, (name, now, health) in enumerate(sources[first : first + area.height]):
        here = first + row == chosen
        level = f" {decibels(now.level_dbfs)} dB  "
        label = (fit(name, name_width), "name" if here else "")
        canvas.text(
            area.row + row,
            area.column,
            2 + name_width + len(level),
            ("▸ " if here else "  ", "key"),
            label,
            (level, ""),
        )
        column = area.column + 2 + name_width + len(level)
        heard = ", ".join(sorted(now.active))
        runs: list[Run] = [(heard, "on")] if heard else [("-", "dim")]
        if health.level != OK:
            style = _LEVEL_STYLES.get(health.level, "warning")
            heard_now = now.state not in ("waiting", "silent")  # which is worse, if not
            lost = now.lost_samples and heard_now
            reason = f" LOST {now.lost_seconds:.2f} s " if lost else health.reason
            runs = [(reason, style), ("  ", ""), *runs]
        canvas.text(area.row + row, column, area.width - (column - area.column), *runs)
    canvas.blank(area, len(sources))


def draw_banner(canvas: Canvas, area: Rect, shown: FrameData) -> None:
    """Lost audio, over the whole width, for as long as the stream runs."""
    now = shown.now
    lost_at = now.lost_at or 0.0
    ago = max(0.0, now.seconds - lost_at)
    style = "alarm" if ago < RECENT_SECONDS else "badge"
    when = clock(lost_at)
    if shown.live and shown.memory is not None and shown.memory.stream.started is not None:
        began = datetime.fromisoformat(shown.memory.stream.started)
        when = wall_clock(began + timedelta(seconds=lost_at))
    text = f" LOST AUDIO: {now.lost_samples:,} samples ({now.lost_seconds:.2f} s), last at {when}"
    if cells(text) > area.width:
        text = f" LOST {now.lost_seconds:.2f} s, last at {when}"
    canvas.text(area.row, area.column, area.width, (fit(text, area.width), style))


def draw_health(canvas: Canvas, area: Rect, health: Health, figures: str) -> None:
    """How the stream does, in words; figures on the right, where there is room."""
    style = _LEVEL_STYLES.get(health.level, "warning")
    said = f" {health.reason} " if style == "alarm" else f"● {health.reason}"
    room = area.width - len(figures) - 2
    if not figures or cells(said) > room:
        canvas.text(area.row, area.column, area.width, (said, style))
        return
    canvas.text(area.row, area.column, room, (said, style))
    column = area.column + room
    canvas.text(area.row, column, area.width - room, (fit_right(figures, area.width - room), "dim"))


def figures(now: StreamStatus) -> str:
    """What the work costs."""
    return (
        f"queue {now.queue_fill:4.0%}   {min(now.real_time_factor, 9999.0):4.0f} × real time   "
        f"inference {now.inference_p50_ms:.2f} ms, p99 {now.inference_p99_ms:.2f} ms"
    )


def draw_footer(
    canvas: Canvas, area: Rect, looking: ViewState, message: str, monotonic: float
) -> None:
    """What was last said; else the keys."""
    text, style, until = looking.said
    if not text or monotonic >= until:
        text, style = message, "warning"
    if not text:
        keys: list[Run] = []
        for hint in _HINTS.split("  "):
            key, _, what = hint.partition(" ")
            keys += [(key, "key"), (f" {what}", "dim")]
        canvas.text(area.row, area.column, area.width, *_fitting(keys, area.width))
        return
    end = "  ? help"
    room = max(1, area.width - len(end))
    canvas.text(area.row, area.column, room, (fit(text, room), style))
    canvas.text(area.row, area.column + room, area.width - room, (end, "dim"))


def _fitting(keys: list[Run], width: int) -> list[Run]:
    """Whole hints only, the last one (help) always."""
    pairs = [keys[i : i + 2] for i in range(0, len(keys), 2)]
    gap = cells(_HINT_GAP)
    while len(pairs) > 1 and sum(cells(t) + gap / 2 for p in pairs for t, _ in p) - gap > width:
        del pairs[-2]
    spaced = [[*pair, (_HINT_GAP, "")] for pair in pairs]
    return [run for group in spaced for run in group][:-1]


def draw_help(canvas: Canvas, area: Rect) -> None:
    """All keys."""
    canvas.rule(area.rows(0, 1), "keys")
    key_width = 11 if area.width >= 40 else 10
    for row, (key, what) in enumerate(HELP[: max(0, area.height - 1)], 1):
        text = (fit(what, max(1, area.width - key_width - 2)), "")
        canvas.text(
            area.row + row, area.column, area.width, ("  ", ""), (fit(key, key_width), "key"), text
        )
    canvas.blank(area, 1 + len(HELP))
