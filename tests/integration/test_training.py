"""Training: windows as they are live, official folds, and a bundle that gives Keras's scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from otic import Bundle, Frontend, load_bundle
from otic.errors import OticError
from otic.model.classifier import Classifier
from otic.model.golden import SOUNDS, golden_sound
from otic_training.data.dataset import DatasetError
from otic_training.data.layouts import load_dataset
from otic_training.data.windows import active_part, clip_windows, read_clip
from otic_training.networks.presets import PRESETS, preset
from tests.conftest import ROOT
from tests.support.helpers import F32, LIBROSA_DEFAULTS, SMALL, noise, one_line, otic, write_dataset


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


@pytest.fixture(scope="module")
def trained(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which `otic train` was run, with all that it can leave there; its output."""
    here = tmp_path_factory.mktemp("trained")
    done = otic(
        *("train", toy, "--preset", "mfcc-mlp", "--epochs", "30", "--test-folds", "3", "--int8"),
        *("--report", "report"),
        cwd=here,
        env={"PYTHONPATH": str(ROOT)},
        timeout=200,
    )
    assert done.returncode == 0, done.stderr.decode()
    return here, done.stdout.decode()


def test_train_writes_a_bundle_and_prints_both_accuracies(
    toy: Path, trained: tuple[Path, str]
) -> None:
    here, text = trained
    assert "trained on folds 1, 2, tested on folds 3" in text
    assert "% of 6 clips" in text
    assert "% of windows" in text
    names = ["report", "runs", "set-mfcc-mlp-int8.tflite", "set-mfcc-mlp.tflite"]
    assert sorted(p.name for p in here.iterdir()) == names
    bundle = load_bundle(here / "set-mfcc-mlp.tflite")
    assert bundle.name == "set-mfcc-mlp"
    assert bundle.labels == ("hiss", "tone")
    assert bundle.features == preset("mfcc-mlp").features
    assert bundle.provenance["folds"] == [1, 2]
    assert 0.25 <= bundle.provenance["temperature"] <= 4.0
    assert bundle.accuracy["clip_mean"] >= 0.9
    # It serves: a tone is a tone.
    log = otic(
        *("replay", toy / "audio" / "tone1.wav", "--model", here / "set-mfcc-mlp.tflite"),
        *("--speed", "max", "--jsonl", "-"),
    )
    scores = [r for r in map(json.loads, log.stdout.splitlines()) if r["type"] == "scores"]
    assert all(s["scores"]["tone"] > s["scores"]["hiss"] for s in scores)


def test_the_int8_bundle_is_small_and_says_the_same(trained: tuple[Path, str]) -> None:
    here, text = trained
    whole, small = (load_bundle(here / f"set-mfcc-mlp{kind}.tflite") for kind in ("", "-int8"))
    assert len(small.model) < 0.4 * len(whole.model)
    assert small.accuracy["protocol"].startswith("int8, ")
    assert "mfcc-mlp int8" in text
    x = np.stack([golden_features(whole, sound) for sound in SOUNDS])
    a, b = (np.stack([Classifier(m).predict(f) for f in x]) for m in (whole, small))
    assert np.abs(a - b).max() < 0.1
    done = otic("verify", here / "set-mfcc-mlp-int8.tflite")
    assert done.returncode == 0, done.stdout.decode()


def golden_features(bundle: Bundle, sound: str) -> F32:
    frontend = Frontend(bundle.features)
    p = bundle.features
    frontend.push(golden_sound(sound, p.sr, p.window_samples))
    return frontend.features()


