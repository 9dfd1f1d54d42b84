"""What stands out and is given to no label is unknown; silence, rooms and known sounds are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic import Event, Pipeline
from otic.detection.unknown import UnknownSounds
from otic.errors import ParameterError
from otic.model.bundle import save_bundle
from otic_training.scoring.predictions import at_threshold
from tests.support.helpers import (
    F32,
    SMALL,
    FakeClassifier,
    always,
    bundled,
    cut,
    decision,
    noise,
    of_type,
    otic,
    small_bundle,
)

SR = 1000
SR_FILE = 22050
HOP = 250


def run(levels: list[float], named: list[bool] | None = None) -> list[Event]:
    """A level every quarter of a second, then the end."""
    unknown = UnknownSounds(SR)
    unknown.start(0)
    events: list[Event] = []
    for i, level in enumerate(levels):
        known = bool(named and named[i])
        sample = (i + 1) * HOP
        events += unknown.update(sample, level, known, known, always(sample - 1200))
    return events + unknown.close(len(levels) * HOP)


def test_a_sound_above_the_floor_is_unknown_once_it_has_lasted() -> None:
    on, off = run([-60.0] * 8 + [-40.0] * 8 + [-60.0] * 8)
    assert (on.state, on.label, off.state, off.label) == ("on", "unknown", "off", "unknown")
    assert (on.time, on.onset) == (3.25, 1.05)
    assert off.time == 5.25


@pytest.mark.parametrize(
    "levels",
    [
        [-60.0] * 40,
        [-30.0] * 40,  # loud, but always
        [-60.0] * 8 + [-40.0] * 4 + [-60.0] * 8,  # too short
        [-60.0 + 0.2 * i for i in range(60)],  # so slow that it is the room that changes
    ],
)
def test_what_is_not_unknown(levels: list[float]) -> None:
    assert run(levels) == []


def test_what_a_label_is_given_to_is_not_unknown() -> None:
    levels = [-60.0] * 8 + [-40.0] * 20
    assert run(levels, [False] * 8 + [True] * 20) == []
    on, off = run(levels, [False] * 20 + [True] * 8)
    assert on.time < off.time == 5.25


def test_silence_says_nothing_of_the_room_that_follows() -> None:
    assert run([-110.0] * 8 + [-60.0] * 40) == []


def test_a_label_that_may_be_about_to_come_on_does_not_cut_an_unknown_sound_in_two() -> None:
    unknown = UnknownSounds(SR)
    unknown.start(0)
    events: list[Event] = []
    for i in range(30):
        sample = (i + 1) * HOP
        level = -60.0 if i < 8 else -40.0
        events += unknown.update(sample, level, False, i == 20, always(sample))
    assert [e.state for e in events] == ["on"]
    assert unknown.update(31 * HOP, -40.0, True, True, lambda: 0)[0].state == "off"


def test_a_whistle_stands_out_too() -> None:
    t = np.arange(SMALL.sr * 3) / SMALL.sr
    whistle = (0.02 * np.sin(2 * np.pi * 2000.0 * t)).astype(np.float32)
    room = noise(SMALL.sr * 9, 1, 1e-3)
    room[SMALL.sr * 3 : SMALL.sr * 6] += whistle
    bundle = small_bundle(decision=decision(3, on_thresholds=(1.0,) * 3))
    pipe = Pipeline(bundle, FakeClassifier(), unknown=True)
    items = [*pipe.process(room), *pipe.flush()]
    assert [i.label for i in items if isinstance(i, Event)] == ["unknown"] * 2


def test_a_pipeline_reports_it_only_if_asked_and_at_any_block_size() -> None:
    quiet, loud = noise(SMALL.sr * 3, 1, 1e-4), noise(SMALL.sr * 3, 2, 0.1)
    y: F32 = np.concatenate([quiet, loud, quiet])
    never = decision(3, on_thresholds=(1.0,) * 3, off_thresholds=(0.9,) * 3)
    bundle = small_bundle(decision=never)

    def events(unknown: bool, block: int) -> list[Event]:
        pipe = Pipeline(bundle, FakeClassifier(), unknown=unknown)
        items = [i for part in cut(y, [block]) for i in pipe.process(part)] + pipe.flush()
        return [item for item in items if isinstance(item, Event)]

    assert events(False, 512) == []
    found = events(True, 512)
    assert [(e.state, e.label) for e in found] == [("on", "unknown"), ("off", "unknown")]
    assert found[0].onset == pytest.approx(3.0, abs=0.15)
    assert events(True, 1) == events(True, 70000) == found


def test_a_loss_ends_it() -> None:
    bundle = small_bundle(decision=decision(3, on_thresholds=(1.0,) * 3))
    pipe = Pipeline(bundle, FakeClassifier(), unknown=True)
    pipe.process(noise(SMALL.sr * 3, 1, 1e-4))
    pipe.process(noise(SMALL.sr * 3, 2, 0.1))
    assert [i.state for i in pipe.lose(100) if isinstance(i, Event)] == ["off"]


def test_a_label_of_that_name_is_the_models() -> None:
    bundle = small_bundle(labels=("quiet", "loud", "unknown"))
    Pipeline(bundle, FakeClassifier())
    with pytest.raises(ParameterError, match="label 'unknown' of its own"):
        Pipeline(bundle, FakeClassifier(), unknown=True)


def test_the_log_holds_it_only_if_asked(tmp_path: Path) -> None:
    bundle = bundled()
    never = at_threshold(bundle.decision, 1.0)
    save_bundle(tmp_path / "deaf.tflite", replace(bundle, name="deaf", decision=never))
    room = noise(SR_FILE * 5, 3, 1e-4)
    y = np.concatenate([room, noise(SR_FILE * 4, 4, 0.1), room])
    soundfile.write(tmp_path / "a.wav", y, SR_FILE)

    def events(*log: str) -> list[str]:
        where = ("--model", tmp_path / "deaf.tflite", "--speed", "max", "--jsonl", "-")
        done = otic("replay", tmp_path / "a.wav", *where, *log)
        assert done.returncode == 0, done.stderr.decode()
        return [f"{e['label']} {e['state']}" for e in of_type(done.stdout, "event")]

    assert events() == events("--log", "scores,events") == []
    assert events("--log", "unknown") == ["unknown on", "unknown off"]
    assert events("--log", "scores,events,unknown") == ["unknown on", "unknown off"]
