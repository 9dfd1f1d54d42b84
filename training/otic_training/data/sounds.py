"""Banks of sounds for scenes: recordings decoded once and kept in one file."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otic_training.data.dataset import Clip, DatasetError
from otic_training.data.negatives import NEGATIVE_FOLD, NEGATIVE_LABEL
from otic_training.data.scenes import Sound
from otic_training.data.sound_tables import UNVETTED, ListedSound
from otic_training.data.windows import active_part, read_clip

TABLE = "clips.csv"
DOUBT_FROM = 0.3
"""Score in ``may_contain`` from which on a label is in doubt."""
_ESC50 = "ESC-50"
_PEAK = 32000.0
_COLUMNS = ("file", "kind", "recording", "source", "may_contain")


def labelled_sounds(clips: Sequence[Clip], labels: Sequence[str], sr: int) -> list[Sound]:
    """Sounds of a data set, each with the index of its label.

    Raises
    ------
    DatasetError, SourceError
        If a clip can't be read.
    """
    return [
        Sound(_active(clip, sr), clip.label, labels.index(clip.label))
        for clip in clips
        if clip.label in labels
    ]


def negative_sounds(sounds: Sequence[ListedSound], labels: Sequence[str], sr: int) -> list[Sound]:
    """Sounds without a label, with the labels that each may hold: all where nobody knows.

    Raises
    ------
    SourceError
        If a recording can't be read.
    """
    found = []
    for sound in sounds:
        named = {doubt.label for doubt in sound.doubts if doubt.score >= DOUBT_FROM}
        doubt = tuple(i for i, label in enumerate(labels) if named & {label, UNVETTED})
        clip = Clip(sound.path, NEGATIVE_LABEL, NEGATIVE_FOLD, sound.recording)
        found.append(Sound(_active(clip, sr), sound.kind, -1, doubt))
    return found


def listed_sounds(
    folder: Path, labels: Sequence[str], sr: int, without: Collection[str] = (), clean: bool = False
) -> list[Sound]:
    """Sounds without a label, from a folder with a ``clips.csv``.

    Parameters
    ----------
    folder : Path
        Its table has the columns ``file, kind, recording, source, may_contain``; the last
        names labels that a clip may hold, each with a score: ``rain:0.46;dog:1.00``.
    labels : sequence of str
        Those that scenes know: a clip that may hold one of them leaves it in doubt.
    sr : int
    without : collection of str
        Recordings to leave out.
    clean : bool
        Leave out all clips of ESC-50, so that they can test what learned from the others.

    Raises
    ------
    DatasetError
        If the table is missing, or lacks a column.
    SourceError
        If a clip can't be read.
    """
    sounds = list[Sound]()
    for row in table(folder):
        if row["recording"] in without or (clean and of_esc50(row)):
            continue
        found = re.findall(r"(\w+):([\d.]+)", row["may_contain"])
        doubt = tuple(
            labels.index(name)
            for name, score in found
            if name in labels and float(score) >= DOUBT_FROM
        )
        clip = Clip(folder / row["file"], NEGATIVE_LABEL, NEGATIVE_FOLD, row["recording"])
        sounds.append(Sound(_active(clip, sr), row["kind"], -1, doubt))
    return sounds


def table(folder: Path) -> list[dict[str, str]]:
    """The rows of a folder's ``clips.csv``.

    Raises
    ------
    DatasetError
        If it is missing, or lacks a column.
    """
    path = folder / TABLE
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DatasetError(f"can't read '{path}': {error.strerror}") from error
    missing = [name for name in _COLUMNS if rows and name not in rows[0]]
    if missing or not rows:
        what = f"lacks the column '{missing[0]}'" if missing else "lists no clip"
        raise DatasetError(f"'{path}' {what}: it needs {', '.join(_COLUMNS)}")
    return rows


def of_esc50(row: dict[str, str]) -> bool:
    """True for a clip that ESC-50 has, too."""
    return row["source"].startswith(_ESC50) or bool(row.get("fold"))


def _active(clip: Clip, sr: int) -> NDArray[np.int16]:
    """Samples of a clip from where it is not silent, at one level."""
    y = read_clip(clip, sr)
    begin, end = active_part(y, sr)
    y = y[begin:end]
    return np.round(y * (_PEAK / max(float(np.abs(y).max(initial=0.0)), 1e-6))).astype(np.int16)


def save_sounds(path: Path, sounds: Sequence[Sound]) -> None:
    """Write all samples to ``path``, and the rest to a file beside it; each whole or not at all."""
    about = np.array(
        [(len(s.y), s.kind, s.label, ",".join(map(str, s.doubt))) for s in sounds], "U32"
    )
    for target, data in ((_beside(path), about), (path, np.concatenate([s.y for s in sounds]))):
        partial = target.with_suffix(".partial.npy")
        np.save(partial, data)
        partial.replace(target)


def saved_sounds(path: Path) -> list[Sound]:
    """Sounds that :func:`save_sounds` wrote; samples stay in the file until they are used."""
    y, about = np.load(path, mmap_mode="r"), np.load(_beside(path))
    ends = np.cumsum(about[:, 0].astype(np.int64))
    return [
        Sound(y[end - int(n) : end], kind, int(label), tuple(int(i) for i in doubt.split(",") if i))
        for end, (n, kind, label, doubt) in zip(ends.tolist(), about.tolist(), strict=True)
    ]


def _beside(path: Path) -> Path:
    return path.with_name(path.stem + "-about.npy")
