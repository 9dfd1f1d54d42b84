"""``otic tune``: thresholds for a place, from a recording of it and a budget of false alarms."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import otic_models
from otic.cli.arguments import MODEL_HELP, Parser, add_json_option, positive, seed
from otic.errors import OticError
from otic_training.cli.options import add_grouping_options
from otic_training.cli.progress import say
from otic_training.reports.page import LINE_COLOUR, Page, drawing, report_folder

BUDGETS = (60.0, 20.0, 6.0, 2.0, 1.0, 0.5, 0.125, 1.0 / 24.0)
"""False alarms an hour that the table shows beside the one asked for."""


def add_tune_options(parser: Parser) -> None:
    """Add the options of ``otic tune``."""
    parser.epilog = (
        "example: otic tune esc10-stream --background room.wav --budget 0.125 --out room.tflite"
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
    from otic.model.bundle import load_bundle, save_bundle
    from otic.model.classifier import Classifier
    from otic_training.scoring.predictions import at_thresholds
    from otic_training.scoring.thresholds import thresholds
    from otic_training.scoring.tuning import listen, positives, row_of

    bundle = load_bundle(args.model)
    out = Path(args.out or f"{bundle.name}-tuned.tflite")
    _check_out(out, _place(args.model))
    folder = report_folder(args.report) if args.report else None
    classifier = Classifier(bundle)
    room = listen(bundle, classifier, args.background)
    predictions, truths, protocol = positives(args, bundle, classifier)
    rows = []
    for budget in sorted({*BUDGETS, args.budget}, reverse=True):
        params = at_thresholds(bundle.decision, thresholds(room, bundle.decision, budget))
        rows.append(row_of(bundle, room, params, budget, predictions, truths))
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
        text.append(f"  {label:<24}{value:>9.3f}{shown}{never}")
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
