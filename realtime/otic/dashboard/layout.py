"""The place of each panel at any size of the terminal, and a frame with all of them."""

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
from otic.dashboard.view_state import FrameData, Ranking, ViewState, chosen_event, frame_data
from otic.errors import OticError
from otic.streaming.monitor import Health, Monitor
from otic.streaming.recent import RecentEvent
from otic.streaming.session_view import SessionView, StreamView
from otic.types import StreamStatus

_WIDE, _MEDIUM = 108, 72  # columns from which two panels lie side by side
_GUTTER = 3
_RULE = 1
_LEAST_EVENTS = 2
_CALM_SECONDS = 1.0  # time between two look-ups of figures and marks


@dataclass(frozen=True)
class Layout:
    """The area of each panel; None if there is no room for it.

    An area includes the panel's heading if ``headings`` is true.
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
        """Return all areas that exist."""
        values = (getattr(self, name) for name in self.__dataclass_fields__)
        return [value for value in values if isinstance(value, Rect)]


def arrange(width: int, height: int, n_labels: int, n_sources: int, banner: bool) -> Layout:
    """Lay out areas within ``width`` × ``height`` that never overlap.

    Parameters
    ----------
    n_labels : int
        Number of classes; there may be fewer rows than that.
    n_sources : int
        Number of running streams; two or more have a line each.
    banner : bool
        True after audio was lost: the loss has a line of its own.
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
    """Put the spectrogram on the left; scores, events and waveform on the right."""
    right_width = min(max(round(body.width * 0.4), 44), 84)
    left, right = _columns(body, body.width - right_width - _GUTTER)
    scores = min(n_labels + _RULE, max(6, round(body.height * 0.5)))
    events = body.height - scores - min(max((body.height - scores) // 2, 4), 12)
    return {
        "picture": left,
        "scores": right.rows(0, scores),
        "events": right.rows(scores, events),
        "wave": right.rows(scores + events),
    }


def _picture_on_top(body: Rect, n_labels: int) -> dict[str, Rect]:
    """Put the spectrogram across the top, scores and events side by side below it."""
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
    """Stack the panels."""
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
    """Split an area into two columns with a gutter."""
    right = area.column + left_width + _GUTTER
    return (
        Rect(area.row, area.column, area.height, left_width),
        Rect(area.row, right, area.height, area.width - left_width - _GUTTER),
    )


class Frame:
    """Draws whole frames.

    Not thread safe: one thread draws.

    Parameters
    ----------
    session_view : SessionView
    view_state : ViewState
    theme : Theme
    timing : bool
        False leaves out figures that differ from run to run.
    """

    def __init__(
        self, session_view: SessionView, view_state: ViewState, theme: Theme, timing: bool = True
    ) -> None:
        self._session_view = session_view
        self._view_state = view_state
        self._theme = theme
        self._timing = timing
        self._ranking = Ranking(session_view.bundle.labels, tuple(session_view.bundle.groups))
        self._wave = WavePanel()
        self._figures = ""
        self._verdicts: dict[tuple[str, int], str | None] = {}
        self._looked_up = 0.0
        self._monitor: Monitor | None = None  # of the first stream

    def pieces(self, width: int, height: int) -> list[Piece]:
        """Return all pieces of the frame; none before the first stream."""
        views = self._session_view.views()
        canvas = Canvas(width, height)
        if not views or width < 1 or height < 1:
            return []
        monotonic = time.monotonic()
        view_state = self._view_state
        self._notice(views[0].monitor)
        index = next((i for i, v in enumerate(views) if v.source == view_state.source), 0)
        data = frame_data(views[index], view_state.frozen_at)
        self._look_up(data, monotonic)
        labels = data.bundle.labels
        lost = data.now.lost_samples > 0
        layout = arrange(width, height, len(labels), len(views), lost)
        draw_title(canvas, layout.title, data, self._session_view.control.paused)
        if layout.banner is not None:
            draw_banner(canvas, layout.banner, data)
        if view_state.help:
            top = 1 if layout.banner is None else 2
            draw_help(canvas, Rect(top, layout.title.column, height - top, layout.title.width))
            return canvas.pieces
        self._draw_lines(canvas, layout, data, views, index, monotonic)
        self._draw_body(canvas, layout, data)
        return canvas.pieces

    def _notice(self, monitor: Monitor) -> None:
        """Drop frozen time and chosen event when the next file begins."""
        if self._monitor not in (None, monitor):
            self._view_state.frozen_at = self._view_state.event = None
            self._verdicts = {}
        self._monitor = monitor

    def _draw_lines(
        self,
        canvas: Canvas,
        layout: Layout,
        data: FrameData,
        views: list[StreamView],
        index: int,
        monotonic: float,
    ) -> None:
        session_view = self._session_view
        if layout.level is not None:
            draw_level(canvas, layout.level, data)
        if layout.sources is not None:
            states = [(v.source, v.snapshot()) for v in views]
            rows = [(source, now, self._health(now)) for source, now in states]
            draw_sources(canvas, layout.sources, rows, index)
        if layout.health is not None:
            draw_health(canvas, layout.health, self._health(data.now), self._figures)
        if layout.footer is not None:
            message = session_view.messages[-1] if session_view.messages else ""
            draw_footer(canvas, layout.footer, self._view_state, message, monotonic)

    def _draw_body(self, canvas: Canvas, layout: Layout, data: FrameData) -> None:
        view_state = self._view_state
        labels = data.bundle.labels
        if layout.picture is not None:
            draw_picture(canvas, layout.picture, data, self._theme)
        if layout.scores is not None:
            n_rows = layout.scores.height - layout.headings
            required = {*data.active, *([view_state.label] if view_state.label else [])}
            rows = self._ranking.choose(data.scores, n_rows, required)
            view_state.shown_labels = tuple(labels[i] for i in rows)
            thresholds = self._session_view.control.thresholds
            draw_scores(
                canvas, layout.scores, data, rows, thresholds, view_state.label, layout.headings
            )
        if layout.events is not None:
            draw_events(
                canvas,
                layout.events,
                data,
                lambda event: self._verdict(data, event),
                view_state.event,
                layout.headings,
            )
        if layout.wave is not None:
            event = chosen_event(data.events, view_state.event)
            chosen = event is not None and event.number == view_state.event
            self._wave.draw(canvas, layout.wave, data, event, chosen)

    def _health(self, now: StreamStatus) -> Health:
        if not self._timing:
            now = replace(now, real_time_factor=0.0, queue_fill=0.0)
        return self._session_view.health(now)

    def _look_up(self, data: FrameData, monotonic: float) -> None:
        """Look up figures and marks once a second: figures would flicker, marks are on disk."""
        if monotonic - self._looked_up < _CALM_SECONDS:
            return
        self._looked_up = monotonic
        self._verdicts = {}
        self._figures = figures(data.now) if self._timing else ""

    def forget_verdicts(self) -> None:
        """Look up the marks again in the next frame: one was just made."""
        self._looked_up = 0.0

    def _verdict(self, data: FrameData, event: RecentEvent) -> str | None:
        """Return the mark of an event; None if it has none or the marks can't be read."""
        key = (data.source, event.number)
        if key not in self._verdicts:
            found = None
            if data.memory is not None:
                try:
                    mark = self._session_view.verdict(data.memory, event)
                    found = None if mark is None else mark.verdict
                except OticError:
                    found = None
            self._verdicts[key] = found
        return self._verdicts[key]
