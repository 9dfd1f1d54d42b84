"""``otic replay --report``: a page that shows why a sound was reported, or was not.

The page is one HTML file that needs no network and no library. It is written beside its place
and then renamed, so that nobody sees half of it. Nothing in it depends on the clock, the speed
or the block size. This module writes what can be read without scripts; ``html_report.html``
holds the script, which finds its data in each section.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html import escape as escape_html
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.detection.event_log import DetectedEvent, EventLog
from otic.errors import SinkError, printable
from otic.features.spectrogram import (
    Spectrogram,
    decibels,
    frequency_ticks,
    loudness_range,
    palette,
    png,
)
from otic.model.bundle import Bundle
from otic.types import Chunk, Event, Gap, Item, Lost, Scores, StreamEnd, StreamStart, usable_runs

MAX_BUCKETS = 10_000
MAX_LISTED = 10_000
"""Events and gaps that are kept one by one; further ones are only counted."""

SCORE_UNITS = 65535
"""Scores are stored as whole numbers: 0 is 0.0, this is 1.0."""

MAX_LANES = 24
_TILE_COLUMNS = 2048

_KEY = """<p class="key" hidden><span>smoothed score</span><span class="on">on threshold</span>
<span class="off">off threshold</span><span class="event">event, from onset to offset</span>
<span class="decided">decided</span><span class="gap">lost audio</span></p>"""

_TITLE = "What otic detected"


class ScoreHistory:
    """Keeps each label's lowest and highest smoothed score, in buckets of consecutive scores.

    A bucket holds one score at first. When all buckets are full, pairs are merged, and from then
    on each holds twice as many.

    Parameters
    ----------
    n_labels : int
    max_buckets : int
        Even.
    """

    def __init__(self, n_labels: int, max_buckets: int = MAX_BUCKETS) -> None:
        self._times = np.zeros(max_buckets)
        self._low = np.zeros((max_buckets, n_labels), np.uint16)
        self._high = np.zeros((max_buckets, n_labels), np.uint16)
        self.step = 1  # scores per bucket
        self._n = 0  # buckets in use
        self._fill = 1  # scores in the latest bucket

    def add(self, time: float, scores: NDArray[np.float64]) -> None:
        """Add the scores at one time, float64 [n_labels]; times increase."""
        values = np.rint(np.clip(scores, 0.0, 1.0) * SCORE_UNITS).astype(np.uint16)
        if self._n and self._fill < self.step:
            i = self._n - 1
            self._low[i] = np.minimum(self._low[i], values)
            self._high[i] = np.maximum(self._high[i], values)
            self._fill += 1
            return
        if self._n == len(self._times):
            self._merge()
            self.add(time, scores)
            return
        self._times[self._n] = time
        self._low[self._n] = self._high[self._n] = values
        self._n += 1
        self._fill = 1

    @property
    def times(self) -> NDArray[np.float64]:
        """The time of each bucket's first score in seconds, float64 [n]."""
        return self._times[: self._n]

    @property
    def low(self) -> NDArray[np.uint16]:
        """Each bucket's lowest scores in ``1 / SCORE_UNITS``, uint16 [n, n_labels]."""
        return self._low[: self._n]

    @property
    def high(self) -> NDArray[np.uint16]:
        """Each bucket's highest scores in ``1 / SCORE_UNITS``, uint16 [n, n_labels]."""
        return self._high[: self._n]

    def _merge(self) -> None:
        half = self._n // 2
        self._times[:half] = self._times[0::2]
        self._low[:half] = np.minimum(self._low[0::2], self._low[1::2])
        self._high[:half] = np.maximum(self._high[0::2], self._high[1::2])
        self._n = half
        self.step *= 2
        self._fill = self.step


