"""Recordings of events: which are served, and which is of which event."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from otic.sinks.clip_folder import stamp
from otic.sinks.clips import file_name_part

# As otic.sinks.clip_folder names them; nothing else is ever served.
_NAME = re.compile(r"(\d{8}T\d{6}\.\d{3}Z)_([a-z0-9-]+)_([a-z0-9-]+)\.(?:flac|wav)")
_CLOCK_SECONDS = 2.0  # sinks look at the clock one after the other
_SAME_ONSET_SECONDS = 1e-5
_SETTLED_NS = 2_000_000_000
_MOST_LOOKED_AT = 200  # of a stream without a clock


class ClipFiles:
    """The recordings in a folder.

    Thread safety: any thread may call any method.

    Parameters
    ----------
    folder : Path or None
        None where nothing may be heard: then there are none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._names: tuple[str, ...] = ()
        self._seen_ns = -1

    def path(self, name: str) -> Path | None:
        """The file of a recording; None for whatever is not one."""
        if self._folder is None or _NAME.fullmatch(name) is None:
            return None
        path = self._folder / name
        with suppress(OSError, ValueError):
            if stat.S_ISREG(path.lstat().st_mode):  # no link: it could lead anywhere
                return path
        return None

    def of_event(self, source: str, label: str, onset: float, began: datetime | None) -> str | None:
        """The name of an event's recording.

        Parameters
        ----------
        source, label : str
        onset : float
            Seconds of the stream.
        began : datetime or None
            The onset by the wall clock; None where it has none, in a replay.
        """
        names = self._all_names()
        if began is not None:
            low = stamp(began - timedelta(seconds=_CLOCK_SECONDS))
            high = stamp(began + timedelta(seconds=_CLOCK_SECONDS))
            names = tuple(name for name in names if low <= name[: len(low)] <= high)
        wanted = file_name_part(source), file_name_part(label)
        fitting = [name for name in names if _fits(name, *wanted)]
        for name in reversed(fitting[-_MOST_LOOKED_AT:]):
            path = self.path(name)
            if path is None:
                continue
            facts = facts_of(path)
            same = facts.get("label") == label and facts.get("source") == source
            with suppress(TypeError):
                if same and abs(facts["onset"] - onset) < _SAME_ONSET_SECONDS:
                    return name
        return None

    def _all_names(self) -> tuple[str, ...]:
        """In order of time; read again where the folder has changed."""
        if self._folder is None:
            return ()
        try:
            changed_ns = self._folder.stat().st_mtime_ns
            if changed_ns != self._seen_ns:
                found = sorted(n for n in os.listdir(self._folder) if _NAME.fullmatch(n))  # noqa: PTH208
                # What was changed just now may change again within the same tick of its clock.
                settled = time.time_ns() - changed_ns > _SETTLED_NS
                self._names, self._seen_ns = tuple(found), changed_ns if settled else -1
        except OSError:
            return ()
        return self._names


def facts_of(path: Path) -> dict[str, Any]:
    """What a recording's comment says; empty where it says nothing, or can't be read."""
    try:
        return _facts_of(path, path.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=4096)
def _facts_of(path: Path, changed_ns: int) -> dict[str, Any]:
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            facts = json.loads(str(file.comment))
    except (OSError, RuntimeError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _fits(name: str, source: str, label: str) -> bool:
    """Whether a name may be of them; a number behind the label tells equal names apart."""
    match = _NAME.fullmatch(name)
    return (
        match is not None
        and match[2] == source
        and re.fullmatch(rf"{re.escape(label)}(?:-\d+)?", match[3]) is not None
    )
