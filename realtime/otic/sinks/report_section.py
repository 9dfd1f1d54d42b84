"""A recording's part of the page of ``otic replay --report``.

What can be read without scripts is here; what moves is in ``html_report.html``,
which finds its data in each section.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.features.spectrogram import decibels, frequency_ticks, loudness_range, palette, png
from otic.model.bundle import Bundle
from otic.sinks.report_record import MAX_LISTED, SCORE_UNITS, ReplayRecord, ReportedEvent
from otic.types import StreamEnd

MAX_LANES = 24
_TILE_COLUMNS = 2048
_KEY = """<p class="key" hidden><span>smoothed score</span><span class="on">on threshold</span>
<span class="off">off threshold</span><span class="event">event, from onset to offset</span>
<span class="decided">decided</span><span class="gap">lost audio</span></p>"""


class Section:
    """What the page says of one stream.

    Parameters
    ----------
    bundle : Bundle
        The model that was served.
    record : ReplayRecord
        What it heard; complete.
    end : StreamEnd
        How long the stream was.
    """

    def __init__(self, bundle: Bundle, record: ReplayRecord, end: StreamEnd) -> None:
        self._bundle, self._record, self._end = bundle, record, end
        self._events = sorted(record.events, key=lambda e: (e.onset, e.label))
        self._lanes = self._shown_lanes()
        self._levels = record.spectrogram.levels()
        self._low, self._high = loudness_range(self._levels, bundle.features.top_db)

    def html(self, number: int, name: str) -> str:
        """The section, the ``number``-th of its page, of the source ``name``."""
        data = json.dumps(self._data(), separators=(",", ":")).replace("<", "\\u003c")
        parts = [
            f'<section id="file-{number}">',
            f"<h2>{escape(name)}</h2>",
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
        """All labels, in their order; of very many those that came nearest to their thresholds."""
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
                f"every {bundle.inference_hop_seconds:.3f} s, each of the {p.window_seconds:.3f} s "
                f"before it; smoothed: the mean of the latest {d.smoothing_scores}",
            ),
            (
                "events",
                f"on once the smoothed score has been at the on threshold for "
                f"{d.min_on_seconds:g} s, off once below the off threshold for "
                f"{d.min_off_seconds:g} s",
            ),
        ]
        rows = "".join(
            f'<tr><th scope="row">{name}</th><td>{escape(text)}</td></tr>' for name, text in facts
        )
        table = f'<div class="wide"><table class="facts"><tbody>{rows}</tbody></table></div>'
        return "\n".join([table, *(f'<p class="note">{escape(n)}</p>' for n in self._notes())])

    def _notes(self) -> list[str]:
        record, window = self._record, self._bundle.features.window_seconds
        notes = []
        if len(record.history.times) == 0:
            notes.append(
                f"No stretch is as long as the model's window of {window:.2f} s: no scores."
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
        """The spectrogram; with scripts it is drawn into the lanes in place of this."""
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
        """What the script draws; score ``i`` of lane ``j`` is number ``j * n + i``."""
        bundle, record, p = self._bundle, self._record, self._bundle.features
        history, decision = record.history, bundle.decision
        lane_of = {bundle.labels[index]: lane for lane, index in enumerate(self._lanes)}
        events = [
            [lane_of.get(e.label, -1), *_rounded(e.onset, e.offset, e.decided)]
            for e in self._events
        ]
        return {
            "seconds": round(max(self._end.seconds, 1e-3), 6),
            "window": round(p.window_seconds, 6),
            "hop": round(bundle.inference_hop_seconds, 6),
            "labels": [
                {
                    "name": bundle.labels[index],
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
            cells = [escape(label), str(self._record.n_events[label])]
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


def _lost_text(samples: int, gaps: int) -> str:
    if samples == 0:
        return "nothing"
    return f"{samples} samples in {gaps} {'gap' if gaps == 1 else 'gaps'}"


def _event_cells(event: ReportedEvent, number: int) -> list[str]:
    times = (event.onset, event.offset, event.decided)
    link = f'<a href="#file-{number}">{escape(event.label)}</a>'
    return [link, *(f"{time:.2f}" for time in times), f"{event.peak:.2f}"]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], jumps: bool = False) -> str:
    """A table of cells that are HTML; all but the first column are numbers."""
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
