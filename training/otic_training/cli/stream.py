"""``otic train`` and ``otic crossval`` with ``--preset stream``: heads on bases."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from otic.errors import OticError
from otic.model.bundle import Bundle, save_bundle
from otic_training.cli.options import fold_model
from otic_training.cli.progress import say
from otic_training.data.cache import default_store
from otic_training.data.dataset import Dataset, listed
from otic_training.experiment import BUDGET_PER_HOUR, load_tensorflow, require_tensorflow
from otic_training.fitting.stream import StreamRecipe
from otic_training.fitting.stream_folds import HeadMaterial, base_without, open_bases
from otic_training.networks.presets import STREAM
from otic_training.reports.cost import cost_of
from otic_training.reports.page import report_folder
from otic_training.reports.report import Report
from otic_training.scoring.clips import stream
from otic_training.scoring.metrics import Figures, Tested

RECIPE = StreamRecipe()


def train_streaming_model(
    args: argparse.Namespace, out: str, dataset: Dataset, test_folds: Sequence[int], command: str
) -> int:
    """Fit a head on the other folds, test it on the held-out ones, and write the bundle.

    On all folds, the figures are those of a cross-validation, where there are bases for it.

    Raises
    ------
    OticError
        If an option does not go with the preset, or something is missing.
    """
    bases = _checked(args)
    if test_folds:
        base_without(bases, dataset, test_folds)
        measured = True
    else:
        measured = _can_be_tested(bases, dataset, required=bool(args.card))
    load_tensorflow()
    material = HeadMaterial.read(dataset, bases, args.negatives, args.any_use)
    tested = list[Tested]()
    if test_folds:
        bundle = _fit(material, args, out, test_folds, args.seed)
        held_out = [clip for clip in dataset.clips if clip.fold in test_folds]
        tested = [stream(bundle, held_out)]
        folds = [fold for fold in dataset.folds if fold not in test_folds]
        protocol = (
            f"{dataset.name}: trained on folds {listed(folds)}, tested on folds "
            f"{listed(list(test_folds))}, through the live pipeline"
        )
    else:
        if measured:
            with tempfile.TemporaryDirectory() as folder:
                tested = _each_fold(material, args, folder, args.seed)
            say("fitting a head on all folds")
        bundle = _fit(material, args, out, (), args.seed)
        protocol = protocol_of(dataset)
    if tested:
        figures = Figures.of(tested, protocol)
        bundle = save_bundle(out, replace(bundle, accuracy=figures.to_dict()))
        print(f"{figures.protocol}:")
        print(figures.line(bundle.name))
        if args.card:
            from otic_training.reports.card import write_card
            from otic_training.reports.credits import write_credits

            learned = [*dataset.learned(dataset.folds), *material.negatives]
            of_base = str(bundle.provenance["base"].get("teacher"))
            owed = write_credits(args.card, learned, teacher="EfficientAT" in of_base)
            write_card(args.card, bundle, command, None, owed)
        if args.report:
            report = Report(
                bundle.name,
                bundle.labels,
                {bundle.name: figures},
                tested,
                cost_of(bundle),
                dataset.warnings,
            )
            say(f"wrote {report.write(report_folder(args.report))}")
    print(f"wrote {out} ({Path(out).stat().st_size / 1000:.0f} kB)")
    return 0


def cross_validate_streaming(args: argparse.Namespace, dataset: Dataset) -> list[Tested]:
    """Fit a head without each fold in turn, on a base that has not heard it, and test it there.

    Returns the folds of one seed after those of another. With ``--models`` the first seed's
    bundles are kept.

    Raises
    ------
    OticError
        If an option does not go with the preset, or a fold has no base.
    """
    if args.show_leak:
        raise OticError("--show-leak does not go with the preset stream: leave it out")
    bases = _checked(args)
    _can_be_tested(bases, dataset, required=True)
    load_tensorflow()
    material = HeadMaterial.read(dataset, bases, args.negatives, args.any_use)
    tested = list[Tested]()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seed, args.seed + args.seeds):
            if args.seeds > 1:
                say(f"seed {seed}")
            if args.models and seed == args.seed:
                tested += _each_fold(material, args, args.models, seed)
                say(f"wrote {args.models}/{STREAM}-fold{dataset.folds[0]}.tflite and its like")
            else:
                tested += _each_fold(material, args, folder, seed)
    return tested


def _checked(args: argparse.Namespace) -> list[Bundle]:
    """Open the bases; refuse what does not go with a head."""
    require_tensorflow()
    if args.teacher:
        raise OticError(
            "--teacher does not go with the preset stream: its base has learned from one; leave "
            "it out"
        )
    if args.int8:
        raise OticError(
            "--int8 does not go with the preset stream: a model is int8 where its base is; write "
            "that with 'python -m otic_training.base.to_bundle … --int8 SOUNDS'"
        )
    return open_bases(args.base)


def _can_be_tested(bases: Sequence[Bundle], dataset: Dataset, required: bool) -> bool:
    """Tell if each fold has a base that has not heard it."""
    try:
        for fold in dataset.folds:
            base_without(bases, dataset, [fold])
    except OticError as error:
        if required:
            raise
        say(f"not measured: {error}")
        return False
    return True


def _each_fold(
    material: HeadMaterial, args: argparse.Namespace, folder: str, seed: int
) -> list[Tested]:
    tested = []
    for fold in material.dataset.folds:
        say(f"fold {fold} held out")
        path = Path(folder) / fold_model(STREAM, fold)
        bundle = _fit(material, args, path, [fold], seed)
        clips = [clip for clip in material.dataset.clips if clip.fold == fold]
        tested.append(stream(bundle, clips))
        figures = Figures.of(tested[-1:], f"{protocol_of(material.dataset)}; fold {fold}")
        save_bundle(path, replace(bundle, accuracy=figures.to_dict()))
    return tested


def _fit(
    material: HeadMaterial,
    args: argparse.Namespace,
    path: str | Path,
    test_folds: Sequence[int],
    seed: int,
) -> Bundle:
    recipe = RECIPE
    if args.epochs:
        recipe = replace(recipe, fit=replace(recipe.fit, epochs=args.epochs))
    budget = args.budget or BUDGET_PER_HOUR
    return material.fit(path, test_folds, seed, budget, default_store(), recipe)


def protocol_of(dataset: Dataset) -> str:
    """Describe how heads are tested that are fitted without each fold in turn."""
    return (
        f"{dataset.name}, {dataset.protocol}, each held out in turn, by base and head; through the "
        "live pipeline"
    )
