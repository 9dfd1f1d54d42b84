"""Messages for a person: on standard error, in the journal, or held while a dashboard is shown.

Every room logs to ``logging.getLogger("otic.…")``; :func:`start_logging` gives those messages
their form, one line each. Nothing here blocks: a message that nobody reads is dropped and counted,
since the thread that sends it may be the one that handles the audio.
"""

from __future__ import annotations

import logging
import math
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from otic.errors import printable
from otic.system.sd_notify import journal_prefix

_MOST_HELD = 50
_MINUTE = 60.0
_PATIENCE_SECONDS = 0.1  # for a reader that is busy; none while it still hasn't read
_PIECE = select.PIPE_BUF // 4  # characters: a pipe that is ready takes so many without waiting


def start_logging() -> logging.Logger:
    """Send otic's messages to standard error, from INFO up; the logger of them all.

    Further calls change nothing.
    """
    logger = logging.getLogger("otic")
    if not any(isinstance(handler, StderrHandler) for handler in logger.handlers):
        logger.addHandler(JournalHandler() if journal_prefix("info") else StderrHandler())
    logger.setLevel(logging.INFO)
    return logger


@contextmanager
def held_messages() -> Iterator[deque[str]]:
    """Hold messages while a dashboard has the screen, the latest only; print them afterwards."""
    logger = logging.getLogger("otic")
    shown = [handler for handler in logger.handlers if isinstance(handler, StderrHandler)]
    holding = HoldingHandler()
    for handler in shown:
        logger.removeHandler(handler)
    logger.addHandler(holding)
    try:
        yield holding.lines
    finally:
        logger.removeHandler(holding)
        for handler in shown:
            logger.addHandler(handler)
        print_lines(*holding.lines)


def as_message(message: str) -> str:
    """``otic: message``, on one line, without control characters."""
    return "otic: " + printable(" ".join(message.split()))


def print_lines(*lines: str) -> None:
    """Print lines on standard error as they are; drops and counts those that nobody reads."""
    for line in lines:
        _stderr.write(line)


class StderrHandler(logging.Handler):
    """Prints ``otic: message``."""

    def emit(self, record: logging.LogRecord) -> None:
        print_lines(as_message(record.getMessage()))


class JournalHandler(StderrHandler):
    """Prints the same with the priority that systemd's journal reads from a line's beginning."""

    def emit(self, record: logging.LogRecord) -> None:
        priority = journal_prefix(record.levelname.lower())
        print_lines(priority + as_message(record.getMessage()))


class HoldingHandler(logging.Handler):
    """Keeps the latest messages in ``lines``."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=_MOST_HELD)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(as_message(record.getMessage()))


class OncePerMinute(logging.Filter):
    """Lets each text of a logger through once a minute; the next time says how often it came."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, tuple[float, int]] = {}  # when it was let through, held back since

    def filter(self, record: logging.LogRecord) -> bool:
        text, now = record.getMessage(), time.monotonic()
        since, held_back = self._seen.get(text, (-math.inf, 0))
        if now - since < _MINUTE:
            self._seen[text] = since, held_back + 1
            return False
        if len(self._seen) >= _MOST_HELD:
            self._seen.clear()
        self._seen[text] = now, 0
        if held_back:
            record.msg, record.args = f"{text} ({held_back} times more since)", ()
        return True


class _Stderr:
    """Standard error, as whatever ``sys.stderr`` is at the time.

    Thread safety: any thread may call any method.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dropped = 0
        self._torn = False

    def write(self, line: str) -> None:
        """Write a line, or drop and count it; raises nothing."""
        with self._lock:
            if not self._takes_more(0.0 if self._dropped else _PATIENCE_SECONDS):
                self._dropped += 1
                return
            if self._dropped:
                line = f"otic: {self._dropped} messages were not read in time\n{line}"
                self._dropped = 0
            text = "\n" * self._torn + line + "\n"
            self._torn = False
            for start in range(0, len(text), _PIECE):
                if start and not self._takes_more(_PATIENCE_SECONDS):
                    self._dropped, self._torn = 1, True
                    return
                with suppress(OSError, ValueError):  # a full disk, a closed terminal
                    print(text[start : start + _PIECE], end="", file=sys.stderr, flush=True)  # noqa: T201

    def _takes_more(self, seconds: float) -> bool:
        try:
            poll = select.poll()
            poll.register(sys.stderr.fileno(), select.POLLOUT)
            return bool(poll.poll(1000.0 * seconds))
        except (OSError, ValueError, AttributeError):  # in memory, or closed: no waiting there
            return True


_stderr = _Stderr()


@contextmanager
def silence_native_stderr() -> Iterator[None]:
    """Drop what C and C++ libraries print on standard error.

    LiteRT and TensorFlow announce their start there, and ALSA every device that it tries, in the
    middle of a dashboard, and offer Python no switch for it. Their errors come as exceptions.

    Thread safety: what other threads print on standard error meanwhile is dropped too, so this is
    for start-up only.
    """
    with suppress(OSError, ValueError):
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
