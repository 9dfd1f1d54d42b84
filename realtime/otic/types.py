"""Values that rooms hand to each other; the contracts of sources, streams and sinks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otic.errors import ParameterError


@dataclass(frozen=True)
class Lost:
    """``samples`` samples, at the model's rate, are missing here."""

    samples: int


Chunk = NDArray[np.float32] | Lost


@dataclass(frozen=True)
class Scores:
    """One prediction.

    Attributes
    ----------
    sample : int
        Samples of the stream up to the end of the window, at the model's rate.
    time : float
        The same in seconds.
    scores : dict of str to float
        What the model said, by label.
    smoothed : dict of str to float
        The mean of the latest scores: what is compared with the thresholds.
    """

    sample: int
    time: float
    scores: dict[str, float]
    smoothed: dict[str, float]


@dataclass(frozen=True)
class Event:
    """The start (``state="on"``) or the end (``"off"``) of a sound.

    All times are seconds of the stream. ``time`` is when it was decided,
    ``onset`` and ``offset`` are when the sound began and ended; ``score`` is
    the smoothed score at an ``on``, ``peak`` the highest from when the threshold
    was crossed until the ``off``.
    """

    state: str
    label: str
    onset: float
    time: float
    offset: float | None = None
    score: float | None = None
    peak: float | None = None


@dataclass(frozen=True)
class Gap:
    """``lost`` samples are missing from ``sample`` on; both at the model's rate."""

    sample: int
    lost: int


@dataclass(frozen=True)
class Level:
    """How loud a minute was: levels in dB, as they were heard.

    Attributes
    ----------
    sample : int
        Samples of the stream up to the end of the minute, at the model's rate.
    time : float
        The same in seconds.
    seconds : float
        How much of the minute was heard.
    laeq : float
        The A-weighted equivalent level.
    l10, l50, l90 : float
        The A-weighted level, time weighting F, that is exceeded for that many percent of the time.
    peak : float
        The highest sample, not weighted.
    bands : dict of str to float
        The equivalent level of each third octave, not weighted, by its nominal mid-frequency in Hz.
    calibrated : bool
        True for dB re 20 µPa, False for dB re full scale.
    """

    sample: int
    time: float
    seconds: float
    laeq: float
    l10: float
    l50: float
    l90: float
    peak: float
    bands: dict[str, float]
    calibrated: bool

    @property
    def unit(self) -> str:
        """The levels' unit."""
        return "dB" if self.calibrated else "dBFS"

    def record(self) -> dict[str, Any]:
        """Return what is logged and sent: all but when it was, levels rounded to 0.01 dB."""
        levels = {name: getattr(self, name) for name in ("laeq", "l10", "l50", "l90", "peak")}
        return {
            "seconds": self.seconds,
            "calibrated": self.calibrated,
            **{name: round(db, 2) for name, db in levels.items()},
            "bands": {name: round(db, 2) for name, db in self.bands.items()},
        }


Item = Scores | Event | Gap | Level


def label_text(label: str) -> str:
    """Return a label as people read it: ``crackling fire`` for ``crackling_fire``.

    For what is shown only: files, topics and options have the label itself.
    """
    return label.replace("_", " ").strip() or label


MAX_AMPLITUDE = 1e6
"""120 dB above full scale: no audio, but a file that is damaged or not scaled."""


def usable_runs(y: NDArray[np.float32]) -> Iterator[tuple[int, int, bool]]:
    """Cut ``y``, float32 [n], into runs ``(start, stop, usable)``.

    Not usable are NaN, infinite samples, and those above ``MAX_AMPLITUDE``,
    whose power would not fit into float32.
    """
    usable = np.abs(y) <= MAX_AMPLITUDE  # False for NaN
    if usable.all():
        if len(y):
            yield 0, len(y), True
        return
    edges = np.flatnonzero(np.diff(usable)) + 1
    bounds = [0, *edges.tolist(), len(y)]
    for start, stop in pairwise(bounds):
        yield start, stop, bool(usable[start])


