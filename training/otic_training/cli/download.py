"""``otic download``: data sets, and a model that is not bundled."""

from __future__ import annotations

import argparse
from pathlib import Path

from otic.cli.arguments import Parser
from otic_training.data import download as downloading


def add_download_options(parser: Parser) -> None:
    """Add the options of ``otic download``."""
    parser.epilog = "example: otic download esc50 --to data"
    parser.add_argument(
        "dataset",
        choices=(*downloading.ORIGINALS, downloading.YAMNET),
        help="the data set to download, or the model YAMNet",
    )
    parser.add_argument(
        "--to",
        metavar="DIR",
        help="parent of the new folder, or the folder of the new model (default: here; a model "
        f"where '--model {downloading.YAMNET}' finds it)",
    )


def download(args: argparse.Namespace) -> int:
    """Fetch, check and unpack a data set, or pack a model; prints where it is."""
    if args.dataset == downloading.YAMNET:
        from otic_training.data.yamnet import download_yamnet

        print(download_yamnet(None if args.to is None else Path(args.to)))
    else:
        print(downloading.download(args.dataset, Path(args.to or ".")))
    return 0
