"""The running dashboard: one thread draws, another reads keys."""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from contextlib import suppress
from types import FrameType, TracebackType

from rich.console import Console

from otic.dashboard.canvas import Screen
from otic.dashboard.keys import KeyBindings, KeyReader
from otic.dashboard.layout import Frame
from otic.dashboard.terminal import Terminal
from otic.dashboard.theme import Theme
from otic.dashboard.view_state import ViewState
from otic.streaming.session_view import SessionView

_log = logging.getLogger(__name__)

FRAMES_A_SECOND = 8
_KEY_SECONDS = 0.25  # time until the keys' thread notices the end
_ESCAPE_SECONDS = 0.05  # between the bytes of one key
_JOIN_SECONDS = 5.0  # a mark may still be on its way to the disk


class Dashboard:
    """Shows a :class:`SessionView` on the terminal and carries out what keys ask for.

    Use it as a context manager in the main thread. Neither thread delays the audio.

    Parameters
    ----------
    console : Console
        Knows how many colours the terminal has.
    session_view : SessionView
    """

    def __init__(self, console: Console, session_view: SessionView) -> None:
        self._session_view = session_view
        self._view_state = ViewState()
        theme = Theme.for_console(console)
        self._frame = Frame(session_view, self._view_state, theme)
        self._screen = Screen(theme)
        self._encoding = console.encoding
        self._terminal: Terminal | None = None
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> Dashboard:
        terminal = self._terminal = Terminal()
        self._handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._suspend)
        self._handlers[signal.SIGCONT] = signal.signal(signal.SIGCONT, self._resumed)
        if terminal.in_foreground():
            terminal.enter()
        self._threads = [threading.Thread(target=self._draw, name="dashboard", daemon=True)]
        if terminal.keyboard is not None:
            self._threads.append(threading.Thread(target=self._keys, name="keys", daemon=True))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._terminal is not None
        self._stopped.set()
        try:
            # First of all: whatever happens next, the terminal is restored and stays so.
            self._terminal.leave(hold=True)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)  # type: ignore[arg-type]
            for thread in self._threads:
                thread.join(_JOIN_SECONDS)
        finally:
            if not any(thread.is_alive() for thread in self._threads):
                self._terminal.close()

    def _draw(self) -> None:
        try:
            self._draw_frames()
        except Exception as error:  # the audio goes on
            _log.error(f"the dashboard failed: {type(error).__name__}: {error}")
            assert self._terminal is not None
            self._terminal.leave()

    def _draw_frames(self) -> None:
        """Draw frames at the frame rate; skip one while the terminal has not taken the last."""
        period = 1.0 / FRAMES_A_SECOND
        terminal = self._terminal
        assert terminal is not None
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            due = max(due + period, time.monotonic())
            if not terminal.entered:
                if not terminal.in_foreground():
                    continue
                self._screen.forget()
                terminal.enter()
            if not terminal.flush():
                continue
            width, height = terminal.size()
            text = self._screen.update(self._frame.pieces(width, height), width, height)
            if text and not self._stopped.is_set():
                terminal.write(text, self._encoding)

    def _keys(self) -> None:
        """Read keys and carry them out until the dashboard is closed."""
        terminal = self._terminal
        assert terminal is not None
        assert terminal.keyboard is not None
        reader, key_bindings = KeyReader(), KeyBindings(self._session_view, self._view_state)
        waiting = _KEY_SECONDS
        while not self._stopped.is_set():
            try:
                ready, _, _ = select.select([terminal.keyboard], [], [], waiting)
                if ready and not (terminal.entered and terminal.in_foreground()):
                    self._stopped.wait(_KEY_SECONDS)  # these keys are meant for a shell
                    continue
                data = os.read(terminal.keyboard, 1024) if ready else b""
            except OSError:  # the terminal has gone
                return
            if ready and not data:
                return
            for key in reader.feed(data) if ready else reader.idle():
                try:
                    key_bindings.press(key)
                except Exception as error:  # the other keys still work
                    self._view_state.show_message(f"key {key} failed: {error}", "bad")
                self._frame.forget_verdicts()
            waiting = _ESCAPE_SECONDS if ready else _KEY_SECONDS

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        """Handle Ctrl-Z: give the terminal back, stop, and take it again afterwards."""
        assert self._terminal is not None
        self._terminal.leave(
            hold=True
        )  # otherwise the drawing thread would enter before the process stops
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        # The process stops here until SIGCONT; then the drawing thread enters.
        with suppress(ValueError):
            signal.signal(signal.SIGTSTP, self._suspend)
        self._terminal.release()
        self._session_view.control.clear_wakeup()

    def _resumed(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGCONT: the terminal may have changed meanwhile, so draw everything."""
        assert self._terminal is not None
        if self._terminal.in_foreground():
            self._terminal.leave()
        else:
            self._terminal.forget()
        self._session_view.control.clear_wakeup()
