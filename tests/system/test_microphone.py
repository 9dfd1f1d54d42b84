"""A real capture device, through PortAudio; and what is said where there is none."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from otic.types import label_text
from otic_training.data.layouts import load_dataset
from tests.soak.replugging import replug
from tests.support import debian, stalls, virtual_microphone
from tests.support.helpers import of_type, one_line, otic, records, so_far
from tests.support.terminal import Terminal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which PortAudio's default input is a virtual microphone."""
    with debian.needed():
        virtual_microphone.install()
        with virtual_microphone.running(tmp_path_factory.mktemp("pulse")) as env:
            yield env


def longest(events: list[dict[str, Any]]) -> str | None:
    """The label that was on for the longest time, one still on the longest of all."""
    on: dict[str, float] = {}
    for event in events:
        if event["state"] == "on":
            on[event["label"]] = math.inf
        elif event["label"] in on:
            on[event["label"]] = event["offset"] - event["onset"]
    return max(on, key=lambda label: on[label]) if on else None


def test_five_real_clips_are_heard(microphone: dict[str, str], esc10: Path, tmp_path: Path) -> None:
    """Played into the microphone, they are on the dashboard and in the log with their label."""
    wanted = ["rain", "crying_baby", "clock_tick", "helicopter", "chainsaw"]
    clips = {clip.label: clip for clip in load_dataset(str(esc10)).clips if clip.fold == 2}
    log = tmp_path / "log.jsonl"
    terminal = Terminal("listen", "--jsonl", str(log), env=microphone)
    terminal.wait_for(lambda: log.exists() and b"scores" in log.read_bytes(), 60)
    heard_in_log, seen = [], []
    for label in wanted:
        y, rate = soundfile.read(clips[label].path)
        soundfile.write(tmp_path / "clip.wav", y, rate)
        n_lines, n_frames = len(records(so_far(log))), terminal.n_frames()
        virtual_microphone.play(tmp_path / "clip.wav", microphone)
        events = [r for r in records(so_far(log))[n_lines:] if r["type"] == "event"]
        heard_in_log.append(longest(events))
        rows = [line for screen in terminal.screens(n_frames) for line in screen]
        seen.append(any("●" in r and f" {label_text(label)} " in r for r in rows))
        time.sleep(2.5)  # the window empties
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.finish() == 0
    print(f"played {wanted}, heard {heard_in_log}, on the dashboard {seen}")
    assert sum(a == b for a, b in zip(wanted, heard_in_log, strict=True)) >= 4
    assert sum(seen) >= 4
    start, *_, end = records(log.read_bytes())
    assert "started" in start
    assert end["type"] == "end"
    assert end["lost"] == 0
    assert end["samples"] > 30 * 22050


def test_a_microphone_is_replugged(microphone: dict[str, str], esc10: Path, tmp_path: Path) -> None:
    """The process goes on, each absence is a gap, sounds are heard, and nothing is left."""
    clips = [clip for clip in load_dataset(str(esc10)).clips if clip.fold == 2]
    rain = next(clip for clip in clips if clip.label == "rain")
    y, rate = soundfile.read(rain.path)
    soundfile.write(tmp_path / "clip.wav", y, rate)
    outcome = replug(2, tmp_path / "clip.wav", microphone, tmp_path)
    assert outcome.returncode == 0
    gaps = outcome.rounds[-1].gaps
    assert len(gaps) == 2
    assert all(1.5 * 22050 < gap < 15 * 22050 for gap in gaps)
    assert all("rain" in each.labels for each in outcome.rounds)
    assert len({each.threads for each in outcome.rounds}) == 1
    assert all(each.children == 1 for each in outcome.rounds)
    assert outcome.log[-1]["lost"] == sum(gaps)
    assert sum("heard again" in line for line in outcome.messages) == 2


def test_two_microphones_at_once(microphone: dict[str, str]) -> None:
    """They share a process and a model; each has its name in the log."""
    done = otic(
        *("listen", "--device", "pulse:virtmic", "--device", "default", "--input-name", "door"),
        *("--input-name", "hall", "--duration", "3", "--jsonl", "-"),
        env=microphone,
    )
    assert done.returncode == 0, done.stderr.decode()
    found = records(done.stdout)
    assert [r["source"] for r in found if r["type"] == "start"] == ["door", "hall"]
    ends = {r["source"]: r for r in found if r["type"] == "end"}
    for name in ("door", "hall"):
        assert ends[name] == {
            "type": "end",
            "samples": 66150,
            "seconds": 3.0,
            "lost": 0,
            "source": name,
        }
        assert sum(r["type"] == "scores" and r["source"] == name for r in found) >= 2


def test_duration_is_exact(microphone: dict[str, str]) -> None:
    done = otic("listen", "--duration", "2.5", "--jsonl", "-", env=microphone)
    assert done.returncode == 0, done.stderr.decode()
    assert of_type(done.stdout, "end") == [
        {"type": "end", "samples": 55125, "seconds": 2.5, "lost": 0}
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_with_a_complete_log(
    microphone: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    log = tmp_path / "log.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "otic", "listen", "--jsonl", str(log)],
        env=microphone,
        stderr=subprocess.PIPE,
    )
    end = time.monotonic() + 60
    while not (log.exists() and b"scores" in log.read_bytes()):
        assert time.monotonic() < end
        time.sleep(0.1)
    with stalls.watched() as stood:
        begin = time.monotonic()
        process.send_signal(number)
        _, stderr = process.communicate(timeout=10)
        assert stood.ran(begin, time.monotonic()) < 1.0
    assert process.returncode == 0
    assert stderr == b""
    assert records(log.read_bytes())[-1]["type"] == "end"


def test_devices_are_listed_with_the_default(microphone: dict[str, str]) -> None:
    done = otic("devices", env=microphone)
    assert done.returncode == 0
    marked = [line for line in done.stdout.decode().splitlines() if line.startswith("* ")]
    assert "default" in marked[0]
    assert "channels" in marked[0]


def test_a_device_can_be_named(microphone: dict[str, str]) -> None:
    done = otic("listen", "--device", "DEFAULT", "--duration", "0.1", env=microphone)
    assert done.returncode == 0
    assert b"there are no scores" in done.stderr


def test_an_unknown_device_lists_the_known(microphone: dict[str, str]) -> None:
    done = otic("listen", "--device", "Nonexistent", env=microphone)
    assert done.returncode == 1
    message = one_line(done.stderr)
    assert "no input device 'Nonexistent'" in message
    assert "default" in message


def test_a_channel_that_the_device_lacks(microphone: dict[str, str]) -> None:
    done = otic("listen", "--channel", "99", env=microphone)
    assert done.returncode == 1
    assert "--channel 99 is outside 1 to" in one_line(done.stderr)


@pytest.fixture
def no_portaudio(tmp_path: Path) -> dict[str, str]:
    """An environment in which no process finds the library."""
    code = "import ctypes.util\nctypes.util.find_library = lambda name: None\n"
    (tmp_path / "sitecustomize.py").write_text(code)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize("command", ["listen", "devices"])
def test_without_portaudio_it_says_which_package(
    no_portaudio: dict[str, str], command: str
) -> None:
    done = otic(command, env=no_portaudio)
    assert done.returncode == 1
    assert "apt install libportaudio2" in one_line(done.stderr)


def test_without_portaudio_a_replay_works(no_portaudio: dict[str, str], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", [0.0] * 22050 * 3, 22050)
    done = otic("replay", tmp_path / "a.wav", "--speed", "max", "--jsonl", "-", env=no_portaudio)
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1])["samples"] == 66150
