"""``otic train`` and ``otic crossval``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.bundle import Bundle
from realtime.errors import OticError
from realtime.messages import say
from training.card import int8_path, write_card
from training.datasets import Dataset, DatasetError
from training.metrics import Tested, accuracy_line, confusion_lines, figures
from training.pages import report_folder
from training.presets import Preset, preset
from training.requests import begin, listed, load_tensorflow, some_folds, teacher_of
from training.store import Store, default_store
from training.tracking import start_tracker

if TYPE_CHECKING:
    from training.preparation import Prepared
    from training.validation import HeldOut

TUTORIAL = "tutorial"
INT8 = "int8, scores not calibrated; "


def train(args: argparse.Namespace) -> int:
    """Train on the other folds and test on the held-out ones, or train on all."""
    dataset, recipe = begin(args)
    test_folds = _test_folds(args.test_folds, dataset.folds)
    _check_outputs(args, recipe, test_folds)
    load_tensorflow()

    from training.cost import cost_of
    from training.export import export
    from training.fitting import fit
    from training.preparation import prepare
    from training.provenance import provenance
    from training.validation import typical

    store = default_store()
    teacher = teacher_of(args)
    prepared = prepare(dataset, recipe, args.seed, say, store, teacher)
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
        results, temperature = _cross_validated(prepared, recipe, args, store)
        say("training on all folds")
    model = fit(prepared, recipe, train_folds, args.seed, args.epochs, tracker.loss)
    if test_folds:
        results = [_tested(model, prepared, train_folds, test_folds, temperature, args.int8)]
    tested = [float32 for float32, _ in results]
    accuracy = figures(tested, protocol)
    int8 = [small for _, small in results if small is not None]
    bundle = Bundle(
        name="",
        labels=dataset.labels,
        features=recipe.features,
        inference_hop_frames=recipe.inference_hop_frames,
        decision=recipe.decision(len(dataset.labels)),
        accuracy=accuracy,
        license=dataset.license,
        provenance=provenance(
            dataset.name,
            int(np.isin(prepared.fold, train_folds).sum()),
            train_folds,
            recipe.name,
            args.epochs or recipe.epochs,
            args.seed,
            temperature,
            None if teacher is None else teacher.name,
        ),
        model=b"",
    )
    exported = export(
        args.out,
        model,
        temperature,
        bundle,
        typical(prepared, train_folds),
        figures(int8, f"{INT8}{protocol}") if int8 else None,
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
        tutorial = None if recipe.name == TUTORIAL else _tutorial_figures(args, dataset, store)
        write_card(args.card, exported.float32, _command(args), tutorial)
        if exported.int8 is not None:
            write_card(int8_path(args.card), exported.int8, _command(args), tutorial)
    _report(args, exported.float32.name, dataset, named, tested, cost_of(exported.float32))
    tracker.finish(dataset, named, tested, args.out)
    return 0


def crossval(args: argparse.Namespace) -> int:
    """The preset's figures over the official folds, the tutorial's beside them."""
    dataset, recipe = begin(args)
    if args.report:
        report_folder(args.report)
    load_tensorflow()

    from training.preparation import prepare

    store = default_store()
    tested: list[Tested] = []
    int8: list[Tested] = []
    for seed in range(args.seed, args.seed + args.seeds):
        if args.seeds > 1:
            say(f"seed {seed}")
        seeded = argparse.Namespace(**{**vars(args), "seed": seed})
        prepared = prepare(dataset, recipe, seed, say, store, teacher_of(args))
        results, _ = _cross_validated(prepared, recipe, seeded, store)
        tested += [float32 for float32, _ in results]
        int8 += [small for _, small in results if small is not None]
    protocol = protocol_of(dataset, prepared)
    named = {recipe.name: _over_seeds(tested, protocol, args.seeds)}
    if int8:
        named[f"{recipe.name} int8"] = _over_seeds(int8, f"{INT8}{protocol}", args.seeds)
    leak = _leak_figures(prepared, args, recipe, store) if args.show_leak else None
    if recipe.name != TUTORIAL:
        tutorial = _tutorial_figures(args, dataset, store)
        if tutorial is not None:
            named[TUTORIAL] = tutorial
    _report(args, f"{recipe.name} on {dataset.name}", dataset, named, tested, None, leak)
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
    from training.validation import hold_out, temperature_of

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
) -> tuple[Tested, Tested | None]:
    """The model's scores on the held-out folds, and those of its int8 version."""
    from training.validation import questioned

    n_labels = len(prepared.labels)
    result = questioned(model, prepared, train_folds, test_folds, int8, temperature)
    return result.tested(temperature, n_labels), result.tested_int8() if int8 else None