class ReplayRecord:
    """Collects the content of one section.

    The same samples and items give the same record, whatever blocks they come in.
    Not thread safe.

    Parameters
    ----------
    bundle : Bundle
        The model in use.
    spectrogram : Spectrogram
        Empty; used by this record only.
    """

    def __init__(self, bundle: Bundle, spectrogram: Spectrogram) -> None:
        self.spectrogram = spectrogram
        self.history = ScoreHistory(len(bundle.labels))
        self.peaks: dict[str, tuple[float, float]] = {}  # by label: highest score, and its time
        self.events: list[DetectedEvent] = []
        self.gaps: list[Gap] = []
        self.n_events = dict.fromkeys(bundle.labels, 0)
        self.n_gaps = 0
        self._log = EventLog()

    def add_samples(self, y: NDArray[np.float32]) -> None:
        """Add samples, float32 [n], as the pipeline takes them."""
        for start, stop, usable in usable_runs(y):
            if usable:
                self.spectrogram.push(y[start:stop])
            else:
                self.add_loss(stop - start)

    def add_loss(self, n: int) -> None:
        """Add ``n`` lost samples."""
        self.spectrogram.lose(n)

    def add(self, item: Item) -> None:
        """Add what the pipeline returned."""
        if isinstance(item, Scores):
            self.add_scores(item)
        elif isinstance(item, Event):
            self.add_event(item)
        elif isinstance(item, Gap):
            self.add_gap(item)

    def add_scores(self, item: Scores) -> None:
        """Add one prediction."""
        self.history.add(item.time, np.fromiter(item.smoothed.values(), np.float64))
        for label, score in item.smoothed.items():
            if label not in self.peaks or score > self.peaks[label][0]:
                self.peaks[label] = (score, item.time)

    def add_event(self, item: Event) -> None:
        """Add the start or the end of an event."""
        event = self._log.add(item)
        if event.offset is None:
            return
        self.n_events[event.label] = self.n_events.get(event.label, 0) + 1
        if len(self.events) < MAX_LISTED:
            self.events.append(event)

    def add_gap(self, item: Gap) -> None:
        """Add a gap."""
        self.n_gaps += 1
        if len(self.gaps) < MAX_LISTED:
            self.gaps.append(item)


