"""What the person at the terminal sees on standard error."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from otic.system.sd_notify import journal_prefix

_MOST_HELD = 50
_held: deque[str] | None = None


def say(message: str) -> None:
    """Print ``otic: message``, on one line; in the journal of a service, as a warning.

    Raises nothing: what can't be printed, on a full disk or a closed terminal, is not
    worth more than what goes on. Thread safety: any thread may call it.
    """
    if _held is not None:
        _held.append(as_message(message))
        return
    with suppress(OSError, ValueError):
        print(journal_prefix("warning") + as_message(message), file=sys.stderr, flush=True)


@contextmanager
def held_messages() -> Iterator[deque[str]]:
    """Keep what is said, the latest of it, and print it in the end: a dashboard has the screen."""
    global _held
    kept: deque[str] = deque(maxlen=_MOST_HELD)
    _held = kept
    try:
        yield kept
    finally:
        _held = None
        for line in kept:
            print(line, file=sys.stderr)


def as_message(message: str) -> str:
    """``otic: message``, on one line."""
    return "otic: " + " ".join(message.split())


@contextmanager
def silence_native_stderr() -> Iterator[None]:
    """Drop what C and C++ libraries print on standard error.

    LiteRT and TensorFlow announce their start-up there, and ALSA every device
    that it tries, in the middle of a dashboard, and offer Python no switch for
    it. Their errors come as exceptions.

    Thread safety: what other threads print on standard error meanwhile is
    dropped too, so this is for start-up only.
    """
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # standard error is closed: there is nothing to drop
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
