"""``otic review``: its options."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from otic.cli.arguments import positive

_HANDLERS = "otic.cli.review"
_MIN_SECONDS = 2.5
_DIRECTORY_HELP = (
    "the review folder (default: $OTIC_REVIEW_DIRECTORY, else the service's state folder, "
    "else the user's)"
)


def add_review_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add ``review list`` and ``review export``."""
    review = command(
        "review",
        f"{_HANDLERS}:list_marks",
        "events that were marked right or wrong: list them, or make a data set of them",
        "otic review export --out heard",
    )
    actions = review.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, handler: str, summary: str, example: str) -> argparse.ArgumentParser:
        added = actions.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example: {example}",
            allow_abbrev=False,
        )
        added.add_argument("directory", nargs="?", metavar="DIR", help=_DIRECTORY_HELP)
        # Not given here, it must not undo what was given before the action.
        added.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show a traceback on errors",
        )
        added.set_defaults(handler=f"{_HANDLERS}:{handler}")
        return added

    listed = action("list", "list_marks", "print the marked events", "otic review list")
    listed.add_argument("--json", action="store_true", help="as JSON, with all that is known")

    export = action(
        "export",
        "export_marks",
        "write a data set folder that 'otic train' takes, grouped by recording",
        "otic review export --out heard",
    )
    export.add_argument(
        "--out", required=True, metavar="DATASET", help="the folder to write, new or empty"
    )
    export.add_argument(
        "--min-seconds",
        type=positive,
        default=_MIN_SECONDS,
        metavar="SECONDS",
        help="give shorter events more of what was around them, and then silence: a model's "
        "window must fit (default %(default)s)",
    )
