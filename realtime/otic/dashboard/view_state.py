"""State of the dashboard: choices made with keys, data of one frame, rows of classes."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from otic.model.bundle import Bundle
from otic.streaming.monitor import SILENCE_DBFS, dbfs
from otic.streaming.recent import RecentEvent, StreamMemory
from otic.streaming.session_view import StreamView
from otic.types import StreamStatus

_MESSAGE_SECONDS = 6.0
HISTORY_SECONDS = 15.0
_LEVEL_SECONDS, _PEAK_SECONDS = 0.1, 2.0
_FULL_SCALE = 32768.0
_STAYS_WITHIN = 1.5  # a class keeps its row while its rank is within this multiple of the rows


@dataclass
class ViewState:
    """Choices that the keys' thread makes and the drawing thread reads.

    Each change is a single assignment, so no lock is needed.

    Attributes
    ----------
    source : str or None
        The stream that is shown; None: the first.
    frozen_at : float or None
        Second of the stream at the right edge; None: now.
    label : str or None
        The chosen class.
    event : int or None
        Number of the chosen event; None: the last one.
    help : bool
        True while the keys are listed.
    shown_labels : tuple of str
        Labels that have a row, from the top; set by the drawing thread.
    message : tuple
        Text, style, and until when it is shown, by the monotonic clock.
    """

    source: str | None = None
    frozen_at: float | None = None
    label: str | None = None
    event: int | None = None
    help: bool = False
    shown_labels: tuple[str, ...] = ()
    message: tuple[str, str, float] = ("", "", 0.0)

    def show_message(self, text: str, style: str = "ok") -> None:
        """Show a message for a few seconds."""
        self.message = (text, style, time.monotonic() + _MESSAGE_SECONDS)


@dataclass(frozen=True)
class FrameData:
    """Everything that a frame shows of one stream at one time.

    Attributes
    ----------
    source : str
    bundle : Bundle
    memory : StreamMemory or None
        None before the stream has begun.
    now : StreamStatus
        The present state, even if an earlier time is shown.
    seconds : float
        The shown time, by the sample clock.
    frozen : bool
        True if that is not the present.
    scores : float32 [n_labels]
        Smoothed scores, 0 to 1.
    times, history : float64 [n], float32 [n, n_labels]
        Smoothed scores of the last seconds, oldest first.
    active : frozenset of str
        Labels that are on.
    events : tuple of RecentEvent
        Events and gaps so far, in order.
    level_dbfs, peak_dbfs : float
        dB re full scale.
    """

    source: str
    bundle: Bundle
    memory: StreamMemory | None
    now: StreamStatus
    seconds: float
    frozen: bool
    scores: NDArray[np.float32]
    times: NDArray[np.float64]
    history: NDArray[np.float32]
    active: frozenset[str]
    events: tuple[RecentEvent, ...]
    level_dbfs: float
    peak_dbfs: float

    @property
    def live(self) -> bool:
        """True if times are shown by the wall clock."""
        return self.memory is not None and self.memory.stream.started is not None


def frame_data(view: StreamView, frozen_at: float | None) -> FrameData:
    """Collect a stream's data for now, or for a second of the stream."""
    now, memory = view.snapshot(), view.memory
    labels = view.monitor.bundle.labels
    seconds = now.seconds if memory is None else memory.seconds
    frozen = frozen_at is not None and memory is not None
    if frozen_at is not None and frozen:
        seconds = min(frozen_at, seconds)
    times, history = _history(memory, seconds, len(labels))
    scores = history[-1] if len(history) else np.zeros(len(labels), np.float32)
    events = () if memory is None else events_until(memory, frozen_at)
    active, level, peak = now.active, now.level_dbfs, now.peak_dbfs
    if memory is not None and frozen:
        active = frozenset(h.label for h in events if h.offset is None)
        level, peak = _levels(memory, seconds)
    return FrameData(
        view.source,
        view.monitor.bundle,
        memory,
        now,
        seconds,
        frozen,
        scores,
        times,
        history,
        active,
        events,
        level,
        peak,
    )


def events_until(memory: StreamMemory, frozen_at: float | None) -> tuple[RecentEvent, ...]:
    """Return events and gaps as known at a second of the stream; None: now."""
    events = memory.events()
    if frozen_at is None:
        return events
    return tuple(_as_of(h, frozen_at) for h in events if h.decided <= frozen_at)


