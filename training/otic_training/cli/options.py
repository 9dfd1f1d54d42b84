"""The options that several training commands share."""

from __future__ import annotations

from otic.cli.arguments import Parser, positive, seed, whole
from otic_training.experiment import BUDGET_PER_HOUR
from otic_training.networks.presets import PRESETS, STREAM, names_with

_NAMES = (*(preset.name for preset in PRESETS), STREAM)


def add_dataset_options(parser: Parser) -> None:
    """Add the data set, and how its clips are grouped."""
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help="folder laid out like UrbanSound8K or ESC-50, or with one folder per class",
    )
    add_grouping_options(parser)


def add_grouping_options(parser: Parser) -> None:
    """Add ``--group-regex``, ``--subset`` and ``--channel``."""
    parser.add_argument(
        "--group-regex",
        metavar="REGEX",
        help="for class folders: the part of a file's name that identifies its recording; "
        "clips of one recording share a fold",
    )
    parser.add_argument(
        "--subset", choices=["esc10"], help="use only the clips of ESC-50 that form ESC-10"
    )
    parser.add_argument(
        "--channel",
        type=whole,
        metavar="N",
        help="use channel N of the data set's clips, counted from 1 (default: the mean of all)",
    )


def add_recipe_options(parser: Parser, chosen: str | None = None) -> None:
    """Add the preset, and what may replace or complete parts of it.

    Without a default, ``chosen`` says in the help what is taken in its place.
    """
    parser.add_argument(
        "--preset",
        default=None if chosen else _NAMES[0],
        metavar="PRESET",
        help=f"{', '.join(_NAMES)} ({chosen or 'default %(default)s'})",
    )
    parser.add_argument(
        "--teacher",
        metavar="FILE",
        help="also learn from this model: YAMNet as TFLite "
        f"(for {names_with('distillation_weight')})",
    )
    parser.add_argument(
        "--base",
        nargs="+",
        default=[],
        metavar="MODEL.tflite",
        help="the model to put a head on: YAMNet as TFLite, or a bundle "
        f"(for {names_with('on_base')}); a streaming model (for {STREAM}), and others that have "
        "not heard the folds that it has",
    )
    parser.add_argument(
        "--negatives",
        "--other",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="train against sounds with none of the labels: folders with or without a clips.csv "
        "that states licences, or files; a fifth of them sets the thresholds",
    )
    parser.add_argument(
        "--budget",
        type=positive,
        metavar="PER_HOUR",
        help="false alarms an hour, of all labels together, that the thresholds may give on that "
        f"fifth (default {BUDGET_PER_HOUR:g})",
    )
    parser.add_argument(
        "--any-use",
        action="store_true",
        help="learn only from clips and negatives whose own licence allows any use (CC0, public "
        "domain, CC BY, Apache-2.0, BSD, MIT); clips of ESC-50 under other licences are tested on",
    )
    parser.add_argument("--epochs", type=whole, help="number of epochs (default: the preset's)")
    parser.add_argument(
        "--seed", type=seed, default=0, help="seed of everything random (default 0)"
    )


def fold_model(name: str, fold: int) -> str:
    """Name the file of the model that was not trained on a fold."""
    return f"{name}-fold{fold}.tflite"


def add_report_option(parser: Parser) -> None:
    """Add ``--report``."""
    parser.add_argument(
        "--report", metavar="DIR", help="write a report into this folder: index.html, report.json"
    )
