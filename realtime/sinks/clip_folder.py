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
        """What the samples take."""
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
        self._scanned = -_SCAN_AGAIN_SECONDS

    def clear_abandoned(self) -> None:
        """Delete what a process that was killed left half written."""
        for entry in os.scandir(self.path):
            if _OURS_UNFINISHED.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    if abs(time.time() - entry.stat().st_mtime) > _ABANDONED_SECONDS:
                        (self.path / entry.name).unlink()

    def make_room(self, n_bytes: int) -> bool:
        """Delete the oldest until so many bytes fit; False where they never do.

        Raises
        ------
        OSError
            If the folder can't be read, or a recording can't be deleted.
        """
        if n_bytes > self._max_bytes:
            return False
        if time.monotonic() - self._scanned >= _SCAN_AGAIN_SECONDS:
            self._scan()
        excess = sum(self._sizes.values()) + n_bytes - self._max_bytes
        if excess > 0:
            now = stamp(self._now())
            for name in sorted(self._sizes, key=lambda name: (name[: len(now)] <= now, name)):
                (self.path / name).unlink(missing_ok=True)
                self.deleted += 1
                excess -= self._sizes.pop(name)
                if excess <= 0:
                    break
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

    def _scan(self) -> None:
        self._sizes.clear()
        for entry in os.scandir(self.path):
            if _OURS.fullmatch(entry.name):
                with suppress(FileNotFoundError):  # deleted by somebody meanwhile
                    if entry.is_file(follow_symlinks=False):
                        self._sizes[entry.name] = entry.stat().st_size
        self._scanned = time.monotonic()


def stamp(at: datetime) -> str:
    """A moment as names hold it, ``20261123T041530.250Z``: sorted by name is by time."""
    at = at.astimezone(UTC)
    return f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03d}Z"
