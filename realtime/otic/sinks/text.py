"""Events as plain lines, for a person without a dashboard."""

from __future__ import annotations

import select
from contextlib import suppress
from typing import TextIO

from otic.errors import printable
from otic.system.clock import clock
from otic.types import Event, Gap, Item, Level, StreamEnd, StreamStart, label_text


class TextSink:
    """Events, losses, levels, start and end as a line each; dropped and counted where nobody reads.

    Parameters
    ----------
    stream : TextIO
    several : bool
        Whether streams run at the same time: each line then says whose it is.
    """

    def __init__(self, stream: TextIO, several: bool = False) -> None:
        self._stream = stream
        self._several = several
        self._dropped = 0

    def start(self, stream: StreamStart) -> None:
        hop = stream.inference_hop_seconds
        self._print(f"{stream.source}: {stream.model}, a score every {hop:.2f} s")

    def write(self, stream: StreamStart, item: Item) -> None:
        if isinstance(item, Event):
            self._say(stream, event_text(item))
        elif isinstance(item, Gap):
            goes_on = item.sample + item.lost
            self._say(stream, f"{'':>24}  {item.lost} samples lost before sample {goes_on}")

        elif isinstance(item, Level):
            self._say(stream, level_text(item))

    def end(self, stream: StreamStart, end: StreamEnd) -> None:
        self._say(stream, f"end after {clock(end.seconds, 2)}, {end.lost} samples lost")

    def close(self) -> None:
        pass

    def _say(self, stream: StreamStart, line: str) -> None:
        whose = f"{stream.source}: " if self._several else ""
        self._print(whose + line)

    def _print(self, line: str) -> None:
        """Print it if that does not have to wait: who reads this must not stop the audio."""
        if not _takes_more(self._stream):
            self._dropped += 1
            return
        line = printable(line)
        if self._dropped:
            line = f"({self._dropped} lines were not read in time)\n{line}"
            self._dropped = 0
        with suppress(OSError, ValueError):  # a full disk, a closed terminal
            print(line, file=self._stream, flush=True)


def _takes_more(stream: TextIO) -> bool:
    """Return whether a line can be written at once; a pipe that has room for one says so."""
    try:
        return bool(select.select([], [stream], [], 0.0)[1])
    except (OSError, ValueError):  # in memory, or closed
        return True


def event_text(event: Event) -> str:
    """An event on one line, as the text log and the dashboard show it."""
    label, onset = label_text(event.label), clock(event.onset, 2)
    if event.offset is None:
        return f"{onset:>11} … {'':11}  {label} on, score {event.score:.2f}"
    return f"{onset:>11} … {clock(event.offset, 2):>11}  {label} off, peak {event.peak:.2f}"


def level_text(level: Level) -> str:
    """A minute's levels on one line."""
    numbers = (
        f"L{name} {getattr(level, key):.1f}"
        for name, key in (("Aeq", "laeq"), ("10", "l10"), ("50", "l50"), ("90", "l90"))
    )
    note = "" if level.calibrated else " (uncalibrated)"
    levels = ", ".join((*numbers, f"peak {level.peak:.1f} {level.unit}"))
    return f"{'':11} … {clock(level.time, 2):>11}  {levels}{note}"
