"""The options of the commands that need the extra ``train``; what they do is in ``training``."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from otic.cli.arguments import decibel_range, positive, seed, whole

PRESETS = ("mfcc-mlp", "logmel-cnn", "tiny", "tutorial", "yamnet-head")
DOWNLOADS = ("esc50", "urbansound8k")
TRACKERS = ("none", "tensorboard", "comet")

AddCommand = Callable[..., argparse.ArgumentParser]


def add_training_commands(command: AddCommand) -> None:
    """Add all of them."""
    _add_data_commands(command)
    _add_train(command)
    _add_crossval(command)
    _add_evaluate(command)
    _add_tune(command)
    _add_search(command)


def _add_data_commands(command: AddCommand) -> None:
    download = command(
        "download",
        "otic_training.data.download:download",
        "fetch a data set and check it (extra 'train')",
        "otic download esc50 --to data",
    )
    download.add_argument("dataset", choices=DOWNLOADS, help="which")
    download.add_argument(
        "--to", default=".", metavar="DIR", help="where its folder goes (default: here)"
    )

    explore = command(
        "explore",
        "otic_training.cli.explore:explore",
        "show what a data set holds, as one HTML page (extra 'train')",
        "otic explore ESC-50-master --subset esc10 --report esc10-report",
    )
    _add_dataset_options(explore)
    explore.add_argument(
        "--report", required=True, metavar="DIR", help="folder for the page, index.html"
    )


def _add_train(command: AddCommand) -> None:
    fit = command(
        "train",
        "otic_training.cli.train:train",
        "train a model on a folder of labelled audio (extra 'train')",
        "otic train ESC-50-master --preset mfcc-mlp --out my.tflite",
    )
    _add_dataset_options(fit)
    _add_recipe_options(fit)
    fit.add_argument(
        "--out",
        metavar="MODEL.tflite",
        help="the bundle to write (default: FOLDER-PRESET.tflite in the current folder)",
    )
    fit.add_argument(
        "--int8", action="store_true", help="also write it with 8-bit weights, MODEL-int8.tflite"
    )
    fit.add_argument(
        "--test-folds",
        metavar="N,…|none",
        help="folds to hold out and test on (default: the last); none: train on all "
        "folds, after a cross-validation that measures the recipe",
    )
    fit.add_argument(
        "--card", metavar="FILE.md", help="write a model card (with --test-folds none)"
    )
    _add_report(fit)
    fit.add_argument(
        "--tracker",
        choices=TRACKERS,
        default="tensorboard",
        help="keeps figures, pictures and sounds of the run (default %(default)s, in runs/)",
    )


def _add_crossval(command: AddCommand) -> None:
    crossval = command(
        "crossval",
        "otic_training.cli.crossval:crossval",
        "train and test on each official fold in turn (extra 'train')",
        "otic crossval ESC-50-master --preset mfcc-mlp",
    )
    _add_dataset_options(crossval)
    _add_recipe_options(crossval)
    crossval.add_argument(
        "--seeds", type=whole, default=1, metavar="N", help="repeat with N seeds (default 1)"
    )
    crossval.add_argument("--int8", action="store_true", help="also of the 8-bit version")
    crossval.add_argument(
        "--models",
        metavar="DIR",
        help="keep the models, fold-1.tflite for the one that was not trained on fold 1",
    )
    crossval.add_argument(
        "--show-leak", action="store_true", help="also a random split's figure, which is a leak"
    )
    _add_report(crossval)
    crossval.add_argument("--json", action="store_true", help="as JSON")


def _add_evaluate(command: AddCommand) -> None:
    evaluate = command(
        "evaluate",
        "otic_training.cli.evaluate:evaluate",
        "test a model on clips, through the live pipeline (extra 'train')",
        "otic evaluate my.tflite ESC-50-master --folds 5 --report my-report",
    )
    evaluate.add_argument("model", metavar="MODEL", help="a bundled name or a .tflite file")
    _add_dataset_options(evaluate)
    evaluate.add_argument(
        "--folds", metavar="N,…", help="test on these (default: those it was not trained on)"
    )
    evaluate.add_argument(
        "--streaming",
        action="store_true",
        help="score events on soundscapes mixed from those clips",
    )
    evaluate.add_argument(
        "--background",
        nargs="+",
        default=[],
        metavar="FILE",
        help="with --streaming: recordings or folders of what a place sounds like; its events are "
        "false alarms (default: noises made here)",
    )
    evaluate.add_argument(
        "--alarms",
        nargs="+",
        default=[],
        metavar="FILE",
        help="with --streaming: recordings without any of the sounds, or folders of them, with a "
        "clips.csv or without: counts false alarms by kind, prints F1 over alarms an hour",
    )
    evaluate.add_argument(
        "--unknown",
        nargs="+",
        default=[],
        metavar="FILE",
        help="with --streaming: sounds that are none of the labels, to be rejected",
    )
    evaluate.add_argument(
        "--snr",
        type=decibel_range,
        default=(0.0, 20.0),
        metavar="LOW,HIGH",
        help="with --streaming: how much louder sounds are than the background, in dB "
        "(default 0,20; --snr=-5,10 for what begins with a minus)",
    )
    evaluate.add_argument(
        "--seed", type=seed, default=0, help="with --streaming: of the soundscapes (default 0)"
    )
    _add_report(evaluate)
    evaluate.add_argument("--json", action="store_true", help="as JSON")


def _add_tune(command: AddCommand) -> None:
    tune = command(
        "tune",
        "otic_training.cli.tune:tune",
        "set thresholds for a place, from a recording of it (extra 'train')",
        "otic tune esc10-logmel-cnn --background room.wav --budget 0.125 --out room.tflite",
    )
    tune.add_argument("model", metavar="MODEL", help="a bundled name or a .tflite file")
    tune.add_argument(
        "--background",
        nargs="+",
        required=True,
        metavar="FILE",
        help="recordings, or folders of them, without any of the sounds; an hour is good",
    )
    tune.add_argument(
        "--budget",
        type=positive,
        default=0.125,
        metavar="PER_HOUR",
        help="false alarms an hour, of all labels together (default 0.125: one in 8 hours)",
    )
    tune.add_argument(
        "--dataset",
        metavar="DATASET",
        help="labelled sounds, to see the recall that a budget costs",
    )
    tune.add_argument(
        "--folds", metavar="N,…", help="of those (default: those the model was not trained on)"
    )
    _add_grouping(tune)
    tune.add_argument("--seed", type=seed, default=0, help="of the soundscapes (default 0)")
    tune.add_argument(
        "--out", metavar="MODEL.tflite", help="the bundle to write (default: MODEL-tuned.tflite)"
    )
    tune.add_argument("--report", metavar="DIR", help="folder for a page with the curves")
    tune.add_argument("--json", action="store_true", help="as JSON")


def _add_search(command: AddCommand) -> None:
    search = command(
        "search",
        "otic_training.cli.search:search",
        "tune a preset's hyper-parameters on validation folds (extra 'search')",
        "otic search ESC-50-master --preset mfcc-mlp --test-folds 5 --study esc.db",
    )
    _add_dataset_options(search)
    _add_recipe_options(search)
    search.add_argument(
        "--test-folds",
        metavar="N,…",
        help="folds that are not looked at (default: the last)",
    )
    search.add_argument(
        "--trials", type=whole, default=20, metavar="N", help="how many to try (default 20)"
    )
    search.add_argument(
        "--study",
        default="otic-search.db",
        metavar="FILE",
        help="where trials are kept; an existing one is resumed (default %(default)s)",
    )
    search.add_argument("--json", action="store_true", help="as JSON")


def _add_dataset_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help="folder in UrbanSound8K's or ESC-50's layout, or with a folder for each class",
    )
    _add_grouping(parser)


def _add_grouping(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--group-regex",
        metavar="REGEX",
        help="for class folders: what in a file's name tells its recording; "
        "clips of one recording share a fold",
    )
    parser.add_argument("--subset", choices=["esc10"], help="of ESC-50: ESC-10's clips only")


def _add_recipe_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preset",
        default=PRESETS[0],
        metavar="PRESET",
        help=f"{', '.join(PRESETS)} (default %(default)s)",
    )
    parser.add_argument(
        "--teacher",
        metavar="FILE",
        help="learn from this too: YAMNet as TFLite (logmel-cnn and tiny)",
    )
    parser.add_argument(
        "--base",
        metavar="MODEL.tflite",
        help="the model to put a head on: YAMNet as TFLite, or a bundle (yamnet-head)",
    )
    parser.add_argument(
        "--other",
        nargs="+",
        default=[],
        metavar="FILE",
        help="recordings or folders of sounds that are none of the labels, to be trained as such",
    )
    parser.add_argument("--epochs", type=whole, help="in place of the preset's")
    parser.add_argument("--seed", type=seed, default=0, help="of everything random (default 0)")


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--report", metavar="DIR", help="folder for a report: index.html and report.json"
    )
