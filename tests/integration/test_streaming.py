"""`otic evaluate --streaming`, `otic tune`, other sounds and the models of folds, as commands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from otic import load_bundle, save_bundle
from otic.cli.main import main
from otic_training.data.dataset import DatasetError
from otic_training.data.sound_tables import sounds_of
from tests.conftest import ROOT
from tests.support.helpers import (
    F32,
    noise,
    of_type,
    one_line,
    otic,
    streaming_bundle,
    write_dataset,
)

pytestmark = pytest.mark.xdist_group("streaming")  # its fixtures take half a minute each time

SR = 22050


def sweep(seconds: float, seed: int) -> F32:
    t = np.arange(round(SR * seconds)) / SR
    return (0.2 * np.sin(2 * np.pi * (500 + 400 * t + 50 * seed) * t)).astype(np.float32)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, other sounds, a room, and a model for each fold."""
    folder = tmp_path_factory.mktemp("streaming")
    rows = []
    t = np.arange(round(SR * 4.2)) / SR
    for i in range(9):
        tone = 0.3 * np.sin(2 * np.pi * (400 + 50 * i) * t) + noise(len(t), i, 1e-3)
        rows.append((f"tone{i}.wav", i % 3 + 1, "tone", tone.astype(np.float32)))
        rows.append((f"hiss{i}.wav", i % 3 + 1, "hiss", noise(len(t), 50 + i, 0.2)))
    write_dataset(folder / "set", rows)
    (folder / "others").mkdir()
    for i in range(6):
        soundfile.write(folder / "others" / f"{i}.wav", sweep(1.5 + i / 2, i), SR)
    soundfile.write(folder / "room.wav", noise(SR * 90, 7, 1e-3), SR)
    done = run(folder, "crossval", "set", "--negatives", "others", "--models", "folds", "--json")
    assert done.returncode == 0, done.stderr.decode()
    (folder / "crossval.json").write_bytes(done.stdout)
    return folder


def run(folder: Path, *arguments: str) -> Any:
    return otic(*arguments, cwd=folder, env={"PYTHONPATH": str(ROOT)}, timeout=300)


def evaluate(folder: Path, *more: str) -> dict[str, Any]:
    fixed = ("evaluate", "folds/mfcc-mlp-fold2.tflite", "set", "--streaming", "--json")
    done = run(folder, *fixed, *more)
    assert done.returncode == 0, done.stderr.decode()
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def test_models_of_folds_are_those_that_were_tested(here: Path) -> None:
    by_fold = json.loads((here / "crossval.json").read_text())["presets"]["mfcc-mlp"]
    for fold in (1, 2, 3):
        bundle = load_bundle(here / "folds" / f"mfcc-mlp-fold{fold}.tflite")
        assert bundle.provenance["folds"] == [f for f in (1, 2, 3) if f != fold]
        assert bundle.accuracy["clip_mean"] == by_fold["clip_by_fold"][fold - 1]
        assert bundle.provenance["others"] == "6 recordings of others"
        assert "'others', whose licence otic does not know" in bundle.license
    done = run(here, "evaluate", "folds/mfcc-mlp-fold2.tflite", "set", "--json")
    figures = json.loads(done.stdout)["presets"]["mfcc-mlp-fold2"]
    assert figures["clip_mean"] == by_fold["clip_by_fold"][1]


def test_streaming_figures_and_report(here: Path) -> None:
    outcome = evaluate(here, "--unknown", "others", "--report", "report", "--seed", "4")
    assert outcome["notes"] == []
    assert list(outcome["events"]) == ["0.5", "1.0", "2.0"]
    f1 = [outcome["events"][c]["f1"] for c in ("0.5", "1.0", "2.0")]
    assert f1 == sorted(f1)
    assert outcome["snr_10_db_and_more"]["f1"] > 0.5
    assert 0.0 <= outcome["psds"] <= 1.0
    assert 0.0 < outcome["delay_seconds"]["p50"] < 2.5
    background = outcome["background"]
    assert background["hours"] == pytest.approx(6 / 60, abs=1e-4)
    assert background["per_hour"] == pytest.approx(10 * background["false_alarms"])
    assert outcome["unknown"]["sounds"] == 6
    assert json.loads((here / "report" / "report.json").read_text()) == outcome
    page = (here / "report" / "index.html").read_text()
    assert page.count("data:image/png") == 2
    assert "http" not in page.replace("http-equiv", "")
    assert evaluate(here, "--unknown", "others", "--seed", "4") == outcome
    assert evaluate(here, "--seed", "5")["events"] != outcome["events"]


