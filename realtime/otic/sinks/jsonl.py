"""The log: JSON lines."""

from __future__ import annotations

import io
import json
import os
import re
from typing import Any, Protocol

from otic.detection.unknown import UNKNOWN
from otic.errors import SinkError
from otic.sinks.log_file import LogFile
from otic.types import Event, Gap, Item, Level, Scores, StreamEnd, StreamStart

JSONL_FORMAT = 1
# What a terminal or an editor acts on, of what JSON may hold as it is.
_ACTED_ON = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


class JsonlSink:
    """One JSON object a line, written whole and unbuffered, keys in a fixed order.

    Parameters
    ----------
    target : str
        A path, overwritten when the first stream begins unless the log is permanent, or ``-``
        for standard output.
    log : set of str
        ``scores`` and ``events``: which of them to write.
    several : bool
        Whether streams run at the same time: each line then says whose it is.
    max_bytes : int
        If not 0, the path is a permanent log, rotated at this size.
    keep : int
        How many full files are kept.
    permanent : bool
        Whether the path is appended to, and a disk that is full costs lines, counted, and no
        more; see :class:`otic.sinks.log_file.LogFile`. Only opening it raises then.

    Raises
    ------
    SinkError
        If ``max_bytes`` is given with standard output; and by the methods, if the path
        can't be written.
    """

    def __init__(
        self,
        target: str,
        log: frozenset[str],
        several: bool = False,
        max_bytes: int = 0,
        keep: int = 5,
        permanent: bool = False,
    ) -> None:
        if max_bytes and target == "-":
            raise SinkError(
                "standard output can't be rotated: name a file with --jsonl, "
                "or set jsonl.max_megabytes to 0"
            )
        self._log = log
        self._several = several
        self._file: _Lines = (
            LogFile(target, max_bytes, keep, self._headings)
            if target != "-" and (permanent or max_bytes)
            else _Overwritten(target)
        )
        self._opened = False
        self._running: dict[str, StreamStart] = {}
        self._keys: dict[str, str] = {}  # each label as JSON, with its colon
        self._tails: dict[str, str] = {}  # by source: how its lines end

    @property
    def dropped(self) -> int:
        """Lines that a permanent log could not take so far."""
        return self._file.dropped

    def start(self, stream: StreamStart) -> None:
        if not self._opened:
            self._file.open()
            self._opened = True
        self._keys.update({label: _json(label) + ":" for label in stream.labels})
        tail = f',"source":{_json(stream.source)}}}' if self._several else "}"
        self._tails[stream.source] = tail
        self._file.write(_line(_start_record(stream)), heading=True)
        self._running[stream.source] = stream

    def write(self, stream: StreamStart, item: Item) -> None:
        if isinstance(item, Gap):
            record = {"type": "gap", "sample": item.sample, "lost": item.lost}
            self._file.write(_line(self._signed(record, stream)))
        elif isinstance(item, Event):
            if "events" in self._log or (item.label == UNKNOWN and "unknown" in self._log):
                line = _line(self._signed(_event_record(item), stream))
                self._file.write(line, event=True)
        elif isinstance(item, Level):
            record = {"type": "level", "sample": item.sample, "time": item.time, **item.record()}
            self._file.write(_line(self._signed(record, stream)))
        elif "scores" in self._log:
            self._file.write(_bytes(self._scores_line(item, stream)))

    def end(self, stream: StreamStart, end: StreamEnd) -> None:
        record = {"type": "end", "samples": end.samples, "seconds": end.seconds, "lost": end.lost}
        self._file.write(_line(self._signed(record, stream)))
        self._running.pop(stream.source, None)

    def close(self) -> None:
        self._file.close()
        self._opened = False

    def _headings(self) -> list[bytes]:
        """Return the lines that a new file begins with, so that it can be read alone."""
        return [
            _line({**_start_record(stream), "continued": True}) for stream in self._running.values()
        ]

    def _signed(self, record: dict[str, Any], stream: StreamStart) -> dict[str, Any]:
        return {**record, "source": stream.source} if self._several else record

    def _scores_line(self, item: Scores, stream: StreamStart) -> str:
        """Return what json.dumps would, in a third of the time: most lines are of this kind."""
        pairs = [f"{self._keys[label]}{round(score, 6)!r}" for label, score in item.scores.items()]
        return (
            f'{{"type":"scores","sample":{item.sample},"time":{round(item.time, 6)!r},'
            f'"scores":{{{",".join(pairs)}}}{self._tails[stream.source]}\n'
        )


class _Lines(Protocol):
    """A file of lines; each comes with its newline."""

    dropped: int

    def open(self) -> None: ...

    def write(self, line: bytes, event: bool = False, heading: bool = False) -> None: ...

    def close(self) -> None: ...


class _Overwritten:
    """A file of this run's lines only, or standard output; each error is raised."""

    dropped = 0

    def __init__(self, target: str) -> None:
        self._target = target
        self._file: io.FileIO | None = None

    def open(self) -> None:
        try:
            self._file = io.FileIO(os.dup(1) if self._target == "-" else self._target, "w")
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, line: bytes, event: bool = False, heading: bool = False) -> None:
        assert self._file is not None
        left = memoryview(line)
        try:
            while left:
                left = left[self._file.write(left) or 0 :]
        except BrokenPipeError as error:
            error.filename = self._target  # tells whose reader has left
            raise
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _unwritable(self, error: OSError) -> SinkError:
        return SinkError(
            f"can't write {'standard output' if self._target == '-' else repr(self._target)}: "
            f"{error.strerror}: name a file that can be written with --jsonl"
        )


def _start_record(stream: StreamStart) -> dict[str, Any]:
    record: dict[str, Any] = {
        "type": "start",
        "format": JSONL_FORMAT,
        "otic": stream.otic,
        "model": stream.model,
        "model_sha256": stream.model_sha256,
        "source": stream.source,
        "sr": stream.sr,
        "window_seconds": stream.window_seconds,
        "inference_hop_seconds": stream.inference_hop_seconds,
        "labels": list(stream.labels),
    }
    if stream.started is not None:
        record["started"] = stream.started
    if stream.recorded is not None:
        record["recorded"] = stream.recorded
    return record


def _event_record(item: Event) -> dict[str, Any]:
    record: dict[str, Any] = {"type": "event", "state": item.state, "label": item.label}
    record["onset"] = item.onset
    if item.state == "on":
        return {**record, "time": item.time, "score": item.score}
    return {**record, "offset": item.offset, "time": item.time, "peak": item.peak}


def _line(record: dict[str, Any]) -> bytes:
    return _bytes(_json(_rounded(record)) + "\n")


def _bytes(line: str) -> bytes:
    """UTF-8, also where a source's name came from a file name that is not."""
    return line.encode(errors="replace")


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if text.isprintable() else _ACTED_ON.sub(lambda c: f"\\u{ord(c[0]):04x}", text)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return value
