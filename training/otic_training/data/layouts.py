"""Layouts of labelled audio: UrbanSound8K's, ESC-50's, class folders; and checks of them."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from otic_training.data.class_folders import label_of, read_class_folders
from otic_training.data.copies import equal_files
from otic_training.data.dataset import Clip, Dataset, DatasetError
from otic_training.data.licences import FREESOUND, LICENCE_FILES, Terms, clip_terms, for_any_use
from otic_training.data.tables import fold_number, read_table, truth

_ESC_META, _URBAN_META = Path("meta") / "esc50.csv", Path("metadata") / "UrbanSound8K.csv"
_ESC_COLUMNS = ("filename", "fold", "category", "esc10", "src_file")
_URBAN_COLUMNS = ("slice_file_name", "fsID", "fold", "class")

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
ESC50_ANY_USE = (
    "ESC-50",
    "model: Apache-2.0; trained on those clips of ESC-50 whose own licence allows any use (CC0, "
    f"CC BY): {_ESC_SOURCE}; recordings by the freesound.org users that the data set credits",
)
URBAN = (
    "UrbanSound8K",
    f"model: non-commercial use only; trained on UrbanSound8K (CC BY-NC 3.0): {_URBAN_SOURCE}",
)
_SAMPLING_PLUS = ("40730", "96460")
"""Recordings of two of ESC-10's roosters under CC Sampling+, for copies without a LICENSE."""

_OFFICIAL = "official folds"


def load_dataset(
    folder: str,
    group_regex: str | None = None,
    subset: str | None = None,
    any_use: bool = False,
) -> Dataset:
    """Read a folder in UrbanSound8K's layout, in ESC-50's, or with a folder for each class.

    Class folders whose name begins with ``_``, and what is hidden, are left out. Where
    ``recordings.csv`` is beside them (``filename,recording``, the names as in ``dog/1.wav``),
    clips are grouped by it.

    Parameters
    ----------
    folder : str
    group_regex : str, optional
        For class folders without ``recordings.csv``: the part of a file's name that tells its
        recording, the first group or all that matches. Without it each file is a recording
        of its own.
    subset : str, optional
        ``esc10``: of ESC-50, the clips of ESC-10 only.
    any_use : bool
        Of ESC-50: only test on clips whose own licence does not allow any use, see
        :func:`otic_training.data.licences.for_any_use`. With ESC-10 it is always so.

    Raises
    ------
    DatasetError
        If the folder or its metadata is missing or incomplete, or does not go with the
        arguments, a clip is missing, a label has one recording only, or there are fewer
        than two labels or folds.
    """
    root = Path(folder)
    official = is_official(root)
    if official and group_regex is not None:
        raise DatasetError(
            f"'{folder}' has official folds, which are kept: leave --group-regex out"
        )
    if subset is not None and not (root / _ESC_META).is_file():
        raise DatasetError(f"--subset {subset} is for ESC-50, which '{folder}' is not")
    if any_use and not (root / _ESC_META).is_file():
        raise DatasetError(
            f"--any-use goes by ESC-50's licences of clips, which '{folder}' does not have: leave "
            "it out; what the model may be used for depends on your recordings"
        )
    if (root / _URBAN_META).is_file():
        dataset = _read_urbansound8k(root)
    elif (root / _ESC_META).is_file():
        dataset = _read_esc50(root, subset, any_use)
    else:
        dataset = read_class_folders(root, group_regex)
    return _checked(folder, dataset)


def _read_esc50(root: Path, subset: str | None, any_use: bool) -> Dataset:
    table, terms = root / _ESC_META, clip_terms(root)
    if any_use and not terms:
        raise DatasetError(
            f"'{root}' has no {LICENCE_FILES[0]} with a line for each clip, which --any-use goes "
            "by: 'otic download esc50' gets it"
        )
    clips, of_esc10 = [], []
    for line, row in enumerate(read_table(table, _ESC_COLUMNS), 2):
        fold = fold_number(row["fold"], table, line)
        path = root / "audio" / row["filename"]
        label, recording = label_of(row["category"]), row["src_file"]
        known = terms.get(recording, Terms("", ""))
        source = FREESOUND.format(recording) if known.licence else ""
        clips.append(Clip(path, label, fold, recording, False, known.licence, known.author, source))
        of_esc10.append(truth(row["esc10"], table, line, "esc10"))
    if subset == "esc10":
        clips = [clip for clip, chosen in zip(clips, of_esc10, strict=True) if chosen]
        if not clips:
            raise DatasetError(f"--subset esc10: '{table}' has no line with True under esc10")
    only_esc10 = subset == "esc10" or (bool(clips) and all(of_esc10))
    if only_esc10 or any_use:
        clips = [replace(clip, tested_only=not _may_learn(clip, only_esc10)) for clip in clips]
    name_and_licence = ESC10 if only_esc10 else ESC50_ANY_USE if any_use else ESC50
    return Dataset(*name_and_licence, tuple(clips), _OFFICIAL)


