"""``otic evaluate``: a model's accuracy on clips, through the live pipeline.

With ``--streaming`` :mod:`otic_training.scoring.streaming` has the word.
"""

from __future__ import annotations

import argparse
import json

from otic.cli.arguments import MODEL_HELP, Parser, add_json_option, decibel_range, seed
from otic.errors import OticError, UsageError, did_you_mean
from otic_training.cli.options import add_dataset_options, add_report_option
from otic_training.cli.progress import say
from otic_training.data.dataset import listed
from otic_training.experiment import read_dataset
from otic_training.reports.page import report_folder


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

    from otic.model.bundle import load_bundle
    from otic_training.reports.cost import cost_of
    from otic_training.reports.report import Report
    from otic_training.scoring.clips import folds_to_test, stream
    from otic_training.scoring.metrics import Figures
    from otic_training.scoring.streaming import evaluate_streaming, lines

    bundle = load_bundle(args.model)
    dataset = read_dataset(args)
    strange = sorted(set(dataset.labels) - set(bundle.labels))
    if strange:
        near = (did_you_mean(label, bundle.labels) for label in strange)
        raise OticError(
            f"'{args.dataset}' has labels that {bundle.name} does not know: {', '.join(strange)}"
            f"{next(filter(None, near), '')}; it knows {', '.join(bundle.labels)}"
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
