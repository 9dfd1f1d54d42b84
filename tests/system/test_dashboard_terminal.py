"""The dashboard in a real terminal: its keys, its size, and that it gives the terminal back."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic.audio.soundscape import synthesise
from otic.dashboard.panels import HELP
from tests.conftest import ROOT
from tests.support import stalls
from tests.support.terminal import Terminal

pytestmark = pytest.mark.slow

SR = 22050
OTIC = [sys.executable, "-m", "otic"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("recordings")
    y, _ = synthesise(SR)
    for name in ("garden", "kitchen"):
        soundfile.write(folder / f"{name}.wav", y, SR)
    return [str(folder / "garden.wav"), str(folder / "kitchen.wav")]


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    """What is started is ended, whatever happens."""
    started: list[Terminal] = []
    yield started
    for terminal in started:
        terminal.close()


def environment(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)}


def clock(terminal: Terminal) -> str:
    found = re.findall(r"(\d+:\d\d\.\d) *$", terminal.lines()[0])
    return str(found[-1]) if found else ""


def fills(terminal: Terminal, columns: int) -> bool:
    """Whether the clock is at the right edge, and the health near the bottom."""
    first, *_, before, last = terminal.lines()
    wide = len(first.rstrip()) == columns - (columns >= 60)
    return wide and bool(clock(terminal)) and "all well" in before + last


def test_each_key_does_what_it_says(
    recordings: list[str], tmp_path: Path, terminals: list[Terminal]
) -> None:
    terminal = Terminal(
        *["replay", *recordings, "--together", "--thresholds", "clock_tick=0.4"],
        env=environment(tmp_path),
        cwd=tmp_path,
    )
    terminals.append(terminal)
    press, wait_for, shows = terminal.press, terminal.wait_for, terminal.shows
    began = re.compile(r"\d:\d\d\.\d +rain ")
    wait_for(lambda: any(began.search(line) for line in terminal.lines()[4:]), 60)

    press(" ")
    wait_for(lambda: shows(" PAUSED "))
    stood = ""

    def stands() -> bool:
        nonlocal stood
        stood = clock(terminal)
        time.sleep(0.6)
        return clock(terminal) == stood

    wait_for(stands)

    press("y")
    wait_for(lambda: shows("✓ right: rain at "))
    review = tmp_path / "state" / "otic" / "review"
    (mark,) = [json.loads(line) for line in (review / "review.jsonl").read_text().splitlines()]
    assert (mark["verdict"], mark["label"], mark["source"]) == ("right", "rain", "garden.wav")
    y, _ = soundfile.read(review / "audio" / mark["clip"])
    assert 1.0 < len(y) / SR < 30.0
    wait_for(lambda: any("✓" in line and " rain " in line for line in terminal.lines()[:-1]))
    press("x")
    wait_for(lambda: shows("✗ wrong: rain at "))
    assert json.loads((review / "review.jsonl").read_text().splitlines()[-1])["verdict"] == "wrong"
    wait_for(lambda: any("✗" in line and " rain " in line for line in terminal.lines()[:-1]))

    press("s")
    wait_for(lambda: shows("saved: "))
    (saved,) = tmp_path.glob("*.flac")
    y, _ = soundfile.read(saved)
    assert 1.0 < len(y) / SR <= 10.0
    assert np.abs(y).max() > 0.1

    press("\t")
    wait_for(lambda: "kitchen.wav" in terminal.lines()[0])
    press("\x1b[Z")
    wait_for(lambda: "garden.wav" in terminal.lines()[0])

    press("-")
    wait_for(lambda: shows("choose a class first"))
    press("jj")
    wait_for(lambda: shows("›clock tick"))
    press("k\x1b[B")
    press("+")
    wait_for(lambda: shows("clock tick: threshold 0.45"))

    press("?")
    wait_for(lambda: shows("save the last ten seconds"))
    listed = "\n".join(terminal.lines())
    assert all(key in listed and what in listed for key, what in HELP)
    press("\x1b")
    wait_for(lambda: shows("scores"))

    press("f")
    wait_for(lambda: shows("FROZEN −0 s"))
    press("\x1b[D" * 2)
    wait_for(lambda: shows("FROZEN −2 s"))
    assert clock(terminal) != stood
    press(" ")  # the audio goes on, the picture stands
    wait_for(lambda: not shows("PAUSED"))
    frozen = clock(terminal)
    wait_for(lambda: bool(re.search(r"FROZEN −([4-9]|\d\d) s", terminal.lines()[0])))
    assert clock(terminal) == frozen
    press("\x1b[F")
    wait_for(lambda: not shows("FROZEN") and clock(terminal) > stood)

    press("q")
    assert terminal.finish() == 0
    left = terminal.text().rsplit("\x1b[?1049l", 1)[1]  # what stays
    assert "--thresholds clock_tick=0.45" in left
    assert "samples lost, latest events:" in left
    assert terminal.state == terminal.state_before


def test_it_follows_the_size_and_gives_the_terminal_back(
    recordings: list[str], tmp_path: Path, terminals: list[Terminal]
) -> None:
    terminal = Terminal("replay", recordings[0], env=environment(tmp_path))
    terminals.append(terminal)
    terminal.wait_for(lambda: clock(terminal) >= "0:00.5", 60)
    assert terminal.state != terminal.state_before  # keys come at once
    for columns, rows in ((120, 40), (40, 30), (20, 5), (200, 60), (80, 24)):
        terminal.resize(columns, rows)
        terminal.wait_for(lambda c=columns: fills(terminal, c))  # type: ignore[misc]
    with stalls.watched() as stood:
        before, begin = terminal.n_frames(), time.monotonic()
        terminal.wait_for(lambda: terminal.n_frames() >= before + 9)
        n, end = terminal.n_frames() - before, time.monotonic()
        assert n / (end - begin) <= 10  # asked for: 8
        assert n / stood.ran(begin, end) >= 2
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.finish() == 0
    text = terminal.text()
    assert text.count("\x1b[?1049h") == text.count("\x1b[?1049l") == 1  # alternate screen
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # cursor
    assert terminal.state == terminal.state_before


def test_after_an_exception_the_terminal_is_as_it_was(terminals: list[Terminal]) -> None:
    code = """
