"""Where results go: JSON lines, and plain text for a person without a dashboard."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from realtime.errors import SinkError
from realtime.events import Event, Gap, Item, Scores
from realtime.unknown import UNKNOWN

JSONL_FORMAT = 1


@dataclass(frozen=True)
class StreamStart:
    """What a log says before the first item.

    ``started`` is the wall-clock time of a live stream, ISO 8601 in UTC, else None.
    """

    otic: str
    model: str
    model_sha256: str
    source: str
    sr: int
    window_seconds: float
    inference_hop_seconds: float
    labels: tuple[str, ...]
    started: str | None = None


@dataclass(frozen=True)
class StreamEnd:
    """What a log says after the last item; ``lost`` of ``samples`` were lost."""

    samples: int
    seconds: float
    lost: int


class Sink(Protocol):
    """Takes what a stream gives; one thread calls, in the order start, write …, end.

    A sink may take several streams, one after the other.
    """

    def start(self, start: StreamStart) -> None:
        """A stream begins."""

    def write(self, item: Item) -> None:
        """The stream gave an item."""

    def end(self, end: StreamEnd) -> None:
        """The stream ended."""

    def close(self) -> None:
        """No further stream comes."""


class JsonlSink:
    """One JSON object a line, written whole and unbuffered, keys in a fixed order.

    Parameters
    ----------
    target : str
        A path, overwritten when the first stream begins, or ``-`` for standard output.
    log : set of str
        ``scores`` and ``events``: which of them to write.
    """

    def __init__(self, target: str, log: frozenset[str]) -> None:
        self._target = target
        self._log = log
        self._file: io.FileIO | None = None
        self._keys: dict[str, str] = {}  # each label as JSON, with its colon

    def start(self, start: StreamStart) -> None:
        if self._file is None:
            self._file = self._open()
        self._keys = {label: json.dumps(label, ensure_ascii=False) + ":" for label in start.labels}
        record: dict[str, Any] = {
            "type": "start",
            "format": JSONL_FORMAT,
            "otic": start.otic,
            "model": start.model,
            "model_sha256": start.model_sha256,
            "source": start.source,
            "sr": start.sr,
            "window_seconds": start.window_seconds,
            "inference_hop_seconds": start.inference_hop_seconds,
            "labels": list(start.labels),
        }
        if start.started is not None:
            record["started"] = start.started
        self._write(record)

    def write(self, item: Item) -> None:
        if isinstance(item, Gap):
            self._write({"type": "gap", "sample": item.sample, "lost": item.lost})
        elif isinstance(item, Event):
            if "events" in self._log or (item.label == UNKNOWN and "unknown" in self._log):
                self._write(_event_record(item))
        elif "scores" in self._log:
            self._write_line(self._scores_line(item))

    def end(self, end: StreamEnd) -> None:
        self._write(
            {"type": "end", "samples": end.samples, "seconds": end.seconds, "lost": end.lost}
        )

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> io.FileIO:
        try:
            return io.FileIO(os.dup(1) if self._target == "-" else self._target, "w")
        except OSError as error:
            raise self._unwritable(error) from error

    def _write(self, record: dict[str, Any]) -> None:
        self._write_line(json.dumps(_rounded(record), ensure_ascii=False, separators=(",", ":")))

    def _scores_line(self, item: Scores) -> str:
        """What json.dumps would give, in a third of the time: most lines are of this kind."""
        pairs = [f"{self._keys[label]}{round(score, 6)!r}" for label, score in item.scores.items()]
        return (
            f'{{"type":"scores","sample":{item.sample},"time":{round(item.time, 6)!r},'
            f'"scores":{{{",".join(pairs)}}}}}'
        )

    def _write_line(self, text: str) -> None:
        assert self._file is not None
        line = memoryview((text + "\n").encode())
        try:
            while line:
                line = line[self._file.write(line) or 0 :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> SinkError:
        return SinkError(
            f"can't write {'standard output' if self._target == '-' else repr(self._target)}: "
            f"{error.strerror}: name a file that can be written with --jsonl"
        )


class TextSink:
    """Events as plain lines, for a person without a dashboard."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def start(self, start: StreamStart) -> None:
        self._say(
            f"{start.source}: {start.model}, a score every {start.inference_hop_seconds:.2f} s"
        )

    def write(self, item: Item) -> None:
        if isinstance(item, Event):
            self._say(event_text(item))
        elif isinstance(item, Gap):
            self._say(f"{'':>18}  {item.lost} samples lost before sample {item.sample + item.lost}")

    def end(self, end: StreamEnd) -> None:
        self._say(f"end after {end.seconds:.2f} s, {end.lost} samples lost")

    def close(self) -> None:
        pass

    def _say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


def event_text(event: Event) -> str:
    """An event on one line, as the text log and the dashboard show it."""
    if event.state == "on":
        return f"{event.onset:8.2f} s …          {event.label} on, score {event.score:.2f}"
    return f"{event.onset:8.2f} s … {event.offset:7.2f} s  {event.label} off, peak {event.peak:.2f}"


def _event_record(item: Event) -> dict[str, Any]:
    record: dict[str, Any] = {"type": "event", "state": item.state, "label": item.label}
    record["onset"] = item.onset
    if item.state == "on":
        return {**record, "time": item.time, "score": item.score}
    return {**record, "offset": item.offset, "time": item.time, "peak": item.peak}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return value
