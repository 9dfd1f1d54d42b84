"""Labelled clips with folds; otic_training.data.layouts reads them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otic.errors import OticError


class DatasetError(OticError):
    """Raised if a data set is missing, or is not laid out as expected."""


@dataclass(frozen=True)
class Clip:
    """One labelled clip; clips of one original recording share a fold.

    ``channel`` is the one to take, counted from 1; None is the mean of all.
    A clip that is ``tested_only`` may be tested on, but its licence keeps it out of training.
    ``licence``, ``author`` and ``source`` are what a table or ESC-50's ``LICENSE`` says of it.
    """

    path: Path
    label: str
    fold: int
    recording: str
    tested_only: bool = False
    licence: str = ""
    author: str = ""
    source: str = ""
    channel: int | None = None


@dataclass(frozen=True)
class Dataset:
    """Clips, and what a model card must say of them.

    ``protocol`` names the folds: official, or made by recording. ``warnings``
    are lines for the person who relies on the figures, ``notes`` for the one who
    made the folder: what was left out, and what was guessed.
    """

    name: str
    license: str
    clips: tuple[Clip, ...]
    protocol: str
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the clips, sorted."""
        return tuple(sorted({clip.label for clip in self.clips}))

    @property
    def folds(self) -> tuple[int, ...]:
        """Folds of the clips, sorted."""
        return tuple(sorted({clip.fold for clip in self.clips}))

    def learned(self, folds: Collection[int]) -> list[Clip]:
        """Clips of some folds that may be learned from."""
        return [clip for clip in self.clips if clip.fold in folds and not clip.tested_only]

    def some_folds(self, option: str, text: str, more: str = "") -> list[int]:
        """Read the numbers of some, but not all, of the folds, ``1,2``.

        Raises
        ------
        OticError
            If ``text`` is anything else; ``more`` ends the message.
        """
        chosen = [int(part) if part.isdecimal() else -1 for part in text.split(",")]
        if not set(chosen) < set(self.folds):
            raise OticError(
                f"{option} {text} must name some, not all, of the folds {listed(self.folds)}{more}"
            )
        return sorted(set(chosen))


def listed(folds: Sequence[int]) -> str:
    """Join the numbers of folds for a message."""
    return ", ".join(map(str, folds))


def same_data(a: str, b: str) -> bool:
    """Tell by their names if two data sets share clips: ESC-10 is a part of ESC-50."""
    return a == b or {a, b} == {"ESC-10", "ESC-50"}


def trained_folds(provenance: Mapping[str, Any], dataset: Dataset) -> list[int]:
    """List the folds that a model was trained on, by its provenance, its base's with them."""
    base = provenance.get("base")
    found = set[int]()
    for part in (provenance, base if isinstance(base, Mapping) else {}):
        if same_data(str(part.get("data")), dataset.name):
            found |= {fold for fold in dataset.folds if fold in (part.get("folds") or ())}
    return sorted(found)
