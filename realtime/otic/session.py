"""One run of a command that classifies: from a plan to the exit code and the final notes."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from otic.audio.open import OpenSource, open_all
from otic.config.settings import LevelSettings, ReviewSettings, Settings
from otic.errors import ConfigurationError, ParameterError, SourceError, printable
from otic.features.kernels.jit import cache_problem
from otic.features.level import LevelParams
from otic.model.bundle import Bundle
from otic.sinks.open import open_outputs
from otic.sinks.text import event_text
from otic.streaming.control import Control, Stop, stop_on_signals
from otic.streaming.monitor import Monitor
from otic.streaming.runner import Runner
from otic.system.clock import clock
from otic.system.log import as_message, held_messages, print_lines
from otic.system.sd_notify import Notifier
from otic.types import Event, Sink, Source, StreamStatus

if TYPE_CHECKING:
    from otic.streaming.session_view import SessionView

_log = logging.getLogger(__name__)

_STOP_SECONDS, _REPLAY_STOP_SECONDS = 0.3, 10.0  # for receivers, at the end
_STATUS_SECONDS = 1.0
_A_SAMPLE = 1e-4  # seconds: a duration is rounded to samples


@dataclass(frozen=True)
class Still:
    """A picture of the dashboard: its file, its time in the stream, and its size in cells."""

    path: Path
    at_seconds: float
    width: int
    height: int


@dataclass(frozen=True)
class Plan:
    """A description of a run.

    Attributes
    ----------
    settings : Settings
    bundle : Bundle
        The model.
    openers : sequence of callable
        Each opens one source.
    names : sequence of str
        Names of sources that run one after the other; concurrent sources name themselves.
    extra_sinks : sequence of Sink
        Sinks besides those of the settings.
    speed : float or None
        See :meth:`otic.streaming.runner.Runner.run`.
    duration_seconds : float or None
        The same.
    concurrent : bool
        True to run the sources at the same time.
    require_devices : bool
        True if a missing microphone is an error; otherwise it is waited for.
    permanent : bool
        True for a sensor: it also prints events on standard error, and appends to its log.
    live : bool
        True for microphones: the run stops within a second, whatever a receiver does.
    dashboard : bool
        True to show the dashboard, if there is a terminal.
    still : Still, optional
        A picture to draw instead of a dashboard on the terminal; then the run ends.
    """

    settings: Settings
    bundle: Bundle
    openers: Sequence[OpenSource]
    names: Sequence[str] = ()
    extra_sinks: Sequence[Sink] = ()
    speed: float | None = 1.0
    duration_seconds: float | None = None
    concurrent: bool = False
    require_devices: bool = True
    permanent: bool = False
    live: bool = False
    dashboard: bool = True
    still: Still | None = None


def run_plan(plan: Plan) -> int:
    """Run a plan to its end, print the notes for the person, and return the exit code.

    Raises
    ------
    OticError
        The last failure, after every source has had its turn; the others are printed.
    """
    # Before signals are handled: this may compile, which nothing can stop in an orderly way.
    notifier = Notifier.from_environment()
    session = _Session(plan, notifier)
    if problem := cache_problem():
        _log.warning(problem)
    with stop_on_signals() as stop:
        failures = session.run(stop)
    print_lines(*session.notes)
    for failure in failures[:-1]:
        _log.error(str(failure))
    if failures:
        raise failures[-1]
    return 1 if session.undelivered else 0


class _Session:
    """A running plan."""

    def __init__(self, plan: Plan, notifier: Notifier) -> None:
        self.notes: list[str] = []
        """Lines for the person, printed at the end."""
        self.undelivered = False
        """True if events of a replay were not delivered; a sensor's events wait on disk."""
        self._plan = plan
        self._notifier = notifier
        self._control = Control(plan.bundle.labels, plan.bundle.decision)
        self._runner = Runner(
            plan.bundle,
            "unknown" in plan.settings.log,
            self._on_round,
            self._control,
            _level_params(plan.settings.level),
        )
        self._monitors: list[Monitor] = []
        self._status_at = 0.0
        self._shown = False
        self._session_view: SessionView | None = None
        self._still = plan.still  # None once it is drawn

    def run(self, stop: Stop) -> list[SourceError]:
        """Run all sources; returns the failures."""
        plan = self._plan
        if not plan.concurrent:
            return self._run_groups(stop, [[each] for each in plan.openers], plan.names)
        sources = open_all(plan.openers, plan.require_devices, lambda: stop.requested)
        try:
            names = [source.name for source in sources]
            return self._run_groups(stop, [[lambda s=s: s for s in sources]], names)  # type: ignore[misc]
        finally:
            for source in sources:
                source.close()

    def _run_groups(
        self, stop: Stop, groups: Sequence[Sequence[OpenSource]], names: Sequence[str]
    ) -> list[SourceError]:
        """Run the groups one after the other; the sources of a group run together."""
        plan = self._plan
        failures: list[SourceError] = []
        log = plan.settings.jsonl.path
        shown = plan.dashboard and plan.still is None and log != "-" and _is_terminal()
        self._control.bind(stop)
        outputs = open_outputs(
            plan.settings,
            plan.bundle,
            names,
            self._statuses,
            plain_text=not shown and plan.still is None and (log is None or plan.permanent),
            concurrent=plan.concurrent and len(names) > 1,
            # A stop also ends a replay's wait for its receivers.
            drain_timeout=lambda: (
                _STOP_SECONDS if plan.live or stop.requested else _REPLAY_STOP_SECONDS
            ),
            permanent=plan.permanent,
            kept=plan.live,
        )
        with outputs as opened, self._open_view(shown) as session_view:
            self._notifier.ready()
            for group in groups:
                if stop.requested:
                    break
                try:
                    sources = open_all(group, plan.require_devices, lambda: stop.requested)
                    self._run_group(sources, [*plan.extra_sinks, *opened.sinks], stop, session_view)
                except SourceError as error:
                    failures.append(error)
            self._notifier.stopping()
        if self._still is not None and not failures and not stop.requested:
            raise ParameterError(
                f"--at {self._still.at_seconds:g}: the stream ends at "
                f"{min(m.snapshot().seconds for m in self._monitors):.2f} s: give a smaller --at"
            )
        self.undelivered = not (plan.live or stop.requested) and opened.undelivered() > 0
        for sink in plan.extra_sinks:
            sink.close()
        return failures

    def _run_group(
        self,
        sources: Sequence[Source],
        sinks: Sequence[Sink],
        stop: Stop,
        session_view: SessionView | None,
    ) -> None:
        self._monitors = [self._runner.monitor(source) for source in sources]
        inputs = list(zip(sources, self._monitors, strict=True))
        if session_view is not None:
            sinks = [*sinks, session_view.memories]
            session_view.show(self._monitors)
        try:
            self._runner.run(inputs, sinks, stop, self._plan.speed, self._plan.duration_seconds)
        finally:
            for source, monitor in inputs:
                source.close()
                if self._shown:
                    self.notes += _latest_events(source, monitor)
                self.notes += [as_message(warning) for warning in source.warnings()]
        if not stop.requested:
            self.notes += [line for each in inputs for line in self._too_short(*each)]

    @contextmanager
    def _open_view(self, shown: bool) -> Iterator[SessionView | None]:
        """Open the dashboard and the page; gives the view that both show, None without them."""
        settings = self._plan.settings
        self._shown = shown
        if not shown and settings.web.listen is None and self._still is None:
            yield None
            return
        from otic.streaming.session_view import open_session_view

        if self._still is not None:  # a picture shows nobody's marks
            settings = replace(settings, review=ReviewSettings(enabled=False))

        with ExitStack() as stack:
            # The dashboard shows messages, and they are printed after it has left the screen.
            messages = stack.enter_context(held_messages()) if shown else ()
            session_view = open_session_view(settings, self._plan.bundle, self._control, messages)
            self._session_view = session_view
            if settings.web.listen is not None:
                from otic.web.server import WebServer

                server = WebServer(settings, session_view)
                stack.callback(server.close)
                _log.info(f"the page is at {server.url}")
            if shown:
                from rich.console import Console

                from otic.dashboard.live import Dashboard

                stack.enter_context(Dashboard(Console(), session_view))
            yield session_view
        self.notes += [as_message(change) for change in session_view.changes()]

    def _too_short(self, source: Source, monitor: Monitor) -> list[str]:
        now = monitor.snapshot()
        if now.n_scores:
            return []
        window = self._plan.bundle.window_seconds
        return [
            as_message(
                f"{source.name}: no stretch of its {now.seconds:.6f} s is as long as the "
                f"{window:.6f} s that the model's first scores take: there are no scores"
            )
        ]

    def _statuses(self) -> dict[str, StreamStatus]:
        """Return a snapshot of each running stream, by its name."""
        return {monitor.source: monitor.snapshot() for monitor in self._monitors}

    def _on_round(self) -> None:
        """Report to systemd that this runs, and the state of the microphones."""
        self._notifier.alive()
        if self._still is not None:
            self._draw_still(self._still)
        now = time.monotonic()
        if self._notifier.active and now >= self._status_at:
            self._status_at = now + _STATUS_SECONDS
            states = (f"{m.source} {m.snapshot().state}" for m in self._monitors)
            self._notifier.status(", ".join(states))

    def _draw_still(self, still: Still) -> None:
        """Draw the picture when its time has come, and end the run."""
        if any(m.snapshot().seconds < still.at_seconds - _A_SAMPLE for m in self._monitors):
            return
        from otic.dashboard.svg import write_still

        assert self._session_view is not None
        write_still(self._session_view, still.path, still.width, still.height)
        self._still = None
        self._control.quit()


def _level_params(settings: LevelSettings) -> LevelParams | None:
    """Return how levels are measured; None where they are not.

    Raises
    ------
    ConfigurationError
        If something is set that needs levels, and they are not measured.
    """
    if settings.enabled:
        return LevelParams(settings.calibration_db, settings.loud_db)
    for name in ("calibration_db", "loud_db"):
        if getattr(settings, name) is not None:
            raise ConfigurationError(
                f"level.{name} is set, but level.enabled is not: set that, too"
            )
    return None


def _is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _latest_events(source: Source, monitor: Monitor) -> list[str]:
    """Return what the dashboard showed, for after it has left the screen."""
    now = monitor.snapshot()
    finished = [e for e in now.events if isinstance(e, Event) and e.state == "off"]
    skipped = f", {now.skipped_samples} skipped in pauses" if now.skipped_samples else ""
    return [
        f"{printable(source.name)}: {clock(now.seconds, 2)}, "
        f"{now.lost_samples} samples lost{skipped}, latest events:",
        *(event_text(event) for event in finished),
    ]
