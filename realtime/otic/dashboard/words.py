"""Text that fits: widths in terminal cells, times and levels at fixed widths."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from functools import lru_cache

from rich.cells import cell_len, set_cell_size

from otic.streaming.monitor import SILENCE_DBFS

_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Mn", "Me"}
_STAND_IN = "�"  # for what a terminal could take as a command, or gives no certain width


@lru_cache(maxsize=4096)
def clean(text: str) -> str:
    """The text without what a terminal takes as a command, or that has no certain width.

    Composed where Unicode has the letter in one piece.
    """
    if text.isascii() and text.isprintable():
        return text
    text = unicodedata.normalize("NFC", text)
    return "".join(_STAND_IN if unicodedata.category(c) in _UNSAFE else c for c in text)


@lru_cache(maxsize=4096)
def fit(text: str, width: int) -> str:
    """Exactly ``width`` cells: padded on the right, or cut off with an ellipsis."""
    text = clean(text)
    length = cells(text)
    if length <= width:
        return text + " " * (width - length)
    if width <= 1:
        return "…"[:width]
    return set_cell_size(text, width - 1) + "…"


def fit_right(text: str, width: int) -> str:
    """Exactly ``width`` cells: padded on the left, or cut off at the end."""
    text = clean(text)
    return " " * (width - cells(text)) + text if cells(text) <= width else fit(text, width)


def cells(text: str) -> int:
    """How many cells of a terminal a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def clock(seconds: float, decimals: int = 1) -> str:
    """Seconds of a stream as ``0:12.3`` or ``1:02:03.4``; cut off, as a clock does."""
    scale = 10**decimals
    tenths = int(max(0.0, seconds) * scale + 1e-6)
    whole, part = divmod(tenths, scale)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"{text}.{part:0{decimals}d}" if decimals else text


def wall_clock(moment: datetime) -> str:
    """The time of day here."""
    return f"{moment.astimezone():%H:%M:%S}"


def duration(seconds: float) -> str:
    """``4.3 s``, ``62 s``, ``12 min``, ``3 h``: at most six cells."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 600.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 36_000.0 else f"{seconds / 3600.0:.0f} h"


def decibels(value: float) -> str:
    """A level in four cells."""
    return "  -∞" if value <= SILENCE_DBFS else f"{max(-119, round(value)):4d}"
