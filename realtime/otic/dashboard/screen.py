"""Writes only what has changed since the last frame."""

from __future__ import annotations

from collections.abc import Sequence

from otic.dashboard.canvas import PictureRow, Piece
from otic.dashboard.theme import ASCII, RESET, Theme

_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # where a terminal knows it, it shows no half frame
_CLEAR = f"{RESET}\x1b[2J"

Place = tuple[int, int, int]


class Screen:
    """What is on the terminal now, and what must be written to make it another frame.

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
        """The next frame is drawn whole: something else was on the terminal."""
        self._shown = {}

    def update(self, pieces: Sequence[Piece], width: int, height: int) -> str:
        """The characters that turn the frame before into this one; empty where nothing differs.

        Parameters
        ----------
        pieces : sequence of Piece
            Of the whole frame; no two overlap.
        width, height : int
            Of the terminal.
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
    """A piece with its control sequences."""
    if isinstance(piece.content, PictureRow):
        return theme.paint_picture(piece.content.array)
    return "".join([theme.paint(text, style) for text, style in piece.content])
