"""Recordings of everyday sound, with what a ``clips.csv`` beside them says of each.

The table has the column ``file``, a path below its folder, and any of ``kind``, ``label``,
``recording``, ``licence``, ``author``, ``source``, ``may_contain`` and ``fold`` (ESC-50's).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from otic.audio.folders import AUDIO_SUFFIXES, audio_files
from otic_training.data.dataset import DatasetError
from otic_training.data.tables import read_table

TABLE = "clips.csv"
_DOUBT = re.compile(r"([^:;@]+):(\d*\.?\d+)(?:@(\d*\.?\d+)-(\d*\.?\d+))?")
UNVETTED = "?"
"""In place of a label: nobody knows what the recording holds."""


@dataclass(frozen=True)
class Doubt:
    """A label that a recording may hold from ``start`` to ``end``, in seconds.

    ``score`` is how sure that is, from 0 to 1. ``?`` as the label: nobody knows what it holds.
    """

    label: str
    score: float
    start: float = 0.0
    end: float = math.inf


@dataclass(frozen=True)
class ListedSound:
    """A recording. What its table does not say is empty; the kind is then its folder's name."""

    path: Path
    kind: str
    label: str = ""
    recording: str = ""
    licence: str = ""
    author: str = ""
    source: str = ""
    doubts: tuple[Doubt, ...] = ()
    fold: str = ""

    @property
    def of_esc50(self) -> bool:
        """True for a clip that ESC-50 has, too."""
        return self.source.startswith("ESC-50") or bool(self.fold)


def sounds_of(names: Sequence[str], columns: Sequence[str] = ()) -> list[ListedSound]:
    """List files, and all audio of folders: what their tables name where they have one.

    Parameters
    ----------
    names : sequence of str
    columns : sequence of str
        What a table must state of each recording, beside ``file``.

    Raises
    ------
    DatasetError
        If a file is missing, a folder holds no audio, or a table lacks a column or a value,
        or names a file that is missing.
    """
    found: list[ListedSound] = []
    for name in names:
        table = Path(name) / TABLE
        if table.is_file():
            found += _listed(table, columns)
        else:
            found += [ListedSound(p, p.resolve().parent.name) for p in audio_below(name)]
    return found


def audio_below(name: str) -> list[Path]:
    """List a file, or all audio below a folder, sorted.

    Raises
    ------
    DatasetError
        If it is missing, or holds none.
    """
    path = Path(name)
    if not path.is_dir():
        if not path.is_file():
            raise DatasetError(f"'{name}' is missing: name audio files, or folders of them")
        return [path]
    found = audio_files(path)
    if not found:
        raise DatasetError(f"no audio file ({', '.join(AUDIO_SUFFIXES)}) in '{name}'")
    return found


def _listed(table: Path, columns: Sequence[str]) -> list[ListedSound]:
    found = []
    for line, row in enumerate(read_table(table, ("file", *columns)), 2):
        empty = [column for column in ("file", *columns) if not row[column].strip()]
        if empty:
            raise DatasetError(f"'{table}': line {line} has no {empty[0]}: fill it in")
        path = table.parent / row["file"]
        if not path.is_file():
            raise DatasetError(
                f"'{table}': line {line}: '{row['file']}' is missing: put it there, or delete the "
                "line"
            )
        found.append(
            ListedSound(
                path,
                row.get("kind") or path.resolve().parent.name,
                row.get("label", ""),
                row.get("recording", ""),
                row.get("licence", ""),
                row.get("author", ""),
                row.get("source", ""),
                _doubts(row.get("may_contain", ""), f"'{table}': line {line}"),
                row.get("fold", ""),
            )
        )
    if not found:
        raise DatasetError(f"'{table}' names no recording: add a line for each, or delete it")
    return found


def _doubts(text: str, where: str) -> tuple[Doubt, ...]:
    found = []
    for part in filter(None, text.split(";")):
        match = _DOUBT.fullmatch(part.strip())
        if match is not None:
            label, score, *span = match.groups()
            start, end = (float(span[0]), float(span[1])) if span[0] else (0.0, math.inf)
            if start < end and float(score) <= 1.0:
                found.append(Doubt(label, float(score), start, end))
                continue
        elif part.strip() == UNVETTED:
            found.append(Doubt(UNVETTED, 1.0))
            continue
        raise DatasetError(
            f"{where}: may_contain '{part}' is not label:score@start-end (the score at most 1, "
            "seconds) or label:score, with ';' between two"
        )
    return tuple(found)