def test_the_room_counts_as_background(here: Path) -> None:
    outcome = evaluate(here, "--background", "room.wav", "--snr", "15,15")
    assert outcome["background"]["hours"] == pytest.approx(150 / 3600, abs=1e-4)
    assert "at 15 to 15 dB" in outcome["protocol"]
    text = run(
        here, "evaluate", "folds/mfcc-mlp-fold2.tflite", "set", "--streaming"
    ).stdout.decode()
    assert re.search(r"onset within 1\.0 s: F1 \d", text)


def write_everyday(folder: Path, rows: list[str], columns: str = "file,kind,may_contain") -> Path:
    folder.mkdir(exist_ok=True)
    for i in range(3):
        soundfile.write(folder / f"{i}.wav", noise(SR * 30, 70 + i, 0.2), SR)
    (folder / "clips.csv").write_text("\n".join([columns, *rows]) + "\n")
    return folder


def test_false_alarms_by_kind_and_their_curve(here: Path) -> None:
    """Hiss, called everyday sound: all of it is a false alarm, but where it is in doubt."""
    rows = ["0.wav,tap,", "1.wav,tap,hiss:0.9@0-25", "2.wav,shower,hiss:1.0"]
    write_everyday(here / "everyday", rows)
    outcome = evaluate(here, "--alarms", "everyday", "--report", "alarmed")
    alarms = outcome["alarms"]
    assert list(alarms["by_kind"]) == ["tap"]  # the whole shower is in doubt
    assert alarms["by_kind"]["tap"]["hours"] == pytest.approx((30 + 3) / 3600, abs=1e-4)
    assert alarms["left_out_seconds"] == 27 + 30
    assert alarms["false_alarms"] == 1
    assert alarms["by_label"] == alarms["by_kind"]["tap"]["by_label"] == {"hiss": 1}
    assert alarms["per_hour"] == pytest.approx(3600 / 33, abs=0.01)
    *points, shipped = outcome["curve"]
    assert (shipped["threshold"], shipped["per_hour"]) == ("shipped", alarms["per_hour"])
    assert shipped["f1"] == outcome["events"]["1.0"]["f1"]
    assert {p["per_hour"] for p in points if p["threshold"] <= 0.5} == {alarms["per_hour"]}
    page = (here / "alarmed" / "index.html").read_text()
    assert "False alarms in everyday sound" in page
    text = run(
        here,
        "evaluate",
        "folds/mfcc-mlp-fold2.tflite",
        "set",
        "--streaming",
        "--alarms",
        "everyday",
    ).stdout.decode()
    assert "0.01 h, 57 s in doubt left out: 1 false alarms, 109.1 an hour (95 % sure: under" in text
    assert re.search(r"shipped +\d+\.\d% ", text)


def test_everyday_sound_without_a_table_is_of_the_kind_that_its_folder_is_called(
    here: Path,
) -> None:
    one, *rest = sounds_of([str(here / "others" / "5.wav"), str(here / "others")])
    assert one.path.name == "5.wav"
    assert {sound.kind for sound in (one, *rest)} == {"others"}
    assert len(rest) == 6


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        (["0.wav,tap,loud"], None, "line 2: may_contain 'loud' is not label:score@start-end"),
        (["0.wav,tap,hiss:0.9@7-3"], None, "may_contain 'hiss:0.9@7-3' is not"),
        (["9.wav,tap,"], None, "line 2: '9.wav' is missing"),
        ([",tap,"], None, "line 2 has no file: fill it in"),
        ([], None, "names no recording"),
        (["0.wav"], "name", "lacks the columns file"),
    ],
)
def test_bad_tables_of_everyday_sound(
    here: Path, rows: list[str], columns: str | None, said: str
) -> None:
    folder = write_everyday(here / "bad", rows, columns or "file,kind,may_contain")
    with pytest.raises(DatasetError, match=re.escape(said)):
        sounds_of([str(folder)])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--alarms", "nowhere"], 1, "'nowhere' is missing: name audio files, or folders"),
        (["--background", "nowhere.wav"], 1, "'nowhere.wav' is missing"),
        (["--unknown", "empty"], 1, "no audio file"),
        (["--snr", "20,0"], 2, "LOW,HIGH"),
        (["--snr", "loud"], 2, "LOW,HIGH"),
    ],
)
def test_bad_input_to_streaming(here: Path, arguments: list[str], code: int, said: str) -> None:
    (here / "empty").mkdir(exist_ok=True)
    done = run(here, "evaluate", "folds/mfcc-mlp-fold2.tflite", "set", "--streaming", *arguments)
    assert done.returncode == code
    assert said in done.stderr.decode().splitlines()[-1]
    assert b"Traceback" not in done.stderr


