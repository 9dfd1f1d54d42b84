"""The long runs of tests/soak, for seconds in place of hours."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from otic.audio.soundscape import synthesise
from tests.soak.hour import Pace, soak
from tests.soak.simulated import Simulation
from tests.support import debian, mosquitto, virtual_microphone

pytestmark = pytest.mark.slow

_SR = 22050
_QUICK = Pace(
    fault_every=0.9, shortest=0.3, longest=1.5, stopped=0.5, pause=0.3, life_weight=2.0, stop=5.0
)


def test_simulated_lives(tmp_path: Path) -> None:
    report = Simulation(tmp_path, hours=0.12, seed=3, speed=400.0, life_hours=0.05).run()
    assert report.print() == 0


def test_a_sensor_in_real_time(tmp_path: Path) -> None:
    with debian.needed():
        virtual_microphone.install()
        mosquitto.install()
    clips = []
    y, plan = synthesise(_SR)
    for sound in plan:
        clips.append(tmp_path / f"{sound.label}.wav")
        begin, end = round(sound.onset_seconds * _SR), round(sound.offset_seconds * _SR)
        soundfile.write(clips[-1], y[begin : begin + (end - begin) // 2], _SR)
    report = soak(6.0, 4, clips, tmp_path, _QUICK)
    assert report.print() == 0
