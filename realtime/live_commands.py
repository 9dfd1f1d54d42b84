"""``otic listen`` and ``replay``: build the streams, run them, tell the person."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.bundle import Bundle, load_bundle
from realtime.compiling import cache_problem
from realtime.errors import SinkError, SourceError
from realtime.events import Event
from realtime.messages import as_message, say
from realtime.runner import Runner, Stop, stop_on_signals
from realtime.sinks import JsonlSink, Sink, TextSink, event_text
from realtime.sources import FileSource, PcmSource, Source

if TYPE_CHECKING:
    from realtime.dashboard import Dashboard
    from realtime.monitor import Snapshot

_PACED_BLOCK, _FAST_BLOCK = 1024, 16384
_STDIN = 0

OpenSource = Callable[[], Source]


def listen(args: argparse.Namespace) -> int:
    """Classify a microphone."""
    from realtime.microphone import Microphone

    bundle = load_bundle(args.model)

    def open_source() -> Source:
        return Microphone(args.device, bundle.features.sr, block_size(args), args.channel)

    return run_streams(args, bundle, [open_source], [])


def replay(args: argparse.Namespace) -> int:
    """Classify files, one after the other."""
    if args.report is not None:
        _refuse_to_overwrite(args, "--report", args.report)
    bundle = load_bundle(args.model)
    openers = [_opener(args, name, bundle) for name in args.files]
    if args.report is None:
        return run_streams(args, bundle, openers, [])
    from realtime.replay_report import ReplayReport

    report = ReplayReport(args.report, bundle)
    return run_streams(args, bundle, [report.hearing(opener) for opener in openers], [report])


def _opener(args: argparse.Namespace, name: str, bundle: Bundle) -> OpenSource:
    sr, block = bundle.features.sr, block_size(args)
    if name == "-":
        return lambda: PcmSource(_STDIN, args.rate, args.channels, sr, block)
    return lambda: FileSource(name, sr, block)


def block_size(args: argparse.Namespace) -> int:
    """Samples a read: what was asked for, else small where time matters and large elsewhere."""
    if args.block is not None:
        return int(args.block)
    return _FAST_BLOCK if args.speed is None else _PACED_BLOCK


def run_streams(
    args: argparse.Namespace,
    bundle: Bundle,
    openers: Sequence[OpenSource],
    extra_sinks: Sequence[Sink],
) -> int:
    """Run the sources one after the other, into the sinks that the arguments ask for.

    Raises
    ------
    OticError
        The last failure, once all sources had their turn; the others are printed.
    """
    show_dashboard = not args.no_dashboard and args.jsonl != "-" and _is_terminal()
    sinks: list[Sink] = list(extra_sinks)
    if args.jsonl is not None:
        _refuse_to_overwrite(args, "--jsonl", args.jsonl)
        sinks.append(JsonlSink(args.jsonl, args.log))
    if not show_dashboard and args.jsonl is None:
        sinks.append(TextSink(sys.stderr))

    failures: list[SourceError] = []
    notes: list[str] = []
    with stop_on_signals() as stop:
        # Before the dashboard: it may have to compile.
        runner = Runner(bundle, sinks, "unknown" in args.log)
        if problem := cache_problem():
            say(problem)
        with _dashboard(show_dashboard) as dashboard:
            for open_source in openers:
                if stop.requested:
                    break
                try:
                    _run_one(open_source, runner, args, stop, dashboard, notes)
                except SourceError as error:
                    failures.append(error)
        runner.close()
    for note in notes:
        print(note, file=sys.stderr)
    for failure in failures[:-1]:
        say(str(failure))
    if failures:
        raise failures[-1]
    return 0


def _refuse_to_overwrite(args: argparse.Namespace, option: str, path: str) -> None:
    """No output may be one of the files that are read, or another output, by whatever name."""
    others = [*getattr(args, "files", ()), args.model]
    if option != "--jsonl" and args.jsonl is not None:
        others.append(args.jsonl)
    for name in others:
        if "-" not in (name, path) and _same_file(name, path):
            raise SinkError(f"{option} '{path}' would overwrite '{name}': name another file")


def _same_file(one: str, other: str) -> bool:
    with suppress(OSError):  # one of them is not there
        return os.path.samefile(one, other)  # noqa: PTH121 - pathlib has no words for less
    return Path(one).resolve() == Path(other).resolve()  # two outputs that are still to be made


def _is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _run_one(
    open_source: OpenSource,
    runner: Runner,
    args: argparse.Namespace,
    stop: Stop,
    dashboard: Dashboard | None,
    notes: list[str],
) -> None:
    """Run one source; what a person should read afterwards goes into ``notes``."""
    source = open_source()
    monitor = runner.monitor(source)
    if dashboard is not None:
        dashboard.show(monitor)
    try:
        runner.run(source, monitor, stop, args.speed, args.duration)
    finally:
        source.close()
        now = monitor.snapshot()
        if dashboard is not None:
            notes += _heard(source, now)
        notes += [as_message(warning) for warning in source.warnings()]
    if now.n_scores == 0 and not stop.requested:
        window = runner.bundle.features.window_seconds
        notes.append(
            as_message(
                f"{source.name}: no stretch of its {now.seconds:.6f} s is as long as the model's "
                f"window of {window:.6f} s: no window was filled, so there are no scores"
            )
        )


def _heard(source: Source, now: Snapshot) -> list[str]:
    """What was on the dashboard, for after it has left the screen."""
    finished = [e for e in now.events if isinstance(e, Event) and e.state == "off"]
    return [
        f"{source.name}: {now.seconds:.2f} s, {now.lost_samples} samples lost, latest events:",
        *(event_text(event) for event in finished),
    ]


def _dashboard(wanted: bool) -> AbstractContextManager[Dashboard | None]:
    if not wanted:
        return nullcontext()
    from rich.console import Console

    from realtime.dashboard import Dashboard

    return Dashboard(Console())
