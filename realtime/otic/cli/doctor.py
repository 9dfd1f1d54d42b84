"""``otic doctor``: its options, and its findings as lines, a table or JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TextIO

from otic.cli.arguments import Parser, add_json_option, input_device, input_url
from otic.system.findings import FAIL, OK, WARN, Finding

_COLOURS = {OK: "green", WARN: "yellow", FAIL: "bold red"}


def add_doctor_options(parser: Parser) -> None:
    """Add the options of ``otic doctor``."""
    parser.epilog = "example: otic doctor --config /etc/otic.toml"
    parser.add_argument(
        "--config", metavar="FILE", help="also check a sensor's settings and receivers"
    )
    parser.add_argument(
        "--device",
        dest="input",
        type=input_device,
        metavar="NAME|INDEX|ID",
        help="the microphone to check",
    )
    parser.add_argument(
        "--url", dest="input", type=input_url, metavar="URL", help="the stream to check"
    )
    parser.add_argument(
        "--no-audio", action="store_true", help="do not record three seconds from the microphone"
    )
    add_json_option(parser)


def doctor(args: argparse.Namespace) -> int:
    """Run every check; exit code 1 where one fails."""
    from otic.diagnostics.doctor import checks_of, look, read_settings
    from otic.system.machine import Board

    board = Board()
    settings, unread = read_settings(args.config, board)
    checks = checks_of(settings, board, args.input, audio=not args.no_audio)
    findings = [unread] if unread else []
    show = _Shown(sys.stdout, quiet=args.json)
    with show:
        for finding in findings:
            show.add(finding)
        for finding in look(checks):
            findings.append(finding)
            show.add(finding)
    passed = all(finding.result != FAIL for finding in findings)
    if args.json:
        report = {"passed": passed, "checks": [asdict(finding) for finding in findings]}
        print(json.dumps(report, indent=2, ensure_ascii=False))
    return 0 if passed else 1


class _Shown:
    """Findings as a person reads them, each as soon as it is known."""

    def __init__(self, out: TextIO, quiet: bool) -> None:
        self._out = out
        self._quiet = quiet
        self._pretty = out.isatty() and os.environ.get("TERM") != "dumb"
        self._findings: list[Finding] = []

    def __enter__(self) -> _Shown:
        return self

    def add(self, finding: Finding) -> None:
        """Print it, or keep it for the table."""
        self._findings.append(finding)
        if self._quiet:
            return
        if self._pretty:
            print(f"\r{len(self._findings)} checks …", end="", file=self._out, flush=True)
        else:
            print("\n".join(plain_lines(finding)), file=self._out, flush=True)

    def __exit__(self, *_: object) -> None:
        if self._pretty and not self._quiet:
            from rich.console import Console

            print("\r\033[K", end="", file=self._out)
            Console(file=self._out).print(table(self._findings))


def plain_lines(finding: Finding) -> list[str]:
    """A line of what was found, and one for each remedy; never cut off."""
    lines = [f"{finding.result:<4}  {finding.name:<16}  {finding.found}"]
    if finding.result != OK:
        lines += [f"{'':<4}  {'':<16}  -> {remedy}" for remedy in finding.remedies]
    return lines


def table(findings: Iterable[Finding]) -> object:
    """The same as a table of rich; what is too long is folded, not cut off."""
    from rich.table import Table
    from rich.text import Text

    shown = Table("check", "result", "found, and what to do", box=None, pad_edge=False)
    for finding in findings:
        text = Text(finding.found, overflow="fold")
        if finding.result != OK:
            for remedy in finding.remedies:
                text.append(f"\n→ {remedy}", style="cyan")
        shown.add_row(Text(finding.name), Text(finding.result, _COLOURS[finding.result]), text)
    return shown