def _cross_validated(
    prepared: Prepared, recipe: Preset, args: argparse.Namespace, store: Store
) -> tuple[list[tuple[Tested, Tested | None]], float]:
    """What each fold's test said, float32 and int8, and the temperature of them all."""
    from training.validation import calibrated, cross_validate, temperature_of

    results: list[HeldOut] = cross_validate(
        prepared, recipe, args.seed, args.epochs, say, store, int8=args.int8
    )
    small = [r.tested_int8() if args.int8 else None for r in results]
    pairs = zip(calibrated(results, len(prepared.labels)), small, strict=True)
    return list(pairs), temperature_of(results)


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
    mixed = np.random.default_rng(args.seed).permutation(prepared.fold)
    shuffled = replace(prepared, fold=mixed, key=f"{prepared.key} mixed by {args.seed}")
    plain = argparse.Namespace(**{**vars(args), "int8": False})
    results, _ = _cross_validated(shuffled, recipe, plain, store)
    return figures(
        [float32 for float32, _ in results],
        "a random split, one seed, which LEAKS: clips of one recording are trained and tested "
        "on; not a figure to rely on",
    )


def _tutorial_figures(
    args: argparse.Namespace, dataset: Dataset, store: Store
) -> dict[str, Any] | None:
    """The comparison; None where it can't be made (clips too short, say): no reason to fail."""
    from training.preparation import prepare

    recipe = preset(TUTORIAL)
    plain = argparse.Namespace(**{**vars(args), "int8": False, "epochs": None})
    try:
        prepared = prepare(dataset, recipe, args.seed, say, store)
        results, _ = _cross_validated(prepared, recipe, plain, store)
    except DatasetError as error:
        say(f"no comparison with the tutorial: {error}")
        return None
    return figures([float32 for float32, _ in results], protocol_of(dataset, prepared))


def _report(
    args: argparse.Namespace,
    title: str,
    dataset: Dataset,
    named: dict[str, dict[str, Any]],
    tested: list[Tested],
    cost: Any,
    leak: dict[str, Any] | None = None,
) -> None:
    if not args.report:
        return
    from training.reports import Report

    shown = {**named, "a random split, a LEAK": leak} if leak else named
    report = Report(title, dataset.labels, shown, tested, cost, dataset.warnings)
    say(f"wrote {report.write(report_folder(args.report))}")


def _test_folds(text: str | None, folds: tuple[int, ...]) -> list[int]:
    """The held-out folds; none of them for ``none``; the last by default."""
    if text is None:
        return [folds[-1]]
    return [] if text == "none" else some_folds("--test-folds", text, folds, ", or none")


def protocol_of(dataset: Dataset, prepared: Prepared) -> str:
    """How a cross-validation on this data set tests."""
    sure = "" if dataset.warnings else " (a recording is in one fold only)"
    return (
        f"{dataset.name}, {len(dataset.folds)} {dataset.protocol}, each held out in turn{sure}; "
        "scores averaged over a clip's windows, taken "
        f"at the live pace, without those that are silent for more than half"
        f"{reservations(dataset, prepared)}"
    )


def reservations(dataset: Dataset, prepared: Prepared) -> str:
    """What must be said with every figure: warnings, and clips that could not be used."""
    left_out = (f"{prepared.left_out} clips left out",) if prepared.left_out else ()
    return "".join(f"; {text}" for text in (*dataset.warnings, *left_out))


def _command(args: argparse.Namespace) -> str:
    """The command line with the data set's place left open."""
    places = {args.dataset: "DATASET", args.teacher: "TEACHER"}
    command, *words = sys.argv[1:]
    return shlex.join(["otic", command, *(places.get(word, word) for word in words)])
