"""A head of everyday labels: from labelled recordings to a bundle with groups, and its figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic import load_bundle
from otic_training.base.head import Fit
from otic_training.data.scenes import Mixer
from otic_training.data.sound_tables import ListedSound
from otic_training.everyday import __main__ as everyday
from otic_training.everyday import head
from otic_training.everyday.labelling import write_labels
from otic_training.everyday.table import everyday_labels
from otic_training.experiment import load_tensorflow
from tests.integration.test_stream_heads import a_base, scores
from tests.support.helpers import noise

pytestmark = pytest.mark.xdist_group("tensorflow")  # one process loads it

QUICK = replace(
    head.RECIPE,
    scenes=60,
    steps=24,
    fit=Fit(hidden=16, epochs=40, batch=10, rate=0.01),
    mix=replace(head.RECIPE.mix, snr_db=(10.0, 20.0), others=(1.0,)),
)


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()  # as other tests, which may share the process, expect it


def labels_file(folder: Path) -> Path:
    """Write a dog that whistles, a cat that buzzes and a room that hisses, nine of each."""
    t = np.arange(22_050 * 3) / 22_050
    sounds = []
    for label, kind in (("dog", "animal"), ("meow", "animal"), ("hiss", "room")):
        for i in range(9):
            tone = np.sin(2 * np.pi * 900.0 * (1.0 + 0.02 * i) * t)
            made = {
                "dog": tone,
                "meow": np.sign(np.sin(2 * np.pi * (90 + i) * t)),
                "hiss": noise(len(t), seed=i),
            }
            path = folder / f"{label}{i}.wav"
            soundfile.write(path, 0.3 * made[label], 22_050)
            sounds.append(ListedSound(path, kind, label, f"{label}-{i}", "CC0-1.0"))
    table = everyday_labels()
    classes = [name for label in table for name in label.classes]
    said = [np.zeros((1, len(classes)), np.float32)] * len(sounds)
    assert write_labels(folder / "labels.csv", sounds, said, classes, table) == []
    return folder / "labels.csv"


def test_one_command_measures_and_makes_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTIC_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(head, "RECIPE", QUICK)
    monkeypatch.setattr(head, "GOOD", 0.01)
    labels, base = labels_file(tmp_path), a_base(tmp_path / "tiny.tflite")
    out = tmp_path / "home.tflite"
    command = ["x", str(labels), str(base), str(base), str(out), "--scenes", "20"]
    monkeypatch.setattr("sys.argv", command)
    everyday.main()
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["cat"][0] == rows["dog"][0] == "3"
    measured = json.loads((tmp_path / "home.json").read_text())
    # The base has learned nothing, and yet a buzz is told from hiss: 0.25 is chance.
    assert measured["models"]["home"]["cat"]["average_precision"] > 0.5
    bundle = load_bundle(out)
    assert bundle.labels == ("cat", "dog", "animals")
    assert bundle.groups == {"animals": ("dog", "cat")}
    assert bundle.decision.on_thresholds[2] == 1.0
    assert set(bundle.accuracy["labels"]) == {"cat", "dog"}
    assert bundle.provenance["base"]["name"] == "tiny"
    # Frames are the base's, scenes are not: another base takes the kept ones. A label that was
    # found too bad is learned, but not served.
    for kept in (tmp_path / "store").glob("*.npz"):
        if "frames" in np.load(kept).files:
            kept.unlink()
    monkeypatch.setattr(Mixer, "scene", None)
    measured["models"]["home"]["cat"]["average_precision"] = 0.0
    (tmp_path / "home.json").write_text(json.dumps(measured))
    one = head.make(
        labels, str(base), tmp_path / "dogs.tflite", 3.0, figures=tmp_path / "home.json"
    )
    assert one.labels == ("dog",)
    y = noise(3 * 22_050)
    np.testing.assert_allclose(scores(one, y), scores(bundle, y)[:, 1:2], rtol=0, atol=1e-4)
