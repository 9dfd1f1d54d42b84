"""The tables of a scan: their columns, and the folder of files that a task leaves behind.

A scan's folder holds ``scan.json`` and a folder for each model, its thresholds and channel::

    OUT/scan.json
    OUT/esc10-stream-0a1b2c3d/run.json
    OUT/esc10-stream-0a1b2c3d/parts/5e6f…/files.csv, events.csv, errors.csv, gaps.csv

A part is made in ``writing/`` and renamed when all of it is on the disk: what is below
``parts/`` is whole. The name of a part comes from the recordings in it and what they hold.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from otic.detection.decide import ScoreTable
from otic.errors import SinkError

COLUMNS: dict[str, dict[str, type]] = {
    "files": {
        "file": str,
        "size": int,
        "modified_ns": int,
        "sha256": str,
        "rate": int,
        "channels": int,
        "seconds": float,
        "lost_seconds": float,
        "samples": int,
        "started_at": str,
        "notes": str,
    },
    "events": {
        "file": str,
        "label": str,
        "onset": float,
        "offset": float,
        "time": float,
        "ended": float,
        "score": float,
        "peak": float,
        "onset_at": str,
        "offset_at": str,
    },
    "gaps": {"file": str, "sample": int, "lost": int},
    "errors": {"file": str, "reason": str},
}
"""Tables and their columns, in order.

``files`` has a row for each recording that could be read: its size in bytes, when it was last
written, its content's SHA-256, its own rate in Hz and channels, its length and what of it is lost,
in seconds, its length in samples at the model's rate, when it began (ISO 8601, empty where that is
not known), and what a person should know. ``events`` has a row for each event; ``onset`` and
``offset`` are when the sound was, ``time`` and ``ended`` when that was decided, all in seconds of
the recording; ``score`` and ``peak`` are smoothed scores, 0 to 1. ``gaps`` has the samples that
are lost, at the model's rate. ``errors`` has what could not be read, or not to its end.
"""

SCORE_COLUMNS = ("file", "sample", "onset")
"""What comes before a column for each label in the table ``scores``."""

FORMATS = ("csv", "parquet")
RETRIED = "-retry-"
"""Parts whose names have this, and a share behind it, hold errors that may pass: a scan of that
share that starts again removes them."""

_CSV_ROWS = 4096  # of scores that are read at a time

Row = tuple[Any, ...]


class TableFile(Protocol):
    """A table that is written."""

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows."""

    def add_scores(self, file: str, table: ScoreTable) -> None:
        """Append predictions."""

    def close(self) -> None:
        """Complete the file."""


class CsvTable:
    """A table as text: RFC 4180, UTF-8, a header.

    Parameters
    ----------
    path : Path
    columns : sequence of str
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._file: TextIO = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(columns)

    def add(self, rows: Sequence[Row]) -> None:
        self._writer.writerows(rows)

    def add_scores(self, file: str, table: ScoreTable) -> None:
        whole = zip(table.samples.tolist(), table.onsets.tolist(), table.scores, strict=True)
        # numpy's text of a float32 is the shortest that gives it again.
        self._writer.writerows((file, *ints, *map(str, row)) for *ints, row in whole)

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def read_csv(path: Path, kinds: Sequence[type]) -> Iterator[Row]:
    """Read what :class:`CsvTable` wrote, row by row; empty numbers are None."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows, None)
        for cells in rows:
            yield tuple(
                cell if kind is str else None if cell == "" else kind(cell)
                for kind, cell in zip(kinds, cells, strict=True)
            )


