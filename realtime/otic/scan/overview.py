"""A page about a scan: when each label was heard, where most, and its clearest events."""

from __future__ import annotations

import base64
import hashlib
import heapq
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from html import escape
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from otic import __version__
from otic.errors import printable
from otic.features.spectrogram import palette, png
from otic.scan.export import ExportedEvent, ExportedFile

MOST_EVENTS, MOST_FILES = 30, 20
"""Events shown for each label, highest peak first; recordings shown, most events first."""

_MOST_DAYS = 3660
_DARKEST = 40  # of 255: an hour with a single event is seen
_NUMBER, _IS_NUMBER = ' class="number"', re.compile(r"[0-9.]+")
_MARGIN_SECONDS = 1.0  # around an event that is played


class _Label:
    """What is known of a label."""

    def __init__(self) -> None:
        self.events = 0
        self.files = 0
        self.seconds = 0.0
        self.hours: Counter[tuple[str, int]] = Counter()  # by date and hour
        self.best: list[tuple[float, int, ExportedEvent]] = []  # a heap


class Overview:
    """Collects what a page says; takes memory for labels, hours and the events that are listed."""

    def __init__(self) -> None:
        self._labels: dict[str, _Label] = defaultdict(_Label)
        self._most: list[tuple[int, int, str]] = []  # a heap: events, and the recording
        self._files = 0
        self._top: str | None = None  # what all paths begin with
        self._number = count()

    def add(self, recordings: Iterable[ExportedFile]) -> None:
        """Take recordings."""
        for found in recordings:
            self._files += 1
            top = found.file[: found.file.rfind("/") + 1] if self._top is None else self._top
            while not found.file.startswith(top):
                top = top[: top.rfind("/", 0, -1) + 1]
            self._top = top
            for label in {event.label for event in found.events}:
                self._labels[label].files += 1
            for event in found.events:
                self._add_event(event)
            if found.events:
                entry = len(found.events), -next(self._number), found.file
                _keep(self._most, entry, MOST_FILES)

    def _add_event(self, event: ExportedEvent) -> None:
        label = self._labels[event.label]
        label.events += 1
        label.seconds += event.offset - event.onset
        if event.onset_at:
            label.hours[event.onset_at[:10], int(event.onset_at[11:13])] += 1
        _keep(label.best, (event.peak or 0.0, -next(self._number), event), MOST_EVENTS)

    def page(self, title: str, folder: Path) -> str:
        """Write the page, which will be in ``folder``, with links to sound that is at hand."""
        template = resources.files("otic.scan").joinpath("overview.html").read_text("utf-8")
        style = resources.files("otic.sinks").joinpath("report.css").read_text("utf-8")
        script = template.split("<script>")[1].split("</script>")[0]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        order = sorted(self._labels, key=lambda name: (-self._labels[name].events, name))
        sections = [self._totals(order), self._recordings()]
        days = sorted({day for each in self._labels.values() for day, _ in each.hours})
        sections += [self._section(name, days, folder) for name in order]
        marks = {
            "@TITLE@": _text(title),
            "@STYLE@": style,
            "@DIGEST@": digest,
            "@SECTIONS@": "\n".join(sections),
            "@VERSION@": __version__,
        }
        return re.sub("|".join(marks), lambda found: marks[found[0]], template)

    def _totals(self, order: list[str]) -> str:
        rows = [
            (
                f'<a href="#{_anchor(name)}">{_text(name)}</a>',
                *(f"{self._labels[name].events}", f"{self._labels[name].seconds / 60:.1f}"),
                f"{self._labels[name].files}",
            )
            for name in order
        ]
        table = _table(("label", "events", "minutes", "files"), rows)
        place = f" in {_text(self._top)}" if self._top else ""
        said = f"<p>{self._files} recordings{place}.</p>"
        return f"{said}\n{table if rows else '<p>No events.</p>'}"

    def _file(self, file: str) -> str:
        """Shorten a path by what all begin with."""
        return file.removeprefix(self._top or "")

    def _recordings(self) -> str:
        if not self._most:
            return ""
        most = sorted(self._most, reverse=True)
        rows = [(_text(self._file(file)), str(n)) for n, _, file in most]
        return "<h2>Recordings with most events</h2>\n" + _table(("file", "events"), rows)

    def _section(self, name: str, days: list[str], folder: Path) -> str:
        label = self._labels[name]
        rows = []
        for _, _, event in sorted(label.best, key=lambda entry: entry[:2], reverse=True):
            file, at = self._file(event.file), event.onset_at
            peak = "" if event.peak is None else f"{event.peak:.3f}"
            seconds = (f"{event.offset - event.onset:.2f}", f"{event.onset:.2f}")
            true = _text(f"{at[:10]} {at[11:19]}{at[23:]}") if at else "unknown"
            rows.append((_play(event, file, folder), true, peak, *seconds, _text(file)))
        heads = ("sound", "when", "peak", "seconds", "onset in s", "file")
        return (
            f'<h2 id="{_anchor(name)}">{_text(name)}</h2>\n{_heat_map(label, days)}\n'
            f"<h3>Clearest events</h3>\n{_table(heads, rows)}"
        )


