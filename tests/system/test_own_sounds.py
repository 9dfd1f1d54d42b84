"""The story of a new user: six clips, one obvious command, and a recording with six more."""

from __future__ import annotations

import csv
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic import load_audio
from tests.support.helpers import noise, of_type, otic

SR = 22050
CLASSES = ("car_horn", "coughing", "toilet_flush")
FIRST_SECONDS, APART_SECONDS = 3.0, 7.0

pytestmark = pytest.mark.slow


def first_clips(free: Path) -> dict[str, list[Path]]:
    """One clip of each recording of ESC-50, by class."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    with (free / "clips.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if "esc50" in row["file"] and row["label"] in CLASSES:
                found[row["label"]].setdefault(row["recording"], free / row["file"])
    return {label: [clips[name] for name in sorted(clips)] for label, clips in found.items()}


def test_six_clips_and_the_obvious_command_find_five_of_six(tmp_path: Path, esc10: Path) -> None:
    clips = first_clips(esc10.parent / "free")
    unseen = []
    for label in CLASSES:
        (tmp_path / "my sounds" / label).mkdir(parents=True)
        for n, path in enumerate(clips[label][:2]):
            shutil.copy(path, tmp_path / "my sounds" / label / f"{n}{path.suffix}")
        unseen += [(label, path) for path in clips[label][2:4]]
    unseen = unseen[::2] + unseen[1::2]
    mix = noise(round((FIRST_SECONDS + APART_SECONDS * len(unseen)) * SR), level=0.003)
    for n, (_, path) in enumerate(unseen):
        y = load_audio(path, SR)[: 5 * SR]
        at = round((FIRST_SECONDS + APART_SECONDS * n) * SR)
        mix[at : at + len(y)] += 0.05 * y / np.std(y)
    soundfile.write(tmp_path / "mix.wav", np.clip(mix, -1.0, 1.0), SR)

    trained = otic("train", "my sounds", cwd=tmp_path, timeout=900)
    assert trained.returncode == 0, trained.stderr.decode()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "mix.wav",
        "my sounds",
        "my sounds.tflite",
    ]
    said = trained.stderr.decode().splitlines()
    assert len(said) == len(set(said))
    next_command = trained.stdout.decode().splitlines()[-1]
    assert next_command == "try it: otic listen --model 'my sounds.tflite'"
    replayed = otic(
        *("replay", "mix.wav", "--model", "my sounds.tflite", "--speed", "max", "--jsonl", "-"),
        cwd=tmp_path,
        timeout=200,
    )
    assert replayed.returncode == 0, replayed.stderr.decode()
    events = [e for e in of_type(replayed.stdout, "event") if e["state"] == "on"]
    found = 0
    for n, (label, _) in enumerate(unseen):
        began = FIRST_SECONDS + APART_SECONDS * n
        found += any(e["label"] == label and -0.5 <= e["onset"] - began <= 5.5 for e in events)
    print(trained.stdout.decode(), f"{found} of {len(unseen)}", events)
    assert found >= 5
