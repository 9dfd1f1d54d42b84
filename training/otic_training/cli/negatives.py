"""``otic negatives``: speech, music, machines and signals, made here, for ``--negatives``."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from otic.cli.arguments import Parser, positive, seed
from otic.errors import RuntimeMissingError, UsageError
from otic_training.cli.progress import say
from otic_training.data.making import Plan, make_folder, programs
from otic_training.data.played import FONT, built, played, signalled
from otic_training.data.spoken import AUTHORS, spoken

_PLAYER = "fluidsynth"


def add_negatives_options(parser: Parser) -> None:
    """Add the options of ``otic negatives``."""
    parser.epilog = "example: otic negatives made && otic train sounds --negatives made …"
    parser.add_argument("out", metavar="FOLDER", help="the new folder")
    for kind, default, what in (
        ("speech", 1.2, "of speech, by espeak-ng and flite"),
        ("music", 1.0, "of music, by FluidSynth with a sound font"),
        ("machines", 0.3, "of hums, fans, motors; needs no program"),
        ("signals", 0.0, "of alarms, sirens, doorbells, car horns; needs no program"),
    ):
        parser.add_argument(f"--{kind}", type=_hours, default=default, metavar="HOURS",
                            help=f"hours {what} (default: %(default)s; 0 for none)")  # fmt: skip
    parser.add_argument("--font", type=Path, default=FONT, metavar="FILE",
                        help="the sound font FluidR3_GM (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, metavar="N",
                        help="another makes other sounds (default: %(default)s)")  # fmt: skip


def negatives(args: argparse.Namespace) -> int:
    """Make a folder of negatives with a ``clips.csv``; prints its name."""
    if args.font.stem != FONT.stem:
        raise UsageError(
            f"--font {args.font} is not {FONT.stem}, the sound font that is known to be free for "
            "any use: name its file"
        )
    found = programs((*AUTHORS, _PLAYER))
    voices = {name: version for name, version in found.items() if name in AUTHORS}
    plans: dict[str, Plan] = {}
    missing = list[str]()
    if args.speech:
        missing += [name for name in AUTHORS if name not in found]
        if voices:
            plans["speech"] = partial(spoken, voices)
    if args.music:
        missing += [_PLAYER] * (_PLAYER not in found)
        missing += ["fluid-soundfont-gm"] * (not args.font.is_file())
        if _PLAYER in found and args.font.is_file():
            plans["music"] = partial(played, found[_PLAYER], args.font, args.seed)
    if missing:
        how = f"not installed: {', '.join(missing)} (apt install {' '.join(missing)})"
        if not plans:
            raise RuntimeMissingError(f"{how}: install one, or ask for --speech 0 --music 0")
        say(f"{how}: going on without")
    if args.machines:
        plans["machine"] = partial(built, args.seed)
    if args.signals:
        plans["signal"] = partial(signalled, args.seed)
    if not plans:
        raise UsageError("--speech, --music, --machines and --signals are all 0: give hours to one")
    hours = {
        "speech": args.speech,
        "music": args.music,
        "machine": args.machines,
        "signal": args.signals,
    }
    versions = f"{found} {args.font.stem if 'music' in plans else ''}"
    n = make_folder(Path(args.out), plans, {kind: hours[kind] for kind in plans}, args.seed,
                    versions)  # fmt: skip
    say(f"made {n} clips of {', '.join(plans)}")
    print(args.out)
    return 0


def _hours(text: str) -> float:
    """Parse a number of hours, 0 or more."""
    return 0.0 if text == "0" else positive(text)
