"""Tables of a scan as Parquet, with pyarrow, which the extra ``parquet`` brings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from otic.detection.decide import ScoreTable
from otic.errors import RuntimeMissingError

_MOST_ROWS = 65_536  # of a row group; memory is taken for one


def load_pyarrow() -> Any:
    """Import pyarrow.

    Raises
    ------
    RuntimeMissingError
        If it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise RuntimeMissingError(
            f"Parquet needs pyarrow, which can't be imported ({error}): "
            "pip install 'otic[parquet]', or use --format csv"
        ) from error
    return pyarrow


class ParquetTable:
    """A table that is written row group by row group.

    Parameters
    ----------
    path : Path
    columns : mapping of str to type
        str, int (int64), float (float64) or ``numpy.float32``.
    """

    def __init__(self, path: Path, columns: Mapping[str, type]) -> None:
        self._pa = pa = load_pyarrow()
        kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), np.float32: pa.float32()}
        self._schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
        self._file = path.open("wb")
        self._writer = pa.parquet.ParquetWriter(self._file, self._schema, compression="zstd")
        self._tables: list[Any] = []
        self._n_rows = 0

    def add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        columns = list(zip(*rows, strict=True)) or [()] * len(self._schema)
        self._take(len(rows), columns)

    def add_scores(self, file: str, table: ScoreTable) -> None:
        n = len(table.samples)
        if n:
            self._take(n, [[file] * n, table.samples, table.onsets, *table.scores.T])

    def close(self) -> None:
        self._write()
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _take(self, n: int, columns: Sequence[Any]) -> None:
        arrays = [
            self._pa.array(column, field.type)
            for column, field in zip(columns, self._schema, strict=True)
        ]
        self._tables.append(self._pa.Table.from_arrays(arrays, schema=self._schema))
        self._n_rows += n
        if self._n_rows >= _MOST_ROWS:
            self._write()

    def _write(self) -> None:
        if self._n_rows:
            self._writer.write_table(self._pa.concat_tables(self._tables))
        self._tables, self._n_rows = [], 0


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> Iterator[tuple[Any, ...]]:
    """Read rows, a row group at a time; of some columns, or of all."""
    with load_pyarrow().parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=None if columns is None else list(columns)):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def read_parquet_scores(path: Path) -> Iterator[tuple[str, ScoreTable]]:
    """Read the table ``scores``: stretches of a file's predictions, in order."""
    with load_pyarrow().parquet.ParquetFile(path) as file:
        for batch in file.iter_batches():
            files = batch.column(0).to_pylist()
            samples, onsets = (batch.column(i).to_numpy() for i in (1, 2))
            scores = np.stack([column.to_numpy() for column in batch.columns[3:]], axis=1)
            start = 0
            for stop in range(1, len(files) + 1):
                if stop == len(files) or files[stop] != files[start]:
                    at = slice(start, stop)
                    yield files[start], ScoreTable(samples[at], onsets[at], scores[at])
                    start = stop
