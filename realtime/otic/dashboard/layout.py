"""Which panel is where at any size of the terminal, and a whole frame of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from otic.dashboard.canvas import Canvas, Piece, Rect
from otic.dashboard.panels import (
    draw_banner,
    draw_events,
    draw_footer,
    draw_health,
    draw_help,
    draw_level,
    draw_scores,
    draw_sources,
    draw_title,
    figures,
)
from otic.dashboard.plots import WavePanel, draw_picture
from otic.dashboard.theme import Theme
from otic.dashboard.view_state import FrameData, Ranking, ViewState, chosen_event, moment
from otic.errors import OticError
from otic.streaming.monitor import Health, Monitor
from otic.streaming.recent import DetectedEvent
from otic.streaming.session_view import SessionView, StreamView
from otic.types import StreamStatus

_WIDE, _MEDIUM = 108, 72  # columns, from which two panels lie side by side
_GUTTER = 3
_RULE = 1
_LEAST_EVENTS = 2
_CALM_SECONDS = 1.0  # figures and marks are looked up anew after this


@dataclass(frozen=True)
class Layout:
    """Where each panel is; None where there is no room for it.

    A panel's area includes its heading, where ``headings`` is true.
    """

    title: Rect
    banner: Rect | None = None
    level: Rect | None = None
    sources: Rect | None = None
    picture: Rect | None = None
    scores: Rect | None = None
    events: Rect | None = None
    wave: Rect | None = None
    health: Rect | None = None
    footer: Rect | None = None
    headings: bool = True

    def areas(self) -> list[Rect]:
        """All that there are."""
        values = (getattr(self, name) for name in self.__dataclass_fields__)
        return [value for value in values if isinstance(value, Rect)]


def arrange(width: int, height: int, n_labels: int, n_sources: int, banner: bool) -> Layout:
    """Areas that lie within ``width`` × ``height`` and never overlap.

    Parameters
    ----------
    n_labels : int
        So many classes there are; there may be fewer rows for them.
    n_sources : int
        Streams that run; two or more have a line each.
    banner : bool
        Whether audio was lost: that has a line of its own.
    """
    margin = 1 if width >= 60 else 0
    inner = width - 2 * margin
    found: dict[str, Rect] = {"title": Rect(0, margin, 1, inner)}
    top, bottom = 1, height
    if height >= 12:
        bottom -= 1
        found["footer"] = Rect(bottom, margin, 1, inner)
    if height >= 3:
        bottom -= 1
        found["health"] = Rect(bottom, margin, 1, inner)
    if banner and height >= 4:
        found["banner"] = Rect(top, 0, 1, width)
        top += 1
    if height >= 7:
        found["level"] = Rect(top, margin, 1, inner)
        top += 1
    if n_sources > 1 and height >= 9:
        lines = min(n_sources, max(1, height // 6))
        found["sources"] = Rect(top, margin, lines, inner)
        top += lines
    body = Rect(top, margin, max(0, bottom - top), inner)
    found |= _body(body, n_labels)
    return Layout(**found, headings=body.height >= 12)


def _body(body: Rect, n_labels: int) -> dict[str, Rect]:
    if body.height <= 0:
        return {}
    if body.width + 2 >= _WIDE and body.height >= 16:
        return _side_by_side(body, n_labels)
    if body.width + 2 >= _MEDIUM and body.height >= 14:
        return _picture_on_top(body, n_labels)
    return _stacked(body, n_labels)


def _side_by_side(body: Rect, n_labels: int) -> dict[str, Rect]:
    """The spectrogram and the waveform on the left, scores and events on the right."""
    right_width = min(max(round(body.width * 0.4), 44), 84)
    left, right = _columns(body, body.width - right_width - _GUTTER)
    wave = min(max(body.height // 6, 4), 9)
    scores = min(n_labels + _RULE, max(6, round(body.height * 0.5)))
    return {
        "picture": left.rows(0, body.height - wave),
        "wave": left.rows(body.height - wave),
        "scores": right.rows(0, scores),
        "events": right.rows(scores),
    }


def _picture_on_top(body: Rect, n_labels: int) -> dict[str, Rect]:
    """The spectrogram over the whole width, below it scores and events side by side."""
    lower = max(min(n_labels + _RULE, 11, body.height - 6), round(body.height * 0.45))
    left, right = _columns(body.rows(body.height - lower), body.width // 2 - 1)
    found = {"picture": body.rows(0, body.height - lower)}
    scores = min(n_labels + _RULE, lower)
    if lower - scores >= 4:
        return found | {"scores": left.rows(0, scores), "wave": left.rows(scores), "events": right}
    found["scores"] = left
    if lower < 10:
        return found | {"events": right}
    wave = 4 + (lower - 10) // 4
    return found | {"events": right.rows(0, lower - wave), "wave": right.rows(lower - wave)}


def _stacked(body: Rect, n_labels: int) -> dict[str, Rect]:
    """One below the other."""
    if body.height < 8:
        return {"scores": body}
    if body.height < 12:
        return {"picture": body.rows(0, 4), "scores": body.rows(4)}
    wave = 4 if body.height >= 30 else 0
    picture = round((body.height - wave) * 0.35)
    least_events = max(_LEAST_EVENTS + _RULE, round((body.height - wave) * 0.22))
    scores = min(n_labels + _RULE, body.height - wave - picture - least_events)
    events = body.height - wave - picture - scores
    found = {
        "picture": body.rows(0, picture),
        "scores": body.rows(picture, scores),
        "events": body.rows(picture + scores, events),
    }
    return found | ({"wave": body.rows(picture + scores + events)} if wave else {})


def _columns(area: Rect, left_width: int) -> tuple[Rect, Rect]:
    """Two side by side, with a gutter."""
    right = area.column + left_width + _GUTTER
    return (
        Rect(area.row, area.column, area.height, left_width),
        Rect(area.row, right, area.height, area.width - left_width - _GUTTER),
    )


class Frame:
    """Draws what a person looks at.

    Not thread safe: one thread draws.

    Parameters
    ----------
    desk : SessionView
    looking : ViewState
    theme : Theme
    timing : bool
        Whether figures are shown that differ from run to run.
    """

    def __init__(
        self, desk: SessionView, looking: ViewState, theme: Theme, timing: bool = True
    ) -> None:
        self._desk = desk
        self._looking = looking
        self._theme = theme
        self._timing = timing
        self._ranking = Ranking(desk.bundle.labels, tuple(desk.bundle.groups))
        self._wave = WavePanel()
        self._figures = ""
        self._verdicts: dict[tuple[str, int], str | None] = {}
        self._looked_up = 0.0
        self._monitor: Monitor | None = None  # of the first stream

    def pieces(self, width: int, height: int) -> list[Piece]:
        """All of the frame; nothing where there is no stream yet."""
        views = self._desk.views()
        canvas = Canvas(width, height)
        if not views or width < 1 or height < 1:
            return []
        monotonic = time.monotonic()
        looking = self._looking
        self._notice(views[0].monitor)
        index = next((i for i, v in enumerate(views) if v.source == looking.source), 0)
        shown = moment(views[index], looking.frozen_at)
        self._look_up(shown, monotonic)
        labels = shown.bundle.labels
        lost = shown.now.lost_samples > 0
        layout = arrange(width, height, len(labels), len(views), lost)
        draw_title(canvas, layout.title, shown, self._desk.control.paused)
        if layout.banner is not None:
            draw_banner(canvas, layout.banner, shown)
        if looking.help:
            top = 1 if layout.banner is None else 2
            draw_help(canvas, Rect(top, layout.title.column, height - top, layout.title.width))
            return canvas.pieces
        self._draw_lines(canvas, layout, shown, views, index, monotonic)
        self._draw_body(canvas, layout, shown)
        return canvas.pieces

    def _notice(self, monitor: Monitor) -> None:
        """The next of several files: moments and events of the one before are not in it."""
        if self._monitor not in (None, monitor):
            self._looking.frozen_at = self._looking.event = None
            self._verdicts = {}
        self._monitor = monitor

    def _draw_lines(
        self,
        canvas: Canvas,
        layout: Layout,
        shown: FrameData,
        views: list[StreamView],
        index: int,
        monotonic: float,
    ) -> None:
        desk = self._desk
        if layout.level is not None:
            draw_level(canvas, layout.level, shown)
        if layout.sources is not None:
            states = [(v.source, v.snapshot()) for v in views]
            told = [(source, now, self._health(now)) for source, now in states]
            draw_sources(canvas, layout.sources, told, index)
        if layout.health is not None:
            draw_health(canvas, layout.health, self._health(shown.now), self._figures)
        if layout.footer is not None:
            message = desk.messages[-1] if desk.messages else ""
            draw_footer(canvas, layout.footer, self._looking, message, monotonic)

    def _draw_body(self, canvas: Canvas, layout: Layout, shown: FrameData) -> None:
        looking = self._looking
        labels = shown.bundle.labels
        if layout.picture is not None:
            draw_picture(canvas, layout.picture, shown, self._theme)
        if layout.scores is not None:
            n_rows = layout.scores.height - layout.headings
            wanted = {*shown.active, *([looking.label] if looking.label else [])}
            rows = self._ranking.choose(shown.scores, n_rows, wanted)
            looking.shown_labels = tuple(labels[i] for i in rows)
            thresholds = self._desk.control.thresholds
            draw_scores(
                canvas, layout.scores, shown, rows, thresholds, looking.label, layout.headings
            )
        if layout.events is not None:
            draw_events(
                canvas,
                layout.events,
                shown,
                lambda heard: self._verdict(shown, heard),
                looking.event,
                layout.headings,
            )
        if layout.wave is not None:
            event = chosen_event(shown.heard, looking.event)
            chosen = event is not None and event.number == looking.event
            self._wave.draw(canvas, layout.wave, shown, event, chosen)

    def _health(self, now: StreamStatus) -> Health:
        if not self._timing:
            now = replace(now, real_time_factor=0.0, queue_fill=0.0)
        return self._desk.health(now)

    def _look_up(self, shown: FrameData, monotonic: float) -> None:
        """Once a second: what would flicker, or costs a look at the disk."""
        if monotonic - self._looked_up < _CALM_SECONDS:
            return
        self._looked_up = monotonic
        self._verdicts = {}
        self._figures = figures(shown.now) if self._timing else ""

    def forget_verdicts(self) -> None:
        """A mark was made: look them up in the next frame."""
        self._looked_up = 0.0

    def _verdict(self, shown: FrameData, heard: DetectedEvent) -> str | None:
        """What a person said of an event; nothing where the marks can't be read."""
        key = (shown.source, heard.number)
        if key not in self._verdicts:
            found = None
            if shown.memory is not None:
                try:
                    mark = self._desk.verdict(shown.memory, heard)
                    found = None if mark is None else mark.verdict
                except OticError:
                    found = None
            self._verdicts[key] = found
        return self._verdicts[key]
