"""Labelled clips with official folds."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from realtime.errors import OticError

_ESC_COLUMNS = {"filename", "fold", "category", "esc10"}


class DatasetError(OticError):
    """A data set is missing, or is not laid out as expected."""


@dataclass(frozen=True)
class Clip:
    """One labelled recording; clips of one original recording share a fold."""

    path: Path
    label: str
    fold: int


@dataclass(frozen=True)
class Dataset:
    """Clips, and what a model card must say of them."""

    name: str
    license: str
    clips: tuple[Clip, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, sorted."""
        return tuple(sorted({clip.label for clip in self.clips}))

    @property
    def folds(self) -> tuple[int, ...]:
        """All folds, sorted."""
        return tuple(sorted({clip.fold for clip in self.clips}))


def load_dataset(folder: str) -> Dataset:
    """Read a folder in ESC-50's layout: ``meta/esc50.csv`` and ``audio/``.

    Raises
    ------
    DatasetError
        If the folder or its metadata is missing or incomplete, a clip is
        missing, or there are fewer than two labels or folds.
    """
    root = Path(folder)
    meta = root / "meta" / "esc50.csv"
    if not meta.is_file():
        raise DatasetError(
            f"'{folder}' has no meta/esc50.csv: give a folder in ESC-50's layout "
            "(meta/esc50.csv and audio/)"
        )
    try:
        with meta.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"can't read '{meta}' as CSV in UTF-8: {error}") from error
    missing = _ESC_COLUMNS - set(reader.fieldnames or [])
    if missing:
        raise DatasetError(f"'{meta}' lacks the columns {', '.join(sorted(missing))}")
    short = [number for number, row in enumerate(rows, 2) if None in row.values()]
    if short:
        raise DatasetError(f"'{meta}': line {short[0]} has too few columns")
    try:
        clips = tuple(
            Clip(root / "audio" / row["filename"], row["category"], int(row["fold"]))
            for row in rows
        )
    except ValueError as error:
        raise DatasetError(f"'{meta}': a fold is not a whole number ({error})") from error
    absent = [clip.path.name for clip in clips if not clip.path.is_file()]
    if absent:
        raise DatasetError(
            f"'{root / 'audio'}' lacks {len(absent)} of {len(clips)} clips, {absent[0]} first"
        )
    only_esc10 = bool(rows) and all(row["esc10"] == "True" for row in rows)
    dataset = Dataset(*(_ESC10 if only_esc10 else _ESC50), clips)
    if len(dataset.labels) < 2 or len(dataset.folds) < 2:
        raise DatasetError(
            f"'{meta}' names {len(dataset.labels)} labels and {len(dataset.folds)} folds: "
            "at least two of each are needed"
        )
    return dataset


_SOURCE = 'K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM MM 2015'
_ESC10 = (
    "ESC-10",
    f"model: Apache-2.0; trained on ESC-10 (CC BY 3.0): {_SOURCE}; recordings by the "
    "freesound.org users that the data set credits",
)
_ESC50 = (
    "ESC-50",
    f"model: non-commercial use only; trained on ESC-50 (CC BY-NC 3.0): {_SOURCE}",
)
