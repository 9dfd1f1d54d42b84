"""Marked events as a data set folder that ``otic train`` takes."""

from __future__ import annotations

import csv
import shutil
import tempfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otic.errors import ParameterError, SinkError
from otic.review.examples import Example, examples
from otic.review.mark import Mark
from otic.review.sound import read_part, reason, write_new
from otic.sinks.clip_folder import Clip
from otic.sinks.clips import file_name_part

OTHER_FOLDER = "_other"
"""Holds what has no label; a folder whose name begins so is no class."""

CONTEXT_SECONDS = 0.5
"""Of sound before and after an event, at most, where it is long enough without more."""

MIN_SECONDS = 2.5  # the default of --min-seconds
"""Longer than the windows of the presets, but for the tutorial's 4 s: a shorter event is given
more of what was around it, and then silence."""

_MOST_MIN_SECONDS = 60.0  # the rest would be silence, in memory
_RECORDINGS, _README = "recordings.csv", "README.txt"
_LONGEST_NAME = 100  # bytes of a folder's name
_MOST_LISTED = 12


@dataclass(frozen=True)
class Exported:
    """What became of marks.

    Attributes
    ----------
    clips, recordings : dict of str to int
        By the labels' folders.
    others : int
        Clips without a label.
    renamed : dict of str to str
        Labels that can't be a folder's name, and what they are called instead.
    left_out : dict of str to int
        Marks that are not in the data set, by the reason.
    """

    clips: dict[str, int]
    recordings: dict[str, int]
    others: int
    renamed: dict[str, str]
    left_out: dict[str, int]


def export(
    marks: Sequence[Mark], audio: Path, out: Path, min_seconds: float = MIN_SECONDS
) -> Exported:
    """Write a data set: a folder for each label, ``recordings.csv`` and ``README.txt``.

    Parameters
    ----------
    marks : sequence of Mark
        One an event; see :func:`otic.review.examples.label_of` for what becomes of it.
    audio : Path
        The folder of their clips.
    out : Path
        A folder that is not there yet, or is empty. Written beside, then renamed.
    min_seconds : float
        The least length of a clip.

    Raises
    ------
    SinkError
        If there is nothing to export, ``out`` holds something, or can't be written.
    ParameterError
        If ``min_seconds`` is more than 60.
    """
    if min_seconds > _MOST_MIN_SECONDS:
        raise ParameterError(
            f"--min-seconds {min_seconds:g} must be at most {_MOST_MIN_SECONDS:g}: a clip has "
            "no more than 30 s of sound"
        )
    found, left_out = examples(marks, audio)
    if not found:
        reasons = ", ".join(f"{n} {why}" for why, n in left_out.items()) or "none is marked"
        raise SinkError(f"no marked event has sound to train on ({reasons}): mark more")
    names = _folder_names({each.label for each in found if each.label is not None})
    exported = _counted(found, names, left_out)
    unfinished = _beside(out)
    try:
        rows = [_write(each, names, audio, unfinished, min_seconds) for each in found]
        with (unfinished / _RECORDINGS).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([("filename", "recording"), *sorted(rows)])
        text = readme([each.mark for each in found], exported)
        (unfinished / _README).write_text(text, encoding="utf-8")
        unfinished.rename(out)
    except (OSError, RuntimeError, AssertionError) as error:  # the last two are soundfile's
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return exported


