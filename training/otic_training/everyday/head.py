"""Fit the head ``everyday`` on a base, from labelled recordings to a bundle with groups.

Scenes are kept in the store and do not depend on the base.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.model.bundle import Bundle, save_bundle
from otic.model.classifier import Classifier, with_golden_cases
from otic_training.base.head import Fit
from otic_training.cli.progress import say
from otic_training.data.cache import Store, default_store, feature_code, key_of
from otic_training.data.dataset import Dataset
from otic_training.data.licences import licence_counts
from otic_training.data.scenes import Recipe, Sound, samples
from otic_training.data.soundscapes import faded
from otic_training.everyday.labelling import MADE, Labelled, read_labels
from otic_training.everyday.table import everyday_labels, groups_of, mapped
from otic_training.everyday.tagged import MOST_SECONDS, clip_of, group_of, taken
from otic_training.fitting.stream import StreamRecipe, open_base, train_stream
from otic_training.scoring.predictions import Predictions, at_thresholds, predictions_of
from otic_training.scoring.thresholds import Room, thresholds

F32 = NDArray[np.float32]

TEST, QUIET, TRAIN = "test", "quiet", "train"
TEST_FOLD = "5"
"""Of ESC-10; its other folds are never tested on, since bases have heard them."""
FEW = 8
"""Of a label with fewer recordings, none is kept for thresholds."""
GOOD = 0.6
"""The average precision from which on a label is shipped."""
RECIPE = StreamRecipe(
    scenes=6000,
    fit=Fit(hidden=88),
    mix=Recipe(
        known_anywhere=True,
        known=(0.1, 0.3, 0.3, 0.2, 0.1),
        others=(0.4, 0.4, 0.2),
    ),
    on_threshold=0.8,
    keep_log_mels=True,
)
BUDGET = 3.0
"""False alarms an hour, of all labels together."""
_TAIL_SECONDS = 4.0  # after a sound, in which its label is no alarm
_LICENSE = (
    "model: Apache-2.0; trained on recordings whose own licence allows any use (CC0, the public "
    "domain, CC BY, Apache-2.0, BSD, MIT) and on sounds made by otic; credits come with the model"
)


def parts_of(labelled: Sequence[Labelled]) -> dict[str, str]:
    """Split whole recordings: a third of every label's to test on, a sixth for thresholds.

    Returns
    -------
    dict of str to str
        :func:`group_of` a recording to ``TEST``, ``QUIET`` or ``TRAIN``.
    """
    groups = dict[str, dict[str, None]]()
    found = dict[str, str]()
    for each in labelled:
        name = group_of(each.sound)
        if each.sound.kind == "esc10":
            found[name] = TEST if each.sound.fold == TEST_FOLD else TRAIN
        elif each.sound.fold == MADE:
            found[name] = TRAIN
        else:
            groups.setdefault((*each.true, "")[0], {})[name] = None
    for names in groups.values():
        free = [name for name in names if name not in found]
        free.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
        for i, name in enumerate(free):
            quiet = i % 6 == 1 and len(free) >= FEW
            found[name] = TEST if i % 3 == 0 else QUIET if quiet else TRAIN
    return found


def sounds_of_labels(
    labelled: Sequence[Labelled], names: Sequence[str], sr: int, store: Store
) -> list[Sound]:
    """Decode recordings, each with the labels among ``names``; those are kept in the store.

    Raises
    ------
    DatasetError, SourceError
        If one can't be read.
    """
    found = []
    for each in labelled:
        key = key_of("taken", feature_code(), MOST_SECONDS, sr, each.sound.path.read_bytes())
        kept = store.load(key)
        if kept is None:
            kept = {"y": taken(each.sound, sr)}
            store.save(key, kept)
        true, doubt = (
            [names.index(n) for n in some if n in names] for some in (each.true, each.doubt)
        )
        found.append(
            Sound(
                kept["y"].astype(np.int16, copy=False),
                each.sound.kind,
                true[0] if true else -1,
                tuple(doubt),
                tuple(true[1:]),
            )
        )
    return found


def heard_labels(
    bundle: Bundle, classifier: Classifier, y: F32, names: Sequence[str]
) -> Predictions:
    """Stream a recording through a model, with its scores of some labels of the table.

    A model that has not all of them is one of AudioSet's classes.
    """
    found = predictions_of(bundle, classifier, y)
    if set(names) <= set(bundle.labels):
        scores = found.scores[:, [bundle.labels.index(name) for name in names]]
    else:
        table = {label.name: label for label in everyday_labels()}
        scores = mapped(found.scores, bundle.labels, [table[name] for name in names])
    return replace(found, labels=tuple(names), scores=scores)


def room_of(bundle: Bundle, sounds: Sequence[Sound], names: Sequence[str]) -> Room:
    """Let a model hear recordings one after the other, without its scores of labels that are true.

    Labels in doubt count as true, and so they do for some seconds after the recording.
    """
    sr = bundle.features.sr
    parts = [faded(samples(sound.y), sr) for sound in sounds]
    found = heard_labels(bundle, Classifier(bundle), np.concatenate(parts), names)
    scores, at = found.scores.copy(), 0
    for sound, part in zip(sounds, parts, strict=True):
        until = at + len(part) + round(_TAIL_SECONDS * sr)
        rows = np.flatnonzero((found.sample >= at) & (found.sample < until))
        for label in (*sound.labels, *sound.doubt):
            scores[rows, label] = 0.0
        at += len(part)
    return Room((replace(found, scores=scores),))


def make(
    labels: Path,
    base: str,
    out: Path,
    budget_per_hour: float,
    held_out: bool = False,
    figures: Path | None = None,
) -> Bundle:
    """Fit a head on a base, set its thresholds on quiet recordings, and write both as one bundle.

    Parameters
    ----------
    labels : Path
        ``labels.csv``.
    base : str
        A base, or a streaming model with one.
    out : Path
        The bundle to write.
    budget_per_hour : float
        False alarms of all labels together.
    held_out : bool
        Leave out what is tested on.
    figures : Path, optional
        Of a held-out head: they go into the bundle, which serves only labels that are good enough.

    Raises
    ------
    OticError
        If something can't be read or written.
    """
    labelled, opened, store = read_labels(labels), open_base(base), default_store()
    parts = parts_of(labelled)
    if not held_out:
        parts = {name: part if part == QUIET else TRAIN for name, part in parts.items()}
    learned, quiet = (
        [each for each in labelled if parts[group_of(each.sound)] == part]
        for part in (TRAIN, QUIET)
    )
    clips = [replace(clip_of(each.sound), label=n) for each in learned for n in each.true]
    dataset = Dataset("everyday", _LICENSE, tuple(clips), "")
    accuracy: dict[str, Any] = {"protocol": "not measured yet"}
    if figures is not None:
        accuracy = good_labels(figures)
    served = [n for n in dataset.labels if n in accuracy.get("labels", dataset.labels)]
    sr = opened.features.sr
    sounds = sounds_of_labels(learned, dataset.labels, sr, store)
    bundle, _ = train_stream(
        out, opened, dataset, (), sounds, (), (), 0, budget_per_hour, store, RECIPE, served
    )
    room = room_of(bundle, sounds_of_labels(quiet, served, sr, store), served)
    say(f"setting thresholds on {60 * room.hours:.0f} min")
    found = thresholds(room, bundle.decision, budget_per_hour, RECIPE.on_threshold)
    decision = at_thresholds(bundle.decision, found)
    licences = licence_counts(clip_of(each.sound) for each in learned)
    provenance = {**bundle.provenance, "licences": licences}
    bundle = replace(bundle, decision=decision, accuracy=accuracy, provenance=provenance)
    bundle = save_bundle(out, with_groups(bundle))
    say(f"wrote {out}, {len(served)} labels")
    return bundle


def good_labels(path: Path) -> dict[str, Any]:
    """Read figures of a held-out head: its protocol, and the labels that are good enough."""
    found = json.loads(path.read_text(encoding="utf-8"))
    measured = next(iter(found["models"].values()))
    good = {n: m for n, m in measured.items() if m["average_precision"] >= GOOD}
    return {"protocol": found["protocol"], "labels": good}


def with_groups(bundle: Bundle) -> Bundle:
    """Add the table's groups, which are never events of their own."""
    groups = groups_of([label for label in everyday_labels() if label.name in bundle.labels])
    never = (1.0,) * len(groups)
    return with_golden_cases(
        replace(
            bundle,
            labels=(*bundle.labels, *groups),
            groups=groups,
            decision=replace(
                bundle.decision,
                on_thresholds=(*bundle.decision.on_thresholds, *never),
                off_thresholds=(*bundle.decision.off_thresholds, *never),
            ),
        )
    )
