"""Reports as one HTML file: no scripts, no network, light and dark.

A page is written beside its place and then renamed: a reader never sees half of one.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from otic import __version__
from otic.errors import OticError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = str | int | float

LINE_COLOUR = "#4a86d8"
"""For curves; seen well on light and on dark."""

_INK = "#757b84"  # pictures have no ground of their own: their text stands on either
_STYLE: dict[str, object] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.prop_cycle": f"cycler('color', ['{LINE_COLOUR}', '#d9822b', '#3a9d5d', '#b85ac4'])",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "font.size": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "figure.constrained_layout.use": True,
}
_DPI = 110

_CSS = """
:root { --heat: 74 134 216; }
body { max-width: 70rem; }
figure img { display: block; max-width: 100%; height: auto; }
table.plain td { text-align: left; white-space: normal; }
td.heat { background: rgb(var(--heat) / var(--share)); text-align: center; }
table.heat th.number { text-align: center; }
"""


class Page:
    """HTML page that grows from its top down; all text is escaped.

    Parameters
    ----------
    title : str
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = []

    def heading(self, text: str, level: int = 2) -> None:
        """Begin a section; level 2 or, within one, 3."""
        self._parts.append(f"<h{level}>{escape(text)}</h{level}>")

    def paragraph(self, text: str) -> None:
        """Add running text."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def note(self, text: str) -> None:
        """Add text that must not be missed."""
        self._parts.append(f'<p class="note" role="note">{escape(text)}</p>')

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[Cell]], shaded: bool = False
    ) -> None:
        """Add a table; the first column names the rows, what begins with a digit is set right.

        Parameters
        ----------
        header : sequence of str
            Empty: no header, and nothing is set right; for facts of a few words each.
        rows : sequence of sequence of str, int or float
        shaded : bool
            Shade numbers by their size, from 0 to the largest: a heat map.
        """
        largest = max((c for row in rows for c in row[1:] if not isinstance(c, str)), default=0)
        numeric = {i for row in rows for i, c in enumerate(row) if i and _is_number(c)}
        heads = "".join(
            f'<th scope="col"{_NUMBER if i in numeric else ""}>{escape(text)}</th>'
            for i, text in enumerate(header)
        )
        lines = []
        for row in rows:
            cells = [f'<th scope="row">{_text(cell)}</th>' for cell in row[:1]]
            cells += [_cell(cell, largest if shaded else 0) for cell in row[1:]]
            lines.append(f"<tr>{''.join(cells)}</tr>")
        head = f"<thead><tr>{heads}</tr></thead>" if header else ""
        body = "\n".join(lines)
        kind = ' class="heat"' if shaded else "" if header else ' class="plain"'
        self._parts.append(
            f'<div class="wide"><table{kind}>{head}<tbody>\n{body}\n</tbody></table></div>'
        )

    def picture(self, figure: Figure, alt: str, caption: str = "") -> None:
        """Add a picture as it is now; ``alt`` says what it shows to those who don't see it."""
        png = io.BytesIO()
        with _styled():
            figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
        width, height = (round(inches * _DPI) for inches in figure.get_size_inches())
        data = base64.b64encode(png.getvalue()).decode("ascii")
        below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._parts.append(
            f'<figure><img src="data:image/png;base64,{data}" width="{width}" height="{height}" '
            f'alt="{escape(alt)}">{below}</figure>'
        )

    def html(self) -> str:
        """The whole page."""
        title, body = escape(self._title), "\n".join(self._parts)
        shared = resources.files("otic.sinks").joinpath("report.css").read_text(encoding="utf-8")
        return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>
{shared}{_CSS}</style>
</head>
<body>
<h1>{title}</h1>
{body}
<footer>otic {escape(__version__)}</footer>
</body>
</html>
"""

    def write(self, path: Path) -> None:
        """Write it, in a folder that exists.

        Raises
        ------
        OticError
            If it can't be written.
        """
        beside = path.with_name(f".{path.name}.part")
        try:
            # Names that are not UTF-8 come with surrogates, which nothing can write.
            beside.write_text(self.html(), encoding="utf-8", errors="replace")
            beside.replace(path)
        except OSError as error:
            raise OticError(f"can't write '{path}': {error.strerror or error}") from error
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure, in inches, to draw on within the ``with`` block.

    It is independent of pyplot and of the user's matplotlib settings, has no
    ground of its own, and its colours do on a light page and on a dark one.
    """
    from matplotlib.figure import Figure

    with _styled():
        yield Figure(figsize=(width, height))


def report_folder(path: str) -> Path:
    """The folder of a report, made if it is missing: early, before hours of work are in vain.

    Raises
    ------
    OticError
        If it can't be made or can't be written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OticError(f"can't make the folder '{path}': {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OticError(f"can't write into the folder '{path}': permission denied")
    return folder


@contextmanager
def _styled() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for name, value in _STYLE.items():
            matplotlib.rcParams[name] = value  # type: ignore[index]
        yield


_NUMBER = ' class="number"'


def _is_number(cell: Cell) -> bool:
    return not isinstance(cell, str) or re.match(r"[+−-]?\d", cell) is not None


def _text(cell: Cell) -> str:
    return escape(str(cell))


def _cell(cell: Cell, largest: float) -> str:
    if largest > 0 and not isinstance(cell, str):
        return f'<td class="heat" style="--share: {0.75 * cell / largest:.2f}">{_text(cell)}</td>'
    return f"<td{_NUMBER if _is_number(cell) else ''}>{_text(cell)}</td>"