def cut_out(
    y: NDArray[np.int16], sr: int, first: int, last: int, min_seconds: float
) -> NDArray[np.int16]:
    """The samples from ``first`` to ``last`` with half a second around them, int16 [n].

    Where that is shorter than ``min_seconds``, with more of what is around them, and where
    there is no more, with silence on both sides.
    """
    context = round(CONTEXT_SECONDS * sr)
    begin, end = max(0, first - context), min(len(y), last + context)
    missing = max(0, round(min_seconds * sr) - (end - begin))
    before = min(begin, max(missing // 2, missing - (len(y) - end)))
    after = min(len(y) - end, missing - before)
    missing -= before + after
    return np.pad(y[begin - before : end + after], (missing // 2, missing - missing // 2))


def readme(marks: Sequence[Mark], exported: Exported) -> str:
    """What a person must know who finds the folder."""
    moments = sorted(mark.onset_at for mark in marks if mark.live)
    n_files = len({mark.recording for mark in marks if not mark.live})
    when = [f"live, from {moments[0]} to {moments[-1]}"] if moments else []
    when += [f"in {n_files} files"] if n_files else []
    lines = [
        "Sounds that otic reported and a person marked, written by 'otic review export'.",
        "",
        f"heard    {'; '.join(when)}",
        f"sensors  {_listed(mark.sensor for mark in marks)}",
        f"sources  {_listed(mark.source for mark in marks)}",
        f"models   {_listed(mark.model for mark in marks)}",
        f"clips    {len(marks)}",
    ]
    for label, n in exported.clips.items():
        lines.append(f"         {n} {label}, recordings: {exported.recordings[label]}")
    if exported.others:
        lines.append(f"         {exported.others} without a label, in {OTHER_FOLDER}")
    lines += [f"renamed  {_printable(old)!r} is {new!r}" for old, new in exported.renamed.items()]
    lines += [f"left out {n} {why}" for why, n in exported.left_out.items()]
    lines += [
        "",
        f"{_RECORDINGS} says of which recording each clip is: those of one recording share sound",
        "or a situation, and must be on one side of every test.",
        "",
        "These are recordings of a place, and may hold the voices of people: whoever recorded them",
        "decides who may have them. They are under no licence unless you give them one.",
        "",
    ]
    return "\n".join(lines)


def _write(
    example: Example, names: dict[str, str], audio: Path, root: Path, min_seconds: float
) -> tuple[str, str]:
    """Write a clip; its row in the table of recordings."""
    mark = example.mark
    assert mark.clip is not None
    folder = root / (OTHER_FOLDER if example.label is None else names[example.label])
    folder.mkdir(mode=0o700, exist_ok=True)
    sr, y = read_part(audio / mark.clip)
    clip = Clip(
        at=mark.clip.partition("_")[0] if mark.live else f"{mark.onset:010.3f}s",
        source=file_name_part(mark.source if mark.live else mark.recording),
        label=file_name_part(mark.label),
        sr=sr,
        pieces=(cut_out(y, sr, example.first, example.last, min_seconds),),
        title=_printable(example.label or "no label"),
        comment=f"otic review export, of {_printable(example.recording)}",
    )
    return f"{folder.name}/{write_new(folder, clip)}", _printable(example.recording)


def _folder_names(labels: set[str]) -> dict[str, str]:
    """A folder's name for each label: the label itself, where it will do."""
    names: dict[str, str] = {}
    taken = {_RECORDINGS.casefold(), _README.casefold()}
    for label in sorted(labels, key=lambda label: (_as_folder(label) != label, label)):
        name = _as_folder(label)
        if name.casefold() in taken:
            name = f"{name}-{zlib.crc32(label.encode(errors='replace')):08x}"
        taken.add(name.casefold())
        names[label] = name
    return names


def _as_folder(label: str) -> str:
    plain = "".join("-" if c == "/" or not c.isprintable() else c for c in label).strip()
    plain = plain.encode()[:_LONGEST_NAME].decode(errors="ignore").lstrip("_. ").rstrip()
    return plain or file_name_part(label)


def _counted(found: list[Example], names: dict[str, str], left_out: Counter[str]) -> Exported:
    recordings: dict[str, set[str]] = defaultdict(set)
    clips: Counter[str] = Counter()
    for each in found:
        if each.label is not None:
            clips[names[each.label]] += 1
            recordings[names[each.label]].add(each.recording)
    return Exported(
        clips=dict(sorted(clips.items())),
        recordings={label: len(those) for label, those in sorted(recordings.items())},
        others=sum(each.label is None for each in found),
        renamed={label: name for label, name in sorted(names.items()) if name != label},
        left_out=dict(left_out),
    )


def _beside(out: Path) -> Path:
    """An empty folder next to ``out``, where nothing is in the way of that."""
    try:
        if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
            raise SinkError(f"--out {str(out)!r} is there and not empty: name another folder")
        parent = out.absolute().parent
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{out.absolute().name}.part-", dir=parent))
    except OSError as error:
        raise _unwritable(out, error) from error


def _unwritable(out: Path, error: Exception) -> SinkError:
    return SinkError(
        f"can't write the data set {str(out)!r}: {reason(error)}: make room, or name another "
        "folder with --out"
    )


def _printable(text: str) -> str:
    """On one line, in what UTF-8 can hold."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _listed(words: Iterable[str]) -> str:
    found = sorted({_printable(word) for word in words if word})
    more = [f"{len(found) - _MOST_LISTED} more"] if len(found) > _MOST_LISTED else []
    return ", ".join([*found[:_MOST_LISTED], *more]) or "-"
