"""``otic train --preset stream``: a head on a base, in about a minute."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from otic.errors import OticError
from otic.model.bundle import save_bundle
from otic_training.cli.evaluate import stream
from otic_training.cli.progress import say
from otic_training.data.cache import default_store
from otic_training.data.dataset import Dataset, listed
from otic_training.data.negatives import negative_clips, split_negatives
from otic_training.data.sound_tables import sounds_of
from otic_training.data.sounds import labelled_sounds, negative_sounds
from otic_training.experiment import load_tensorflow, require_tensorflow
from otic_training.fitting.stream import StreamRecipe, open_base, train_stream
from otic_training.reports.cost import cost_of
from otic_training.reports.page import report_folder
from otic_training.reports.report import Report
from otic_training.scoring.metrics import Figures, Tested

RECIPE = StreamRecipe()


def train_streaming_model(
    args: argparse.Namespace, out: str, dataset: Dataset, test_folds: Sequence[int]
) -> int:
    """Fit a head on the other folds, test it on the held-out ones, and write the bundle.

    Raises
    ------
    OticError
        If an option does not go with the preset, or something is missing.
    """
    require_tensorflow()
    for option in ("teacher", "int8", "card"):
        if getattr(args, option):
            raise OticError(f"--{option} does not go with the preset stream: leave it out")
    base = open_base(args.base)
    load_tensorflow()
    folds = [fold for fold in dataset.folds if fold not in test_folds]
    tested_on = {clip.recording for clip in dataset.clips if clip.fold in test_folds}
    negatives = [
        clip
        for clip in negative_clips(args.negatives, dataset.labels)
        if clip.recording not in tested_on
    ]
    learned, quiet = split_negatives(negatives)
    kept = {clip.path for clip in learned}
    clips = [clip for clip in dataset.clips if clip.fold in folds and not clip.tested_only]
    sr = base.features.sr
    others = [sound for sound in sounds_of(args.negatives) if sound.path in kept]
    sounds = labelled_sounds(clips, dataset.labels, sr)
    sounds += negative_sounds(others, dataset.labels, sr)
    recipe = RECIPE
    if args.epochs:
        recipe = replace(recipe, fit=replace(recipe.fit, epochs=args.epochs))
    bundle, _ = train_stream(
        out,
        base,
        dataset,
        folds,
        sounds,
        learned,
        quiet,
        args.seed,
        args.budget,
        default_store(),
        recipe,
    )
    tested = list[Tested]()
    if test_folds:
        held_out = [clip for clip in dataset.clips if clip.fold in test_folds]
        tested = [stream(bundle, held_out)]
        figures = Figures.of(
            tested,
            f"{dataset.name}: trained on folds {listed(folds)}, tested on folds "
            f"{listed(list(test_folds))}, through the live pipeline",
        )
        bundle = save_bundle(out, replace(bundle, accuracy=figures.to_dict()))
        print(f"{figures.protocol}:")
        print(figures.line(bundle.name))
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
