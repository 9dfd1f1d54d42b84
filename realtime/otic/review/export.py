"""Export marked events as a data set folder that ``otic train`` reads."""

from __future__ import annotations

import csv
import shutil
import tempfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otic.detection.loud import LOUD
from otic.detection.unknown import UNKNOWN
from otic.errors import ParameterError, SinkError, printable
from otic.review.folder import length_of, read_part, reason, write_new
from otic.review.mark import RIGHT, Mark
from otic.sinks.clip_folder import Clip
from otic.sinks.clips import file_name_part

PAUSE_SECONDS = 600.0
"""Live events separated by more than this belong to different recordings."""

_Order = tuple[bool, str, float]

OTHER_FOLDER = "_other"
"""The folder for clips without a label; a folder with such a name is not a class."""

CONTEXT_SECONDS = 0.5
"""The most sound kept on each side of an event that is long enough without more."""

MIN_SECONDS = 2.5  # the default of --min-seconds
"""Longer than the windows of all presets except the tutorial's 4 s. A shorter event gets more of
the sound around it, then silence."""

LIVE, _OF_A_FILE = "otic review export, live:", "otic review export, of a file:"
"""So begins the comment of a clip that was heard live, and of any other."""

_MOST_MIN_SECONDS = 60.0  # anything above would be silence, in memory
_RECORDINGS, _README = "recordings.csv", "README.txt"
_NO_FIRST = "_. =+-@"  # hidden, an option, or a formula where a spreadsheet opens the table
_LONGEST_NAME = 100  # bytes
_MOST_LISTED = 12


@dataclass(frozen=True)
class Stretch:
    """A marked event and its clip, in seconds of the stream."""

    mark: Mark
    start: float
    stop: float

    def wall_clock_seconds(self, seconds: float) -> float:
        """Convert a second of a live stream to seconds since the epoch."""
        return datetime.fromisoformat(self.mark.onset_at).timestamp() + seconds - self.mark.onset


def stretch(mark: Mark, clip_seconds: float = 0.0) -> Stretch:
    """Return the span of the event and its clip, whichever reaches further on each side."""
    starts = [mark.onset]
    stops = [mark.onset if mark.offset is None else mark.offset]
    if mark.clip_start is not None:
        starts.append(mark.clip_start)
        stops.append(mark.clip_start + clip_seconds)
    return Stretch(mark, min(starts), max(stops))


