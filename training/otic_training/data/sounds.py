"""Banks of sounds for scenes: recordings decoded once and kept in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otic_training.data.dataset import Clip
from otic_training.data.negatives import NEGATIVE_FOLD, NEGATIVE_LABEL
from otic_training.data.scenes import Sound
from otic_training.data.sound_tables import UNVETTED, ListedSound
from otic_training.data.windows import active_part, read_clip

DOUBT_FROM = 0.3
"""Score in ``may_contain`` from which on a label is in doubt."""
_PEAK = 32000.0


def labelled_sounds(clips: Sequence[Clip], labels: Sequence[str], sr: int) -> list[Sound]:
    """Sounds of a data set, each with the index of its label.

    Raises
    ------
    DatasetError, SourceError
        If a clip can't be read.
    """
    return [
        Sound(active_samples(clip, sr), clip.label, labels.index(clip.label))
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
        found.append(Sound(active_samples(clip, sr), sound.kind, -1, doubt))
    return found


def active_samples(clip: Clip, sr: int) -> NDArray[np.int16]:
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
