"""The review folder: events that a person marked right or wrong, and their sound."""

from __future__ import annotations

import fcntl
import json
import logging
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
from otic.errors import ParameterError, SinkError, printable
from otic.review.mark import EventKey, Mark
from otic.sinks.clip_folder import Clip, stamp
from otic.sinks.clip_writer import write_sound
from otic.sinks.clips import file_name_part
from otic.system.clock import iso, utc_now
from otic.system.files import state_folder

_log = logging.getLogger(__name__)

MARGIN_SECONDS = 1.0
"""Sound that a clip holds before the onset and after the offset."""

LONGEST_SECONDS = 30.0
"""The longest clip; later sound is left out."""

SUFFIX = "flac"

_I16 = NDArray[np.int16]
__all__ = ["Mark", "ReviewFolder", "open_review", "review_path", "wanted_sound"]
MARKS, AUDIO = "review.jsonl", "audio"


def wanted_sound(onset: float, offset: float | None) -> tuple[float, float]:
    """Return the first and last second of the stream that a mark's clip should hold.

    Parameters
    ----------
    onset : float
        Seconds of the stream.
    offset : float or None
        None if the event is still on.
    """
    start = max(0.0, onset - MARGIN_SECONDS)
    longest = start + LONGEST_SECONDS
    return start, longest if offset is None else min(longest, offset + MARGIN_SECONDS)


def at_most(pieces: Sequence[_I16], n: int) -> tuple[_I16, ...]:
    """Return the first ``n`` samples of the pieces; empty without samples."""
    kept = []
    for piece in pieces:
        if n > 0 and len(piece):
            kept.append(piece[:n])
            n -= len(kept[-1])
    return tuple(kept)


def read_part(
    path: Path, start: float = 0.0, stop: float | None = None
) -> tuple[int, NDArray[np.int16]]:
    """Read a part of a recording: its rate, and its samples, int16 [n], mono.

    Parameters
    ----------
    path : Path
        Any format that libsndfile reads; 16-bit samples are kept bit for bit.
    start : float
        Seconds of the file; anything beyond its ends is left out.
    stop : float, optional
        Likewise. Default: the end.

    Raises
    ------
    SinkError
        If the file can't be read.
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
    """Return a recording's rate and number of samples. Raises as :func:`read_part`."""
    with _opened(path) as file:
        return int(file.samplerate), int(file.frames)


def recorded_from(path: Path) -> float | None:
    """Return the second of the stream at which an event's recording begins, from its comment.

    None if the comment does not say so: :class:`otic.sinks.clips.ClipSink` did not write it.
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
    """Write a clip into a folder under a free name and return that name.

    The clip is written beside it and then renamed. The caller must prevent others from choosing
    names in the folder meanwhile.

    Raises
    ------
    OSError, RuntimeError, AssertionError
        If it can't be written whole; nothing is left of it then.
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
    """Make the folder's names survive a power cut, if the file system can."""
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def reason(error: Exception) -> str:
    """Return why reading or writing failed, on one line; libsndfile has its own words."""
    return (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())


def review_path(settings: ReviewSettings, environment: Mapping[str, str]) -> Path:
    """Return the folder of marks: as configured, else in the service's or user's state folder."""
    if settings.directory:
        return Path(settings.directory)
    return state_folder(environment, "--review-directory") / "review"


def open_review(settings: Settings, environment: Mapping[str, str]) -> ReviewFolder | None:
    """Return the review folder of the settings; None if marks are switched off.

    Nothing is created before the first mark. With recordings switched off
    (``clips.enabled = false``), a mark writes no sound either.
    """
    if not settings.review.enabled:
        return None
    return ReviewFolder(review_path(settings.review, environment), sound=settings.clips.enabled)


