"""The metrics that a sensor has for Prometheus: their names, and where their values come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from otic import __version__
from otic.audio.sources import STATES
from otic.errors import printable
from otic.sinks.clip_writer import ClipStatus
from otic.sinks.delivery.worker import DeliveryStatus
from otic.types import StreamStatus

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_Value = tuple[tuple[str, ...], float]  # of the labels, and the number
_Row = tuple[str, str, str, Callable[[Any], float]]  # kind, name, text, value

_OF_SOURCES: tuple[_Row, ...] = (
    (
        "gauge",
        "otic_up",
        "1 while audio comes in that is not silence of a dead input, else 0.",
        lambda s: s.state == "listening",
    ),
    (
        "counter",
        "otic_audio_seconds",
        "Audio so far, lost audio included.",
        attrgetter("seconds"),
    ),
    (
        "counter",
        "otic_lost_samples",
        "Samples that never arrived, at the model's rate.",
        attrgetter("lost_samples"),
    ),
    (
        "counter",
        "otic_overruns",
        "How often audio was lost because somebody was too slow.",
        attrgetter("overruns"),
    ),
    (
        "counter",
        "otic_reopenings",
        "How often the device was opened again.",
        attrgetter("reopenings"),
    ),
    (
        "gauge",
        "otic_level_dbfs",
        "RMS of the last tenth of a second, dB re full scale.",
        attrgetter("level_dbfs"),
    ),
    (
        "gauge",
        "otic_queue_fill_ratio",
        "Share in use of the buffer between input and classifier.",
        attrgetter("queue_fill"),
    ),
    ("counter", "otic_inferences", "Predictions so far.", attrgetter("n_scores")),
)
_OF_RECEIVERS: tuple[_Row, ...] = (
    (
        "gauge",
        "otic_receiver_connected",
        "1 while the receiver can be reached.",
        attrgetter("connected"),
    ),
    ("gauge", "otic_receiver_waiting", "Notifications that wait.", attrgetter("waiting")),
    ("counter", "otic_receiver_delivered", "Notifications taken.", attrgetter("delivered")),
    ("counter", "otic_receiver_refused", "Notifications refused.", attrgetter("refused")),
    (
        "counter",
        "otic_receiver_dropped",
        "Notifications lost because too many waited.",
        attrgetter("dropped"),
    ),
    ("counter", "otic_receiver_retries", "Deliveries tried again.", attrgetter("retries")),
)


class Collector:
    """Reads the state of things when somebody asks; keeps nothing.

    Thread safety: :meth:`collect` may be called by any thread, and calls both callables.

    Parameters
    ----------
    health : callable
        The status of each stream, by its name.
    workers : callable
        The status of each receiver.
    model : str
        The name of the model in use.
    recordings : callable, optional
        What became of them; without it there are none.
    lines_dropped : callable, optional
        How many lines of the log were dropped; without it there is no log.
    """

    def __init__(
        self,
        health: Callable[[], Mapping[str, StreamStatus]],
        workers: Callable[[], Sequence[DeliveryStatus]],
        model: str,
        recordings: Callable[[], ClipStatus] | None = None,
        lines_dropped: Callable[[], int] | None = None,
    ) -> None:
        self._health = health
        self._workers = workers
        self._model = model
        self._recordings = recordings
        self._lines_dropped = lines_dropped

    def collect(self) -> Iterator[Metric]:
        """Every metric of the program, once."""
        from prometheus_client.core import InfoMetricFamily

        build = {"version": __version__, "model": printable(self._model)}
        yield InfoMetricFamily("otic_build", "Version of otic, and its model.", value=build)
        yield from _of_sources(self._health())
        workers = [(printable(status.name), status) for status in self._workers()]
        for kind, name, text, value in _OF_RECEIVERS:
            yield _family(kind, name, text, ["receiver"], [((n,), value(s)) for n, s in workers])
        if self._recordings is not None:
            status = self._recordings()
            yield _family(
                "counter",
                "otic_recordings",
                "Recordings by what became of them; a deleted one was written before.",
                ["result"],
                [((r,), getattr(status, r)) for r in ("written", "dropped", "failed", "deleted")],
            )
        if self._lines_dropped is not None:
            text = "Lines of the log that could not be written."
            dropped = self._lines_dropped()
            yield _family("counter", "otic_log_lines_dropped", text, [], [((), dropped)])


def page_of(collector: Collector) -> Callable[[], bytes]:
    """Return a function that makes the page, in Prometheus' text format 0.0.4."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)


def _of_sources(health: Mapping[str, StreamStatus]) -> Iterator[Metric]:
    from prometheus_client.core import Metric

    streams = sorted((printable(name), status) for name, status in health.items())
    for kind, name, text, value in _OF_SOURCES:
        yield _family(kind, name, text, ["source"], [((n,), value(s)) for n, s in streams])
    yield _family(
        "gauge",
        "otic_source_state",
        "1 for the state that the input is in, 0 for the others.",
        ["source", "state"],
        [
            ((name, state), state == status.state)
            for name, status in streams
            for state in dict.fromkeys((*STATES, status.state))
        ],
    )
    durations = Metric("otic_inference_seconds", "How long the model computes.", "summary")
    for name, s in streams:
        for quantile, ms in (("0.5", s.inference_p50_ms), ("0.99", s.inference_p99_ms)):
            labels = {"source": name, "quantile": quantile}
            durations.add_sample("otic_inference_seconds", labels, ms / 1e3)
    yield durations
    yield _family(
        "gauge",
        "otic_score",
        "Latest smoothed score.",
        ["source", "label"],
        [((name, printable(label)), x) for name, s in streams for label, x in s.scores.items()],
    )
    yield _family(
        "counter",
        "otic_events",
        "Events that began so far.",
        ["source", "label"],
        [
            ((name, printable(label)), s.event_counts.get(label, 0))
            for name, s in streams
            for label in dict.fromkeys((*s.scores, *s.event_counts))
        ],
    )
    yield from _of_minutes(streams)


def _of_minutes(streams: Sequence[tuple[str, StreamStatus]]) -> Iterator[Metric]:
    minutes = [(name, status.minute) for name, status in streams if status.minute is not None]
    if not minutes:
        return
    yield _family(
        "gauge",
        "otic_minute_level_db",
        "Latest minute: LAeq, L10, L50, L90 and peak; dB re 20 µPa if calibrated, else dBFS.",
        ["source", "level", "calibrated"],
        [
            ((source, name, str(minute.calibrated).lower()), getattr(minute, name))
            for source, minute in minutes
            for name in ("laeq", "l10", "l50", "l90", "peak")
        ],
    )
    yield _family(
        "gauge",
        "otic_minute_band_db",
        "Latest minute: level of each third octave, by its mid-frequency in Hz.",
        ["source", "band", "calibrated"],
        [
            ((source, band, str(minute.calibrated).lower()), db)
            for source, minute in minutes
            for band, db in minute.bands.items()
        ],
    )


def _family(
    kind: str, name: str, text: str, labels: Sequence[str], values: Iterable[_Value]
) -> Metric:
    """A gauge, or a counter, whose samples are called ``<name>_total``."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    make = GaugeMetricFamily if kind == "gauge" else CounterMetricFamily
    family: GaugeMetricFamily | CounterMetricFamily = make(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, float(value))
    return family
