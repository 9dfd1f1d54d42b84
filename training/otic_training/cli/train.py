"""``otic train``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from otic.cli.arguments import Parser
from otic.errors import OticError
from otic_training.cli.options import (
    add_dataset_options,
    add_recipe_options,
    add_report_option,
)
from otic_training.cli.progress import say
from otic_training.data.dataset import Dataset, listed
from otic_training.experiment import Experiment, experiment_from, load_tensorflow, read_dataset
from otic_training.networks.presets import STREAM, TUTORIAL
from otic_training.reports.page import report_folder
from otic_training.reports.tracker import TRACKERS, Tracker, start_tracker

if TYPE_CHECKING:
    import keras

    from otic_training.fitting.prepare import Prepared
    from otic_training.scoring.metrics import Tested


def add_train_options(parser: Parser) -> None:
    """Add the options of ``otic train``."""
    parser.epilog = (
        "example: otic train 'my sounds'; "
        "otic train ESC-50-master --preset mfcc-mlp --out my.tflite"
    )
    add_dataset_options(parser)
    add_recipe_options(parser, "default: what fits the amount of data")
    parser.add_argument(
        "--out",
        metavar="MODEL.tflite",
        help="the bundle to write (default: DATASET.tflite in the current folder, with a preset "
        "DATASET-PRESET.tflite)",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="also write it with 8-bit weights, as MODEL-int8.tflite",
    )
    parser.add_argument(
        "--test-folds",
        metavar="N,…|none",
        help="folds to hold out and test on (default: the last); none: train on all folds, "
        "after a cross-validation that measures the preset",
    )
    parser.add_argument(
        "--card", metavar="FILE.md", help="write a model card (with --test-folds none)"
    )
    add_report_option(parser)
    parser.add_argument(
        "--tracker",
        choices=TRACKERS,
        help=f"records figures, pictures and sounds of a preset's run (default {TRACKERS[1]}, in "
        "runs/)",
    )


def train(args: argparse.Namespace) -> int:
    """Train a preset on the other folds and test on the held-out ones, or what fits the data."""
    if args.preset is None:
        from otic_training.cli.choose import train_what_fits

        return train_what_fits(args, _command(args))
    if args.preset == STREAM:
        return _train_stream(args)
    experiment = experiment_from(args)
    dataset, recipe = experiment.dataset, experiment.preset
    test_folds = _test_folds(args.test_folds, dataset)
    out = args.out or f"{Path(args.dataset).resolve().name}-{recipe.name}.tflite"
    _check_outputs(args, out, test_folds)
    load_tensorflow()

    from otic_training.fitting.export import export
    from otic_training.fitting.prepare import prepare
    from otic_training.fitting.provenance import make_bundle
    from otic_training.fitting.validate import INT8, calibration_windows, tutorial_figures
    from otic_training.reports.card import int8_path, write_card
    from otic_training.reports.cost import cost_of
    from otic_training.reports.credits import write_credits
    from otic_training.reports.report import Report
    from otic_training.scoring.metrics import Figures
    from otic_training.scoring.thresholds import within_budget

    prepared = prepare(experiment)
    tracker = start_tracker(args.tracker or TRACKERS[1], Path(out).stem)
    fitted = _fit(prepared, experiment, test_folds, tracker)
    figures = Figures.of(fitted.float32, fitted.protocol)
    exported = export(
        out,
        fitted.model,
        fitted.temperature,
        make_bundle(experiment, prepared, fitted.folds, figures, fitted.temperature),
        calibration_windows(prepared, experiment, fitted.folds),
        Figures.of(fitted.int8, f"{INT8}{fitted.protocol}") if fitted.int8 else None,
        experiment.base,
        partial(within_budget, clips=experiment.quiet, per_hour=experiment.budget_per_hour),
    )
    named = {recipe.name: figures}
    if exported.int8 is not None:
        named[f"{recipe.name} int8"] = Figures(**exported.int8.accuracy)
    print(f"{fitted.protocol}:")
    for name, values in named.items():
        print(values.line(name))
    for written in filter(None, (exported.float32, exported.int8)):
        path = Path(out).parent / f"{written.name}.tflite"
        print(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")
    sys.stdout.flush()  # what follows may fail, but the model is there
    if args.card:
        tutorial = None if recipe.name == TUTORIAL else tutorial_figures(experiment)
        learned = [*dataset.learned(fitted.folds), *prepared.negatives, *experiment.quiet]
        owed = write_credits(args.card, learned)
        write_card(args.card, exported.float32, _command(args), tutorial, owed)
        if exported.int8 is not None:
            write_card(int8_path(args.card), exported.int8, _command(args), tutorial, owed)
    if args.report:
        cost, title = cost_of(exported.float32), exported.float32.name
        report = Report(title, dataset.labels, named, fitted.float32, cost, dataset.warnings)
        say(f"wrote {report.write(report_folder(args.report))}")
    tracker.finish(dataset, named, fitted.float32, out)
    return 0


def _train_stream(args: argparse.Namespace) -> int:
    from otic_training.cli.stream import train_streaming_model

    dataset = read_dataset(args)
    test_folds = _test_folds(args.test_folds, dataset)
    out = args.out or f"{Path(args.dataset).resolve().name}-{STREAM}.tflite"
    _check_outputs(args, out, test_folds)
    return train_streaming_model(args, out, dataset, test_folds, _command(args))


@dataclass(frozen=True)
class _Fitted:
    """Model of some folds, and the tests of it or of its recipe."""

    model: keras.Model
    folds: list[int]
    temperature: float
    protocol: str
    float32: list[Tested]
    int8: list[Tested]


def _fit(
    prepared: Prepared, experiment: Experiment, test_folds: list[int], tracker: Tracker
) -> _Fitted:
    from otic_training.fitting.fit import fit
    from otic_training.fitting.validate import (
        cross_validate,
        evaluate_held_out,
        protocol_of,
        reservations,
        temperature_of,
    )

    dataset = experiment.dataset
    folds = [fold for fold in dataset.folds if fold not in test_folds]
    if not test_folds:
        results = cross_validate(prepared, experiment)
        say("training on all folds")
        model = fit(prepared, experiment, folds, tracker.loss)
        temperature, protocol = temperature_of(results.held_out), protocol_of(prepared, experiment)
        return _Fitted(model, folds, temperature, protocol, results.float32, results.int8)
    protocol = (
        f"{dataset.name}: trained on folds {listed(folds)}, "
        f"tested on folds {listed(test_folds)}{reservations(prepared, experiment)}"
    )
    temperature = _temperature(prepared, experiment, folds)
    model = fit(prepared, experiment, folds, tracker.loss)
    result = evaluate_held_out(model, prepared, experiment, folds, test_folds, temperature)
    tested = [result.tested(temperature, len(prepared.labels))]
    int8 = [result.tested_int8()] if experiment.int8 else []
    return _Fitted(model, folds, temperature, protocol, tested, int8)


def _check_outputs(args: argparse.Namespace, out: str, test_folds: list[int]) -> None:
    """Find out before the work whether its results can be written."""
    if not out.endswith(".tflite"):
        raise OticError(f"--out '{out}' must end in .tflite, as bundles do")
    for path in filter(None, (out, args.card)):
        folder = Path(path).absolute().parent
        if not folder.is_dir() or not os.access(folder, os.W_OK) or Path(path).is_dir():
            raise OticError(
                f"can't write '{path}': its folder is missing or can't be written, or it is one"
            )
    if args.card and test_folds:
        raise OticError("--card describes a model trained on all folds: add --test-folds none")
    if args.report:
        report_folder(args.report)


def _temperature(prepared: Prepared, experiment: Experiment, folds: list[int]) -> float:
    """Take the temperature of a model that is tested on the last of the training folds."""
    from otic_training.fitting.validate import hold_out, temperature_of

    if len(folds) < 2:
        say("not calibrated: that takes two training folds or more")
        return 1.0
    *rest, last = folds
    say(f"calibrating on fold {last}")
    return temperature_of([hold_out(prepared, experiment, rest, [last])])


def _test_folds(text: str | None, dataset: Dataset) -> list[int]:
    """Read ``--test-folds``: none of the folds for ``none``, the last by default."""
    if text is None:
        return [dataset.folds[-1]]
    return [] if text == "none" else dataset.some_folds("--test-folds", text, ", or none")


def _command(args: argparse.Namespace) -> str:
    """Repeat the command line, with placeholders for the places of data and models."""
    words = sys.argv[1:]
    for option in {"--negatives", "--other"} & set(words):
        at = words.index(option) + 1
        words[at : at + len(args.negatives)] = ["NEGATIVES"]
    places = {args.dataset: "DATASET", args.teacher: "TEACHER", **dict.fromkeys(args.base, "BASE")}
    return shlex.join(["otic", *(places.get(word, word) for word in words)])
