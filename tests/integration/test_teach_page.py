"""The page of ``otic teach --web``: what it shows, and which answers it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import soundfile

from otic.audio.recent_audio import as_int16
from otic.errors import ParameterError
from otic_training.cli.teach_page import served
from tests.support.helpers import SMALL, noise


def state(url: str, seen: int = 0) -> dict[str, Any]:
    with urlopen(f"{url}state?seen={seen}", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def press(url: str, key: str, **headers: str) -> int:
    body = json.dumps({"key": key}).encode()
    try:
        with urlopen(Request(f"{url}key", body, headers), timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_it_shows_what_is_said_and_takes_what_is_asked(tmp_path: Path) -> None:
    with served("0") as (screen, keys, url):
        own = {"Origin": url.rstrip("/")}
        for name in ("", "teach.js", "teach.css", "dom.js", "page.css", "icon.svg"):
            with urlopen(url + name, timeout=10) as answer:
                assert answer.read()
        screen.say("   1. The room", "heading")
        screen.ask({"enter": "begin"})
        found = state(url)
        assert found["lines"] == [["heading", "1. The room"]]
        assert found["answers"] == [["enter", "begin"]]
        assert press(url, "q", **own) == 400  # nobody asked
        assert press(url, "enter") == 403  # another site's form
        assert press(url, "enter", Origin="http://evil.example") == 403
        assert keys.keys() == []
        assert press(url, "enter", **own) == 200
        assert keys.wait_for(["enter", "q"]) == "enter"

        screen.status("recording", {"enter": "enough"})
        assert state(url)["status"] == "recording"
        y = as_int16(np.float32(0.1) * noise(8000, 1))
        screen.show(y, SMALL)
        found = state(url, seen=1)
        assert found["lines"] == []
        assert found["example"] == 1
        with urlopen(f"{url}example.png", timeout=10) as answer:
            assert answer.read(4) == b"\x89PNG"
        with urlopen(f"{url}example.wav", timeout=10) as answer:
            (tmp_path / "a.wav").write_bytes(answer.read())
        back, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
        assert rate == SMALL.sr
        np.testing.assert_array_equal(back, y)
        screen.say("kept")
        assert state(url, seen=1)["lines"] == [["", "kept"]]
        assert state(url)["answers"] == []


def test_a_token_that_is_set_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTIC_WEB_TOKEN", "0123456789abcdef")
    with served("0") as (_, _, url), pytest.raises(HTTPError, match="401"):
        state(url)
    monkeypatch.setenv("OTIC_WEB_TOKEN", "short")
    with pytest.raises(ParameterError, match="at least 12"), served("0"):
        pass
