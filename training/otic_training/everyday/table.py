"""The table of everyday labels, ``labels.toml``: what each is called, means and is learned from."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic_training.data.dataset import DatasetError
from otic_training.data.sound_tables import ListedSound


@dataclass(frozen=True)
class Label:
    """A label.

    Attributes
    ----------
    name, words : str
        In a log, and for people.
    icon : str
        Of Material Design, as Home Assistant names it after ``mdi:``.
    group : str
        What it can be muted or listened to with.
    classes : tuple of str
        Classes of AudioSet that mean it: its score is the greatest of theirs.
    truths : tuple of str
        Labels of recordings that are truth for it, ``*`` for any letters; ``kind/label`` for
        recordings of one kind.
    taught : bool
        What the teacher is sure of is truth, too.
    """

    name: str
    words: str
    icon: str
    group: str
    classes: tuple[str, ...]
    truths: tuple[str, ...]
    taught: bool

    def is_truth_of(self, sound: ListedSound) -> bool:
        """Tell if the label of a recording's table means this one."""
        named = f"{sound.kind}/{sound.label}"
        return any(
            fnmatchcase(named, truth if "/" in truth else f"*/{truth}") for truth in self.truths
        )


def everyday_labels() -> tuple[Label, ...]:
    """Read the table."""
    table = tomllib.loads(files(__package__).joinpath("labels.toml").read_text(encoding="utf-8"))
    return tuple(
        Label(
            name,
            row["words"],
            row["icon"],
            row["group"],
            tuple(row["classes"]),
            tuple(row["truths"]),
            row.get("taught", False),
        )
        for name, row in table.items()
    )


def groups_of(labels: Sequence[Label]) -> dict[str, tuple[str, ...]]:
    """List each group's labels, without groups of one."""
    names = dict.fromkeys(label.group for label in labels)
    groups = {name: tuple(x.name for x in labels if x.group == name) for name in names}
    return {name: members for name, members in groups.items() if len(members) > 1}


def mapped(
    scores: NDArray[Any], classes: Sequence[str], labels: Sequence[Label]
) -> NDArray[np.float32]:
    """Turn scores of AudioSet's classes into the labels': [..., n_classes] -> [..., n_labels].

    Raises
    ------
    DatasetError
        If a label has no class among them.
    """
    columns = [[classes.index(c) for c in label.classes if c in classes] for label in labels]
    for label, found in zip(labels, columns, strict=True):
        if not found:
            raise DatasetError(f"no class of {label.name} ({', '.join(label.classes)}) is scored")
    return np.stack([scores[..., found].max(-1) for found in columns], -1).astype(np.float32)
