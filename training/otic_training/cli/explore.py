"""``otic explore``."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from otic.cli.arguments import Parser
from otic.errors import RuntimeMissingError
from otic_training.cli.options import add_dataset_options
from otic_training.cli.progress import say
from otic_training.data.dataset import DatasetError
from otic_training.experiment import read_dataset
from otic_training.reports.page import report_folder

_SHOWN_FAILURES = 20  # on standard error; the page lists all


def add_explore_options(parser: Parser) -> None:
    """Add the options of ``otic explore``."""
    parser.epilog = "example: otic explore ESC-50-master --subset esc10 --report esc10-report"
    add_dataset_options(parser)
    parser.add_argument(
        "--report", required=True, metavar="DIR", help="folder for the page, index.html"
    )


def explore(args: argparse.Namespace) -> int:
    """Read every clip, write the page and print its path."""
    for library in ("librosa", "matplotlib"):
        if find_spec(library) is None:
            raise RuntimeMissingError(
                f"exploring needs {library}, which is not installed: pip install 'otic[train]'"
            )

    from otic_training.reports.dataset_page import dataset_page, measure, notes_of, relative_name

    dataset = read_dataset(args)
    folder = report_folder(args.report)
    measured, unreadable = measure(dataset)
    for failure in unreadable[:_SHOWN_FAILURES]:
        say(f"left out {relative_name(failure.clip, args.dataset)}: {failure.reason}")
    if len(unreadable) > _SHOWN_FAILURES:
        say(f"left out {len(unreadable) - _SHOWN_FAILURES} clips more, which the page lists")
    notes = notes_of(measured, args.dataset)
    for name, note in notes[:_SHOWN_FAILURES]:
        say(f"{name}: {note}")
    if len(notes) > _SHOWN_FAILURES:
        say(f"{len(notes) - _SHOWN_FAILURES} notes more, which the page lists")
    if not measured:
        raise DatasetError(
            f"none of the {len(dataset.clips)} clips in '{args.dataset}' can be read"
        )
    path = folder / "index.html"
    dataset_page(args.dataset, dataset, measured, unreadable).write(path)
    print(path)
    return 0
