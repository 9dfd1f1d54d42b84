"""What can be asked of running streams: marks, saved sound, thresholds; and their health."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic.audio.soundscape import synthesise
from otic.config.settings import ClipsSettings, ReviewSettings, Settings
from otic.errors import OticError, ParameterError
from otic.streaming.control import Control, Stop
from otic.streaming.monitor import ALARM, OK, WARNING, judge
from otic.streaming.session_view import SAVED_SECONDS, SessionView, open_session_view, recording_of
from otic.types import Lost, StreamStatus
from tests.support.helpers import bundled, decision, noise
from tests.support.session_views import Running

SR = 22050
SCAPE = synthesise(SR)[0]


@pytest.fixture
def running(tmp_path: Path) -> Running:
    """Twelve seconds in: rain has been, and the clock ticks."""
    return Running(tmp_path, {"garden": [SCAPE[: 12 * SR]]})


def test_a_mark_keeps_the_event_and_its_sound(running: Running, tmp_path: Path) -> None:
    session_view = running.session_view
    (view,) = session_view.views()
    assert view.source == "garden"
    assert view.memory is not None
    rain = next(h for h in view.memory.events() if h.label == "rain")
    assert session_view.verdict(view.memory, rain) is None
    mark = session_view.mark("garden", rain.number, "wrong", "sea_waves")
    assert (mark.verdict, mark.label, mark.true_label) == ("wrong", "rain", "sea_waves")
    assert (mark.source, mark.sensor, mark.model) == ("garden", "test", running.bundle.name)
    assert mark.recording == recording_of(view.memory) == "garden"
    assert (mark.onset, mark.offset) == pytest.approx((rain.onset, rain.offset), abs=1e-6)
    assert mark.clip is not None
    assert mark.clip_start is not None
    assert mark.clip_start == pytest.approx(rain.onset - 1.0, abs=1e-3)
    y, sr = soundfile.read(tmp_path / "review" / "audio" / mark.clip, dtype="int16")
    assert sr == SR
    assert rain.offset is not None
    assert len(y) / SR == pytest.approx(rain.offset - rain.onset + 2.0, abs=1e-3)
    first = round(mark.clip_start * SR)
    expected = np.rint(SCAPE[first : first + len(y)] * 32768).astype(np.int16)
    assert np.array_equal(y, expected)
    found = session_view.verdict(view.memory, rain)
    assert found is not None
    assert found.verdict == "wrong"


def test_an_event_that_is_on_can_be_marked(running: Running) -> None:
    memory = running.session_view.views()[0].memory
    assert memory is not None
    on = memory.events()[-1]
    assert on.offset is None
    mark = running.session_view.mark("garden", on.number, "right")
    assert mark.offset is None
    assert mark.clip is not None


def test_marks_that_are_not_possible(running: Running, tmp_path: Path) -> None:
    with pytest.raises(OticError, match="event 99 of garden is no longer in memory"):
        running.session_view.mark("garden", 99, "right")
    with pytest.raises(OticError, match="of nowhere"):
        running.session_view.mark("nowhere", 1, "right")
    running.session_view.review = None
    with pytest.raises(OticError, match=r"review\.enabled"):
        running.session_view.mark("garden", 1, "right")
    gap = Running(tmp_path, {"mic": [SCAPE[:SR], Lost(500), SCAPE[:SR]]})
    with pytest.raises(OticError, match="event 1 of mic"):  # a gap is no event
        gap.session_view.mark("mic", 1, "right")


def test_the_last_ten_seconds_are_saved(running: Running, tmp_path: Path) -> None:
    path = running.session_view.save("garden", now=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert path == tmp_path / "saved" / "20260102T030405.000Z_garden_saved.flac"
    y, sr = soundfile.read(path, dtype="int16")
    assert (sr, len(y)) == (SR, SAVED_SECONDS * SR)
    expected = np.rint(SCAPE[2 * SR : 12 * SR] * 32768).astype(np.int16)
    assert np.array_equal(y, expected)
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing unfinished


def test_the_ten_seconds_before_a_frozen_picture_are_saved(running: Running) -> None:
    y, _ = soundfile.read(running.session_view.save("garden", 11.0), dtype="int16")
    assert np.array_equal(y, np.rint(SCAPE[1 * SR : 11 * SR] * 32768).astype(np.int16))
    running.feed("garden", [np.zeros(SR * 100, np.float32)])
    with pytest.raises(OticError, match="no longer in memory: only the latest 90 s are"):
        running.session_view.save("garden", 11.0)


def test_sound_that_can_not_be_saved(running: Running, tmp_path: Path) -> None:
    with pytest.raises(OticError, match="nowhere has delivered no sound yet"):
        running.session_view.save("nowhere")
    (tmp_path / "saved").write_text("a file")
    with pytest.raises(OticError, match="can't save"):
        running.session_view.save("garden")


def test_where_recordings_are_off_no_sound_is_written(tmp_path: Path) -> None:
    running = Running(tmp_path, {"mic": [SCAPE[: 12 * SR]]}, sound_is_written=False)
    with pytest.raises(OticError, match="no sound is written"):
        running.session_view.save("mic")
    assert running.session_view.mark("mic", 1, "right").clip is None
    assert not list(tmp_path.glob("**/*.flac"))


def test_changed_thresholds_are_printed_at_the_end(running: Running) -> None:
    assert running.session_view.changes() == []
    running.control.set_threshold("clock_tick", 0.75)
    (line,) = running.session_view.changes()
    assert line.endswith("--thresholds clock_tick=0.75")


def test_the_printed_option_means_the_same_in_a_shell(running: Running) -> None:
    labels = ("Dental drill, dentist's drill", "$(touch x)", "Dog")
    running.session_view.control = control = Control(labels, decision(3))
    running.session_view = SessionView(
        running.bundle, control, running.memories, "test", None, Path(), thresholds=("Dog=0.3",)
    )
    assert running.session_view.changes() == []
    for label in labels[:2]:
        control.set_threshold(label, 0.5)
    (line,) = running.session_view.changes()
    option, value = shlex.split(line.partition("start with them: ")[2])  # what the shell hands on
    assert option == "--thresholds"
    assert shlex.split(value) == ["Dog=0.3", *(f"{label}=0.5" for label in labels[:2])]
    control.set_threshold("Dog", 0.4)
    assert "Dog=0.3" not in running.session_view.changes()[0]


def test_the_desk_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    bundle = bundled()
    control = Control(bundle.labels, bundle.decision)
    session_view = open_session_view(Settings(name="porch"), bundle, control, ["hello"])
    assert session_view.sensor == "porch"
    assert session_view.views() == []
    assert session_view.messages == ["hello"]
    assert session_view.review is not None
    assert session_view.review.path == tmp_path / "otic" / "review"
    off = Settings(review=ReviewSettings(enabled=False), clips=ClipsSettings(enabled=False))
    assert open_session_view(off, bundle, control).review is None


def test_control_holds_thresholds_and_wishes() -> None:
    control = Control(("quiet", "loud"), decision(2))
    before = control.thresholds
    control.set_threshold("loud", 0.5)
    assert dict(before) == {"quiet": 0.6, "loud": 0.6}  # never changes
    assert dict(control.thresholds) == {"quiet": 0.6, "loud": 0.5}
    assert control.changed_thresholds == {"loud": 0.5}
    control.set_threshold("loud", 0.6)
    assert control.changed_thresholds == {}
    with pytest.raises(ParameterError, match="no label 'cat'"):
        control.set_threshold("cat", 0.5)
    for value in (0.0, 1.01, float("nan")):
        with pytest.raises(ParameterError, match="must lie from"):
            control.set_threshold("loud", value)
    control.quit()  # nobody runs
    stop = Stop()
    control.bind(stop)
    control.quit()
    assert stop.requested


def test_a_signal_that_is_no_wish_to_stop_lets_the_loop_sleep_again() -> None:
    reader, writer = os.pipe()
    control = Control(("quiet",), decision(1))
    control.clear_wakeup()
    control.bind(Stop(reader))
    control.clear_wakeup()  # nothing to take
    os.write(writer, b"\x14")
    control.clear_wakeup()
    os.set_blocking(reader, False)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    os.close(reader)
    os.close(writer)


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> StreamStatus:
    running = Running(tmp_path_factory.mktemp("session"), {"mic": [noise(20 * SR)]})
    now = running.session_view.views()[0].snapshot()
    return replace(now, real_time_factor=50.0)


@pytest.mark.parametrize(
    ("changes", "paused", "level", "words"),
    [
        ({}, False, OK, "all well"),
        ({"state": "waiting"}, False, ALARM, "missing"),
        ({"state": "silent"}, False, ALARM, "only zeros"),
        ({"lost_samples": 4410, "lost_seconds": 0.2, "lost_at": 15.0}, False, ALARM, "5 s ago"),
        ({"lost_samples": 1, "lost_at": 15.0, "seconds": 76.0}, False, WARNING, "1 samples lost"),
        ({"lost_samples": 1, "lost_at": 1.0, "seconds": 9000.0}, False, WARNING, "2 h ago"),
        ({}, True, WARNING, "paused"),
        ({"queue_fill": 0.7}, False, WARNING, "falling behind: 70%"),
        ({"clipped": True}, False, WARNING, "too loud"),
        ({"real_time_factor": 1.2}, False, WARNING, "1.2 × real time"),
        ({"real_time_factor": 1.2, "seconds": 5.0}, False, OK, "all well"),
        ({"peak_dbfs": -120.0}, False, WARNING, "digital silence"),
        # The worst comes first.
        ({"state": "waiting", "clipped": True}, True, ALARM, "missing"),
        ({"lost_samples": 9, "lost_at": 19.0, "queue_fill": 0.9}, True, ALARM, "lost"),
    ],
)
def test_health_has_a_colour_and_a_reason(
    well: StreamStatus, changes: dict[str, object], paused: bool, level: str, words: str
) -> None:
    health = judge(replace(well, **changes), paused)  # type: ignore[arg-type]
    assert health.level == level
    assert words in health.reason
