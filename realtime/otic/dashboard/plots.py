"""The plots: the scrolling spectrogram, and the waveform of one event."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from otic.dashboard.canvas import Canvas, Rect, duration, fit_right
from otic.dashboard.theme import NOTHING, Theme
from otic.dashboard.view_state import FrameData
from otic.features.params import FeatureParams
from otic.features.spectrogram import frequency_ticks
from otic.streaming.recent import RecentEvent, StreamMemory
from otic.system.clock import clock
from otic.types import label_text

_AXIS_WIDTH = 5
_LEAST_SECONDS = 8.0  # the spectrogram spans at least this
_LEAST_COLUMNS = 2  # of the memory, in each column of the screen
_TOP_DB = 60
_LOUDEST_OF_SECONDS = 60.0
_LOUDNESS_STEP_DB = 6  # coarse, so that colours do not change with each sound
_QUIETEST_LOUDEST = 71  # the brightest colour stands for -30 dB at least
_TIME_STEPS = (1, 2, 5, 10, 20, 30, 60, 120)
_TICK_CELLS = 10
_MARGIN_SECONDS = 0.25
_LONGEST_SECONDS = 20.0
_GROWS_SECONDS = 0.5  # time after which the waveform of a running event is drawn again
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.int64)
_BLANK = 0x2800
_FULL_SCALE = 32768.0


def draw_picture(canvas: Canvas, area: Rect, data: FrameData, theme: Theme) -> None:
    """Draw the spectrogram with its frequencies on the left and times below."""
    axis = area.height >= 4
    n_rows = area.height - axis
    axis_width = _AXIS_WIDTH if area.width >= 30 else 0
    width = area.width - axis_width
    if n_rows < 1 or width < 1:
        return
    memory = data.memory
    if memory is None:
        canvas.blank(area)
        return
    step = columns_a_cell(width, memory.column_seconds)
    pixels = _pixels(memory, data, width, n_rows, step, theme)
    ticks = _tick_rows(data.bundle.features, n_rows)
    for row in range(n_rows):
        if axis_width:
            label = fit_right(ticks.get(row, ""), axis_width - 1) + " "
            canvas.text(area.row + row, area.column, axis_width, (label, "dim"))
        cells = pixels[2 * row : 2 * row + 2]
        canvas.picture(area.row + row, area.column + axis_width, cells)
    if axis:
        end = f"{clock(data.seconds)}" if data.frozen else "now"
        line = _time_line(width, step * memory.column_seconds, end)
        canvas.text(area.row + n_rows, area.column, area.width, (" " * axis_width + line, "dim"))


def columns_a_cell(width: int, column_seconds: float) -> int:
    """Return how many columns of the memory share a cell, so that the plot spans some seconds."""
    return max(_LEAST_COLUMNS, math.ceil(_LEAST_SECONDS / (width * column_seconds)))


def _pixels(
    memory: StreamMemory, data: FrameData, width: int, n_rows: int, step: int, theme: Theme
) -> NDArray[np.uint8]:
    """Return the spectrogram as uint8 [2 * n_rows, width], the highest band first.

    Each cell holds columns whose numbers begin at a multiple of ``step``, so drawn cells move
    but never change.
    """
    now = data.seconds / memory.column_seconds
    last_cell = math.ceil(now / step)
    first, stop = (last_cell - width) * step, last_cell * step
    oldest = stop - round(_LOUDEST_OF_SECONDS / memory.column_seconds)
    levels = memory.columns(min(first, oldest), stop)
    if data.frozen:
        levels[len(levels) - (stop - math.ceil(now)) :] = 0
    high = _brightest(levels)
    levels = levels[-width * step :].reshape(width, step, -1).max(axis=1)
    bands = _bands(levels, 2 * n_rows)
    steps = _steps(high, theme.n_steps)[bands]
    for gap in data.events:
        if gap.lost and not gap.paused:
            begin = int(gap.onset / memory.column_seconds / step) - (last_cell - width)
            end = math.ceil((gap.offset or gap.onset) / memory.column_seconds / step)
            end -= last_cell - width
            steps[max(begin, 0) : max(end, 0)] = theme.lost
    return np.ascontiguousarray(steps.T[::-1])


def _brightest(levels: NDArray[np.uint8]) -> int:
    """Return the level of the brightest colour: the last minute's loudest, in coarse steps."""
    loudest = max(int(levels.max(initial=0)), _QUIETEST_LOUDEST)
    return math.ceil(loudest / _LOUDNESS_STEP_DB) * _LOUDNESS_STEP_DB