def _may_learn(clip: Clip, of_esc10: bool) -> bool:
    """Tell if a model for any use may learn from a clip of ESC-50; ESC-10 is CC BY but for two."""
    if of_esc10 and not clip.licence:
        return clip.recording not in _SAMPLING_PLUS
    return for_any_use(clip.licence)


def _read_urbansound8k(root: Path) -> Dataset:
    table = root / _URBAN_META
    clips = []
    for line, row in enumerate(read_table(table, _URBAN_COLUMNS), 2):
        fold = fold_number(row["fold"], table, line)
        path = root / "audio" / f"fold{fold}" / row["slice_file_name"]
        clips.append(Clip(path, label_of(row["class"]), fold, row["fsID"]))
    return Dataset(*URBAN, tuple(clips), _OFFICIAL)


def _on_disk(clips: Sequence[Clip]) -> tuple[Clip, ...]:
    """Find files whose names are spelled in another way on this disk, as macOS spells umlauts."""
    names: dict[Path, dict[str, Path]] = {}
    found = []
    for clip in clips:
        place = clip.path
        if not place.is_file() and place.parent.is_dir():
            if place.parent not in names:
                here = place.parent.iterdir()
                names[place.parent] = {unicodedata.normalize("NFC", p.name): p for p in here}
            place = names[place.parent].get(unicodedata.normalize("NFC", place.name), place)
        found.append(replace(clip, path=place))
    return tuple(found)


def _checked(folder: str, dataset: Dataset) -> Dataset:
    """Check a data set, and add warnings of what tears its folds.

    ESC-50 as published has four recordings in two folds (none of them in ESC-10), and
    UrbanSound8K five: too few to leave official folds for, but to be said.
    """
    dataset = replace(dataset, clips=_on_disk(dataset.clips))
    absent = [clip.path.name for clip in dataset.clips if not clip.path.is_file()]
    if absent:
        raise DatasetError(
            f"'{folder}' lacks {len(absent)} of {len(dataset.clips)} clips, {absent[0]} first"
        )
    if len(dataset.labels) < 2 or len(dataset.folds) < 2:
        raise DatasetError(
            f"'{folder}' has {len(dataset.labels)} labels and {len(dataset.folds)} folds: "
            f"at least two of each are needed{''.join(f'; {note}' for note in dataset.notes)}"
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
    return replace(
        dataset,
        warnings=(*dataset.warnings, *_torn(folds_of), *_torn_copies(folder, dataset)),
        notes=(*dataset.notes, *_alike(dataset.labels)),
    )


def _torn(folds_of: Mapping[str, set[int]]) -> list[str]:
    """Warn of recordings that are in two folds."""
    torn = sorted(recording for recording, folds in folds_of.items() if len(folds) > 1)
    if not torn:
        return []
    folds = " and ".join(map(str, sorted(folds_of[torn[0]])))
    return [
        f"{len(torn)} of {len(folds_of)} recordings are in two folds or more, {torn[0]} in "
        f"{folds}: figures leak by so much"
    ]


def _torn_copies(folder: str, dataset: Dataset) -> list[str]:
    """Warn of equal files that are in two folds, or under two labels."""
    clips: dict[Path, list[Clip]] = defaultdict(list)
    for clip in dataset.clips:
        clips[clip.path].append(clip)
    alone = [group for group in clips.values() if len(group) > 1]  # a table may list it twice
    groups = [[c for path in group for c in clips[path]] for group in equal_files([*clips])]
    groups += [group for group in alone if not any(group[0] in found for found in groups)]
    warnings = []
    for what, name, then in (
        ("in two folds or more", "fold", "figures leak by so much"),
        ("under two labels or more", "label", "leave each under one"),
    ):
        torn = [group for group in groups if len({getattr(clip, name) for clip in group}) > 1]
        if torn:
            first = torn[0][0]
            other = next(c for c in torn[0] if getattr(c, name) != getattr(first, name))
            one, two = (c.path.relative_to(folder).as_posix() for c in (first, other))
            warnings.append(
                f"{len(torn)} files have copies {what}, '{one}' ({name} {getattr(first, name)}) "
                f"and '{two}' ({name} {getattr(other, name)}): {then}"
            )
    return warnings


def _alike(labels: Sequence[str]) -> list[str]:
    """Point out labels that differ in case only."""
    by_letters: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        by_letters[label.casefold()].append(label)
    return [
        f"the labels {' and '.join(map(repr, alike))} differ in case only: rename one if they are "
        "the same"
        for alike in by_letters.values()
        if len(alike) > 1
    ]


def is_official(root: Path) -> bool:
    """Tell if a folder has the table of a data set whose layout is known."""
    return (root / _URBAN_META).is_file() or (root / _ESC_META).is_file()


def known_layout(path: Path) -> str | None:
    """Name the data set that a file lies in: ESC-50 (or ESC-10), UrbanSound8K, or None."""
    for parent in list(path.resolve().parents)[:3]:
        if (parent / _URBAN_META).is_file():
            return URBAN[0]
        if (parent / _ESC_META).is_file():
            return ESC50[0]
    return None
