"""``otic train``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otic.cli.arguments import Parser
from otic.errors import OticError
from otic_training.cli.options import (
    add_dataset_options,
    add_recipe_options,
    add_report_option,
)
from otic_training.cli.progress import say
from otic_training.data.cache import Store, default_store
from otic_training.fitting.requests import begin, listed, load_tensorflow, some_folds
from otic_training.networks.presets import Preset
from otic_training.reports.card import int8_path, write_card
from otic_training.reports.page import report_folder
from otic_training.reports.tracker import TRACKERS, start_tracker
from otic_training.scoring.metrics import Tested, accuracy_line, figures
from otic_training.scoring.protocols import (
    INT8,
    TUTORIAL,
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


def add_train_options(parser: Parser) -> None:
    """Add the options of ``otic train``."""
    parser.epilog = "example: otic train ESC-50-master --preset mfcc-mlp --out my.tflite"
    add_dataset_options(parser)
    add_recipe_options(parser)
    parser.add_argument(
        "--out",
        metavar="MODEL.tflite",
        help="the bundle to write (default: DATASET-PRESET.tflite in the current folder)",
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
        default=TRACKERS[1],
        help="records figures, pictures and sounds of the run (default %(default)s, in runs/)",
    )


def train(args: argparse.Namespace) -> int:
    """Train on the other folds and test on the held-out ones, or train on all."""
    dataset, recipe = begin(args)
    test_folds = _test_folds(args.test_folds, dataset.folds)
    _check_outputs(args, recipe, test_folds)
    load_tensorflow()

    from otic_training.fitting.export import export
    from otic_training.fitting.fit import fit
    from otic_training.fitting.validate import temperature_of, typical
    from otic_training.reports.cost import cost_of

    store = default_store()
    prepared = prepared_for(args, dataset, recipe, args.seed, store)
    tracker = start_tracker(args.tracker, Path(args.out).stem)
    train_folds = [f for f in dataset.folds if f not in test_folds]
    if test_folds:
        protocol = (
            f"{dataset.name}: trained on folds {listed(train_folds)}, "
            f"tested on folds {listed(test_folds)}{reservations(dataset, prepared)}"
        )
        temperature = _temperature(prepared, recipe, train_folds, args, store)
    else:
        protocol = protocol_of(dataset, prepared)
        results = cross_validated(prepared, recipe, args, store)
        temperature = temperature_of(results.held_out)
        say("training on all folds")
    model = fit(prepared, recipe, train_folds, args.seed, args.epochs, tracker.loss)
    if test_folds:
        tested, int8 = _tested(model, prepared, train_folds, test_folds, temperature, args.int8)
    else:
        tested, int8 = results.float32, results.int8
    accuracy = figures(tested, protocol)
    bundle = described(args, dataset, recipe, prepared, train_folds, accuracy, temperature)
    exported = export(
        args.out,
        model,
        temperature,
        bundle,
        typical(prepared, train_folds),
        figures(int8, f"{INT8}{protocol}") if int8 else None,
        prepared.base,
    )
    named = {recipe.name: accuracy}
    if exported.int8 is not None:
        named[f"{recipe.name} int8"] = exported.int8.accuracy
    print(f"{protocol}:")
    for name, values in named.items():
        print(accuracy_line(name, values))
    for written in filter(None, (exported.float32, exported.int8)):
        path = Path(args.out).parent / f"{written.name}.tflite"
        print(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")
    sys.stdout.flush()  # what follows may fail, but the model is there
    if args.card:
        tutorial = None if recipe.name == TUTORIAL else tutorial_figures(args, dataset, store)
        write_card(args.card, exported.float32, _command(args), tutorial)
        if exported.int8 is not None:
            write_card(int8_path(args.card), exported.int8, _command(args), tutorial)
    write_report(args, exported.float32.name, dataset, named, tested, cost_of(exported.float32))
    tracker.finish(dataset, named, tested, args.out)
    return 0


def _check_outputs(args: argparse.Namespace, recipe: Preset, test_folds: list[int]) -> None:
    """Find out before the work whether its results can be written."""
    if args.out is None:
        args.out = f"{Path(args.dataset).resolve().name}-{recipe.name}.tflite"
    if not args.out.endswith(".tflite"):
        raise OticError(f"--out '{args.out}' must end in .tflite, as bundles do")
    for path in filter(None, (args.out, args.card)):
        folder = Path(path).absolute().parent
        if not folder.is_dir() or not os.access(folder, os.W_OK) or Path(path).is_dir():
            raise OticError(
                f"can't write '{path}': its folder is missing or can't be written, or it is one"
            )
    if args.card and test_folds:
        raise OticError("--card describes a model trained on all folds: add --test-folds none")
    if args.report:
        report_folder(args.report)


def _temperature(
    prepared: Prepared,
    recipe: Preset,
    train_folds: list[int],
    args: argparse.Namespace,
    store: Store,
) -> float:
    """From a model that does without the last training fold, tested on that."""
    from otic_training.fitting.validate import hold_out, temperature_of

    if len(train_folds) < 2:
        say("not calibrated: that takes two training folds or more")
        return 1.0
    *rest, last = train_folds
    say(f"calibrating on fold {last}")
    held_out = hold_out(prepared, recipe, rest, [last], args.seed, args.epochs, store)
    return temperature_of([held_out])


def _tested(
    model: Any,
    prepared: Prepared,
    train_folds: list[int],
    test_folds: list[int],
    temperature: float,
    int8: bool,
) -> tuple[list[Tested], list[Tested]]:
    """The model's scores on the held-out folds, and those of its int8 version."""
    from otic_training.fitting.validate import evaluate_held_out

    n_labels = len(prepared.labels)
    result = evaluate_held_out(model, prepared, train_folds, test_folds, int8, temperature)
    return [result.tested(temperature, n_labels)], [result.tested_int8()] if int8 else []


def _test_folds(text: str | None, folds: tuple[int, ...]) -> list[int]:
    """The held-out folds; none of them for ``none``; the last by default."""
    if text is None:
        return [folds[-1]]
    return [] if text == "none" else some_folds("--test-folds", text, folds, ", or none")


def _command(args: argparse.Namespace) -> str:
    """The command line with the data set's place left open."""
    command, *words = sys.argv[1:]
    if args.other and "--other" in words:
        at = words.index("--other") + 1
        words[at : at + len(args.other)] = ["OTHER"]
    places = {args.dataset: "DATASET", args.teacher: "TEACHER", args.base: "BASE"}
    return shlex.join(["otic", command, *(places.get(word, word) for word in words)])
