"""Windows of a data set: those to train on and those to test on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otic.errors import OticError
from otic_training.cli.progress import progress, say
from otic_training.data.cache import feature_code, key_of
from otic_training.data.dataset import Clip, DatasetError
from otic_training.data.negatives import NEGATIVE_FOLD, NEGATIVE_LABEL
from otic_training.data.windows import Windows, clip_windows, read_clip, with_room
from otic_training.experiment import Experiment
from otic_training.networks.presets import Passes

_F32 = NDArray[np.float32]
_I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Prepared:
    """A data set as windows.

    Attributes
    ----------
    labels : tuple of str
    target, fold : int64 [n_clips]
        Index into ``labels`` and fold of each clip that could be used. Negatives have
        ``len(labels)`` and ``NEGATIVE_FOLD``.
    beside : int64 [n_clips]
        For a negative, the fold of the clips of the same recording: it is not trained on
        while they are tested. ``NEGATIVE_FOLD`` where there are none, and for other clips.
    left_out : int
        Clips that could not be used.
    key : str
        Stands for all that the windows were made from.
    audio : tuple of float32 [n]
        The clips' samples, for presets that draw their windows; else empty.
    train : Windows
        For presets that take them once; else empty.
    test : Windows
        At the live pace. On a base model: its embeddings of them.
    embeddings : tuple of float32 [n, 1024]
        The teacher's, of each clip, where there is one and the preset draws windows.
    negatives : tuple of Clip
        The negatives that could be used.
    untrained : tuple of int
        Indices of clips that are tested on and, by their licence, not trained on.
    """

    labels: tuple[str, ...]
    target: _I64
    fold: _I64
    beside: _I64
    left_out: int
    key: str
    audio: tuple[_F32, ...]
    train: Windows
    test: Windows
    embeddings: tuple[_F32, ...] = ()
    negatives: tuple[Clip, ...] = ()
    untrained: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Taken:
    key: str
    train: _F32
    test: _F32
    audio: _F32 | None = None
    embeddings: _F32 | None = None


def prepare(experiment: Experiment) -> Prepared:
    """Read all clips and take their windows; clips that can't be used are listed and left out.

    Raises
    ------
    DatasetError
        If a label has no clip in some fold that can be read and is as long as the window.
    """
    dataset, preset = experiment.dataset, experiment.preset
    clips = [*dataset.clips, *experiment.negatives]
    beside = " and negatives" if experiment.negatives else ""
    say(f"reading {len(clips)} clips of {dataset.name}{beside}")
    kept: list[Clip] = []
    taken: list[_Taken] = []
    code = feature_code()
    with progress("clips", len(clips)) as advance:
        for clip in clips:
            try:
                taken.append(_take(clip, experiment, code))
                kept.append(clip)
            except OticError as error:
                say(f"left out: {error}")
            advance(1)
    if len(kept) < len(clips):
        say(f"{len(clips) - len(kept)} of {len(clips)} clips are left out")
    absent = {(c.label, c.fold) for c in dataset.clips} - {(c.label, c.fold) for c in kept}
    if absent:
        label, fold = min(absent)
        raise DatasetError(
            f"all clips of '{label}' in fold {fold} had to be left out: they can't be read, or "
            f"are shorter than {preset.name}'s window of {preset.features.window_seconds:.2f} s"
        )
    index = {label: i for i, label in enumerate((*dataset.labels, NEGATIVE_LABEL))}
    target = np.array([index[clip.label] for clip in kept])
    fold_of = np.array([clip.fold for clip in kept])
    folds = {clip.recording: clip.fold for clip in dataset.clips}
    beside_fold = [
        folds.get(clip.recording, NEGATIVE_FOLD) if clip.fold == NEGATIVE_FOLD else NEGATIVE_FOLD
        for clip in kept
    ]
    untrained = tuple(i for i, clip in enumerate(kept) if clip.tested_only)
    sides = [target.tolist(), fold_of.tolist(), beside_fold, untrained]
    return Prepared(
        labels=dataset.labels,
        target=target,
        fold=fold_of,
        beside=np.array(beside_fold),
        left_out=len(dataset.clips) - int((target < len(dataset.labels)).sum()),
        key=key_of([t.key for t in taken], *sides, dataset.labels),
        audio=tuple(t.audio for t in taken if t.audio is not None),
        train=_joined([t.train for t in taken]),
        test=_joined([t.test for t in taken]),
        embeddings=tuple(t.embeddings for t in taken if t.embeddings is not None),
        negatives=tuple(clip for clip in kept if clip.fold == NEGATIVE_FOLD),
        untrained=untrained,
    )


def _take(clip: Clip, experiment: Experiment, code: bytes) -> _Taken:
    """Take a clip's windows, from the store where they are there."""
    preset, store, base = experiment.preset, experiment.store, experiment.base
    p, passes = preset.features, preset.windows
    taken_once = isinstance(passes, Passes)
    try:
        content = clip.path.read_bytes()
    except OSError as error:
        raise DatasetError(f"can't read '{clip.path}': {error.strerror}") from error
    negative = clip.fold == NEGATIVE_FOLD
    how = (passes, experiment.seed) if taken_once else None
    key = key_of(content, p, how, preset.inference_hop_frames, code, negative, clip.channel)
    if base is not None:
        key = key_of(key, base.key)
    known = store.load(key) or {}
    if taken_once and known.keys() == {"train", "test"}:
        return _Taken(key, _f32(known["train"]), _f32(known["test"]))
    y = read_clip(clip, p.sr)
    if negative:
        y = with_room(y, p)
    # A clip shorter than the window can't fill it live either.
    if len(y) < p.window_samples:
        raise DatasetError(
            f"'{clip.path}' has {len(y) / p.sr:.2f} s, "
            f"less than the window of {p.window_seconds:.2f} s"
        )
    if isinstance(passes, Passes):
        rng = np.random.default_rng([experiment.seed, int(key_of(content)[:8], 16)])
        train = clip_windows([y], p, passes.hop_frames, passes.gains_db, rng).x
        test = clip_windows([y], p, preset.inference_hop_frames).x
        store.save(key, {"train": train, "test": test})
        return _Taken(key, train, test)
    if "test" not in known:
        test = clip_windows([y], p, preset.inference_hop_frames).x
        known = {"test": test if base is None else base.embeddings(test)}
        store.save(key, known)
    test = _f32(known["test"])
    none = np.zeros((0, test.shape[1]), np.float32)
    teacher = experiment.teacher
    if teacher is None:
        return _Taken(key, none, test, y)
    embedded = key_of(content, p.sr, teacher.key, code, teacher.code, negative, clip.channel)
    found = store.load(embedded) or {}
    if "embeddings" not in found:
        found = {"embeddings": teacher.embeddings(y, p.sr)}
        store.save(embedded, found)
    return _Taken(key_of(key, teacher.key), none, test, y, _f32(found["embeddings"]))


def _f32(array: NDArray[np.generic]) -> _F32:
    return np.asarray(array, np.float32)


def _joined(parts: list[_F32]) -> Windows:
    counts = [len(part) for part in parts]
    return Windows(np.concatenate(parts), np.repeat(np.arange(len(parts)), counts))
