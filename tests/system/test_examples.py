"""The programs in examples/ run as they stand and hear what there is to hear."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from otic.audio.soundscape import synthesise
from otic.config.values import DEFAULT_MODEL
from otic.model.bundle import load_bundle
from tests.conftest import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
DEFAULT = load_bundle(DEFAULT_MODEL)
N_PREDICTIONS = (
    1 + (44 * DEFAULT.features.sr - DEFAULT.window_samples) // DEFAULT.inference_hop_samples
)
SYNTHESISED = {"rain", "clock_tick", "crackling_fire", "crying_baby", "helicopter", "sea_waves"}


def run(name: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def went(output: str, state: str) -> list[str]:
    """Labels of the lines that say an event's time, label and state."""
    return re.findall(rf"^ *[\d.]+ s  (\w+) {state}$", output, re.MULTILINE)


def test_an_array() -> None:
    output = run("classify_array.py")
    assert output.startswith(f"44.0 s, {N_PREDICTIONS} predictions\n")
    events = re.findall(r"^ *([\d.]+) … *([\d.]+) s  (\w+), peak (0\.\d+|1\.00)$", output, re.M)
    assert {label for _, _, label, _ in events} == SYNTHESISED
    onsets = {label: float(onset) for onset, _, label, _ in events}
    assert abs(onsets["rain"] - 2.0) < 0.5
    assert abs(onsets["helicopter"] - 30.0) < 0.5
    assert re.search(r"^crying_baby +█{10,20} +(0\.[5-9]\d|1\.00)$", output, re.MULTILINE)


def test_blocks() -> None:
    output = run("blocks.py")
    assert set(went(output, "on")) == SYNTHESISED
    assert sorted(went(output, "off")) == sorted(went(output, "on"))
    assert output.endswith("the same as in one piece, to the last bit: True\n")


def test_an_asyncio_stream() -> None:
    output = run("asyncio_stream.py")
    assert set(went(output, "on")) == SYNTHESISED
    assert sorted(went(output, "off")) == sorted(went(output, "on"))
    turns = re.search(r"the rest of the program had (\d+) turns", output)
    assert turns is not None
    assert int(turns[1]) > 1


def test_a_sink() -> None:
    output = run("custom_sink.py")
    assert f"soundscape: {DEFAULT_MODEL} listens for 10 sounds\n" in output
    assert "soundscape: 44.0 s, 0 samples lost\n" in output
    tallied = re.findall(r"^(\w+) +(\d+) times, +([\d.]+) s$", output, re.MULTILINE)
    assert {label for label, _, _ in tallied} == SYNTHESISED
    assert all(3.0 < float(seconds) < 6.0 for _, _, seconds in tallied)


def test_a_source() -> None:
    records = [json.loads(line) for line in run("custom_source.py").splitlines()]
    assert records[0]["source"] == "radio"
    events = [record for record in records if record["type"] == "event"]
    assert {event["label"] for event in events} == SYNTHESISED
    gaps = [record for record in records if record["type"] == "gap"]
    assert gaps == [
        {"type": "gap", "sample": (199 + 200 * i) * 1024, "lost": 1024} for i in range(4)
    ]
    assert records[-1] == {"type": "end", "samples": 970200, "seconds": 44.0, "lost": 4096}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rain alone, in stereo at another rate than the model's."""
    y, _ = synthesise(44100)
    path = tmp_path_factory.mktemp("recording") / "rain.wav"
    soundfile.write(path, y[: 8 * 44100, None].repeat(2, axis=1), 44100)
    return path


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_takes_a_file(
    path: Path,
    recording: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [str(path), str(recording)])
    runpy.run_path(str(path), run_name="__main__")
    output = capfd.readouterr().out
    assert "rain" in output
    assert not re.search("helicopter (on|.*peak)", output)


def test_each_is_a_page_at_most_and_says_how_to_run_it() -> None:
    assert len(EXAMPLES) >= 5
    for path in EXAMPLES:
        text = path.read_text(encoding="utf-8")
        assert 20 <= len(text.splitlines()) <= 65, path.name
        assert f"    python examples/{path.name} [AUDIO_FILE]\n" in text
