"""Every layout of labelled audio keeps its folds, and no recording is on both sides."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from otic_training.data.dataset import Dataset, DatasetError
from otic_training.data.layouts import _make_folds, load_dataset
from otic_training.data.negatives import negative_clips
from tests.conftest import DATA
from tests.support.helpers import noise


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise(100), 22050)


def class_folders(root: Path, names: dict[str, list[str]]) -> Path:
    for label, files in names.items():
        for name in files:
            write(root / label / name)
    return root


def urban(root: Path, rows: list[tuple[str, int, str]]) -> Path:
    """Rows of (fsID, fold, class); a slice each."""
    lines = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for i, (recording, fold, label) in enumerate(rows):
        name = f"{recording}-3-0-{i}.wav"
        write(root / "audio" / f"fold{fold}" / name)
        lines.append(f"{name},{recording},0.0,4.0,1,{fold},3,{label}")
    (root / "metadata").mkdir()
    (root / "metadata" / "UrbanSound8K.csv").write_text("\n".join(lines) + "\n")
    return root


def assert_no_leak(dataset: Dataset) -> None:
    for recording in {clip.recording for clip in dataset.clips}:
        assert len({c.fold for c in dataset.clips if c.recording == recording}) == 1


def test_the_real_sets_keep_their_folds(esc10: Path) -> None:
    dataset = load_dataset(str(esc10))
    assert (dataset.name, len(dataset.clips), dataset.folds) == ("ESC-10", 400, (1, 2, 3, 4, 5))
    assert dataset.protocol == "official folds"
    assert set(Counter((c.label, c.fold) for c in dataset.clips).values()) == {8}
    assert_no_leak(dataset)
    dataset = load_dataset(str(DATA / "urbansound8k"))
    assert (dataset.name, len(dataset.clips), dataset.folds) == ("UrbanSound8K", 1761, (1, 2))
    assert len(dataset.labels) == 10
    assert "non-commercial" in dataset.license
    assert_no_leak(dataset)


def test_urbansound8k(tmp_path: Path) -> None:
    rows = [("11", 1, "siren"), ("11", 1, "siren"), ("12", 2, "siren")]
    rows += [("21", 1, "drilling"), ("22", 2, "drilling")]
    dataset = load_dataset(str(urban(tmp_path / "set", rows)))
    assert dataset.labels == ("drilling", "siren")
    assert dataset.folds == (1, 2)
    assert [c.recording for c in dataset.clips] == ["11", "11", "12", "21", "22"]
    with pytest.raises(DatasetError, match="official folds, which are kept"):
        load_dataset(str(tmp_path / "set"), group_regex=".*")
    with pytest.raises(DatasetError, match="--subset esc10 is for ESC-50"):
        load_dataset(str(tmp_path / "set"), subset="esc10")


def test_esc10_of_esc50(tmp_path: Path) -> None:
    root = tmp_path / "ESC-50"
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for i in range(8):
        write(root / "audio" / f"{i}.wav")
        label = ("dog", "rain", "cat", "hen")[i % 4]
        lines.append(f"{i}.wav,{i // 4 + 1},0,{label},{label in ('dog', 'rain')},{i},A")
    (root / "meta").mkdir()
    (root / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    whole, part = load_dataset(str(root)), load_dataset(str(root), subset="esc10")
    assert (whole.name, len(whole.clips)) == ("ESC-50", 8)
    assert (part.name, part.labels) == ("ESC-10", ("dog", "rain"))


def test_class_folders_by_recording(tmp_path: Path) -> None:
    files = [f"rec{r}_{part}.wav" for r in range(10) for part in range(3)]
    root = class_folders(tmp_path / "mine", {"a": files, "b": [f"b{n}" for n in files]})
    (root / "a" / "notes.txt").write_text("no audio")
    (root / "b" / "more").mkdir()
    write(root / "b" / "more" / "rec99_0.FLAC")
    dataset = load_dataset(str(root), group_regex=r"(rec\d+)_")
    assert dataset.name == "mine"
    assert dataset.labels == ("a", "b")
    assert dataset.folds == (1, 2, 3, 4, 5)
    assert dataset.warnings == ()
    assert dataset.protocol == "folds made by recording"
    assert len(dataset.clips) == 61
    assert_no_leak(dataset)
    assert load_dataset(str(root), group_regex=r"rec\d+").clips == dataset.clips
    # Without the recordings' names each file is one, and a line says what that may mean.
    alone = load_dataset(str(root))
    assert len({c.recording for c in alone.clips}) == 61
    assert alone.protocol == "folds made by file"
    assert "the figures leak" in alone.warnings[0]
    assert "--group-regex" in alone.warnings[0]


def listed(root: Path, lines: list[str]) -> Path:
    (root / "recordings.csv").write_text("\n".join(["filename,recording", *lines]) + "\n")
    return root


def test_class_folders_with_a_table_of_recordings(tmp_path: Path) -> None:
    names = [f"{n}.wav" for n in range(12)]
    root = class_folders(tmp_path / "mine", {"a": names, "b": names})
    write(root / "_other" / "x.wav")  # no class, and not listed
    # Each recording holds two clips of each class; a clip was deleted since.
    rows = [f"{label}/{n}.wav,night {n // 2}" for label in "ab" for n in range(12)]
    (root / "b" / "11.wav").unlink()
    dataset = load_dataset(str(listed(root, [*rows, '"c,d/1.wav","e"'])))
    assert dataset.labels == ("a", "b")
    assert len(dataset.clips) == 23
    assert {clip.recording for clip in dataset.clips} == {f"night {n}" for n in range(6)}
    assert dataset.folds == (1, 2, 3, 4, 5)
    assert (dataset.protocol, dataset.warnings) == ("folds made by recording", ())
    assert_no_leak(dataset)
    table = root / "recordings.csv"
    table.write_text("\ufeff" + table.read_text())  # as spreadsheets do
    assert load_dataset(str(root)) == dataset
    with pytest.raises(DatasetError, match=r"recordings.csv' groups the clips: leave --group"):
        load_dataset(str(root), group_regex=".*")


def test_recordings_of_what_has_no_label(tmp_path: Path) -> None:
    """Also in folders of folders, as those of classes may be."""
    for name in ("_other/1.wav", "_other/night/2.wav", "_other/3.wav"):
        write(tmp_path / name)
    listed(tmp_path, ["_other/1.wav,a", "_other/night/2.wav,b"])
    clips = negative_clips([str(tmp_path / "_other")])
    assert [clip.recording for clip in clips] == ["a", "3.wav", "b"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["a/1.wav,r"], "recordings.csv' lacks 3 of 4 clips, 'a/2.wav' first"),
        (["a/1.wav,"], "line 2: 'a/1.wav' has no recording: name it"),
        (["a/1.wav,r", "a/1.wav,s"], "line 3: 'a/1.wav' is of 's' here and of 'r' above"),
        (["a/1.wav"], "line 2 has too few columns"),
    ],
)
def test_tables_of_recordings_that_will_not_do(
    tmp_path: Path, lines: list[str], words: str
) -> None:
    root = class_folders(tmp_path / "set", {"a": ["1.wav", "2.wav"], "b": ["3.wav", "4.wav"]})
    with pytest.raises(DatasetError) as caught:
        load_dataset(str(listed(root, lines)))
    assert words in str(caught.value)


def test_folders_that_are_no_class_do_not_count(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", {"a": ["1.wav", "2.wav"], "_b": ["3.wav", "4.wav"]})
    with pytest.raises(DatasetError, match="1 folders with audio files"):
        load_dataset(str(root))


def test_recordings_of_several_labels_are_spread_for_each() -> None:
    """Two recordings hold the rare label: they are not put into one fold."""
    for n in range(2, 40):
        clips = [("often", f"{n}-{i}") for i in range(n)]
        clips += [("rare", f"{n}-0"), ("rare", f"{n}-{n - 1}")]
        folds = _make_folds(clips)
        assert folds[f"{n}-0"] != folds[f"{n}-{n - 1}"]


@given(st.dictionaries(st.text(max_size=5), st.integers(1, 4), min_size=5, max_size=60))
def test_made_folds_are_even(sizes: dict[str, int]) -> None:
    clips = [("label", recording) for recording, n in sizes.items() for _ in range(n)]
    folds = _make_folds(clips)
    assert folds == _make_folds(clips[::-1])
    filled = Counter(folds[recording] for _, recording in clips)
    assert len(filled) == 5
    assert max(filled.values()) - min(filled.values()) <= max(sizes.values())


@pytest.mark.parametrize(
    ("names", "regex", "words"),
    [
        ({}, None, "0 folders with audio files"),
        ({"a": ["1.wav", "2.wav"]}, None, "1 folders with audio files"),
        ({"a": ["1.wav", "2.wav"], "b": ["3.wav"]}, None, "'b' has one recording only"),
        ({"a": ["1.wav", "2.wav"], "b": ["3.wav", "4.wav"]}, "(", "no regular expression"),
        ({"a": ["1.wav", "2.wav"], "b": ["3.wav", "x.wav"]}, r"\d+", "does not match 'x.wav'"),
    ],
)
def test_class_folders_that_will_not_do(
    tmp_path: Path, names: dict[str, list[str]], regex: str | None, words: str
) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(DatasetError) as caught:
        load_dataset(str(class_folders(tmp_path / "set", names)), regex)
    assert words in str(caught.value)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is no folder"):
        load_dataset(str(tmp_path / "nope"))


def test_official_folds_that_share_a_recording_are_told(tmp_path: Path) -> None:
    """As published, ESC-50 has four such recordings and UrbanSound8K five."""
    (tmp_path / "meta").mkdir()
    (tmp_path / "audio").mkdir()
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for i, (fold, label, recording) in enumerate(
        [(1, "a", "r1"), (2, "a", "r1"), (1, "a", "r2"), (1, "b", "r3"), (2, "b", "r4")]
    ):
        lines.append(f"{i}.wav,{fold},0,{label},True,{recording},A")
        (tmp_path / "audio" / f"{i}.wav").touch()
    (tmp_path / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    dataset = load_dataset(str(tmp_path))
    assert dataset.warnings == (
        "1 of 4 recordings are in two folds or more, r1 in 1 and 2: figures leak by so much",
    )
