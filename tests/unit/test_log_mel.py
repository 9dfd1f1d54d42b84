"""Log-mel frames as features: librosa's, however the stream is cut, and small in a model's file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from otic import FeatureParams, Frontend, load_bundle, save_bundle
from otic.diagnostics import verify as verification
from otic.features.reference import reference_features
from otic.model.golden import MAX_FEATURES, SOUNDS, GoldenCase, golden_sound
from otic_training.data.layouts import load_dataset
from otic_training.data.windows import read_clip
from tests.support.helpers import F32, LIBROSA_DEFAULTS, SMALL, cut, noise, small_bundle

PATCH = replace(LIBROSA_DEFAULTS, n_mels=64, window_frames=83, statistics=("log_mel",))
BOTH = replace(SMALL, statistics=("std", "log_mel", "mean"))
DB_LIMIT = 0.01


def librosa_log_mel(y: F32, p: FeatureParams) -> F32:
    """What librosa.feature.mfcc takes the DCT of, [window_frames, n_mels]."""
    power = librosa.feature.melspectrogram(
        y=y,
        sr=p.sr,
        n_fft=p.n_fft,
        hop_length=p.hop_length,
        n_mels=p.n_mels,
        fmin=p.fmin,
        fmax=p.fmax,
        center=p.center,
    )
    decibels: F32 = librosa.power_to_db(power, top_db=p.top_db).T
    return decibels


def features(y: F32, p: FeatureParams) -> F32:
    frontend = Frontend(p)
    frontend.push(noise(p.window_samples, seed=9))  # something to be pushed out of the ring
    frontend.push(y)
    return frontend.features()


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("sound", SOUNDS)
def test_frames_are_librosas(sound: str, center: bool) -> None:
    p = replace(PATCH, center=center)
    y = golden_sound(sound, p.sr, p.window_samples)
    frontend = Frontend(p)
    frontend.push(y)
    expected = librosa_log_mel(y, p).ravel()
    assert len(expected) == p.n_features
    np.testing.assert_allclose(frontend.features(), expected, rtol=0, atol=DB_LIMIT)


def test_real_clips_are_librosas(esc10: Path) -> None:
    worst = 0.0
    for clip in load_dataset(str(esc10)).clips[::25]:
        y = read_clip(clip, PATCH.sr)[: PATCH.window_samples]
        frontend = Frontend(PATCH)
        frontend.push(y)
        off = np.abs(frontend.features() - librosa_log_mel(y, PATCH).ravel())
        worst = max(worst, float(off.max()))
    print(f"largest difference from librosa in any log-mel frame: {worst:.2e} dB")
    assert worst <= DB_LIMIT


def test_statistics_keep_their_order() -> None:
    y = noise(SMALL.window_samples)
    found = features(y, BOTH)
    std, mean = (features(y, replace(SMALL, statistics=(name,))) for name in ("std", "mean"))
    patch = features(y, replace(SMALL, statistics=("log_mel",)))
    assert BOTH.n_features == len(found) == 2 * SMALL.n_mfcc + SMALL.window_frames * SMALL.n_mels
    np.testing.assert_array_equal(found, np.concatenate([std, patch, mean]))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=12))
def test_any_cutting_gives_the_same(sizes: list[int]) -> None:
    y = noise(3000, seed=4)
    whole, pieces = Frontend(BOTH), Frontend(BOTH)
    whole.push(y)
    for block in cut(y, sizes):
        pieces.push(block)
    np.testing.assert_array_equal(pieces.features(), whole.features())
    clamped = np.maximum(whole.log_mel(), whole.log_mel().max() - np.float32(SMALL.top_db))
    np.testing.assert_array_equal(whole.features()[SMALL.n_mfcc : -SMALL.n_mfcc], clamped.ravel())


def test_golden_cases_stay_small(tmp_path: Path) -> None:
    p = replace(PATCH, sr=22050)
    y = golden_sound("noise", p.sr, p.window_samples)
    every = -(-p.n_features // MAX_FEATURES)
    kept = tuple(reference_features(y, p)[::every].round(5).tolist())
    assert MAX_FEATURES // 2 < len(kept) <= MAX_FEATURES
    bundle = small_bundle(features=p, golden=(GoldenCase("noise", kept, (0.1, 0.2, 0.7)),))
    save_bundle(tmp_path / "m.tflite", bundle)
    assert load_bundle(tmp_path / "m.tflite").golden == bundle.golden


def test_verification_checks_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = small_bundle(features=BOTH)
    y = noise(4 * SMALL.window_samples)
    assert verification.check_streaming_is_batch(bundle, y).passed
    for place, off, passed in [(20, 9e-3, True), (20, 11e-3, False), (0, 1e-3, False)]:
        changed = np.eye(1, BOTH.n_features, place)[0].astype(np.float32) * off

        def shifted(
            window: F32, params: FeatureParams, noise_share: float = 0.0, changed: F32 = changed
        ) -> NDArray[np.float64]:
            return reference_features(window, params) + changed

        monkeypatch.setattr(verification, "reference_features", shifted)
        assert verification.check_streaming_is_batch(bundle, y).passed is passed
