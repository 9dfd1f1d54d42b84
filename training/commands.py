"""``otic train`` and ``otic crossval``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.errors import OticError, RuntimeMissingError
from realtime.messages import hushed_libraries, say
from training.datasets import Dataset, DatasetError
from training.layouts import load_dataset
from training.presets import Preset, preset

if TYPE_CHECKING:
    from realtime.bundle import Bundle
    from training.fitting import Prepared, Tested

TUTORIAL = "tutorial"


def train(args: argparse.Namespace) -> int:
    """Train on the other folds and test on the held-out ones, or train on all."""
    dataset, recipe = _begin(args)
    test_folds = _test_folds(args.test_folds, dataset.folds)
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
    load_tensorflow()

    from training.export import export, provenance
    from training.fitting import cross_validate, evaluate, fit, prepare

    prepared = prepare(dataset, recipe, args.seed, say)
    if test_folds:
        train_folds = [f for f in dataset.folds if f not in test_folds]
        model = fit(prepared, recipe, train_folds, args.seed, args.epochs)
        tested = evaluate(model, prepared, test_folds)
        accuracy = _figures(
            [tested],
            f"{dataset.name}: trained on folds {_listed(train_folds)}, "
            f"tested on folds {_listed(test_folds)}",
        )
    else:
        train_folds = list(dataset.folds)
        results = cross_validate(prepared, recipe, args.seed, args.epochs, say)
        accuracy = _figures(results, _protocol(dataset))
        say("training on all folds")
        model = fit(prepared, recipe, train_folds, args.seed, args.epochs)
    tutorial = _tutorial_figures(args, dataset) if args.card else None
    origin = provenance(prepared, dataset, recipe, train_folds, args.seed, args.epochs)
    bundle = export(args.out, model, dataset, recipe, accuracy, origin, prepared.test.x)
    if args.card:
        _write_card(args, bundle, tutorial)
    print(f"{accuracy['protocol']}:")
    print(_line(recipe.name, accuracy))
    print(f"wrote {args.out} ({len(bundle.model) / 1000:.0f} kB)")
    return 0


def crossval(args: argparse.Namespace) -> int:
    """The preset's figures over the official folds, the tutorial's beside them."""
    dataset, recipe = _begin(args)
    load_tensorflow()

    from training.fitting import prepare

    prepared = prepare(dataset, recipe, args.seed, say)
    figures = {recipe.name: _cross_validated(prepared, args, dataset, recipe)}
    leak = _leak_figures(prepared, args, recipe) if args.show_leak else None
    if recipe.name != TUTORIAL:
        tutorial = _tutorial_figures(args, dataset)
        if tutorial is not None:
            figures[TUTORIAL] = tutorial
    if args.json:
        outcome = {"labels": list(dataset.labels), "presets": figures}
        print(json.dumps({**outcome, "leak": leak} if leak else outcome, indent=2))
        return 0
    print(f"{_protocol(dataset)}:")
    for name, accuracy in figures.items():
        print(_line(name, accuracy))
    if leak is not None:
        print(f"{leak['protocol']}:")
        print(_line(recipe.name, leak))
    _print_confusion(dataset.labels, figures[recipe.name])
    return 0


def _begin(args: argparse.Namespace) -> tuple[Dataset, Preset]:
    """Check the extra and the arguments before anything slow is done."""
    if find_spec("tensorflow") is None:
        raise RuntimeMissingError(
            "training needs tensorflow, which is not installed: pip install 'otic[train]'"
        )
    recipe = preset(args.preset)
    dataset = load_dataset(args.dataset, args.group_regex, args.subset)
    for warning in dataset.warnings:
        say(warning)
    return dataset, recipe


def load_tensorflow() -> None:
    """Import it, quietly, and so that the same seed gives the same model."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its sums depend on the machine
    with hushed_libraries():
        importlib.import_module("tensorflow")


def _cross_validated(
    prepared: Prepared, args: argparse.Namespace, dataset: Dataset, recipe: Preset
) -> dict[str, Any]:
    from training.fitting import cross_validate

    results = cross_validate(prepared, recipe, args.seed, args.epochs, say)
    return _figures(results, _protocol(dataset))


