"""`otic search` and the tutorial's experiment: they do not look where they must not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic_training import article
from otic_training.data.dataset import DatasetError
from tests.support.helpers import noise, one_line, otic


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of five recordings: a fold for each."""
    root = tmp_path_factory.mktemp("search") / "set"
    t = np.arange(round(22050 * 4.2)) / 22050
    for i in range(5):
        for label in ("tone", "hiss"):
            (root / label).mkdir(parents=True, exist_ok=True)
            tone = 0.3 * np.sin(2 * np.pi * (400 + 50 * i) * t) if label == "tone" else 0.0
            y = tone + noise(len(t), i, 1e-3 if label == "tone" else 0.2)
            soundfile.write(root / label / f"{i}.wav", y, 22050)
    return root


OPTIONS = ("--preset", "tutorial", "--epochs", "1", "--group-regex", r"\d")


def test_a_search_goes_on_where_it_was(folders: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.db"
    first = otic("search", folders, *OPTIONS, "--trials", "1", "--study", study, timeout=200)
    assert first.returncode == 0, first.stderr.decode()
    assert "(folds 5 were not read)" in first.stdout.decode()
    assert first.stderr.decode().count("trial ") == 1
    again = otic(
        *("search", folders, *OPTIONS, "--trials", "2", "--study", study, "--json"), timeout=200
    )
    assert again.returncode == 0, again.stderr.decode()
    assert again.stderr.decode().count("trial ") == 1
    outcome = json.loads(again.stdout)
    assert outcome["validation_folds"] == [1, 2, 3, 4]
    assert outcome["trials"] == 2
    assert {"learning_rate", "batch_size"} <= outcome["best"].keys()


def test_a_search_that_can_not_be_is_told_in_one_line(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database")
    done = otic("search", folders, *OPTIONS, "--study", tmp_path / "text.db")
    assert done.returncode == 1
    assert "as a study: " in one_line(done.stderr)
    done = otic("search", folders, *OPTIONS, "--test-folds", "1,2,3,4")
    assert "leaves one fold" in one_line(done.stderr)


def write_slices(folder: Path) -> None:
    rng = np.random.default_rng(0)
    header = ",".join(["fileID", "classID", *(f"mfcc_avg_{i}" for i in range(40))])
    for fold in range(1, 11):
        lines = [header]
        for i in range(8):
            x = rng.normal(5.0 * (i % 2), 1.0, 40)
            lines.append(",".join([f"{i}.wav", str(i % 2), *(f"{v:.4f}" for v in x)]))
        (folder / f"fold{fold}.csv").write_text("\n".join(lines) + "\n")


def test_the_article_is_repeated_three_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_slices(tmp_path)
    monkeypatch.setattr("sys.argv", ["article", str(tmp_path), "--epochs", "1"])
    assert article.main() == 0
    text = capsys.readouterr().out
    assert "80 slices" in text
    for row in ("published", "random split: a leak", "folds 9 and 10 held out", "each fold held"):
        assert row in text


def test_slices_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"fold1.csv"):
        article.read_slices(str(tmp_path))
    write_slices(tmp_path)
    (tmp_path / "fold3.csv").write_text("fileID,classID,mfcc_avg_0\na,x,1\n")
    with pytest.raises(DatasetError, match=r"fold3.csv', line 2"):
        article.read_slices(str(tmp_path))
