"""Twenty open pages cost the audio nothing: a real microphone, a real recording."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from otic_training.data.layouts import load_dataset
from tests.support import debian, stalls, virtual_microphone
from tests.support.helpers import of_type, so_far
from tests.support.web_pages import OpenPage

pytestmark = pytest.mark.slow

N_PAGES = 20


@pytest.fixture
def microphone(tmp_path: Path) -> Iterator[dict[str, str]]:
    with debian.needed():
        virtual_microphone.install()
        with virtual_microphone.running(tmp_path) as env:
            yield env


@pytest.fixture
def stood() -> Iterator[stalls.Stalls]:
    with stalls.watched() as watching:
        yield watching


def test_twenty_pages(
    microphone: dict[str, str], esc10: Path, tmp_path: Path, stood: stalls.Stalls
) -> None:
    clips = load_dataset(str(esc10)).clips
    y, sr = soundfile.read(next(c.path for c in clips if c.label == "crying_baby" and c.fold == 2))
    soundfile.write(tmp_path / "clip.wav", y[: 3 * sr], sr)
    log = tmp_path / "log.jsonl"
    command = [sys.executable, "-m", "otic", "listen", "--jsonl", str(log)]
    command += ["--no-dashboard", "--web", "0"]
    with (tmp_path / "stderr").open("wb") as stderr:
        otic = subprocess.Popen(command, env=microphone, stderr=stderr)
    pages: list[OpenPage] = []
    try:
        end = time.monotonic() + 60
        while not (log.exists() and b"scores" in log.read_bytes()):
            assert otic.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        (url,) = re.findall(r"the page is at (\S+)", (tmp_path / "stderr").read_text())
        begin = time.monotonic()
        pages = [OpenPage(url) for _ in range(N_PAGES)]
        virtual_microphone.play(tmp_path / "clip.wav", microphone)
        due, n_due = begun(so_far(log)), len(of_type(so_far(log), "scores"))
        end = time.monotonic() + 20
        while not all(due <= events_of(p) and p.only.now["n_scores"] >= n_due for p in pages):
            assert time.monotonic() < end, (due, [events_of(page) for page in pages])
            time.sleep(0.05)
        lost_seconds = time.monotonic() - begin - stood.ran(begin, time.monotonic())
        otic.send_signal(signal.SIGTERM)
        assert otic.wait(10) == 0
    finally:
        otic.kill()
        for page in pages:
            page.close()
    lines = log.read_bytes()
    (ended,) = of_type(lines, "end")
    assert ended["lost"] == 0
    logged = begun(lines)
    assert "crying_baby" in {label for label, _ in logged}
    for page in pages:
        assert events_of(page) <= logged
        assert page.only.n_scores > 0
        assert page.longest_silence_seconds < 2.0 + lost_seconds
    print(json.dumps(ended), f"{len(logged)} events, {n_due} scores, to {N_PAGES} pages")


def begun(log: bytes) -> set[tuple[str, float]]:
    """Label and onset of the events in a log."""
    events = (e for e in of_type(log, "event") if e["state"] == "on")
    return {(e["label"], e["onset"]) for e in events}


def events_of(page: OpenPage) -> set[tuple[str, float]]:
    return {(e["label"], e["onset"]) for e in list(page.only.events.values())}
