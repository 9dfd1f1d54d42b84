"""``otic crossval``."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from otic.cli.arguments import Parser, add_json_option, whole
from otic_training.cli.options import (
    add_dataset_options,
    add_recipe_options,
    add_report_option,
)
from otic_training.cli.progress import say
from otic_training.data.cache import Store, default_store
from otic_training.data.dataset import Dataset
from otic_training.data.negatives import OTHER_FOLD
from otic_training.fitting.requests import begin, listed, load_tensorflow
from otic_training.networks.presets import Preset
from otic_training.reports.page import report_folder
from otic_training.scoring.metrics import Tested, accuracy_line, confusion_lines, figures
from otic_training.scoring.protocols import (
    INT8,
    TUTORIAL,
    CrossValidated,
    cross_validated,
    described,
    prepared_for,
    protocol_of,
    reservations,
    tutorial_figures,
    write_report,
)

if TYPE_CHECKING:
    from otic_training.fitting.prepare import Prepared


def add_crossval_options(parser: Parser) -> None:
    """Add the options of ``otic crossval``."""
    parser.epilog = "example: otic crossval ESC-50-master --preset mfcc-mlp"
    add_dataset_options(parser)
    add_recipe_options(parser)
    parser.add_argument(
        "--seeds", type=whole, default=1, metavar="N", help="repeat with N seeds (default 1)"
    )
    parser.add_argument(
        "--int8", action="store_true", help="also measure the version with 8-bit weights"
    )
    parser.add_argument(
        "--models",
        metavar="DIR",
        help="keep the models; fold-1.tflite is the one that was not trained on fold 1",
    )
    parser.add_argument(
        "--show-leak",
        action="store_true",
        help="also show the figure of a random split, which leaks",
    )
    add_report_option(parser)
    add_json_option(parser)


def crossval(args: argparse.Namespace) -> int:
    """The preset's figures over the official folds, the tutorial's beside them."""
    dataset, recipe = begin(args)
    for folder in filter(None, (args.report, args.models)):
        report_folder(folder)
    load_tensorflow()

    store = default_store()
    tested: list[Tested] = []
    int8: list[Tested] = []
    for seed in range(args.seed, args.seed + args.seeds):
        if args.seeds > 1:
            say(f"seed {seed}")
        seeded = argparse.Namespace(**{**vars(args), "seed": seed})
        prepared = prepared_for(seeded, dataset, recipe, seed, store)
        results = cross_validated(prepared, recipe, seeded, store)
        if args.models and seed == args.seed:
            _keep_models(args, dataset, recipe, prepared, results)
        tested += results.float32
        int8 += results.int8
    protocol = protocol_of(dataset, prepared)
    named = {recipe.name: _over_seeds(tested, protocol, args.seeds)}
    if int8:
        named[f"{recipe.name} int8"] = _over_seeds(int8, f"{INT8}{protocol}", args.seeds)
    leak = _leak_figures(prepared, args, recipe, store) if args.show_leak else None
    if recipe.name != TUTORIAL:
        tutorial = tutorial_figures(args, dataset, store)
        if tutorial is not None:
            named[TUTORIAL] = tutorial
    write_report(args, f"{recipe.name} on {dataset.name}", dataset, named, tested, None, leak)
    if args.json:
        outcome = {"labels": list(dataset.labels), "presets": named}
        print(json.dumps({**outcome, "leak": leak} if leak else outcome, indent=2))
        return 0
    print(f"{protocol}:")
    for name, accuracy in named.items():
        print(accuracy_line(name, accuracy))
    if leak is not None:
        print(f"{leak['protocol']}:")
        print(accuracy_line(recipe.name, leak))
    for line in confusion_lines(dataset.labels, named[recipe.name]["confusion"]):
        print(line)
    return 0


def _keep_models(
    args: argparse.Namespace,
    dataset: Dataset,
    recipe: Preset,
    prepared: Prepared,
    results: CrossValidated,
) -> None:
    """Write the model of each fold as a bundle, as it was tested."""
    from otic_training.fitting.export import export
    from otic_training.fitting.validate import from_bytes, temperatures_of, typical

    temperatures = temperatures_of(results.held_out)
    for result, temperature, tested in zip(
        results.held_out, temperatures, results.float32, strict=True
    ):
        folds = [fold for fold in dataset.folds if fold != result.fold]
        protocol = (
            f"{dataset.name}: trained on folds {listed(folds)}, tested on fold {result.fold}"
            f"{reservations(dataset, prepared)}"
        )
        accuracy = figures([tested], protocol)
        bundle = described(args, dataset, recipe, prepared, folds, accuracy, temperature)
        path = Path(args.models) / f"fold-{result.fold}.tflite"
        model = from_bytes(result.model)
        probe = typical(prepared, folds)
        export(str(path), model, temperature, bundle, probe, None, prepared.base)
        say(f"wrote {path}")


def _over_seeds(tested: list[Tested], protocol: str, seeds: int) -> dict[str, Any]:
    accuracy = figures(tested, protocol if seeds == 1 else f"{protocol}; {seeds} seeds", seeds)
    if seeds > 1:
        clip = np.reshape([t.clip_accuracy for t in tested], (seeds, -1)).mean(axis=1)
        accuracy["clip_by_seed"] = [round(float(a), 4) for a in clip]
    return accuracy


def _leak_figures(
    prepared: Prepared, args: argparse.Namespace, recipe: Preset, store: Store
) -> dict[str, Any]:
    """The same on folds drawn at random, as many papers and tutorials do."""
    say("and with a random split")
    mixed = prepared.fold.copy()
    labelled = np.flatnonzero(mixed != OTHER_FOLD)
    mixed[labelled] = np.random.default_rng(args.seed).permutation(mixed[labelled])
    shuffled = replace(prepared, fold=mixed, key=f"{prepared.key} mixed by {args.seed}")
    plain = argparse.Namespace(**{**vars(args), "int8": False})
    tested = cross_validated(shuffled, recipe, plain, store).float32
    return figures(
        tested,
        "a random split, one seed, which LEAKS: clips of one recording are trained and tested "
        "on; not a figure to rely on",
    )
