"""From a data set to windows: those to train on and those to test on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otic.errors import OticError
from otic_training.cli.progress import progress
from otic_training.data.cache import Store, feature_code, key_of
from otic_training.data.dataset import Clip, Dataset, DatasetError
from otic_training.data.negatives import OTHER_FOLD, OTHER_LABEL
from otic_training.data.windows import Passes, Windows, clip_windows, read_clip, with_room
from otic_training.networks.base_model import Base
from otic_training.networks.presets import Preset
from otic_training.networks.teacher import Teacher

_F32 = NDArray[np.float32]
_I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Prepared:
    """A data set as windows.

    Attributes
    ----------
    labels : tuple of str
    target, fold : int64 [n_clips]
        Of each clip that could be used: its index into ``labels``, its fold. Sounds
        without a label have ``len(labels)`` and ``OTHER_FOLD``.
    beside : int64 [n_clips]
        Of each sound without a label: the fold of the clips of the same recording, which is
        not to be tested while it is trained on. ``OTHER_FOLD``: there are none; also for the rest.
    left_out : int
        Clips that could not be.
    key : str
        Stands for all that the windows were made from.
    audio : tuple of float32 [n]
        The clips' samples, for presets that draw their windows; else empty.
    train : Windows
        For presets that take them once; else empty.
    test : Windows
        At the live pace. On a base model: its embeddings of them.
    others : tuple of Clip
        The sounds without a label that could be used.
    teacher : tuple of float32 [n, 1024]
        Its embeddings of the clips, where there is one and the preset draws windows.
    base : Base, optional
        What the model is to be a head on.
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
    teacher: tuple[_F32, ...]
    others: tuple[Clip, ...] = ()
    base: Base | None = None


@dataclass(frozen=True)
class _Taken:
    key: str
    train: _F32
    test: _F32
    audio: _F32 | None
    heard: _F32 | None


def prepare(
    dataset: Dataset,
    preset: Preset,
    seed: int,
    tell: Callable[[str], None],
    store: Store,
    teacher: Teacher | None = None,
    others: Sequence[Clip] = (),
    base: Base | None = None,
) -> Prepared:
    """Read all clips and take their windows; what has to be left out is told, clip by clip.

    ``others`` are recordings without a label, see
    :func:`otic_training.data.negatives.other_clips`.

    Raises
    ------
    DatasetError
        If a label has no clip in some fold that can be read and is as long as the window.
    """
    clips = [*dataset.clips, *others]
    tell(f"reading {len(clips)} clips of {dataset.name}" + (" and other sounds" if others else ""))
    kept: list[Clip] = []
    taken: list[_Taken] = []
    code = feature_code()
    with progress("clips", len(clips)) as advance:
        for clip in clips:
            try:
                taken.append(_take(clip, preset, seed, store, code, teacher, base))
                kept.append(clip)
            except OticError as error:
                tell(f"left out: {error}")
            advance(1)
    if len(kept) < len(clips):
        tell(f"{len(clips) - len(kept)} of {len(clips)} clips are left out")
    absent = {(c.label, c.fold) for c in dataset.clips} - {(c.label, c.fold) for c in kept}
    if absent:
        label, fold = min(absent)
        raise DatasetError(
            f"all clips of '{label}' in fold {fold} had to be left out: they can't be read, or "
            f"are shorter than {preset.name}'s window of {preset.features.window_seconds:.2f} s"
        )
    index = {label: i for i, label in enumerate((*dataset.labels, OTHER_LABEL))}
    target = np.array([index[clip.label] for clip in kept])
    fold_of = np.array([clip.fold for clip in kept])
    folds = {clip.recording: clip.fold for clip in dataset.clips}
    beside = [
        folds.get(clip.recording, OTHER_FOLD) if clip.fold == OTHER_FOLD else OTHER_FOLD
        for clip in kept
    ]
    sides = [target.tolist(), fold_of.tolist(), beside]
    return Prepared(
        labels=dataset.labels,
        target=target,
        fold=fold_of,
        beside=np.array(beside),
        left_out=len(dataset.clips) - int((target < len(dataset.labels)).sum()),
        key=key_of([t.key for t in taken], *sides, dataset.labels),
        audio=tuple(t.audio for t in taken if t.audio is not None),
        train=_joined([t.train for t in taken]),
        test=_joined([t.test for t in taken]),
        teacher=tuple(t.heard for t in taken if t.heard is not None),
        others=tuple(clip for clip in kept if clip.fold == OTHER_FOLD),
        base=base,
    )


def _take(
    clip: Clip,
    preset: Preset,
    seed: int,
    store: Store,
    code: bytes,
    teacher: Teacher | None,
    base: Base | None,
) -> _Taken:
    """A clip's windows, from the store where they are there."""
    p, how = preset.features, preset.windows
    passes = how if isinstance(how, Passes) else None
    try:
        content = clip.path.read_bytes()
    except OSError as error:
        raise DatasetError(f"can't read '{clip.path}': {error.strerror}") from error
    drawn_from = seed if passes is not None else None
    other = clip.fold == OTHER_FOLD
    key = key_of(content, p, passes, preset.inference_hop_frames, drawn_from, code, other)
    if base is not None:
        key = key_of(key, base.key)
    known = store.load(key)
    if known is not None and passes is not None and known.keys() == {"train", "test"}:
        return _Taken(key, _f32(known["train"]), _f32(known["test"]), None, None)
    y = read_clip(clip, p.sr)
    if other:
        y = with_room(y, p)
    # A clip shorter than the window can't fill it live either.
    if len(y) < p.window_samples:
        raise DatasetError(
            f"'{clip.path}' has {len(y) / p.sr:.2f} s, "
            f"less than the window of {p.window_seconds:.2f} s"
        )
    if passes is None:
        test = known["test"] if known is not None and "test" in known else None
        if test is None:
            test = clip_windows([y], p, preset.inference_hop_frames).x
            if base is not None:
                test = base.embeddings(test)
            store.save(key, {"test": test})
        none = np.zeros((0, test.shape[1]), np.float32)
        if teacher is None:
            return _Taken(key, none, _f32(test), y, None)
        heard_key = key_of(content, p.sr, teacher.key, code, teacher.code, other)
        heard = (store.load(heard_key) or {}).get("heard")
        if heard is None:
            heard = teacher.embeddings(y, p.sr)
            store.save(heard_key, {"heard": heard})
        return _Taken(key_of(key, teacher.key), none, _f32(test), y, _f32(heard))
    rng = np.random.default_rng([seed, int(key_of(content)[:8], 16)])
    train = clip_windows([y], p, passes.hop_frames, passes.gains_db, rng).x
    test = clip_windows([y], p, preset.inference_hop_frames).x
    store.save(key, {"train": train, "test": test})
    return _Taken(key, train, test, None, None)


def _f32(array: NDArray[np.generic]) -> _F32:
    return np.asarray(array, np.float32)


def _joined(parts: list[_F32]) -> Windows:
    counts = [len(part) for part in parts]
    return Windows(np.concatenate(parts), np.repeat(np.arange(len(parts)), counts))
