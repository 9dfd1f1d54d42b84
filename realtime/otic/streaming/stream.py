"""One source on its way through a pipeline into the sinks."""

from __future__ import annotations

import time
from collections.abc import Sequence

from otic import __version__
from otic.pipeline import Pipeline
from otic.streaming.monitor import Monitor
from otic.system.clock import iso, utc_now
from otic.types import AudioSink, Chunk, Item, Lost, Sink, Source, StreamEnd, StreamStart


class Stream:
    """One source, its pipeline and its monitor; sinks are shared between streams.

    Parameters
    ----------
    source : Source
    pipeline : Pipeline
        Used by this stream only.
    monitor : Monitor
        Kept up to date.
    sinks : sequence of Sink
        Called in this order.
    limit : int, optional
        End after this many samples.
    """

    def __init__(
        self,
        source: Source,
        pipeline: Pipeline,
        monitor: Monitor,
        sinks: Sequence[Sink],
        limit: int | None,
    ) -> None:
        self.source = source
        self.next_chunk: Chunk | None = None
        """The chunk that :meth:`take` will take; None if there is none yet."""
        self._pipeline = pipeline
        self._monitor = monitor
        self._sinks = sinks
        self._notified: list[Sink] = []  # sinks that know the stream
        self._listeners = [sink for sink in sinks if isinstance(sink, AudioSink)]
        self._limit = limit
        self._chunks = source.chunks()
        self._start: StreamStart | None = None
        self._finished = False

    @property
    def next_end(self) -> int:
        """The sample clock at the end of ``next_chunk``."""
        assert self.next_chunk is not None
        return self._pipeline.sample + _length(self.next_chunk)

    def begin(self) -> None:
        """Announce the stream to the sinks."""
        bundle = self._pipeline.bundle
        started = None
        if self.source.live:
            started = iso(utc_now())
        self._start = StreamStart(
            otic=__version__,
            model=bundle.name,
            model_sha256=bundle.sha256,
            source=self.source.name,
            sr=bundle.features.sr,
            window_seconds=bundle.window_seconds,
            inference_hop_seconds=bundle.inference_hop_seconds,
            labels=bundle.labels,
            started=started,
            recording=getattr(self.source, "recording", None),  # files only have these
            recorded=getattr(self.source, "recorded", None),
            dated_back_seconds=bundle.decision.dated_back_seconds,
        )
        for sink in self._sinks:
            sink.start(self._start)
            self._notified.append(sink)

    def look(self) -> bool:
        """Fetch the next chunk if none is waiting; return False at the end of the stream.

        Raises
        ------
        SourceError
            If the source fails; everything it gave before has been taken.
        """
        if self._limit is not None and self._pipeline.sample >= self._limit:
            return False
        if self.next_chunk is None:
            try:
                chunk = next(self._chunks)
            except StopIteration:
                return False
            self.next_chunk = None if chunk is None else self._cut(chunk)
        return True

    def take(self) -> None:
        """Classify the waiting chunk and pass the results on."""
        chunk = self._take_next()
        begin = time.perf_counter()
        lost_before = self._pipeline.lost
        if isinstance(chunk, Lost):
            items = self._pipeline.lose(chunk.samples)
        else:
            items = self._pipeline.process(chunk)
        self._monitor.record_work(time.perf_counter() - begin)
        self._monitor.record_chunk(chunk, self._pipeline.lost - lost_before)
        self._emit(items)

    def skip(self) -> None:
        """Skip the waiting chunk: a person has paused the stream."""
        assert self.next_chunk is not None
        n = _length(self.next_chunk)
        self.next_chunk = Lost(n)
        self._take_next()
        self._monitor.skipped(n)
        self._emit(self._pipeline.lose(n))

    def set_threshold(self, label: str, value: float) -> None:
        """Change a threshold: see :meth:`otic.Pipeline.set_threshold`."""
        self._pipeline.set_threshold(label, value)

    def finish(self) -> None:
        """Close active events and announce the end, once, to the sinks that know the stream."""
        if self._finished or self._start is None:
            return
        self._finished = True
        self._emit(self._pipeline.flush())
        samples = self._pipeline.sample
        end = StreamEnd(samples, samples / self._start.sr, self._pipeline.lost)
        for sink in self._notified:
            sink.end(self._start, end)

    def _take_next(self) -> Chunk:
        """Remove and return the waiting chunk, after handing it to the audio sinks."""
        chunk, self.next_chunk = self.next_chunk, None
        assert chunk is not None
        assert self._start is not None
        for listener in self._listeners:
            listener.on_chunk(self._start, chunk)
        return chunk

    def _emit(self, items: list[Item]) -> None:
        assert self._start is not None
        # One sink after the other: if one fails, those before it have everything.
        for sink in self._notified:
            for item in items:
                sink.write(self._start, item)
        self._monitor.record_items(items)

    def _cut(self, chunk: Chunk) -> Chunk:
        """Cut a chunk at the limit on the sample clock."""
        if self._limit is None:
            return chunk
        left = self._limit - self._pipeline.sample
        if isinstance(chunk, Lost):
            return Lost(min(chunk.samples, left))
        return chunk[:left]


def _length(chunk: Chunk) -> int:
    return chunk.samples if isinstance(chunk, Lost) else len(chunk)
