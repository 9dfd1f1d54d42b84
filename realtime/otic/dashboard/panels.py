"""The text panels: title, level, sources, scores, events, losses, health and keys."""

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
    decibels,
    duration,
    fit,
    fit_right,
    wall_clock,
)
from otic.dashboard.view_state import HISTORY_SECONDS, FrameData, ViewState
from otic.streaming.monitor import ALARM, OK, RECENT_SECONDS, Health
from otic.streaming.recent import RecentEvent
from otic.system.clock import clock
from otic.types import StreamStatus, label_text

_SPARKS = " ▁▂▃▄▅▆▇█"
_MOST_SPARKS = 30
_SCORE_WIDTH, _THRESHOLD_WIDTH = 5, 6
_CROSSED = {"━": "╋", "╸": "╉", "─": "┼"}
_NEVER = 1.0
_PEAK_WIDTH = 6

Verdict = Callable[[RecentEvent], str | None]
_CLOCK_WIDTH = 10
_FLOOR_DBFS = -60.0  # left end of the level bar
_LOUD_DBFS = -12.0
_CLIPPED_DBFS = -0.01
_LEVEL_STYLES = {OK: "ok", ALARM: "alarm"}

HELP = (
    ("q", "quit"),
    ("space", "pause or continue"),
    ("f", "freeze, or return to live"),
    ("← →", "a second back or forward"),
    ("PgUp PgDn", "ten seconds back or forward"),
    ("End", "return to live"),
    ("Tab", "next source (Shift: back)"),
    ("↑ ↓", "choose a class"),
    ("+ -", "raise or lower threshold"),
    ("[ ]", "earlier or later event"),
    ("y x", "mark event right or wrong"),
    ("s", "save the last ten seconds"),
    ("? Esc", "show or hide this help"),
)
_HINT_GAP = "   "
_HINTS = "q quit  space pause  f freeze  y/x right/wrong  s save  ? help"


def draw_scores(
    canvas: Canvas,
    area: Rect,
    data: FrameData,
    rows: Sequence[int],
    thresholds: Mapping[str, float],
    chosen: str | None,
    headings: bool = True,
) -> None:
    """Draw a row for each class: name, bar with threshold, score, and the last seconds."""
    labels = data.bundle.labels
    names = {i: label_text(labels[i]) for i in rows}
    widths = _score_widths(area.width, max(map(cells, names.values()), default=1))
    if headings:
        right = _headings(widths)
        if len(labels) > len(rows):
            top: Run = (f"top {len(rows)} of {len(labels)}", "dim")
            both = [top, ("   ", ""), *right]
            room = area.width - cells("scores ─── ")
            right = both if sum(cells(text) for text, _ in both) <= room else [top]
        canvas.rule(area, "scores", right)
        area = area.rows(1)
    sparks = _sparks(data.times, data.history, rows, widths.spark, data.seconds)
    for row, index in enumerate(rows[: area.height]):
        label, score = labels[index], float(data.scores[index])
        on = label in data.active
        threshold = thresholds[label]
        at = area.row + row
        name_style = "on" if on else "chosen" if label == chosen else ""
        mark = "›" if label == chosen else " "
        name = (fit(names[index], widths.name), name_style)
        canvas.text(at, area.column, widths.name + 2, (mark, "key"), name, (" ", ""))
        column = area.column + widths.name + 2
        canvas.text(at, column, widths.bar, *bar(score, threshold, widths.bar, on))
        column += widths.bar
        canvas.text(at, column, _SCORE_WIDTH, (f" {score:.2f}", "on" if on else ""))
        column += _SCORE_WIDTH
        if widths.threshold:
            changed = threshold != data.bundle.decision.on_thresholds[index]
            text = "never" if threshold >= _NEVER else f" {threshold:.2f}"
            canvas.text(at, column, _THRESHOLD_WIDTH, (text, "changed" if changed else "dim"))
            column += _THRESHOLD_WIDTH
        if widths.spark:
            canvas.text(at, column, widths.spark + 1, (" ", ""), *_spark_runs(sparks[row], on))
    canvas.blank(area, len(rows))