def recordings(stretches: Sequence[Stretch]) -> list[str]:
    """Name the recording of each event; events of one recording share sound or a situation.

    * All events of one file belong to one recording.
    * A live stream, which may run for days, is cut at its pauses: two events belong to one
      recording if at most ten minutes lie between the end of one and the start of the other, or
      if other events connect them by such steps.
    * The same holds for live events of different streams, by the wall clock: two microphones
      pick up the same dog, and a restarted stream continues in the same situation.

    Events that overlap in time therefore always belong to one recording. The names do not depend
    on the order.
    """
    parent = list(range(len(stretches)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(i: int, j: int) -> None:
        parent[root(i)] = root(j)

    streams: dict[str, list[int]] = defaultdict(list)
    for i, each in enumerate(stretches):
        streams[each.mark.recording].append(i)
    for of_stream in streams.values():
        from_file = [i for i in of_stream if not stretches[i].mark.live]
        for i in from_file[1:]:
            join(from_file[0], i)
        live = [i for i in of_stream if stretches[i].mark.live]
        _chain(live, lambda i: (stretches[i].start, stretches[i].stop), join)
    _chain(
        [i for i, each in enumerate(stretches) if each.mark.live],
        lambda i: (
            stretches[i].wall_clock_seconds(stretches[i].start),
            stretches[i].wall_clock_seconds(stretches[i].stop),
        ),
        join,
    )
    members: dict[int, list[int]] = defaultdict(list)
    for i in range(len(stretches)):
        members[root(i)].append(i)
    names: dict[int, str] = {}
    taken: set[str] = set()
    for first, of_recording in sorted(
        (min(_order(stretches[i]) for i in group), group) for group in members.values()
    ):
        name = _name(first)
        while name in taken:  # a stream may be named like another with its time
            name += "'"
        taken.add(name)
        names.update(dict.fromkeys(of_recording, name))
    return [names[i] for i in range(len(stretches))]


def _order(each: Stretch) -> _Order:
    return (each.mark.live, each.mark.recording, each.start)


def _name(first: _Order) -> str:
    """Name a recording by its first event: a file's name, or a live stream's with the second."""
    live, recording, start = first
    return f"{recording}+{start:.3f}s" if live else recording


def _chain(
    indices: Iterable[int],
    span: Callable[[int], tuple[float, float]],
    join: Callable[[int, int], None],
) -> None:
    """Join events that no long pause separates."""
    last, end = -1, 0.0
    for (start, stop), i in sorted((span(i), i) for i in indices):
        if last >= 0 and start - end <= PAUSE_SECONDS:
            join(last, i)
            end = max(end, stop)
        else:
            end = stop
        last = i


@dataclass(frozen=True)
class Example:
    """A marked event with sound.

    Attributes
    ----------
    mark : Mark
    label : str or None
        The label it is an example of; None: of no label.
    sr, n_samples : int
        Rate and length of its clip.
    first, last : int
        First and one past the last sample of the event in its clip.
    recording : str
        Examples of one recording share sound or a situation.
    """

    mark: Mark
    label: str | None
    sr: int
    n_samples: int
    first: int
    last: int
    recording: str = ""

    @property
    def span(self) -> tuple[str, float, float]:
        """A clock's name, and start and end of the event in seconds by that clock.

        Live streams share the wall clock; every file has a clock of its own.
        """
        assert self.mark.clip_start is not None
        start = self.mark.clip_start + self.first / self.sr
        end = start + (self.last - self.first) / self.sr
        if not self.mark.live:
            return self.mark.recording, start, end
        ahead = stretch(self.mark).wall_clock_seconds(0.0)
        return "", ahead + start, ahead + end


def label_of(mark: Mark) -> str | None:
    """Return the label that a marked event is an example of; None: of no label.

    A right event has its label, a wrong one its true label if known. A wrong event without a true
    label has none; nor has a sound that was rightly reported as unknown.

    Raises
    ------
    LookupError
        If the label can't be known: an unknown sound was marked wrong without a true label, or a
        loud one has none.
    """
    if mark.true_label is None and mark.label == LOUD:
        raise LookupError
    if mark.verdict == RIGHT:
        return None if mark.label == UNKNOWN else mark.label
    if mark.true_label is None and mark.label == UNKNOWN:
        raise LookupError
    return None if mark.true_label == UNKNOWN else mark.true_label


def examples(marks: Sequence[Mark], audio: Path) -> tuple[list[Example], Counter[str]]:
    """Return the examples for training, and how many marks give none, by reason.

    Parameters
    ----------
    marks : sequence of Mark
        One for each event.
    audio : Path
        The folder of their clips.
    """
    found: list[Example] = []
    left_out: Counter[str] = Counter()
    for mark in marks:
        if mark.clip is None or mark.clip_start is None:
            left_out["without sound"] += 1
            continue
        try:
            label = label_of(mark)
            sr, n_samples = length_of(audio / mark.clip)
        except LookupError:
            left_out["unknown sounds, marked wrong without a true label"] += 1
            continue
        except SinkError:
            left_out["whose sound is missing or can't be read"] += 1
            continue
        end = n_samples if mark.offset is None else round((mark.offset - mark.clip_start) * sr)
        first = max(0, round((mark.onset - mark.clip_start) * sr))
        last = min(n_samples, end)
        if last < first or first == n_samples:  # an event without length still has a place
            left_out["whose sound does not contain the event"] += 1
            continue
        found.append(Example(mark, label, sr, n_samples, first, last))
    names = recordings([stretch(each.mark, each.n_samples / each.sr) for each in found])
    found = [replace(each, recording=name) for each, name in zip(found, names, strict=True)]
    return _without_contradictions(found, left_out), left_out


def _without_contradictions(found: list[Example], left_out: Counter[str]) -> list[Example]:
    """Keep each sound once per label, and drop unlabelled examples that overlap labelled ones."""
    once = {(each.mark.recording, each.label, each.span): each for each in found}
    if len(once) < len(found):
        left_out["with the same sound and label as another"] += len(found) - len(once)
    labelled: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for each in once.values():
        if each.label is not None:
            clock, start, end = each.span
            labelled[clock].append((start, end))
    kept = []
    for each in once.values():
        clock, start, end = each.span
        if each.label is None and any(s < end and start < e for s, e in labelled[clock]):
            left_out["without a label, during an event with one"] += 1
        else:
            kept.append(each)
    return kept


@dataclass(frozen=True)
class Exported:
    """A summary of an export.

    Attributes
    ----------
    clips, recordings : dict of str to int
        Counts by label folder.
    others : int
        Number of clips without a label.
    renamed : dict of str to str
        Labels that can't be a folder's name, with the folder's name.
    left_out : dict of str to int
        Number of marks that are not in the data set, by reason.
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
        One for each event; :func:`label_of` decides their labels.
    audio : Path
        The folder of their clips.
    out : Path
        A folder that does not exist or is empty. Written beside it, then renamed.
    min_seconds : float
        The least length of a clip.

    Raises
    ------
    SinkError
        If there is nothing to export, or ``out`` holds something or can't be written.
    ParameterError
        If ``min_seconds`` exceeds 60.
    """
    if min_seconds > _MOST_MIN_SECONDS:
        raise ParameterError(
            f"--min-seconds {min_seconds:g} must be at most {_MOST_MIN_SECONDS:g}: a clip has "
            "no more than 30 s of sound"
        )
    found, left_out = examples(marks, audio)
    if not found:
        reasons = ", ".join(f"{n} {why}" for why, n in left_out.items()) or "there are no marks"
        raise SinkError(f"no marked event has sound to train on ({reasons}): mark more events")
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
    except (OSError, RuntimeError, AssertionError) as error:  # soundfile raises the last two
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return exported


def cut_out(
    y: NDArray[np.int16], sr: int, first: int, last: int, min_seconds: float
) -> NDArray[np.int16]:
    """Return the samples from ``first`` to ``last`` with half a second around them, int16 [n].

    If that is shorter than ``min_seconds``, more of the sound around them is added, and if there
    is none left, silence on both sides.
    """
    context = round(CONTEXT_SECONDS * sr)
    begin, end = max(0, first - context), min(len(y), last + context)
    missing = max(0, round(min_seconds * sr) - (end - begin))
    before = min(begin, max(missing // 2, missing - (len(y) - end)))
    after = min(len(y) - end, missing - before)
    missing -= before + after
    return np.pad(y[begin - before : end + after], (missing // 2, missing - missing // 2))


def readme(marks: Sequence[Mark], exported: Exported) -> str:
    """Return the text for a person who finds the folder."""
    moments = sorted(mark.onset_at for mark in marks if mark.live)
    n_files = len({mark.recording for mark in marks if not mark.live})
    when = [f"live, from {moments[0]} to {moments[-1]}"] if moments else []
    when += [f"in {n_files} files"] if n_files else []
    lines = [
        "Sounds that otic reported and a person marked, written by 'otic review export'.",
        "",
        f"recorded {'; '.join(when)}",
        f"sensors  {_listed(mark.sensor for mark in marks)}",
        f"sources  {_listed(mark.source for mark in marks)}",
        f"models   {_listed(mark.model for mark in marks)}",
        f"clips    {len(marks)}",
    ]
    for label, n in exported.clips.items():
        lines.append(f"         {n} {label}, recordings: {exported.recordings[label]}")
    if exported.others:
        lines.append(f"         {exported.others} without a label, in {OTHER_FOLDER}")
    lines += [f"renamed  {printable(old)!r} is {new!r}" for old, new in exported.renamed.items()]
    lines += [f"left out {n} {why}" for why, n in exported.left_out.items()]
    lines += [
        "",
        f"{_RECORDINGS} names the recording of each clip. Clips of one recording share sound",
        "or a situation, and must be on the same side of every split.",
        "",
        "These are recordings of a place and may contain people's voices: the person who recorded",
        "them decides who may have them. They have no licence unless you give them one.",
        "",
    ]
    return "\n".join(lines)


def _write(
    example: Example, names: dict[str, str], audio: Path, root: Path, min_seconds: float
) -> tuple[str, str]:
    """Write a clip and return its row for the table of recordings."""
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
        title=printable(example.label or "no label"),
        comment=f"{LIVE if mark.live else _OF_A_FILE} {printable(example.recording)}",
    )
    return f"{folder.name}/{write_new(folder, clip)}", _cell(example.recording)


def _folder_names(labels: set[str]) -> dict[str, str]:
    """Return a folder's name for each label: the label itself if possible."""
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
    plain = plain.encode()[:_LONGEST_NAME].decode(errors="ignore").lstrip(_NO_FIRST).rstrip()
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
    """Make an empty folder beside ``out``, unless ``out`` is taken."""
    try:
        if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
            raise SinkError(f"--out {str(out)!r} exists and is not empty: name another folder")
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


def _cell(text: str) -> str:
    """Return text for a table: no spreadsheet takes it for a formula."""
    text = printable(text)
    return f"'{text}" if text.lstrip().startswith(tuple("=+-@＝＋－＠")) else text


def _listed(words: Iterable[str]) -> str:
    found = sorted({printable(word) for word in words if word})
    more = [f"{len(found) - _MOST_LISTED} more"] if len(found) > _MOST_LISTED else []
    return ", ".join([*found[:_MOST_LISTED], *more]) or "-"
