"""The tables of how well models hear, on made sounds: what is in them, and where it comes from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic import load_bundle, save_bundle
from otic.config.values import DEFAULT_MODEL
from otic_training import hearing
from otic_training.data.city import event_streams, one_after_the_other
from otic_training.data.dataset import DatasetError
from otic_training.data.soundscapes import Truth
from otic_training.reports.hearing import hearing_figures, hearing_lines
from otic_training.scoring.detections import Judged
from otic_training.scoring.hearing import Heard, hearers_of
from otic_training.scoring.predictions import Detection
from tests.support.helpers import F32, noise, small_bundle

SR = 22_050
LABELS = ("dog", "rain")


def clip(path: Path, y: F32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, y, SR, format="WAV")  # whatever its name says: libsndfile looks inside


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds of two labels, a city, two unknown clips and a quiet room."""
    root = tmp_path_factory.mktemp("data")
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in (1, 2):
        for i, label in enumerate(LABELS):
            name = f"{fold}-{100 * fold + i}-A-{i}.wav"
            rows.append(f"{name},{fold},{i},{label},True,{100 * fold + i},A")
            clip(root / "esc10/audio" / name, noise(3 * SR, seed=10 * fold + i))
    (root / "esc10/meta").mkdir()
    (root / "esc10/meta/esc50.csv").write_text("\n".join(rows) + "\n")
    rows = ["slice_file_name,fold,class"]
    for fold, kind in ((1, "engine_idling"), (1, "dog_bark"), (2, "siren"), (2, "dog_bark")):
        rows.append(f"{fold}-{kind}.wav,{fold},{kind}")
        clip(root / f"urbansound8k/audio/fold{fold}/{fold}-{kind}.ogg", 0.1 * noise(160 * SR))
    (root / "urbansound8k/metadata").mkdir()
    (root / "urbansound8k/metadata/UrbanSound8K.csv").write_text("\n".join(rows) + "\n")
    rows = ["file,kind,label,recording,source,licence,may_contain"]
    for i, (label, source) in enumerate((("frog", "ESC-50 (x)"), ("pig", "ESC-50"), ("", "y"))):
        rows.append(f"{i}.wav,animal,{label},fs{i},{source},CC0-1.0,")
        clip(root / f"free/{i}.wav", 0.1 * noise(3 * SR, seed=i))
    (root / "free/clips.csv").write_text("\n".join(rows) + "\n")
    clip(root / "alarms/audio/room.wav", 0.01 * noise(60 * SR))
    (root / "alarms/clips.csv").write_text(
        "file,kind,may_contain\naudio/room.wav,room,dog:0.50@10.0-18.0\n"
    )
    return root


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["hearing", *map(str, words), "--processes", "1"])
    return hearing.main()


def test_fold_models_and_a_model_without_folds_side_by_side(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for fold in (1, 2):
        save_bundle(tmp_path / f"mine-fold{fold}.tflite", load_bundle("esc10-mfcc-mlp-int8"))
    models = [tmp_path / "mine-fold1.tflite", tmp_path / "mine-fold2.tflite", "esc10-mfcc-mlp-int8"]
    assert run(capsys, monkeypatch, data, *models, "--fetched", data / "free", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["mine", "esc10-mfcc-mlp-int8"]
    mine, whole = found.values()
    # The same model under both names: the same figures, and the leak is said of both.
    assert mine["events"] == whole["events"]
    assert mine["alarms"]["alarms/audio"]["per_hour"] == whole["alarms"]["alarms/audio"]["per_hour"]
    assert [len(v["notes"]) for v in (mine, whole)] == [2, 1]
    assert "a LEAK in events and clips: it was trained on 1, 2" in whole["notes"][0]
    assert set(mine["events"]["0–20 dB"]["by_label"]) == set(LABELS)
    assert mine["clips"]["clips"] == 4
    assert mine["unknown_named"] in (0.0, 0.5, 1.0)
    hours = {kind: round(3600 * rate["hours"]) for kind, rate in mine["alarms"].items()}
    # The 160 s of siren count, the dog does not; 8 s and 2 s on either side of them are in doubt.
    assert hours == {"UrbanSound8K fold 2": 160, "alarms/audio": 48, "fetch.sh, animal": 9}
    assert run(capsys, monkeypatch, data, "esc10-mfcc-mlp-int8") == 0
    out = capsys.readouterr().out
    for row in ("event F1, 1-s collar, 0–20 dB", "clips of unknown classes named", "| rain | "):
        assert row in out


def test_figures_from_what_was_found() -> None:
    truths = (Truth("dog", 10.0, 11.0, 5.0), Truth("rain", 20.0, 25.0, 5.0))
    right = Detection("dog", 10.2, 11.0, 10.9)
    late = Detection("rain", 22.0, 25.0, 24.0)
    heard = Heard(models=2)
    heard.judged = {
        "0–20 dB": [(1, Judged("", 60.0, truths, (right, late))), (2, Judged("", 60.0, truths, ()))]
    }
    heard.alarms = {"a room": [(3600.0, ["dog"]), (3600.0, ["dog", "rain"])]}
    heard.unknown = [True, False, False, False]
    figures = hearing_figures(heard, LABELS)
    events = figures["events"]["0–20 dB"]
    assert (events["f1"], events["f1_sd"]) == (0.25, pytest.approx(0.3536, abs=1e-4))
    assert events["by_label"]["dog"] == {"f1": 0.6667, "precision": 1.0, "recall": 0.5}
    assert figures["short"] == {"delay_seconds": 0.9, "onset_error_seconds": 0.2}
    rate = figures["alarms"]["a room"]
    assert (rate["false_alarms"], rate["hours"], rate["per_hour"]) == (3, 1.0, 1.5)
    assert rate["limit_per_hour"] == 6.3  # two alarms in an hour
    assert rate["by_label"] == {"dog": 2, "rain": 1}
    assert figures["unknown_named"] == 0.25
    lines = hearing_lines({"a": figures, "b": hearing_figures(Heard(), LABELS)}, LABELS)
    assert "| false alarms an hour, a room (1.00 h) | 1.5 (under 6.3) | – |" in lines
    assert "| dog | 1.00 / 0.50 | – |" in lines
    assert "| a room | dog 2, rain 1 |  |" in lines


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: (data / "urbansound8k/metadata/UrbanSound8K.csv").unlink(), "can't read"),
        (lambda data: shutil.rmtree(data / "urbansound8k/audio/fold2"), "no clip of fold 2"),
        (lambda data: (data / "free/clips.csv").unlink(), "no clip of ESC-50 in"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], None],
    words: str,
) -> None:
    shutil.copytree(data, tmp_path / "data")
    spoil(tmp_path / "data")
    assert run(capsys, monkeypatch, tmp_path / "data", "esc10-mfcc-mlp") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hearing: ")
    assert words in line


