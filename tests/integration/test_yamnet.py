"""YAMNet, a model that nobody made for otic: packed, replayed, and equal to LiteRT alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from otic.audio.sources import FileSource
from tests.conftest import DATA
from tests.support.helpers import F32, of_type, otic, records

YAMNET = DATA / "yamnet"
SR, WINDOW = 16000, 15600
ANIMALS = ["Animal", "Dog", "Cat", "Bird", "Crowing, cock-a-doodle-doo"]
GROUPS = f"""
"an animal" = {json.dumps(ANIMALS)}
alarm = ["Siren", "Smoke detector, smoke alarm", "Fire alarm"]
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, esc10: Path) -> Path:
    """As a person packs it: labels and a rate are all that must be said."""
    folder = tmp_path_factory.mktemp("yamnet")
    (folder / "groups.toml").write_text(GROUPS)
    done = otic(
        *("pack", YAMNET / "yamnet.tflite", "--labels", YAMNET / "yamnet_class_map.csv"),
        *("--sr", str(SR), "--groups", folder / "groups.toml"),
        *("--license", "Apache-2.0, Google", "--out", folder / "yamnet.tflite"),
    )
    assert done.returncode == 0, done.stderr
    assert b"labels      521: Speech" in done.stdout
    return folder / "yamnet.tflite"


def clip(esc10: Path, label: str) -> Path:
    lines = (esc10 / "meta" / "esc50.csv").read_text().splitlines()
    return next(esc10 / "audio" / line.split(",")[0] for line in lines if f",{label}," in line)


def samples(path: Path) -> F32:
    source = FileSource(str(path), SR, 4096)
    try:
        return np.concatenate([c for c in source.chunks() if isinstance(c, np.ndarray)])
    finally:
        source.close()


def test_scores_are_those_of_litert_alone(packed: Path, esc10: Path) -> None:
    """Every window of a real bark, to the log's six decimals; all 521 labels and the groups."""
    from ai_edge_litert.interpreter import Interpreter

    path = clip(esc10, "dog")
    done = otic("replay", path, "--model", packed, "--speed", "max", "--jsonl", "-")
    assert done.returncode == 0, done.stderr
    lines = of_type(done.stdout, "scores")
    y = samples(path)
    assert len(lines) == (len(y) - WINDOW) // 3840 + 1 >= 15
    interpreter = Interpreter(model_path=str(YAMNET / "yamnet.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    labels = records(done.stdout)[0]["labels"]
    assert labels[521:] == ["an animal", "alarm"]
    worst = 0.0
    for line in lines:
        window = y[line["sample"] - WINDOW : line["sample"]]
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], window[None])
        interpreter.invoke()
        expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
        assert list(line["scores"]) == labels
        got = np.array(list(line["scores"].values()))
        worst = max(worst, float(np.abs(got[:521] - expected).max()))
        assert line["scores"]["an animal"] == max(line["scores"][name] for name in ANIMALS)
    print(f"largest difference from LiteRT alone in any of 521 scores: {worst:.1e}")
    assert worst <= 1e-6
    loudest = max(lines, key=lambda line: line["scores"]["an animal"])["scores"]
    top = sorted(loudest, key=lambda label: -loudest[label])[:5]
    assert {"Dog", "an animal"} <= set(top), top
    began = {e["label"] for e in of_type(done.stdout, "event") if e["state"] == "on"}
    assert {"Dog", "Animal", "an animal"} <= began
    assert "alarm" not in began


def test_it_is_verified_and_inspected(packed: Path) -> None:
    verified = otic("verify", packed)
    assert verified.returncode == 0, verified.stderr
    assert b"features within 0.0e+00 of float64 NumPy" in verified.stdout  # the samples themselves
    inspected = otic("inspect", packed)
    assert inspected.returncode == 0, inspected.stderr
    text = inspected.stdout.decode()
    assert "looked_at                the waveform at 16000 Hz" in text
    assert 'Animal, Dog, Cat, Bird, "Crowing, cock-a-doodle-doo"\n' in text
    assert 'Speech, "Child speech, kid speaking", Conversation, "Narration, monologue"' in text
    assert "Apache-2.0, Google" in text
