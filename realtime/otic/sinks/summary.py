"""The tables at the end of ``otic replay``: events and their time, by label and by file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from otic.errors import printable
from otic.system.clock import clock
from otic.types import Event, Item, StreamEnd, StreamStart, label_text

MOST_FILES = 40
"""Files that are listed; of more, those with the most events."""

Row = tuple[str, ...]
_Span = tuple[float, float]


class ReplaySummary:
    """A sink that counts the finished events of each label and each file, and their time.

    Events of several labels may overlap: a file's time is that with any event.
    """

    def __init__(self) -> None:
        self._labels: dict[str, list[float]] = defaultdict(list)  # seconds of each event
        self._files: dict[str, list[_Span]] = defaultdict(list)
        self._lengths: dict[str, float] = {}  # seconds, by source

    def start(self, stream: StreamStart) -> None:
        pass

    def write(self, stream: StreamStart, item: Item) -> None:
        if isinstance(item, Event) and item.offset is not None:
            self._labels[item.label].append(item.offset - item.onset)
            self._files[stream.source].append((item.onset, item.offset))

    def end(self, stream: StreamStart, end: StreamEnd) -> None:
        self._lengths[stream.source] = end.seconds

    def close(self) -> None:
        pass

    def lines(self) -> list[str]:
        """Return the tables, a line each; none if no stream has ended."""
        if not self._lengths:
            return []
        labels = sorted(self._labels.items(), key=lambda item: (-len(item[1]), item[0]))
        rows: list[Row] = [("label", "events", "time", "")]
        rows += [(label_text(name), *_figures(len(each), sum(each)), "") for name, each in labels]
        if not labels:
            rows += [("no events", *_figures(0, 0.0), "")]
        files = sorted(self._lengths, key=lambda name: -len(self._files[name]))[:MOST_FILES]
        rows += [("file", "events", "time", "of")]
        rows += [
            (name, *_figures(len(spans), _covered(spans)), clock(self._lengths[name]))
            for name, spans in ((name, self._files[name]) for name in sorted(files))
        ]
        lines = aligned(rows)
        if more := len(self._lengths) - len(files):
            lines.append(f"and {more} more files with no more events than these")
        return lines


def _figures(n_events: int, seconds: float) -> tuple[str, str]:
    return str(n_events), clock(seconds)


def _covered(spans: Sequence[_Span]) -> float:
    """Return the seconds that lie in at least one of the spans."""
    seconds, end = 0.0, 0.0
    for onset, offset in sorted(spans):
        seconds += max(0.0, offset - max(onset, end))
        end = max(end, offset)
    return seconds


def aligned(rows: Sequence[Row]) -> list[str]:
    """Return the rows in columns: names on the left, figures on the right."""
    cells = [tuple(map(printable, row)) for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = []
    for name, *figures in cells:
        right = (f"{text:>{width}}" for text, width in zip(figures, widths[1:], strict=True))
        lines.append("  ".join([f"{name:<{widths[0]}}", *right]).rstrip())
    return lines
