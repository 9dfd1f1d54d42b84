"""``otic download``."""

from __future__ import annotations

import argparse
from pathlib import Path

from otic.cli.arguments import Parser
from otic_training.data import download as downloading


def add_download_options(parser: Parser) -> None:
    """Add the options of ``otic download``."""
    parser.epilog = "example: otic download esc50 --to data"
    parser.add_argument(
        "dataset", choices=tuple(downloading.ORIGINALS), help="the data set to download"
    )
    parser.add_argument(
        "--to", default=".", metavar="DIR", help="parent of the new folder (default: here)"
    )


def download(args: argparse.Namespace) -> int:
    """Fetch, check and unpack a data set; prints its folder."""
    print(downloading.download(args.dataset, Path(args.to)))
    return 0
