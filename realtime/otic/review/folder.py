"""The review folder: events that a person marked right or wrong, and their sound."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.config.settings import ReviewSettings, Settings
from otic.errors import ParameterError, SinkError
from otic.review.mark import EventKey, Mark
from otic.sinks.clip_folder import Clip, stamp
from otic.sinks.clip_writer import write_sound
from otic.sinks.clips import file_name_part
from otic.system.clock import iso, utc_now
from otic.system.log import say as say_on_stderr

MARGIN_SECONDS = 1.0
"""What a clip holds from before the onset, and from after the offset."""

LONGEST_SECONDS = 30.0
"""What is later than this in a clip is left out."""

SUFFIX = "flac"

_I16 = NDArray[np.int16]
__all__ = ["Mark", "ReviewFolder", "open_review", "review_path", "wanted_sound"]
MARKS, AUDIO = "review.jsonl", "audio"
_STATE_FOLDER = Path(".local/state")  # XDG's default, below the home folder


def wanted_sound(onset: float, offset: float | None) -> tuple[float, float]:
    """First and last second of the stream that a mark's clip should hold, as far as they exist.

    Parameters
    ----------
    onset : float
        Seconds of the stream.
    offset : float or None
        None: it is still on.
    """
    start = max(0.0, onset - MARGIN_SECONDS)
    longest = start + LONGEST_SECONDS
    return start, longest if offset is None else min(longest, offset + MARGIN_SECONDS)


def at_most(pieces: Sequence[_I16], n: int) -> tuple[_I16, ...]:
    """The first ``n`` samples of the pieces; empty where there is no sample."""
    kept = []
    for piece in pieces:
        if n > 0 and len(piece):
            kept.append(piece[:n])
            n -= len(kept[-1])
    return tuple(kept)


def read_part(
    path: Path, start: float = 0.0, stop: float | None = None
) -> tuple[int, NDArray[np.int16]]:
    """A part of a recording: its rate, and its samples, int16 [n], mono.

    Parameters
    ----------
    path : Path
        Any format that libsndfile reads; 16 bit is kept bit for bit.
    start : float
        Seconds of the file; what is beyond its ends is left out.
    stop : float, optional
        Likewise. Default: the end.

    Raises
    ------
    SinkError
        If it can't be read.
    """
    with _opened(path) as file:
        sr = int(file.samplerate)
        first = min(file.frames, max(0, round(start * sr)))
        last = file.frames if stop is None else min(file.frames, max(first, round(stop * sr)))
        file.seek(first)
        y = file.read(last - first, dtype="int16", always_2d=True)
    if y.shape[1] > 1:
        return sr, np.rint(y.mean(axis=1)).astype(np.int16)
    return sr, np.ascontiguousarray(y[:, 0])


def length_of(path: Path) -> tuple[int, int]:
    """Rate and number of samples of a recording. Raises as :func:`read_part`."""
    with _opened(path) as file:
        return int(file.samplerate), int(file.frames)


def recorded_from(path: Path) -> float | None:
    """The second of the stream with which a recording of events begins, from its comment.

    None where it does not say so: it is not one of :class:`otic.sinks.clips.ClipSink`.
    Raises as :func:`read_part`.
    """
    with _opened(path) as file:
        comment = str(file.comment)
    with suppress(ValueError, TypeError, KeyError):
        return float(json.loads(comment)["start"])
    return None


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            yield file
    except (OSError, RuntimeError) as error:
        raise SinkError(f"can't read the recording {str(path)!r}: {reason(error)}") from error


def write_new(folder: Path, clip: Clip) -> str:
    """Write a clip into a folder under a name that is free; the name.

    Beside, then renamed. Nobody else may give names in the folder meanwhile.

    Raises
    ------
    OSError, RuntimeError, AssertionError
        If it can't be written whole; then nothing is left of it.
    """
    name, count = f"{clip.name}.{SUFFIX}", 1
    while (folder / name).exists():
        count += 1
        name = f"{clip.name}-{count}.{SUFFIX}"
    unfinished = folder / f".{name}.part"
    try:
        unfinished.unlink(missing_ok=True)
        write_sound(unfinished, clip, SUFFIX, lambda: False)
        unfinished.rename(folder / name)
        sync_folder(folder)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return name


def sync_folder(folder: Path) -> None:
    """Have the folder's names outlive a power cut, where the file system can."""
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def reason(error: Exception) -> str:
    """Why something could not be read or written, on one line; libsndfile has its own words."""
    return (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())


