"""``otic tune``: thresholds for a place, from a recording of it and a budget of false alarms."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import otic_models
from otic.cli.arguments import MODEL_HELP, Parser, add_json_option, positive, seed
from otic.detection.thresholds import DecisionParams
from otic.errors import OticError
from otic.model.bundle import Bundle, load_bundle, save_bundle
from otic.model.classifier import Classifier
from otic_training.cli.evaluate import folds_to_test
from otic_training.cli.options import add_grouping_options
from otic_training.cli.progress import say
from otic_training.data.dataset import listed
from otic_training.data.sound_tables import audio_below
from otic_training.data.soundscapes import as_sound, mix
from otic_training.experiment import read_dataset
from otic_training.reports.page import LINE_COLOUR, Page, drawing, report_folder
from otic_training.scoring.detections import Judged, event_figures
from otic_training.scoring.predictions import Predictions, at_thresholds, decide, predictions_of
from otic_training.scoring.streaming import read_recording, read_whole
from otic_training.scoring.thresholds import BLOCK_SECONDS, Room, thresholds

_F32 = NDArray[np.float32]
_F64 = NDArray[np.float64]

BUDGETS = (60.0, 20.0, 6.0, 2.0, 1.0, 0.5, 0.125, 1.0 / 24.0)
"""False alarms an hour that the table shows beside the one asked for."""

_ENOUGH_SECONDS = 600.0
_SNR_DB = (0.0, 20.0)


def add_tune_options(parser: Parser) -> None:
    """Add the options of ``otic tune``."""
    parser.epilog = (
        "example: otic tune esc10-logmel-cnn --background room.wav --budget 0.125 --out room.tflite"
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--background",
        nargs="+",
        required=True,
        metavar="FILE",
        help="recordings, or folders of them, without any of the sounds; an hour is good",
    )
    parser.add_argument(
        "--budget",
        type=positive,
        default=0.125,
        metavar="PER_HOUR",
        help="false alarms per hour, of all labels together (default 0.125: one in 8 hours)",
    )
    parser.add_argument(
        "--dataset",
        metavar="DATASET",
        help="labelled sounds, to see the recall that a budget costs",
    )
    parser.add_argument(
        "--folds",
        metavar="N,…",
        help="folds of that data set to use (default: those the model was not trained on)",
    )
    add_grouping_options(parser)
    parser.add_argument("--seed", type=seed, default=0, help="seed of the soundscapes (default 0)")
    parser.add_argument(
        "--out", metavar="MODEL.tflite", help="the bundle to write (default: MODEL-tuned.tflite)"
    )
    parser.add_argument(
        "--report", metavar="DIR", help="write a page with the curves into this folder"
    )
    add_json_option(parser)


def tune(args: argparse.Namespace) -> int:
    """Listen to the background, set thresholds, show what they cost, write a bundle."""
    bundle = load_bundle(args.model)
    out = Path(args.out or f"{bundle.name}-tuned.tflite")
    _check_out(out, _place(args.model))
    folder = report_folder(args.report) if args.report else None
    classifier = Classifier(bundle)
    room = _listen(bundle, classifier, args.background)
    predictions, truths, protocol = _positives(args, bundle, classifier)
    rows = []
    for budget in sorted({*BUDGETS, args.budget}, reverse=True):
        params = at_thresholds(bundle.decision, thresholds(room, bundle.decision, budget))
        rows.append(_row(bundle, room, params, budget, predictions, truths))
    chosen = next(row for row in rows if row["budget_per_hour"] == args.budget)
    params = at_thresholds(bundle.decision, tuple(chosen["thresholds"].values()))
    tuned = {
        "budget_per_hour": args.budget,
        "background_hours": round(room.hours, 4),
        "false_alarms": chosen["false_alarms"],
    }
    save_bundle(
        out,
        replace(
            bundle,
            name=out.stem,
            decision=params,
            provenance={**bundle.provenance, "tuned": tuned},
        ),
    )
    outcome = {
        "model": bundle.name,
        "out": str(out),
        "background_hours": round(room.hours, 4),
        "budget_per_hour": args.budget,
        "protocol": protocol,
        "chosen": chosen,
        "budgets": rows,
    }
    if folder is not None:
        say(f"wrote {_write_page(folder, outcome)}")
    if args.json:
        print(json.dumps(outcome, indent=2))
    else:
        print("\n".join(_lines(outcome)))
    say(f"wrote {out}")
    return 0


def _listen(bundle: Bundle, classifier: Classifier, names: Sequence[str]) -> Room:
    sr = bundle.features.sr
    paths = [str(path) for name in names for path in audio_below(name)]
    predictions = [predictions_of(bundle, classifier, read_whole(path, sr)) for path in paths]
    predictions = [h for h in predictions if len(h.scores)]
    seconds = sum(h.n_samples for h in predictions) / sr
    if seconds < 6.0 * BLOCK_SECONDS:
        raise OticError(
            f"{seconds:.0f} s of background are too little: an hour is good, a minute the least "
            f"(recordings shorter than the window of {bundle.window_seconds:.2f} s do "
            "not count)"
        )
    if seconds < _ENOUGH_SECONDS:
        say(f"only {seconds / 60:.0f} min of background: thresholds from so little are a guess")
    return Room(tuple(predictions))


def _positives(
    args: argparse.Namespace, bundle: Bundle, classifier: Classifier
) -> tuple[list[Predictions], list[Any], str]:
    """Soundscapes of labelled sounds over the background, where a data set is given."""
    if args.dataset is None:
        say("name labelled sounds with --dataset to see the recall that thresholds cost")
        return [], [], ""
    dataset = read_dataset(args)
    folds, notes = folds_to_test(args.folds, bundle, dataset)
    for note in notes:
        say(note)
    sr = bundle.features.sr
    clips = [clip for clip in dataset.clips if clip.fold in folds and clip.label in bundle.labels]
    if not clips:
        raise OticError(
            f"'{args.dataset}' has no clip of {bundle.name}'s labels in folds {listed(folds)}"
        )
    sounds = [as_sound(clip.label, read_recording(clip, sr), sr) for clip in clips]
    pool = [read_whole(str(p), sr) for name in args.background for p in audio_below(name)]
    soundscapes = list(mix(sounds, [pool], sr, _SNR_DB, np.random.default_rng(args.seed)))
    protocol = (
        f"events, onset within 1 s, of {dataset.name}, folds {listed(folds)}, over this "
        f"background at {_SNR_DB[0]:g} to {_SNR_DB[1]:g} dB"
    )
    leak = [note for note in notes if note.startswith("a LEAK")]
    return (
        [predictions_of(bundle, classifier, s.y) for s in soundscapes],
        [s.truths for s in soundscapes],
        "; ".join([*leak, protocol]),
    )


def _row(
    bundle: Bundle,
    room: Room,
    params: DecisionParams,
    budget: float,
    predictions: list[Predictions],
    truths: list[Any],
) -> dict[str, Any]:
    """Measure a budget: thresholds, alarms in the background, and recall if it is known."""
    row: dict[str, Any] = {
        "budget_per_hour": budget,
        "thresholds": dict(zip(bundle.labels, params.on_thresholds, strict=True)),
        "false_alarms": sum(room.alarms(params).values()),
    }
    if predictions:
        judged = [
            Judged(f"{i}", h.n_samples / h.sr, t, tuple(decide(h, params)))
            for i, (h, t) in enumerate(zip(predictions, truths, strict=True))
        ]
        found = event_figures(bundle.labels, judged, 1.0)
        row["recall"] = found["recall"]
        row["f1"] = found["f1"]
        heard_labels = {truth.label for part in truths for truth in part}
        row["recall_by_label"] = {
            k: v["recall"] for k, v in found["by_label"].items() if k in heard_labels
        }
    return row


def _check_out(out: Path, origin: Path) -> None:
    if out.suffix != ".tflite":
        raise OticError(f"--out '{out}' must end in .tflite, as bundles do")
    parent = out.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK) or out.is_dir():
        raise OticError(
            f"can't write '{out}': its folder is missing or can't be written, or it is one"
        )
    if out.exists() and origin.exists() and out.samefile(origin):
        raise OticError(f"--out '{out}' is the model itself: name another file")


def _place(model: str) -> Path:
    """Path of a model's file, bundled or not."""
    if model.endswith(".tflite"):
        return Path(model)
    return Path(otic_models.__file__).with_name(f"{model}.tflite")