def _keep(heap: list[Any], entry: tuple[Any, ...], most: int) -> None:
    """Keep the greatest entries."""
    (heapq.heappush if len(heap) < most else heapq.heappushpop)(heap, entry)


def _heat_map(label: _Label, days: list[str]) -> str:
    """Draw events by date, from left to right, and by the hour of the day, downwards."""
    if not label.hours:
        return "<p>When these recordings were made is not known: see --time-format.</p>"
    first = date.fromisoformat(days[0])
    n_days = (date.fromisoformat(days[-1]) - first).days + 1
    left_out = max(0, n_days - _MOST_DAYS)
    first += timedelta(days=left_out)
    pixels = np.zeros((24, n_days - left_out), np.uint8)
    most = max(label.hours.values())
    for (day, hour), n in label.hours.items():
        column = (date.fromisoformat(day) - first).days
        if column >= 0:
            pixels[hour, column] = _DARKEST + round((255 - _DARKEST) * n / most)
    image = base64.b64encode(png(pixels, palette(0, 255))).decode("ascii")
    return (
        '<figure class="heat"><div class="hours"><span>0 h</span><span>12 h</span><span>24 h</span>'
        f'</div><img alt="events by date and hour" src="data:image/png;base64,{image}">'
        f'<div class="dates"><span>{first}</span><span>{days[-1]}</span></div></figure>'
        f"<p>Events an hour, at most {most}.</p>"
    )


def _play(event: ExportedEvent, shown: str, folder: Path) -> str:
    if not Path(event.file).is_file():
        return ""
    start = max(0.0, event.onset - _MARGIN_SECONDS)
    place = quote(os.path.relpath(event.file, folder), errors="surrogateescape")
    link = f"{place}#t={start:.2f},{event.offset + _MARGIN_SECONDS:.2f}"
    title = f"{event.label}, {shown} at {event.onset:.2f} s"
    return f'<a class="play" href="{_text(link)}" title="{_text(title)}">play</a>'


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    marked = [[_NUMBER if _IS_NUMBER.fullmatch(cell) else "" for cell in row] for row in rows]
    lines = [
        "<tr>" + "".join(f"<td{mark}>{cell}</td>" for mark, cell in cells) + "</tr>"
        for cells in map(zip, marked, rows)
    ]
    marks = marked[0] if marked else [""] * len(heads)
    head = "".join(f"<th{mark}>{text}</th>" for mark, text in zip(marks, heads, strict=True))
    body = "\n".join(lines)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _anchor(name: str) -> str:
    return "label-" + hashlib.sha256(name.encode()).hexdigest()[:12]


def _text(text: str) -> str:
    return escape(printable(text), quote=True)
