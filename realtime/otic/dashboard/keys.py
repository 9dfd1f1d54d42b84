"""Keys: from the bytes of a keyboard to names, and from names to what each key does."""

from __future__ import annotations

import re

from otic.dashboard.canvas import clock
from otic.dashboard.view_state import ViewState, chosen_event, detected_by
from otic.errors import OticError
from otic.streaming.control import HIGHEST_THRESHOLD, LOWEST_THRESHOLD
from otic.streaming.recent import PICTURE_SECONDS, DetectedEvent
from otic.streaming.session_view import SessionView, StreamView

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
_MOST_BYTES = 32  # of a sequence that is not complete
_STEP_SECONDS, _LEAP_SECONDS = 1.0, 10.0
_THRESHOLD_STEP = 0.05


class KeyReader:
    """Cuts what is read into keys; a sequence may come in parts.

    Not thread safe.
    """

    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> list[str]:
        """The keys that are complete: a printable character, or a name such as ``up``."""
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
        """Nothing came for a moment: a lone escape was the key itself."""
        left, self._left = self._left, b""
        return ["escape"] if left == b"\x1b" else []


class KeyBindings:
    """Presses keys.

    Not thread safe: one thread presses.

    Parameters
    ----------
    desk : SessionView
    looking : ViewState
        What is changed.
    """

    def __init__(self, desk: SessionView, looking: ViewState) -> None:
        self._desk = desk
        self._looking = looking

    def press(self, key: str) -> None:
        """Do what a key asks; what is wrong is said to the person."""
        try:
            self._press(key)
        except OticError as error:
            self._looking.say(str(error), "bad")

    def _press(self, key: str) -> None:
        looking, control = self._looking, self._desk.control
        if key in ("?", "escape", "enter"):
            looking.help = key == "?" and not looking.help
        elif key in ("q", "Q"):
            control.quit()
        elif key == "space":
            control.paused = not control.paused
            looking.say("paused: space goes on" if control.paused else "goes on", "warning")
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
            looking = self._looking
            looking.say(f"saved: {self._desk.save(self._view().source, looking.frozen_at)}")

    def _view(self) -> StreamView:
        """The stream that is looked at."""
        views = self._desk.views()
        if not views:
            raise OticError("no stream runs yet: wait a moment")
        return next((v for v in views if v.source == self._looking.source), views[0])

    def _heard(self, view: StreamView) -> tuple[DetectedEvent, ...]:
        """What the person sees in the list: where it is frozen, nothing later."""
        return () if view.memory is None else detected_by(view.memory, self._looking.frozen_at)

    def _freeze(self, key: str) -> None:
        looking = self._looking
        if looking.frozen_at is not None or key == "end":
            looking.frozen_at = None
            looking.say("live")
            return
        memory = self._view().memory
        if memory is not None:
            looking.frozen_at = memory.seconds
            looking.say("frozen, the audio goes on: ← → move, f or End is live", "warning")

    def _move(self, seconds: float) -> None:
        """Back and forward in time; forward beyond now is live."""
        looking, memory = self._looking, self._view().memory
        if memory is None:
            return
        now = memory.seconds
        at = (now if looking.frozen_at is None else looking.frozen_at) + seconds
        if at >= now:
            looking.frozen_at = None
            return
        looking.frozen_at = max(at, 0.0, now - PICTURE_SECONDS)

    def _next_source(self, step: int) -> None:
        source = self._view().source
        views = self._desk.views()
        here = next((i for i, v in enumerate(views) if v.source == source), 0)
        looking = self._looking
        looking.source = views[(here + step) % len(views)].source
        looking.frozen_at = looking.event = None
        if len(views) == 1:
            looking.say("there is one source only", "warning")

    def _choose_label(self, step: int) -> None:
        looking = self._looking
        labels = looking.shown_labels
        if not labels:
            return
        if looking.label not in labels:
            looking.label = labels[0 if step > 0 else -1]
            return
        looking.label = labels[min(max(labels.index(looking.label) + step, 0), len(labels) - 1)]

    def _change_threshold(self, step: float) -> None:
        label, control = self._looking.label, self._desk.control
        if label is None:
            raise OticError("choose a class first: ↑ ↓")
        value = round(control.thresholds[label] + step, 2)
        value = min(max(value, LOWEST_THRESHOLD), HIGHEST_THRESHOLD)
        control.set_threshold(label, value)
        self._looking.say(
            f"{label}: threshold {value:.2f}" + (", never on" if value == HIGHEST_THRESHOLD else "")
        )

    def _choose_event(self, step: int) -> None:
        looking = self._looking
        events = [h for h in self._heard(self._view()) if not h.lost]
        if not events:
            raise OticError("no event was heard yet")
        numbers = [event.number for event in events]
        if looking.event not in numbers:
            looking.event = numbers[-1]
            return
        at = numbers.index(looking.event) + step
        # Behind the last one: no choice, which is the last one, whichever that will be.
        looking.event = None if at >= len(numbers) else numbers[max(at, 0)]

    def _mark(self, verdict: str) -> None:
        view = self._view()
        event = chosen_event(self._heard(view), self._looking.event)
        if event is None:
            raise OticError("no event was heard yet: there is nothing to mark")
        mark = self._desk.mark(view.source, event.number, verdict)
        sign = "✓" if verdict == "right" else "✗"
        kept = f", sound in {mark.clip}" if mark.clip else ""
        self._looking.say(f"{sign} {verdict}: {event.label} at {clock(event.onset)}{kept}")
