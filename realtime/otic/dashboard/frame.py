"""One whole frame of the dashboard, at any size: from a desk to pieces."""

from __future__ import annotations

import time
from dataclasses import replace

from otic.dashboard.canvas import Canvas, Piece, Rect
from otic.dashboard.layout import Layout, arrange
from otic.dashboard.looking import ViewState
from otic.dashboard.moment import FrameData, moment
from otic.dashboard.panels import (
    draw_banner,
    draw_footer,
    draw_health,
    draw_help,
    draw_level,
    draw_sources,
    draw_title,
    figures,
)
from otic.dashboard.picture_panel import draw_picture
from otic.dashboard.ranking import Ranking
from otic.dashboard.tables import draw_events, draw_scores
from otic.dashboard.theme import Theme
from otic.dashboard.wave_panel import WavePanel
from otic.errors import OticError
from otic.streaming.health import Health
from otic.streaming.monitor import Monitor
from otic.streaming.recent import DetectedEvent
from otic.streaming.session_view import SessionView, StreamView
from otic.types import StreamStatus

_CALM_SECONDS = 1.0  # figures and marks are looked up anew after this


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


def chosen_event(heard: tuple[DetectedEvent, ...], number: int | None) -> DetectedEvent | None:
    """The event of that number, else the last one; gaps are none."""
    events = [h for h in heard if not h.lost]
    return next((h for h in events if h.number == number), events[-1] if events else None)
