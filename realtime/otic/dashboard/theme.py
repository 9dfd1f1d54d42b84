"""Colours for terminals with 16 million, 256, 16 or none of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from rich.color import Color, ColorSystem
from rich.console import Console
from rich.style import Style

from otic.features.spectrogram import palette

RESET = "\x1b[0m"
TRUE_COLOUR, MANY, SIXTEEN, NONE = "truecolor", "256", "standard", "none"
DEPTHS = (TRUE_COLOUR, MANY, SIXTEEN, NONE)

_STYLES = {
    "": "",
    "brand": "bold",
    "name": "#5fafd7",
    "heading": "bold #8a8a8a",
    "rule": "#4e4e4e",
    "dim": "#808080",
    "clock": "bold",
    "on": "bold #5fd75f",
    "ok": "#5fd75f",
    "warning": "#ffd75f",
    "alarm": "bold #ffffff on #d70000",
    "bad": "bold #ff5f5f",
    "bar": "#5f87af",
    "track": "#3a3a3a",
    "mark": "#d7af5f",
    "changed": "bold #ffd75f",
    "spark": "#5f87af",
    "wave": "#5fafd7",
    "key": "bold #5fafd7",
    "chosen": "bold",
    "badge": "bold #000000 on #ffd75f",
}
# With 16 colours, the nearest ones are not the best ones.
_STYLES_16 = {
    "name": "cyan",
    "heading": "bold",
    "rule": "bright_black",
    "dim": "bright_black",
    "on": "bold green",
    "ok": "green",
    "warning": "yellow",
    "alarm": "bold white on red",
    "bad": "bold red",
    "bar": "blue",
    "track": "bright_black",
    "mark": "yellow",
    "changed": "bold yellow",
    "spark": "blue",
    "wave": "cyan",
    "key": "bold cyan",
    "badge": "bold black on yellow",
}
_STYLES_PLAIN = {
    "brand": "bold",
    "heading": "bold",
    "clock": "bold",
    "on": "bold",
    "alarm": "bold reverse",
    "bad": "bold",
    "warning": "bold",
    "changed": "bold",
    "badge": "reverse",
    "chosen": "bold",
    "key": "bold",
}
_DARK_SHARE, _DARKEST = 0.3, 0.3  # the darkened part of the colour map, and the factor at its start
_SHADES = " ░▒▓█"
_DARK_TO_BRIGHT_16 = ("black", "blue", "cyan", "green", "yellow", "bright_white")
# Chosen by hand from the 256: the nearest colours would jump.
_DARK_TO_BRIGHT_256 = (16, 17, 18, 54, 24, 30, 36, 71, 77, 113, 149, 185, 227)
_N_STEPS = {
    TRUE_COLOUR: 40,
    MANY: len(_DARK_TO_BRIGHT_256),
    SIXTEEN: len(_DARK_TO_BRIGHT_16),
    NONE: len(_SHADES),
}

_SYSTEMS = {
    TRUE_COLOUR: ColorSystem.TRUECOLOR,
    MANY: ColorSystem.EIGHT_BIT,
    SIXTEEN: ColorSystem.STANDARD,
}
_LOST = Style.parse("#ffffff on #d70000")

NOTHING = 0
"""The pixel for no data; 1 to ``n_steps`` are levels, the next one is lost audio."""

# Replacements for a terminal without Unicode.
ASCII = str.maketrans(
    {
        **dict.fromkeys("─╺", "-"),
        **dict.fromkeys("━╸", "="),
        **dict.fromkeys("│┃╵┤┼╋╉", "|"),
        **dict(zip("▁▂▃▄▅▆▇█", "_.,-=+*#", strict=True)),
        **dict(zip("░▒▓", ".:+", strict=True)),
        **dict.fromkeys((chr(code) for code in range(0x2801, 0x2900)), "#"),
        "→": ">",
        "←": "<",
        "↑": "^",
        "↓": "v",
        "▸": ">",
        "›": ">",
        "●": "*",
        "✓": "+",
        "✗": "x",
        "…": "~",
        "╱": "/",
        "▀": "'",
        "×": "x",
        "·": ".",
        "−": "-",
        "∞": "8",
        "\u2800": " ",
    }
)


class Theme:
    """Turns style names into what a terminal or a picture takes.

    Not thread safe: it caches results.

    Parameters
    ----------
    depth : str
        One of ``DEPTHS``.
    unicode : bool
        False restricts the output to ASCII.
    """

    def __init__(self, depth: str = TRUE_COLOUR, unicode: bool = True) -> None:
        self.depth = depth
        self.unicode = unicode
        self.n_steps = _N_STEPS[depth]
        """Number of levels in the picture; their pixels are 1 to ``n_steps``."""
        self.lost = self.n_steps + 1
        """The pixel for lost audio."""
        self.n_pixels = self.n_steps + 2
        named = {TRUE_COLOUR: _STYLES, MANY: _STYLES, SIXTEEN: {**_STYLES, **_STYLES_16}}
        styles = named.get(depth, {**dict.fromkeys(_STYLES, ""), **_STYLES_PLAIN})
        self.styles = {name: Style.parse(text) for name, text in styles.items()}
        self._starts = {name: self._start(style) for name, style in self.styles.items()}
        self._glyphs, self._cells = self._picture_cells()

    @classmethod
    def for_console(cls, console: Console) -> Theme:
        """Return the theme for this terminal and its user's environment."""
        depth = NONE if console.no_color or not console.color_system else console.color_system
        unicode = console.encoding.lower().replace("-", "").startswith("utf")
        return cls({"windows": SIXTEEN}.get(depth, depth), unicode)

    def paint(self, text: str, style: str) -> str:
        """Return text between its control sequences."""
        start = self._starts[style]
        return f"{start}{text}{RESET}" if start else text

    def paint_picture(self, pixels: NDArray[np.uint8]) -> str:
        """Return a row of cells, uint8 [2, width], with control sequences."""
        cells = pixels[0].astype(np.intp) * self.n_pixels + pixels[1]
        same = np.zeros(len(cells), bool)
        same[1:] = cells[1:] == cells[:-1]  # colours that stay need no new sequence
        drawn = np.where(same, self._glyphs[cells], self._cells[cells])
        return "".join(drawn.tolist()) + RESET

    def picture_cell(self, upper: int, lower: int) -> tuple[str, Style]:
        """Return a cell's character and style."""
        if self.depth == NONE:
            if self.lost in (upper, lower):
                return "╱", Style.null()
            return _SHADES[max(upper, lower, 1) - 1], Style.null()
        if self.lost in (upper, lower):
            return "╱", _LOST
        high, low = self.pixel_colour(upper), self.pixel_colour(lower)
        if upper == lower:
            return " ", Style(bgcolor=low)
        if upper == NOTHING:
            return "▄", Style(color=low)
        return "▀", Style(color=high, bgcolor=low)

    def pixel_colour(self, pixel: int) -> Color | None:
        """Return a pixel's colour; None for no data."""
        if pixel == NOTHING:
            return None
        if pixel == self.lost:
            return Color.parse("#d70000")
        if self.depth == SIXTEEN:
            return Color.parse(_DARK_TO_BRIGHT_16[pixel - 1])
        if self.depth == MANY:
            return Color.from_ansi(_DARK_TO_BRIGHT_256[pixel - 1])
        return _gradient(self.n_steps)[pixel - 1]

    def _picture_cells(self) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Return, for each pair of pixels, the character alone and with its colours before it."""
        found = list(self._each_cell())
        glyphs = np.array([glyph for glyph, _ in found], np.object_)
        return glyphs, np.array([start + glyph for glyph, start in found], np.object_)

    def _each_cell(self) -> Iterator[tuple[str, str]]:
        for upper, lower in product(range(self.n_pixels), repeat=2):
            glyph, style = self.picture_cell(upper, lower)
            yield glyph, RESET * (NOTHING in (upper, lower)) + self._start(style)

    def _start(self, style: Style) -> str:
        """Return the control sequence that begins a style."""
        codes = [code for code, there in (("1", style.bold), ("7", style.reverse)) if there]
        for colour, front in ((style.color, True), (style.bgcolor, False)):
            if colour is not None and self.depth in _SYSTEMS:
                codes += colour.downgrade(_SYSTEMS[self.depth]).get_ansi_codes(front)
        return f"\x1b[{';'.join(codes)}m" if codes else ""


@lru_cache(maxsize=8)
def _gradient(n: int) -> tuple[Color, ...]:
    colours = palette(0, n - 1)[:n].astype(np.float64)
    # The darkest purple is darkened further: silence should not glow.
    glow = np.interp(np.arange(n) / (n - 1), [0.0, _DARK_SHARE], [_DARKEST, 1.0])
    rows = np.rint(colours * glow[:, None]).astype(int).tolist()
    return tuple(Color.from_rgb(*row) for row in rows)
