"""The log of a fixed recording, compared with one that was looked at and kept.

``make golden`` rewrites it after an intended change; read the diff before you commit it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import soundfile

from otic.audio.soundscape import synthesise
from tests.conftest import ROOT
from tests.support.helpers import otic, records

GOLDEN = ROOT / "tests" / "golden" / "soundscape.jsonl"
# Bytes are equal on one machine (test_replay); another processor rounds its sums differently.
TOLERANCE = 2e-3


def assert_close(got: Any, expected: Any, where: str) -> None:
    if isinstance(expected, dict):
        assert list(got) == list(expected), where
        for key in expected:
            assert_close(got[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, abs=TOLERANCE), where
    else:
        assert got == expected, where


def test_the_log_is_the_golden_one(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    y, _ = synthesise(44100)
    soundfile.write(tmp_path / "soundscape.wav", y[: 44100 * 16], 44100, subtype="PCM_24")
    done = otic("replay", tmp_path / "soundscape.wav", "--speed", "max", "--jsonl", "-")
    assert done.returncode == 0, done.stderr
    if request.config.getoption("--update-golden"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_bytes(done.stdout)
    got, expected = records(done.stdout), records(GOLDEN.read_bytes())
    assert len(got) == len(expected)
    for number, (line, golden) in enumerate(zip(got, expected, strict=True), 1):
        assert_close(line, golden, f"line {number}")
