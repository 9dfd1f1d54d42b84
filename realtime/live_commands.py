"""``otic listen``, ``run`` and ``replay``: build the streams, run them, tell the person."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.bundle import Bundle
from realtime.compiling import cache_problem
from realtime.configuration import DEFAULT_MODEL, KEYS, load_settings
from realtime.errors import SinkError, SourceError
from realtime.events import Event
from realtime.inputs import OpenSource, input_settings, microphones, open_all, recordings
from realtime.messages import as_message, say
from realtime.monitor import Monitor, Snapshot
from realtime.notify import Notifier
from realtime.outputs import open_outputs
from realtime.runner import Runner
from realtime.settings import JsonlSettings, Settings
from realtime.sinks.contract import Sink
from realtime.sinks.text import event_text
from realtime.sources import Source
from realtime.stopping import Stop, stop_on_signals
from realtime.trial import load_tried_bundle

if TYPE_CHECKING:
    from realtime.dashboard import Dashboard

_PACED_BLOCK, _FAST_BLOCK = 1024, 16384
_STOP_SECONDS, _REPLAY_STOP_SECONDS = 0.3, 10.0  # for receivers, at the end


def listen(args: argparse.Namespace) -> int:
    """Classify microphones."""
    settings = _flags(args)
    bundle = load_tried_bundle(args.model)
    openers = microphones(settings, bundle.features.sr, wait=args.wait)
    return run_streams(args, settings, bundle, openers, at_once=True)


def run(args: argparse.Namespace) -> int:
    """Be a sensor: as ``listen``, by a configuration, waiting for what is not there yet."""
    settings = load_settings(args.config, os.environ, vars(args), input_settings(args))
    bundle = load_tried_bundle(settings.model or DEFAULT_MODEL)
    openers = microphones(settings, bundle.features.sr, wait=True)
    return run_streams(args, settings, bundle, openers, at_once=True)


def replay(args: argparse.Namespace) -> int:
    """Classify files, one after the other or all at once."""
    settings = _flags(args)
    if settings.name is None:
        # Not the name of a sensor that runs here: a broker would take one for the other.
        settings = replace(settings, name=f"{socket.gethostname()}-replay")
    if args.report is not None:
        _refuse_to_overwrite(args, "--report", args.report, settings)
    bundle = load_tried_bundle(args.model)
    openers = recordings(args, bundle.features.sr, block_size(args))
    extra: list[Sink] = []
    if args.report is not None:
        from realtime.replay_report import ReplayReport

        extra.append(ReplayReport(args.report, bundle))
    names = ["stdin" if name == "-" else Path(name).name for name in args.files]
    return run_streams(args, settings, bundle, openers, extra, names, at_once=args.together)


def block_size(args: argparse.Namespace) -> int:
    """Samples a read: what was asked for, else small where time matters and large elsewhere."""
    if args.block is not None:
        return int(args.block)
    return _FAST_BLOCK if args.speed is None else _PACED_BLOCK


def log_settings(args: argparse.Namespace) -> Settings:
    """The settings of a command that has a log and nothing more."""
    return Settings(log=tuple(args.log), jsonl=JsonlSettings(path=args.jsonl_path))


def _flags(args: argparse.Namespace) -> Settings:
    """Settings from flags; of the environment only the secrets, which have none."""
    secrets = {key.variable for key in KEYS if key.secret}
    environment = {name: value for name, value in os.environ.items() if name in secrets}
    inputs = input_settings(args) if hasattr(args, "device") else None
    return load_settings(None, environment, vars(args), inputs)


def run_streams(
    args: argparse.Namespace,
    settings: Settings,
    bundle: Bundle,
    openers: Sequence[OpenSource],
    extra_sinks: Sequence[Sink] = (),
    names: Sequence[str] = (),
    at_once: bool = False,
) -> int:
    """Run the sources, at once or one after the other, into the sinks that the settings ask for.

    ``names`` are the sources' where they run one after the other.

    Raises
    ------
    OticError
        The last failure, once all sources had their turn; the others are printed.
    """
    stdout_taken = settings.jsonl.path == "-"
    show_dashboard = not (args.no_dashboard or stdout_taken) and _is_terminal()
    plain_text = not show_dashboard and (settings.jsonl.path is None or args.command == "run")
    if settings.jsonl.path is not None:
        _refuse_to_overwrite(args, "--jsonl", settings.jsonl.path, settings)
    notifier = Notifier.from_environment()
    failures: list[SourceError] = []
    notes: list[str] = []
    with stop_on_signals() as stop:
        # Before the dashboard: it may have to compile.
        runner = Runner(bundle, "unknown" in settings.log, notifier.alive)
        if problem := cache_problem():
            say(problem)
        session = _Session(args, runner, stop, notes)
        patience = _REPLAY_STOP_SECONDS if args.command == "replay" else _STOP_SECONDS
        groups = [list(openers)] if at_once else [[opener] for opener in openers]
        opened = open_all(groups[0]) if at_once else None
        running = names if opened is None else [source.name for source in opened]
        several = at_once and len(openers) > 1
        try:
            outputs = open_outputs(
                settings, bundle, running, session.health, plain_text, several, patience
            )
            with outputs as sinks, _dashboard(show_dashboard) as dashboard:
                session.dashboard, session.sinks = dashboard, [*extra_sinks, *sinks]
                notifier.ready(f"listening: {', '.join(running)}")
                for group in groups:
                    if stop.requested:
                        break
                    try:
                        session.run(opened or open_all(group))
                    except SourceError as error:
                        failures.append(error)
                notifier.stopping()
        finally:
            for source in opened or ():
                source.close()
        for sink in extra_sinks:
            sink.close()
    for note in notes:
        print(note, file=sys.stderr)
    for failure in failures[:-1]:
        say(str(failure))
    if failures:
        raise failures[-1]
    return 0


class _Session:
    """What the runs of one command share."""

    def __init__(
        self, args: argparse.Namespace, runner: Runner, stop: Stop, notes: list[str]
    ) -> None:
        self.dashboard: Dashboard | None = None
        self.sinks: Sequence[Sink] = ()
        self._args = args
        self._runner = runner
        self._stop = stop
        self._notes = notes  # what a person should read afterwards
        self._monitors: list[Monitor] = []

    def health(self) -> dict[str, Snapshot]:
        """A snapshot of each stream that runs."""
        return {monitor.source: monitor.snapshot() for monitor in self._monitors}

    def run(self, sources: Sequence[Source]) -> None:
        """Run these at once, and close them."""
        self._monitors = [self._runner.monitor(source) for source in sources]
        inputs = list(zip(sources, self._monitors, strict=True))
        if self.dashboard is not None:
            self.dashboard.show(self._monitors)
        try:
            self._runner.run(inputs, self.sinks, self._stop, self._args.speed, self._args.duration)
        finally:
            for source, monitor in inputs:
                source.close()
                if self.dashboard is not None:
                    self._notes += _heard(source, monitor)
                self._notes += [as_message(warning) for warning in source.warnings()]
        for source, monitor in inputs:
            now = monitor.snapshot()
            if now.n_scores == 0 and not self._stop.requested:
                window = self._runner.bundle.features.window_seconds
                self._notes.append(
                    as_message(
                        f"{source.name}: no stretch of its {now.seconds:.6f} s is as long as the "
                        f"model's window of {window:.6f} s: no window was filled, "
                        "so there are no scores"
                    )
                )


def _refuse_to_overwrite(
    args: argparse.Namespace, option: str, path: str, settings: Settings
) -> None:
    """No output may be one of the files that are read, or another output, by whatever name."""
    others = [*getattr(args, "files", ()), settings.model or DEFAULT_MODEL]
    if option != "--jsonl" and settings.jsonl.path is not None:
        others.append(settings.jsonl.path)
    for name in others:
        if "-" not in (name, path) and _same_file(name, path):
            raise SinkError(f"{option} '{path}' would overwrite '{name}': name another file")


def _same_file(one: str, other: str) -> bool:
    with suppress(OSError):  # one of them is not there
        return os.path.samefile(one, other)  # noqa: PTH121 - pathlib has no words for less
    return Path(one).resolve() == Path(other).resolve()  # two outputs that are still to be made


def _is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _heard(source: Source, monitor: Monitor) -> list[str]:
    """What was on the dashboard, for after it has left the screen."""
    now = monitor.snapshot()
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
