"""The latest minutes of each stream in memory: sound, spectrogram, scores, events."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.audio.recent_audio import RecentAudio
from otic.detection.event_log import DetectedEvent, EventLog
from otic.features.spectrogram import LatestPicture
from otic.model.bundle import Bundle
from otic.system.clock import utc_now
from otic.types import Chunk, Event, Gap, Item, Lost, Scores, StreamEnd, StreamStart, usable_runs

PICTURE_SECONDS = 600.0
SOUND_SECONDS = 90.0
MOST_SCORES = 1200
MOST_EVENTS = 500
MOST_ENDED = 4
"""Ended streams that are kept: a replay may have thousands of files."""


@dataclass(frozen=True, kw_only=True)
class RecentEvent(DetectedEvent):
    """An event, finished or not, or a gap, which has no label.

    Attributes
    ----------
    number : int
        Counts the events and gaps of the stream, from 1.
    onset_at : datetime or None
        The onset by the wall clock; None if the stream is not live.
    lost : int
        Samples of a gap; 0 for an event.
    paused : bool
        True for a gap that a person caused by pausing the stream.
    """

    number: int
    onset_at: datetime | None
    lost: int = 0
    paused: bool = False


class StreamMemory:
    """Keeps the latest minutes of one stream.

    Thread safety: one thread calls :meth:`on_chunk`, :meth:`write` and :meth:`end`; any thread may
    call the rest. A lock is held only while a few kilobytes are copied, so nobody waits for long.
    Returned values never change afterwards.

    Parameters
    ----------
    stream : StreamStart
    bundle : Bundle
    now : callable
        Returns the wall-clock time, with a time zone.
    paused : callable
        Returns whether a person has paused the streams.
    keeps_sound : bool
        False for privacy: the spectrogram is kept, the sound is not.
    """

    def __init__(
        self,
        stream: StreamStart,
        bundle: Bundle,
        now: Callable[[], datetime] = utc_now,
        paused: Callable[[], bool] = lambda: False,
        keeps_sound: bool = True,
    ) -> None:
        self.stream = stream
        self.sr = stream.sr
        self._now = now
        self._paused = paused
        self._keeps_sound = keeps_sound
        self._skipped_until = 0  # one past the last sample that arrived in a pause
        self._lock = threading.Lock()
        self._picture = LatestPicture(bundle.features, PICTURE_SECONDS)
        self._audio = RecentAudio(stream.sr)
        self._times = np.zeros(MOST_SCORES)
        self._scores = np.zeros((MOST_SCORES, len(bundle.labels)), np.float32)
        self._n_scores = 0
        self._events: deque[RecentEvent] = deque(maxlen=MOST_EVENTS)
        self._log = EventLog()
        self._active: dict[str, int] = {}  # by label: the number of the active event
        self._count = 0
        self._ended = False

    @property
    def column_seconds(self) -> float:
        """Length of a spectrogram column in seconds."""
        return self._picture.column_samples / self.sr

    @property
    def next_column(self) -> int:
        """One past the latest column that has begun; column 0 begins at second 0."""
        return self._picture.next_column

    @property
    def n_scores(self) -> int:
        """Number of predictions so far."""
        return self._n_scores

    @property
    def seconds(self) -> float:
        """The sample clock, in seconds."""
        return self._audio.position / self.sr

    @property
    def ended(self) -> bool:
        """True once the stream has ended."""
        return self._ended

    def columns(self, first: int, stop: int) -> NDArray[np.uint8]:
        """Return columns: see :meth:`otic.features.spectrogram.LatestPicture.columns`."""
        with self._lock:
            return self._picture.columns(first, stop)

    def scores(self, first: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return predictions ``first`` to ``stop``, as far as they are kept.

        Returns
        -------
        times : float64 [n]
            Seconds of the stream.
        smoothed : float32 [n, n_labels]
            Smoothed scores, 0 to 1.
        """
        with self._lock:
            oldest = max(0, self._n_scores - MOST_SCORES)
            rows = np.arange(max(first, oldest), min(stop, self._n_scores)) % MOST_SCORES
            return self._times[rows], self._scores[rows]

    def events(self) -> tuple[RecentEvent, ...]:
        """Return the events and gaps that are kept, in the order of their numbers."""
        with self._lock:
            return tuple(self._events)

    def sound(self, start: float, stop: float) -> tuple[float, tuple[NDArray[np.int16], ...]]:
        """Return the sound between two seconds of the stream, as far as it is kept.

        Returns
        -------
        start : float
            Second of the stream of the first sample.
        pieces : tuple of int16 [n]
            In order; empty if nothing is kept. Lost samples are zeros.
        """
        with self._lock:
            audio = self._audio
            first = max(round(start * self.sr), audio.oldest)
            last = min(round(stop * self.sr), audio.position)
            if not self._keeps_sound:
                return first / self.sr, ()
            # Copy: the latest piece is still being filled.
            return first / self.sr, tuple(piece.copy() for piece in audio.cut(first, last))

    def on_chunk(self, chunk: Chunk) -> None:
        """Keep a chunk that the pipeline is about to take."""
        with self._lock:
            if isinstance(chunk, Lost):
                self._lose(chunk.samples)
                if self._paused():
                    self._skipped_until = self._audio.position
            else:
                for start, stop, usable in usable_runs(chunk):
                    if usable:
                        if self._keeps_sound:
                            self._audio.push(chunk[start:stop])
                        else:
                            self._audio.lose(stop - start)
                        self._picture.push(chunk[start:stop])
                    else:
                        self._lose(stop - start)
            self._audio.forget(max(0, self._audio.position - round(SOUND_SECONDS * self.sr)))

    def write(self, item: Item) -> None:
        """Keep what the pipeline returned."""
        with self._lock:
            if isinstance(item, Scores):
                row = self._n_scores % MOST_SCORES
                self._times[row] = item.time
                self._scores[row] = list(item.smoothed.values())
                self._n_scores += 1
                self._raise_peaks(item.smoothed)
            elif isinstance(item, Event):
                self._take_event(item)
            elif isinstance(item, Gap):
                self._take_gap(item)

    def end(self) -> None:
        """Note that the stream has ended."""
        self._ended = True

    def _lose(self, n: int) -> None:
        self._audio.lose(n)
        self._picture.lose(n)

    def _take_event(self, item: Event) -> None:
        event = self._log.add(item)
        if event.offset is None:
            self._append(event, onset_at=self._clock(event.decided, event.onset))
            self._active[event.label] = self._count
            return
        place = self._active.pop(event.label) - self._events[0].number
        if place >= 0:  # else it is no longer in memory
            self._events[place] = replace(self._events[place], **vars(event))

    def _raise_peaks(self, smoothed: dict[str, float]) -> None:
        """Raise the peaks of active events."""
        for place, event in enumerate(self._events):
            if event.offset is None and (score := smoothed.get(event.label, 0.0)) > event.peak:
                self._events[place] = replace(event, peak=score)

    def _take_gap(self, gap: Gap) -> None:
        onset, end = gap.sample / self.sr, (gap.sample + gap.lost) / self.sr
        self._append(
            DetectedEvent("", onset, decided=end, peak=0.0, offset=end),
            onset_at=self._clock(end, onset),
            lost=gap.lost,
            paused=gap.sample < self._skipped_until,
        )

    def _append(self, event: DetectedEvent, **facts: Any) -> None:
        self._count += 1
        self._events.append(RecentEvent(**vars(event), number=self._count, **facts))

    def _clock(self, decided: float, onset: float) -> datetime | None:
        """Return the wall-clock time of an onset that is reported now."""
        if self.stream.started is None:
            return None
        return self._now() - timedelta(seconds=decided - onset)


