"""``otic listen`` and ``replay``: build the streams, run them, tell the person."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from realtime.bundle import Bundle, load_bundle
from realtime.errors import SourceError
from realtime.messages import say
from realtime.runner import Runner, stop_on_signals
from realtime.sinks import JsonlSink, Sink, TextSink
from realtime.sources import FileSource, PcmSource, Source

if TYPE_CHECKING:
    from realtime.dashboard import Dashboard

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
    bundle = load_bundle(args.model)
    return run_streams(args, bundle, [_opener(args, name, bundle) for name in args.files], [])


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
    show_dashboard = not args.no_dashboard and sys.stdout.isatty() and args.jsonl != "-"
    sinks: list[Sink] = list(extra_sinks)
    if args.jsonl is not None:
        sinks.append(JsonlSink(args.jsonl, args.log))
    if not show_dashboard and args.jsonl is None:
        sinks.append(TextSink(sys.stderr))

    failures = []
    notes: list[str] = []
    runner: Runner | None = None
    with stop_on_signals() as stop, _dashboard(show_dashboard) as dashboard:
        for open_source in openers:
            if stop.requested:
                break
            try:
                source = open_source()
            except SourceError as error:
                failures.append(error)
                continue
            runner = runner or Runner(bundle, sinks)
            monitor = runner.monitor(source)
            if dashboard is not None:
                dashboard.show(monitor)
            try:
                runner.run(source, monitor, stop, args.speed, args.duration)
            except SourceError as error:
                failures.append(error)
            finally:
                source.close()
            notes += source.warnings()
            now = monitor.snapshot()
            if now.n_scores == 0:
                notes.append(
                    f"{source.name}: {now.seconds:.3f} s without a break is less than the model's "
                    f"window of {bundle.features.window_seconds:.3f} s: no window was filled, "
                    "so there are no scores"
                )
        if runner is not None:
            runner.close()
    for note in notes:
        say(note)
    for failure in failures[:-1]:
        say(str(failure))
    if failures:
        raise failures[-1]
    return 0


def _dashboard(wanted: bool) -> AbstractContextManager[Dashboard | None]:
    if not wanted:
        return nullcontext()
    from rich.console import Console

    from realtime.dashboard import Dashboard

    return Dashboard(Console())
