"""What a command that classifies is to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from otic.audio.open import OpenSource
from otic.config.settings import Settings
from otic.model.bundle import Bundle
from otic.sinks.contract import Sink


@dataclass(frozen=True)
class Still:
    """A picture of the dashboard: where it goes, at which second, and its size in cells."""

    path: Path
    at_seconds: float
    width: int
    height: int


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes
    ----------
    settings : Settings
    bundle : Bundle
        The model.
    openers : sequence of callable
        Open a source each.
    names : sequence of str
        What the sources are called, where they run one after the other; else they say it.
    extra_sinks : sequence of Sink
        Beside those of the settings.
    speed : float or None
        See :meth:`otic.streaming.runner.Runner.run`.
    duration_seconds : float or None
        Likewise.
    at_once : bool
        Whether the sources run at the same time.
    must_be_there : bool
        Whether a microphone that is not there is an error, or waited for.
    permanent : bool
        A sensor: events are told on standard error, too, and its log goes on where it was.
    live : bool
        Whether it listens: then it stops within a second, whatever a receiver does.
    dashboard : bool
        Whether a person wants one; there must be a terminal.
    still : Still, optional
        A picture of the dashboard to make, in place of one on the terminal; then it ends.
    """

    settings: Settings
    bundle: Bundle
    openers: Sequence[OpenSource]
    names: Sequence[str] = ()
    extra_sinks: Sequence[Sink] = ()
    speed: float | None = 1.0
    duration_seconds: float | None = None
    at_once: bool = False
    must_be_there: bool = True
    permanent: bool = False
    live: bool = False
    dashboard: bool = True
    still: Still | None = None
