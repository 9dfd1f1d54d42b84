"""``otic export``: events as other programs read them."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from otic.cli.arguments import Parser
from otic.errors import SinkError, UsageError

if TYPE_CHECKING:
    from otic.scan.export import ExportedFile

_log = logging.getLogger(__name__)

_TABLES = ("csv", "json")
_PAGE = "html"
_BY_FILE = ("audacity", "raven", "webvtt", "srt")


def add_export_options(parser: Parser) -> None:
    """Add the options of ``otic export``."""
    parser.epilog = "example: otic export results --format audacity --out labels"
    parser.add_argument(
        "path",
        metavar="SCAN|LOG",
        help="folder of a scan, of one of its models, or a log of JSON lines",
    )
    parser.add_argument(
        "--format", required=True, choices=(*_BY_FILE, *_TABLES, _PAGE), help="what to write"
    )
    parser.add_argument(
        "--out",
        default="-",
        metavar="PATH",
        help="a file for csv, json and html, else a folder, with a file for each recording "
        "(default: -, standard output; of one recording with the other formats)",
    )


def export(args: argparse.Namespace) -> int:
    """Write the events of a scan or of a log."""
    from otic.scan.export import BY_FILE, write_files, write_table
    from otic.system.files import written_beside

    recordings = _recordings(Path(args.path))
    if args.format in _TABLES:
        if args.out == "-":
            write_table(args.format, recordings, sys.stdout)
            return 0
        with _refused(args.out), written_beside(Path(args.out)) as file:
            count = write_table(args.format, recordings, file)
        _log.info(f"{count} events written to '{args.out}'")
        return 0
    if args.format == _PAGE:
        return _write_page(args, recordings)
    if args.out != "-":
        count = write_files(args.format, recordings, Path(args.out))
        _log.info(f"{count} files written to '{args.out}'")
        return 0
    found = list(recordings)
    if len(found) != 1:
        raise UsageError(
            f"--format {args.format} writes a file for each of {len(found)} recordings: "
            "name a folder with --out"
        )
    print(BY_FILE[args.format][1](found[0]), end="")
    return 0


def _write_page(args: argparse.Namespace, recordings: Iterator[ExportedFile]) -> int:
    from otic.scan.overview import Overview
    from otic.system.files import written_beside

    if args.out == "-":
        raise UsageError("--format html needs the page's path: --out overview.html")
    overview, out = Overview(), Path(args.out)
    overview.add(recordings)
    with _refused(args.out), written_beside(out) as file:
        file.write(overview.page(f"What otic heard in {args.path}", out.absolute().parent))
    _log.info(f"the page is '{args.out}'")
    return 0


@contextmanager
def _refused(out: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SinkError(f"can't write '{out}': {error.strerror}: name another --out") from error


def _recordings(path: Path) -> Iterator[ExportedFile]:
    from otic.scan.export import of_log, of_scan
    from otic.scan.folder import find_runs

    if not path.is_dir():
        return of_log(path)
    runs = find_runs(path)
    if len(runs) != 1:
        raise UsageError(
            f"'{path}' holds {len(runs)} results: name the folder of one: "
            f"{', '.join(str(run.path) for run in runs) or 'no scan has written here yet'}"
        )
    return of_scan(runs[0])
