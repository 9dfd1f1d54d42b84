"""Label recordings: by their tables, and by a teacher that has heard them.

``python -m otic_training.everyday.labelling TEACHER ESC-10 FOLDER … --out labels.csv``. TEACHER
is packed by ``otic pack`` with the classes of AudioSet and a hop as long as its window. The file
has a line for each recording, with the labels that are true of it and those in doubt; it may be
corrected by hand. Where table and teacher disagree strongly, the recording is left out. Made speech
and music are what their tables say; made signals count where the teacher takes them for such.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.model.bundle import load_bundle
from otic.system.log import start_logging
from otic_training.cli.progress import say
from otic_training.data.cache import default_store
from otic_training.data.sound_tables import ListedSound
from otic_training.data.tables import read_table
from otic_training.everyday.table import Label, everyday_labels, mapped
from otic_training.everyday.tagged import recordings, said_of

SURE = 0.5
"""The teacher's highest score from which on a label that is ``taught`` is true."""
DOUBT, DOUBT_BESIDE = 0.1, 0.3
"""From which on another label is in doubt: by itself, and beside a true one."""
DENIED = 0.02
"""Below this the teacher denies a label; with ``SURE`` of another one, that is a disagreement."""

MADE, SIGNAL = "made", "signal"
"""Fold of what was made here, and its kind of which the teacher tells if it turned out well."""
_ABOUT = ("path", "kind", "label", "recording", "licence", "author", "source", "fold")
_COLUMNS = (*_ABOUT, "true", "doubt", "teacher")


@dataclass(frozen=True)
class Labelled:
    """A recording, names of the labels that are true of it, and of those in doubt."""

    sound: ListedSound
    true: tuple[str, ...]
    doubt: tuple[str, ...]


def judge(
    truths: NDArray[np.bool_], peaks: NDArray[np.float32], taught: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], bool]:
    """Decide which labels are true of a recording and which in doubt.

    Parameters
    ----------
    truths : bool [n_labels]
        By its table.
    peaks : float32 [n_labels]
        The teacher's highest scores.
    taught : bool [n_labels]
        Labels of which the teacher is believed.

    Returns
    -------
    true, doubt : bool [n_labels]
    disagreed : bool
        The teacher denies all that the table says, and is sure of something else.
    """
    true = truths | (taught & (peaks >= SURE))
    doubt = ~true & (peaks >= (DOUBT_BESIDE if truths.any() else DOUBT))
    denied = truths.any() and (peaks[truths] < DENIED).all()
    return true, doubt, bool(denied and (peaks[~truths] >= SURE).any())


def write_labels(
    path: Path,
    sounds: Sequence[ListedSound],
    said: Sequence[NDArray[np.float32]],
    classes: Sequence[str],
    labels: Sequence[Label],
) -> list[str]:
    """Write a line for each recording; returns the disagreements, which are left out.

    Parameters
    ----------
    path : Path
    sounds : sequence of ListedSound
    said : sequence of float32 [n_windows, n_classes]
    classes : sequence of str
    labels : sequence of Label
    """
    names = np.array([label.name for label in labels])
    taught = np.array([label.taught for label in labels])
    rows, disagreements = [], []
    for sound, scores in zip(sounds, said, strict=True):
        truths = np.array([label.is_truth_of(sound) for label in labels])
        peaks = mapped(scores, classes, labels).max(0)
        true, doubt, disagreed = judge(truths, peaks, taught)
        top = ", ".join(
            f"{classes[i]} {scores[:, i].max():.2f}" for i in np.argsort(-scores.max(0))[:3]
        )
        if sound.kind == SIGNAL and (peaks[truths] < DOUBT).all():
            continue
        if disagreed:
            said_to_be = ", ".join(names[truths])
            disagreements.append(f"{sound.path.name}: {said_to_be} by its table; teacher: {top}")
            continue
        about = [str(getattr(sound, column)) for column in _ABOUT]
        rows.append([*about, ";".join(names[true]), ";".join(names[doubt]), top])
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *rows])
    return disagreements


def read_labels(path: Path) -> list[Labelled]:
    """Read what :func:`write_labels` wrote.

    Raises
    ------
    DatasetError
        If it can't be read, or lacks a column.
    """
    found = []
    for row in read_table(path, _COLUMNS):
        about: dict[str, Any] = {name: row[name] for name in _ABOUT[1:]}
        true, doubt = (tuple(filter(None, row[name].split(";"))) for name in ("true", "doubt"))
        found.append(Labelled(ListedSound(Path(row["path"]), **about), true, doubt))
    return found


def main() -> None:
    """Run from a command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("teacher", help="a bundle with the classes of AudioSet")
    parser.add_argument("esc10", help="ESC-10 or ESC-50")
    parser.add_argument("folders", nargs="+", help="folders with a clips.csv")
    parser.add_argument("--made", nargs="+", default=[], help="folders that 'otic negatives' made")
    parser.add_argument("--out", type=Path, default=Path("labels.csv"))
    start_logging()
    a = parser.parse_args()
    teacher = load_bundle(a.teacher)
    sounds = recordings(a.esc10, a.folders)
    made = [replace(sound, fold=MADE) for sound in recordings(None, a.made)]
    made.sort(key=lambda sound: sound.kind != SIGNAL)
    sounds += made
    said = said_of(
        [s for s in sounds if s.fold != MADE or s.kind == SIGNAL], teacher, default_store()
    )
    said += [np.zeros((1, len(teacher.labels)), np.float32)] * (len(sounds) - len(said))
    disagreements = write_labels(a.out, sounds, said, teacher.labels, everyday_labels())
    for line in (f"{len(sounds)} recordings; left out: {len(disagreements)}", *disagreements):
        say(line)


if __name__ == "__main__":
    main()
