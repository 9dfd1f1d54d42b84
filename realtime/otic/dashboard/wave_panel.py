"""The waveform of the last event, in braille: four dots high and two wide a cell."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from otic.dashboard.canvas import Canvas, Rect
from otic.dashboard.moment import FrameData
from otic.dashboard.words import clock, duration
from otic.streaming.recent import DetectedEvent, StreamMemory

_MARGIN_SECONDS = 0.25
_LONGEST_SECONDS = 20.0
_GROWS_SECONDS = 0.5  # an event that goes on is drawn anew after this
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.int64)
_BLANK = 0x2800
_FULL_SCALE = 32768.0


class WavePanel:
    """Keeps the picture of the last event: it is made once.

    Not thread safe.
    """

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._lines: list[str] = []
        self._peak = -math.inf

    def draw(
        self,
        canvas: Canvas,
        area: Rect,
        shown: FrameData,
        event: DetectedEvent | None,
        chosen: bool,
    ) -> None:
        """The event's sound and what it is; ``chosen`` by a person, not just the last."""
        title = "event" if chosen else "last event" if area.width >= 40 else "last"
        if shown.memory is None or event is None:
            canvas.rule(area, title)
            canvas.blank(area, 1)
            return
        end = shown.seconds if event.offset is None else event.offset
        end = min(end, event.onset + _LONGEST_SECONDS)
        if event.offset is None:
            end = max(event.onset, math.floor(end / _GROWS_SECONDS) * _GROWS_SECONDS)
        key = (shown.source, event.number, end, area.width, area.height)
        if key != self._key:
            self._key = key
            self._make(shown.memory, event.onset, end, area.width, area.height - 1)
        level = f"peak {20.0 * math.log10(self._peak):.0f} dB" if self._peak > 0.0 else ""
        when = f"{clock(event.onset)} + {duration(end - event.onset)}"
        right = [(event.label, "name"), (f"  {when}", "dim")]
        if level and area.width >= 60:
            right.append((f"  {level}", "dim"))
        canvas.rule(area, title, right)
        for row, line in enumerate(self._lines):
            canvas.text(area.row + 1 + row, area.column, area.width, (line, "wave"))
        canvas.blank(area, 1 + len(self._lines))

    def _make(
        self, memory: StreamMemory, onset: float, end: float, width: int, height: int
    ) -> None:
        _, pieces = memory.sound(onset - _MARGIN_SECONDS, end + _MARGIN_SECONDS)
        y = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
        loudest = int(np.abs(y.astype(np.int32)).max(initial=0))
        self._peak = loudest / _FULL_SCALE
        if len(y) == 0 or height < 1:
            self._lines = ["no sound of it is kept"] if height >= 1 else []
            return
        self._lines = braille(y / max(loudest, 1), width, height)


def braille(y: NDArray[np.floating], width: int, height: int) -> list[str]:
    """The least and the greatest of each stretch, as lines of braille.

    Parameters
    ----------
    y : float [n]
        In [-1, 1].
    width, height : int
        Cells.
    """
    n_across, n_down = 2 * width, 4 * height
    edges = np.arange(n_across) * len(y) // n_across
    greatest = np.maximum.reduceat(y, edges)
    least = np.minimum.reduceat(y, edges)
    top = np.rint((1.0 - greatest) / 2.0 * (n_down - 1))
    bottom = np.rint((1.0 - least) / 2.0 * (n_down - 1))
    down = np.arange(n_down)[:, None]
    on = (down >= top) & (down <= bottom)
    cells = on.reshape(height, 4, width, 2).transpose(0, 2, 1, 3)
    codes = _BLANK + (cells * _DOTS).sum(axis=(2, 3))
    return ["".join(map(chr, row)) for row in codes.tolist()]
