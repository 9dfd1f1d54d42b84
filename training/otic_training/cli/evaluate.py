"""``otic evaluate``: a model's accuracy on clips, through the live pipeline.

With ``--streaming`` :mod:`otic_training.scoring.streaming` has the word.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from otic.cli.arguments import MODEL_HELP, Parser, add_json_option, decibel_range, seed
from otic.errors import OticError, UsageError
from otic.model.bundle import Bundle, load_bundle
from otic.pipeline import Pipeline
from otic.types import Scores
from otic_training.cli.options import add_dataset_options, add_report_option
from otic_training.cli.progress import progress, say
from otic_training.data.dataset import (
    Clip,
    Dataset,
    DatasetError,
    listed,
    same_data,
    trained_folds,
)
from otic_training.data.windows import MIN_ACTIVE_SHARE, active_part, read_clip
from otic_training.experiment import read_dataset
from otic_training.reports.cost import cost_of
from otic_training.reports.page import report_folder
from otic_training.reports.report import Report
from otic_training.scoring.metrics import Figures, Tested
from otic_training.scoring.streaming import evaluate_streaming, lines


def add_evaluate_options(parser: Parser) -> None:
    """Add the options of ``otic evaluate``."""
    parser.epilog = "example: otic evaluate my.tflite ESC-50-master --folds 5 --report my-report"
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    add_dataset_options(parser)
    parser.add_argument(
        "--folds",
        metavar="N,…",
        help="folds to test on (default: those the model was not trained on)",
    )
    parser.add_argument(
        "--streaming",
        action="store_true",
        help="score events on soundscapes mixed from those clips",
    )
    parser.add_argument(
        "--background",
        nargs="+",
        default=[],
        metavar="FILE",
        help="with --streaming: recordings, or folders of them, of what a place sounds like; "
        "events in them are false alarms (default: synthetic noise)",
    )
    parser.add_argument(
        "--alarms",
        nargs="+",
        default=[],
        metavar="FILE",
        help="with --streaming: recordings without any of the sounds, or folders of them, with a "
        "clips.csv or without: counts false alarms by kind, prints F1 over alarms per hour",
    )
    parser.add_argument(
        "--unknown",
        nargs="+",
        default=[],
        metavar="FILE",
        help="with --streaming: sounds with none of the labels, which should be rejected",
    )
    parser.add_argument(
        "--snr",
        type=decibel_range,
        default=(0.0, 20.0),
        metavar="LOW,HIGH",
        help="with --streaming: how much louder the sounds are than the background, in dB "
        "(default 0,20; write --snr=-5,10 where the first number is negative)",
    )
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        help="with --streaming: seed of the soundscapes (default 0)",
    )
    add_report_option(parser)
    add_json_option(parser)


def evaluate(args: argparse.Namespace) -> int:
    """Stream every clip of some folds; prints clip and window accuracy."""
    if args.alarms and not args.streaming:
        raise UsageError("--alarms counts events in streams: add --streaming")
    bundle = load_bundle(args.model)
    dataset = read_dataset(args)
    strange = sorted(set(dataset.labels) - set(bundle.labels))
    if strange:
        raise OticError(
            f"'{args.dataset}' has labels that {bundle.name} does not know: {', '.join(strange)}; "
            f"it knows {', '.join(bundle.labels)}"
        )
    folds, notes = folds_to_test(args.folds, bundle, dataset)
    for note in notes:
        say(note)
    if args.streaming:
        outcome = evaluate_streaming(args, bundle, dataset, folds, [*dataset.warnings, *notes])
        print(json.dumps(outcome, indent=2) if args.json else "\n".join(lines(outcome)))
        return 0
    folder = report_folder(args.report) if args.report else None
    tested = stream(bundle, [clip for clip in dataset.clips if clip.fold in folds])
    leak = "a LEAK: " if notes and "a LEAK" in notes[0] else ""
    protocol = (
        f"{leak}{dataset.name}, folds {listed(folds)}, through the live pipeline; scores averaged "
        "over a clip's windows, without those that are silent for more than half"
    )
    figures = Figures.of([tested], protocol)
    report = Report(
        f"{bundle.name} on {dataset.name}",
        bundle.labels,
        {bundle.name: figures},
        [tested],
        cost_of(bundle),
        (*dataset.warnings, *notes),
    )
    if folder is not None:
        say(f"wrote {report.write(folder)}")
    if args.json:
        print(json.dumps(report.to_dict(), indent=2))
        return 0
    print(f"{protocol}:")
    print(
        f"  {bundle.name}: {figures.clip_mean:.1%} of {figures.clips} clips, "
        f"{figures.window_mean:.1%} of {len(tested.scores)} windows, "
        f"calibration error {figures.calibration_error:.1%}"
    )
    assert report.cost is not None
    print(f"  {report.cost.text()}")
    return 0


def folds_to_test(
    text: str | None, bundle: Bundle, dataset: Dataset
) -> tuple[list[int], tuple[str, ...]]:
    """The folds to test on, and what must be said of them."""
    trained = trained_folds(bundle.provenance, dataset)
    if text is None:
        folds = [fold for fold in dataset.folds if fold not in trained]
        if not folds:
            raise OticError(
                f"{bundle.name} was trained on all folds of {dataset.name}: no honest test is "
                "left; see its card, or name folds with --folds for a figure that leaks"
            )
        return folds, _unknown(bundle, dataset)
    folds = sorted({int(part) if part.isdecimal() else -1 for part in text.split(",")})
    if not set(folds) <= set(dataset.folds):
        raise OticError(f"--folds {text} must name some of the folds {listed(dataset.folds)}")
    leaked = [fold for fold in folds if fold in trained]
    if leaked:
        return folds, (
            f"a LEAK: {bundle.name} was trained on folds {listed(leaked)} of {dataset.name}; "
            "this is no figure to rely on",
        )
    return folds, _unknown(bundle, dataset)


def _unknown(bundle: Bundle, dataset: Dataset) -> tuple[str, ...]:
    """Folds of another data set say nothing of what is in both."""
    if _same_data(bundle, dataset):
        return ()
    data = bundle.provenance.get("data", "data that it does not name")
    return (
        f"{bundle.name} was trained on {data}: if clips of {dataset.name} "
        "are among that, this figure leaks",
    )


def _same_data(bundle: Bundle, dataset: Dataset) -> bool:
    return same_data(str(bundle.provenance.get("data")), dataset.name)


def stream(bundle: Bundle, clips: list[Clip]) -> Tested:
    """Run clips through the live pipeline, and keep the scores of windows that are active enough.

    Raises
    ------
    DatasetError
        If no clip is left that can be read and is as long as the window.
    """
    p, pipeline = bundle.features, Pipeline(bundle)
    scores, of_clip, target = [], [], []
    with progress("clips", len(clips)) as advance:
        for i, clip in enumerate(clips):
            advance(1)
            try:
                y = read_clip(clip, p.sr)
            except OticError as error:
                say(f"left out: {error}")
                continue
            if len(y) < bundle.window_samples:
                say(f"left out: '{clip.path}' is shorter than the window")
                continue
            begin, end = active_part(y, p.sr)
            pipeline.reset()
            heard = [item for item in pipeline.process(y) if isinstance(item, Scores)]
            stops = np.array([item.sample for item in heard])
            active = np.minimum(stops, end) - np.maximum(stops - bundle.window_samples, begin)
            enough = active >= min(MIN_ACTIVE_SHARE * bundle.window_samples, active.max())
            for item in (heard[k] for k in np.flatnonzero(enough)):
                scores.append([item.scores[label] for label in bundle.labels])
                of_clip.append(i)
                target.append(bundle.labels.index(clip.label))
    if not scores:
        raise DatasetError(
            f"none of {len(clips)} clips can be read and is as long as {bundle.name}'s window "
            f"of {bundle.window_seconds:.2f} s"
        )
    return Tested(
        fold=min(clip.fold for clip in clips),
        scores=np.array(scores, np.float32),
        clip=np.array(of_clip),
        target=np.array(target),
    )
