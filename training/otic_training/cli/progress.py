"""Messages and a bar on standard error, for work that takes long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

say = logging.getLogger("otic.training").info
"""Tell the person at the terminal, on one line."""


@contextmanager
def progress(
    what: str, total: int, done: int = 0, in_bytes: bool = False
) -> Iterator[Callable[[float], None]]:
    """Show a bar where standard error is a terminal; gives the function that moves it on.

    Parameters
    ----------
    what : str
        Stands before it.
    total, done : int
        Where it ends, and where it begins.
    in_bytes : bool
        Show megabytes and a rate.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    amount = (DownloadColumn(), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)
    with Progress(
        "{task.description}",
        BarColumn(),
        *amount,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda n: bar.advance(task, n)
