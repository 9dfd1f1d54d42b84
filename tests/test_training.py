"""Training: windows as they are live, official folds, and a bundle that gives Keras's scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from realtime import Frontend, load_bundle
from realtime.errors import OticError
from tests.conftest import ROOT
from tests.helpers import F32, LIBROSA_DEFAULTS, SMALL, noise, one_line, otic
from training.datasets import DatasetError
from training.layouts import load_dataset
from training.presets import PRESETS, preset
from training.windows import active_part, clip_windows, read_clip, silence_windows


def write_dataset(folder: Path, rows: list[tuple[str, int, str, F32]]) -> Path:
    """A data set in ESC-50's layout at 22 050 Hz: filename, fold, category, samples."""
    (folder / "meta").mkdir(parents=True)
    (folder / "audio").mkdir()
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for name, fold, category, y in rows:
        lines.append(f"{name},{fold},0,{category},True,{name},A")
        soundfile.write(folder / "audio" / name, y, 22050)
    (folder / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    return folder


def add_line(folder: Path, line: str) -> None:
    with (folder / "meta" / "esc50.csv").open("a") as file:
        file.write(line + "\n")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones and noises, easy to tell apart, in three folds."""
    rows = []
    t = np.arange(round(22050 * 4.2)) / 22050
    for i in range(9):
        tone = 0.3 * np.sin(2 * np.pi * (400 + 50 * i) * t) + noise(len(t), i, 1e-3)
        rows.append((f"tone{i}.wav", i % 3 + 1, "tone", tone.astype(np.float32)))
        rows.append((f"hiss{i}.wav", i % 3 + 1, "hiss", noise(len(t), 50 + i, 0.2)))
    return write_dataset(tmp_path_factory.mktemp("toy") / "set", rows)


def test_train_writes_a_bundle_and_prints_both_accuracies(toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "set-mfcc-mlp.tflite"  # the default name
    here = {"cwd": tmp_path, "env": {"PYTHONPATH": str(ROOT)}}
    done = otic("train", toy, "--epochs", "30", "--test-folds", "2,3", timeout=200, **here)
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode()
    assert "trained on folds 1, tested on folds 2, 3" in text
    assert "% of 12 clips" in text
    assert "% of windows" in text
    bundle = load_bundle(out)
    assert bundle.name == "set-mfcc-mlp"
    assert bundle.labels == ("hiss", "tone")
    assert bundle.features == preset("mfcc-mlp").features
    assert bundle.provenance["folds"] == [1]
    assert bundle.accuracy["clip_mean"] >= 0.9
    assert [p.name for p in tmp_path.iterdir()] == ["set-mfcc-mlp.tflite"]
    # It serves: a tone is a tone.
    log = otic(
        "replay", toy / "audio" / "tone1.wav", "--model", out, "--speed", "max", "--jsonl", "-"
    )
    scores = [r for r in map(json.loads, log.stdout.splitlines()) if r["type"] == "scores"]
    assert all(s["scores"]["tone"] > s["scores"]["hiss"] for s in scores)


def test_the_same_seed_gives_the_same_model(toy: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        out = tmp_path / name / "m.tflite"
        assert otic("train", toy, "--out", out, "--epochs", "2", timeout=200).returncode == 0
    assert (tmp_path / "a" / "m.tflite").read_bytes() == (tmp_path / "b" / "m.tflite").read_bytes()


def test_all_folds_carry_the_cross_validations_figure(toy: Path, tmp_path: Path) -> None:
    out, card = tmp_path / "all.tflite", tmp_path / "all.md"
    done = otic(
        *("train", toy, "--out", out, "--card", card, "--epochs", "2", "--test-folds", "none"),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    bundle = load_bundle(out)
    assert bundle.provenance["folds"] == [1, 2, 3]
    assert len(bundle.accuracy["clip_by_fold"]) == 3
    assert "3 official folds" in bundle.accuracy["protocol"]
    assert np.sum(bundle.accuracy["confusion"]) == 18
    text = card.read_text()
    for word in ("# all", "tutorial, same protocol", "`n_fft`", "CC BY 3.0", bundle.sha256):
        assert word in text
    assert f"otic train DATASET --out {out}" in text


def test_crossval_prints_the_tutorial_beside(toy: Path) -> None:
    done = otic("crossval", toy, "--epochs", "2", timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode()
    assert "mfcc-mlp" in text
    assert "tutorial" in text
    assert "confusion" in text
    as_json = otic("crossval", toy, "--epochs", "2", "--preset", "tutorial", "--json", timeout=300)
    figures = json.loads(as_json.stdout)["presets"]["tutorial"]
    assert len(figures["clip_by_fold"]) == 3


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (
            lambda d: shutil.rmtree(d / "meta"),
            "has neither metadata/UrbanSound8K.csv nor meta/esc50.csv",
        ),
        (lambda d: (d / "meta/esc50.csv").write_text("filename,fold\n"), "lacks the columns"),
        (lambda d: (d / "meta/esc50.csv").write_bytes(b"\xff\xfe"), "as CSV in UTF-8"),
        (lambda d: add_line(d, "tone1.wav,1"), "line 20 has too few columns"),
        (
            lambda d: add_line(d, "tone1.wav,x,0,tone,True,t,A"),
            "fold 'x' is not a whole number",
        ),
        (lambda d: (d / "audio/tone1.wav").unlink(), "lacks 1 of 18 clips, tone1.wav first"),
        (lambda d: add_line(d, "tone1.wav,3,0,tone,True,tone1.wav,A"), "is in folds 2 and 3"),
        (lambda d: add_line(d, "tone1.wav,2,0,odd,True,tone1.wav,A"), "'odd' has one recording"),
    ],
)
def test_a_broken_data_set_is_named(toy: Path, tmp_path: Path, break_it, words: str) -> None:  # type: ignore[no-untyped-def]
    shutil.copytree(toy, tmp_path / "set")
    break_it(tmp_path / "set")
    done = otic("train", tmp_path / "set", "--out", tmp_path / "m.tflite")
    assert done.returncode == 1
    assert words in done.stderr.decode().splitlines()[-1]
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "m.tflite").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--preset", "nope"], "unknown preset 'nope': there are mfcc-mlp, tutorial"),
        (["--test-folds", "9"], "--test-folds 9 must name some, not all, of the folds 1, 2, 3"),
        (["--test-folds", "1,2,3"], "must name some, not all"),
        (["--out", "no/such/m.tflite"], "can't write 'no/such/m.tflite'"),
        (["--out", "esc10-mfcc-mlp"], "must end in .tflite"),
        (["--card", "c.md"], "add --test-folds none"),
    ],
)
def test_bad_requests_fail_before_the_work(
    toy: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    done = otic(
        "train",
        toy,
        "--out",
        "m.tflite",
        *options,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert words in one_line(done.stderr)


def test_clips_that_are_too_short_are_named(tmp_path: Path) -> None:
    rows = [(f"{label}{fold}.wav", fold, label, noise(22050)) for label in "ab" for fold in (1, 2)]
    done = otic("crossval", write_dataset(tmp_path / "set", rows))
    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-1]
    assert "all clips of 'a' in fold 1 had to be left out" in last
    assert "shorter than mfcc-mlp's window of 2.00 s" in last
    assert done.stderr.decode().count("has 1.00 s, less than the window of 2.00 s") == 4


def test_what_can_not_be_read_is_listed_and_left_out(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy, tmp_path / "set")
    (tmp_path / "set" / "audio" / "tone1.wav").write_text("x")
    done = otic("train", tmp_path / "set", "--out", tmp_path / "m.tflite", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    listed = [line for line in done.stderr.decode().splitlines() if "left out" in line]
    assert len(listed) == 2
    assert "tone1.wav" in listed[0]
    assert "1 of 18 clips are left out" in listed[1]


def test_the_leak_is_named_as_one(toy: Path) -> None:
    options = ("--epochs", "1", "--preset", "tutorial", "--show-leak")
    as_json = json.loads(otic("crossval", toy, *options, "--json", timeout=300).stdout)
    assert "LEAKS" in as_json["leak"]["protocol"]
    assert np.sum(as_json["leak"]["confusion"]) == 18


def test_one_label_or_fold_is_not_enough(tmp_path: Path) -> None:
    folder = write_dataset(
        tmp_path / "set", [("a.wav", 1, "a", noise(100)), ("b.wav", 2, "a", noise(100))]
    )
    with pytest.raises(DatasetError, match="1 labels and 2 folds"):
        load_dataset(str(folder))


def test_windows_are_those_of_the_live_path() -> None:
    """Each training window's features are the front end's on just these samples."""
    p = LIBROSA_DEFAULTS
    y = noise(22050 * 4)
    windows = clip_windows([y], p, 4)
    hop = 4 * p.hop_length
    assert len(windows.x) == (len(y) - p.window_samples) // hop + 1
    for i, x in enumerate(windows.x):
        frontend = Frontend(p)
        frontend.push(y[i * hop : i * hop + p.window_samples])
        np.testing.assert_array_equal(x, frontend.features())


def test_padding_is_not_learnt() -> None:
    """A second of sound, then digital silence: windows without enough of the sound are left out."""
    p = LIBROSA_DEFAULTS
    y = np.zeros(22050 * 5, np.float32)
    y[:22050] = noise(22050)
    begin, end = active_part(y, p.sr)
    assert begin == 0
    assert 22050 <= end < 22050 + 221  # in steps of 10 ms
    windows = clip_windows([y], p, 4)
    assert 1 <= len(windows.x) <= 3


@pytest.mark.parametrize("onset", [0.0, 0.02, 2.0, 4.85])
def test_every_clip_has_windows_that_hold_its_sound(onset: float) -> None:
    """However short it is, wherever it is, and wherever the pass starts."""
    p = LIBROSA_DEFAULTS
    y = np.zeros(22050 * 5, np.float32)
    at = round(onset * 22050)
    y[at : at + 2205] = noise(2205)
    rng = np.random.default_rng(0)
    windows = clip_windows([y], p, 4, gains_db=(0.0,) * 20, rng=rng)
    assert len(windows.x) >= 20
    silent = silence_windows(p, 1, rng)[0]
    assert all(np.abs(x - silent).max() > 1.0 for x in windows.x)
    assert len(clip_windows([y], p, 11).x) >= 1


def test_a_gain_shifts_the_first_coefficient_only() -> None:
    p = SMALL
    y = noise(4000)
    windows = clip_windows([y], p, 3, gains_db=(0.0, 6.0))
    n = len(windows.x) // 2
    shift = windows.x[n:] - windows.x[:n]
    np.testing.assert_allclose(shift[:, 0], 6.0 * np.sqrt(p.n_mels), rtol=0, atol=1e-2)
    np.testing.assert_allclose(shift[:, 1:], 0.0, rtol=0, atol=1e-2)


def test_silence_is_faint_or_nothing() -> None:
    x = silence_windows(LIBROSA_DEFAULTS, 8, np.random.default_rng(0))
    assert x.shape == (8, 160)
    assert x[0, 0] == pytest.approx(-100.0 * np.sqrt(128), abs=0.1)


def test_a_clip_is_read_as_it_is_live(esc10: Path) -> None:
    dataset = load_dataset(str(esc10))
    assert dataset.name == "ESC-10"
    assert len(dataset.clips) == 400
    assert dataset.folds == (1, 2, 3, 4, 5)
    y = read_clip(dataset.clips[0], 22050)
    assert y.dtype == np.float32
    raw, rate = soundfile.read(dataset.clips[0].path, dtype="float32")
    np.testing.assert_array_equal(y, soxr.resample(raw, rate, 22050))


def test_presets_are_found_by_name() -> None:
    for p in PRESETS:
        assert preset(p.name) is p
        assert p.decision(3).on_thresholds == (0.6,) * 3
    with pytest.raises(OticError, match="unknown preset"):
        preset("x")


def test_cross_validation_on_real_clips(esc10: Path, tmp_path: Path) -> None:
    """A third of the epochs: the figure to ship is `otic crossval`'s, on the model card."""
    done = otic(
        *("train", esc10, "--out", tmp_path / "m.tflite", "--epochs", "10", "--test-folds", "2"),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert load_bundle(tmp_path / "m.tflite").accuracy["clip_mean"] >= 0.8
