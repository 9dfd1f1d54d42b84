"""One frame as an SVG picture: the same audio gives the same bytes on any machine."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console
from rich.segment import Segment, Segments
from rich.terminal_theme import TerminalTheme

from otic.dashboard.canvas import PictureRow, Piece
from otic.dashboard.layout import Frame
from otic.dashboard.theme import Theme
from otic.dashboard.view_state import ViewState
from otic.errors import SinkError
from otic.features.spectrogram import png
from otic.streaming.session_view import SessionView

_CHAR_HEIGHT = 20
_CHAR_WIDTH = _CHAR_HEIGHT * 0.61  # as rich computes it; so is the next
_LINE_HEIGHT = _CHAR_HEIGHT * 1.22
_ID = "otic"
_ANSI = ("000000", "d70000", "5fd75f", "ffd75f", "5f87af", "af5faf", "5fafd7", "d0d0d0")
_BRIGHT = ("808080", "ff5f5f", "5fff5f", "ffff87", "5fafff", "ff87ff", "87ffff", "ffffff")

_FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
    font-family: "DejaVu Sans Mono", Menlo, Consolas, "Liberation Mono", monospace;
    font-size: {char_height}px;
    line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 16px; font-family: sans-serif; }}
{styles}
</style>
<defs>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
%s
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def _rgb(text: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(text)
    return red, green, blue


_THEME = TerminalTheme(
    _rgb("121418"), _rgb("d0d0d0"), [_rgb(c) for c in _ANSI], [_rgb(c) for c in _BRIGHT]
)


def write_still(session_view: SessionView, path: Path, width: int, height: int) -> None:
    """Draw the dashboard into an SVG file, written beside it and then renamed.

    The picture holds nothing that differs from run to run.

    Raises
    ------
    SinkError
        If the file can't be written.
    """
    theme = Theme()
    pieces = Frame(session_view, ViewState(), theme, timing=False).pieces(width, height)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        unfinished.write_text(svg(pieces, width, height, theme), encoding="utf-8")
        unfinished.rename(path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise SinkError(f"can't write '{path}': {error.strerror}: name another file") from error


def svg(pieces: Sequence[Piece], width: int, height: int, theme: Theme) -> str:
    """Convert a frame to SVG through rich; the spectrogram is an embedded image."""
    console = Console(
        record=True,
        width=width,
        height=height,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    for line in lines(pieces, width, height, theme, pictures=False):
        console.print(Segments([*line, Segment.line()]), end="", soft_wrap=True)
    picture = _picture(pieces, theme)
    return console.export_svg(
        title="otic", theme=_THEME, code_format=_FORMAT % picture, unique_id=_ID
    )


def lines(
    pieces: Sequence[Piece], width: int, height: int, theme: Theme, pictures: bool = True
) -> list[list[Segment]]:
    """Convert a frame to rich's segments, one list a line, each ``width`` cells.

    Parameters
    ----------
    pictures : bool
        False leaves the spectrogram's place empty.
    """
    rows: list[list[Piece]] = [[] for _ in range(height)]
    for piece in sorted(pieces, key=lambda p: p.column):
        rows[piece.row].append(piece)
    found = []
    for row in rows:
        line, column = [], 0
        for piece in row:
            if piece.column > column:
                line.append(Segment(" " * (piece.column - column)))
            line += _segments(piece, theme, pictures)
            column = piece.column + piece.width
        if column < width:
            line.append(Segment(" " * (width - column)))
        found.append(line)
    return found


def _segments(piece: Piece, theme: Theme, pictures: bool) -> list[Segment]:
    if not isinstance(piece.content, PictureRow):
        return [Segment(text, theme.styles[style]) for text, style in piece.content]
    if not pictures:
        return [Segment(" " * piece.width)]
    pixels = piece.content.array
    cells = [theme.picture_cell(int(up), int(low)) for up, low in pixels.T]
    return list(Segment.simplify(Segment(glyph, style) for glyph, style in cells))


def _picture(pieces: Sequence[Piece], theme: Theme) -> str:
    """Return the spectrogram's rows as an image element at their place."""
    rows = [p for p in pieces if isinstance(p.content, PictureRow)]
    if not rows:
        return ""
    pixels = np.concatenate([p.content.array for p in rows if isinstance(p.content, PictureRow)])
    data = base64.b64encode(png(pixels, _colours(theme))).decode()
    x, y = rows[0].column * _CHAR_WIDTH, rows[0].row * _LINE_HEIGHT + 1.5
    return (
        f'<image x="{x:g}" y="{y:g}" width="{rows[0].width * _CHAR_WIDTH:g}" '
        f'height="{len(rows) * _LINE_HEIGHT:g}" preserveAspectRatio="none" '
        f'style="image-rendering: pixelated" href="data:image/png;base64,{data}"/>'
    )


def _colours(theme: Theme) -> NDArray[np.uint8]:
    """Return the colours of the pixels, uint8 [256, 3]."""
    colours = np.zeros((256, 3), np.uint8)
    for pixel in range(theme.n_pixels):
        colour: Color | None = theme.pixel_colour(pixel)
        if colour is not None:
            colours[pixel] = colour.get_truecolor(_THEME)
    return colours
