"""Tables that come with data sets: CSV files as people and spreadsheets write them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from otic_training.data.dataset import DatasetError

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_FOLD = re.compile(r"([0-9]{1,9})(?:[.,]0*)?")  # pandas writes 1.0 where a fold was missing once
_TRUE, _FALSE = {"true", "t", "yes", "y", "1", "1.0"}, {"false", "f", "no", "n", "0", "0.0", ""}


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file that has these columns, and maybe others.

    The separator is a comma, a semicolon, a tab or a bar: the one that gives all columns.
    Blanks around names and values are dropped, as are empty rows at the end.

    Raises
    ------
    DatasetError
        If it can't be read, lacks a column, or a line has too few values or too many.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets begin it so
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"can't read '{path}' as CSV in UTF-8: {error}") from error
    first, _, rest = text.partition("\n")
    if first.rstrip("\r") in {f"sep={separator}" for separator in _SEPARATORS}:  # Excel's
        text = rest
    best: list[str] = []
    for separator in _SEPARATORS:
        try:
            header, rows = _rows(text, separator)
        except csv.Error as error:
            raise DatasetError(f"can't read '{path}' as CSV in UTF-8: {error}") from error
        if set(columns) <= set(header):
            return _checked(path, header, rows)
        best = max(best, header, key=lambda names: (len(set(columns) & set(names)), len(names)))
    missing = ", ".join(sorted(set(columns) - set(best)))
    raise DatasetError(
        f"'{path}' lacks the columns {missing}: its first line must name them, separated by "
        f"{', '.join(_SEPARATORS.values())}, but reads '{', '.join(best)[:200]}'"
    )


def _rows(text: str, separator: str) -> tuple[list[str], list[list[str]]]:
    header, *rows = [
        [value.strip() for value in row]
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        if row
    ] or [[]]
    while rows and not any(rows[-1]):
        del rows[-1]
    return header, rows


def _checked(path: Path, header: list[str], rows: list[list[str]]) -> list[dict[str, str]]:
    for line, row in enumerate(rows, 2):
        if len(row) < len(header):
            raise DatasetError(f"'{path}': line {line} has too few columns")
        if any(row[len(header) :]):
            raise DatasetError(
                f"'{path}': line {line} has too many columns: put quotes around a value that "
                "holds the separator"
            )
    return [dict(zip(header, row, strict=False)) for row in rows]


def fold_number(text: str, path: Path, line: int) -> int:
    """Read a fold: ``1``, or ``1.0`` as spreadsheets and pandas may write it.

    Raises
    ------
    DatasetError
        If it is no whole number from 0.
    """
    match = _FOLD.fullmatch(text)
    if match is None:
        raise DatasetError(f"'{path}': line {line}: fold '{text}' is not a whole number")
    return int(match[1])


def truth(text: str, path: Path, line: int, column: str) -> bool:
    """Read ``True`` or ``False``, in any of the ways in which programs write them.

    Raises
    ------
    DatasetError
        If it is neither.
    """
    word = text.casefold()
    if word not in _TRUE | _FALSE:
        raise DatasetError(f"'{path}': line {line}: {column} '{text}' is not True or False")
    return word in _TRUE
