"""Small files that ``otic pack`` reads: labels, groups, numbers, and the model's metadata.

TFLite's metadata, as MediaPipe's and TensorFlow's tools write it, is a flatbuffer inside the
model that describes its tensors; the files that it names, such as labels, are in a zip behind
the model. Tables and fields: metadata_schema.fbs of TFLite Support.
"""

from __future__ import annotations

import csv
import io
import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from otic.errors import BundleError, OticError
from otic.model.archive import read_files
from otic.model.bundle import as_groups
from otic.packing.tflite_file import Table, root

_MAX_BYTES = 2**22
_IDENTIFIER = b"M001"
_AUDIO = 4  # ContentProperties.AudioProperties
_AXIS_LABELS = 2  # AssociatedFileType.TENSOR_AXIS_LABELS
_NUMBERED = re.compile(r"(\d{1,6})(\s*[:;,.)]\s*|\s+)(\S.*)")
_LABEL_COLUMNS = ("display_name", "label", "name", "class", "category")


class PackFileError(OticError):
    """A file of labels, groups or numbers that can't be read or used."""


def read_labels(path: str) -> list[str]:
    """Read labels, one a line; of a CSV file, its column ``display_name`` or ``label``.

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
    return without_numbers(lines)


def without_numbers(labels: list[str]) -> list[str]:
    """Take the numbers off labels that are numbered in order, as Teachable Machine's are.

    ``0 alpha``, ``1 beta`` from 0 on; ``1: alpha`` or ``1. alpha`` from 0 or 1 on.
    """
    found = [_NUMBERED.fullmatch(label) for label in labels]
    if not labels or not all(found):
        return labels
    numbers = [int(match[1]) for match in found if match]
    marked = all(match[2].strip() for match in found if match)
    first = numbers[0]
    if first not in ((0, 1) if marked else (0,)) or numbers != list(
        range(first, first + len(labels))
    ):
        return labels
    return [match[3] for match in found if match]


def read_groups(path: str) -> dict[str, tuple[str, ...]]:
    """Read groups from a TOML file: ``animals = ["Dog", "Cat"]``.

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
    """Read one number, or a file of them: separated by commas, spaces or line ends.

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
        numbered = [row[0].strip() for row in rows if len(row) == 2]
        if rows and numbered == [str(i) for i in range(len(rows))]:
            return [row[1].strip() for row in rows]
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


@dataclass(frozen=True)
class ModelMetadata:
    """The useful part of a model's metadata; empty or 0 where it says nothing.

    Attributes
    ----------
    name, license : str
    sr, channels : int
        Rate in Hz and channels of the audio that the first input takes.
    label_files : tuple of str
        Name of the file with the labels of each output.
    """

    name: str = ""
    license: str = ""
    sr: int = 0
    channels: int = 0
    label_files: tuple[str, ...] = ()


def read_metadata(origin: str, metadata: bytes) -> ModelMetadata:
    """Read a model's metadata; empty bytes give an empty result.

    Raises
    ------
    BundleError
        If it is damaged.
    """
    if not metadata:
        return ModelMetadata()
    try:
        return _read(root(metadata, _IDENTIFIER))
    except ValueError as error:
        raise BundleError(f"model '{origin}': its metadata is damaged: {error}") from error


def read_attached_labels(origin: str, content: bytes, file: str) -> list[str]:
    """Read the labels in a file of the zip behind the model, one a line.

    Raises
    ------
    BundleError
        If it is not there, or damaged.
    """
    found = read_files(f"model '{origin}': the zip behind the model", content, (file,))
    if file not in found:
        raise BundleError(
            f"model '{origin}': its metadata names '{file}' for its labels, which is not in the "
            "file: give them with --labels"
        )
    text = found[file].decode("utf-8-sig", "replace").rstrip()
    return without_numbers([line.strip() for line in text.splitlines()])


def _read(model: Table) -> ModelMetadata:
    graphs = model.tables(3)
    sr = channels = 0
    label_files: list[str] = []
    if graphs:
        inputs, outputs = graphs[0].tables(2), graphs[0].tables(3)
        sr, channels = _audio(inputs[0]) if inputs else (0, 0)
        label_files = [_label_file(output) for output in outputs]
    return ModelMetadata(model.text(0), model.text(5), sr, channels, tuple(label_files))


def _audio(tensor: Table) -> tuple[int, int]:
    content = tensor.table(3)
    if content is None or content.number(0, "<B") != _AUDIO:
        return 0, 0
    audio = content.table(1)
    return (0, 0) if audio is None else (audio.number(0, "<I"), audio.number(1, "<I"))


def _label_file(tensor: Table) -> str:
    """Return the first label file; a model may have more, in other languages."""
    for file in tensor.tables(6):
        if file.number(2, "<b") == _AXIS_LABELS:
            return file.text(0)
    return ""
