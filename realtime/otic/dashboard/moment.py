"""One stream at one moment: now, or one that a person has gone back to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from otic.model.bundle import Bundle
from otic.streaming.monitor import SILENCE_DBFS, dbfs
from otic.streaming.recent import DetectedEvent, StreamMemory
from otic.streaming.session_view import StreamView
from otic.types import StreamStatus

HISTORY_SECONDS = 15.0
_LEVEL_SECONDS, _PEAK_SECONDS = 0.1, 2.0
_FULL_SCALE = 32768.0


@dataclass(frozen=True)
class FrameData:
    """What there is to show of a stream.

    Attributes
    ----------
    source : str
    bundle : Bundle
    memory : StreamMemory or None
        None before the stream has begun.
    now : StreamStatus
        The state now, whatever is looked at.
    seconds : float
        The moment, by the sample clock.
    frozen : bool
        Whether it is not now.
    scores : float32 [n_labels]
        Smoothed.
    times, history : float64 [n], float32 [n, n_labels]
        Scores of the last seconds, oldest first.
    active : frozenset of str
        Labels that are on.
    heard : tuple of DetectedEvent
        Events and gaps so far, in order.
    level_dbfs, peak_dbfs : float
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
    heard: tuple[DetectedEvent, ...]
    level_dbfs: float
    peak_dbfs: float

    @property
    def live(self) -> bool:
        """Whether times are told by the wall clock."""
        return self.memory is not None and self.memory.stream.started is not None


def moment(view: StreamView, frozen_at: float | None) -> FrameData:
    """A stream now, or at a second of it."""
    now, memory = view.snapshot(), view.memory
    labels = view.monitor.bundle.labels
    seconds = now.seconds if memory is None else memory.seconds
    frozen = frozen_at is not None and memory is not None
    if frozen_at is not None and frozen:
        seconds = min(frozen_at, seconds)
    times, history = _history(memory, seconds, len(labels))
    scores = history[-1] if len(history) else np.zeros(len(labels), np.float32)
    heard = () if memory is None else detected_by(memory, frozen_at)
    active, level, peak = now.active, now.level_dbfs, now.peak_dbfs
    if memory is not None and frozen:
        active = frozenset(h.label for h in heard if h.offset is None)
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
        heard,
        level,
        peak,
    )


def detected_by(memory: StreamMemory, frozen_at: float | None) -> tuple[DetectedEvent, ...]:
    """Events and gaps as they were known at a second of the stream; None: now."""
    heard = memory.heard()
    if frozen_at is None:
        return heard
    return tuple(_as_of(h, frozen_at) for h in heard if h.decided <= frozen_at)


def _history(
    memory: StreamMemory | None, seconds: float, n_labels: int
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Scores of the last seconds before a moment."""
    if memory is None:
        return np.zeros(0), np.zeros((0, n_labels), np.float32)
    stop = memory.n_scores
    hop = memory.stream.inference_hop_seconds
    behind = math.ceil((memory.seconds - seconds) / hop)
    first = max(0, stop - behind - math.ceil(HISTORY_SECONDS / hop) - 2)
    times, scores = memory.scores(first, stop)
    inside = (times <= seconds + 1e-6) & (times > seconds - HISTORY_SECONDS)
    return times[inside], scores[inside]


def _as_of(event: DetectedEvent, seconds: float) -> DetectedEvent:
    """An event as it was known at a moment."""
    if event.lost or event.offset is None or event.offset <= seconds:
        return event
    return replace(event, offset=None)


def _levels(memory: StreamMemory, seconds: float) -> tuple[float, float]:
    """RMS and peak in dB re full scale before a moment, as far as the sound is kept."""
    _, pieces = memory.sound(seconds - _PEAK_SECONDS, seconds)
    if not pieces:
        return SILENCE_DBFS, SILENCE_DBFS
    y = np.concatenate(pieces).astype(np.float32) / np.float32(_FULL_SCALE)
    latest = y[-round(_LEVEL_SECONDS * memory.sr) :]
    if not len(latest):
        return SILENCE_DBFS, SILENCE_DBFS
    rms = math.sqrt(float(np.dot(latest, latest)) / len(latest))
    return dbfs(rms), dbfs(float(np.abs(y).max()))