def review_path(settings: ReviewSettings, environment: Mapping[str, str]) -> Path:
    """Where marks are: what is set, else in the service's state folder, else in the user's."""
    service = environment.get("STATE_DIRECTORY", "").split(":")[0]
    users = environment.get("XDG_STATE_HOME") or Path.home() / _STATE_FOLDER
    own = Path(service) if service else Path(users) / "otic"
    return Path(settings.directory) if settings.directory else own / "review"


def open_review(settings: Settings, environment: Mapping[str, str]) -> ReviewFolder | None:
    """The folder that the settings ask for; None where events can't be marked.

    Nothing is made on the disk before the first mark. Where recordings are switched off
    (``clips.enabled = false``), a mark writes no sound either.
    """
    if not settings.review.enabled:
        return None
    return ReviewFolder(review_path(settings.review, environment), sound=settings.clips.enabled)


class ReviewFolder:
    """Marks in ``review.jsonl``, a line each, and their sound in ``audio``.

    Lines are only ever appended: of several marks of one event the last one counts. Files
    are readable by their owner only.

    Thread safety: any thread may call any method, and several processes may use the same
    folder. :meth:`mark` waits for the disk, and for others that write.

    Parameters
    ----------
    path : Path
        Made by the first mark.
    now : callable
        The wall clock, with a time zone.
    sound : bool
        False: privacy, no sound is written, whatever is given to :meth:`mark`.
    say : callable
        Told, on one line, of marks that can't be read. Any thread may call it.
    """

    def __init__(
        self,
        path: Path,
        now: Callable[[], datetime] = utc_now,
        *,
        sound: bool = True,
        say: Callable[[str], None] = say_on_stderr,
    ) -> None:
        self.path = path
        self._now = now
        self._sound = sound
        self._say = say
        self._lock = threading.Lock()  # guards what is below, and writing
        self._known: dict[EventKey, Mark] = {}
        self._read_state: tuple[int, int, int] | None = None  # of the file that they are from
        self._damaged = 0  # lines that were told of

    @property
    def audio(self) -> Path:
        """The folder of the clips."""
        return self.path / AUDIO

    def mark(self, mark: Mark, sr: int, pieces: Sequence[NDArray[np.int16]]) -> Mark:
        """Keep a mark and the sound of its event; the mark as it was written.

        Where there is no sound, an earlier mark's of the same event is kept.

        Parameters
        ----------
        mark : Mark
            With ``clip_start``, where there is sound. Its ``clip`` is ignored.
        sr : int
            Samples a second.
        pieces : sequence of int16 [n]
            The sound, mono, in order: see :func:`wanted_sound`. What is beyond 30 s is left out.

        Raises
        ------
        ParameterError
            If there is sound, but no ``clip_start``.
        SinkError
            If it can't be written; then nothing of it is left in the folder.
        """
        kept = at_most(pieces, round(LONGEST_SECONDS * sr)) if self._sound else ()
        if kept and mark.clip_start is None:
            raise ParameterError("a mark with sound needs clip_start: where in the stream it is")
        start = mark.clip_start if kept else None
        mark = replace(mark, clip=None, clip_start=None, marked_at=mark.marked_at or self._stamp())
        try:
            with self._lock, self._opened() as fd:
                before = self._marks().get(mark.event)
                if kept:
                    name = write_new(self.audio, self._clip(mark, start, sr, kept))
                    mark = replace(mark, clip=name, clip_start=start)
                elif before is not None:
                    mark = replace(mark, clip=before.clip, clip_start=before.clip_start)
                try:
                    _append(fd, json.dumps(mark.to_dict(), separators=(",", ":")).encode() + b"\n")
                except OSError:
                    if kept and mark.clip is not None:
                        (self.audio / mark.clip).unlink(missing_ok=True)
                    raise
                if before is not None and before.clip not in (None, mark.clip):
                    with suppress(OSError):
                        (self.audio / str(before.clip)).unlink()
        except (OSError, RuntimeError, AssertionError) as error:  # the last two are soundfile's
            raise SinkError(
                f"can't keep the mark in {str(self.path)!r}: {reason(error)}: make room, or set "
                "review.directory to a folder that can be written"
            ) from error
        return Mark.from_dict(mark.to_dict())

    def mark_with_file(self, mark: Mark, clip_path: Path) -> Mark:
        """The same with the sound of a recording of the event, a FLAC or WAV file.

        Of it, what :func:`wanted_sound` names is copied. Where the file begins is read from
        its comment, else ``clip_start`` says it.

        Raises
        ------
        ParameterError
            If nothing says where the file begins.
        SinkError
            If it can't be read, or the mark not be written.
        """
        if not self._sound:
            return self.mark(mark, 1, ())
        begin = recorded_from(clip_path)
        begin = mark.clip_start if begin is None else begin
        if begin is None:
            raise ParameterError(
                f"the recording {str(clip_path)!r} does not say where in the stream it begins, "
                "and is not one of otic's: give clip_start"
            )
        start, stop = wanted_sound(mark.onset, mark.offset)
        sr, y = read_part(clip_path, start - begin, stop - begin)
        return self.mark(replace(mark, clip_start=max(start, begin)), sr, [y])

    def marks(self) -> list[Mark]:
        """The latest mark of each event, in the order in which they were first marked.

        A line that a power cut damaged is passed over, and said once.

        Raises
        ------
        SinkError
            If the folder can't be read, or a line is no mark.
        """
        return list(self.by_event().values())

    def by_event(self) -> Mapping[EventKey, Mark]:
        """The latest mark of each event; what was given never changes. Raises as :meth:`marks`.

        Where the file is as it was the last time, this costs nothing, however many there are.
        """
        with self._lock:
            return self._marks()

    def verdict(self, recording: str, label: str, onset: float) -> Mark | None:
        """The latest mark of an event; None where it has none. Raises as :meth:`marks`."""
        with self._lock:
            return self._marks().get((recording, label, round(onset, 6)))

    def _stamp(self) -> str:
        return iso(self._now())

    def _clip(
        self, mark: Mark, start: float | None, sr: int, pieces: tuple[NDArray[np.int16], ...]
    ) -> Clip:
        at = mark.onset_at or mark.marked_at
        facts = {
            "sensor": mark.sensor,
            "source": mark.source,
            "model": mark.model,
            "label": mark.label,
            "verdict": mark.verdict,
            "onset": round(mark.onset, 6),
            "offset": None if mark.offset is None else round(mark.offset, 6),
            "start": None if start is None else round(start, 6),
        }
        return Clip(
            at=stamp(datetime.fromisoformat(at)),
            source=file_name_part(mark.source),
            label=file_name_part(mark.label),
            sr=sr,
            pieces=pieces,
            title=mark.label.encode(errors="replace").decode(),
            comment=json.dumps(facts, separators=(",", ":")),
        )

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The file of marks, to append to; no other process appends or gives names meanwhile."""
        for folder in (self.path, self.audio):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(self.path / MARKS, flags, 0o600)
        try:
            with suppress(OSError):  # not every file system can
                fcntl.flock(fd, fcntl.LOCK_EX)
                for left in self.audio.glob(".*.part"):  # of a process that was killed
                    left.unlink(missing_ok=True)
            yield fd
        finally:
            os.close(fd)

    def _marks(self) -> dict[EventKey, Mark]:
        """All of them, read again where the file has changed; the lock is held."""
        path = self.path / MARKS
        try:
            state = path.stat()
            if self._read_state == (seen := (state.st_ino, state.st_size, state.st_mtime_ns)):
                return self._known
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            self._known, self._read_state = {}, None
            return self._known
        except OSError as error:
            raise SinkError(f"can't read the marks {str(path)!r}: {reason(error)}") from error
        known: dict[EventKey, Mark] = {}
        damaged = 0
        for number, line in enumerate(lines, 1):
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                damaged += bool(line)
                continue
            try:
                mark = Mark.from_dict(values if isinstance(values, dict) else {})
            except ParameterError as error:
                raise SinkError(
                    f"line {number} of {str(path)!r} is no mark: {error}: mend or delete the line"
                ) from error
            known[mark.event] = mark
        if damaged > self._damaged:
            self._say(f"{damaged} damaged lines (a power cut?) of {str(path)!r} are passed over")
        self._known, self._read_state, self._damaged = known, seen, damaged
        return known


def _append(fd: int, line: bytes) -> None:
    """Append a line and have it on the disk; whole or not at all."""
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":  # torn by a power cut: leave it on its own
        line = b"\n" + line
    try:
        written = os.write(fd, line)
        while written < len(line):  # a full disk takes a part, and then says why
            written += os.write(fd, line[written:])
        os.fsync(fd)
    except OSError:
        with suppress(OSError):
            os.ftruncate(fd, size)
        raise