from pathlib import Path
from tempfile import mkdtemp
from rich.console import Console
from otic.dashboard.live import Dashboard
from tests.support.session_views import Running
with Dashboard(Console(), Running(Path(mkdtemp()), {"mic": []}).session_view):
    import time
    time.sleep(0.5)
    raise RuntimeError("broken")
"""
    terminal = Terminal(command=[sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)})
    terminals.append(terminal)
    assert terminal.finish() == 1
    assert "RuntimeError: broken" in terminal.text().rsplit("\x1b[?1049l", 1)[1]
    assert terminal.text().count("\x1b[?1049h") == 1
    assert terminal.state == terminal.state_before


def test_a_terminal_that_is_held_is_not_entered(terminals: list[Terminal]) -> None:
    code = """
from otic.dashboard.terminal import Terminal
terminal = Terminal()
terminal.enter()
terminal.leave(hold=True)
terminal.enter()  # the drawing thread, while the main one is about to stop
print(terminal.entered)
terminal.release()
terminal.enter()
print(terminal.entered)
terminal.close()
"""
    terminal = Terminal(command=[sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)})
    terminals.append(terminal)
    assert terminal.finish() == 0
    assert re.findall("True|False", terminal.text()) == ["False", "True"]
    assert terminal.text().count("\x1b[?1049h") == terminal.text().count("\x1b[?1049l") == 2


def test_a_shell_can_stop_it_and_let_it_go_on(
    recordings: list[str], tmp_path: Path, terminals: list[Terminal]
) -> None:
    shell = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
    env = {**environment(tmp_path), "PS1": "READY$ "}
    terminal = Terminal(command=shell, env=env)
    terminals.append(terminal)
    text = terminal.text
    terminal.wait_for(lambda: "READY$ " in text())
    terminal.press(f"{' '.join(OTIC)} replay {recordings[0]}\n")
    terminal.wait_for(lambda: clock(terminal) >= "0:00.5", 60)
    terminal.press("\x1a")
    terminal.wait_for(lambda: text().rstrip().endswith("READY$"))
    assert text().count("\x1b[?1049h") == text().count("\x1b[?1049l") == 1
    n_frames = terminal.n_frames()
    time.sleep(0.4)
    assert terminal.n_frames() == n_frames
    terminal.press("fg\n")
    terminal.wait_for(lambda: text().count("\x1b[?1049h") == 2)
    terminal.wait_for(lambda: terminal.n_frames() > n_frames + 3 and terminal.shows("all well"))
    terminal.press("q")
    terminal.wait_for(lambda: text().count("\x1b[?1049l") == 2 and text().count("READY$") >= 3)
    terminal.press("exit\n")
    assert terminal.finish() == 0


def test_the_audio_never_waits_for_a_terminal_that_stands_still(
    recordings: list[str], tmp_path: Path, terminals: list[Terminal]
) -> None:
    log = tmp_path / "log.jsonl"
    terminal = Terminal("replay", recordings[0], "--jsonl", str(log), env=environment(tmp_path))
    terminals.append(terminal)
    terminal.wait_for(lambda: clock(terminal) >= "0:00.5", 60)
    terminal.press("\x13")  # Ctrl-S
    time.sleep(0.5)
    n_frames = terminal.n_frames()
    before = log.stat().st_size
    time.sleep(1.5)
    assert terminal.n_frames() - n_frames <= 1
    terminal.wait_for(lambda: log.stat().st_size > before)
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.finish(10) == 0
    assert "samples lost, latest events:" in terminal.text().rsplit("\x1b[?1049l", 1)[1]
    assert terminal.state == terminal.state_before


def test_keys_work_while_standard_input_is_audio(tmp_path: Path, terminals: list[Terminal]) -> None:
    noise = subprocess.Popen(["cat", "/dev/zero"], stdout=subprocess.PIPE)
    terminal = Terminal(
        *["replay", "-", "--rate", "22050"], env=environment(tmp_path), stdin=noise.stdout
    )
    terminals.append(terminal)
    try:
        terminal.wait_for(lambda: clock(terminal) >= "0:00.5", 60)
        terminal.press("q")
        assert terminal.finish() == 0
    finally:
        noise.kill()
        noise.wait()
    assert terminal.state == terminal.state_before


def test_without_a_terminal_or_on_request_it_is_off(terminals: list[Terminal]) -> None:
    terminal = Terminal("demo", "--speed", "max", "--no-dashboard")
    terminals.append(terminal)
    assert terminal.finish(60) == 0
    assert "\x1b[?1049h" not in terminal.text()
