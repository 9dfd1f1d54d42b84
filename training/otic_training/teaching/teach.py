"""From clips to a bundle: read, test, fit on everything, and put the head on the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from otic import __version__
from otic.errors import OticError
from otic.model.bundle import Bundle
from otic.model.streaming import HEAD
from otic_training.base.head import (
    BaseFrames,
    Head,
    add_head,
    join,
    stream_decision,
    without_head,
)
from otic_training.cli.progress import progress, say
from otic_training.data.dataset import Clip
from otic_training.data.negatives import license_on
from otic_training.teaching import assess as tests
from otic_training.teaching.assess import Assessment, assess
from otic_training.teaching.clips import Sound, alike, read_sound
from otic_training.teaching.folder import Folder
from otic_training.teaching.learn import (
    STEPS,
    Plan,
    Projection,
    examples_of,
    fold_of,
    hear,
    quiet_examples,
)
from otic_training.teaching.mixing import Example, Mixer, power_of
from otic_training.teaching.recorded import is_take
from otic_training.teaching.sketches import Sketch, load_sketches

BUDGET_PER_HOUR = 10.0
"""False alarms an hour of other sounds, one after the other: a home has far fewer of them."""
FEWEST = 2
"""Recordings of a sound that are needed at least."""
_NEVER_ON = 0.9
_ROOM_SECONDS = 10.0


@dataclass(frozen=True)
class Taught:
    """What came of it.

    Attributes
    ----------
    bundle : Bundle
        Not written yet.
    sounds : tuple of Sound
    assessment : Assessment
    doubles : tuple of (int, int)
        Numbers of sounds that are one recording.
    unread : tuple of str
        Why clips were left out.
    room_seconds : float
        Of the person's own negatives.
    folds : tuple of int
        In which test each sound was left out.
    heads : tuple of Head
        The head of each test.
    """

    bundle: Bundle
    sounds: tuple[Sound, ...]
    assessment: Assessment
    doubles: tuple[tuple[int, int], ...]
    unread: tuple[str, ...]
    room_seconds: float
    folds: tuple[int, ...]
    heads: tuple[Head, ...]


def teach(
    name: str, folder: Folder, model: Bundle, into: bool, budget_per_hour: float, plan: Plan
) -> Taught:
    """Teach the sounds of a folder.

    Parameters
    ----------
    name : str
        Of the bundle.
    folder : Folder
    model : Bundle
        A streaming model; its base is taken, and ``into`` it all its labels.
    into : bool
    budget_per_hour : float
        False alarms on negatives, of all new labels together.
    plan : Plan

    Raises
    ------
    OticError
        If there are too few recordings, or the model has no base or has one of the labels.
    """
    base = BaseFrames(without_head(model))
    assert model.stream is not None
    if into:
        early = int(model.stream.parts.get(HEAD, {}).get("early_steps", 0))
        plan = replace(plan, early_steps=early)
    sounds, unread = _read(folder.clips, base)
    labels = tuple(sorted({sound.clip.label for sound in sounds}))
    if into and (both := set(labels) & set(model.labels)):
        raise OticError(f"'{model.name}' has a label '{min(both)}' already: rename the folder")
    same = [pair for pair in alike(sounds) if not all(is_take(sounds[i].clip.path) for i in pair)]
    folds = fold_of(sounds, same, plan.folds)
    _check_enough(sounds, folds, labels)
    n_folds = max(folds) + 1
    rooms, room_seconds = _rooms(folder.negatives, base, n_folds)
    sketches = without_labels(load_sketches(base.base.features), labels)
    mixer = Mixer(
        examples_of(sounds, folds, labels),
        quiet_examples(sketches, n_folds),
        rooms,
        base.base.features,
        base.base.features.window_frames + (STEPS - 1) * base.base.inference_hop_frames,
        n_folds,
        plan.seed,
    )
    known, quiet = hear(mixer, base, plan, len(labels))
    projection = Projection((known, quiet), base.step_seconds, plan.axes)
    decision = stream_decision(len(labels), model.stream.delay_seconds, _NEVER_ON)
    found, heads = assess(
        known, quiet, projection, sounds, folds, base, labels, decision, budget_per_hour, plan
    )
    head = projection.fit_without(None, plan.fit)
    about = {"data": "taught", "early_steps": plan.early_steps, "fit": asdict(plan.fit)}
    named = replace(
        model,
        name=name,
        license=license_on("model: as the clips that it was taught", model.name, model.license),
    )
    learned = {
        "data": "taught",
        "clips": {label: sum(s.clip.label == label for s in sounds) for label in labels},
        "scenes": plan.scenes + plan.quiet,
        "seed": plan.seed,
        "versions": {"otic": __version__},
    }
    if into:
        whole = add_head(model, head, about, _added(named, labels, found, learned))
    else:
        provenance = {
            **learned,
            "weights": model.provenance.get("weights", "float32"),
            "base": {"name": base.base.name, **base.base.provenance},
        }
        alone = replace(
            named,
            labels=labels,
            groups={},
            decision=found.decision,
            accuracy=accuracy_of(found),
            provenance=provenance,
        )
        whole = join(base.base, head, about, alone)
    return Taught(
        whole,
        tuple(sounds),
        found,
        tuple(same),
        tuple(unread),
        room_seconds,
        tuple(folds),
        heads,
    )


def _added(
    model: Bundle, labels: tuple[str, ...], found: Assessment, learned: dict[str, object]
) -> Bundle:
    """Describe a model that has more labels now: behind its own, and before its groups."""
    n = len(model.model_labels)

    def between(old: tuple[float, ...], new: tuple[float, ...]) -> tuple[float, ...]:
        return (*old[:n], *new, *old[n:])

    old, new = model.decision, found.decision
    return replace(
        model,
        labels=(*model.model_labels, *labels, *model.groups),
        decision=replace(
            old,
            on_thresholds=between(old.on_thresholds, new.on_thresholds),
            off_thresholds=between(old.off_thresholds, new.off_thresholds),
        ),
        accuracy={**model.accuracy, "taught": accuracy_of(found)},
        provenance={**model.provenance, "taught": learned},
    )


def accuracy_of(found: Assessment) -> dict[str, object]:
    """Figures as a bundle keeps them."""
    return {
        "protocol": f"{sum(each.clips for each in found.labels)} clips, recordings left out "
        f"({found.folds} tests), scenes at {tests.HEARD_FROM_DB:g} to 25 dB",
        "clips": round(found.accuracy, 4),
        "precision": round(found.precision, 4),
        "recall": {each.label: round(each.recall, 4) for each in found.labels},
        "alarms_per_hour": round(sum(each.alarms_per_hour for each in found.labels), 2),
    }


def without_labels(sketches: Sequence[Sketch], labels: Sequence[str]) -> list[Sketch]:
    """Leave out sketches that are named as a label is: 'door knock' for 'door_knock' or 'knock'."""
    words = [set(label.lower().replace("_", " ").split()) for label in labels]

    def named(sketch: Sketch) -> bool:
        own = set(sketch.label.lower().replace("_", " ").split())
        return any(label and (label <= own or (own and own <= label)) for label in words)

    return [sketch for sketch in sketches if not named(sketch)]


def _read(clips: Sequence[Clip], base: BaseFrames) -> tuple[list[Sound], list[str]]:
    sounds, unread = list[Sound](), list[str]()
    with progress("clips", len(clips)) as advance:
        for clip in clips:
            try:
                sounds.append(read_sound(clip, base.base.features))
            except OticError as error:
                unread.append(str(error))
                say(f"left out: {error}")
            advance(1)
    return sounds, unread


def _check_enough(sounds: Sequence[Sound], folds: Sequence[int], labels: Sequence[str]) -> None:
    if not sounds:
        raise OticError("no clip can be read")
    for label in labels:
        n = len({f for s, f in zip(sounds, folds, strict=True) if s.clip.label == label})
        if n < FEWEST:
            raise OticError(
                f"'{label}' has {n} recording: {FEWEST} at least are needed, 10 are better"
            )


def _rooms(clips: Sequence[Clip], base: BaseFrames, n_folds: int) -> tuple[list[Example], float]:
    """Cut a person's own negatives into pieces of ten seconds, by turns in each fold."""
    p, found, seconds = base.base.features, list[Example](), 0.0
    n = round(_ROOM_SECONDS * p.sr / p.hop_length)
    for clip in clips:
        try:
            sound = read_sound(clip, p, known=False)
        except OticError as error:
            say(f"left out: {error}")
            continue
        seconds += len(sound.db) * p.hop_length / p.sr
        for part in np.array_split(sound.db, max(1, len(sound.db) // n)):
            found.append(Example(power_of(part), -1, (), len(found) % n_folds))
    return found, seconds


def relative(clip: Clip, root: Path) -> str:
    """Name a clip below a folder."""
    path = clip.path
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
