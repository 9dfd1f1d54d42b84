"""Pieces of a frame, text that fits its cells, and the difference to the last frame."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size

from otic.dashboard.theme import ASCII, RESET, Theme
from otic.streaming.monitor import SILENCE_DBFS

_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Mn", "Me"}
_STAND_IN = "�"  # replaces characters that could be terminal commands or have no fixed width

Run = tuple[str, str]
"""Text and the name of its style, see :mod:`otic.dashboard.theme`."""

_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # terminals that know these show whole frames only
_CLEAR = f"{RESET}\x1b[2J"
Place = tuple[int, int, int]


@lru_cache(maxsize=4096)
def clean(text: str) -> str:
    """Replace characters that a terminal may take as a command, or that have no fixed width.

    The text is composed first (NFC), so that an accent is part of its letter.
    """
    if text.isascii() and text.isprintable():
        return text
    text = unicodedata.normalize("NFC", text)
    return "".join(_STAND_IN if unicodedata.category(c) in _UNSAFE else c for c in text)


@lru_cache(maxsize=4096)
def fit(text: str, width: int) -> str:
    """Return exactly ``width`` cells: padded on the right, or cut off with an ellipsis."""
    text = clean(text)
    length = cells(text)
    if length <= width:
        return text + " " * (width - length)
    if width <= 1:
        return "…"[:width]
    return set_cell_size(text, width - 1) + "…"


def fit_right(text: str, width: int) -> str:
    """Return exactly ``width`` cells: padded on the left, or cut off with an ellipsis."""
    text = clean(text)
    return " " * (width - cells(text)) + text if cells(text) <= width else fit(text, width)


def cells(text: str) -> int:
    """Count the terminal cells that a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def wall_clock(when: datetime) -> str:
    """Format a time of day in the local time zone."""
    return f"{when.astimezone():%H:%M:%S}"


def duration(seconds: float) -> str:
    """Format a length as ``4.3 s``, ``62 s``, ``12 min`` or ``3 h``: at most six cells."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 600.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 36_000.0 else f"{seconds / 3600.0:.0f} h"


def decibels(value: float) -> str:
    """Format a level in four cells."""
    return "  -∞" if value <= SILENCE_DBFS else f"{max(-119, round(value)):4d}"


@dataclass(frozen=True)
class Rect:
    """An area of the screen, in cells; the first row and column are 0."""

    row: int
    column: int
    height: int
    width: int

    def rows(self, first: int, height: int | None = None) -> Rect:
        """Return ``height`` rows from row ``first`` on, as far as the area has them."""
        first = min(max(first, 0), self.height)
        most = self.height - first
        return Rect(
            self.row + first,
            self.column,
            most if height is None else min(max(height, 0), most),
            self.width,
        )


@dataclass(frozen=True)
class PictureRow:
    """A row of cells with two pixels each; ``pixels`` holds uint8 [2, width]."""

    pixels: bytes

    @property
    def array(self) -> NDArray[np.uint8]:
        """The upper and the lower pixels, uint8 [2, width]."""
        return np.frombuffer(self.pixels, np.uint8).reshape(2, -1)


@dataclass(frozen=True)
class Piece:
    """The content of exactly ``width`` cells in one row."""

    row: int
    column: int
    width: int
    content: tuple[Run, ...] | PictureRow


class Canvas:
    """Collects the pieces of one frame.

    Parameters
    ----------
    width, height : int
        Size in cells; nothing outside is drawn.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.pieces: list[Piece] = []

    def text(self, row: int, column: int, width: int, *runs: Run) -> None:
        """Add runs of text, cut off or padded to ``width`` cells."""
        width = min(width, self.width - column)
        if width <= 0 or column < 0 or not 0 <= row < self.height:
            return
        fitted: list[Run] = []
        left = width
        for text, style in runs:
            if left <= 0:
                break
            text = fit(text, min(left, cells(text)))
            n = cells(text)
            if n:
                fitted.append((text, style))
                left -= n
        if left > 0:
            fitted.append((" " * left, ""))
        self.pieces.append(Piece(row, column, width, tuple(fitted)))

    def blank(self, area: Rect, first: int = 0) -> None:
        """Clear the area from row ``first`` on."""
        for row in range(first, area.height):
            self.text(area.row + row, area.column, area.width)

    def picture(self, row: int, column: int, pixels: NDArray[np.uint8]) -> None:
        """Add a row of pixels, uint8 [2, width]."""
        width = pixels.shape[1]
        self.pieces.append(
            Piece(row, column, width, PictureRow(np.ascontiguousarray(pixels).tobytes()))
        )

    def rule(self, area: Rect, title: str, right: Sequence[Run] = ()) -> None:
        """Add a heading with a dim line behind it, and ``right`` at its end if there is room."""
        used = sum(cells(text) for text, _ in right)
        line = area.width - cells(title) - 1
        if right and line >= used + 3:
            runs: list[Run] = [("─" * (line - used - 1) + " ", "rule"), *right]
        else:
            runs = [("─" * max(0, line), "rule")]
        self.text(area.row, area.column, area.width, (title, "heading"), (" ", ""), *runs)


class Screen:
    """Keeps what the terminal shows and works out what must be written for the next frame.

    Not thread safe.

    Parameters
    ----------
    theme : Theme
    """

    def __init__(self, theme: Theme) -> None:
        self._theme = theme
        self._shown: dict[Place, Piece] = {}
        self._size = (0, 0)

    def forget(self) -> None:
        """Draw the next frame whole: something else was on the terminal."""
        self._shown = {}

    def update(self, pieces: Sequence[Piece], width: int, height: int) -> str:
        """Return the characters that turn the last frame into this one; empty if nothing differs.

        Parameters
        ----------
        pieces : sequence of Piece
            The whole frame; no two overlap.
        width, height : int
            The terminal's size in cells.
        """
        frame = {(p.row, p.column, p.width): p for p in pieces}
        parts = []
        if self._size != (width, height) or frame.keys() != self._shown.keys():
            parts.append(_CLEAR)
            self._shown, self._size = {}, (width, height)
        for place, piece in frame.items():
            before = self._shown.get(place)
            if before is None or before.content != piece.content:
                parts.append(
                    f"\x1b[{piece.row + 1};{piece.column + 1}H{painted(piece, self._theme)}"
                )
        self._shown = frame
        if not parts:
            return ""
        text = "".join((_BEGIN, *parts, _END))
        return text if self._theme.unicode else text.translate(ASCII)


def painted(piece: Piece, theme: Theme) -> str:
    """Return a piece's text with its control sequences."""
    if isinstance(piece.content, PictureRow):
        return theme.paint_picture(piece.content.array)
    return "".join([theme.paint(text, style) for text, style in piece.content])
