"""A folder of recordings that never holds more than its budget."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SCAN_AGAIN_SECONDS = 60.0
_SAME_SECONDS = 0.5
_ABANDONED_SECONDS = 60.0
_OURS = re.compile(r"(\d{8}T\d{6}\.\d{3}Z)_[a-z0-9-]+_[a-z0-9-]+\.(?:flac|wav)")
_OURS_UNFINISHED = re.compile(rf"\.{_OURS.pattern}\.part")


@dataclass(frozen=True)
class Clip:
    """A recording to write: the parts of its name, and its samples, mono, in order."""

    at: str
    source: str
    label: str
    sr: int
    pieces: tuple[NDArray[np.int16], ...]
    title: str
    comment: str

    @property
    def n_bytes(self) -> int:
        """The size of the samples."""
        return sum(piece.nbytes for piece in self.pieces)

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return f"{self.at}_{self.source}_{self.label}"


class ClipFolder:
    """Recordings in a folder, and which to delete. Files of others are left alone.

    Not thread safe.

    Parameters
    ----------
    path : Path
    max_bytes : int
    now : callable
        The wall clock. Recordings from its future were made while it was wrong, and are
        the first to go.
    """

    def __init__(self, path: Path, max_bytes: int, now: Callable[[], datetime]) -> None:
        self.path = path
        self.deleted = 0
        self._max_bytes = max_bytes
        self._now = now
        self._sizes: dict[str, int] = {}
        self._unfinished: dict[str, tuple[int, int]] = {}  # bytes and time of what others left
        self._scanned = -_SCAN_AGAIN_SECONDS

    def make_room(self, n_bytes: int) -> bool:
        """Delete the oldest until so many bytes fit; False where they never do.

        What can't be deleted is passed over. Now and then this looks what is in the folder,
        and deletes what a process that was killed left half written.

        Raises
        ------
        OSError
            If the folder can't be read, or not enough can be deleted.
        """
        if n_bytes > self._max_bytes:
            return False
        if time.monotonic() - self._scanned >= _SCAN_AGAIN_SECONDS:
            self._scan()
        used = sum(self._sizes.values()) + sum(size for size, _ in self._unfinished.values())
        excess = used + n_bytes - self._max_bytes
        if excess > 0:
            self._delete(excess)
        return True

    def put(self, unfinished: Path, clip: Clip, suffix: str) -> None:
        """Give a finished recording its name."""
        path = self.path / f"{clip.name}.{suffix}"
        count = 1
        while path.exists():
            count += 1
            path = self.path / f"{clip.name}-{count}.{suffix}"
        unfinished.rename(path)
        self._sizes[path.name] = path.stat().st_size

    def _delete(self, excess: int) -> None:
        now = stamp(self._now())
        failure: OSError | None = None
        for name in sorted(self._sizes, key=lambda name: (name[: len(now)] <= now, name)):
            try:
                (self.path / name).unlink(missing_ok=True)
            except OSError as error:  # somebody else's, in a folder that many may write
                failure = error
                continue
            self.deleted += 1
            excess -= self._sizes.pop(name)
            if excess <= 0:
                return
        if failure is not None:
            raise failure

    def _scan(self) -> None:
        self._sizes.clear()
        before, self._unfinished = self._unfinished, {}
        for entry in os.scandir(self.path):
            with suppress(FileNotFoundError):  # deleted by somebody meanwhile
                if not entry.is_file(follow_symlinks=False):
                    continue
                if _OURS.fullmatch(entry.name):
                    self._sizes[entry.name] = entry.stat().st_size
                elif _OURS_UNFINISHED.fullmatch(entry.name):
                    self._look_at_unfinished(entry, before.get(entry.name))
        self._scanned = time.monotonic()

    def _look_at_unfinished(self, entry: os.DirEntry[str], before: tuple[int, int] | None) -> None:
        """Delete it where nobody writes it: it is old, or as it was at the scan before."""
        state = entry.stat()
        found = (state.st_size, state.st_mtime_ns)
        if found == before or abs(time.time() - state.st_mtime) > _ABANDONED_SECONDS:
            with suppress(PermissionError):
                (self.path / entry.name).unlink()
                return
        self._unfinished[entry.name] = found


def find_clip(folder: Path, source: str, label: str, onset: datetime) -> Path | None:
    """Return the recording of an event: the nearest one of its source and label; None without.

    Two clocks are asked for an onset of a live stream, so up to half a second is the same.
    """
    best: tuple[float, Path] | None = None
    with suppress(OSError):
        for entry in os.scandir(folder):
            match = _OURS.fullmatch(entry.name)
            parts = entry.name.split("_", 2)
            if match is None or parts[1] != source or not _is_named(parts[2], label):
                continue
            at = datetime.strptime(match[1], "%Y%m%dT%H%M%S.%f%z")
            away = abs((at - onset).total_seconds())
            if away <= _SAME_SECONDS and (best is None or away < best[0]):
                best = away, Path(entry.path)
    return None if best is None else best[1]


def _is_named(rest: str, label: str) -> bool:
    """Return whether the end of a name, such as ``dog-2.flac``, is of a label."""
    return re.fullmatch(rf"{re.escape(label)}(-\d+)?\.(flac|wav)", rest) is not None


def stamp(at: datetime) -> str:
    """A moment as names hold it, ``20261123T041530.250Z``: sorted by name is by time."""
    at = at.astimezone(UTC)
    return f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03d}Z"
