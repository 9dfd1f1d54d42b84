"""``otic review``: list marked events, or make a data set of them."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from otic.cli.arguments import Parser, add_json_option, positive
from otic.config.load import load_settings
from otic.errors import SinkError, printable

if TYPE_CHECKING:
    from otic.review.export import Exported
    from otic.review.folder import ReviewFolder
    from otic.review.mark import Mark

_log = logging.getLogger(__name__)

_HEADINGS = ("when", "source", "label", "verdict", "true label", "sound")
_LEAST_LABELS, _LEAST_RECORDINGS = 2, 2
_MIN_SECONDS = 2.5
_DIRECTORY_HELP = (
    "the review folder (default: $OTIC_REVIEW_DIRECTORY, else the service's state folder, "
    "else the user's)"
)


def add_review_options(parser: Parser) -> None:
    """Add the options of ``otic review list`` and ``otic review export``."""
    parser.epilog = "example: otic review export --out marked"
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser(
        "list", help="list the marked events", epilog="example: otic review list"
    )
    listing.add_argument("directory", nargs="?", metavar="DIR", help=_DIRECTORY_HELP)
    add_json_option(listing, "print JSON, with everything that is known")
    listing.set_defaults(do=list_marks)

    exporting = actions.add_parser(
        "export",
        help="write a data set for 'otic train', grouped by recording",
        epilog="example: otic review export --out marked",
    )
    exporting.add_argument("directory", nargs="?", metavar="DIR", help=_DIRECTORY_HELP)
    exporting.add_argument(
        "--out", required=True, metavar="DATASET", help="the folder to write, new or empty"
    )
    exporting.add_argument(
        "--min-seconds",
        type=positive,
        default=_MIN_SECONDS,
        metavar="SECONDS",
        help="extend shorter clips with the sound around the event, then with silence, so that "
        "a model's window fits (default %(default)s)",
    )
    exporting.set_defaults(do=export_marks)


def review(args: argparse.Namespace) -> int:
    """List marks or export them, as the action says."""
    return int(args.do(args))


def list_marks(args: argparse.Namespace) -> int:
    """``otic review list``: print the latest mark of each event."""
    folder = review_folder(args.directory)
    marks = folder.marks()
    recorded = [mark.clip is not None and (folder.audio / mark.clip).is_file() for mark in marks]
    if args.json:
        values = [{**m.to_dict(), "sound": s} for m, s in zip(marks, recorded, strict=True)]
        print(json.dumps(values, indent=2))
        return 0
    rows = [_row(mark, sound) for mark, sound in zip(marks, recorded, strict=True)]
    widths = [max(len(row[i]) for row in [_HEADINGS, *rows]) for i in range(len(_HEADINGS))]
    for row in [_HEADINGS, *rows]:
        print("  ".join(f"{cell:{n}}" for cell, n in zip(row, widths, strict=True)).rstrip())
    return 0


def export_marks(args: argparse.Namespace) -> int:
    """``otic review export``: write a data set, and print what it holds and what comes next."""
    from otic.review.export import OTHER_FOLDER, export

    folder = review_folder(args.directory)
    exported = export(folder.marks(), folder.audio, Path(args.out), args.min_seconds)
    for why, n in exported.left_out.items():
        _log.warning(f"left out: {n} {why}")
    for label, name in exported.renamed.items():
        _log.warning(
            f"the label {label!r} can't name a folder: it is called {name!r} in the data set"
        )
    for label, n in exported.clips.items():
        print(f"{label}: clips {n}, recordings {exported.recordings[label]}")
    if exported.others:
        print(f"without a label, in {OTHER_FOLDER}: clips {exported.others}")
    for line in _lacking(exported):
        _log.warning(line)
    out = shlex.quote(args.out)
    other = (
        f" --negatives {shlex.quote(str(Path(args.out) / OTHER_FOLDER))}" if exported.others else ""
    )
    print(f"next: otic train {out}{other}")
    return 0


def review_folder(directory: str | None) -> ReviewFolder:
    """Open the review folder that is named, else the one that is set, else the user's.

    Raises
    ------
    SinkError
        If no event is marked there.
    """
    from otic.review.folder import MARKS, ReviewFolder, review_path

    if directory is None:
        settings = load_settings(None, os.environ, {}, ())
        path = review_path(settings.review, os.environ)
    else:
        path = Path(directory)
    if not (path / MARKS).is_file():
        raise SinkError(
            f"no marks in {str(path)!r}: mark events while otic runs, or name another folder "
            "(a service's is mostly /var/lib/otic/review)"
        )
    return ReviewFolder(path)


def _lacking(exported: Exported) -> Sequence[str]:
    """List what training would still need."""
    rule = "training takes two labels or more, with two recordings or more each"
    if len(exported.clips) < _LEAST_LABELS:
        return [f"{rule}: there are {len(exported.clips)} labels so far: mark more"]
    few = [label for label, n in exported.recordings.items() if n < _LEAST_RECORDINGS]
    if not few:
        return []
    return [
        f"{rule}: {', '.join(few)} so far {'has' if len(few) == 1 else 'have'} one: mark more "
        "on another occasion (ten minutes apart or more), or move the folder away"
    ]


def _row(mark: Mark, sound: bool) -> tuple[str, ...]:
    when = mark.onset_at or f"{mark.onset:.3f} s"
    cells = (when, mark.source, mark.label, mark.verdict, mark.true_label or "-")
    return (*(printable(cell) for cell in cells), "yes" if sound else "no")
