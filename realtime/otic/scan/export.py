"""Events as other programs read them: Audacity, Raven, subtitles, tables."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from otic.errors import SinkError, SourceError, printable
from otic.scan.folder import Run
from otic.scan.tables import COLUMNS
from otic.system.files import written_beside

_RAVEN = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)"),
    *("Low Freq (Hz)", "High Freq (Hz)", "Begin Path", "Annotation", "Score"),
)
_UNKNOWN_HZ = 24_000  # of a recording whose rate is not known


@dataclass(frozen=True)
class ExportedEvent:
    """An event of a recording; times are seconds of it, ``onset_at`` is its true time, or empty."""

    file: str
    label: str
    onset: float
    offset: float
    score: float | None
    peak: float | None
    onset_at: str = ""
    offset_at: str = ""


@dataclass(frozen=True)
class ExportedFile:
    """A recording with its events, and its rate in Hz where that is known."""

    file: str
    events: Sequence[ExportedEvent]
    rate: int | None = None


def of_scan(run: Run) -> Iterator[ExportedFile]:
    """Read the recordings of a scan with their events, part by part.

    Raises
    ------
    SinkError
        If a part is damaged.
    """
    names = list(COLUMNS["events"])
    at = [names.index(field.name) for field in fields(ExportedEvent)]
    file_at, rate_at = (list(COLUMNS["files"]).index(name) for name in ("file", "rate"))
    for part in run.parts():
        events: dict[str, list[ExportedEvent]] = {}
        for row in run.rows("events", part):
            events.setdefault(row[0], []).append(ExportedEvent(*(row[i] for i in at)))
        for row in run.rows("files", part):
            file = row[file_at]
            yield ExportedFile(file, _sorted(events.get(file, [])), row[rate_at])


def of_log(path: Path) -> Iterator[ExportedFile]:
    """Read the streams of a log, which ``otic replay --jsonl`` writes, with their events.

    An event that has not ended where the log breaks off is left out.

    Raises
    ------
    SourceError
        If it can't be read, or is no log.
    """
    names: dict[str, str] = {}  # of streams, with a number where one comes again
    began: dict[str, str | None] = {}
    on: dict[tuple[str, str], dict[str, Any]] = {}
    found: dict[str, list[ExportedEvent]] = {}
    latest = ""
    try:
        with path.open(encoding="utf-8") as lines:
            for line in filter(str.strip, lines):
                record = json.loads(line)
                source = record.get("source", latest)
                if record["type"] == "start" and not record.get("continued"):
                    latest = source
                    names[source] = _new_name(source, found)
                    found[names[source]] = []
                    began[source] = record.get("recorded", record.get("started"))
                elif record["type"] == "event" and record["state"] == "on":
                    on[source, record["label"]] = record
                elif record["type"] == "event":
                    first = on.pop((source, record["label"]))
                    times = record["onset"], record["offset"]
                    true = (_true_time(began[source], seconds) for seconds in times)
                    event = ExportedEvent(
                        names[source],
                        record["label"],
                        *times,
                        first["score"],
                        record["peak"],
                        *true,
                    )
                    found[names[source]].append(event)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or f"it is no log of otic's ({error!r})"
        raise SourceError(f"can't read '{path}': {reason}") from error
    yield from (ExportedFile(name, _sorted(events)) for name, events in found.items())


def audacity(found: ExportedFile) -> str:
    """Write Audacity's labels: onset, offset and label of an event a line."""
    return "".join(f"{e.onset:.6f}\t{e.offset:.6f}\t{printable(e.label)}\n" for e in found.events)


def raven(found: ExportedFile) -> str:
    """Write a selection table of Raven; an event spans all frequencies."""
    top = (found.rate or 2 * _UNKNOWN_HZ) / 2
    lines = ["\t".join(_RAVEN)]
    for number, event in enumerate(found.events, 1):
        cells = (
            *(number, "Spectrogram 1", 1, f"{event.onset:.6f}", f"{event.offset:.6f}"),
            *(0, f"{top:g}", printable(found.file), printable(event.label), _number(event.score)),
        )
        lines.append("\t".join(map(str, cells)))
    return "\n".join(lines) + "\n"


def webvtt(found: ExportedFile) -> str:
    """Write subtitles as browsers show them."""
    cues = (
        f"\n{_clock(e.onset, '.')} --> {_clock(e.offset, '.')}\n{_escaped(e.label)}\n"
        for e in found.events
    )
    return "WEBVTT\n" + "".join(cues)


def srt(found: ExportedFile) -> str:
    """Write subtitles as SubRip has them, which video players show."""
    return "\n".join(
        f"{number}\n{_clock(e.onset, ',')} --> {_clock(e.offset, ',')}\n{printable(e.label)}\n"
        for number, e in enumerate(found.events, 1)
    )


BY_FILE: dict[str, tuple[str, Callable[[ExportedFile], str]]] = {
    "audacity": (".txt", audacity),
    "raven": (".selections.txt", raven),
    "webvtt": (".vtt", webvtt),
    "srt": (".srt", srt),
}
"""Formats with a file for each recording: how its name ends, and what writes it."""


def write_table(kind: str, recordings: Iterator[ExportedFile], out: TextIO) -> int:
    """Write all events as one table, ``csv`` or ``json``; return their number."""
    events = (event for found in recordings for event in found.events)
    count = 0
    if kind == "csv":
        writer = csv.writer(out)
        writer.writerow(field.name for field in fields(ExportedEvent))
        for event in events:
            writer.writerow("" if v is None else v for v in asdict(event).values())
            count += 1
        return count
    out.write("[")
    for count, event in enumerate(events, 1):
        values = {key: value for key, value in asdict(event).items() if value not in (None, "")}
        out.write(f"{',' * (count > 1)}\n{json.dumps(values, ensure_ascii=False)}")
    out.write("\n]\n")
    return count


def write_files(kind: str, recordings: Iterator[ExportedFile], out: Path) -> int:
    """Write a file for each recording into a folder, below the folders that tell them apart.

    Raises
    ------
    SinkError
        If the folder can't be written.
    """
    suffix, text_of = BY_FILE[kind]
    found = list(recordings)
    names = [PurePosixPath(each.file.lstrip("/")).parts for each in found]
    folders = ["/".join(parts[:-1]) for parts in names]
    shared = len(PurePosixPath(os.path.commonpath(folders)).parts) if folders else 0
    try:
        for each, parts in zip(found, names, strict=True):
            safe = [part for part in parts[shared:] if part not in ("..", ".")]
            path = out.joinpath(*safe[:-1], f"{safe[-1]}{suffix}")
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_beside(path) as file:
                file.write(text_of(each))
    except OSError as error:
        raise SinkError(
            f"can't write to '{out}': {error.strerror}: make room, or name another folder"
        ) from error
    return len(found)


def _sorted(events: Sequence[ExportedEvent]) -> list[ExportedEvent]:
    return sorted(events, key=lambda event: (event.onset, event.label))


def _new_name(source: str, taken: dict[str, Any]) -> str:
    number, name = 2, source
    while name in taken:
        name = f"{source} {number}"
        number += 1
    return name


def _true_time(began: str | None, seconds: float) -> str:
    if began is None:
        return ""
    return (datetime.fromisoformat(began) + timedelta(seconds=seconds)).isoformat(
        timespec="milliseconds"
    )


def _clock(seconds: float, point: str) -> str:
    """``01:02:03.456``."""
    whole = round(seconds * 1000)
    return (
        f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}"
        f"{point}{whole % 1000:03d}"
    )


def _escaped(label: str) -> str:
    return printable(label).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
