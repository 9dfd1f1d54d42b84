"""What the training commands check before anything slow is done."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Sequence
from importlib.util import find_spec

from otic.errors import OticError, RuntimeMissingError
from otic.system.log import silence_native_stderr
from otic_training.cli.progress import say
from otic_training.data.dataset import Dataset
from otic_training.data.layouts import load_dataset
from otic_training.networks.base_model import Base, recipe_on
from otic_training.networks.presets import Preset, preset
from otic_training.networks.teacher import Teacher


def begin(args: argparse.Namespace) -> tuple[Dataset, Preset]:
    """The data set and the preset; checks the extra and the arguments."""
    require_tensorflow()
    recipe = preset(args.preset)
    if args.teacher is not None and not recipe.lesson_weight:
        raise OticError(f"--teacher: {recipe.name} can't learn from one; logmel-cnn and tiny can")
    if args.other and not recipe.none_share:
        raise OticError(f"--other: {recipe.name} has no output for it; mfcc-mlp and others have")
    base = _base_for(args, recipe)
    return read_dataset(args), recipe if base is None else recipe_on(base, recipe)


def _base_for(args: argparse.Namespace, recipe: Preset) -> Base | None:
    """The base model where the preset needs one; fails where it is missing or of no use."""
    if not recipe.on_base:
        if args.base is not None:
            raise OticError(f"--base: {recipe.name} is not built on another model; yamnet-head is")
        return None
    if args.base is None:
        raise OticError(
            f"{recipe.name} is a head on another model: name that, --base yamnet.tflite "
            "(YAMNet as TFLite, or a bundle)"
        )
    if getattr(args, "int8", False):
        raise OticError(
            f"--int8: {recipe.name} keeps the base's weights as they are, and the head is hardly "
            "1 % of them; leave it out"
        )
    return base_of(args)


def require_tensorflow() -> None:
    """Fail in one line where the extra is missing."""
    if find_spec("tensorflow") is None:
        raise RuntimeMissingError(
            "training needs tensorflow, which is not installed: pip install 'otic[train]'"
        )


def read_dataset(args: argparse.Namespace) -> Dataset:
    """The data set that the arguments name; tells its warnings."""
    dataset = load_dataset(args.dataset, args.group_regex, args.subset)
    for warning in dataset.warnings:
        say(warning)
    return dataset


def load_tensorflow() -> None:
    """Import it, quietly, and for one thread."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silence_native_stderr():
        tf = importlib.import_module("tensorflow")
    # These models are small: several threads wait for one another longer than they work, and
    # take the processor from the thread that makes the next batch. Measured: half the speed.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def teacher_of(args: argparse.Namespace) -> Teacher | None:
    """The teacher that the arguments name, if any."""
    return None if args.teacher is None else Teacher(args.teacher)


def base_of(args: argparse.Namespace) -> Base | None:
    """The base model that the arguments name, if any."""
    return None if args.base is None else Base(args.base)


def some_folds(option: str, text: str, folds: Sequence[int], more: str = "") -> list[int]:
    """Some, but not all, of a data set's folds.

    Raises
    ------
    OticError
        If ``text`` is not that.
    """
    chosen = [int(part) if part.isdecimal() else -1 for part in text.split(",")]
    if not set(chosen) < set(folds):
        raise OticError(
            f"{option} {text} must name some, not all, of the folds {listed(folds)}{more}"
        )
    return sorted(set(chosen))


def listed(folds: Sequence[int]) -> str:
    """For messages."""
    return ", ".join(map(str, folds))
