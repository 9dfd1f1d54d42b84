"""From bytes to keys, and what keys do where there is nothing to do it to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otic.audio.soundscape import synthesise
from otic.dashboard.keys import KeyBindings, KeyReader
from otic.dashboard.panels import HELP
from otic.dashboard.view_state import ViewState
from otic.types import Lost
from tests.support.session_views import Running

SR = 22050
SCAPE = synthesise(SR)[0]


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b" ?+-", ["space", "?", "+", "-"]),
        (b"\x1b[A\x1bOB\x1b[C\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1b[5~\x1b[6~\x1b[F\x1b[4~", ["page up", "page down", "end", "end"]),
        (b"\t\x1b[Z", ["tab", "back tab"]),
        (b"\x1b[1;5C\x1b[200~x", ["x"]),  # Ctrl-right is no key, nor is a paste's beginning
        (b"\x1bx", []),  # nor is Alt-x
        (b"\xc3\xa9\x00\x7f", []),
    ],
)
def test_bytes_become_keys(data: bytes, keys: list[str]) -> None:
    assert KeyReader().feed(data) == keys
    reader = KeyReader()
    assert [key for byte in data for key in reader.feed(bytes([byte]))] == keys  # byte by byte


def test_a_lone_escape_is_a_key_when_nothing_follows() -> None:
    reader = KeyReader()
    assert reader.feed(b"\x1b") == []
    assert reader.idle() == ["escape"]
    assert reader.idle() == []
    assert reader.feed(b"\x1b[") == []
    assert reader.idle() == []  # a sequence that was broken off
    assert reader.feed(b"q") == ["q"]


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_any_bytes_do_no_harm(parts: list[bytes]) -> None:
    reader = KeyReader()
    for part in parts:
        assert all(key.isprintable() for key in reader.feed(part))
    reader.idle()


ALL_KEYS = [
    *"q?ffhlnpjk+-=_[]yxrws",
    *("space", "left", "right", "page up", "page down", "end", "tab", "back tab", "up", "down"),
    *("escape", "enter", "z"),
]


@pytest.mark.parametrize("sounds", [{}, {"mic": []}, {"mic": [Lost(SR)]}], ids=str)
def test_no_key_fails_where_there_is_nothing(tmp_path: Path, sounds: dict[str, list[Lost]]) -> None:
    running = Running(tmp_path, {name: list(chunks) for name, chunks in sounds.items()})
    view_state = ViewState()
    key_bindings = KeyBindings(running.session_view, view_state)
    for key in ALL_KEYS:
        key_bindings.press(key)
    assert not list(tmp_path.glob("**/review.jsonl"))
    key_bindings.press("y")
    assert (
        view_state.message[0] in ("no stream is running yet: wait a moment",)
        or "mark" in view_state.message[0]
    )
    assert view_state.message[1] == "bad"


def test_an_earlier_event_is_chosen_and_marked(tmp_path: Path) -> None:
    running = Running(tmp_path, {"garden": [SCAPE[: 12 * SR]]})
    view_state = ViewState()
    key_bindings = KeyBindings(running.session_view, view_state)
    memory = running.session_view.views()[0].memory
    assert memory is not None
    last, before = memory.events()[-1], memory.events()[-2]
    key_bindings.press("[")
    assert view_state.event == last.number
    key_bindings.press("[")
    assert view_state.event == before.number
    key_bindings.press("x")
    mark = running.session_view.verdict(memory, before)
    assert mark is not None
    assert mark.verdict == "wrong"
    assert running.session_view.verdict(memory, last) is None
    for _ in range(9):
        key_bindings.press("[")
    assert view_state.event == memory.events()[0].number  # there is none before the first
    for _ in range(9):
        key_bindings.press("]")
    assert view_state.event in (None, last.number)


def test_frozen_no_event_is_marked_that_is_not_shown(tmp_path: Path) -> None:
    running = Running(tmp_path, {"garden": [SCAPE[: 12 * SR]]})
    memory = running.session_view.views()[0].memory
    assert memory is not None
    rain, last = memory.events()[0], memory.events()[-1]
    view_state = ViewState(frozen_at=rain.decided + 0.1)
    key_bindings = KeyBindings(running.session_view, view_state)
    key_bindings.press("y")
    mark = running.session_view.verdict(memory, rain)
    assert mark is not None
    assert mark.verdict == "right"
    assert running.session_view.verdict(memory, last) is None
    key_bindings.press("[")
    assert view_state.event == rain.number


def test_thresholds_stay_within_their_range(tmp_path: Path) -> None:
    running = Running(tmp_path, {"mic": []})
    view_state = ViewState(label="rain")
    key_bindings = KeyBindings(running.session_view, view_state)
    for _ in range(30):
        key_bindings.press("+")
    assert running.control.thresholds["rain"] == 1.0
    assert "never on" in view_state.message[0]
    for _ in range(30):
        key_bindings.press("-")
    assert running.control.thresholds["rain"] == 0.01
    assert running.session_view.changes()


def test_going_back_ends_at_the_beginning_and_forward_at_now(tmp_path: Path) -> None:
    running = Running(tmp_path, {"mic": [SCAPE[: 12 * SR]]})
    view_state = ViewState()
    key_bindings = KeyBindings(running.session_view, view_state)
    key_bindings.press("page up")
    assert view_state.frozen_at == pytest.approx(2.0)
    key_bindings.press("page up")
    assert view_state.frozen_at == 0.0
    key_bindings.press("right")
    assert view_state.frozen_at == 1.0
    key_bindings.press("page down")
    key_bindings.press("page down")
    assert view_state.frozen_at is None


def test_the_help_names_every_key() -> None:
    named = " ".join(key for key, _ in HELP)
    for key in ("q", "space", "f", "←", "→", "PgUp", "End", "Tab", "↑", "+", "[", "y", "x", "s"):
        assert key in named