class Part:
    """The tables of a task while they are written.

    Parameters
    ----------
    run : Path
        The folder of the run.
    unique : str
        What no other process calls its part.
    kind : str
        One of ``FORMATS``.
    labels : tuple of str or None
        Those of the scores to keep; None: none are kept.

    Raises
    ------
    SinkError
        If it can't be written; the methods raise it, too.
    """

    def __init__(self, run: Path, unique: str, kind: str, labels: tuple[str, ...] | None) -> None:
        self._run = run
        self._folder = run / "writing" / unique
        self._digest = hashlib.sha256()
        self._stack = ExitStack()
        self.tables: dict[str, TableFile] = {}
        try:
            self._folder.mkdir(parents=True)
            for name, columns in COLUMNS.items():
                self._open(name, kind, columns)
            if labels is not None:
                self._open("scores", kind, score_columns(labels))
        except BaseException as error:
            self.drop()
            if isinstance(error, OSError):
                raise self._full(error) from error
            raise

    def _open(self, name: str, kind: str, columns: dict[str, type]) -> None:
        path = self._folder / f"{name}.{kind}"
        if kind == "csv":
            table: TableFile = CsvTable(path, tuple(columns))
        else:
            from otic.scan.parquet import ParquetTable

            table = ParquetTable(path, columns)
        self._stack.callback(table.close)
        self.tables[name] = table

    def add(self, name: str, rows: Sequence[Row]) -> None:
        """Append rows to a table."""
        try:
            self.tables[name].add(rows)
        except OSError as error:
            raise self._full(error) from error

    def add_scores(self, file: str, table: ScoreTable) -> None:
        """Append predictions."""
        try:
            self.tables["scores"].add_scores(file, table)
        except OSError as error:
            raise self._full(error) from error

    def name_by(self, *texts: str) -> None:
        """Let the part's name depend on these."""
        for text in texts:
            self._digest.update(text.encode() + b"\0")

    def commit(self, suffix: str = "", name: str | None = None) -> None:
        """Bring the part to the disk and to its place.

        A part of the same name has the same in it, and stays.

        Parameters
        ----------
        suffix : str
            What the name ends with.
        name : str, optional
            In place of the one that comes from what is in it.
        """
        name = name or self._digest.hexdigest()[:32] + suffix
        parts = self._run / "parts"
        try:
            self._stack.close()
            _sync(self._folder)
            parts.mkdir(exist_ok=True)
            try:
                self._folder.rename(parts / name)
            except OSError:
                if not (parts / name).is_dir():
                    raise
                self.drop()
            _sync(parts)
        except OSError as error:
            self.drop()
            raise self._full(error) from error

    def drop(self) -> None:
        """Remove what was written."""
        with suppress(OSError):
            self._stack.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _full(self, error: OSError) -> SinkError:
        return SinkError(
            f"can't write to '{self._run}': {error.strerror}: make room and start the scan again; "
            "what it has written stays"
        )


def score_columns(labels: tuple[str, ...]) -> dict[str, type]:
    """Name the columns of the table ``scores``; a label that is one of the first gets a space."""
    own = {f"{label} " if label in SCORE_COLUMNS else label: np.float32 for label in labels}
    return {"file": str, "sample": int, "onset": int, **own}


def shown_path(path: str) -> str:
    """Give a path as text that any table can hold; what is not UTF-8 is written as its bytes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def read_table(part: Path, name: str, kind: str) -> Iterator[Row]:
    """Read a table of a part, row by row."""
    path, columns = part / f"{name}.{kind}", COLUMNS[name]
    if kind == "csv":
        return read_csv(path, tuple(columns.values()))
    from otic.scan.parquet import read_parquet

    return read_parquet(path, tuple(columns))


def read_scores(part: Path, kind: str, n_labels: int) -> Iterator[tuple[str, ScoreTable]]:
    """Read the predictions of a part: stretches of a file, in order."""
    path = part / f"scores.{kind}"
    if kind == "csv":
        rows = read_csv(path, (str, int, int, *[float] * n_labels))
        while block := list(islice(rows, _CSV_ROWS)):
            for file, group in groupby(block, key=lambda row: row[0]):
                of_file = list(group)
                samples, onsets = (np.array([row[i] for row in of_file]) for i in (1, 2))
                scores = np.array([row[3:] for row in of_file], np.float32)
                yield file, ScoreTable(samples, onsets, scores)
        return
    from otic.scan.parquet import read_parquet_scores

    yield from read_parquet_scores(path)


def _sync(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)