def test_the_report_is_one_page_and_the_same_as_json(trained: tuple[Path, str]) -> None:
    report = trained[0] / "report"
    assert sorted(p.name for p in report.iterdir()) == ["index.html", "report.json"]
    values = json.loads((report / "report.json").read_text())
    assert values["labels"] == ["hiss", "tone"]
    assert list(values["presets"]) == ["mfcc-mlp", "mfcc-mlp int8"]
    assert [row["label"] for row in values["by_class"]] == ["hiss", "tone"]
    assert sum(row["windows"] for row in values["reliability"]) > 6
    assert values["cost"]["parameters"] > 20_000
    page = (report / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    for word in ("Confusion", "Reliability", "recall", "parameters"):
        assert word in page


def test_the_run_is_tracked(trained: tuple[Path, str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = trained[0] / "runs" / "set-mfcc-mlp"
    assert (run / "set-mfcc-mlp.tflite").is_file()
    events = EventAccumulator(str(run), size_guidance={"tensors": 0}).Reload()
    tags = events.Tags()["tensors"]
    assert {"training/loss", "mfcc-mlp/clip_mean", "confusion", "sounds/hiss", "run"} <= set(tags)
    assert len(events.Tensors("training/loss")) == 30


def test_evaluate_agrees_with_training(toy: Path, trained: tuple[Path, str]) -> None:
    """The live pipeline gives the very figures that training claimed."""
    here, _ = trained
    done = otic("evaluate", here / "set-mfcc-mlp.tflite", toy, "--json")
    assert done.returncode == 0, done.stderr.decode()
    outcome = json.loads(done.stdout)
    found = outcome["presets"]["set-mfcc-mlp"]
    claimed = load_bundle(here / "set-mfcc-mlp.tflite").accuracy
    assert "folds 3, through the live pipeline" in found["protocol"]
    for kind in ("clips", "clip_mean", "window_mean", "confusion"):
        assert found[kind] == claimed[kind]
    assert outcome["notes"] == []
    leak = otic(
        "evaluate", here / "set-mfcc-mlp.tflite", toy, "--folds", "1", "--report", here / "r"
    )
    assert b"a LEAK: set-mfcc-mlp was trained on folds 1" in leak.stderr
    assert "a LEAK" in (here / "r" / "index.html").read_text()


def test_evaluate_refuses_what_it_can_not_answer(toy: Path) -> None:
    done = otic("evaluate", "esc10-mfcc-mlp", toy)
    assert done.returncode == 1
    assert "labels that esc10-mfcc-mlp does not know: hiss, tone" in one_line(done.stderr)


def test_the_same_seed_gives_the_same_model(toy: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        options = ("--epochs", "1", "--preset", "tiny", "--test-folds", "2,3", "--tracker", "none")
        done = otic("train", toy, "--out", tmp_path / name / "m.tflite", *options, timeout=200)
        assert done.returncode == 0, done.stderr.decode()
        assert b"not calibrated" in done.stderr  # that takes two folds
    assert (tmp_path / "a" / "m.tflite").read_bytes() == (tmp_path / "b" / "m.tflite").read_bytes()


def test_all_folds_carry_the_cross_validations_figure(toy: Path, tmp_path: Path) -> None:
    out, card = tmp_path / "all.tflite", tmp_path / "all.md"
    done = otic(
        *("train", toy, "--out", out, "--card", card, "--epochs", "2", "--test-folds", "none"),
        *("--tracker", "none", "--preset", "mfcc-mlp"),
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
    done = otic("crossval", toy, "--epochs", "2", "--show-leak", timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode()
    assert "mfcc-mlp" in text
    assert "tutorial" in text
    assert "confusion" in text
    assert "LEAKS" in text


def test_seeds_and_the_leak_as_json(toy: Path) -> None:
    options = ("--epochs", "1", "--preset", "tutorial", "--show-leak", "--seeds", "2", "--json")
    outcome = json.loads(otic("crossval", toy, *options, timeout=300).stdout)
    figures = outcome["presets"]["tutorial"]
    assert len(figures["clip_by_fold"]) == 6
    assert len(figures["clip_by_seed"]) == 2
    assert "LEAKS" in outcome["leak"]["protocol"]
    assert np.sum(outcome["leak"]["confusion"]) == 18


def test_what_was_done_is_not_done_again(toy: Path, tmp_path: Path) -> None:
    """A run that was interrupted goes on where it was."""
    keep = {"OTIC_STORE": str(tmp_path)}
    options = ("crossval", toy, "--epochs", "1", "--preset", "tutorial", "--json")
    first = otic(*options, timeout=300, env=keep)
    kept = sorted(tmp_path.glob("*.npz"))
    assert len(kept) == 18 + 3  # clips, folds
    before = [path.stat().st_mtime_ns for path in kept]
    again = otic(*options, timeout=300, env=keep)
    assert again.stdout == first.stdout
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.npz"))] == before


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
        (lambda d: add_line(d, "tone1.wav,2,0,odd,True,tone1.wav,A"), "'odd' has one recording"),
    ],
)
def test_a_broken_data_set_is_named(toy: Path, tmp_path: Path, break_it, words: str) -> None:  # type: ignore[no-untyped-def]
    shutil.copytree(toy, tmp_path / "set")
    break_it(tmp_path / "set")
    done = otic("train", tmp_path / "set", "--preset", "mfcc-mlp", "--out", tmp_path / "m.tflite")
    assert done.returncode == 1
    assert words in done.stderr.decode().splitlines()[-1]
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "m.tflite").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--preset", "nope"], "unknown preset 'nope': there are mfcc-mlp, logmel-cnn, tiny"),
        (["--test-folds", "9"], "--test-folds 9 must name some, not all, of the folds 1, 2, 3"),
        (["--test-folds", "1,2,3"], "must name some, not all"),
        (["--out", "no/such/m.tflite"], "can't write 'no/such/m.tflite'"),
        (["--out", "esc10-mfcc-mlp"], "must end in .tflite"),
        (["--card", "c.md"], "add --test-folds none"),
        (["--report", "/dev/null/r"], "can't make the folder"),
        (["--teacher", "y.tflite"], "mfcc-mlp can't learn from one"),
        (
            ["--teacher", "nope.tflite", "--preset", "tiny"],
            "can't read the teacher 'nope.tflite'",
        ),
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
        *("--preset", "mfcc-mlp"),
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
    done = otic(
        "train",
        tmp_path / "set",
        "--out",
        tmp_path / "m.tflite",
        *("--preset", "mfcc-mlp", "--epochs", "1", "--tracker", "none"),
    )
    assert done.returncode == 0, done.stderr
    listed = [line for line in done.stderr.decode().splitlines() if "left out" in line]
    assert len(listed) == 2
    assert "tone1.wav" in listed[0]
    assert "1 of 18 clips are left out" in listed[1]


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
    quiet = Frontend(p)
    quiet.push(np.zeros(p.window_samples, np.float32))
    silent = quiet.features()
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
        assert p.decision(3).on_thresholds == (p.on_threshold,) * 3
        assert p.decision(3).off_thresholds == (p.on_threshold / 2,) * 3
    with pytest.raises(OticError, match="unknown preset"):
        preset("x")


def test_cross_validation_on_real_clips(esc10: Path, tmp_path: Path) -> None:
    """A third of the epochs: the figure to ship is `otic crossval`'s, on the model card."""
    done = otic(
        *("train", esc10, "--out", tmp_path / "m.tflite", "--epochs", "8", "--test-folds", "2"),
        *("--preset", "mfcc-mlp", "--tracker", "none"),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert load_bundle(tmp_path / "m.tflite").accuracy["clip_mean"] >= 0.8
