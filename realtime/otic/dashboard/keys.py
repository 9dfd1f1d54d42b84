"""Keys: a keyboard's bytes become names, and each name an action."""

from __future__ import annotations

import re

from otic.dashboard.view_state import ViewState, chosen_event, events_until
from otic.errors import OticError
from otic.streaming.control import HIGHEST_THRESHOLD, LOWEST_THRESHOLD
from otic.streaming.recent import PICTURE_SECONDS, RecentEvent
from otic.streaming.session_view import SessionView, StreamView
from otic.system.clock import clock
from otic.types import label_text

_NAMED = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b[F": "end",
    b"\x1bOF": "end",
    b"\x1b[4~": "end",
    b"\x1b[8~": "end",
    b"\x1b[Z": "back tab",
    b"\t": "tab",
    b" ": "space",
    b"\x1b": "escape",
    b"\r": "enter",
    b"\n": "enter",
}
_SEQUENCE = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[@-~]|\x1b[^\[O]|[^\x1b]", re.DOTALL)
_MOST_BYTES = 32  # the longest incomplete sequence that is kept
_STEP_SECONDS, _LEAP_SECONDS = 1.0, 10.0
_THRESHOLD_STEP = 0.05


class KeyReader:
    """Splits a keyboard's bytes into keys; a sequence may arrive in parts.

    Not thread safe.
    """

    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the complete keys: printable characters, or names such as ``up``."""
        data = self._left + data
        keys = []
        at = 0
        while found := _SEQUENCE.match(data, at):
            at = found.end()
            name = _NAMED.get(found[0])
            if name is None and len(found[0]) == 1 and found[0].isascii():
                name = found[0].decode()
            if name is not None and (name in _NAMED.values() or name.isprintable()):
                keys.append(name)
        self._left = data[at:][:_MOST_BYTES]
        return keys

    def idle(self) -> list[str]:
        """Return ``escape`` if a lone escape byte is waiting: nothing followed it in time."""
        left, self._left = self._left, b""
        return ["escape"] if left == b"\x1b" else []


class KeyBindings:
    """Carries out what keys ask for, in the thread that calls :meth:`press`.

    Not thread safe: only one thread may press keys.

    Parameters
    ----------
    session_view : SessionView
    view_state : ViewState
        Changed by the keys.
    """

    def __init__(self, session_view: SessionView, view_state: ViewState) -> None:
        self._session_view = session_view
        self._view_state = view_state

    def press(self, key: str) -> None:
        """Carry out a key's action; an error is shown to the person."""
        try:
            self._press(key)
        except OticError as error:
            self._view_state.show_message(str(error), "bad")

    def _press(self, key: str) -> None:
        view_state, control = self._view_state, self._session_view.control
        if key in ("?", "escape", "enter"):
            view_state.help = key == "?" and not view_state.help
        elif key in ("q", "Q"):
            control.quit()
        elif key == "space":
            control.paused = not control.paused
            view_state.show_message(
                "paused: press space to continue" if control.paused else "running", "warning"
            )
        elif key in ("f", "end"):
            self._freeze(key)
        elif key in ("left", "h", "right", "l"):
            self._move(-_STEP_SECONDS if key in ("left", "h") else _STEP_SECONDS)
        elif key in ("page up", "page down"):
            self._move(-_LEAP_SECONDS if key == "page up" else _LEAP_SECONDS)
        elif key in ("tab", "n", "back tab", "p"):
            self._next_source(1 if key in ("tab", "n") else -1)
        elif key in ("up", "k", "down", "j"):
            self._choose_label(-1 if key in ("up", "k") else 1)
        elif key in ("+", "=", "-", "_"):
            self._change_threshold(_THRESHOLD_STEP if key in "+=" else -_THRESHOLD_STEP)
        elif key in ("[", "]"):
            self._choose_event(-1 if key == "[" else 1)
        elif key in ("y", "r", "x", "w"):
            self._mark("right" if key in ("y", "r") else "wrong")
        elif key == "s":
            view_state = self._view_state
            view_state.show_message(
                f"saved: {self._session_view.save(self._view().source, view_state.frozen_at)}"
            )

    def _view(self) -> StreamView:
        """Return the stream that is shown."""
        views = self._session_view.views()
        if not views:
            raise OticError("no stream is running yet: wait a moment")
        return next((v for v in views if v.source == self._view_state.source), views[0])

    def _events(self, view: StreamView) -> tuple[RecentEvent, ...]:
        """Return the listed events: while frozen, none from after that second."""
        return () if view.memory is None else events_until(view.memory, self._view_state.frozen_at)

    def _freeze(self, key: str) -> None:
        view_state = self._view_state
        if view_state.frozen_at is not None or key == "end":
            view_state.frozen_at = None
            view_state.show_message("live")
            return
        memory = self._view().memory
        if memory is not None:
            view_state.frozen_at = memory.seconds
            view_state.show_message(
                "frozen while the audio goes on: ← → move, f or End returns to live", "warning"
            )

    def _move(self, seconds: float) -> None:
        """Move in time; beyond the present the view is live again."""
        view_state, memory = self._view_state, self._view().memory
        if memory is None:
            return
        now = memory.seconds
        at = (now if view_state.frozen_at is None else view_state.frozen_at) + seconds
        if at >= now:
            view_state.frozen_at = None
            return
        view_state.frozen_at = max(at, 0.0, now - PICTURE_SECONDS)

    def _next_source(self, step: int) -> None:
        source = self._view().source
        views = self._session_view.views()
        here = next((i for i, v in enumerate(views) if v.source == source), 0)
        view_state = self._view_state
        view_state.source = views[(here + step) % len(views)].source
        view_state.frozen_at = view_state.event = None
        if len(views) == 1:
            view_state.show_message("there is only one source", "warning")

    def _choose_label(self, step: int) -> None:
        view_state = self._view_state
        labels = view_state.shown_labels
        if not labels:
            return
        if view_state.label not in labels:
            view_state.label = labels[0 if step > 0 else -1]
            return
        view_state.label = labels[
            min(max(labels.index(view_state.label) + step, 0), len(labels) - 1)
        ]

    def _change_threshold(self, step: float) -> None:
        label, control = self._view_state.label, self._session_view.control
        if label is None:
            raise OticError("choose a class first: ↑ ↓")
        value = round(control.thresholds[label] + step, 2)
        value = min(max(value, LOWEST_THRESHOLD), HIGHEST_THRESHOLD)
        control.set_threshold(label, value)
        self._view_state.show_message(
            f"{label_text(label)}: threshold {value:.2f}"
            + (", never on" if value == HIGHEST_THRESHOLD else "")
        )

    def _choose_event(self, step: int) -> None:
        view_state = self._view_state
        events = [h for h in self._events(self._view()) if not h.lost]
        if not events:
            raise OticError("no event has been detected yet")
        numbers = [event.number for event in events]
        if view_state.event not in numbers:
            view_state.event = numbers[-1]
            return
        at = numbers.index(view_state.event) + step
        # One step beyond the last event: follow the last one, whichever it will be.
        view_state.event = None if at >= len(numbers) else numbers[max(at, 0)]

    def _mark(self, verdict: str) -> None:
        view = self._view()
        event = chosen_event(self._events(view), self._view_state.event)
        if event is None:
            raise OticError("nothing to mark: no event has been detected yet")
        mark = self._session_view.mark(view.source, event.number, verdict)
        sign = "✓" if verdict == "right" else "✗"
        kept = f", sound in {mark.clip}" if mark.clip else ""
        self._view_state.show_message(
            f"{sign} {verdict}: {label_text(event.label)} at {clock(event.onset)}{kept}"
        )
