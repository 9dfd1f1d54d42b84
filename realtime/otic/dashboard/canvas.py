"""A frame: pieces of text and of picture, each at its place, none over another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otic.dashboard.words import cells, fit

Run = tuple[str, str]
"""Text and the name of its style, see :mod:`otic.dashboard.theme`."""


@dataclass(frozen=True)
class Rect:
    """A part of the screen, in cells; the first row and column are 0."""

    row: int
    column: int
    height: int
    width: int

    def rows(self, first: int, height: int | None = None) -> Rect:
        """These rows of it, as far as it has them."""
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
    """A row of cells with two pixels each: ``pixels`` is uint8 [2, width], as bytes."""

    pixels: bytes

    @property
    def array(self) -> NDArray[np.uint8]:
        """uint8 [2, width]: the upper and the lower pixels."""
        return np.frombuffer(self.pixels, np.uint8).reshape(2, -1)


@dataclass(frozen=True)
class Piece:
    """What is drawn at a place, exactly ``width`` cells of one row."""

    row: int
    column: int
    width: int
    content: tuple[Run, ...] | PictureRow


class Canvas:
    """Collects the pieces of one frame.

    Parameters
    ----------
    width, height : int
        Cells; what is outside is not drawn.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.pieces: list[Piece] = []

    def text(self, row: int, column: int, width: int, *runs: Run) -> None:
        """Runs of text, cut off or padded to ``width`` cells."""
        width = min(width, self.width - column)
        if width <= 0 or column < 0 or not 0 <= row < self.height:
            return
        kept: list[Run] = []
        left = width
        for text, style in runs:
            if left <= 0:
                break
            text = fit(text, min(left, cells(text)))
            n = cells(text)
            if n:
                kept.append((text, style))
                left -= n
        if left > 0:
            kept.append((" " * left, ""))
        self.pieces.append(Piece(row, column, width, tuple(kept)))

    def blank(self, area: Rect, first: int = 0) -> None:
        """Nothing, from row ``first`` of the area on: what was there goes."""
        for row in range(first, area.height):
            self.text(area.row + row, area.column, area.width)

    def picture(self, row: int, column: int, pixels: NDArray[np.uint8]) -> None:
        """A row of cells, uint8 [2, width]."""
        width = pixels.shape[1]
        self.pieces.append(
            Piece(row, column, width, PictureRow(np.ascontiguousarray(pixels).tobytes()))
        )

    def rule(self, area: Rect, title: str, right: Sequence[Run] = ()) -> None:
        """A heading with a dim line behind it; ``right`` ends it, where there is room."""
        said = sum(cells(text) for text, _ in right)
        line = area.width - cells(title) - 1
        if right and line >= said + 3:
            runs: list[Run] = [("─" * (line - said - 1) + " ", "rule"), *right]
        else:
            runs = [("─" * max(0, line), "rule")]
        self.text(area.row, area.column, area.width, (title, "heading"), (" ", ""), *runs)
