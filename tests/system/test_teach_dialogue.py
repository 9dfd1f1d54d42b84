"""``otic teach`` from the microphone: the dialogue in a real terminal, with a made-up device."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic import load_bundle
from tests.conftest import ROOT
from tests.support.helpers import F32
from tests.support.teaching import SR, tone, write_base
from tests.support.terminal import Terminal

pytestmark = pytest.mark.slow

START_SECONDS, STEP_SECONDS = 180.0, 60.0  # two and ten, but a machine may be busy
# In place of PortAudio: a quiet room, and whatever samples are put into a file.
DEVICE = """
import os, pathlib, sys, threading, time, types
import numpy as np

FOLDER = pathlib.Path(os.environ["STAND_IN"])

class Stream:
    active = True
    def __init__(self, samplerate, blocksize, callback, **_):
        self._options = samplerate, blocksize, callback
    def start(self):
        threading.Thread(target=self._run, daemon=True).start()
    def _run(self):
        rate, n, callback = self._options
        rng = np.random.default_rng(0)
        rest, at = np.zeros(0, np.float32), time.monotonic()
        times = types.SimpleNamespace(inputBufferAdcTime=0.0)
        status = types.SimpleNamespace(input_overflow=False)
        while True:
            if (FOLDER / "say.f32").exists():
                rest = np.fromfile(FOLDER / "say.f32", np.float32)
                (FOLDER / "say.f32").unlink()
            loud = 0.0 if (FOLDER / "muted").exists() else 0.001
            block = (loud * rng.standard_normal(n)).astype(np.float32)
            block[:len(rest)] += rest[:n]
            rest = rest[n:]
            at += n / rate
            time.sleep(max(0.0, at - time.monotonic()))
            callback(block[:, None], n, times, status)
            times.inputBufferAdcTime += n / rate

fake = types.ModuleType("sounddevice")
fake.PortAudioError = type("PortAudioError", (Exception,), {})
there = {"index": 0, "name": "Stand-in", "max_input_channels": 1, "default_samplerate": 22050.0}
fake.query_devices = lambda kind=None: there if kind else [there]
fake.check_input_settings = lambda *a, **k: None
fake.InputStream = Stream
if (FOLDER / "unplugged").exists():
    fake.query_devices = lambda kind=None: {"index": -1} if kind else []
sys.modules["sounddevice"] = fake
"""
# The command, with a plan that is quick; tests.support.teaching has one, but imports TensorFlow.
OTIC = """
from dataclasses import replace
from otic_training.teaching import learn
plan = learn.Plan(scenes=60, quiet=40, folds=3, axes=40)
plan = replace(plan, fit=replace(plan.fit, hidden=12, epochs=30, batch=8))
learn.Plan = lambda seed=0: plan
from otic.cli.main import console
console()
"""


class Person:
    """Somebody at the terminal, who makes sounds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "code").mkdir()
        (folder / "code" / "sitecustomize.py").write_text(DEVICE)
        self.base = write_base(folder / "levels.tflite")
        self.terminals: list[Terminal] = []

    def run(self, *words: str, room_seconds: int = 3) -> Terminal:
        env = {
            "PYTHONPATH": os.pathsep.join([str(self.folder / "code"), str(ROOT)]),
            "STAND_IN": str(self.folder),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }
        command = [sys.executable, "-c", OTIC, "teach", "bell", "--base", str(self.base), *words]
        command += ["--room-seconds", str(room_seconds)]
        terminal = Terminal(command=command, env=env, cwd=self.folder, rows=200)
        self.terminals.append(terminal)
        return terminal

    def say(self, y: F32) -> None:
        unfinished = self.folder / "say.part"
        y.tofile(unfinished)
        unfinished.rename(self.folder / "say.f32")

    @property
    def files(self) -> dict[str, list[Path]]:
        found = sorted((self.folder / "bell-sounds").rglob("*.flac"))
        return {
            name: [path for path in found if path.parent.name == name]
            for name in ("bell", "_background")
        }


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    somebody = Person(tmp_path)
    yield somebody
    for terminal in somebody.terminals:
        terminal.close()


def said(terminal: Terminal, text: str, times: int = 1) -> Callable[[], bool]:
    return lambda: terminal.text().count(text) >= times


def bell(hz: float = 1200.0) -> F32:
    return tone(hz, 0.8, 0)