class Section:
    """The page's section about one stream.

    Parameters
    ----------
    bundle : Bundle
        The model in use.
    record : ReplayRecord
        The complete record.
    end : StreamEnd
        The stream's length and losses.
    """

    def __init__(self, bundle: Bundle, record: ReplayRecord, end: StreamEnd) -> None:
        self._bundle, self._record, self._end = bundle, record, end
        self._events = sorted(record.events, key=lambda e: (e.onset, e.label))
        self._lanes = self._shown_lanes()
        self._levels = record.spectrogram.levels()
        self._low, self._high = loudness_range(self._levels, bundle.features.top_db)

    def html(self, number: int, name: str) -> str:
        """Return the section as HTML: number ``number`` on its page, for the source ``name``."""
        data = json.dumps(self._data(), separators=(",", ":")).replace("<", "\\u003c")
        parts = [
            f'<section id="file-{number}">',
            f"<h2>{_text(name)}</h2>",
            self._facts(),
            '<div class="plot" hidden></div>',
            self._picture(),
            _KEY,
            f'<script type="application/json">{data}</script>',
            "<h3>Events</h3>",
            self._event_table(number),
            "<h3>Labels</h3>",
            self._label_table(),
            "</section>",
        ]
        return "\n".join(part for part in parts if part)

    def _shown_lanes(self) -> list[int]:
        """Choose the labels to draw, in order; of very many, those closest to their thresholds."""
        thresholds = self._bundle.decision.on_thresholds

        def far(index: int) -> float:
            peak, _ = self._record.peaks.get(self._bundle.labels[index], (0.0, 0.0))
            return -peak / thresholds[index]

        nearest = sorted(range(len(thresholds)), key=far)
        return sorted(nearest[:MAX_LANES])

    def _facts(self) -> str:
        bundle, end, record = self._bundle, self._end, self._record
        p, d = bundle.features, bundle.decision
        model = f"{bundle.name}, {len(bundle.labels)} labels, looks at {p.looked_at}"
        if bundle.sha256:
            model += f" (sha256 {bundle.sha256[:12]}…)"
        facts = [
            ("model", model),
            ("duration", f"{end.seconds:.2f} s, {end.samples} samples at {p.sr} Hz"),
            ("lost", _lost_text(end.lost, record.n_gaps)),
            (
                "scores",
                f"every {bundle.inference_hop_seconds:.3f} s, {_looked_at(bundle)}; "
                f"smoothed: the mean of the latest {d.smoothing_scores}",
            ),
            (
                "events",
                f"on once the smoothed score has been at the on threshold for "
                f"{d.min_on_seconds:g} s, off once below the off threshold for "
                f"{d.min_off_seconds:g} s",
            ),
        ]
        rows = "".join(
            f'<tr><th scope="row">{name}</th><td>{_text(text)}</td></tr>' for name, text in facts
        )
        table = f'<div class="wide"><table class="facts"><tbody>{rows}</tbody></table></div>'
        return "\n".join([table, *(f'<p class="note">{_text(n)}</p>' for n in self._notes())])

    def _notes(self) -> list[str]:
        record, window = self._record, self._bundle.window_seconds
        notes = []
        if len(record.history.times) == 0:
            notes.append(
                f"No stretch has the {window:.2f} s that the first scores take: no scores."
            )
        if len(self._lanes) < len(self._bundle.labels):
            notes.append(
                f"Shown are {len(self._lanes)} of {len(self._bundle.labels)} labels: "
                "those that came nearest to their thresholds."
            )
        for what, n in (("events", sum(record.n_events.values())), ("gaps", record.n_gaps)):
            if n > MAX_LISTED:
                notes.append(f"Shown are the first {MAX_LISTED} of {n} {what}.")
        if record.history.step > 1:
            notes.append(
                f"The curves show the lowest and the highest of each {record.history.step} "
                "consecutive scores."
            )
        return notes

    def _picture(self) -> str:
        """Return the spectrogram as images; a script draws it into the lanes instead."""
        colours = palette(self._low, self._high)
        n_columns = self._levels.shape[1]
        seconds = max(self._end.seconds, 1e-9)
        tiles = []
        for start in range(0, n_columns, _TILE_COLUMNS):
            tile = self._levels[:, start : start + _TILE_COLUMNS]
            share = tile.shape[1] * self._record.spectrogram.column_seconds / seconds
            picture = _base64(png(tile, colours))
            tiles.append(
                f'<img src="data:image/png;base64,{picture}" alt="" '
                f'style="width: {min(100 * share, 100):.3f}%">'
            )
        caption = (
            f"Log-mel spectrogram, {self._bundle.features.n_mels} bands, "
            f"0 to {self._end.seconds:.2f} s."
        )
        return (
            f'<figure><div role="img" aria-label="{caption}">{"".join(tiles)}</div>'
            f"<figcaption>{caption}</figcaption></figure>"
        )

    def _data(self) -> dict[str, Any]:
        """Return the script's data; score ``i`` of lane ``j`` has index ``j * n + i``."""
        bundle, record, p = self._bundle, self._record, self._bundle.features
        history, decision = record.history, bundle.decision
        lane_of = {bundle.labels[index]: lane for lane, index in enumerate(self._lanes)}
        events = [
            [lane_of.get(e.label, -1), *_rounded(e.onset, e.offset or e.onset, e.decided)]
            for e in self._events
        ]
        return {
            "seconds": round(max(self._end.seconds, 1e-3), 6),
            "window": round(bundle.window_seconds, 6),
            "hop": round(bundle.inference_hop_seconds, 6),
            "labels": [
                {
                    "name": printable(bundle.labels[index]),
                    "on": round(decision.on_thresholds[index], 4),
                    "off": round(decision.off_thresholds[index], 4),
                }
                for index in self._lanes
            ],
            "units": SCORE_UNITS,
            "step": history.step,
            "times": _base64(history.times.astype("<f8").tobytes()),
            "low": self._lane_scores(history.low),
            "high": self._lane_scores(history.high) if history.step > 1 else None,
            "events": events,
            "gaps": [_rounded(gap.sample / p.sr, gap.lost / p.sr) for gap in record.gaps],
            "bands": p.n_mels,
            "columns": self._levels.shape[1],
            "column": record.spectrogram.column_seconds,
            "tile": _TILE_COLUMNS,
            "ticks": frequency_ticks(p),
            "decibels": [decibels(self._low), decibels(self._high)],
        }

    def _lane_scores(self, scores: NDArray[np.uint16]) -> str:
        return _base64(np.ascontiguousarray(scores[:, self._lanes].T).astype("<u2").tobytes())

    def _event_table(self, number: int) -> str:
        if not self._events:
            return "<p>None.</p>"
        return _table(
            ("label", "onset, s", "offset, s", "decided at, s", "peak score"),
            [_event_cells(event, number) for event in self._events],
            jumps=True,
        )

    def _label_table(self) -> str:
        rows = []
        for index in self._lanes:
            label = self._bundle.labels[index]
            cells = [_text(label), str(self._record.n_events[label])]
            peak = self._record.peaks.get(label)
            cells += ["–", "–"] if peak is None else [f"{peak[0]:.2f}", f"{peak[1]:.2f}"]
            for thresholds in (
                self._bundle.decision.on_thresholds,
                self._bundle.decision.off_thresholds,
            ):
                cells.append(f"{thresholds[index]:.2f}")
            rows.append(cells)
        return _table(
            ("label", "events", "highest smoothed score", "at, s", "on from", "off below"), rows
        )


def _looked_at(bundle: Bundle) -> str:
    """Name the audio behind each prediction."""
    if bundle.stream is None:
        return f"each of the {bundle.window_seconds:.3f} s before it"
    return f"each of the stream so far, from {bundle.window_seconds:.3f} s on"


def _text(text: str) -> str:
    """Return text for HTML: a file may be named like markup, or with control characters."""
    return escape_html(printable(text))


def _lost_text(samples: int, gaps: int) -> str:
    if samples == 0:
        return "nothing"
    return f"{samples} samples in {gaps} {'gap' if gaps == 1 else 'gaps'}"