def mono_samples(y: ArrayLike) -> NDArray[np.float32]:
    """``y`` as contiguous float32 [n]; a copy only where it must be.

    Raises
    ------
    ParameterError
        If ``y`` is not one-dimensional, or not of real numbers.
    """
    try:
        samples = np.asarray(y)
    except ValueError as error:
        raise ParameterError(f"y is no array: {error}") from error
    if samples.dtype.kind not in "fiu":
        raise ParameterError(f"y has dtype {samples.dtype}: samples in [-1, 1] are needed")
    if samples.ndim != 1:
        raise ParameterError(f"y has shape {samples.shape}: mono samples of shape [n] are needed")
    return np.ascontiguousarray(samples, dtype=np.float32)


@dataclass(frozen=True)
class SourceHealth:
    """How a source is.

    Attributes
    ----------
    state : str
        ``listening``; a device may also be ``waiting``, not there, or ``silent``, zeros only.
    queue_fill : float
        Share of the buffer between source and pipeline in use, 0 to 1.
    overruns : int
        How often audio was lost because somebody was too slow.
    reopenings : int
        How often a device was opened again.
    """

    state: str = "listening"
    queue_fill: float = 0.0
    overruns: int = 0
    reopenings: int = 0


class Source(Protocol):
    """A stream of mono samples at the model's rate.

    One thread iterates over :meth:`chunks`, once, and calls :meth:`close`.
    """

    name: str
    live: bool  # True where audio that is not taken in time is lost

    def chunks(self) -> Iterator[Chunk | None]:
        """Yield samples, losses, and None where there is nothing yet.

        Raises
        ------
        SourceError
            If reading fails; whatever could be read was yielded before.
        """

    def fileno(self) -> int | None:
        """A descriptor that becomes readable when there is more, if there is one."""

    def health(self) -> SourceHealth:
        """How it is."""

    def warnings(self) -> list[str]:
        """What a person should know at the end, a line each."""

    def close(self) -> None:
        """Release what was opened."""


@dataclass(frozen=True)
class StreamStart:
    """A stream: what is known of it before its first item.

    ``source`` tells the streams of a process that run at the same time apart.
    ``started`` is the wall-clock time of a live stream, ISO 8601 in UTC, else None.
    ``recording`` names what is played, the same each time, else None; no log has it.
    ``recorded`` is when the recording that is played began, ISO 8601 with its offset from UTC,
    where that is known.
    ``dated_back_seconds`` is how far an onset may lie before the window in which it was decided.
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
    recording: str | None = None
    recorded: str | None = None
    dated_back_seconds: float = 0.0


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
    slow is behind a :class:`otic.sinks.delivery.worker.DeliveryWorker`.
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

    def on_chunk(self, stream: StreamStart, chunk: Chunk) -> None:
        """The pipeline is about to take ``chunk``; what it completes is written next."""


@dataclass(frozen=True)
class StreamStatus:
    """The state at one moment.

    ``level_dbfs`` is the RMS of the last tenth of a second, ``peak_dbfs`` the
    highest sample of the last two seconds, both in dB re full scale and of the
    mono signal at the model's rate;
    ``real_time_factor`` is seconds of audio by seconds of computing. ``queue_fill``, ``state``,
    ``overruns`` and ``reopenings`` are the source's, see
    :class:`otic.types.SourceHealth`. ``event_counts`` says how often each label went on.
    ``lost_samples`` are those that nobody wanted to lose, ``lost_at`` is the second of the
    stream behind the latest of them; ``skipped_samples`` came while a person had paused it.
    ``minute`` is how loud the latest minute was, where that is measured.
    """

    seconds: float
    level_dbfs: float
    peak_dbfs: float
    clipped: bool
    scores: dict[str, float]
    active: frozenset[str]
    events: tuple[Event | Gap, ...]
    n_scores: int
    real_time_factor: float
    inference_p50_ms: float
    inference_p99_ms: float
    queue_fill: float
    lost_samples: int
    lost_seconds: float
    lost_at: float | None
    skipped_samples: int
    state: str
    overruns: int
    reopenings: int
    event_counts: dict[str, int]
    minute: Level | None = None
