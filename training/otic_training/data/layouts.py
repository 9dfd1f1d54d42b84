"""The layouts of labelled audio that can be read, and what folds they have."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter, defaultdict
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

from otic_training.data.dataset import Clip, Dataset, DatasetError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")
MADE_FOLDS = 5
_ESC_META, _URBAN_META = Path("meta") / "esc50.csv", Path("metadata") / "UrbanSound8K.csv"
_ESC_COLUMNS = ("filename", "fold", "category", "esc10", "src_file")
_URBAN_COLUMNS = ("slice_file_name", "fsID", "fold", "class")
_RECORDINGS, _RECORDINGS_COLUMNS = "recordings.csv", ("filename", "recording")
_NO_CLASS = "_"  # so begin the names of folders that are none

_ESC_SOURCE = 'K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM MM 2015'
_URBAN_SOURCE = (
    'J. Salamon, C. Jacoby, J. P. Bello, "A Dataset and Taxonomy for Urban Sound Research", '
    "ACM MM 2014"
)
ESC10 = (
    "ESC-10",
    f"model: Apache-2.0; trained on ESC-10 (CC BY 3.0): {_ESC_SOURCE}; recordings by the "
    "freesound.org users that the data set credits",
)
ESC50 = (
    "ESC-50",
    f"model: non-commercial use only; trained on ESC-50 (CC BY-NC 3.0): {_ESC_SOURCE}",
)
URBAN = (
    "UrbanSound8K",
    f"model: non-commercial use only; trained on UrbanSound8K (CC BY-NC 3.0): {_URBAN_SOURCE}",
)
_OFFICIAL = "official folds"
_BY_RECORDING, _BY_FILE = "folds made by recording", "folds made by file"


def load_dataset(folder: str, group_regex: str | None = None, subset: str | None = None) -> Dataset:
    """Read a folder in UrbanSound8K's layout, in ESC-50's, or with a folder for each class.

    Of class folders those whose name begins with ``_`` are left out. Where ``recordings.csv``
    is beside them (``filename,recording``, the names as in ``dog/1.wav``), clips are grouped
    by it.

    Parameters
    ----------
    folder : str
    group_regex : str, optional
        For class folders without ``recordings.csv``: what in a file's name tells its
        recording, the first group or all that matches. Without it each file is a recording
        of its own.
    subset : str, optional
        ``esc10``: of ESC-50, the clips of ESC-10 only.

    Raises
    ------
    DatasetError
        If the folder or its metadata is missing or incomplete, or does not go with the
        arguments, a clip is missing, a label has one recording only, or there are fewer
        than two labels or folds.
    """
    root = Path(folder)
    official = (root / _URBAN_META).is_file() or (root / _ESC_META).is_file()
    if official and group_regex is not None:
        raise DatasetError(
            f"'{folder}' has official folds, which are kept: leave --group-regex out"
        )
    if subset is not None and not (root / _ESC_META).is_file():
        raise DatasetError(f"--subset {subset} is for ESC-50, which '{folder}' is not")
    if (root / _URBAN_META).is_file():
        dataset = _read_urbansound8k(root)
    elif (root / _ESC_META).is_file():
        dataset = _read_esc50(root, subset)
    else:
        dataset = _read_class_folders(root, group_regex)
    return _checked(folder, dataset)


def _read_esc50(root: Path, subset: str | None) -> Dataset:
    rows = read_table(root / _ESC_META, _ESC_COLUMNS)
    if subset == "esc10":
        rows = [row for row in rows if row["esc10"] == "True"]
    clips = tuple(
        Clip(root / "audio" / row["filename"], row["category"], int(row["fold"]), row["src_file"])
        for row in rows
    )
    only_esc10 = bool(rows) and all(row["esc10"] == "True" for row in rows)
    return Dataset(*(ESC10 if only_esc10 else ESC50), clips, _OFFICIAL)


def _read_urbansound8k(root: Path) -> Dataset:
    clips = tuple(
        Clip(
            root / "audio" / f"fold{row['fold']}" / row["slice_file_name"],
            row["class"],
            int(row["fold"]),
            row["fsID"],
        )
        for row in read_table(root / _URBAN_META, _URBAN_COLUMNS)
    )
    return Dataset(*URBAN, clips, _OFFICIAL)


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read a CSV file that has these columns, and maybe others.

    Raises
    ------
    DatasetError
        If it can't be read, lacks a column, or a line has too few.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets begin it so
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"can't read '{path}' as CSV in UTF-8: {error}") from error
    missing = set(columns) - set(reader.fieldnames or [])
    if missing:
        raise DatasetError(f"'{path}' lacks the columns {', '.join(sorted(missing))}")
    for line, row in enumerate(rows, 2):
        if None in row.values():
            raise DatasetError(f"'{path}': line {line} has too few columns")
        if "fold" in columns and not row["fold"].isdecimal():
            raise DatasetError(f"'{path}': line {line}: fold '{row['fold']}' is not a whole number")
    return rows


def _read_class_folders(root: Path, group_regex: str | None) -> Dataset:
    """Each folder is a class; folds are made so that no recording is in two of them."""
    try:
        pattern = None if group_regex is None else re.compile(group_regex)
    except re.error as error:
        raise DatasetError(
            f"--group-regex '{group_regex}' is no regular expression: {error}"
        ) from error
    if not root.is_dir():
        raise DatasetError(f"'{root}' is no folder")
    found = [
        (path, folder.name)
        for folder in sorted(p for p in root.iterdir() if p.is_dir())
        if not folder.name.startswith(_NO_CLASS)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()
    ]
    n_labels = len({label for _, label in found})
    if n_labels < 2:
        raise DatasetError(
            f"'{root}' has neither {_URBAN_META} nor {_ESC_META}, and {n_labels} folders with "
            "audio files: give a data set in UrbanSound8K's or ESC-50's layout, or with a folder "
            "for each of two classes or more"
        )
    listed = _listed_recordings(root, group_regex)
    if listed is None:
        recordings = [_recording(path, root, pattern) for path, _ in found]
    else:
        recordings = _recordings_by(listed, [path for path, _ in found], root)
    folds = _make_folds([(label, r) for (_, label), r in zip(found, recordings, strict=True)])
    clips = tuple(
        Clip(path, label, folds[recording], recording)
        for (path, label), recording in zip(found, recordings, strict=True)
    )
    warnings: tuple[str, ...] = ()
    by_file = pattern is None and listed is None
    if by_file:
        warnings = (
            "each file is taken for a recording of its own: where clips were cut from one "
            "recording, the figures leak; name the part of the file name that tells it "
            "with --group-regex",
        )
    protocol = _BY_FILE if by_file else _BY_RECORDING
    return Dataset(root.resolve().name, "model: as its data", clips, protocol, warnings)


def _listed_recordings(root: Path, group_regex: str | None) -> dict[str, str] | None:
    """The recording of each file by its name below the root; None where nothing lists them."""
    table = root / _RECORDINGS
    if not table.is_file():
        return None
    if group_regex is not None:
        raise DatasetError(f"'{table}' groups the clips: leave --group-regex out, or move it away")
    listed: dict[str, str] = {}
    for line, row in enumerate(read_table(table, _RECORDINGS_COLUMNS), 2):
        name, recording = row["filename"], row["recording"]
        if not recording:
            raise DatasetError(f"'{table}': line {line}: '{name}' has no recording: name it")
        if listed.setdefault(name, recording) != recording:
            raise DatasetError(
                f"'{table}': line {line}: '{name}' is of '{recording}' here and of "
                f"'{listed[name]}' above: leave one line"
            )
    return listed


def _recordings_by(listed: dict[str, str], paths: list[Path], root: Path) -> list[str]:
    """The recording of each file. A file that is listed, and was deleted since, is no loss."""
    names = [path.relative_to(root).as_posix() for path in paths]
    absent = [name for name in names if name not in listed]
    if absent:
        raise DatasetError(
            f"'{root / _RECORDINGS}' lacks {len(absent)} of {len(names)} clips, '{absent[0]}' "
            "first: add a line 'filename,recording' for each"
        )
    return [listed[name] for name in names]


def _recording(path: Path, root: Path, pattern: re.Pattern[str] | None) -> str:
    if pattern is None:
        return str(path.relative_to(root))
    match = pattern.search(path.name)
    if match is None:
        raise DatasetError(
            f"--group-regex '{pattern.pattern}' does not match '{path.name}': "
            "every file needs a recording"
        )
    return match[1] if pattern.groups and match[1] is not None else match[0]


def _make_folds(clips: list[tuple[str, str]]) -> dict[str, int]:
    """A fold for each recording, from (label, recording) of each clip; labels spread evenly.

    The order is that of a hash, so that a file more or less moves few others.
    """
    of_recording: dict[str, Counter[str]] = defaultdict(Counter)
    size: Counter[str] = Counter()
    for label, recording in clips:
        of_recording[recording][label] += 1
        size[label] += 1
    filled: dict[str, Counter[int]] = defaultdict(Counter)
    folds = {}
    for recording in sorted(of_recording, key=lambda r: hashlib.sha256(r.encode()).digest()):
        labels = of_recording[recording]
        # What a fold already has of the recording's labels; of a rare one a clip is more.
        share = {
            fold: sum(Fraction(filled[label][fold], size[label]) for label in labels)
            for fold in range(1, MADE_FOLDS + 1)
        }
        fold = min(share, key=lambda f: (share[f], f))
        for label, n in labels.items():
            filled[label][fold] += n
        folds[recording] = fold
    return folds


def _checked(folder: str, dataset: Dataset) -> Dataset:
    """The data set, with a warning where a recording is in two folds.

    ESC-50 as published has four such recordings (none of them in ESC-10), and
    UrbanSound8K five: too few to leave official folds for, but to be told.
    """
    absent = [clip.path.name for clip in dataset.clips if not clip.path.is_file()]
    if absent:
        raise DatasetError(
            f"'{folder}' lacks {len(absent)} of {len(dataset.clips)} clips, {absent[0]} first"
        )
    if len(dataset.labels) < 2 or len(dataset.folds) < 2:
        raise DatasetError(
            f"'{folder}' has {len(dataset.labels)} labels and {len(dataset.folds)} folds: "
            "at least two of each are needed"
        )
    odd = [label for label in dataset.labels if not label.isprintable() or not label.strip()]
    if odd:
        raise DatasetError(f"'{folder}': {odd[0]!r} will not do as a label: use printable text")
    folds_of: dict[str, set[int]] = defaultdict(set)
    recordings: dict[str, set[str]] = defaultdict(set)
    for clip in dataset.clips:
        recordings[clip.label].add(clip.recording)
        folds_of[clip.recording].add(clip.fold)
    single = sorted(label for label, found in recordings.items() if len(found) < 2)
    if single:
        raise DatasetError(
            f"'{folder}': '{single[0]}' has one recording only: at least two are needed, "
            "one to train on and one to test on"
        )
    split = sorted(recording for recording, folds in folds_of.items() if len(folds) > 1)
    if not split:
        return dataset
    folds = " and ".join(map(str, sorted(folds_of[split[0]])))
    warning = (
        f"{len(split)} of {len(folds_of)} recordings are in two folds or more, {split[0]} in "
        f"{folds}: figures leak by so much"
    )
    return replace(dataset, warnings=(*dataset.warnings, warning))


def listed_recording(path: Path) -> str | None:
    """What the data set that a file lies in says of which recording it is; None: nothing.

    For what is not of a class, ``DATASET/_other/1.wav`` or ``DATASET/_other/night/1.wav``.
    """
    path = path.absolute()
    for root in path.parents[1:3]:
        if (table := _table_of(root)) is not None:
            return table.get(path.relative_to(root).as_posix())
    return None


@cache
def _table_of(root: Path) -> dict[str, str] | None:
    return _listed_recordings(root, None)


def known_layout(path: Path) -> str | None:
    """The data set that a file lies in: ESC-50 (or its part ESC-10), UrbanSound8K, or None."""
    for parent in list(path.resolve().parents)[:3]:
        if (parent / _URBAN_META).is_file():
            return URBAN[0]
        if (parent / _ESC_META).is_file():
            return ESC50[0]
    return None