def _event_cells(event: DetectedEvent, number: int) -> list[str]:
    times = (event.onset, event.offset, event.decided)
    link = f'<a href="#file-{number}">{_text(event.label)}</a>'
    return [link, *(f"{time:.2f}" for time in times), f"{event.peak:.2f}"]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], jumps: bool = False) -> str:
    """Return a table of cells that are HTML; all but the first column are numbers."""
    first, *others = header
    heads = f'<th scope="col">{first}</th>' + "".join(
        f'<th scope="col" class="number">{text}</th>' for text in others
    )
    lines = []
    for i, (name, *numbers) in enumerate(rows):
        cells = "".join(f'<td class="number">{text}</td>' for text in numbers)
        kind = f' class="jumps" data-event="{i}"' if jumps else ""
        lines.append(f'<tr{kind}><th scope="row">{name}</th>{cells}</tr>')
    body = "\n".join(lines)
    return (
        f'<div class="wide"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _rounded(*values: float) -> list[float]:
    return [round(value, 6) for value in values]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


class ReplayReport:
    """A sink that makes a page with a section for each stream.

    It receives the samples as well (:class:`otic.types.AudioSink`). :meth:`close` writes the page;
    without a stream there is none.

    Parameters
    ----------
    path : str
        Overwritten at the end.
    bundle : Bundle
        The model in use.

    Raises
    ------
    SinkError
        If the page could not be written there.
    """

    def __init__(self, path: str, bundle: Bundle) -> None:
        self._path = Path(path)
        self._beside = self._path.with_name(f".{self._path.name}.part")
        self._check_place()
        self._bundle = bundle
        self._records: dict[str, ReplayRecord] = {}  # by source
        self._sections: list[str] = []
        self._files: list[str] = []
        self._otic = ""

    def on_chunk(self, stream: StreamStart, chunk: Chunk) -> None:
        record = self._records[stream.source]
        if isinstance(chunk, Lost):
            record.add_loss(chunk.samples)
        else:
            record.add_samples(chunk)

    def start(self, stream: StreamStart) -> None:
        spectrogram = Spectrogram(self._bundle.features)
        self._records[stream.source] = ReplayRecord(self._bundle, spectrogram)
        self._otic = stream.otic

    def write(self, stream: StreamStart, item: Item) -> None:
        self._records[stream.source].add(item)

    def end(self, stream: StreamStart, end: StreamEnd) -> None:
        # Build the section now: close() may have only seconds after a signal.
        section = Section(self._bundle, self._records.pop(stream.source), end)
        self._files.append(stream.source)
        self._sections.append(section.html(len(self._files), self._files[-1]))

    def close(self) -> None:
        if not self._sections:
            return
        try:
            self._beside.write_text(self._page(), encoding="utf-8", errors="replace")
            self._beside.replace(self._path)
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error
        finally:
            self._beside.unlink(missing_ok=True)

    def _page(self) -> str:
        here = resources.files("otic.sinks")
        template = here.joinpath("html_report.html").read_text(encoding="utf-8")
        script = template.split("<script>")[1].split("</script>")[0]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        contents = ""
        if len(self._files) > 1:
            items = (
                f'<li><a href="#file-{i}">{_text(name)}</a></li>'
                for i, name in enumerate(self._files, 1)
            )
            contents = f'<ul class="files">{"".join(items)}</ul>\n'
        title = f"{_TITLE} in {self._files[0]}" if len(self._files) == 1 else _TITLE
        marks = {
            "@SCRIPT_HASH@": f"sha256-{digest}",
            "@STYLE@": here.joinpath("report.css").read_text(encoding="utf-8"),
            "@TITLE@": _text(title),
            "@SECTIONS@": contents + "\n".join(self._sections),
            "@FOOTER@": f"otic {_text(self._otic)}",
        }
        # A single pass: a file may be named like a placeholder.
        return re.sub("|".join(marks), lambda found: marks[found[0]], template)

    def _check_place(self) -> None:
        """Check that the page can be written, before hours of audio are replayed."""
        folder = self._path.parent
        if str(self._path) == "-":
            raise self._unwritable("the report can't go to standard output")
        if not folder.is_dir():
            raise self._unwritable(f"there is no folder '{folder}'")
        if self._path.exists() and not self._path.is_file():
            raise self._unwritable("that is a folder or a device")
        try:
            self._beside.open("wb").close()
            self._beside.unlink()
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error

    def _unwritable(self, reason: str) -> SinkError:
        return SinkError(
            f"can't write the report '{self._path}': {reason}: "
            "name a file that can be written with --report"
        )
