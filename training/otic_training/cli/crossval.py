"""``otic crossval``."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from otic.cli.arguments import Parser, add_json_option, whole
from otic_training.cli.options import (
    add_dataset_options,
    add_recipe_options,
    add_report_option,
    fold_model,
)
from otic_training.cli.progress import say
from otic_training.data.dataset import Dataset, listed
from otic_training.experiment import (
    Experiment,
    experiment_from,
    load_tensorflow,
    read_dataset,
)
from otic_training.networks.presets import STREAM, TUTORIAL
from otic_training.reports.page import report_folder

if TYPE_CHECKING:
    from otic_training.fitting.prepare import Prepared
    from otic_training.fitting.validate import CrossValidated
    from otic_training.scoring.metrics import Figures, Tested


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
        help="keep the models; PRESET-fold1.tflite is the one that was not trained on fold 1",
    )
    parser.add_argument(
        "--show-leak",
        action="store_true",
        help="also show the figure of a random split, which leaks",
    )
    add_report_option(parser)
    add_json_option(parser)


def crossval(args: argparse.Namespace) -> int:
    """Print the preset's figures over the official folds, and the tutorial's beside them."""
    if args.preset == STREAM:
        return _crossval_stream(args)
    experiment = experiment_from(args)
    for folder in filter(None, (args.report, args.models)):
        report_folder(folder)
    load_tensorflow()

    from otic_training.fitting.prepare import prepare
    from otic_training.fitting.validate import INT8, cross_validate, protocol_of, tutorial_figures
    from otic_training.scoring.metrics import Figures

    dataset, recipe = experiment.dataset, experiment.preset
    tested: list[Tested] = []
    int8: list[Tested] = []
    for seed in range(args.seed, args.seed + args.seeds):
        if args.seeds > 1:
            say(f"seed {seed}")
        seeded = replace(experiment, seed=seed)
        prepared = prepare(seeded)
        results = cross_validate(prepared, seeded)
        if args.models and seed == args.seed:
            _keep_models(args.models, seeded, prepared, results)
        tested += results.float32
        int8 += results.int8
    protocol = protocol_of(prepared, experiment)
    several = "" if args.seeds == 1 else f"; {args.seeds} seeds"
    named = {recipe.name: Figures.of(tested, protocol + several, args.seeds)}
    if int8:
        named[f"{recipe.name} int8"] = Figures.of(int8, INT8 + protocol + several, args.seeds)
    leak = _leak_figures(prepared, experiment) if args.show_leak else None
    if recipe.name != TUTORIAL:
        tutorial = tutorial_figures(experiment)
        if tutorial is not None:
            named[TUTORIAL] = tutorial
    _tell(args, dataset, named, tested, leak)
    return 0


def _crossval_stream(args: argparse.Namespace) -> int:
    from otic_training.cli.stream import cross_validate_streaming, protocol_of
    from otic_training.scoring.metrics import Figures

    dataset = read_dataset(args)
    for folder in filter(None, (args.report, args.models)):
        report_folder(folder)
    tested = cross_validate_streaming(args, dataset)
    several = "" if args.seeds == 1 else f"; {args.seeds} seeds"
    named = {STREAM: Figures.of(tested, protocol_of(dataset) + several, args.seeds)}
    _tell(args, dataset, named, tested, None)
    return 0


def _tell(
    args: argparse.Namespace,
    dataset: Dataset,
    named: dict[str, Figures],
    tested: list[Tested],
    leak: Figures | None,
) -> None:
    """Print figures, the preset's own first, and write the report."""
    from otic_training.scoring.metrics import confusion_lines

    own, figures = next(iter(named.items()))
    if args.report:
        from otic_training.reports.report import Report

        shown = {**named, "a random split, a LEAK": leak} if leak else named
        title = f"{own} on {dataset.name}"
        report = Report(title, dataset.labels, shown, tested, notes=dataset.warnings)
        say(f"wrote {report.write(report_folder(args.report))}")
    if args.json:
        presets = {name: values.to_dict() for name, values in named.items()}
        outcome = {"labels": list(dataset.labels), "presets": presets}
        print(json.dumps({**outcome, "leak": leak.to_dict()} if leak else outcome, indent=2))
        return
    print(f"{figures.protocol}:")
    for name, values in named.items():
        print(values.line(name))
    if leak is not None:
        print(f"{leak.protocol}:")
        print(leak.line(own))
    for line in confusion_lines(dataset.labels, figures.confusion):
        print(line)


def _keep_models(
    folder: str, experiment: Experiment, prepared: Prepared, results: CrossValidated
) -> None:
    """Write the model of each fold as a bundle, as it was tested."""
    from otic_training.fitting.export import export
    from otic_training.fitting.provenance import make_bundle
    from otic_training.fitting.validate import (
        calibration_windows,
        from_bytes,
        reservations,
        temperatures_of,
    )
    from otic_training.scoring.metrics import Figures
    from otic_training.scoring.thresholds import within_budget

    dataset = experiment.dataset
    temperatures = temperatures_of(results.held_out)
    settle = partial(within_budget, clips=experiment.quiet, per_hour=experiment.budget_per_hour)
    for result, temperature, tested in zip(
        results.held_out, temperatures, results.float32, strict=True
    ):
        folds = [fold for fold in dataset.folds if fold != result.fold]
        protocol = (
            f"{dataset.name}: trained on folds {listed(folds)}, tested on fold {result.fold}"
            f"{reservations(prepared, experiment)}"
        )
        figures = Figures.of([tested], protocol)
        bundle = make_bundle(experiment, prepared, folds, figures, temperature)
        path = Path(folder) / fold_model(experiment.preset.name, result.fold)
        probe = calibration_windows(prepared, experiment, folds)
        model = from_bytes(result.model)
        export(str(path), model, temperature, bundle, probe, None, experiment.base, settle)
        say(f"wrote {path}")


def _leak_figures(prepared: Prepared, experiment: Experiment) -> Figures:
    """Cross-validate on folds drawn at random, as many papers and tutorials do."""
    import numpy as np

    from otic_training.data.negatives import NEGATIVE_FOLD
    from otic_training.fitting.validate import cross_validate
    from otic_training.scoring.metrics import Figures

    say("and with a random split")
    mixed = prepared.fold.copy()
    labelled = np.flatnonzero(mixed != NEGATIVE_FOLD)
    mixed[labelled] = np.random.default_rng(experiment.seed).permutation(mixed[labelled])
    shuffled = replace(prepared, fold=mixed, key=f"{prepared.key} mixed by {experiment.seed}")
    return Figures.of(
        cross_validate(shuffled, replace(experiment, int8=False)).float32,
        "a random split, one seed, which LEAKS: clips of one recording are trained and tested "
        "on; not a figure to rely on",
    )
