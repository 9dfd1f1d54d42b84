"""Data sets with a folder for each class, and the folds that are made for them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

from otic.audio.folders import AUDIO_SUFFIXES, is_hidden, visible_files
from otic_training.data.copies import equal_files
from otic_training.data.dataset import (
    Clip,
    Dataset,
    DatasetError,
)
from otic_training.data.tables import read_table

MADE_FOLDS = 5
_RECORDINGS, _RECORDINGS_COLUMNS = "recordings.csv", ("filename", "recording")
_NO_CLASS = "_"  # so begin the names of folders that are none
_BY_RECORDING, _BY_FILE = "folds made by recording", "folds made by file"
_UNREADABLE = {
    *(".amr", ".wma", ".asf", ".ape", ".wv", ".ac3", ".spx", ".ra", ".ram", ".dsf", ".mpc"),
    ".tta",
}
_SPLITS = {
    **dict.fromkeys(("train", "training"), 1),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "development"), 2),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), 3),
}
_FOLD_FOLDER = re.compile(r"(?:fold|split|part)[ _-]?([0-9]{1,4})")


@dataclass(frozen=True)
class _Found:
    path: Path
    label: str
    fold: int  # 0: to be made


def read_class_folders(root: Path, group_regex: str | None, least: int = 2) -> Dataset:
    """Read a folder for each class; no recording is in two of the folds that are made.

    Folders ``train``, ``val`` and ``test``, or ``fold1`` and so on, are folds of class folders.
    With fewer classes than ``least`` it is no data set.

    Raises
    ------
    DatasetError
        If there are too few classes, or the folders or ``recordings.csv`` can't be
        understood.
    """
    try:
        pattern = None if group_regex is None else re.compile(group_regex)
    except re.error as error:
        raise DatasetError(
            f"--group-regex '{group_regex}' is no regular expression: {error}"
        ) from error
    if not root.is_dir():
        raise DatasetError(f"'{root}' is no folder")
    folders = _folders(root)
    splits = _splits(root, folders)
    notes: list[str] = []
    vanished: list[str] = []
    found: list[_Found] = []
    for fold, parent in splits or [(0, root)]:
        for folder in _folders(parent):
            here, lines = _clips_of(folder, root, fold)
            found += here
            (notes if here else vanished).extend(lines)
    if len({clip.label for clip in found}) < least:
        raise _too_few_classes(root, folders, found, vanished)
    notes += _misplaced(root, found, splits)
    listed = _listed_recordings(root, group_regex)
    if listed is None:
        recordings = [_recording(clip.path, root, pattern) for clip in found]
    else:
        recordings = _recordings_by(listed, [clip.path for clip in found], root)
    if splits:
        folds = [clip.fold for clip in found]
        names = ", ".join(parent.name for _, parent in splits)
        protocol = f"folds as in its folders {names}"
    else:
        joined, copies = _with_copies(found, recordings, root)
        notes += copies
        made = make_folds([(clip.label, r) for clip, r in zip(found, joined, strict=True)])
        folds = [made[recording] for recording in joined]
        recordings = joined
        protocol = _BY_FILE if pattern is None and listed is None else _BY_RECORDING
    clips = tuple(
        Clip(clip.path, clip.label, fold, recording)
        for clip, fold, recording in zip(found, folds, recordings, strict=True)
    )
    warnings = list(vanished)
    if pattern is None and listed is None:
        warnings.append(
            "each file is taken for a recording of its own: where clips were cut from one "
            "recording, the figures leak; name the part of the file name that tells it "
            "with --group-regex"
        )
    name = root.resolve().name
    return Dataset(name, "model: as its data", clips, protocol, tuple(warnings), tuple(notes))


def label_of(name: str) -> str:
    """Make a label of a folder's name or a table's value: one spelling of each letter and blank.

    macOS spells an umlaut as two characters where other systems have one.
    """
    return " ".join(unicodedata.normalize("NFC", name).split())


def _folders(parent: Path) -> list[Path]:
    """Folders that may be classes, sorted."""
    return sorted(
        p
        for p in parent.iterdir()
        if p.is_dir() and not p.name.startswith(_NO_CLASS) and not is_hidden(Path(p.name))
    )


def _splits(root: Path, folders: list[Path]) -> list[tuple[int, Path]]:
    """Find folders that are parts of a split, each with its fold; none: they are classes."""
    ranks: list[tuple[int, Path]] = []
    for folder in folders:
        numbered = _FOLD_FOLDER.fullmatch(folder.name.casefold())
        rank = int(numbered[1]) if numbered else _SPLITS.get(folder.name.casefold())
        if rank is not None:
            ranks.append((rank, folder))
    if len(ranks) < 2:  # 'train' among 'bus' and 'tram' is a class
        return []
    names = ", ".join(folder.name for _, folder in ranks)
    rest = [folder.name for folder in folders if folder not in {f for _, f in ranks}]
    if rest:
        raise DatasetError(
            f"'{root}' has {names}, which are parts of a split, beside {', '.join(rest)}: put a "
            "'_' before the names of those that are not to be read"
        )
    flat = [folder for _, folder in ranks if not _folders(folder)]
    if flat:
        raise DatasetError(
            f"'{root}' has {names}, which are parts of a split, but '{flat[0].name}' has no "
            f"folder for each class: put clips into folders as in {flat[0].name}/dog/1.wav"
        )
    ranks.sort()
    if all(_FOLD_FOLDER.fullmatch(folder.name.casefold()) for folder in folders):
        return ranks
    return [(fold, folder) for fold, (_, folder) in enumerate(ranks, 1)]


def _clips_of(folder: Path, root: Path, fold: int) -> tuple[list[_Found], list[str]]:
    """List the clips of a class folder, and what must be said of other files in it."""
    files = [path for path in visible_files(folder) if not path.is_dir()]
    audio = [p for p in files if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file()]
    found = [_Found(path, label_of(folder.name), fold) for path in audio]
    place = folder.relative_to(root).as_posix()
    unreadable = Counter(p.suffix.lower() for p in files if p.suffix.lower() in _UNREADABLE)
    broken = sum(p.suffix.lower() in AUDIO_SUFFIXES for p in files) - len(audio)
    lines = []
    if unreadable:
        what = f"the class '{place}' is" if not found else f"{unreadable.total()} files are"
        inside = "" if not found else f" of '{place}'"
        lines.append(
            f"{what} left out{inside}: {', '.join(sorted(unreadable))} can't be read; convert "
            "them, for example with ffmpeg -i clip.wma clip.wav"
        )
    if broken:
        lines.append(f"{broken} links in '{place}' lead to no file: they are left out")
    if not found and not lines:
        lines.append(f"the folder '{place}' holds no audio: it is left out")
    return found, lines


def _too_few_classes(
    root: Path, folders: list[Path], found: list[_Found], vanished: list[str]
) -> DatasetError:
    n = len({clip.label for clip in found})
    inner = [folder.name for folder in _folders(folders[0])] if len(folders) == 1 else []
    hint = f"; '{folders[0]}' has the folders {', '.join(inner[:5])}: name that" if inner else ""
    reasons = "".join(f"; {line}" for line in vanished[:3]) if not hint else ""
    return DatasetError(
        f"'{root}' has neither metadata/UrbanSound8K.csv nor meta/esc50.csv, and {n} "
        "folders with audio files: give a data set in UrbanSound8K's or ESC-50's layout, or with "
        f"a folder for each of two classes or more{hint}{reasons}"
    )


def _misplaced(root: Path, found: list[_Found], splits: list[tuple[int, Path]]) -> list[str]:
    """Say which folder became the label of clips that lie deeper, and what lies beside classes."""
    notes = []
    depth = 3 if splits else 2
    deep = [clip for clip in found if len(clip.path.relative_to(root).parts) > depth]
    if deep:
        example = deep[0].path.relative_to(root).as_posix()
        notes.append(
            f"{len(deep)} clips lie in folders of their class folder: the upper folder is the "
            f"label, '{deep[0].label}' of '{example}'"
        )
    loose = [p for p in root.iterdir() if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file()]
    loose = sorted(p for p in loose if not is_hidden(Path(p.name)))
    if loose:
        notes.append(
            f"{len(loose)} audio files lie beside the class folders, '{loose[0].name}' first: "
            "they are left out"
        )
    return notes


def _with_copies(
    found: list[_Found], recordings: list[str], root: Path
) -> tuple[list[str], list[str]]:
    """Give equal files one recording, so that they share a fold; and say how many there are."""
    recording_of = dict(zip((clip.path for clip in found), recordings, strict=True))
    groups = equal_files([clip.path for clip in found])
    same: dict[str, str] = {}

    def first_of(recording: str) -> str:
        while recording in same:
            recording = same[recording]
        return recording

    for first, *copies in groups:
        for copy in copies:
            a, b = first_of(recording_of[first]), first_of(recording_of[copy])
            if a != b:
                same[b] = a
    joined = [first_of(recording) for recording in recordings]
    if not groups:
        return joined, []
    one, other = (path.relative_to(root).as_posix() for path in groups[0][:2])
    n = sum(len(group) - 1 for group in groups)
    return joined, [
        f"{n} files are copies of others, '{other}' of '{one}': copies share a fold, and count "
        "several times"
    ]


def _listed_recordings(root: Path, group_regex: str | None) -> dict[str, str] | None:
    """Read the recording of each file by its name below the root; None: nothing lists them."""
    table = root / _RECORDINGS
    if not table.is_file():
        return None
    if group_regex is not None:
        raise DatasetError(f"'{table}' groups the clips: leave --group-regex out, or move it away")
    listed: dict[str, str] = {}
    for line, row in enumerate(read_table(table, _RECORDINGS_COLUMNS), 2):
        name, recording = _file_name(row["filename"]), row["recording"]
        if not recording:
            raise DatasetError(f"'{table}': line {line}: '{name}' has no recording: name it")
        if listed.setdefault(name, recording) != recording:
            raise DatasetError(
                f"'{table}': line {line}: '{name}' is of '{recording}' here and of "
                f"'{listed[name]}' above: leave one line"
            )
    return listed


def _recordings_by(listed: dict[str, str], paths: list[Path], root: Path) -> list[str]:
    """Look up the recording of each file. A listed file that was deleted since is no loss."""
    names = [_file_name(path.relative_to(root).as_posix()) for path in paths]
    absent = [name for name in names if name not in listed]
    if absent:
        raise DatasetError(
            f"'{root / _RECORDINGS}' lacks {len(absent)} of {len(names)} clips, '{absent[0]}' "
            "first: add a line 'filename,recording' for each"
        )
    return [listed[name] for name in names]


def _file_name(text: str) -> str:
    """Spell a file's name below the root in one way, however it was written down."""
    return unicodedata.normalize("NFC", text.replace("\\", "/").removeprefix("./"))


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


def make_folds(clips: list[tuple[str, str]]) -> dict[str, int]:
    """Choose a fold for each recording, from (label, recording) of each clip; labels spread evenly.

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


def listed_recording(path: Path) -> str | None:
    """Look up a file's recording in the ``recordings.csv`` of its data set; None: not listed.

    For files of no class, ``DATASET/_other/1.wav`` or ``DATASET/_other/night/1.wav``.
    """
    path = path.absolute()
    for root in path.parents[1:3]:
        if (table := _table_of(root)) is not None:
            return table.get(_file_name(path.relative_to(root).as_posix()))
    return None


@cache
def _table_of(root: Path) -> dict[str, str] | None:
    return _listed_recordings(root, None)
