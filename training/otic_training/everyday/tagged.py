"""What a model of AudioSet's classes says of recordings, window by window, kept in the store."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from otic.model.bundle import Bundle
from otic.model.classifier import Classifier
from otic_training.cli.progress import progress
from otic_training.data.cache import Store, feature_code, key_of
from otic_training.data.dataset import Clip
from otic_training.data.layouts import load_dataset
from otic_training.data.licences import for_any_use
from otic_training.data.negatives import NEGATIVE_FOLD
from otic_training.data.sound_tables import ListedSound, sounds_of
from otic_training.data.sounds import active_samples
from otic_training.scoring.predictions import predictions_of

F32 = NDArray[np.float32]

MOST_SECONDS = 30.0
"""What is taken of a recording, from where it is no longer silent."""
WINDOWS = 3
"""As many windows of a recording are scored, evenly spread."""


def recordings(esc10: str | None, folders: Sequence[str]) -> list[ListedSound]:
    """List what may be learned from: clips of ESC-10, by fold, and what the tables of folders name.

    ``recording`` is Freesound's number where that is known.

    Raises
    ------
    DatasetError
        If something is missing.
    """
    clips = list[Clip]()
    if esc10 is not None:
        dataset = load_dataset(esc10, None, "esc10")
        clips = dataset.learned(dataset.folds)
    found = [
        ListedSound(
            clip.path,
            "esc10",
            clip.label,
            clip.recording,
            clip.licence,
            clip.author,
            clip.source,
            fold=str(clip.fold),
        )
        for clip in clips
    ]
    listed = sounds_of(folders, ("licence",))
    return found + [s for s in listed if for_any_use(s.licence) or s.licence.startswith("any use")]


def group_of(sound: ListedSound) -> str:
    """Name the original recording, Freesound's number alone where it is one."""
    return re.sub(r"^fs(?=\d+$)", "", sound.recording) or sound.path.name


def clip_of(sound: ListedSound) -> Clip:
    """Turn a line of a table into a clip."""
    return Clip(
        sound.path,
        sound.label,
        NEGATIVE_FOLD,
        group_of(sound),
        licence=sound.licence,
        author=sound.author,
        source=sound.source,
    )


def taken(sound: ListedSound, sr: int) -> NDArray[np.int16]:
    """Read the first ``MOST_SECONDS`` of a recording's active part, at one level.

    Raises
    ------
    DatasetError, SourceError
        If it can't be read.
    """
    return active_samples(clip_of(sound), sr)[: round(MOST_SECONDS * sr)]


def said_of(sounds: Sequence[ListedSound], tagger: Bundle, store: Store) -> list[F32]:
    """Let a model score recordings.

    Parameters
    ----------
    sounds : sequence of ListedSound
    tagger : Bundle
        Packed by ``otic pack``, with a hop as long as its window.
    store : Store

    Returns
    -------
    list of float32 [n_windows, n_classes]
        From 0 to 1.
    """
    classifier, found = Classifier(tagger), []
    about = key_of(tagger.model, tagger.interface, MOST_SECONDS, WINDOWS, feature_code())
    with progress("recordings", len(sounds)) as advance:
        for sound in sounds:
            key = key_of("tagged", about, sound.path.read_bytes())
            kept = store.load(key)
            if kept is None:
                y = taken(sound, tagger.features.sr).astype(np.float32) / np.float32(32768.0)
                y = spread_windows(y, tagger.features.window_samples)
                scores = predictions_of(tagger, classifier, y).scores
                kept = {"scores": scores.astype(np.float16)}
                store.save(key, kept)
            found.append(kept["scores"].astype(np.float32))
            advance(1)
    return found


def spread_windows(y: F32, n: int) -> F32:
    """Take up to ``WINDOWS`` windows, evenly spread; zeros fill one that is too short."""
    count = int(np.clip(round(len(y) / n), 1, WINDOWS))
    y = np.pad(y, (0, max(0, n - len(y))))
    starts = np.linspace(0, len(y) - n, count).astype(int)
    return np.concatenate([y[start : start + n] for start in starts])