def test_a_model_must_know_the_labels(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_bundle(tmp_path / "odd.tflite", small_bundle())
    assert run(capsys, monkeypatch, data, tmp_path / "odd.tflite") == 1
    assert "has no label dog, rain: give a foreign model groups" in capsys.readouterr().err


@pytest.mark.slow
def test_real_sounds_of_one_fold(
    esc10: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The default model, which was trained on this fold, too: a leak, so it must do well."""
    model = save_bundle(tmp_path / "all-fold5.tflite", load_bundle(DEFAULT_MODEL))
    assert run(capsys, monkeypatch, esc10.parent, tmp_path / "all-fold5.tflite", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out).values()
    assert found["notes"] == ["a LEAK in events and clips: it was trained on 5"]
    assert set(found["events"]["0–20 dB"]["by_label"]) == set(model.labels)
    assert found["events"]["10–20 dB"]["f1"] > 0.5
    assert (found["clips"]["clips"], found["clips"]["clip_mean"] > 0.9) == (80, True)
    hours = {kind: rate["hours"] for kind, rate in found["alarms"].items()}
    assert hours == {
        "UrbanSound8K fold 2": pytest.approx(0.87, abs=0.02),
        "alarms/audio": pytest.approx(0.71, abs=0.02),
    }
    assert 0.0 < found["unknown_named"] < 0.5


def test_models_of_folds_belong_together() -> None:
    found = hearers_of(["a/x-fold1.tflite", "a/x-fold3.tflite", "b/y.tflite", "z"])
    assert [(h.name, sorted(h.paths)) for h in found] == [("x", [1, 3]), ("y", [0]), ("z", [0])]
    assert [found[0].for_fold(fold) for fold in (1, 2)] == ["a/x-fold1.tflite", None]
    assert found[1].for_fold(2) == "b/y.tflite"


def test_streams_of_a_city_hold_each_sound_three_times() -> None:
    rng = np.random.default_rng(0)
    sounds = [("dog", noise(SR // 2)), ("rain", noise(SR, seed=1))]
    bed = 0.1 * noise(4 * SR, seed=2)
    made = event_streams(sounds, [bed], SR, 15 * SR, (0.0, 20.0), rng)
    truths = [truth for stream in made for truth in stream.truths]
    assert sorted(t.label for t in truths) == ["dog"] * 3 + ["rain"] * 3
    assert all(0.0 <= t.snr_db <= 20.0 for t in truths)
    assert len(made) > 1
    assert {len(stream.y) for stream in made} == {15 * SR}
    one = made[0]
    first = one.truths[0]
    begin, end = round(first.onset * SR), round(first.offset * SR)
    bed_power = np.mean(one.y[: begin - SR // 10] ** 2)
    ratio_db = 10.0 * np.log10(np.mean(one.y[begin:end] ** 2) / bed_power - 1.0)
    assert ratio_db == pytest.approx(first.snr_db, abs=1.5)
    assert len(one_after_the_other([bed] * 7, 8 * SR, rng)) == 3  # 28 s; half a stream is left out
    with pytest.raises(DatasetError, match="a sound of 'dog' is longer than a stream"):
        event_streams([("dog", noise(9 * SR))], [bed], SR, 10 * SR, (0.0, 20.0), rng)
