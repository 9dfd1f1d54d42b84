"""What a taught model is made of: sketches, scenes of log-mel frames, folders, intervals."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic.errors import OticError
from otic_training.base import features
from otic_training.data.dataset import Clip, DatasetError
from otic_training.teaching.assess import wilson
from otic_training.teaching.clips import Sound, alike, read_sound, sounding
from otic_training.teaching.folder import read_folder
from otic_training.teaching.learn import fold_of
from otic_training.teaching.mixing import Example, Mixer, power_of
from otic_training.teaching.sketches import (
    FILE,
    STEP_DB,
    Sketch,
    load_sketches,
    log_mel,
    sketches_bytes,
)
from otic_training.teaching.teach import without_labels
from tests.support.helpers import LIBROSA_DEFAULTS, noise

P = features.params(19)
SR = P.sr


def test_the_negatives_that_come_with_otic_are_small_and_of_many_kinds() -> None:
    assert resources.files("otic_models").joinpath(FILE).stat().st_size <= 1_000_000  # type: ignore[attr-defined]
    sketches = load_sketches(P)
    kinds = {sketch.kind for sketch in sketches}
    assert {"speech", "music", "household", "machine"} <= kinds
    assert sum(len(sketch.db) for sketch in sketches) * P.hop_length / SR > 900.0
    owed = resources.files("otic_models").joinpath(FILE.replace(".sketches", ".txt")).read_text()
    assert all(sketch.recording in owed for sketch in sketches)
    with pytest.raises(OticError, match="through another front end than the negatives"):
        load_sketches(LIBROSA_DEFAULTS)


def test_a_sketch_keeps_frames_to_half_a_step() -> None:
    db = np.random.default_rng(0).uniform(-60.0, 20.0, (50, P.n_mels)).astype(np.float32)
    made = [Sketch(db, "speech", "word", "r1"), Sketch(db[:20], "music", "song", "r2")]
    back = load_sketches(P, sketches_bytes(made, P))
    assert [(s.kind, s.label, s.recording, len(s.db)) for s in back] == [
        ("speech", "word", "r1", 50),
        ("music", "song", "r2", 20),
    ]
    for sketch, original in zip(back, made, strict=True):
        assert np.abs(sketch.db - original.db).max() <= STEP_DB + 1e-3


def test_negatives_with_the_name_of_a_label_are_left_out() -> None:
    db = np.zeros((1, 1), np.float32)
    made = [Sketch(db, "household", name, name) for name in ("door_knock", "doorbell", "door")]
    assert [s.label for s in without_labels(made, ["Knock"])] == ["doorbell", "door"]
    assert [s.label for s in without_labels(made, ["front door"])] == ["door_knock", "doorbell"]


def test_powers_of_log_mel_frames_add_up_as_samples_do() -> None:
    t = np.arange(3 * SR) / SR
    a, b = noise(3 * SR, 1), np.sin(2 * np.pi * 900.0 * t).astype(np.float32)
    mixed = power_of(log_mel(a, P)) + np.float32(0.1) * power_of(log_mel(b, P))
    expected = log_mel(a + np.float32(np.sqrt(0.1)) * b, P)
    error = np.abs(10.0 * np.log10(mixed) - expected)
    assert np.median(error) < 0.5
    assert error.mean() < 1.0


def test_scenes_are_of_one_fold_and_say_what_is_in_them() -> None:
    loud = np.full((60, P.n_mels), 1.0, np.float32)
    known = [Example(loud, fold, ((10, 50),), fold, fold) for fold in range(2)]
    other = [Example(loud * np.float32(0.01), -1, (), fold) for fold in range(2)]
    mixer = Mixer(known, other, [], P, 451, 2, 0)
    times = -0.33 + 0.32 * np.arange(28, dtype=np.float64)
    placed = 0
    for number in range(40):
        scene = mixer.scene(number)
        labels, weights = mixer.targets(scene, times, 2)
        assert scene.db.shape == (451, P.n_mels)
        assert np.isfinite(scene.db).all()
        assert {sound.label for sound in scene.placed} <= {number % 2}
        assert not labels[weights == 0.0].any()
        assert not weights[0].any()  # about what was before the scene
        for sound in scene.placed:
            placed += 1
            assert -3.0 <= sound.snr_db <= 25.0
            within = (times > sound.first * 0.02 + 0.12) & (times < sound.stop * 0.02)
            assert labels[within, sound.label].all()
        np.testing.assert_array_equal(scene.db, mixer.scene(number).db)
        assert not mixer.scene(number, quiet=True).placed
    assert placed > 20


def test_stretches_that_sound() -> None:
    db = np.full((200, P.n_mels), -60.0, np.float32)
    db[20:40] = db[50:60] = db[150:160] = -20.0
    assert sounding(db, P) == ((20, 60), (150, 160))


def sound_at(path: Path, recording: str, label: str = "a") -> Sound:
    return read_sound(Clip(path, label, 0, recording), P)


def test_a_clip_that_was_encoded_or_cut_again_is_recognised(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    bursts = np.repeat(rng.random(30) > 0.5, SR // 15) * noise(2 * SR, 2)
    other = np.repeat(rng.random(30) > 0.5, SR // 15) * noise(2 * SR, 3)
    y = np.pad(0.2 * bursts, SR // 2).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", y, SR)
    soundfile.write(tmp_path / "b.ogg", 0.5 * y[SR // 4 :], SR)
    soundfile.write(tmp_path / "c.wav", np.pad(0.2 * other, SR // 2), SR)
    sounds = [sound_at(tmp_path / name, name) for name in ("a.wav", "b.ogg", "c.wav")]
    assert alike(sounds) == [(0, 1)]
    folds = fold_of(sounds, [(0, 1)], 5)
    assert folds[0] == folds[1] != folds[2]


def test_each_test_leaves_out_a_recording_of_each_label(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 0.1 * noise(SR), SR)
    one = sound_at(tmp_path / "a.wav", "")
    sounds = [
        Sound(
            Clip(tmp_path / "a.wav", label, 0, f"{label}{i // 2}"),
            one.db,
            (),
            one.start,
            (),
            1.0,
            (),
        )
        for label in "ab"
        for i in range(8)
    ]
    folds = fold_of(sounds, [], 10)
    assert sorted(folds[:8]) == sorted(folds[8:]) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert all(folds[i] == folds[i + 1] for i in range(0, 16, 2))


def test_folders_of_classes_of_one_sound_and_of_what_is_not_to_be_reported(tmp_path: Path) -> None:
    for name in ("s/bell/1.wav", "s/bell/2.wav", "s/noise/1.wav", "s/_other/x.wav", "flat/1.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(100, len(name)), SR)
    flat = read_folder(tmp_path / "flat", "door bell", None, None)
    assert [clip.label for clip in flat.clips] == ["door bell"]
    with pytest.raises(DatasetError, match="is 'noise' a sound to report, or recordings of what"):
        read_folder(tmp_path / "s", "s", None, None)
    asked = []

    def ask(name: str) -> bool:
        asked.append(name)
        return True

    found = read_folder(tmp_path / "s", "s", None, ask)
    assert asked == ["noise"]
    assert [clip.label for clip in found.clips] == ["bell", "bell"]
    assert sorted(clip.path.name for clip in found.negatives) == ["1.wav", "x.wav"]
    assert len(read_folder(tmp_path / "s", "s", ["none"], None).clips) == 3
    with pytest.raises(DatasetError, match="is no folder"):
        read_folder(tmp_path / "missing", "s", None, None)


def test_wilsons_interval() -> None:
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0.0, 0) == (0.0, 1.0)
