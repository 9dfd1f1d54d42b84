"""`otic verify` proves what it says, and fails where it should."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic import FeatureParams, load_bundle, save_bundle
from otic.config.values import DEFAULT_MODEL
from otic.diagnostics import verify as verification
from otic.features.reference import reference_features
from otic.model.bundle import bundled_names
from otic.model.golden import SOUNDS, golden_sound
from otic.pipeline import Pipeline
from otic.types import Item, Scores
from tests.support.helpers import (
    F32,
    LIBROSA_DEFAULTS,
    SMALL,
    FakeClassifier,
    bundled,
    noise,
    one_line,
    otic,
    small_bundle,
)
from tests.unit.test_frontend import CENTERED, librosa_features

SR = 22050
DEFAULT = load_bundle(DEFAULT_MODEL)


@pytest.mark.parametrize("params", [LIBROSA_DEFAULTS, CENTERED, SMALL])
@pytest.mark.parametrize("sound", SOUNDS)
def test_the_reference_is_librosas(params: FeatureParams, sound: str) -> None:
    y = golden_sound(sound, params.sr, params.window_samples)
    expected = librosa_features(y, params)
    np.testing.assert_allclose(reference_features(y, params), expected, rtol=0, atol=5e-4)


def test_the_reference_of_samples_makes_no_frames() -> None:
    """They would need a hundred times the memory of a window, which may be minutes long."""
    n = 2**20
    frames = {"window_frames": n // SMALL.hop_length + 1, "tail_samples": n % SMALL.hop_length}
    params = replace(SMALL, center=True, statistics=("waveform",), **frames)
    y = noise(n)
    tracemalloc.start()
    try:
        found = reference_features(y, params)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found, y)
    assert peak < 3 * found.nbytes


def test_golden_sounds_are_the_same_for_good() -> None:
    """A change would fail the golden cases of every model that there is."""
    places = [100, 8200, 40000]
    pinned = {
        "noise": [0.0934296, 0.0852432, -0.0873777],
        "sweep": [-0.0323086, -0.1364333, -0.0004837],
        "pulses": [0.5693762, 0.6091255, -0.0],
    }
    for name in SOUNDS:
        y = golden_sound(name, SR, 44032)
        assert 0.01 < np.abs(y).max() <= 1.0
        np.testing.assert_allclose(y[places], pinned[name], rtol=0, atol=1e-6)


def test_the_command_passes_and_says_how_closely() -> None:
    done = otic("verify")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines[0] == f"{DEFAULT.name} on a synthetic soundscape, 44.0 s"
    names = ["streaming = batch", "state", "block sizes", "replay", "golden cases"]
    assert [line[6:24].strip() for line in lines[1:]] == names
    assert all(line.startswith("ok ") for line in lines[1:])
    assert "(limit 5e-04; 20 times that for log-mel frames)" in lines[1]
    assert "3 sounds" in lines[5]


def test_on_a_recording_and_as_json(tmp_path: Path) -> None:
    path = tmp_path / "street.wav"
    soundfile.write(path, noise(3 * 44100 * 2).reshape(-1, 2), 44100)
    done = otic("verify", "esc10-mfcc-mlp", "--audio", path, "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["passed"] is True
    assert outcome["audio"] == str(path)
    assert len(outcome["checks"]) == 4
    assert all(check["passed"] for check in outcome["checks"])


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (
            noise(SR // 2),
            "has 11025 samples at 22050 Hz: the model's first scores take "
            f"{DEFAULT.window_samples}",
        ),
        (np.where(np.arange(3 * SR) == SR, np.nan, 0.1), "samples that are not audio"),
    ],
)
def test_audio_that_will_not_do(tmp_path: Path, y: F32, words: str) -> None:
    soundfile.write(tmp_path / "y.wav", y, SR, subtype="FLOAT")
    done = otic("verify", "--audio", tmp_path / "y.wav")
    assert done.returncode == 1
    assert words in one_line(done.stderr)


def test_a_model_that_answers_differently_fails(tmp_path: Path) -> None:
    bundle = bundled()
    first = bundle.golden[0]
    changed = replace(first, scores=(first.scores[0] + 2e-4, *first.scores[1:]))
    save_bundle(tmp_path / "m.tflite", replace(bundle, golden=(changed, *bundle.golden[1:])))
    done = otic("verify", tmp_path / "m.tflite")
    assert done.returncode == 1
    assert b"FAIL  golden cases" in done.stdout
    assert b"scores within 2.0e-04 (limit 1e-04)" in done.stdout
    assert "do not rely on it" in one_line(done.stderr)


def test_an_int8_model_may_be_a_step_off() -> None:
    bundle = load_bundle("esc10-mfcc-mlp-int8")
    first = bundle.golden[0]
    for off, passed in [(0.02, True), (0.04, False)]:
        changed = replace(first, scores=(first.scores[0] + off, *first.scores[1:]))
        check = verification.check_golden_cases(replace(bundle, golden=(changed,)))
        assert check.passed is passed


def test_a_model_without_golden_cases_says_so() -> None:
    check = verification.check_golden_cases(replace(bundled(), golden=()))
    assert check.passed is None
    assert "has none" in check.text


def test_features_that_differ_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    y = noise(4 * SMALL.window_samples)
    bundle = small_bundle()
    assert verification.check_streaming_is_batch(bundle, y).passed
    centered = replace(bundle, features=replace(SMALL, center=True, tail_samples=7))
    assert verification.check_streaming_is_batch(centered, y).passed

    def off(window: F32, params: FeatureParams, noise_share: float = 0.0) -> F32:
        features: F32 = reference_features(window, params) + np.eye(1, params.n_features)[0] * 1e-3
        return features

    monkeypatch.setattr(verification, "reference_features", off)
    check = verification.check_streaming_is_batch(bundle, y)
    assert not check.passed
    assert "within 1.0e-03" in check.text

    monkeypatch.setattr(verification, "reference_features", lambda y, p, n=0.0: np.full(16, np.nan))
    assert not verification.check_streaming_is_batch(bundle, y).passed


def test_what_float32_can_not_tell_is_no_failure() -> None:
    """A loud hum below the model's band, over noise of 16 bits."""
    p = replace(LIBROSA_DEFAULTS, fmin=2000.0, statistics=("mean",))
    t = np.arange(3 * p.window_samples) / p.sr
    y = (0.9 * np.sin(2 * np.pi * 100.0 * t)).astype(np.float32)
    y = (np.round(y * 32767 + noise(len(t), level=0.5)) / 32768).astype(np.float32)
    bundle = replace(bundled(), features=p, golden=())
    check = verification.check_streaming_is_batch(bundle, y)
    assert check.passed, check.text
    assert "below the precision of float32" in check.text