def _leak_figures(prepared: Prepared, args: argparse.Namespace, recipe: Preset) -> dict[str, Any]:
    """The same on folds drawn at random, as many papers and tutorials do."""
    from training.fitting import cross_validate

    say("and with a random split")
    mixed = np.random.default_rng(args.seed).permutation(prepared.fold)
    results = cross_validate(replace(prepared, fold=mixed), recipe, args.seed, args.epochs, say)
    return _figures(
        results,
        "a random split, which LEAKS: clips of one recording are trained and tested on; "
        "not a figure to rely on",
    )


def _tutorial_figures(args: argparse.Namespace, dataset: Dataset) -> dict[str, Any] | None:
    """The comparison; None where it can't be made (clips too short, say): no reason to fail."""
    from training.fitting import prepare

    try:
        prepared = prepare(dataset, preset(TUTORIAL), args.seed, say)
        return _cross_validated(prepared, args, dataset, preset(TUTORIAL))
    except DatasetError as error:
        say(f"no comparison with the tutorial: {error}")
        return None


def _write_card(args: argparse.Namespace, bundle: Bundle, tutorial: dict[str, Any] | None) -> None:
    from training.card import model_card

    beside = Path(f"{args.card}.part")
    beside.write_text(model_card(bundle, _command(args), tutorial), encoding="utf-8")
    beside.replace(args.card)


def _test_folds(text: str | None, folds: tuple[int, ...]) -> list[int]:
    """The held-out folds; none of them for ``none``; the last by default."""
    if text is None:
        return [folds[-1]]
    if text == "none":
        return []
    chosen = [int(part) if part.isdecimal() else -1 for part in text.split(",")]
    if not set(chosen) < set(folds):
        raise OticError(
            f"--test-folds {text} must name some, not all, of the folds {_listed(folds)}, or none"
        )
    return sorted(set(chosen))


def _protocol(dataset: Dataset) -> str:
    sure = not dataset.warnings
    return (
        f"{dataset.name}, {len(dataset.folds)} {dataset.protocol}, each held out in turn "
        f"({'a recording is in one fold only' if sure else 'a file is taken for a recording'}); "
        "scores averaged over a clip's windows, taken "
        "at the live pace, without those that are silent for more than half"
    )


def _figures(results: list[Tested], protocol: str) -> dict[str, Any]:
    clip = np.array([r.clip_accuracy for r in results])
    window = np.array([r.window_accuracy for r in results])
    ddof = 1 if len(results) > 1 else 0
    return {
        "protocol": protocol,
        "clips": int(sum(r.confusion.sum() for r in results)),
        "clip_mean": round(float(clip.mean()), 4),
        "clip_sd": round(float(clip.std(ddof=ddof)), 4),
        "clip_by_fold": [round(float(a), 4) for a in clip],
        "window_mean": round(float(window.mean()), 4),
        "window_sd": round(float(window.std(ddof=ddof)), 4),
        "confusion": np.sum([r.confusion for r in results], axis=0).tolist(),
    }


def _line(name: str, accuracy: dict[str, Any]) -> str:
    several = len(accuracy["clip_by_fold"]) > 1
    clip, window = (
        f"{accuracy[f'{kind}_mean']:6.1%}" + (f" ± {accuracy[f'{kind}_sd']:.1%}" if several else "")
        for kind in ("clip", "window")
    )
    return f"  {name:<12} {clip} of {accuracy['clips']} clips, {window} of windows"


def _print_confusion(labels: tuple[str, ...], accuracy: dict[str, Any]) -> None:
    print("confusion (rows: true, columns: heard, in the same order; clips):")
    for label, row in zip(labels, accuracy["confusion"], strict=True):
        print(f"  {label:<16} {' '.join(f'{n:3d}' if n else '  ·' for n in row)}")


def _listed(folds: list[int] | tuple[int, ...]) -> str:
    return ", ".join(map(str, folds))


def _command(args: argparse.Namespace) -> str:
    """The command line with the data set's place left open."""
    words = [a if a != args.dataset else "DATASET" for a in sys.argv[1:]]
    return shlex.join(["otic", *words])