class MemorySink:
    """An audio sink with a :class:`StreamMemory` for each running stream and the latest ended ones.

    Thread safety: one thread calls the methods of the contract, any thread :meth:`get`.

    Parameters
    ----------
    bundle : Bundle
        The model in use.
    now : callable
        Returns the wall-clock time, with a time zone.
    paused : callable
        Returns whether a person has paused the streams.
    keeps_sound : bool
        See :class:`StreamMemory`.
    """

    def __init__(
        self,
        bundle: Bundle,
        now: Callable[[], datetime] = utc_now,
        paused: Callable[[], bool] = lambda: False,
        keeps_sound: bool = True,
    ) -> None:
        self._bundle = bundle
        self._now = now
        self._paused = paused
        self._keeps_sound = keeps_sound
        self._memories: dict[str, StreamMemory] = {}

    def get(self, source: str) -> StreamMemory | None:
        """Return the memory of a stream that has begun, by its source's name."""
        return self._memories.get(source)

    def start(self, stream: StreamStart) -> None:
        others = {name: m for name, m in self._memories.items() if name != stream.source}
        for name in [name for name, m in others.items() if m.ended][:-MOST_ENDED]:
            del others[name]
        memory = StreamMemory(stream, self._bundle, self._now, self._paused, self._keeps_sound)
        self._memories = {**others, stream.source: memory}  # a new dict: any thread may be reading

    def on_chunk(self, stream: StreamStart, chunk: Chunk) -> None:
        self._memories[stream.source].on_chunk(chunk)

    def write(self, stream: StreamStart, item: Item) -> None:
        self._memories[stream.source].write(item)

    def end(self, stream: StreamStart, end: StreamEnd) -> None:
        self._memories[stream.source].end()

    def close(self) -> None:
        pass
