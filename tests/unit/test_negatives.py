"""Sounds that are none of the labels: which are taken, what their licences ask, thresholds."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from otic import load_bundle
from otic_training.data.dataset import Clip, DatasetError
from otic_training.data.negatives import (
    NEGATIVE_FOLD,
    license_with,
    negative_clips,
    negatives_text,
    split_negatives,
)
from otic_training.fitting.fit import trained_on
from otic_training.networks.presets import preset
from otic_training.reports.credits import credits_text
from otic_training.scoring.thresholds import within_budget
from tests.support.helpers import noise

SR = 8000
COLUMNS = "file,label,recording,author,source,licence,may_contain"


def write_table(folder: Path, rows: list[str], columns: str = COLUMNS, seconds: float = 0.1) -> str:
    folder.mkdir()
    for i in range(4):
        soundfile.write(folder / f"{i}.wav", noise(round(SR * seconds), i), SR)
    (folder / "clips.csv").write_text("\n".join([columns, *rows]) + "\n")
    return str(folder)


def test_what_may_hold_a_label_is_no_negative(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "otic.training")
    rows = [
        "0.wav,purr,fs17,Ann,Freesound,CC-BY-3.0,dog:0.2;rain:0.9",
        "1.wav,dog,fs18,Bob,Freesound,CC0-1.0,dog:1.00",
        "2.wav,hum,hum_2,Cid,made,MIT,?",
        "3.wav,hum,,,,MIT,",
    ]
    clips = negative_clips([write_table(tmp_path / "free", rows)], ("dog", "cat"))
    assert [clip.path.name for clip in clips] == ["0.wav", "3.wav"]
    assert [clip.recording for clip in clips] == ["17", "3.wav"]  # Freesound's number is ESC-50's
    assert {(clip.label, clip.fold) for clip in clips} == {("", NEGATIVE_FOLD)}
    assert caplog.messages == [
        "left out: 2 of 4 negatives may hold a label, by their may_contain (0.3 or more)"
    ]
    assert negatives_text(clips) == "2 recordings of free"
    assert license_with("model: free", clips) == (
        "model: free; trained against recordings in 'free' (CC-BY-3.0, MIT)"
    )
    assert credits_text(reversed(clips)) == credits_text(clips)
    assert credits_text(clips).endswith(
        "## CC-BY-3.0\n\n1 clip, <https://creativecommons.org/licenses/by/3.0/>.\n\n"
        "* Ann: Freesound\n\n"
        "## MIT\n\n1 clip, <https://opensource.org/license/mit>.\n\n* author not stated: 3.wav\n"
    )


def test_a_licence_that_forbids_trade_is_the_models(tmp_path: Path) -> None:
    rows = ["0.wav,,,,,CC-BY-NC-3.0,", "1.wav,,,,,CC0-1.0,"]
    clips = negative_clips([write_table(tmp_path / "mixed", rows)], ("dog",))
    line = license_with("model: Apache-2.0; trained on X", clips)
    assert line.startswith("model: non-commercial use only; trained on X; trained against")


def test_a_model_for_any_use_learns_from_what_allows_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "otic.training")
    rows = ["0.wav,,,,,CC-BY-NC-3.0,", "1.wav,,,,,CC0-1.0,", "2.wav,,,,,CC-Sampling+-1.0,"]
    folder = write_table(tmp_path / "mixed", rows)
    assert [c.path.name for c in negative_clips([folder], ("dog",), any_use=True)] == ["1.wav"]
    assert caplog.messages == ["left out: 2 of 3 negatives state no licence that allows any use"]
    (tmp_path / "mixed" / "clips.csv").unlink()
    with pytest.raises(DatasetError, match=r"no negative is left: --any-use takes those under CC0"):
        negative_clips([folder], ("dog",), any_use=True)


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        (["0.wav,purr"], "file,label", "lacks the columns licence: its first line"),
        (["0.wav,purr,,,,,"], COLUMNS, "line 2 has no licence: fill it in"),
        (["0.wav,dog,,,,MIT,"], COLUMNS, "is named 'dog' in its clips.csv, a label of the data"),
        (["0.wav,,,,,MIT,dog:0.5"], COLUMNS, "no negative is left"),
    ],
)
def test_tables_that_will_not_do(tmp_path: Path, rows: list[str], columns: str, said: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(said)):
        negative_clips([write_table(tmp_path / "bad", rows, columns)], ("dog",))


def test_folders_without_a_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "otic.training")
    folder = tmp_path / "mine" / "dog"
    write_table(folder.parent, [])
    (folder.parent / "clips.csv").unlink()
    clips = negative_clips([str(folder.parent)], ("dog",))
    assert len(clips) == 4
    assert caplog.messages == [
        "4 of 4 negatives have no clips.csv that states their licence: the model's licence line "
        "says so"
    ]
    assert "'mine', whose licence otic does not know" in license_with("model: free", clips)
    folder.mkdir()
    (folder.parent / "0.wav").rename(folder / "0.wav")
    with pytest.raises(DatasetError, match="dog' is called as a label of the data set is"):
        negative_clips([str(folder.parent)], ("dog",))


def test_a_recording_is_on_one_side(tmp_path: Path) -> None:
    write_table(tmp_path / "long", [], seconds=60.0)
    clips = [
        Clip(tmp_path / "long" / f"{i % 4}.wav", "", NEGATIVE_FOLD, f"r{i // 2}")
        for i in range(200)
    ]
    trained, quiet = split_negatives(clips)
    assert sorted([*trained, *quiet], key=clips.index) == clips
    assert 20 < len(quiet) < 60
    assert not {c.recording for c in trained} & {c.recording for c in quiet}
    assert split_negatives(clips[:40]) == (clips[:40], [])  # a fifth is less than ten minutes


def test_what_its_licence_keeps_out_is_tested_and_not_trained_on() -> None:
    class Parts:
        fold = np.array([1, 1, 2, NEGATIVE_FOLD, NEGATIVE_FOLD])
        beside = np.array([NEGATIVE_FOLD, NEGATIVE_FOLD, NEGATIVE_FOLD, NEGATIVE_FOLD, 2])
        untrained = (1,)

    prepared: Any = Parts
    assert trained_on(prepared, preset("mfcc-mlp"), [1]).tolist() == [0, 3]
    assert trained_on(prepared, preset("mfcc-mlp"), [1, 2]).tolist() == [0, 2, 3, 4]
    assert trained_on(prepared, preset("tutorial"), [1, 2]).tolist() == [0, 2]


def test_thresholds_within_a_budget(tmp_path: Path) -> None:
    """Hiss is rain to a model that never heard others; with thresholds from it, hardly."""
    bundle = load_bundle("esc10-mfcc-mlp")
    write_table(tmp_path / "hiss", [], seconds=30.0)
    clips = [Clip(tmp_path / "hiss" / f"{i}.wav", "", NEGATIVE_FOLD, str(i)) for i in range(4)]
    assert within_budget(bundle, [], 10.0) == bundle
    (tmp_path / "torn.wav").write_bytes(b"RIFF")
    torn = Clip(tmp_path / "torn.wav", "", NEGATIVE_FOLD, "torn")
    assert split_negatives([torn] * 9) == ([torn] * 9, [])
    assert within_budget(bundle, [torn], 10.0) == bundle
    clips.insert(1, torn)  # one that can't be read does not stop the end of a long training
    quiet = within_budget(bundle, clips, 10.0)
    stated = quiet.provenance["budget"]
    assert stated["budget_per_hour"] == 10.0
    assert stated["hours"] == pytest.approx(2 / 60, abs=1e-3)
    assert stated["false_alarms"] == 0
    assert max(quiet.decision.on_thresholds) > max(bundle.decision.on_thresholds)
    assert quiet.decision.lag_seconds == bundle.decision.lag_seconds
