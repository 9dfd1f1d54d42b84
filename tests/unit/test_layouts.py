"""Every layout of labelled audio keeps its folds, and no recording is on both sides."""

from __future__ import annotations

import os
import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from otic_training.data.class_folders import make_folds
from otic_training.data.copies import equal_files
from otic_training.data.dataset import Dataset, DatasetError
from otic_training.data.layouts import load_dataset
from otic_training.data.licences import for_any_use, licence_counts
from otic_training.data.negatives import negative_clips
from otic_training.data.windows import read_clip
from tests.conftest import DATA
from tests.support.helpers import noise


def write(path: Path, seed: int | None = None) -> None:
    """A file unlike all others, or equal to those of the same seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(os.fsencode(path)) if seed is None else seed
    soundfile.write(path, noise(100, seed), 22050)


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


LINE = (
    "- [1-{0}-A.ogg]: clip derived from by night {0}.wav "
    "(http://www.freesound.org/people/x/sounds/{0}/) by Ann B. [{1}]"
)


def esc50_with_licences(tmp_path: Path, subset: str, licences: Sequence[str]) -> Path:
    """Two labels, two folds; a licence for each recording, numbered from 0."""
    labels = ("dog", "rain")
    rows = [f"{i}.wav,{i // 4 + 1},{labels[i % 2]},{subset},{i}" for i in range(len(licences))]
    root = esc50(tmp_path, rows)
    for i in range(len(licences)):
        write(root / "audio" / f"{i}.wav")
    lines = [LINE.format(i, licence) for i, licence in enumerate(licences) if licence]
    (root / "LICENSE").write_text("\n".join(["# ESC-50", *lines]) + "\n")
    return root


def test_a_model_for_any_use_only_tests_on_what_does_not_allow_it(tmp_path: Path) -> None:
    licences = ("CC0", "CC-BY", "CC-BY-NC", "CC-Sampling+", "CC0", "CC0", "CC-BY", "")
    root = esc50_with_licences(tmp_path, "False", licences)
    dataset = load_dataset(str(root))
    assert not any(clip.tested_only for clip in dataset.clips)
    assert dataset.license.startswith("model: non-commercial use only")
    assert (dataset.clips[1].licence, dataset.clips[1].author) == ("CC-BY-3.0", "Ann B.")
    assert dataset.clips[1].source == "https://freesound.org/s/1/"
    dataset = load_dataset(str(root), any_use=True)
    assert [clip.recording for clip in dataset.clips if clip.tested_only] == ["2", "3", "7"]
    assert dataset.license.startswith("model: Apache-2.0; trained on those clips of ESC-50 whose")
    assert licence_counts(dataset.learned((1, 2))) == {"CC-BY-3.0": 2, "CC0-1.0": 3}
    (root / "LICENSE").unlink()
    with pytest.raises(DatasetError, match="has no LICENSE with a line for each clip, which --any"):
        load_dataset(str(root), any_use=True)
    (tmp_path / "mine").mkdir()
    with pytest.raises(DatasetError, match="mine' does not have: leave it out"):
        load_dataset(str(tmp_path / "mine"), any_use=True)


def test_esc10_is_always_for_any_use(tmp_path: Path, esc10: Path) -> None:
    root = esc50_with_licences(tmp_path, "True", ("CC0", "CC-Sampling+", *["CC-BY"] * 6))
    assert [c.recording for c in load_dataset(str(root)).clips if c.tested_only] == ["1"]
    dataset = load_dataset(str(esc10))  # its lines have links, as Markdown does
    assert {c.recording for c in dataset.clips if c.tested_only} == {"40730", "96460"}
    assert licence_counts(dataset.learned(dataset.folds)) == {"CC-BY-3.0": 165, "CC0-1.0": 233}


@pytest.mark.parametrize(
    ("licence", "allows"),
    [
        *((name, True) for name in ("CC0-1.0", "CC BY 4.0", "cc-by-3.0", "public domain", "MIT")),
        *((name, True) for name in ("Apache-2.0", "BSD-3-Clause")),
        *((name, False) for name in ("CC-BY-NC-3.0", "CC-BY-SA-4.0", "CC-Sampling+-1.0", "", "?")),
    ],
)
def test_which_licences_allow_any_use(licence: str, allows: bool) -> None:
    assert for_any_use(licence) == allows


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
    clips = negative_clips([str(tmp_path / "_other")], ())
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
        folds = make_folds(clips)
        assert folds[f"{n}-0"] != folds[f"{n}-{n - 1}"]


@given(st.dictionaries(st.text(max_size=5), st.integers(1, 4), min_size=5, max_size=60))
def test_made_folds_are_even(sizes: dict[str, int]) -> None:
    clips = [("label", recording) for recording, n in sizes.items() for _ in range(n)]
    folds = make_folds(clips)
    assert folds == make_folds(clips[::-1])
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
        write(tmp_path / "audio" / f"{i}.wav")
    (tmp_path / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    dataset = load_dataset(str(tmp_path))
    assert dataset.warnings == (
        "1 of 4 recordings are in two folds or more, r1 in 1 and 2: figures leak by so much",
    )


@pytest.mark.parametrize(
    ("names", "folds"),
    [
        (("train", "test"), {"train": 1, "test": 2}),
        (("Training", "VALIDATION", "Test"), {"Training": 1, "VALIDATION": 2, "Test": 3}),
        (("test", "dev", "train"), {"train": 1, "dev": 2, "test": 3}),
        (("fold1", "fold2", "fold10"), {"fold1": 1, "fold2": 2, "fold10": 10}),
        (("split_3", "split_7"), {"split_3": 3, "split_7": 7}),
    ],
)
def test_parts_of_a_split_are_folds_not_classes(
    tmp_path: Path, names: tuple[str, ...], folds: dict[str, int]
) -> None:
    for part in names:
        class_folders(tmp_path / part, {"dog": ["1.wav", "2.wav"], "cat": ["3.wav"]})
    write(tmp_path / "_other" / "x.wav")
    dataset = load_dataset(str(tmp_path))
    assert dataset.labels == ("cat", "dog")
    found = {clip.path.relative_to(tmp_path).parts[0]: clip.fold for clip in dataset.clips}
    assert found == folds
    ordered = ", ".join(sorted(folds, key=lambda name: folds[name]))
    assert dataset.protocol == f"folds as in its folders {ordered}"
    assert dataset.notes == ()


def test_a_recording_that_a_split_tears_is_told(tmp_path: Path) -> None:
    for part in ("train", "test"):
        class_folders(
            tmp_path / part, {"a": ["r1_1.wav", "r2_1.wav"], "b": ["r3_1.wav", "r4_1.wav"]}
        )
    assert "in two folds or more" in load_dataset(str(tmp_path), r"r\d_").warnings[0]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["train/1.wav", "test/2.wav"], "'test' has no folder for each class"),
        (["fold1/1.wav", "fold2/2.wav"], "put clips into folders as in fold1/dog/1.wav"),
        (
            ["train/a/1.wav", "test/a/1.wav", "more/1.wav"],
            "has test, train, which are parts of a split, beside more: put a '_' before",
        ),
        (["data/a/1.wav", "data/b/1.wav"], "data' has the folders a, b: name that"),
        (["a/1.wma", "b/1.wma"], "the class 'a' is left out: .wma can't be read"),
    ],
)
def test_folders_that_can_not_be_told_apart(tmp_path: Path, files: list[str], words: str) -> None:
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if path.suffix == ".wma" else write(path)
    with pytest.raises(DatasetError) as caught:
        load_dataset(str(tmp_path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_train_among_vehicles_is_a_class(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"train": ["1.wav", "2.wav"], "bus": ["3.wav", "4.wav"]})
    assert load_dataset(str(root)).labels == ("bus", "train")


HIDDEN = (
    ".ipynb_checkpoints/1-checkpoint.wav",
    "dog/.ipynb_checkpoints/1-checkpoint.wav",
    "dog/._1.wav",
    "._dog/1.wav",
    ".git/x.wav",
    ".Trash-1000/files/1.wav",
    "__MACOSX/dog/._1.wav",
    "dog/__MACOSX/1.wav",
    "dog/@eaDir/1.wav",
    "$RECYCLE.BIN/1.wav",
    "#recycle/1.wav",
    "System Volume Information/1.wav",
)


@pytest.mark.parametrize("name", HIDDEN)
def test_what_systems_and_editors_hide_is_no_clip(tmp_path: Path, name: str) -> None:
    root = class_folders(tmp_path / "set", {"dog": ["1.wav", "2.wav"], "cat": ["3.wav", "4.wav"]})
    write(root / name)
    dataset = load_dataset(str(root))
    assert dataset.labels == ("cat", "dog")
    assert len(dataset.clips) == 4
    assert dataset.notes == ()
    negatives = [clip.path.name for clip in negative_clips([str(root)], ())]
    assert sorted(negatives) == ["1.wav", "2.wav", "3.wav", "4.wav"]


@pytest.mark.parametrize("suffix", [".wma", ".WMA", ".amr", ".wv"])
def test_a_class_of_files_that_can_not_be_read_does_not_vanish(tmp_path: Path, suffix: str) -> None:
    root = class_folders(tmp_path / "set", {"dog": ["1.wav", "2.wav"], "cat": ["3.wav", "4.wav"]})
    (root / "bird").mkdir()
    for n in range(3):
        (root / "bird" / f"{n}{suffix}").touch()
    dataset = load_dataset(str(root))
    assert dataset.warnings[0] == (
        f"the class 'bird' is left out: {suffix.lower()} can't be read; convert them, for example "
        "with ffmpeg -i clip.wma clip.wav"
    )
    (root / "cat" / f"5{suffix}").touch()
    (note,) = load_dataset(str(root)).notes
    assert note.startswith("1 files are left out of 'cat': ")


def test_other_folders_and_files_are_accounted_for(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", {"dog": ["1.wav", "2.wav"], "cat": ["3.wav", "4.wav"]})
    (root / "docs").mkdir()
    (root / "docs" / "readme.txt").touch()
    write(root / "loose.wav")
    (root / "cat" / "gone.wav").symlink_to(root / "nowhere.wav")
    dataset = load_dataset(str(root))
    assert "the folder 'docs' holds no audio: it is left out" in dataset.warnings
    assert dataset.notes == (
        "1 links in 'cat' lead to no file: they are left out",
        "1 audio files lie beside the class folders, 'loose.wav' first: they are left out",
    )


def test_the_upper_folder_is_the_label_and_that_is_said(tmp_path: Path) -> None:
    names = ["monday/1.wav", "train/deep/2.wav", "3.wav"]
    root = class_folders(tmp_path / "set", {"dog": names, "cat": ["4.wav", "5.wav"]})
    dataset = load_dataset(str(root))
    assert dataset.labels == ("cat", "dog")
    assert dataset.notes == (
        "2 clips lie in folders of their class folder: the upper folder is the label, 'dog' of "
        "'dog/monday/1.wav'",
    )


def test_copies_share_a_fold(tmp_path: Path) -> None:
    """Whatever they are called, and over several recordings."""
    root = class_folders(tmp_path / "set", {"a": [f"{n}.wav" for n in range(12)], "b": ["x.wav"]})
    write(root / "b" / "y.wav")
    for n in range(0, 12, 2):
        (root / "a" / f"copy{n}.wav").write_bytes((root / "a" / f"{n}.wav").read_bytes())
    dataset = load_dataset(str(root))
    folds = {clip.path.name: clip.fold for clip in dataset.clips}
    assert all(folds[f"copy{n}.wav"] == folds[f"{n}.wav"] for n in range(0, 12, 2))
    assert_no_leak(dataset)
    assert dataset.notes == (
        "6 files are copies of others, 'a/copy0.wav' of 'a/0.wav': copies share a fold, and count "
        "several times",
    )
    # A class of copies of one file has one recording, as one with one file has.
    (root / "b" / "y.wav").write_bytes((root / "b" / "x.wav").read_bytes())
    with pytest.raises(DatasetError, match="'b' has one recording only"):
        load_dataset(str(root))


def test_copies_join_recordings(tmp_path: Path) -> None:
    """r1 and r2 share a file, r2 and r3 another: all three are one."""
    root = tmp_path / "set"
    for recording, seeds in {"r1": (1, 2), "r2": (2, 3), "r3": (3, 4), "r4": (5, 6)}.items():
        for i, seed in enumerate(seeds):
            write(root / "a" / f"{recording}_{i}.wav", seed)
    class_folders(root, {"b": ["r5_0.wav", "r6_0.wav"]})
    dataset = load_dataset(str(root), r"r\d")
    folds = {clip.path.name[:2]: clip.fold for clip in dataset.clips}
    assert folds["r1"] == folds["r2"] == folds["r3"]
    assert_no_leak(dataset)


def esc50(
    root: Path, rows: list[str], header: str = "filename,fold,category,esc10,src_file"
) -> Path:
    (root / "meta").mkdir(parents=True)
    (root / "meta" / "esc50.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return root


def test_copies_in_official_folds_are_told(tmp_path: Path) -> None:
    labels = ("a", "a", "b", "b")
    root = esc50(tmp_path, [f"{i}.wav,{i % 2 + 1},{labels[i]},True,r{i}" for i in range(4)])
    for i, seed in enumerate((1, 1, 2, 1)):
        write(root / "audio" / f"{i}.wav", seed)
    assert load_dataset(str(root)).warnings == (
        "1 files have copies in two folds or more, 'audio/0.wav' (fold 1) and 'audio/1.wav' "
        "(fold 2): figures leak by so much",
        "1 files have copies under two labels or more, 'audio/0.wav' (label a) and 'audio/3.wav' "
        "(label b): leave each under one",
    )


def test_one_file_under_two_labels_in_a_table_is_told(tmp_path: Path) -> None:
    rows = ["1.wav,1,a,True,r1", "2.wav,2,a,True,r2", "3.wav,1,b,True,r3", "1.wav,2,b,True,r4"]
    root = esc50(tmp_path, rows)
    for i in (1, 2, 3):
        write(root / "audio" / f"{i}.wav")
    first, second = load_dataset(str(root)).warnings
    assert "'audio/1.wav' (fold 1) and 'audio/1.wav' (fold 2)" in first
    assert "'audio/1.wav' (label a) and 'audio/1.wav' (label b)" in second


def test_copies_across_labels_and_splits_are_told(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", {"a": ["1.wav", "2.wav"], "b": ["3.wav", "4.wav"]})
    write(root / "a" / "x.wav", 7)
    write(root / "b" / "y.wav", 7)
    warnings = load_dataset(str(root)).warnings
    assert any("under two labels or more, 'a/x.wav' (label a)" in line for line in warnings)
    for part in ("train", "test"):
        class_folders(tmp_path / "split" / part, {"a": ["1.wav"], "b": ["3.wav"]})
        write(tmp_path / "split" / part / "a" / "x.wav", 7)
    warnings = load_dataset(str(tmp_path / "split")).warnings
    assert any("copies in two folds or more" in line for line in warnings)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 5000, 20_000]), st.integers(0, 2)),
        max_size=12,
    )
)
def test_equal_files_are_those_of_equal_bytes(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[int, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("equal")
    expected: dict[bytes, list[Path]] = {}
    paths = []
    for i, (byte, size, odd) in enumerate(files):
        content = bytearray([byte]) * size
        if size > 10_000:
            content[6000] = odd  # where only the whole file tells
        paths.append(folder / f"{i}")
        paths[-1].write_bytes(content)
        if size:
            expected.setdefault(bytes(content), []).append(paths[-1])
    found = equal_files([*paths, folder / "missing"])
    assert sorted(found) == sorted(group for group in expected.values() if len(group) > 1)


@pytest.mark.parametrize(
    ("yes", "no"),
    [("True", "False"), ("TRUE", "FALSE"), ("true", "false"), ("1", "0"), (" True ", "False ")],
)
def test_esc10_as_spreadsheets_write_it(tmp_path: Path, yes: str, no: str) -> None:
    labels = ("dog", "rain", "cat", "hen")
    rows = [
        f"{i}.wav,{i // 4 + 1},{labels[i % 4]},{yes if i % 4 < 2 else no},{i}" for i in range(8)
    ]
    root = esc50(tmp_path, rows)
    for i in range(8):
        write(root / "audio" / f"{i}.wav")
    assert load_dataset(str(root), subset="esc10").labels == ("dog", "rain")
    assert load_dataset(str(root)).name == "ESC-50"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1.wav,1,a,maybe,r", "line 2: esc10 'maybe' is not True or False"),
        ("1.wav,1.5,a,True,r", "line 2: fold '1.5' is not a whole number"),
        ("1.wav,-1,a,True,r", "fold '-1' is not"),
        ("1.wav,,a,True,r", "fold '' is not"),
        (f"1.wav,{'9' * 5000},a,True,r", "is not a whole number"),
        ("1,2.wav,1,a,True,r", "line 2 has too many columns: put quotes around"),
        ("1.wav,1,a,True", "line 2 has too few columns"),
        ("1.wav,1,a,False,r", "has no line with True under esc10"),
    ],
)
def test_lines_that_can_not_be_understood_are_named(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(DatasetError) as caught:
        load_dataset(str(esc50(tmp_path, [row])), subset="esc10")
    assert words in str(caught.value)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("fold", ["{}", " {}", "{} ", "{}.0", "{}.", "0{}"])
def test_separators_and_folds_as_programs_write_them(
    tmp_path: Path, separator: str, fold: str
) -> None:
    rows = [
        separator.join(
            (f"{i}.wav", fold.format(i % 2 + 1), "ab"[i // 2], "True", f"r{i}", '"a,b;"')
        )
        for i in range(4)
    ]
    header = separator.join(("filename", " fold", "category", "esc10 ", "src_file", "note"))
    root = esc50(tmp_path, [*rows, separator * 5, ""], header)
    table = root / "meta" / "esc50.csv"
    for i in range(4):
        write(root / "audio" / f"{i}.wav")
    dataset = load_dataset(str(root))
    assert [clip.fold for clip in dataset.clips] == [1, 2, 1, 2]
    table.write_text(f"\ufeffsep={separator}\r\n" + table.read_text().replace("\n", "\r\n"))
    assert load_dataset(str(root)) == dataset


def test_the_separators_are_named_where_columns_are_missing(tmp_path: Path) -> None:
    root = esc50(tmp_path, [], "filename:fold:category")
    with pytest.raises(DatasetError) as caught:
        load_dataset(str(root))
    assert "lacks the columns category, esc10, filename, fold, src_file" in str(caught.value)
    assert "separated by commas, semicolons, tabs, bars" in str(caught.value)
    assert "but reads 'filename:fold:category'" in str(caught.value)


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Grünspecht") for form in ("NFC", "NFD"))


def test_one_name_in_two_spellings_is_one_class(tmp_path: Path) -> None:
    root = class_folders(
        tmp_path / "set", {COMPOSED: ["1.wav"], DECOMPOSED: ["2.wav"], "b": ["3.wav", "4.wav"]}
    )
    dataset = load_dataset(str(root))
    assert dataset.labels == (COMPOSED, "b")
    listed(root, [f"{COMPOSED}/1.wav,r1", f"{COMPOSED}/2.wav,r2", "b\\3.wav,r3", "./b/4.wav,r4"])
    (root / DECOMPOSED / "2.wav").rename(root / COMPOSED / "2.wav")
    (root / DECOMPOSED).rmdir()
    (root / COMPOSED).rename(root / DECOMPOSED)  # as a Mac unpacks it
    assert {clip.recording for clip in load_dataset(str(root)).clips} == {"r1", "r2", "r3", "r4"}


def test_tables_in_another_spelling_find_their_files(tmp_path: Path) -> None:
    names = [f"{COMPOSED}{i}.wav" for i in range(4)]
    labels = (COMPOSED, DECOMPOSED, "dog", " dog ")
    root = esc50(tmp_path, [f"{n},{i % 2 + 1},{labels[i]},1,r{i}" for i, n in enumerate(names)])
    for i in range(4):
        write(root / "audio" / f"{DECOMPOSED}{i}.wav")
    assert load_dataset(str(root)).labels == (COMPOSED, "dog")


def test_labels_that_differ_in_case_are_pointed_out(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", {"Dog": ["1.wav", "2.wav"], "dog": ["3.wav", "4.wav"]})
    assert load_dataset(str(root)).notes == (
        "the labels 'Dog' and 'dog' differ in case only: rename one if they are the same",
    )


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".wave", "WAV"),
        (".oga", "OGG"),
        (".opus", "OGG"),
        (".aifc", "AIFF"),
        (".caf", "CAF"),
        (".w64", "W64"),
        (".rf64", "RF64"),
        (".au", "AU"),
        (".WAV", "WAV"),
    ],
)
def test_all_that_can_be_read_is_a_clip(tmp_path: Path, suffix: str, kind: str) -> None:
    for i in range(4):
        path = tmp_path / "ab"[i // 2] / f"{i}{suffix}"
        path.parent.mkdir(exist_ok=True)
        subtype = "OPUS" if suffix == ".opus" else None
        with path.open("wb") as file:
            soundfile.write(file, noise(9600, i), 48000, subtype, format=kind)
    dataset = load_dataset(str(tmp_path))
    assert len(dataset.clips) == 4
    assert len(read_clip(dataset.clips[0], 48000)) == pytest.approx(9600, abs=100)


def test_copies_of_one_file_alone_are_one_fold(tmp_path: Path) -> None:
    for name in ("a/1.wav", "a/2.wav", "b/3.wav"):
        write(tmp_path / name, 7)
    with pytest.raises(DatasetError, match=r"1 folds: .*; 2 files are copies of others, 'a/2.wav'"):
        load_dataset(str(tmp_path))
