"""Twenty open pages cost the audio nothing: a real microphone, a real recording."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from tests import virtual_microphone
from tests.helpers import of_type
from tests.mosquitto import free_port
from tests.web_pages import OpenPage
from training.layouts import load_dataset

N_PAGES = 20


@pytest.fixture
def microphone(tmp_path: Path) -> Iterator[dict[str, str]]:
    try:
        virtual_microphone.install()
        with virtual_microphone.running(tmp_path) as env:
            yield env
    except virtual_microphone.NoVirtualMicrophoneError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI needs the virtual microphone: {error}")
        pytest.skip(f"no virtual microphone: {error}")


def test_twenty_pages(microphone: dict[str, str], esc10: Path, tmp_path: Path) -> None:
    clips = load_dataset(str(esc10)).clips
    y, sr = soundfile.read(next(c.path for c in clips if c.label == "crying_baby" and c.fold == 2))
    soundfile.write(tmp_path / "clip.wav", y[: 3 * sr], sr)
    port, log = free_port(), tmp_path / "log.jsonl"
    command = [sys.executable, "-m", "realtime", "listen", "--jsonl", str(log)]
    command += ["--no-dashboard", "--web", str(port)]
    with (tmp_path / "stderr").open("wb") as stderr:
        otic = subprocess.Popen(command, env=microphone, stderr=stderr)
    pages: list[OpenPage] = []
    try:
        end = time.monotonic() + 60
        while not (log.exists() and b"scores" in log.read_bytes()):
            assert otic.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        pages = [OpenPage(f"http://127.0.0.1:{port}/") for _ in range(N_PAGES)]
        n_scores = len(of_type(log.read_bytes(), "scores"))
        virtual_microphone.play(tmp_path / "clip.wav", microphone)
        time.sleep(0.5)  # what was decided meanwhile is told
        otic.send_signal(signal.SIGTERM)
        assert otic.wait(10) == 0
    finally:
        otic.kill()
        for page in pages:
            page.close()
    lines = log.read_bytes()
    (ended,) = of_type(lines, "end")
    assert ended["lost"] == 0
    logged = [e for e in of_type(lines, "event") if e["state"] == "on"]
    assert "crying_baby" in {e["label"] for e in logged}
    wanted = {(e["label"], round(e["onset"], 3)) for e in logged}
    told = [{(e["label"], e["onset"]) for e in page.only.events.values()} for page in pages]
    assert told == [wanted] * N_PAGES
    n_scores = len(of_type(lines, "scores")) - n_scores
    for page in pages:
        assert page.only.n_scores >= n_scores - 4  # those of the end are not waited for
        assert page.longest_silence_seconds < 2.0
    print(json.dumps(ended), f"{len(logged)} events, {n_scores} scores, to {N_PAGES} pages")