def test_from_the_room_to_listening(person: Person) -> None:
    """Stopped in the middle nothing is lost; the command that it names goes on."""
    terminal = person.run()
    terminal.wait_for(said(terminal, "Enter: begin"), START_SECONDS)
    assert "Microphone: Stand-in. Recordings are kept in 'bell-sounds'" in terminal.text()
    terminal.press("\n")
    terminal.wait_for(said(terminal, "1/10: make the sound"), STEP_SECONDS)
    assert len(person.files["_background"]) == 1
    person.say(bell())
    terminal.wait_for(said(terminal, "Enter: keep"), STEP_SECONDS)
    assert "── 1: " in terminal.text()
    terminal.press("\n")
    terminal.wait_for(said(terminal, "2/10: make the sound"), STEP_SECONDS)
    person.say(np.float32(0.012) * bell())
    terminal.wait_for(said(terminal, "too quiet: hardly louder than the room"), STEP_SECONDS)
    terminal.press("\n")  # again
    terminal.wait_for(said(terminal, "not kept"), STEP_SECONDS)
    terminal.press("f")
    terminal.wait_for(said(terminal, "2 examples at least are needed"), STEP_SECONDS)
    terminal.press("\x03")
    assert terminal.finish(STEP_SECONDS) == 130
    assert terminal.state == terminal.state_before
    assert "recordings of 'bell' that are kept in 'bell-sounds': 1. To rec" in terminal.text()
    assert f"otic teach bell --more --base {person.base}" in terminal.text()
    (take,) = person.files["bell"]
    y, rate = soundfile.read(take)
    assert rate == SR
    assert 0.8 < len(y) / SR < 1.6
    assert np.abs(y).max() == pytest.approx(np.abs(bell()).max(), abs=0.02)

    terminal = person.run()
    assert terminal.finish(START_SECONDS) == 1
    assert "holds recordings of 'bell' already (1): add --more" in terminal.text()

    terminal = person.run("--more", "--examples", "3", "--budget", "100")
    terminal.wait_for(said(terminal, "Enter: begin"), START_SECONDS)
    terminal.press("\n")
    for i in range(3):
        terminal.wait_for(said(terminal, f"{i + 1}/3: make the sound"), STEP_SECONDS)
        person.say(bell(1150.0 + 50.0 * i))
        terminal.wait_for(said(terminal, "Enter: keep", i + 1), STEP_SECONDS)
        terminal.press("\n")
    terminal.wait_for(said(terminal, "Enter: listen with it now"), START_SECONDS)
    assert "4 clips, each tested by a head that did not learn" in terminal.text()
    assert len(person.files["bell"]) == 4
    assert load_bundle(person.folder / "bell.tflite").labels == ("bell",)
    terminal.press("\n")
    terminal.wait_for(said(terminal, "\x1b[?1049h"), 60)
    terminal.wait_for(lambda: terminal.shows("Stand-in → bell"), STEP_SECONDS)
    terminal.press("q")
    assert terminal.finish(STEP_SECONDS) == 0
    assert terminal.state == terminal.state_before


def test_a_room_that_is_stopped_is_kept_as_far_as_it_came(person: Person) -> None:
    terminal = person.run(room_seconds=60)
    terminal.wait_for(said(terminal, "Enter: begin"), START_SECONDS)
    terminal.press("\n")
    terminal.wait_for(said(terminal, "recording the room, 0:56 left"), STEP_SECONDS)
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.finish(STEP_SECONDS) == 130
    assert "stopped: the room is kept in 'bell-sounds'. To record more:" in terminal.text()
    assert f"otic teach bell --more --base {person.base}" in terminal.text()
    assert terminal.state == terminal.state_before
    (room,) = person.files["_background"]
    assert soundfile.info(room).duration >= 3.0


@pytest.mark.parametrize(
    ("fault", "message"),
    [("unplugged", "no input device: plug in a microphone"), ("muted", "it delivers exact zeros")],
)
def test_no_sound_is_said_in_one_line(person: Person, fault: str, message: str) -> None:
    (person.folder / fault).touch()
    terminal = person.run()
    if fault == "muted":
        terminal.wait_for(said(terminal, "Enter: begin"), START_SECONDS)
        terminal.press("\n")
    assert terminal.finish(START_SECONDS) == 1
    assert message in terminal.text()
    assert "Traceback" not in terminal.text()
    assert terminal.state == terminal.state_before
    assert not person.files["_background"]