def _rate(per_hour: float) -> str:
    """Say a rate: ``2 an hour``, or ``1 in 8 h``."""
    return f"{per_hour:g} an hour" if per_hour >= 1.0 else f"1 in {1.0 / per_hour:g} h"


def _lines(outcome: dict[str, Any]) -> list[str]:
    text = [f"{outcome['background_hours']:.2f} h of background"]
    if outcome["protocol"]:
        text.append(outcome["protocol"])
    text.append(f"  {'at most':<14}{'in background':>14}{'recall':>9}{'F1':>9}")
    for row in outcome["budgets"]:
        measured = "".join(f"{row[k]:>9.1%}" if k in row else f"{'?':>9}" for k in ("recall", "f1"))
        mark = "  <- chosen" if row is outcome["chosen"] else ""
        text.append(
            f"  {_rate(row['budget_per_hour']):<14}{row['false_alarms']:>14}{measured}{mark}"
        )
    text.append(f"  {'label':<24}{'on from':>9}{'recall':>9}")
    recall = outcome["chosen"].get("recall_by_label", {})
    for label, value in outcome["chosen"]["thresholds"].items():
        shown = f"{recall[label]:>9.0%}" if label in recall else f"{'?':>9}"
        never = "  never: the background sounds like it" if value >= 1.0 else ""
        text.append(f"  {label:<24}{value:>9.2f}{shown}{never}")
    return text


def _write_page(folder: Path, outcome: dict[str, Any]) -> Path:
    """The table and, where recall is known, its curve for each label."""
    page = Page(f"{outcome['model']}: thresholds for a place")
    page.paragraph(f"{outcome['background_hours']:.2f} h of background. {outcome['protocol']}")
    rows = outcome["budgets"]
    page.table(
        ("at most", "false alarms in this background", "recall", "F1"),
        [
            (
                _rate(r["budget_per_hour"]),
                r["false_alarms"],
                *(f"{r[k]:.1%}" if k in r else "unknown" for k in ("recall", "f1")),
            )
            for r in rows
        ],
    )
    page.heading("Thresholds chosen")
    page.table(("", "on from"), [*outcome["chosen"]["thresholds"].items()])
    if "recall_by_label" in rows[0]:
        labels = list(rows[0]["recall_by_label"])
        budgets = [r["budget_per_hour"] for r in rows]
        with drawing(9.0, 1.6 * -(-len(labels) // 3)) as figure:
            for i, label in enumerate(labels, 1):
                axes = figure.add_subplot(-(-len(labels) // 3), 3, i)
                recall = [r["recall_by_label"][label] for r in rows]
                axes.semilogx(budgets, recall, marker=".", color=LINE_COLOUR)
                axes.axvline(outcome["budget_per_hour"], linestyle=":", color="#8b939e")
                axes.set_title(label)
                axes.set_ylim(0.0, 1.02)
            page.heading("Recall over the budget, false alarms an hour")
            page.picture(figure, "recall of each label over the budget of false alarms an hour")
    path = folder / "index.html"
    page.write(path)
    return path
