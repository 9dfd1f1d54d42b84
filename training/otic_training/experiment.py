"""Experiment: all that decides which model comes out of a data set."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from otic.errors import OticError, RuntimeMissingError
from otic.system.log import silence_native_stderr
from otic_training.cli.progress import say
from otic_training.data.dataset import Clip, Dataset, DatasetError
from otic_training.networks.presets import STREAM, TUTORIAL, Preset, names_with, preset

if TYPE_CHECKING:  # `otic train --help` imports this module: it need not wait for NumPy
    from otic_training.data.cache import Store
    from otic_training.networks.base_model import Base
    from otic_training.networks.teacher import Teacher

BUDGET_PER_HOUR = 50.0
"""Chosen on validation, see docs/training.md: negatives are the hardest sounds there are."""


@dataclass(frozen=True)
class Experiment:
    """Data, recipe, and everything else that a training depends on.

    Attributes
    ----------
    dataset : Dataset
    preset : Preset
        On a base model, with the base's features.
    seed : int
        Of everything random.
    epochs : int
    store : Store
        Keeps what took long.
    int8 : bool
        Test, and write, a version with 8-bit weights too.
    negatives : tuple of Clip
        Sounds that no label is true of, to be trained as such.
    quiet : tuple of Clip
        More of them, which are not trained on: thresholds are set on these.
    budget_per_hour : float
        False alarms that thresholds may give there, of all labels together.
    teacher : Teacher, optional
        What a small model also learns from.
    base : Base, optional
        What the model is a head on.
    """

    dataset: Dataset
    preset: Preset
    seed: int
    epochs: int
    store: Store
    int8: bool = False
    negatives: tuple[Clip, ...] = ()
    quiet: tuple[Clip, ...] = ()
    budget_per_hour: float = BUDGET_PER_HOUR
    teacher: Teacher | None = None
    base: Base | None = None

    @property
    def tutorial(self) -> Experiment:
        """The tutorial's recipe on the same data, to compare with: it learns from nothing else."""
        recipe = preset(TUTORIAL)
        return Experiment(self.dataset, recipe, self.seed, recipe.epochs, self.store)


def experiment_from(args: argparse.Namespace) -> Experiment:
    """Open all that the arguments of a training command name, before anything slow is done.

    Raises
    ------
    OticError
        If something is missing, or does not go with the preset.
    """
    require_tensorflow()

    from otic_training.data.cache import default_store
    from otic_training.networks.base_model import recipe_on
    from otic_training.networks.teacher import Teacher

    recipe = preset(args.preset)
    int8 = getattr(args, "int8", False)
    if args.teacher is not None and not recipe.distillation_weight:
        raise OticError(
            f"--teacher: {recipe.name} can't learn from one, "
            f"{names_with('distillation_weight')} can"
        )
    if args.negatives and not recipe.none_share:
        raise OticError(
            f"--negatives: {recipe.name} has no output for them; {names_with('none_share')} have"
        )
    if len(args.base) > 1:
        raise OticError(f"--base: {recipe.name} takes one; {STREAM} takes several")
    base = _base(next(iter(args.base), None), recipe, int8)
    dataset = read_dataset(args)
    negatives, quiet = _negatives(args.negatives, dataset, recipe, args.any_use)
    return Experiment(
        dataset=dataset,
        preset=recipe if base is None else recipe_on(base, recipe),
        seed=args.seed,
        epochs=args.epochs or recipe.epochs,
        store=default_store(),
        int8=int8,
        negatives=negatives,
        quiet=quiet,
        budget_per_hour=args.budget or BUDGET_PER_HOUR,
        teacher=None if args.teacher is None else Teacher(args.teacher),
        base=base,
    )


def _base(path: str | None, recipe: Preset, int8: bool) -> Base | None:
    """Open the base model where the preset needs one; fail where it is missing or of no use."""
    if not recipe.on_base:
        if path is not None:
            raise OticError(
                f"--base: {recipe.name} is not built on another model; {names_with('on_base')} is"
            )
        return None
    if path is None:
        raise OticError(
            f"{recipe.name} is a head on another model: name that, --base yamnet.tflite "
            "(YAMNet as TFLite, or a bundle)"
        )
    if int8:
        raise OticError(
            f"--int8: {recipe.name} keeps the base's weights as they are, and the head is hardly "
            "1 % of them; leave it out"
        )
    from otic_training.networks.base_model import Base

    return Base(path)


def _negatives(
    paths: Sequence[str], dataset: Dataset, recipe: Preset, any_use: bool
) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Read negatives: those to train on, and those to set thresholds on."""
    from otic_training.data.negatives import QUIET_SECONDS, negative_clips, split_negatives

    clips = negative_clips(paths, dataset.labels, any_use)
    own = {clip.path.resolve() for clip in dataset.clips}
    both = [clip.path for clip in clips if clip.path.resolve() in own]
    if both:
        raise DatasetError(
            f"--negatives holds {len(both)} clips of the data set itself, '{both[0]}' first: "
            "name other recordings"
        )
    trained, quiet = split_negatives(clips)
    if clips and not quiet:
        say(
            f"the thresholds are {recipe.name}'s: a fifth of the negatives is less than the "
            f"{QUIET_SECONDS / 60:.0f} minutes from which they could be set"
        )
    return tuple(trained), tuple(quiet)


def read_dataset(args: argparse.Namespace) -> Dataset:
    """Read the data set that the arguments name, and say its notes and warnings."""
    from otic_training.data.layouts import load_dataset

    any_use = getattr(args, "any_use", False)
    dataset = load_dataset(args.dataset, args.group_regex, args.subset, any_use)
    for line in (*dataset.notes, *dataset.warnings):
        say(line)
    clips = tuple(replace(clip, channel=args.channel) for clip in dataset.clips)
    return replace(dataset, clips=clips)


def require_tensorflow() -> None:
    """Fail in one line where the extra is missing."""
    if find_spec("tensorflow") is None:
        raise RuntimeMissingError(
            "training needs tensorflow, which is not installed: pip install 'otic[train]'"
        )


def load_tensorflow() -> None:
    """Import TensorFlow, quietly, and for one thread."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silence_native_stderr():
        tf = importlib.import_module("tensorflow")
    # These models are small: several threads wait for one another longer than they work, and
    # take the processor from the thread that makes the next batch. Measured: half the speed.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
