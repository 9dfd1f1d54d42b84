"""What training and cross-validating share: protocols, comparisons, reports."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from otic.model.bundle import Bundle
from otic.model.interface import ModelInterface
from otic_training.cli.progress import say
from otic_training.data.cache import Store
from otic_training.data.dataset import Dataset, DatasetError, same_data
from otic_training.data.negatives import described_others, license_on, license_with, other_clips
from otic_training.fitting.requests import base_of, teacher_of
from otic_training.networks.presets import Preset, preset
from otic_training.reports.page import report_folder
from otic_training.scoring.metrics import Tested, figures

if TYPE_CHECKING:
    from otic_training.fitting.prepare import Prepared
    from otic_training.fitting.validate import HeldOut

TUTORIAL = "tutorial"
INT8 = "int8, scores not calibrated; "


def prepared_for(
    args: argparse.Namespace, dataset: Dataset, recipe: Preset, seed: int, store: Store
) -> Prepared:
    """The data set as windows, with the teacher and the other sounds that the arguments name."""
    from otic_training.fitting.prepare import prepare

    others = other_clips(args.other)
    own = {clip.path.resolve() for clip in dataset.clips}
    both = [clip.path for clip in others if clip.path.resolve() in own]
    if both:
        raise DatasetError(
            f"--other holds {len(both)} clips of the data set itself, '{both[0]}' first: "
            "name other recordings"
        )
    return prepare(dataset, recipe, seed, say, store, teacher_of(args), others, base_of(args))


class CrossValidated(NamedTuple):
    """What each fold's test said, as served: float32 and, where asked for, int8."""

    held_out: list[HeldOut]
    float32: list[Tested]
    int8: list[Tested]


def cross_validated(
    prepared: Prepared, recipe: Preset, args: argparse.Namespace, store: Store
) -> CrossValidated:
    """Train and test with each fold held out in turn, each at the others' temperature."""
    from otic_training.fitting.validate import calibrated, cross_validate

    results = cross_validate(prepared, recipe, args.seed, args.epochs, say, store, int8=args.int8)
    small = [r.tested_int8() for r in results] if args.int8 else []
    return CrossValidated(results, calibrated(results, len(prepared.labels)), small)


def tutorial_figures(
    args: argparse.Namespace, dataset: Dataset, store: Store
) -> dict[str, Any] | None:
    """The comparison; None where it can't be made (clips too short, say): no reason to fail."""
    from otic_training.fitting.prepare import prepare

    recipe = preset(TUTORIAL)
    plain = argparse.Namespace(**{**vars(args), "int8": False, "epochs": None})
    try:
        prepared = prepare(dataset, recipe, args.seed, say, store)
        tested = cross_validated(prepared, recipe, plain, store).float32
    except DatasetError as error:
        say(f"no comparison with the tutorial: {error}")
        return None
    return figures(tested, protocol_of(dataset, prepared))


def write_report(
    args: argparse.Namespace,
    title: str,
    dataset: Dataset,
    named: dict[str, dict[str, Any]],
    tested: list[Tested],
    cost: Any,
    leak: dict[str, Any] | None = None,
) -> None:
    """Write the report that the arguments ask for, if any."""
    if not args.report:
        return
    from otic_training.reports.report import Report

    shown = {**named, "a random split, a LEAK": leak} if leak else named
    report = Report(title, dataset.labels, shown, tested, cost, dataset.warnings)
    say(f"wrote {report.write(report_folder(args.report))}")


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
    base = prepared.base.data if prepared.base is not None else None
    leak: tuple[str, ...] = ()
    if base is not None and same_data(base, dataset.name):
        leak = (f"a LEAK: the base was trained on {base} itself, this is no figure to rely on",)
    return "".join(f"; {text}" for text in (*dataset.warnings, *left_out, *leak))


def described(
    args: argparse.Namespace,
    dataset: Dataset,
    recipe: Preset,
    prepared: Prepared,
    folds: Sequence[int],
    accuracy: dict[str, Any],
    temperature: float,
) -> Bundle:
    """A bundle that says all of itself; the model, the name and the golden cases come later."""
    from otic_training.fitting.provenance import provenance

    teacher, base = teacher_of(args), prepared.base
    terms = license_with(dataset.license, prepared.others)
    return Bundle(
        name="",
        labels=dataset.labels,
        features=recipe.features,
        inference_hop_frames=recipe.inference_hop_frames,
        decision=recipe.decision(len(dataset.labels)),
        accuracy=accuracy,
        license=terms if base is None else license_on(terms, base.name, base.license),
        provenance=provenance(
            dataset.name,
            int(np.isin(prepared.fold, folds).sum()),
            list(folds),
            recipe.name,
            args.epochs or recipe.epochs,
            args.seed,
            temperature,
            None if teacher is None else teacher.name,
            described_others(prepared.others),
            None if base is None else base.origin,
        ),
        model=b"",
        interface=ModelInterface() if base is None else base.interface,
    )