def test_a_window_longer_than_the_soundscape(tmp_path: Path) -> None:
    features = replace(bundled().features, window_frames=1950)
    assert features.window_seconds > 44.5  # which the soundscape's are
    long = replace(bundled(), features=features, inference_hop_frames=50, golden=())
    save_bundle(tmp_path / "long.tflite", long)
    done = otic("verify", tmp_path / "long.tflite")
    assert done.returncode == 0, done.stderr
    assert b"none  golden cases" in done.stdout


def test_output_that_depends_on_the_blocks_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(Pipeline):
        """Gives its scores at the end of the block, wherever that is."""

        def process(self, y: object) -> list[Item]:
            items = super().process(y)  # type: ignore[arg-type]
            return [
                replace(item, sample=self.sample) if isinstance(item, Scores) else item
                for item in items
            ]

    y = noise(20 * SMALL.window_samples)
    for cls, expected in ((Pipeline, True), (Forgetful, False)):
        monkeypatch.setattr(verification, "Pipeline", lambda b, cls=cls: cls(b, FakeClassifier()))
        check = verification.check_block_sizes(small_bundle(), y)
        assert check.passed == expected, check.text
    assert "different at " in check.text


def test_warmup_fills_the_cache(tmp_path: Path) -> None:
    done = otic("warmup", env={"NUMBA_CACHE_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    first, folder = done.stdout.decode().splitlines()
    assert first.startswith(f"ready: {', '.join(bundled_names())} (")
    assert Path(folder).parent == tmp_path
    assert {p.suffix for p in Path(folder).glob("*/*")} == {".nbi", ".nbc"}
    before = sorted(p.stat().st_mtime_ns for p in tmp_path.rglob("*.nb?"))
    again = otic("warmup", "--model", "esc10-mfcc-mlp", env={"NUMBA_CACHE_DIR": str(tmp_path)})
    assert again.returncode == 0
    assert sorted(p.stat().st_mtime_ns for p in tmp_path.rglob("*.nb?")) == before
    assert otic("warmup", "--model", "nope").returncode == 1
