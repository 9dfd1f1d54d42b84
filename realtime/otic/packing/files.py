"""The small files that ``otic pack`` reads: labels, groups, numbers."""

from __future__ import annotations

import csv
import io
import math
import tomllib
from pathlib import Path

from otic.errors import OticError
from otic.model.groups import as_groups

_MAX_BYTES = 2**22
_LABEL_COLUMNS = ("display_name", "label", "name", "class", "category")


class PackFileError(OticError):
    """A file of labels, groups or numbers can't be read or is not what it should be."""


def read_labels(path: str) -> list[str]:
    """Labels, one a line; of a CSV file with a heading, its column ``display_name`` or ``label``.

    Raises
    ------
    PackFileError
        If the file can't be read, or has an empty line between labels.
    """
    text = _text(path)
    if Path(path).suffix.lower() == ".csv":
        return _column(path, text)
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if "" in lines:
        raise PackFileError(
            f"'{path}', line {lines.index('') + 1} is empty: one label a line is needed, "
            "in the order of the model's outputs"
        )
    return lines


def read_groups(path: str) -> dict[str, tuple[str, ...]]:
    """Groups out of a TOML file: ``animals = ["Dog", "Cat"]``.

    Raises
    ------
    PackFileError
        If it can't be read, or is not TOML.
    ParameterError
        If it holds something else.
    """
    try:
        return as_groups(tomllib.loads(_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise PackFileError(f"'{path}' is not TOML: {error}") from error


def read_numbers(option: str, given: str) -> tuple[float, ...]:
    """One number, or those in a file: separated by commas, spaces or line ends.

    Raises
    ------
    PackFileError
        If it is neither.
    """
    try:
        return (_finite(given),)
    except ValueError:
        if not Path(given).is_file():
            raise PackFileError(
                f"{option} {given}: a number, or a file of numbers, is needed"
            ) from None
    try:
        return tuple(_finite(word) for word in _text(given).replace(",", " ").split())
    except ValueError as error:
        raise PackFileError(f"'{given}' is no file of numbers: {error}") from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def _text(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise PackFileError(f"'{path}' has more than {_MAX_BYTES} bytes: is it the right file?")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PackFileError(f"'{path}' is no text in UTF-8: {error.reason}") from error
    except OSError as error:
        raise PackFileError(f"can't read '{path}': {error.strerror}") from error


def _column(path: str, text: str) -> list[str]:
    try:
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
    except csv.Error as error:
        raise PackFileError(f"'{path}' is no CSV: {error}") from error
    heading = [cell.strip().lower() for cell in rows[0]] if rows else []
    column = next((heading.index(name) for name in _LABEL_COLUMNS if name in heading), None)
    if column is None:
        if any(len(row) != 1 for row in rows):
            raise PackFileError(
                f"'{path}' has no column {_LABEL_COLUMNS[0]} or {_LABEL_COLUMNS[1]}: "
                "name the one with the labels so, in the first line"
            )
        return [row[0].strip() for row in rows]
    short = next((i for i, row in enumerate(rows) if len(row) <= column), None)
    if short is not None:
        raise PackFileError(f"'{path}', row {short + 1} has no {heading[column]}")
    if "index" in heading:
        place = heading.index("index")
        if [row[place].strip() for row in rows[1:]] != [str(i) for i in range(len(rows) - 1)]:
            raise PackFileError(f"'{path}' must be in the order of its column index, from 0")
    return [row[column].strip() for row in rows[1:]]