class ReviewFolder:
    """Keeps marks in ``review.jsonl``, one a line, and their sound in ``audio``.

    Lines are only appended; the last mark of an event counts. Only the owner can read the files.

    Thread safety: any thread may call any method, and several processes may use the same
    folder. :meth:`mark` waits for the disk and for other writers.

    Parameters
    ----------
    path : Path
        Created by the first mark.
    now : callable
        Returns the wall-clock time, with a time zone.
    sound : bool
        False for privacy: no sound is written, whatever :meth:`mark` is given.
    """

    def __init__(
        self,
        path: Path,
        now: Callable[[], datetime] = utc_now,
        *,
        sound: bool = True,
    ) -> None:
        self.path = path
        self._now = now
        self._sound = sound
        self._lock = threading.Lock()  # guards what follows, and writing
        self._known: dict[EventKey, Mark] = {}
        self._read_state: tuple[int, int, int] | None = None  # the file's state when it was read
        self._damaged = 0  # damaged lines that were reported

    @property
    def audio(self) -> Path:
        """The folder of the clips."""
        return self.path / AUDIO

    def mark(self, mark: Mark, sr: int, pieces: Sequence[NDArray[np.int16]]) -> Mark:
        """Write a mark with the sound of its event; return the mark as it was written.

        Without sound, the sound of an earlier mark of the same event is kept.

        Parameters
        ----------
        mark : Mark
            With ``clip_start`` if there is sound. Its ``clip`` is ignored.
        sr : int
            Samples per second.
        pieces : sequence of int16 [n]
            The sound, mono, in order: see :func:`wanted_sound`. Sound beyond 30 s is left out.

        Raises
        ------
        ParameterError
            If there is sound, but no ``clip_start``.
        SinkError
            If writing fails; nothing of the mark is left in the folder then.
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
        except (OSError, RuntimeError, AssertionError) as error:  # soundfile raises the last two
            raise SinkError(
                f"can't keep the mark in {str(self.path)!r}: {reason(error)}: make room, or set "
                "review.directory to a folder that can be written"
            ) from error
        return Mark.from_dict(mark.to_dict())

    def mark_with_file(self, mark: Mark, clip_path: Path) -> Mark:
        """Write a mark with sound copied from a recording of the event, a FLAC or WAV file.

        :func:`wanted_sound` says which part is copied. The file's comment says where the file
        begins, or else ``clip_start``.

        Raises
        ------
        ParameterError
            If nothing says where the file begins.
        SinkError
            If the recording can't be read, or the mark can't be written.
        """
        if not self._sound:
            return self.mark(mark, 1, ())
        begin = recorded_from(clip_path)
        begin = mark.clip_start if begin is None else begin
        if begin is None:
            raise ParameterError(
                f"the recording {str(clip_path)!r} does not say where in the stream it begins, "
                "and is not otic's own: give clip_start"
            )
        start, stop = wanted_sound(mark.onset, mark.offset)
        sr, y = read_part(clip_path, start - begin, stop - begin)
        return self.mark(replace(mark, clip_start=max(start, begin)), sr, [y])

    def marks(self) -> list[Mark]:
        """Return the latest mark of each event, in the order of their first marks.

        A line that a power cut damaged is skipped and reported once.

        Raises
        ------
        SinkError
            If the folder can't be read, or a line is not a mark.
        """
        return list(self.by_event().values())

    def by_event(self) -> Mapping[EventKey, Mark]:
        """Return the latest mark of each event; the mapping never changes. Raises as :meth:`marks`.

        This costs nothing if the file has not changed since the last call.
        """
        with self._lock:
            return self._marks()

    def verdict(self, recording: str, label: str, onset: float) -> Mark | None:
        """Return the latest mark of an event; None without one. Raises as :meth:`marks`."""
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
            title=printable(mark.label),
            comment=json.dumps(facts, separators=(",", ":")),
        )

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the file of marks to append; other processes wait meanwhile."""
        for folder in (self.path, self.audio):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(self.path / MARKS, flags, 0o600)
        try:
            with suppress(OSError):  # not every file system can lock
                fcntl.flock(fd, fcntl.LOCK_EX)
                for left in self.audio.glob(".*.part"):  # left by a process that was killed
                    left.unlink(missing_ok=True)
            yield fd
        finally:
            os.close(fd)

    def _marks(self) -> dict[EventKey, Mark]:
        """Return all marks, reading the file again if it has changed; the lock is held."""
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
                    f"line {number} of {str(path)!r} is not a mark: {error}: correct or delete it"
                ) from error
            known[mark.event] = mark
        if damaged > self._damaged:
            _log.warning(f"{damaged} damaged lines (a power cut?) of {str(path)!r} are skipped")
        self._known, self._read_state, self._damaged = known, seen, damaged
        return known


def _append(fd: int, line: bytes) -> None:
    """Append a line and sync it to the disk: the whole line or nothing."""
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":  # torn by a power cut: leave that line alone
        line = b"\n" + line
    try:
        written = os.write(fd, line)
        while written < len(line):  # a full disk takes a part, then says why
            written += os.write(fd, line[written:])
        os.fsync(fd)
    except OSError:
        with suppress(OSError):
            os.ftruncate(fd, size)
        raise
