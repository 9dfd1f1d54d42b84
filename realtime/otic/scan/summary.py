"""What a scan says at its end, and while it goes on."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePath
from typing import Any

from otic.scan.folder import Run
from otic.scan.run import Survey
from otic.scan.task import Done
from otic.sinks.summary import aligned

_log = logging.getLogger(__name__)

_LINE_SECONDS = 60.0  # from line to line without a terminal
_MOST_FOLDERS = 5


class Progress:
    """How far a scan is: a bar on a terminal, else a line a minute.

    Parameters
    ----------
    survey : Survey
    clock : callable
        Gives seconds.
    """

    def __init__(self, survey: Survey, clock: Callable[[], float] = time.monotonic) -> None:
        self._survey = survey
        self._clock = clock
        self._began = self._line_at = clock()
        self._bar: Any = None
        self._task: Any = None
        self.files = self.size = self.errors = 0
        self.seconds = 0.0

    def shown(self) -> AbstractContextManager[Any]:
        """Show the bar, where there is a terminal, until the context ends."""
        if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            return nullcontext()
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        text = TextColumn("{task.description}", markup=False)
        self._bar = Bar(BarColumn(), text, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(self.text(), total=max(1, self._survey.size))
        return self._bar  # type: ignore[no-any-return]

    def add(self, done: Done) -> None:
        """Count what a task has done."""
        self.files += done.files
        self.size += done.size
        self.seconds += done.seconds
        self.errors += len(done.errors)
        self.tick()

    def tick(self) -> None:
        """Show how far it is, if it is time to."""
        if self._bar is not None:
            self._bar.update(self._task, completed=self.size, description=self.text())
        elif self._clock() - self._line_at >= _LINE_SECONDS:
            self._line_at = self._clock()
            _log.info(self.text())

    def text(self) -> str:
        """Describe how far it is: files, audio, speed, time left, errors."""
        took = max(1e-9, self._clock() - self._began)
        total = self._survey.files + self._survey.problems
        text = f"{self.files} of {total} files, {self.seconds / 3600:.2f} h of audio"
        if self.size:
            left = took * max(0, self._survey.size - self.size) / self.size
            text += f", {self.seconds / took:.0f} × real time, {duration(left)} left"
        return f"{text}, {self.errors} errors" if self.errors else text


def duration(seconds: float) -> str:
    """Write a time for a person: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 100.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400.0 else f"{seconds / 3600:.1f} h"


def summary(run: Run, share: Callable[[str], bool] = lambda _: True) -> tuple[list[str], int]:
    """Sum up what is on the disk.

    Parameters
    ----------
    run : Run
    share : callable
        Tells of a file whether it is to be counted.

    Returns
    -------
    lines : list of str
        Tables of the labels (events, minutes, files), and of the folders with most errors.
    n_errors : int
    """
    counts: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    files: Counter[str] = Counter()
    latest: dict[str, str] = {}  # a file's events are side by side
    for file, label, onset, offset, *_ in run.rows("events"):
        if share(file):
            counts[label] += 1
            seconds[label] += offset - onset
            files[label] += latest.get(label) != file
            latest[label] = file
    rows = [("label", "events", "minutes", "files")]
    rows += [
        (label, str(count), f"{seconds[label] / 60:.2f}", str(files[label]))
        for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    lines = aligned(rows if counts else [*rows, ("no events", "0", "0.00", "0")])
    folders: dict[str, list[str]] = defaultdict(list)
    errors = {(file, reason) for file, reason in run.rows("errors") if share(file)}
    for file, reason in sorted(errors):
        place = os.path.dirname(file) or "." if PurePath(file).suffix else file  # noqa: PTH120 - or a URL
        folders[place].append(reason)
    worst = sorted(folders.items(), key=lambda item: (-len(item[1]), item[0]))[:_MOST_FOLDERS]
    if worst:
        lines.append("errors  folder, and the first of them")
        lines += [f"{len(reasons):>6}  {folder}: {reasons[0]}" for folder, reasons in worst]
    return lines, len(errors)


def tables_at(run: Run, table: str) -> Path:
    """Name the files of a table, as a pattern."""
    return run.path / "parts" / "*" / f"{table}.{run.format}"
