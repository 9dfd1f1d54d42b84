"""Runs a source through a pipeline into sinks: pace, signals, orderly end."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType

import numpy as np

from realtime.bundle import Bundle
from realtime.classifier import Classifier
from realtime.conversion import Chunk, Lost
from realtime.errors import SinkError
from realtime.events import Item
from realtime.monitor import Monitor, TimedClassifier
from realtime.pipeline import Pipeline
from realtime.sinks import Sink, StreamEnd, StreamStart
from realtime.sources import Source
from realtime.version import __version__

_NAP_SECONDS = 0.01  # how long to wait for a live source that has nothing yet
_SAME_WISH_SECONDS = 1.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE_SECONDS = 3.0  # that a stop may take; then a blocked write is broken off
_LONGEST_SLEEP_SECONDS = 0.05  # how soon a signal is noticed


class Stop:
    """Set by a signal handler, looked at by the loop.

    ``streaming`` is True from the first line of the log on.
    """

    def __init__(self) -> None:
        self.requested = False
        self.streaming = False


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """SIGINT, SIGTERM and SIGHUP ask for an orderly stop; one a second later interrupts.

    Sooner, it is the same wish twice: a service manager may signal both a process
    and its group.

    Raises
    ------
    SinkError
        Within the body, where the stop takes too long: then a reader of our
        output has stalled, and nothing but an exception ends a blocked write.
    """
    stop = Stop()
    first = 0.0

    def give_up(number: int, frame: FrameType | None) -> None:
        if not stop.streaming:  # still compiling
            raise KeyboardInterrupt
        raise SinkError("the reader of the log does not read: its end could not be written")

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not stop.requested:
            stop.requested, first = True, time.monotonic()
            # Again and again: the log's end is a write that may block, too.
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE_SECONDS, _PATIENCE_SECONDS)
        elif time.monotonic() - first > _SAME_WISH_SECONDS:
            raise KeyboardInterrupt

    before = {n: signal.signal(n, handle) for n in _STOP_SIGNALS}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, give_up)
    try:
        yield stop
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in before.items():
            signal.signal(number, handler)


class Runner:
    """One model for one stream after the other.

    Everything happens in the thread that calls :meth:`run`, but for PortAudio's
    callback behind a live source and the dashboard's drawing.

    Parameters
    ----------
    bundle : Bundle
    sinks : sequence of Sink
        Called in this order.
    unknown : bool
        See :class:`realtime.Pipeline`.
    """

    def __init__(self, bundle: Bundle, sinks: Sequence[Sink], unknown: bool = False) -> None:
        self.bundle = bundle
        self._sinks = sinks
        self._classifier = TimedClassifier(Classifier(bundle))
        self._pipeline = Pipeline(bundle, self._classifier, unknown=unknown)
        self._warm_up()

    def monitor(self, source: Source) -> Monitor:
        """A monitor for the next :meth:`run`."""
        return Monitor(source.name, self.bundle, self._classifier)

    def run(
        self,
        source: Source,
        monitor: Monitor,
        stop: Stop,
        speed: float | None = 1.0,
        duration_seconds: float | None = None,
    ) -> None:
        """Classify a source until it ends, ``stop`` is requested or the duration is reached.

        Events are closed and the log is complete whatever ends it.

        Parameters
        ----------
        source : Source
        monitor : Monitor
            Kept up to date.
        stop : Stop
        speed : float or None
            Stream seconds a second for a source that is not live; None is as
            fast as it goes.
        duration_seconds : float, optional
            Stop after this much audio.

        Raises
        ------
        SourceError
            If the source fails; what it gave before is classified and logged.
        SinkError
            If a result can't be written.
        """
        sr = self.bundle.features.sr
        limit = None if duration_seconds is None else round(duration_seconds * sr)
        self._pipeline.reset()
        stop.streaming = True
        self._start(source)
        begin = time.monotonic()
        try:
            for chunk in source.chunks():
                if stop.requested:
                    break
                if chunk is None:
                    time.sleep(_NAP_SECONDS if source.live else 0.0)
                    continue
                chunk = _cut(chunk, limit, self._pipeline.sample)
                if speed is not None and not source.live:
                    # A chunk is there when its last sample is, as it would be live.
                    arrived = self._pipeline.sample + _length(chunk)
                    _sleep_until(begin + arrived / sr / speed, stop)
                    if stop.requested:
                        break
                self._take(chunk, source, monitor)
                if limit is not None and self._pipeline.sample >= limit:
                    break
        finally:
            # Also where the source failed: what was heard is reported whole.
            self._emit(self._pipeline.flush(), monitor)
            end = StreamEnd(self._pipeline.sample, self._pipeline.sample / sr, self._pipeline.lost)
            for sink in self._sinks:
                sink.end(end)

    def close(self) -> None:
        """Close the sinks."""
        for sink in self._sinks:
            sink.close()

    def _warm_up(self) -> None:
        """Compile, or load what was compiled, before there is audio to lose."""
        self._pipeline.process(np.zeros(self.bundle.features.window_samples, np.float32))
        self._pipeline.reset()
        self._classifier.reset()

    def _start(self, source: Source) -> None:
        started = None
        if source.live:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            started = now.replace("+00:00", "Z")
        start = StreamStart(
            otic=__version__,
            model=self.bundle.name,
            model_sha256=self.bundle.sha256,
            source=source.name,
            sr=self.bundle.features.sr,
            window_seconds=self.bundle.features.window_seconds,
            inference_hop_seconds=self.bundle.inference_hop_seconds,
            labels=self.bundle.labels,
            started=started,
        )
        for sink in self._sinks:
            sink.start(start)

    def _take(self, chunk: Chunk, source: Source, monitor: Monitor) -> None:
        begin = time.perf_counter()
        if isinstance(chunk, Lost):
            items = self._pipeline.lose(chunk.samples)
            monitor.heard_loss(chunk.samples)
        else:
            items = self._pipeline.process(chunk)
            if len(chunk):
                monitor.heard_samples(chunk)
        monitor.heard_work(time.perf_counter() - begin, source.queue_fill())
        self._emit(items, monitor)

    def _emit(self, items: list[Item], monitor: Monitor) -> None:
        for item in items:
            for sink in self._sinks:
                sink.write(item)
        monitor.heard_items(items)


def _length(chunk: Chunk) -> int:
    return chunk.samples if isinstance(chunk, Lost) else len(chunk)


def _cut(chunk: Chunk, limit: int | None, sample: int) -> Chunk:
    """The part of the chunk up to the limit on the sample clock."""
    if limit is None:
        return chunk
    if isinstance(chunk, Lost):
        return Lost(min(chunk.samples, limit - sample))
    return chunk[: limit - sample]


def _sleep_until(moment: float, stop: Stop) -> None:
    """Sleep in short naps: a signal handler can't wake a sleep in CPython."""
    while not stop.requested:
        left = moment - time.monotonic()
        if left <= 0.0:
            return
        time.sleep(min(left, _LONGEST_SLEEP_SECONDS))