def _bands(levels: NDArray[np.uint8], n_pixels: int) -> NDArray[np.uint8]:
    """Resample uint8 [width, n_mels] to [width, n_pixels]: the loudest band, or interpolated."""
    n_mels = levels.shape[1]
    if n_pixels <= n_mels:
        firsts = np.arange(n_pixels) * n_mels // n_pixels
        loudest: NDArray[np.uint8] = np.maximum.reduceat(levels, firsts, axis=1)
        return loudest
    place = np.clip((np.arange(n_pixels) + 0.5) * n_mels / n_pixels - 0.5, 0, n_mels - 1)
    below = place.astype(np.intp)
    share = (place - below).astype(np.float32)
    above = np.minimum(below + 1, n_mels - 1)
    mixed = levels[:, below] * (1 - share) + levels[:, above] * share
    between: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return between


@lru_cache(maxsize=64)
def _steps(high: int, n_steps: int) -> NDArray[np.uint8]:
    """Return the pixel for each level, uint8 [256]."""
    place = (np.arange(256) - (high - _TOP_DB)) / _TOP_DB * n_steps
    steps: NDArray[np.uint8] = np.clip(np.floor(place) + 1, 1, n_steps).astype(np.uint8)
    steps[0] = NOTHING
    return steps


@lru_cache(maxsize=16)
def _tick_rows(params: FeatureParams, n_rows: int) -> dict[int, str]:
    """Return the frequency labels by row, at most one in two rows."""
    rows: dict[int, str] = {}
    for text, place in frequency_ticks(params):
        row = min(int((1.0 - place) * n_rows), n_rows - 1)
        if row not in rows and row - 1 not in rows:
            rows[row] = text.removesuffix(" Hz").replace(" kHz", "k")
    return rows


@lru_cache(maxsize=16)
def _time_line(width: int, cell_seconds: float, end: str) -> str:
    """Return the time axis: seconds ago, each with a mark at its cell."""
    line = [" "] * width
    step = next((s for s in _TIME_STEPS if s / cell_seconds >= _TICK_CELLS), _TIME_STEPS[-1])
    line[max(0, width - len(end)) :] = end[-width:]
    seconds = step
    while (at := width - round(seconds / cell_seconds)) >= 0:
        text = f"╵{seconds} s"
        if at + len(text) + 2 + len(end) <= width:
            line[at : at + len(text)] = text
        seconds += step
    return "".join(line)


def still_picture(
    levels: NDArray[np.uint8], width: int, n_rows: int, params: FeatureParams, theme: Theme
) -> list[str]:
    """Draw a whole recording's spectrogram as lines with control sequences.

    Parameters
    ----------
    levels : uint8 [n_mels, n_columns]
        See :meth:`otic.features.spectrogram.Spectrogram.levels`.
    width, n_rows : int
        Size in cells, the frequencies on the left included.
    params : FeatureParams
    theme : Theme
    """
    across = max(1, width - _AXIS_WIDTH)
    columns = levels[::-1].T
    if not len(columns):
        return []
    firsts = np.arange(across) * len(columns) // across
    bands = _bands(np.maximum.reduceat(columns, firsts, axis=0), 2 * n_rows)
    pixels = _steps(int(bands.max()), theme.n_steps)[bands].T[::-1]
    ticks = _tick_rows(params, n_rows)
    return [
        theme.paint(fit_right(ticks.get(row, ""), _AXIS_WIDTH - 1) + " ", "dim")
        + theme.paint_picture(pixels[2 * row : 2 * row + 2])
        for row in range(n_rows)
    ]


class WavePanel:
    """Draws an event's waveform and keeps it, so that it is computed once.

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
        data: FrameData,
        event: RecentEvent | None,
        chosen: bool,
    ) -> None:
        """Draw an event's sound and describe it; ``chosen`` if a person chose it."""
        title = "event" if chosen else "last event" if area.width >= 40 else "last"
        if data.memory is None or event is None:
            canvas.rule(area, title)
            canvas.blank(area, 1)
            return
        end = data.seconds if event.offset is None else event.offset
        end = min(end, event.onset + _LONGEST_SECONDS)
        if event.offset is None:
            end = max(event.onset, math.floor(end / _GROWS_SECONDS) * _GROWS_SECONDS)
        key = (data.source, event.number, end, area.width, area.height)
        if key != self._key:
            self._key = key
            self._make(data.memory, event.onset, end, area.width, area.height - 1)
        level = f"peak {20.0 * math.log10(self._peak):.0f} dB" if self._peak > 0.0 else ""
        when = f"{clock(event.onset)} + {duration(end - event.onset)}"
        right = [(label_text(event.label), "name"), (f"  {when}", "dim")]
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
            self._lines = ["its sound is not in memory"] if height >= 1 else []
            return
        self._lines = braille(y / max(loudest, 1), width, height)


def braille(y: NDArray[np.floating], width: int, height: int) -> list[str]:
    """Draw the minimum and maximum of each stretch as lines of braille.

    Parameters
    ----------
    y : float [n]
        Samples in [-1, 1].
    width, height : int
        Size in cells; a cell is two dots wide and four high.
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
