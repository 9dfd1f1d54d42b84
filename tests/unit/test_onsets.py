"""The rise of a sound is found where it is, over noise too, and not where nothing rose."""

from __future__ import annotations

import numpy as np
import pytest

from otic import Frontend
from otic.detection.onset import first_rise
from otic_training.networks.presets import preset
from tests.support.helpers import F32, noise

P = preset("logmel-cnn").features
FRAME_SECONDS = P.hop_length / P.sr


def frames(y: F32) -> F32:
    frontend = Frontend(P)
    frontend.push(y)
    return frontend.log_mel()


def tone(n: int, level: float) -> F32:
    t = np.arange(n) / P.sr
    y = sum(np.sin(2 * np.pi * 440.0 * k * t) / k for k in range(1, 6))
    return (level * np.asarray(y)).astype(np.float32)


@pytest.mark.parametrize("onset_seconds", [0.3, 0.9, 1.5, 2.0])
@pytest.mark.parametrize("room", [0.0, 1e-4, 3e-2])
def test_the_beginning_of_a_sound(onset_seconds: float, room: float) -> None:
    y = noise(P.window_samples, 1, room)
    start = round(onset_seconds * P.sr)
    y[start:] += tone(P.window_samples - start, 0.05)
    found = first_rise(frames(y), FRAME_SECONDS)
    assert found is not None
    assert found * FRAME_SECONDS + P.n_fft / 2 / P.sr == pytest.approx(onset_seconds, abs=0.05)


@pytest.mark.parametrize("level", [0.0, 1e-4, 0.3])
def test_nothing_rises_in_what_is_steady(level: float) -> None:
    assert first_rise(frames(noise(P.window_samples, 2, level)), FRAME_SECONDS) is None
    assert first_rise(frames(tone(P.window_samples, level)), FRAME_SECONDS) is None


def test_what_ends_does_not_rise() -> None:
    y = noise(P.window_samples, 3, 1e-4)
    y[: P.sr] += tone(P.sr, 0.1)
    assert first_rise(frames(y), FRAME_SECONDS) is None


def test_the_beginning_is_not_the_loudest_crackle() -> None:
    y = noise(P.window_samples, 4, 1e-4)
    for i, level in enumerate([0.1, 0.1, 0.12, 0.2, 0.1]):
        at = round((0.5 + 0.3 * i) * P.sr)
        y[at : at + 2000] += noise(2000, 5 + i, level)
    found = first_rise(frames(y), FRAME_SECONDS)
    assert found is not None
    assert found * FRAME_SECONDS == pytest.approx(0.5, abs=0.06)


def test_few_frames_have_no_rise() -> None:
    for n in range(1, 9):
        assert first_rise(np.zeros((n, 4), np.float32), FRAME_SECONDS) is None
