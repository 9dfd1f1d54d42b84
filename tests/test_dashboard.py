"""The dashboard: what it shows at each size, and in a real terminal."""

from __future__ import annotations

import io
import signal
import time

import numpy as np
import pytest
from rich.console import Console

from realtime import Event, Gap, Scores
from realtime.dashboard import View, frame_lines
from realtime.monitor import Monitor, TimedClassifier
from realtime.sources import ArraySource, SourceHealth
from tests.helpers import FakeClassifier, bundled, noise
from tests.terminal import Terminal

LABELS = bundled().labels


def still(name: str) -> ArraySource:
    return ArraySource(name, np.zeros(0, np.float32), 22050, 100)


@pytest.fixture
def monitor() -> Monitor:
    classifier = TimedClassifier(FakeClassifier(10))
    for _ in range(5):
        classifier.predict(np.zeros(160, np.float32))
    monitor = Monitor(still("a recording with a long name.wav"), bundled(), classifier)
    monitor.heard_samples(noise(22050, level=0.1))
    monitor.heard_work(0.01)
    scores = dict(zip(LABELS, np.linspace(0, 0.9, 10).tolist(), strict=True))
    monitor.heard_items(
        [
            Scores(44032, 1.9969, scores, scores),
            Event("on", "dog", 0.5, 2.0, score=0.7),
            Event("off", "dog", 0.5, 2.75, offset=2.5, peak=0.8),
            Event("on", "rain", 3.0, 4.0, score=0.75),
        ]
    )
    return monitor


def lines(monitor: Monitor, columns: int, rows: int) -> list[str]:
    return [t.plain for t in frame_lines(monitor, monitor.snapshot(), columns, rows)]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (60, 20), (200, 60), (40, 12)])
def test_it_fits(monitor: Monitor, size: tuple[int, int]) -> None:
    columns, rows = size
    console = Console(width=columns, height=rows, file=io.StringIO(), force_terminal=True)
    view = View()
    view.monitors = [monitor]
    drawn = console.render_lines(view, console.options.update(height=rows), pad=False)
    assert len(drawn) == rows
    assert all(sum(s.cell_length for s in line) <= columns for line in drawn)


def test_what_it_shows(monitor: Monitor) -> None:
    frame = lines(monitor, 80, 24)
    assert len(frame) == 24
    assert "a recording with a long name.wav → esc10-mfcc-mlp" in frame[0]
    assert frame[0].endswith("0:01.0")
    assert frame[1].startswith("level")
    assert "-20 dBFS" in frame[1]
    rows = dict(line.split(maxsplit=1) for line in frame[3:13])
    assert tuple(rows) == LABELS  # one stable row a class, in the model's order
    assert rows["rain"].endswith("ON")
    assert "0.60 / 0.60" in rows["rain"]
    assert not rows["dog"].endswith("ON")
    events = frame[14:22]
    assert "rain on, score 0.75" in events[0]
    assert "dog off, peak 0.80" in events[1]
    for word in ("× real time", "inference p50", "p99", "queue 0%", "lost 0"):
        assert word in frame[-1]


def test_clipping_and_losses_are_marked(monitor: Monitor) -> None:
    assert "CLIP" not in lines(monitor, 80, 24)[1]
    monitor.heard_samples(np.array([0.0, 1.0], np.float32))
    monitor.heard_loss(4410)
    monitor.heard_items([Gap(22052, 4410)])
    frame = lines(monitor, 80, 24)
    assert "CLIP" in frame[1]
    assert frame[-1].startswith("lost 4,410 ")
    assert frame[14] == "4410 samples lost"


def test_other_microphones_have_a_line_each(monitor: Monitor) -> None:
    class Gone(ArraySource):
        def health(self) -> SourceHealth:
            return SourceHealth("waiting", overruns=3)

    silent = Gone("garage", np.zeros(0, np.float32), 22050, 100)
    other = Monitor(silent, bundled(), TimedClassifier(FakeClassifier(10)))
    other.heard_loss(44100)
    frame = [t.plain for t in frame_lines(monitor, monitor.snapshot(), 80, 24, [other])]
    assert frame[2].startswith("garage")
    assert "waiting" in frame[2]
    assert "lost 44,100" in frame[2]
    health = [t.plain for t in frame_lines(other, other.snapshot(), 80, 24)][-1]
    assert health.startswith("waiting lost 44,100  overruns 3")


def test_the_peak_is_held_for_two_seconds(monitor: Monitor) -> None:
    monitor.heard_samples(np.full(100, 0.5, np.float32))
    for _ in range(19):
        monitor.heard_samples(np.zeros(2205, np.float32))
    assert monitor.snapshot().peak_dbfs == pytest.approx(-6.02, abs=0.01)
    monitor.heard_samples(np.zeros(4410, np.float32))
    now = monitor.snapshot()
    assert now.peak_dbfs == now.level_dbfs == -120.0


def test_more_classes_than_rows(monitor: Monitor) -> None:
    frame = lines(monitor, 80, 14)
    assert any("more classes" in line for line in frame)
    assert len(frame) == 14
    assert "lost 0" in frame[-1]


def test_before_the_first_score_it_says_why() -> None:
    monitor = Monitor(still("mic"), bundled(), TimedClassifier(FakeClassifier(10)))
    assert "filling the window of 2.0 s" in lines(monitor, 80, 24)[0]
    assert "-∞" in lines(monitor, 80, 24)[1]


def test_in_a_terminal_it_follows_a_resize_and_leaves_cleanly() -> None:
    terminal = Terminal("demo", columns=80, rows=24)
    terminal.wait_for(lambda: len(terminal.frames()) > 3, 60)
    assert len(terminal.frames()[-1]) == 24
    terminal.resize(120, 40)
    terminal.wait_for(lambda: len(terminal.frames()[-1]) == 40)
    assert max(map(len, terminal.frames()[-1])) == 120
    before = len(terminal.frames())
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.finish() == 0
    assert len(terminal.frames()) - before < 5
    text = terminal.text()
    assert text.count("\x1b[?1049h") == text.count("\x1b[?1049l") == 1  # alternate screen
    left = text.rsplit("\x1b[?1049l", 1)[1]  # what stays on the screen
    assert "samples lost, latest events:" in left
    assert "sounds were named rightly" in left


def test_it_draws_at_most_ten_frames_a_second() -> None:
    terminal = Terminal("demo")
    terminal.wait_for(lambda: len(terminal.frames()) > 1, 60)
    before, begin = len(terminal.frames()), time.monotonic()
    time.sleep(3)
    rate = (len(terminal.frames()) - before) / (time.monotonic() - begin)
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.finish() == 0
    assert 4 <= rate <= 10


def test_without_a_terminal_or_on_request_it_is_off() -> None:
    terminal = Terminal("demo", "--speed", "max", "--no-dashboard")
    assert terminal.finish(60) == 0
    assert "\x1b[?1049h" not in terminal.text()
