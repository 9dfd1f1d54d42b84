"""What a stream tells, and who may listen: the contract between the runner and every sink."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from otic.audio.converter import Chunk
from otic.detection.detector import Item


@dataclass(frozen=True)
class StreamStart:
    """A stream: what is known of it before its first item.

    ``source`` tells the streams of a process that run at the same time apart.
    ``started`` is the wall-clock time of a live stream, ISO 8601 in UTC, else None.
    """

    otic: str
    model: str
    model_sha256: str
    source: str
    sr: int
    window_seconds: float
    inference_hop_seconds: float
    labels: tuple[str, ...]
    started: str | None = None


@dataclass(frozen=True)
class StreamEnd:
    """What is said of a stream after its last item; ``lost`` of ``samples`` were lost."""

    samples: int
    seconds: float
    lost: int


class Sink(Protocol):
    """Takes what streams give; one thread calls all methods.

    Several streams may run at once: for each, the calls come in the order start,
    write …, end, and name the stream. No method may wait for anybody: what can be
    slow is behind a :class:`otic.sinks.delivery.worker.Courier`.
    """

    def start(self, stream: StreamStart) -> None:
        """A stream begins."""

    def write(self, stream: StreamStart, item: Item) -> None:
        """The stream gave an item."""

    def end(self, stream: StreamStart, end: StreamEnd) -> None:
        """The stream ended."""

    def close(self) -> None:
        """No further stream comes."""


@runtime_checkable
class AudioSink(Sink, Protocol):
    """A sink that is also given the audio itself."""

    def hear(self, stream: StreamStart, chunk: Chunk) -> None:
        """The pipeline is about to take ``chunk``; what it completes is written next."""
