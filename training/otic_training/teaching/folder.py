"""Folders that a person has: a folder for each sound, or one of clips of a single sound."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from otic.audio.folders import AUDIO_SUFFIXES, audio_files, is_hidden
from otic_training.data.class_folders import label_of, read_class_folders
from otic_training.data.copies import equal_files
from otic_training.data.dataset import Clip, Dataset, DatasetError

NEGATIVE_FOLDERS = ("_other", "_background", "_negatives")
"""Folders that are no class, by their names: recordings of what is not to be reported."""

ASKED = ("background", "negative", "negatives", "noise", "other", "others", "room", "silence")
"""Names of folders of which nobody knows whether they are a class."""

NONE = "none"
_NO_FOLD = 0


@dataclass(frozen=True)
class Folder:
    """Clips of a folder.

    Attributes
    ----------
    clips, negatives : tuple of Clip
        With a label; of what is not to be reported.
    notes : tuple of str
        What was left out, and what was guessed.
    """

    clips: tuple[Clip, ...]
    negatives: tuple[Clip, ...]
    notes: tuple[str, ...]


def read_folder(
    root: Path,
    label: str,
    negatives: Collection[str] | None,
    ask: Callable[[str], bool] | None,
    group_regex: str | None = None,
) -> Folder:
    """Read class folders, or clips that lie in the folder itself.

    Parameters
    ----------
    root : Path
    label : str
        Of clips that lie in the folder itself.
    negatives : collection of str, optional
        Class folders of what is not to be reported; empty: all are classes.
    ask : callable, optional
        Asks a person whether a folder of such a name is one of those.
    group_regex : str, optional
        Finds the recording in a file's name.

    Raises
    ------
    DatasetError
        If there is no clip, or it must be said of a folder what it is.
    """
    if not root.is_dir():
        raise DatasetError(f"'{root}' is no folder: give one with a folder for each sound")
    loose = sorted(
        p
        for p in root.iterdir()
        if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file() and not is_hidden(Path(p.name))
    )
    inside = [p for p in root.iterdir() if p.is_dir() and not p.name.startswith(("_", "."))]
    if loose and not any(audio_files(p) for p in inside):
        found = _flat(root, loose, label)
    else:
        found = read_class_folders(root, group_regex, least=1)
    quiet = _negatives(found, negatives, ask)
    kept = [clip for clip in found.clips if clip.label not in quiet]
    others = [clip for clip in found.clips if clip.label in quiet]
    others += unlabelled(root)
    if not kept:
        raise DatasetError(f"'{root}' holds no clip of a sound to learn, only {', '.join(quiet)}")
    return Folder(tuple(kept), tuple(others), found.notes)


def unlabelled(root: Path) -> list[Clip]:
    """List the recordings in folders that are no class by their names."""
    return [
        Clip(p, "", _NO_FOLD, str(p)) for name in NEGATIVE_FOLDERS for p in audio_files(root / name)
    ]


def joined(folders: Sequence[Folder]) -> Folder:
    """Put the clips of several folders together; equal files are one recording."""
    clips = [clip for folder in folders for clip in folder.clips]
    of_path = {clip.path: i for i, clip in enumerate(clips)}
    notes = [note for folder in folders for note in folder.notes]
    for first, *copies in equal_files([clip.path for clip in clips]):
        for path in copies:
            clips[of_path[path]] = replace(
                clips[of_path[path]], recording=clips[of_path[first]].recording
            )
    negatives = tuple(clip for folder in folders for clip in folder.negatives)
    return Folder(tuple(clips), negatives, tuple(notes))


def _flat(root: Path, files: Sequence[Path], label: str) -> Dataset:
    clips = tuple(Clip(p, label_of(label), _NO_FOLD, p.name) for p in files)
    return Dataset(root.resolve().name, "model: as its data", clips, "one folder")


def _negatives(
    found: Dataset, named: Collection[str] | None, ask: Callable[[str], bool] | None
) -> set[str]:
    if named is not None:
        strange = [name for name in named if name not in found.labels and name != NONE]
        if strange:
            raise DatasetError(
                f"--negatives {strange[0]}: the folders are {', '.join(found.labels)}"
            )
        return set(named) - {NONE}
    doubtful = [label for label in found.labels if label.lower() in ASKED]
    if len(doubtful) == len(found.labels):
        return set()
    if doubtful and ask is None:
        raise DatasetError(
            f"is '{doubtful[0]}' a sound to report, or recordings of what is not to be reported? "
            f"Add --negatives {doubtful[0]}, or --negatives {NONE} if it is one to report"
        )
    return {label for label in doubtful if ask is not None and ask(label)}
