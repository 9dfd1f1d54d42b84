"""Run sources through pipelines into sinks: pace, order, an orderly end."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from otic.errors import SourceError
from otic.features.level import LevelParams
from otic.model.bundle import Bundle
from otic.model.classifier import Classifier
from otic.pipeline import Pipeline
from otic.streaming.control import Control, Stop
from otic.streaming.monitor import Monitor, TimedClassifier
from otic.streaming.stream import Stream
from otic.types import Sink, Source

_LONGEST_SLEEP_SECONDS = 0.05  # a signal is noticed within this time while a file is paced
_LONGEST_WAIT_SECONDS = 0.25  # the longest wait for a device


class Runner:
    """Runs one model on any number of streams, at once or one after the other.

    Everything happens in the thread that calls :meth:`run`, except for what a sink leaves to
    a worker and for drawing the dashboard.

    Parameters
    ----------
    bundle : Bundle
    unknown : bool
        See :class:`otic.Pipeline`.
    on_round : callable
        Called several times a second while streams run: the sign of life for a watchdog.
    control : Control, optional
        A person's requests.
    level : LevelParams, optional
        See :class:`otic.Pipeline`.
    """

    def __init__(
        self,
        bundle: Bundle,
        unknown: bool = False,
        on_round: Callable[[], None] = lambda: None,
        control: Control | None = None,
        level: LevelParams | None = None,
    ) -> None:
        self.bundle = bundle
        self._level = level
        self._unknown = unknown
        self._on_round = on_round
        self._control = control if control is not None else Control(bundle.labels, bundle.decision)
        self._classifier = TimedClassifier(Classifier(bundle))
        self._warm_up()

    def monitor(self, source: Source) -> Monitor:
        """Return a monitor for a source that is given to the next :meth:`run`."""
        return Monitor(source, self.bundle, self._classifier)

    def run(
        self,
        inputs: Sequence[tuple[Source, Monitor]],
        sinks: Sequence[Sink],
        stop: Stop,
        speed: float | None = 1.0,
        duration_seconds: float | None = None,
    ) -> None:
        """Classify sources until they end, ``stop`` is requested or the duration is reached.

        Whatever ends the run, events are closed and the log is complete. Sources that are not live
        take turns by their sample clocks, so the log has the same order every time.

        Parameters
        ----------
        inputs : sequence of Source and Monitor
            Names of sources that run at once must differ. The monitors are kept up to date.
        sinks : sequence of Sink
            Called in this order; not closed.
        stop : Stop
        speed : float or None
            Seconds of audio per second, for sources that are not live; None: as fast as possible.
        duration_seconds : float, optional
            Stop after this much audio.

        Raises
        ------
        SourceError
            If a source fails; what it gave before is classified and logged, and the other
            sources run to their ends.
        SinkError
            If a result can't be written.
        """
        sr = self.bundle.features.sr
        limit = None if duration_seconds is None else round(duration_seconds * sr)
        stop.streaming = True
        streams = [
            Stream(source, self._pipeline(), monitor, sinks, limit) for source, monitor in inputs
        ]
        failures: list[SourceError] = []
        begun = []
        try:
            for stream in streams:
                begun.append(stream)
                stream.begin()
            begin = time.monotonic()
            thresholds = self._control.own_thresholds
            while streams and not stop.requested:
                self._on_round()
                thresholds = self._set_thresholds(streams, thresholds)
                if self._control.paused:
                    paused_at = time.monotonic()
                    streams = [s for s in streams if self._skip(s, stop, failures)]
                    _sleep_until(paused_at + _LONGEST_SLEEP_SECONDS, stop)
                    begin += time.monotonic() - paused_at
                    continue
                streams = [s for s in streams if self._look(s, failures)]
                ready = [s for s in streams if s.next_chunk is not None]
                if not ready:
                    _wait_for(streams, stop)
                    continue
                stream = min(ready, key=lambda s: s.next_end)
                if speed is not None and not stream.source.live:
                    # A chunk is due when its last sample is, as it would be live.
                    _sleep_until(begin + stream.next_end / sr / speed, stop)
                    if stop.requested:
                        break
                stream.take()
        finally:
            # This includes failed sources and sinks: everything detected is reported.
            try:
                _finish(begun)
            finally:
                stop.streaming = False
        if failures:
            raise failures[0]

    def _pipeline(self) -> Pipeline:
        return Pipeline(self.bundle, self._classifier, unknown=self._unknown, level=self._level)

    def _set_thresholds(
        self, streams: Sequence[Stream], before: Mapping[str, float]
    ) -> Mapping[str, float]:
        """Pass changed thresholds on to the streams; return the current ones."""
        now = self._control.thresholds
        if now is not before:
            for label, value in now.items():
                if value != before[label]:
                    for stream in streams:
                        stream.set_threshold(label, value)
        return now

    def _skip(self, stream: Stream, stop: Stop, failures: list[SourceError]) -> bool:
        """Skip a microphone's audio in a pause, while a file waits; False at the stream's end."""
        while stream.source.live and self._control.paused and not stop.requested:
            if not self._look(stream, failures):
                return False
            if stream.next_chunk is None:
                break
            stream.skip()
        return True

    @staticmethod
    def _look(stream: Stream, failures: list[SourceError]) -> bool:
        """Fetch a stream's next chunk; False if the stream has ended or failed."""
        try:
            if stream.look():
                return True
        except SourceError as error:
            failures.append(error)
        stream.finish()
        return False

    def _warm_up(self) -> None:
        """Compile the kernels, or load them, before there is audio to lose."""
        self._pipeline().process(np.zeros(self.bundle.window_samples, np.float32))
        self._classifier.reset()


def _finish(streams: Sequence[Stream]) -> None:
    """Finish all streams, even if one fails."""
    if streams:
        try:
            streams[0].finish()
        finally:
            _finish(streams[1:])


def _wait_for(streams: Sequence[Stream], stop: Stop) -> None:
    """Wait briefly until a stream may have a chunk or a signal arrives."""
    if not any(s.source.live for s in streams):
        return  # other sources wait by themselves
    descriptors = [d for s in streams if (d := s.source.fileno()) is not None]
    if stop.wakeup is not None:
        descriptors.append(stop.wakeup)
    select.select(descriptors, [], [], _LONGEST_WAIT_SECONDS)


def _sleep_until(moment: float, stop: Stop) -> None:
    """Sleep in short steps: a signal handler can't end a sleep in CPython."""
    while not stop.requested:
        left = moment - time.monotonic()
        if left <= 0.0:
            return
        time.sleep(min(left, _LONGEST_SLEEP_SECONDS))