def chosen_event(events: tuple[RecentEvent, ...], number: int | None) -> RecentEvent | None:
    """Return the event with that number, else the last one; never a gap."""
    found = [event for event in events if not event.lost]
    return next((each for each in found if each.number == number), found[-1] if found else None)


def _history(
    memory: StreamMemory | None, seconds: float, n_labels: int
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the scores of the last seconds before a time of the stream."""
    if memory is None:
        return np.zeros(0), np.zeros((0, n_labels), np.float32)
    stop = memory.n_scores
    hop = memory.stream.inference_hop_seconds
    behind = math.ceil((memory.seconds - seconds) / hop)
    first = max(0, stop - behind - math.ceil(HISTORY_SECONDS / hop) - 2)
    times, scores = memory.scores(first, stop)
    inside = (times <= seconds + 1e-6) & (times > seconds - HISTORY_SECONDS)
    return times[inside], scores[inside]


def _as_of(event: RecentEvent, seconds: float) -> RecentEvent:
    """Return an event as it was known at a second of the stream."""
    if event.lost or event.offset is None or event.offset <= seconds:
        return event
    return replace(event, offset=None)


def _levels(memory: StreamMemory, seconds: float) -> tuple[float, float]:
    """Return RMS and peak before a second of the stream, in dB re full scale."""
    _, pieces = memory.sound(seconds - _PEAK_SECONDS, seconds)
    if not pieces:
        return SILENCE_DBFS, SILENCE_DBFS
    y = np.concatenate(pieces).astype(np.float32) / np.float32(_FULL_SCALE)
    latest = y[-round(_LEVEL_SECONDS * memory.sr) :]
    if not len(latest):
        return SILENCE_DBFS, SILENCE_DBFS
    rms = math.sqrt(float(np.dot(latest, latest)) / len(latest))
    return dbfs(rms), dbfs(float(np.abs(y).max()))


class Ranking:
    """Chooses which classes have a row when there are more classes than rows.

    The greatest scores are chosen, and each stays in its row while it is about as great. If all
    classes have room, they are in the model's order, groups first.

    Not thread safe.

    Parameters
    ----------
    labels : sequence of str
        The model's labels.
    groups : collection of str
        Those of the labels that are groups; they come first.
    """

    def __init__(self, labels: Sequence[str], groups: Collection[str] = ()) -> None:
        members = [i for i, label in enumerate(labels) if label not in groups]
        self._groups = [i for i, label in enumerate(labels) if label in groups]
        self._members = members
        self._labels = list(labels)
        self._rows: dict[str, list[int]] = {"groups": [], "members": []}

    def choose(
        self, scores: NDArray[np.float32], n_rows: int, required: Collection[str] = ()
    ) -> list[int]:
        """Return indices of the labels to show, from the top.

        Parameters
        ----------
        scores : float32 [n_labels]
        n_rows : int
        required : collection of str
            Labels that get a row in any case, as far as there are rows: active or chosen ones.
        """
        if n_rows >= len(self._labels):
            return self._groups + self._members
        if n_rows <= 0:
            return []
        n_groups = min(len(self._groups), n_rows // 3)
        requested = {self._labels.index(label) for label in required if label in self._labels}
        groups = self._kept("groups", self._groups, scores, n_groups, requested)
        return groups + self._kept("members", self._members, scores, n_rows - n_groups, requested)

    def _kept(
        self,
        kind: str,
        candidates: list[int],
        scores: NDArray[np.float32],
        n_rows: int,
        requested: set[int],
    ) -> list[int]:
        """Return the rows of one kind: earlier ones that still belong, and new ones."""
        if len(candidates) <= n_rows:
            return candidates
        order = sorted(candidates, key=lambda i: (i not in requested, -float(scores[i]), i))
        must = {i for i in order[:n_rows] if i in requested} | set(order[: max(1, n_rows // 2)])
        may = set(order[: round(n_rows * _STAYS_WITHIN)])
        before = self._rows[kind]
        if len(before) != n_rows:
            before = []
        stay = [i for i in before if i in must]
        for i in sorted((i for i in before if i in may - must), key=order.index):
            if len(stay) + len(must - set(stay)) < n_rows:
                stay.append(i)
        new = [i for i in order if i not in stay][: n_rows - len(stay)]
        waiting = iter(new)
        rows = [i if i in stay else next(waiting) for i in before] if before else new
        self._rows[kind] = rows
        return rows