def test_alarms_that_can_not_be_counted(here: Path) -> None:
    write_everyday(here / "doubtful", ["0.wav,tap,hiss:1", "1.wav,tap,?"])
    fixed = ("evaluate", "folds/mfcc-mlp-fold2.tflite", "set", "--streaming")
    done = run(here, *fixed, "--alarms", "doubtful")
    assert done.returncode == 1
    assert "nothing is left to count in" in one_line(done.stderr)
    done = run(here, "evaluate", "folds/mfcc-mlp-fold2.tflite", "set", "--alarms", "others")
    assert done.returncode == 2
    assert "--alarms counts events in streams: add --streaming" in one_line(done.stderr)


def test_streaming_on_training_folds_is_called_a_leak(here: Path) -> None:
    outcome = evaluate(here, "--folds", "1")
    assert "a LEAK" in outcome["notes"][-1]


def test_tune_writes_thresholds_that_keep_the_room_quiet(here: Path) -> None:
    done = run(
        here,
        *("tune", "folds/mfcc-mlp-fold2.tflite", "--background", "room.wav", "--budget", "0.5"),
        *("--dataset", "set", "--out", "room.tflite", "--report", "tuned", "--json"),
    )
    assert done.returncode == 0, done.stderr.decode()
    outcome = json.loads(done.stdout)
    budgets = [row["budget_per_hour"] for row in outcome["budgets"]]
    assert budgets == sorted(budgets, reverse=True)
    for label in ("hiss", "tone"):
        rising = [row["thresholds"][label] for row in outcome["budgets"]]
        assert rising == sorted(rising)
    chosen = outcome["chosen"]
    assert chosen["false_alarms"] == 0
    assert set(chosen["recall_by_label"]) == {"hiss", "tone"}
    before, after = (
        load_bundle(here / "folds" / "mfcc-mlp-fold2.tflite"),
        load_bundle(here / "room.tflite"),
    )
    assert after.name == "room"
    assert after.decision.on_thresholds == tuple(chosen["thresholds"].values())
    assert after.model == before.model
    assert after.provenance["tuned"]["budget_per_hour"] == 0.5
    assert run(here, "verify", "room.tflite").returncode == 0
    log = run(
        here, "replay", "room.wav", "--model", "room.tflite", "--speed", "max", "--jsonl", "-"
    )
    assert of_type(log.stdout, "event") == []
    assert "data:image/png" in (here / "tuned" / "index.html").read_text()


def test_tune_takes_a_model_with_a_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = streaming_bundle()
    save_bundle(tmp_path / "s.tflite", bundle)
    soundfile.write(tmp_path / "room.wav", noise(70 * bundle.features.sr), bundle.features.sr)
    words = ["tune", str(tmp_path / "s.tflite"), "--background", str(tmp_path / "room.wav")]
    assert main([*words, "--out", str(tmp_path / "tuned.tflite"), "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    tuned = load_bundle(tmp_path / "tuned.tflite")
    assert tuned.stream == bundle.stream
    assert tuned.decision.on_thresholds == tuple(outcome["chosen"]["thresholds"].values())
    assert outcome["chosen"]["false_alarms"] == 0


def test_tune_without_labelled_sounds_says_what_it_does_not_know(here: Path) -> None:
    done = run(
        here, "tune", "folds/mfcc-mlp-fold2.tflite", "--background", "room.wav", "--out", "t.tflite"
    )
    assert done.returncode == 0
    assert "name labelled sounds with --dataset" in done.stderr.decode()
    assert re.search(r"1 in 8 h +\d+ +\? +\?  <- chosen", done.stdout.decode())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--background", "others/0.wav"], "too little"),
        (["--background", "nowhere"], "'nowhere' is missing"),
        (["--background", "room.wav", "--out", "room.onnx"], "must end in .tflite"),
        (["--background", "room.wav", "--out", "no/where.tflite"], "folder is missing"),
        (
            ["--background", "room.wav", "--out", "folds/mfcc-mlp-fold2.tflite"],
            "is the model itself",
        ),
    ],
)
def test_bad_input_to_tune(here: Path, arguments: list[str], said: str) -> None:
    done = run(here, "tune", "folds/mfcc-mlp-fold2.tflite", *arguments)
    assert done.returncode == 1
    assert said in one_line(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "set", "--preset", "tutorial", "--other", "others"], "has no output for them"),
        (["crossval", "set", "--other", "set/audio"], "holds 18 clips of the data set itself"),
        (["crossval", "set", "--other", "nowhere"], "'nowhere' is missing"),
        (["search", "set", "--other", "set/audio"], "of the data set itself"),
    ],
)
def test_other_sounds_that_will_not_do(here: Path, arguments: list[str], said: str) -> None:
    done = run(here, *arguments)
    assert done.returncode == 1
    assert said in one_line(done.stderr)
