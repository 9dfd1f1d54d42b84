"""``otic teach``: a model of somebody's own sounds, from a few clips of each, in seconds."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from otic.audio.folders import audio_files
from otic.cli.arguments import Parser, add_json_option, positive, seed, whole
from otic.config.values import DEFAULT_MODEL
from otic.errors import OticError, UsageError
from otic.model.bundle import load_bundle, save_bundle
from otic.system.log import print_lines
from otic_training.cli.progress import say

if TYPE_CHECKING:
    from otic.model.bundle import Bundle
    from otic_training.cli.dialogue import Keys, Screen
    from otic_training.teaching.folder import Folder
    from otic_training.teaching.teach import Taught

_REVIEWED_SECONDS = 1.0  # shortest clip of an event
_ROOM_SECONDS, _ROOM_AGAIN_SECONDS = 60.0, 10.0
_EXAMPLES, _MORE_EXAMPLES = 10, 5
_INTERRUPTED = 130


def add_teach_options(parser: Parser) -> None:
    """Add the options of ``otic teach``."""
    parser.epilog = (
        "example: otic teach doorbell (from the microphone), or otic teach doorbell --from clips; "
        "otic listen --model doorbell.tflite"
    )
    parser.add_argument("name", metavar="NAME", help="name of the model, and of its single sound")
    parser.add_argument(
        "--from",
        dest="folder",
        metavar="FOLDER",
        help="a folder for each sound, or clips of one sound, which is then called NAME; "
        "recordings in _background or _other are not to be reported (default: record NAME from "
        "the microphone)",
    )
    parser.add_argument(
        "--more",
        action="append",
        nargs="?",
        const="",
        default=[],
        metavar="FOLDER",
        help="another such folder, for more recordings; may be repeated. Without FOLDER: record "
        "more from the microphone",
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
    group = parser.add_argument_group("microphone")
    group.add_argument(
        "--device", metavar="NAME|INDEX|ID", help="input device (default: the system's)"
    )
    group.add_argument("--channel", type=whole, metavar="N", help="use channel N, counted from 1")
    group.add_argument(
        "--recordings", metavar="DIR", help="where to keep what is recorded (default: NAME-sounds)"
    )
    group.add_argument(
        "--room-seconds",
        type=positive,
        metavar="SECONDS",
        help=f"length of the recording of the room (default {_ROOM_SECONDS:.0f}; "
        f"{_ROOM_AGAIN_SECONDS:.0f} where there is one already)",
    )
    group.add_argument(
        "--examples",
        type=whole,
        metavar="N",
        help=f"examples to record (default {_EXAMPLES}; {_MORE_EXAMPLES} with --more)",
    )
    group.add_argument(
        "--web",
        metavar="[HOST:]PORT",
        help="ask on a page in place of the terminal, and listen on it (needs the extra web)",
    )


def teach(args: argparse.Namespace) -> int:
    """Learn, say how well it will do, and write the bundle."""
    out = Path(args.out or f"{args.name}.tflite")
    check_out(args.name, out)
    if args.into and args.base:
        raise UsageError("--into takes the base of its own model: leave --base out")
    if args.folder is None:
        return _from_microphone(args, out)
    _check_folder_options(args)
    model = load_bundle(args.into or args.base or DEFAULT_MODEL)
    _report(args, _learn(args, Path(args.folder), out, model), out)
    return 0


def _learn(args: argparse.Namespace, root: Path, out: Path, model: Bundle) -> Taught:
    """Learn from a folder and whatever is added to it, and write the bundle."""
    from otic_training.teaching.learn import Plan
    from otic_training.teaching.teach import BUDGET_PER_HOUR
    from otic_training.teaching.teach import teach as learned

    with tempfile.TemporaryDirectory() as scratch:
        folder = _clips(args, root, Path(scratch))
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
    return replace(taught, bundle=save_bundle(out, taught.bundle))


def _report(
    args: argparse.Namespace, taught: Taught, out: Path, page: Screen | None = None
) -> None:
    """Print what came of it, on a page too."""
    from otic_training.teaching import words

    if args.json:
        found = asdict(taught.assessment)
        remarks = words.remarks(taught)
        values = {"model": str(out), "sha256": taught.bundle.sha256, **found, "remarks": remarks}
        print(json.dumps(values, indent=2))
        return
    lines = [*words.summary(taught), "", *words.table(taught), ""]
    lines += [f"- {line}" for line in words.remarks(taught)]
    lines.append(f"wrote {out} ({out.stat().st_size / 1000:.0f} kB)")
    lines.append(f"try it: otic listen --model {shlex.quote(str(out))}")
    for line in lines:
        print(line)
        if page is not None:
            page.say(line, "table")


def _check_folder_options(args: argparse.Namespace) -> None:
    if "" in args.more:
        raise UsageError("--more needs a FOLDER beside --from")
    for name in ("device", "channel", "recordings", "room_seconds", "examples", "web"):
        if getattr(args, name) is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} is for the microphone: leave it out, or --from"
            )


def _from_microphone(args: argparse.Namespace, out: Path) -> int:
    """Record in a dialogue, learn from that, and listen; what was kept survives whatever comes."""
    if not (args.web or (sys.stdin.isatty() and sys.stderr.isatty())):
        raise UsageError(
            "recording from the microphone asks questions: run it in a terminal, add --web PORT, "
            "or give clips with --from FOLDER"
        )
    if args.json or args.group_regex:
        raise UsageError("--json and --group-regex need --from FOLDER")

    from otic_training.base.head import without_head
    from otic_training.data.class_folders import label_of

    label = label_of(args.name)
    if label.startswith("_"):
        raise UsageError(f"NAME '{args.name}' must not begin with '_': such a folder is no sound")
    model = load_bundle(args.into or args.base or DEFAULT_MODEL)
    without_head(model)  # it must have a base
    if args.into and label in model.labels:
        raise OticError(f"'{model.name}' has a label '{label}' already: choose another NAME")
    root = Path(args.recordings or f"{args.name}-sounds")
    if "" not in args.more and (before := len(audio_files(root / label))):
        raise OticError(
            f"'{root}' holds recordings of '{label}' already ({before}): add --more to record "
            f"more, or learn from them with --from {shlex.quote(str(root))}"
        )
    with ExitStack() as stack:
        screen, keys = _place(args, stack)
        try:
            answer = _converse(args, root, label, out, model, screen, keys)
        except KeyboardInterrupt:
            screen.say()
            print_lines(*_how_to_go_on(args, root, label))
            return _INTERRUPTED
    return 0 if answer == "q" else _listen(args, out)


def _place(args: argparse.Namespace, stack: ExitStack) -> tuple[Screen, Keys]:
    """Open the page, or take the terminal."""
    if args.web:
        from otic_training.cli.teach_page import served

        page, answers, url = stack.enter_context(served(args.web))
        say(f"the page is at {url}")
        return page, answers

    from otic_training.cli.dialogue import Keyboard, TerminalScreen

    return TerminalScreen(), stack.enter_context(Keyboard())


def _converse(
    args: argparse.Namespace,
    root: Path,
    label: str,
    out: Path,
    model: Bundle,
    screen: Screen,
    keys: Keys,
) -> str:
    """Record and learn until that is enough: ``enter`` to listen, ``q`` for done."""
    from otic_training.base.head import without_head
    from otic_training.cli.dialogue import Dialogue, opened
    from otic_training.teaching.recorded import BACKGROUND, Recordings

    p = without_head(model).features
    new = not audio_files(root / label)
    while True:
        some = bool(audio_files(root / label))
        known = some or bool(audio_files(root / BACKGROUND))
        with opened(args.device, args.channel, p, screen, keys) as ear:
            screen.say(f"Microphone: {ear.name}. Recordings are kept in '{root}'. Ctrl-C stops.")
            Dialogue(ear, screen, Recordings(root, label, p.sr, ear.name), p).record(
                args.room_seconds or (_ROOM_AGAIN_SECONDS if known else _ROOM_SECONDS),
                args.examples or (_MORE_EXAMPLES if some else _EXAMPLES),
            )
        screen.say()
        screen.say("3. Learning from what was recorded", "heading")
        taught = _learn(args, root, out, model)
        _report(args, taught, out, screen if args.web else None)
        if new:
            screen.say(
                "- all of it was recorded in one go: expect less on other days and from other "
                "places, and record some then:"
            )
            screen.command(_command(args, "--more"))
        answers = {"enter": "listen with it now", "m": "record more", "q": "done"}
        screen.ask(answers)
        answer = keys.wait_for(list(answers))
        screen.say()
        if answer != "m":
            return answer


def _how_to_go_on(args: argparse.Namespace, root: Path, label: str) -> list[str]:
    """Say what was kept, and the commands that go on."""
    from otic_training.teaching.recorded import BACKGROUND

    n_kept = len(audio_files(root / label))
    kept = "nothing was recorded yet"
    if n_kept:
        kept = f"recordings of '{label}' that are kept in '{root}': {n_kept}"
    elif audio_files(root / BACKGROUND):
        kept = f"the room is kept in '{root}'"
    lines = [f"stopped: {kept}. To record more:", f"  {_command(args, '--more')}"]
    if n_kept:
        lines += ["To learn from what is there:", f"  {_command(args, '--from', str(root))}"]
    return lines


def _command(args: argparse.Namespace, *words: str) -> str:
    """Compose the command that goes on, with the options that were given."""
    more = [["--more", folder] for folder in args.more if folder]
    given = [
        [f"--{name.replace('_', '-')}", str(value)]
        for name in ("into", "base", "out", "budget")
        if (value := getattr(args, name)) is not None
    ]
    given += [["--negatives", name] for name in args.negatives or ()]
    if args.reviewed is not None:
        given.append(["--reviewed", *filter(None, [args.reviewed])])
    if args.seed:
        given.append(["--seed", str(args.seed)])
    if "--from" not in words:
        given += [
            [f"--{name}", str(value)]
            for name in ("device", "channel", "recordings", "web")
            if (value := getattr(args, name)) is not None
        ]
    return shlex.join(
        ["otic", "teach", args.name, *words, *(w for each in more + given for w in each)]
    )


def _listen(args: argparse.Namespace, out: Path) -> int:
    from otic.cli.live import add_listen_options, listen

    parser = Parser(prog="otic listen")
    add_listen_options(parser)
    words = ["--model", str(out)]
    words += ["--device", args.device] if args.device is not None else []
    words += ["--channel", str(args.channel)] if args.channel is not None else []
    words += ["--web", args.web] if args.web else []
    return listen(parser.parse_args(words))


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


def _clips(args: argparse.Namespace, root: Path, scratch: Path) -> Folder:
    from otic_training.teaching.folder import joined, read_folder

    recorded = args.folder is None  # then each folder is a sound, whatever it is called
    folders = [
        read_folder(root, args.name, () if recorded else args.negatives, ask(), args.group_regex)
    ]
    folders += [
        read_folder(Path(name), args.name, args.negatives, ask(), args.group_regex)
        for name in args.more
        if name
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
