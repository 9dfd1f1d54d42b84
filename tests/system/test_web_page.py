"""The page in a real browser: real recordings, restarts, phones, marks, playback."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile

from otic.review.folder import ReviewFolder
from otic_training.data.layouts import load_dataset
from tests.support import chromium, debian, stalls
from tests.support.mosquitto import free_port
from tests.support.web_pages import Room, served

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chromium")]

LABEL = "crying_baby"
LIVE = "document.querySelector('#connection').dataset.state === 'live'"
ON = "document.querySelector('#scores .on .label')?.textContent"
LOST = "document.querySelector('#connection').dataset.state === 'lost'"
HEARING = "document.querySelector('#hearing').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    with debian.needed():
        chromium.install()
    with chromium.running(tmp_path_factory.mktemp("chromium")) as running:
        yield running


class Otic:
    """A replay at twice the speed of life, with its page; its log, and when each line came."""

    def __init__(self, port: int, folder: Path, *arguments: str) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self.lines: list[tuple[float, dict[str, Any]]] = []
        command = [sys.executable, "-m", "otic", "replay", *arguments, "--speed", "2"]
        command += ["--jsonl", "-", "--web", str(port)]
        command += ["--sqlite-path", str(folder / "events.sqlite")]
        command += ["--clips-directory", str(folder / "clips"), "--clips-post-seconds", "0.1"]
        command += ["--review-directory", str(folder / "review")]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), json.loads(line)))

    def came(self, **wanted: Any) -> float | None:
        """When the first such line came."""
        lines = list(self.lines)
        return next((at for at, line in lines if wanted.items() <= line.items()), None)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def clip(esc10: Path, tmp_path: Path) -> Path:
    """Silence while a page is opened, a real recording, silence that ends its event, it again."""
    clips = load_dataset(str(esc10)).clips
    y, sr = soundfile.read(next(c.path for c in clips if c.label == LABEL and c.fold == 2))
    first, silence = np.zeros(2 * sr), np.zeros(14 * sr)  # time enough to look at the event
    soundfile.write(tmp_path / "baby.wav", np.concatenate([first, y, silence, *[y] * 14]), sr)
    return tmp_path / "baby.wav"


def test_a_real_replay_a_restart_marks_and_playback(
    browser: chromium.Browser, clip: Path, tmp_path: Path
) -> None:
    port = free_port()
    words = LABEL.replace("_", " ")
    otic = Otic(port, tmp_path, str(clip))
    try:
        while otic.came(type="start") is None:
            time.sleep(0.02)
            assert otic.process.poll() is None
        tab = browser.open(otic.url)
        tab.run("window.notLoadedAgain = true")
        live_at = tab.wait_for(LIVE)
        with stalls.watched() as stood:
            shown = f"{ON} === {json.dumps(words)} && {HEARING}.includes('{words}')"
            seen_at = tab.wait_for(shown, 20)
            while (came_at := otic.came(type="event", state="on", label=LABEL)) is None:
                time.sleep(0.01)
            print(f"on the page {1000 * (seen_at - came_at):.0f} ms after its line in the log")
            assert stood.ran(max(came_at, live_at), seen_at) < 1.0
        row = f"document.querySelector('#events li[data-label={LABEL}]')"
        tab.wait_for(f"{row} !== null")

        # A mark, and what it really was.
        tab.run(f"{row}.querySelector('[aria-label=wrong]').click()")
        tab.wait_for(f"{row}.querySelector('select') !== null")
        tab.run(
            f"(() => {{ const s = {row}.querySelector('select'); s.value = 'dog';"
            "s.dispatchEvent(new Event('change')); })()"
        )
        tab.wait_for(f"{row}.dataset.verdict === 'wrong' && {row}.querySelector('.note') === null")
        review = ReviewFolder(tmp_path / "review")
        end = time.monotonic() + 5
        while not (marks := review.marks()) or marks[0].true_label != "dog":
            assert time.monotonic() < end
            time.sleep(0.05)

        # The event ends, and its recording is heard: live, and in the history.
        tab.wait_for(f"{row}.querySelector('.play:not([hidden])') !== null", 15)
        end = time.monotonic() + 10
        while not list((tmp_path / "clips").glob(f"*_{LABEL.replace('_', '-')}.flac")):
            assert time.monotonic() < end
            time.sleep(0.05)
        tab.run(f"{row}.querySelector('.play').click()")
        tab.wait_for(f"{row}.querySelector('audio')?.currentTime > 0.2")
        tab.click("#history-tab")
        past = f"document.querySelector('#past li[data-label={LABEL}]')"
        tab.wait_for(f"{past}?.querySelector('.play:not([hidden])') != null")
        assert tab.run(f"{past}.dataset.verdict") == "wrong"
        tab.run(f"{past}.querySelector('.play').click()")
        tab.wait_for(f"{past}.querySelector('audio')?.currentTime > 0.2")
        tab.run("document.querySelector('#filter [name=day]').value = '2001-01-01'")
        tab.run("document.querySelector('#filter').dispatchEvent(new Event('input'))")
        tab.wait_for("document.querySelector('#no-past').textContent === 'No such events.'")
        tab.click("#live-tab")

        otic.kill()
        killed_at = tab.wait_for(LOST, 5)
        assert "reconnecting" in tab.text()
        otic = Otic(port, tmp_path, str(clip))
        back_at = tab.wait_for(f"{LIVE} && {ON} === {json.dumps(words)}", 20)
        print(f"live again {back_at - killed_at:.1f} s after the kill, with the start and a window")
        assert tab.run("window.notLoadedAgain") is True
        assert not tab.complaints()
        # But for the pictures of Chromium's own player.
        asked = [urlsplit(each) for each in tab.addresses() if not each.startswith("data:")]
        assert {each.netloc for each in asked} == {f"127.0.0.1:{port}"}
        tab.close()
    finally:
        otic.kill()


def colours(tab: chromium.Tab) -> set[tuple[int, ...]]:
    """Red, green, blue and alpha of the pixels in the middle of the picture."""
    pixels = tab.run(
        "(() => { const c = document.querySelector('#picture');"
        "return [...c.getContext('2d').getImageData(0, c.height / 2, c.width, 1).data]; })()"
    )
    return {tuple(pixels[i : i + 4]) for i in range(0, len(pixels), 4)}


@pytest.mark.parametrize("dark", [False, True])
def test_layouts(browser: chromium.Browser, tmp_path: Path, dark: bool) -> None:
    """A phone and a wide screen, with all that may be on them at once; names are no markup."""
    evil = """<img src=x onerror="window.evil = true">'#/"""
    unseen = "\x1b]0;x\x07\u202egnp\x00"  # for a terminal, a title; and written backwards
    room = Room(tmp_path, f"a microphone with a really long name {evil}{unseen}", "yard")
    room.session_view.sensor = evil + unseen
    for seed in range(3):
        room.bang(seed)
    with served(room) as server:
        tab = browser.open(server.url, 360, 740, dark)
        tab.wait_for(f"{LIVE} && document.querySelectorAll('#events li').length === 3")
        room.lose(4000)
        room.bang(9)
        tab.wait_for("document.querySelector('#health').dataset.level === 'alarm'")
        tab.wait_for("document.querySelectorAll('#events li').length === 5")
        assert "4,000 samples lost" in tab.text()
        assert "audio lost" in tab.text()
        assert tab.text().count(evil) == 3  # the sensor, the source's tab, and its facts
        assert tab.text().count("�]0;x��gnp�") == 3
        for text in (tab.text(), tab.run("document.title")):
            assert not any((ord(c) < 32 and c != "\n") or c == "\u202e" for c in text)
        tab.wait_for("document.querySelector('#picture').width > 200")
        for width, height in ((360, 740), (320, 568), (1400, 900)):
            tab.look(width, height, dark)
            tab.wait_for(f"innerWidth === {width}")
            for view in ("history", "live"):
                tab.click(f"#{view}-tab")
                tab.wait_for(f"!document.querySelector('#{view}').hidden")
                overflow = "document.scrollingElement.scrollWidth - innerWidth"
                assert tab.run(overflow) <= 0, (width, view)
        ground = tab.run("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, ground[4:-1].split(","))) < 60) == dark
        end = time.monotonic() + 5
        while not any(r > 200 and g < 80 and b < 80 for r, g, b, _ in colours(tab)):  # the loss
            assert time.monotonic() < end
            time.sleep(0.05)
        assert len(colours(tab)) > 10
        tab.run("document.querySelectorAll('#sources [role=tab]')[1].click()")
        tab.wait_for("document.querySelectorAll('#events li').length === 0")
        assert "Nothing so far." in tab.text()
        # All that can be used has a name.
        unnamed = (
            "[...document.querySelectorAll('button, select, input')].filter(each => "
            "!(each.getAttribute('aria-label') || each.textContent.trim() || each.labels?.length))"
            ".length"
        )
        assert tab.run(unnamed) == 0
        assert tab.run("window.evil") is None
        assert not tab.complaints()
        tab.close()


def test_a_token_is_asked_for(browser: chromium.Browser, tmp_path: Path) -> None:
    room = Room(tmp_path, web=type(Room(tmp_path).settings.web)("0", token="correct horse"))
    with served(room) as server:
        tab = browser.open(server.url, 360, 740)
        tab.wait_for("document.querySelector('input[name=token]') !== null")
        tab.run("document.querySelector('input[name=token]').value = 'correct horse'")
        tab.run("document.querySelector('form').requestSubmit()")
        tab.wait_for(LIVE)
        assert tab.run("location.href") == server.url
        assert tab.run("document.cookie") == ""  # scripts don't see it
        tab.close()
        tab = browser.open(server.url + "?token=correct%20horse")
        tab.wait_for(LIVE)
        assert tab.run("location.href") == server.url
        tab.close()
