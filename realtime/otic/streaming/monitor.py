"""The state of a stream: levels, scores, events and losses, and how healthy it is."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otic.model.bundle import Bundle
from otic.model.classifier import State
from otic.pipeline import Predictor, StepPredictor
from otic.types import Chunk, Event, Gap, Item, Level, Lost, Scores, Source, StreamStatus

SILENCE_DBFS = -120.0
_HOLD_SECONDS = 2.0
_LEVEL_SECONDS = 0.1
_LATEST_EVENTS = 50
_LATEST_INFERENCES = 2048
OK, WARNING, ALARM = "ok", "warning", "alarm"

RECENT_SECONDS = 60.0
"""A loss is an alarm for this long; afterwards it remains a warning."""

_FULL_QUEUE = 0.5
_CLOSE_TO_THE_LIMIT = 1.5  # multiple of real time
_ENOUGH_SECONDS = 10.0  # audio needed before the speed is judged


class TimedClassifier:
    """Wraps a classifier and keeps the latest durations, in seconds."""

    def __init__(self, classifier: Predictor) -> None:
        self._classifier = classifier
        self._durations = np.zeros(_LATEST_INFERENCES)
        self._count = 0

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        begin = time.perf_counter()
        scores = self._classifier.predict(features)
        self._keep(time.perf_counter() - begin)
        return scores

    def cold_state(self) -> State:
        return self._stepper.cold_state()

    def step(self, frames: NDArray[np.float32], state: State) -> NDArray[np.float32]:
        begin = time.perf_counter()
        scores = self._stepper.step(frames, state)
        self._keep(time.perf_counter() - begin)
        return scores

    def reset(self) -> None:
        """Discard the durations so far, such as those of the warm-up."""
        self._count = 0

    @property
    def _stepper(self) -> StepPredictor:
        assert isinstance(self._classifier, StepPredictor), "for streaming models only"
        return self._classifier

    def _keep(self, seconds: float) -> None:
        self._durations[self._count % _LATEST_INFERENCES] = seconds
        self._count += 1

    def percentiles(self) -> tuple[float, float]:
        """Return median and 99th percentile in seconds; 0 before the first inference."""
        kept = self._durations[: min(self._count, _LATEST_INFERENCES)]
        if not len(kept):
            return 0.0, 0.0
        p50, p99 = np.percentile(kept, [50, 99])
        return float(p50), float(p99)


class Monitor:
    """Records a stream while it runs, and gives snapshots.

    Thread safety: one thread calls the ``record_*`` methods; any thread may call
    :meth:`snapshot`, which takes no lock and never makes the stream wait.
    """

    def __init__(self, source: Source, bundle: Bundle, classifier: TimedClassifier) -> None:
        self.source = source.name
        self._health = source.health
        self.bundle = bundle
        self._classifier = classifier
        self._sr = bundle.features.sr
        self._samples = 0
        self._busy_seconds = 0.0
        self._lost = 0
        self._lost_at: float | None = None
        self._skipped = 0
        self._square_sum, self._square_count = 0.0, 0
        self._level = 0.0
        self._peaks: tuple[tuple[int, float], ...] = ()  # (sample, peak), decreasing, newest last
        self._scores: dict[str, float] = dict.fromkeys(bundle.labels, 0.0)
        self._n_scores = 0
        self._active: frozenset[str] = frozenset()
        self._event_counts = dict.fromkeys(bundle.labels, 0)
        self._events: deque[Event | Gap] = deque(maxlen=_LATEST_EVENTS)
        self._minute: Level | None = None

    def record_chunk(self, chunk: Chunk, lost: int) -> None:
        """Record a chunk, of which ``lost`` samples are lost, and measure its level."""
        n = chunk.samples if isinstance(chunk, Lost) else len(chunk)
        self._samples += n
        if lost:
            self._lost += lost
            self._lost_at = self._samples / self._sr
        elif not isinstance(chunk, Lost) and n:
            self._measure(chunk)

    def skipped(self, n: int) -> None:
        """Record ``n`` samples that arrived while a person had paused the stream."""
        self._samples += n
        self._skipped += n

    def _measure(self, y: NDArray[np.float32]) -> None:
        self._square_sum += float(np.dot(y, y))
        self._square_count += len(y)
        if self._square_count >= _LEVEL_SECONDS * self._sr:
            self._level = math.sqrt(self._square_sum / self._square_count)
            self._square_sum, self._square_count = 0.0, 0
        peak = float(np.max(np.abs(y)))
        oldest = self._samples - _HOLD_SECONDS * self._sr
        held = (p for p in self._peaks if p[0] >= oldest and p[1] > peak)
        self._peaks = (*held, (self._samples, peak))

    def record_items(self, items: list[Item]) -> None:
        """Record what the pipeline returned."""
        for item in items:
            if isinstance(item, Scores):
                self._scores = item.smoothed
                self._n_scores += 1
                continue
            if isinstance(item, Level):
                self._minute = item
                continue
            self._events.append(item)
            if isinstance(item, Event):
                changed = {item.label}
                on = item.state == "on"
                if on:
                    count = self._event_counts.get(item.label, 0) + 1
                    # A new dict: one that a snapshot holds must not change.
                    self._event_counts = {**self._event_counts, item.label: count}
                self._active = self._active | changed if on else self._active - changed

    def record_work(self, busy_seconds: float) -> None:
        """Record how long a chunk took to compute."""
        self._busy_seconds += busy_seconds

    def snapshot(self) -> StreamStatus:
        """Return the present state."""
        p50, p99 = self._classifier.percentiles()
        peaks = self._peaks
        peak = peaks[0][1] if peaks else 0.0
        seconds = self._samples / self._sr
        health = self._health()
        return StreamStatus(
            seconds=seconds,
            level_dbfs=dbfs(self._level),
            peak_dbfs=dbfs(peak),
            clipped=peak >= 0.999,
            scores=self._scores,
            active=self._active,
            events=tuple(self._events),
            n_scores=self._n_scores,
            real_time_factor=seconds / self._busy_seconds if self._busy_seconds else 0.0,
            inference_p50_ms=p50 * 1e3,
            inference_p99_ms=p99 * 1e3,
            queue_fill=health.queue_fill,
            lost_samples=self._lost,
            lost_seconds=self._lost / self._sr,
            lost_at=self._lost_at,
            skipped_samples=self._skipped,
            state=health.state,
            overruns=health.overruns,
            reopenings=health.reopenings,
            event_counts=self._event_counts,
            minute=self._minute,
        )


def dbfs(amplitude: float) -> float:
    """Convert an amplitude (full scale: 1) to dB re full scale; silence is ``SILENCE_DBFS``."""
    return max(SILENCE_DBFS, 20.0 * math.log10(amplitude)) if amplitude > 0.0 else SILENCE_DBFS


@dataclass(frozen=True)
class Health:
    """A level, ``ok``, ``warning`` (yellow) or ``alarm`` (red), and the reason for it."""

    level: str
    reason: str


def judge(now: StreamStatus, paused: bool = False) -> Health:
    """Return the worst that can be said of a stream now."""
    if now.state == "waiting":
        return Health(ALARM, "the microphone is missing: waiting for it")
    if now.state == "silent":
        return Health(ALARM, "the microphone delivers only zeros: is it muted?")
    since_loss = None if now.lost_at is None else now.seconds - now.lost_at
    if since_loss is not None and since_loss < RECENT_SECONDS:
        return Health(ALARM, f"{_lost(now)}, the latest {since_loss:.0f} s ago")
    if paused:
        return Health(WARNING, "paused: nothing is classified")
    if now.queue_fill > _FULL_QUEUE:
        return Health(
            WARNING,
            f"falling behind: {now.queue_fill:.0%} of the buffer is full: end other programs",
        )
    if since_loss is not None:
        return Health(WARNING, f"{_lost(now)}, the latest {_ago(since_loss)} ago")
    if now.clipped:
        return Health(WARNING, "too loud: the input clips; turn it down")
    if 0.0 < now.real_time_factor < _CLOSE_TO_THE_LIMIT and now.seconds > _ENOUGH_SECONDS:
        return Health(
            WARNING, f"this machine is close to its limit: {now.real_time_factor:.1f} × real time"
        )
    if now.seconds > _ENOUGH_SECONDS and now.peak_dbfs <= SILENCE_DBFS:
        return Health(WARNING, "digital silence: only zeros for two seconds")
    return Health(OK, "all well")


def _lost(now: StreamStatus) -> str:
    return f"{now.lost_samples:,} samples lost ({now.lost_seconds:.2f} s)"


def _ago(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.0f} h"
