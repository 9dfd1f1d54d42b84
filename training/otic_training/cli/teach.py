"""``otic teach``: a model of somebody's own sounds, from a few clips of each, in seconds."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from otic.cli.arguments import Parser, add_json_option, positive, seed
from otic.config.values import DEFAULT_MODEL
from otic.errors import OticError, UsageError
from otic.model.bundle import load_bundle, save_bundle
from otic_training.cli.progress import say

if TYPE_CHECKING:
    from otic_training.teaching.folder import Folder

_REVIEWED_SECONDS = 1.0  # shortest clip of an event


def add_teach_options(parser: Parser) -> None:
    """Add the options of ``otic teach``."""
    parser.epilog = "example: otic teach doorbell --from clips; otic listen --model doorbell.tflite"
    parser.add_argument("name", metavar="NAME", help="name of the model, and of its single sound")
    parser.add_argument(
        "--from",
        dest="folder",
        required=True,
        metavar="FOLDER",
        help="a folder for each sound, or clips of one sound, which is then called NAME; "
        "recordings in _background or _other are not to be reported",
    )
    parser.add_argument(
        "--more",
        action="append",
        default=[],
        metavar="FOLDER",
        help="another such folder, for more recordings; may be repeated",
    )
    parser.add_argument(
        "--reviewed",
        nargs="?",
        const="",
        metavar="DIR",
        help="learn events that were marked right or wrong, too (default: where 'otic review' "
        "finds them)",
    )
    parser.add_argument(
        "--negatives",
        action="append",
        metavar="CLASS|none",
        help="a class folder of what is not to be reported; none: all folders are sounds",
    )
    parser.add_argument(
        "--into", metavar="MODEL", help="add the sounds to those of a streaming model"
    )
    parser.add_argument(
        "--base",
        metavar="MODEL",
        help=f"streaming model whose base hears for the new one (default {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--out", metavar="MODEL.tflite", help="bundle to write (default: NAME.tflite)"
    )
    parser.add_argument(
        "--budget",
        type=positive,
        metavar="N",
        help="false alarms that thresholds allow, of all new sounds, in an hour that is full of "
        "other sounds (default 10)",
    )
    parser.add_argument(
        "--group-regex",
        metavar="REGEX",
        help="finds the recording in a file's name, where clips were cut from one recording",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="of all chance (default 0)"
    )
    add_json_option(parser, "print figures as JSON")


def teach(args: argparse.Namespace) -> int:
    """Learn, say how well it will do, and write the bundle."""
    out = Path(args.out or f"{args.name}.tflite")
    check_out(args.name, out)
    if args.into and args.base:
        raise UsageError("--into takes the base of its own model: leave --base out")
    model = load_bundle(args.into or args.base or DEFAULT_MODEL)

    from otic_training.teaching import words
    from otic_training.teaching.learn import Plan
    from otic_training.teaching.teach import BUDGET_PER_HOUR
    from otic_training.teaching.teach import teach as learned

    with tempfile.TemporaryDirectory() as scratch:
        folder = _clips(args, Path(scratch))
        for note in folder.notes:
            say(note)
        taught = learned(
            args.name,
            folder,
            model,
            bool(args.into),
            args.budget or BUDGET_PER_HOUR,
            Plan(seed=args.seed),
        )
    written = save_bundle(out, taught.bundle)
    if args.json:
        found = asdict(taught.assessment)
        remarks = words.remarks(taught)
        values = {"model": str(out), "sha256": written.sha256, **found, "remarks": remarks}
        print(json.dumps(values, indent=2))
        return 0
    for line in (*words.summary(taught), "", *words.table(taught), ""):
        print(line)
    for line in words.remarks(taught):
        print(f"- {line}")
    print(f"wrote {out} ({out.stat().st_size / 1000:.0f} kB)")
    print(f"try it: otic listen --model {shlex.quote(str(out))}")
    return 0


def check_out(name: str, out: Path) -> None:
    """Find out before the work whether its result can be written.

    Raises
    ------
    OticError
        If not.
    """
    if "/" in name or name.startswith(".") or not name.strip():
        raise UsageError(f"NAME '{name}' must be a plain name: give a path with --out")
    if out.suffix != ".tflite":
        raise OticError(f"--out '{out}' must end in .tflite, as bundles do")
    if not out.absolute().parent.is_dir() or out.is_dir():
        raise OticError(f"can't write '{out}': its folder is missing, or it is one")


def _clips(args: argparse.Namespace, scratch: Path) -> Folder:
    from otic_training.teaching.folder import joined, read_folder

    folders = [
        read_folder(Path(name), args.name, args.negatives, ask(), args.group_regex)
        for name in (args.folder, *args.more)
    ]
    if args.reviewed is not None:
        folders.append(_reviewed(args.reviewed, scratch / "reviewed", joined(folders)))
    return joined(folders)


def _reviewed(directory: str, out: Path, so_far: Folder) -> Folder:
    """Marked events: those of labels that are taught, and those that were none."""
    from otic.cli.review import review_folder
    from otic.review.export import export
    from otic_training.teaching.folder import Folder, read_folder, unlabelled

    marked = review_folder(directory or None)
    exported = export(marked.marks(), marked.audio, out, _REVIEWED_SECONDS)
    found = read_folder(out, "", [], None) if exported.clips else Folder((), (), ())
    labels = {clip.label for clip in so_far.clips}
    kept = tuple(clip for clip in found.clips if clip.label in labels)
    others = unlabelled(out)
    say(
        f"marked events: {len(kept)} of the sounds to learn, {len(others)} that were none, "
        f"{len(found.clips) - len(kept)} of other labels, which are left out"
    )
    return Folder(kept, tuple(others), ())


def ask() -> Callable[[str], bool] | None:
    """Return what asks a person; None where there is no terminal."""
    return _ask if sys.stdin.isatty() and sys.stderr.isatty() else None


def _ask(name: str) -> bool:
    """Ask whether a folder holds what is not to be reported."""
    print(
        f"Is '{name}' a folder of what is not to be reported (y), or a sound to report (n)? ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip().lower() in ("y", "yes")
