"""``otic train`` without ``--preset``: what fits the amount of data."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from otic.config.values import DEFAULT_MODEL
from otic.errors import OticError, UsageError
from otic.model.bundle import Bundle, load_bundle, save_bundle
from otic_training.cli.progress import say
from otic_training.cli.teach import ask, check_out
from otic_training.data.dataset import Clip, Dataset, listed
from otic_training.experiment import BUDGET_PER_HOUR, read_dataset
from otic_training.networks.presets import STREAM
from otic_training.scoring.reported import Reported, reported, table

if TYPE_CHECKING:
    from otic_training.teaching.folder import Folder
    from otic_training.teaching.teach import Taught

MANY_RECORDINGS = 300
"""From so many on, scenes that are mixed from samples and a larger head are worth their time."""

_OF_PRESETS = ("teacher", "int8", "epochs", "card", "report", "tracker", "test_folds", "any_use")


def train_what_fits(args: argparse.Namespace, command: str) -> int:
    """Fit a small head to few recordings, the preset ``stream`` to many; test, try and write it.

    Raises
    ------
    OticError
        If there is too little to learn from, or the model reports nothing.
    """
    for name in _OF_PRESETS:
        if getattr(args, name):
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is for a preset: name one, such as --preset {STREAM}")
    root = Path(args.dataset)
    name = root.resolve().name
    out = Path(args.out or f"{name}.tflite")
    check_out(name, out)
    args.base = args.base or [DEFAULT_MODEL]
    folder = _folder(args, root, name)
    recordings = len({clip.recording for clip in folder.clips})
    labels = {clip.label for clip in folder.clips}
    if recordings < MANY_RECORDINGS or len(labels) < 2 or find_spec("tensorflow") is None:
        say(
            f"{recordings} recordings of {len(labels)} sounds: a small head on a base that is "
            f"there, as 'otic teach' fits it (the preset {STREAM} takes {MANY_RECORDINGS} or more)"
        )
        _train_head(args, name, folder, out)
    else:
        say(f"{recordings} recordings of {len(labels)} sounds: the preset {STREAM}")
        _train_stream(args, out, command)
    print(f"try it: otic listen --model {shlex.quote(str(out))}")
    return 0


def _folder(args: argparse.Namespace, root: Path, name: str) -> Folder:
    """Read class folders as ``otic teach`` does, or a data set of a known layout."""
    from otic_training.data.layouts import is_official, load_dataset
    from otic_training.data.negatives import negative_clips
    from otic_training.teaching.folder import NONE, Folder, read_folder

    inside = {p.name for p in root.iterdir() if p.is_dir()} if root.is_dir() else set()
    classes = [n for n in args.negatives if n == NONE or (n in inside and n[0] != "_")]
    if args.subset or is_official(root):
        dataset = load_dataset(args.dataset, args.group_regex, args.subset)
        found = Folder(dataset.clips, (), (*dataset.notes, *dataset.warnings))
    else:
        found = read_folder(root, name, classes or None, ask(), args.group_regex)
    others = [n for n in args.negatives if n not in classes]
    labels = sorted({clip.label for clip in found.clips})
    negatives = (*found.negatives, *negative_clips(others, labels, False))
    return Folder(
        tuple(replace(clip, channel=args.channel) for clip in found.clips),
        tuple({clip.path.resolve(): clip for clip in negatives}.values()),
        found.notes,
    )


def _train_head(args: argparse.Namespace, name: str, folder: Folder, out: Path) -> None:
    from otic_training.base.head import without_head
    from otic_training.teaching import words
    from otic_training.teaching.learn import Plan
    from otic_training.teaching.teach import teach

    if len(args.base) > 1:
        raise UsageError("--base: a small head takes one base")
    for note in folder.notes:
        say(note)
    model = load_bundle(args.base[0])
    plan = Plan(seed=args.seed)
    taught = teach(name, folder, model, False, args.budget or BUDGET_PER_HOUR, plan)
    tried = reported(_held_out(taught, without_head(model)))
    if not _hits(tried):
        _require_hits(reported([(taught.bundle, [sound.clip for sound in taught.sounds])]))
    for line in (*words.summary(taught), "", *words.table(taught), "", *_as_text(tried)):
        print(line)
    for line in words.remarks(taught):
        print(f"- {line}")
    print(
        f"The model that is written has learned from all {len(taught.sounds)} clips; those that "
        "were tested lacked the ones that they were tested on."
    )
    if not words.is_good(taught) or 2 * _hits(tried) < len(taught.sounds):
        print("It is not good enough to rely on: the lines above say what to record more of.")
    save_bundle(out, taught.bundle)
    print(f"wrote {out} ({out.stat().st_size / 1000:.0f} kB)")


def _held_out(taught: Taught, base: Bundle) -> Iterator[tuple[Bundle, list[Clip]]]:
    """Give the model of each test, and the clips that it did not learn from."""
    from otic_training.base.head import join

    for fold, head in enumerate(taught.heads):
        left_out = [s.clip for s, f in zip(taught.sounds, taught.folds, strict=True) if f == fold]
        yield join(base, head, {"data": "taught"}, taught.bundle), left_out


def _train_stream(args: argparse.Namespace, out: Path, command: str) -> None:
    from otic_training.cli.stream import train_streaming_model
    from otic_training.fitting.stream_folds import base_without, open_bases

    dataset = read_dataset(args)
    held_out = [dataset.folds[-1]]
    try:
        base_without(open_bases(args.base), dataset, held_out)
    except OticError:  # the base has heard this very data set; what follows says so
        held_out = []
    train_streaming_model(args, str(out), dataset, held_out, command)
    if held_out:
        clips = [clip for clip in dataset.clips if clip.fold in held_out]
        tried = reported([(load_bundle(out.absolute()), clips)])
        _require_hits(tried)
        for line in _as_text(tried):
            print(line)
    print(_learned_from(dataset, held_out))


def _learned_from(dataset: Dataset, held_out: Sequence[int]) -> str:
    folds = listed([fold for fold in dataset.folds if fold not in held_out])
    if not held_out:
        return f"The model that is written has learned from folds {folds}, which is all."
    return (
        f"The model that is written has learned from folds {folds}, not from fold "
        f"{listed(held_out)}: 'otic train … --preset {STREAM} --test-folds none' learns from all."
    )


def _hits(found: Sequence[Reported]) -> int:
    return sum(each.reported for each in found)


def _require_hits(found: Sequence[Reported]) -> None:
    """Refuse a model that reports nothing.

    Raises
    ------
    OticError
    """
    if not _hits(found):
        raise OticError(
            f"the model reports none of the {sum(each.clips for each in found)} clips that were "
            "played to it, it is of no use: record more of each sound, nearer and louder"
        )


def _as_text(found: Sequence[Reported]) -> list[str]:
    return [
        f"played through the live pipeline to models that had not heard them, {_hits(found)} of "
        f"{sum(each.clips for each in found)} clips were reported:",
        *table(found),
        "",
    ]