class _Widths:
    """The column widths of a row of scores."""

    def __init__(self, width: int, longest_name: int) -> None:
        self.threshold = _THRESHOLD_WIDTH if width >= 42 else 0
        left = width - 2 - _SCORE_WIDTH - self.threshold
        self.name = max(1, min(longest_name, left * 6 // 10))
        left -= self.name
        self.spark = min(_MOST_SPARKS, left * 2 // 5) if left >= 12 else 0
        self.bar = max(0, left - self.spark - (1 if self.spark else 0))


@lru_cache(maxsize=64)
def _score_widths(width: int, longest_name: int) -> _Widths:
    return _Widths(width, longest_name)


def _headings(widths: _Widths) -> list[Run]:
    """Return the words above scores, thresholds and histories, each as wide as its column."""
    threshold = fit(" on at", widths.threshold) if widths.threshold else ""
    last = f"{HISTORY_SECONDS:.0f} s"
    if widths.spark > len(last) + 5:
        last = f"last {last}"
    history = f" {fit(last, widths.spark)}" if widths.spark else ""
    return [(fit("score", _SCORE_WIDTH) + threshold + history, "dim")]


def bar(share: float, threshold: float, width: int, on: bool) -> list[Run]:
    """Return a line of ``share`` of the width, in half cells, with a mark at the threshold."""
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
    """Put the threshold's mark across one cell of the runs, whose line goes on through it."""
    runs: list[Run] = []
    column = 0
    for text, style in line:
        if column <= at < column + len(text):
            before, behind = text[: at - column], text[at - column + 1 :]
            runs += [(before, style), (_CROSSED[text[at - column]], "mark"), (behind, style)]
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
    """Draw each row's last seconds as small columns: the greatest score of each stretch.

    Stretches begin at multiples of their length, so drawn columns move but never change.
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
    """Split a row of columns into runs; silence is dim."""
    runs: list[Run] = []
    for low, cells_ in groupby(spark, lambda cell: cell in " ▁"):
        runs.append(("".join(cells_), "track" if low else "on" if on else "spark"))
    return runs


def draw_events(
    canvas: Canvas,
    area: Rect,
    data: FrameData,
    verdict: Verdict,
    chosen: int | None,
    headings: bool = True,
) -> None:
    """List events, latest first: time, length, label, peak and mark."""
    if headings:
        n = data.events[-1].number if data.events else 0
        canvas.rule(area, "events", [(f"{n} so far", "dim")] if n > area.height - 1 else [])
        area = area.rows(1)
    newest = list(reversed(data.events))
    first = next((i for i, h in enumerate(newest) if h.number == chosen), 0)
    newest = newest[max(0, first - area.height + 1) :][: area.height]
    times = [_when(event, data.live) for event in newest]
    lengths = ["" if event.lost else _length(event, data) for event in newest]
    time_width, length_width = (
        max(map(cells, times), default=0),
        max(map(cells, lengths), default=0),
    )
    for row, (event, when, length) in enumerate(zip(newest, times, lengths, strict=True)):
        at = area.row + row
        when = fit_right(when, time_width)
        if event.lost:
            canvas.text(at, area.column, area.width, *_gap_runs(event, when))
            continue
        on = event.offset is None
        said = {"right": ("✓", "ok"), "wrong": ("✗", "bad")}.get(verdict(event) or "")
        left = max(1, area.width - length_width - _PEAK_WIDTH - 1)
        canvas.text(
            at,
            area.column,
            left,
            ("›" if event.number == chosen else " ", "key"),
            said or (("●", "on") if on else (" ", "")),
            (f" {when}  ", "dim"),
            (fit(label_text(event.label), max(1, left - time_width - 5)), "on" if on else ""),
        )
        figures = f" {fit_right(length, length_width)}", "on" if on else "dim"
        peak = f"  {event.peak:.2f}", "on" if on else ""
        canvas.text(at, area.column + left, area.width - left, figures, peak)
    if not newest and area.height:
        canvas.text(area.row, area.column, area.width, ("none yet", "dim"))
    canvas.blank(area, max(1, len(newest)))


def _length(event: RecentEvent, data: FrameData) -> str:
    lasted = (data.seconds if event.offset is None else event.offset) - event.onset
    # Whole seconds while the event goes on: tenths would flicker.
    return f"{int(lasted)} s …" if event.offset is None else duration(lasted)


def _gap_runs(gap: RecentEvent, when: str) -> list[Run]:
    when = f"   {when}  "
    seconds = (gap.offset or gap.onset) - gap.onset
    if gap.paused:
        return [(when, "dim"), (f"paused for {duration(seconds)}", "warning")]
    text = f"LOST {gap.lost:,} samples ({seconds:.2f} s)"
    return [(when, "dim"), (text, "bad")]


def _when(event: RecentEvent, live: bool) -> str:
    if live and event.onset_at is not None:
        return wall_clock(event.onset_at)
    return clock(event.onset)


def draw_title(canvas: Canvas, area: Rect, data: FrameData, paused: bool) -> None:
    """Draw source and model, anything unusual, and the clock."""
    badge = _badge(data, paused)
    width = area.width - _CLOCK_WIDTH
    badge_width = cells(badge) + 1 if badge else 0
    room = max(0, width - badge_width)
    name_room = room - cells("otic  ")
    runs: list[Run] = [("otic  ", "brand")] if name_room >= 12 else []
    arrow = f" → {data.bundle.name}"
    room_for_source = (name_room if runs else room) - cells(arrow)
    if room_for_source >= 10:
        source = fit(data.source, min(cells(data.source) or 1, room_for_source))
        runs += [(source, "name"), (" → ", "dim"), (data.bundle.name, "name")]
    else:
        runs.append((fit(data.source, max(1, name_room if runs else room)), "name"))
    canvas.text(area.row, area.column, room, *runs)
    if badge:
        canvas.text(area.row, area.column + room, badge_width, (badge, "badge"))
    time = fit_right(clock(data.seconds), _CLOCK_WIDTH)
    canvas.text(area.row, area.column + width, _CLOCK_WIDTH, (time, "clock"))


def _badge(data: FrameData, paused: bool) -> str:
    words = []
    if paused:
        words.append("PAUSED")
    if data.frozen:
        behind = max(0.0, data.now.seconds - data.seconds)
        words.append(f"FROZEN −{behind:.0f} s")
    if not words and data.now.n_scores == 0:
        words.append(f"warming up {data.bundle.window_seconds:.1f} s")
    return f" {', '.join(words)} " if words else ""


def draw_level(canvas: Canvas, area: Rect, data: FrameData) -> None:
    """Draw the level of the last tenth of a second and the peak of the last two seconds."""
    text_shown = f" {decibels(data.level_dbfs)} dB"
    clipped = data.peak_dbfs >= _CLIPPED_DBFS
    peak = "" if area.width < 40 else f"  peak {decibels(data.peak_dbfs)} dB"
    if clipped:
        peak = fit_right(" CLIP ", len(peak)) if peak else " CLIP "
    width = max(0, area.width - 6 - len(text_shown) - len(peak))
    canvas.text(area.row, area.column, 6, ("level ", "heading"))
    meter = bar(share(data.level_dbfs), share(data.peak_dbfs), width, False)
    loud = "warning" if data.level_dbfs > _LOUD_DBFS else "ok"
    runs = [(text, loud if style == "bar" else style) for text, style in meter]
    canvas.text(area.row, area.column + 6, width, *runs)
    column = area.column + 6 + width
    canvas.text(area.row, column, len(text_shown), (text_shown, ""))
    canvas.text(
        area.row, column + len(text_shown), len(peak), (peak, "alarm" if clipped else "dim")
    )


def share(dbfs: float) -> float:
    """Return a level's place on the bar, 0 to 1."""
    return min(max((dbfs - _FLOOR_DBFS) / -_FLOOR_DBFS, 0.0), 1.0)


def draw_sources(
    canvas: Canvas, area: Rect, sources: Sequence[tuple[str, StreamStatus, Health]], chosen: int
) -> None:
    """Draw a line for each stream, the chosen one marked; if room is short, those around it."""
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
        active = ", ".join(map(label_text, sorted(now.active)))
        runs: list[Run] = [(active, "on")] if active else [("-", "dim")]
        if health.level != OK:
            style = _LEVEL_STYLES.get(health.level, "warning")
            listening = now.state not in (
                "waiting",
                "silent",
            )  # otherwise that is worse than any loss
            lost = now.lost_samples and listening
            reason = f" LOST {now.lost_seconds:.2f} s " if lost else health.reason
            runs = [(reason, style), ("  ", ""), *runs]
        canvas.text(area.row + row, column, area.width - (column - area.column), *runs)
    canvas.blank(area, len(sources))


def draw_banner(canvas: Canvas, area: Rect, data: FrameData) -> None:
    """Draw the line about lost audio; it stays as long as the stream runs."""
    now = data.now
    lost_at = now.lost_at or 0.0
    ago = max(0.0, now.seconds - lost_at)
    style = "alarm" if ago < RECENT_SECONDS else "badge"
    when = clock(lost_at)
    if data.live and data.memory is not None and data.memory.stream.started is not None:
        began = datetime.fromisoformat(data.memory.stream.started)
        when = wall_clock(began + timedelta(seconds=lost_at))
    text = f" LOST AUDIO: {now.lost_samples:,} samples ({now.lost_seconds:.2f} s), last at {when}"
    if cells(text) > area.width:
        text = f" LOST {now.lost_seconds:.2f} s, last at {when}"
    canvas.text(area.row, area.column, area.width, (fit(text, area.width), style))


def draw_health(canvas: Canvas, area: Rect, health: Health, figures: str) -> None:
    """Draw the stream's health in words, and figures on the right if there is room."""
    style = _LEVEL_STYLES.get(health.level, "warning")
    text_shown = f" {health.reason} " if style == "alarm" else f"● {health.reason}"
    room = area.width - len(figures) - 2
    if not figures or cells(text_shown) > room:
        canvas.text(area.row, area.column, area.width, (text_shown, style))
        return
    canvas.text(area.row, area.column, room, (text_shown, style))
    column = area.column + room
    canvas.text(area.row, column, area.width - room, (fit_right(figures, area.width - room), "dim"))


def figures(now: StreamStatus) -> str:
    """Return what the classification costs, as text; empty before there was one."""
    if not now.n_scores:
        return ""
    return (
        f"queue {now.queue_fill:4.0%}   {min(now.real_time_factor, 9999.0):4.0f} × real time   "
        f"inference {now.inference_p50_ms:.2f} ms, p99 {now.inference_p99_ms:.2f} ms"
    )


def draw_footer(
    canvas: Canvas, area: Rect, view_state: ViewState, message: str, monotonic: float
) -> None:
    """Draw the latest message, or the keys if there is none."""
    text, style, until = view_state.message
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
    """Drop hints that do not fit whole; the last one (help) always stays."""
    pairs = [keys[i : i + 2] for i in range(0, len(keys), 2)]
    gap = cells(_HINT_GAP)
    while len(pairs) > 1 and sum(cells(t) + gap / 2 for p in pairs for t, _ in p) - gap > width:
        del pairs[-2]
    spaced = [[*pair, (_HINT_GAP, "")] for pair in pairs]
    return [run for group in spaced for run in group][:-1]


def draw_help(canvas: Canvas, area: Rect) -> None:
    """Draw the list of all keys."""
    canvas.rule(area.rows(0, 1), "keys")
    key_width = 11 if area.width >= 40 else 10
    for row, (key, what) in enumerate(HELP[: max(0, area.height - 1)], 1):
        text = (fit(what, max(1, area.width - key_width - 2)), "")
        canvas.text(
            area.row + row, area.column, area.width, ("  ", ""), (fit(key, key_width), "key"), text
        )
    canvas.blank(area, 1 + len(HELP))
