"""What a sensor tells Prometheus: the names, and where their values come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from otic import __version__
from otic.audio.sources import STATES

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric


class Health(Protocol):
    """What is shown of a stream; :class:`otic.types.StreamStatus` is one."""

    @property
    def state(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def level_dbfs(self) -> float: ...
    @property
    def scores(self) -> Mapping[str, float]: ...
    @property
    def event_counts(self) -> Mapping[str, int]: ...
    @property
    def n_scores(self) -> int: ...
    @property
    def inference_p50_ms(self) -> float: ...
    @property
    def inference_p99_ms(self) -> float: ...
    @property
    def queue_fill(self) -> float: ...
    @property
    def lost_samples(self) -> int: ...
    @property
    def overruns(self) -> int: ...
    @property
    def reopenings(self) -> int: ...


class Delivery(Protocol):
    """What is shown of a receiver; :class:`otic.sinks.delivery.worker.DeliveryStatus` is one."""

    @property
    def name(self) -> str: ...
    @property
    def connected(self) -> bool: ...
    @property
    def delivered(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def retries(self) -> int: ...
    @property
    def waiting(self) -> int: ...


class Recordings(Protocol):
    """What is shown of them; :class:`otic.sinks.clip_writer.ClipStatus` is one."""

    @property
    def written(self) -> int: ...
    @property
    def deleted(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def failed(self) -> int: ...


_Value = tuple[tuple[str, ...], float]  # of the labels, and the number


class Collector:
    """Reads the state of things when somebody asks; keeps nothing.

    Thread safety: :meth:`collect` may be called by any thread, and calls both callables.

    Parameters
    ----------
    health : callable
        A snapshot of each stream, by its name.
    workers : callable
        The state of each receiver.
    model : str
        The name of the model in use.
    recordings : callable, optional
        What became of them; without it there are none.
    lines_dropped : callable, optional
        How many lines of the log were dropped; without it there is no log.
    """

    def __init__(
        self,
        health: Callable[[], Mapping[str, Health]],
        workers: Callable[[], Sequence[Delivery]],
        model: str,
        recordings: Callable[[], Recordings] | None = None,
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

        build = {"version": __version__, "model": _text(self._model)}
        yield InfoMetricFamily("otic_build", "Version of otic, and its model.", value=build)
        yield from _of_sources(self._health())
        yield from _of_receivers(self._workers())
        if self._recordings is not None:
            yield _of_recordings(self._recordings())
        if self._lines_dropped is not None:
            text = "Lines of the log that could not be written."
            yield _counter("otic_log_lines_dropped", text, [], [((), self._lines_dropped())])


def page_of(collector: Collector) -> Callable[[], bytes]:
    """What makes the page, in Prometheus' text format 0.0.4; with figures of the process."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    registry: CollectorRegistry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)


def _of_sources(health: Mapping[str, Health]) -> Iterator[Metric]:
    from prometheus_client.core import Metric

    streams = sorted((_text(name), snapshot) for name, snapshot in health.items())
    sources = ["source"]

    def each(value: Callable[[Health], float]) -> list[_Value]:
        return [((name,), value(h)) for name, h in streams]

    yield _gauge(
        "otic_up",
        "1 while audio comes in that is not silence of a dead input, else 0.",
        sources,
        each(lambda h: h.state == "listening"),
    )
    yield _gauge(
        "otic_source_state",
        "1 for the state that the input is in, 0 for the others.",
        [*sources, "state"],
        [
            ((name, state), state == h.state)
            for name, h in streams
            for state in dict.fromkeys((*STATES, h.state))
        ],
    )
    yield _counter(
        "otic_audio_seconds",
        "Audio so far, lost audio included.",
        sources,
        each(lambda h: h.seconds),
    )
    yield _counter(
        "otic_lost_samples",
        "Samples that never arrived, at the model's rate.",
        sources,
        each(lambda h: h.lost_samples),
    )
    yield _counter(
        "otic_overruns",
        "How often audio was lost because somebody was too slow.",
        sources,
        each(lambda h: h.overruns),
    )
    yield _counter(
        "otic_reopenings",
        "How often the device was opened again.",
        sources,
        each(lambda h: h.reopenings),
    )
    yield _gauge(
        "otic_level_dbfs",
        "RMS of the last tenth of a second, dB re full scale.",
        sources,
        each(lambda h: h.level_dbfs),
    )
    yield _gauge(
        "otic_queue_fill_ratio",
        "Share in use of the buffer between input and classifier.",
        sources,
        each(lambda h: h.queue_fill),
    )
    yield _counter("otic_inferences", "Predictions so far.", sources, each(lambda h: h.n_scores))
    durations = Metric("otic_inference_seconds", "How long the model computes.", "summary")
    for name, h in streams:
        for quantile, ms in (("0.5", h.inference_p50_ms), ("0.99", h.inference_p99_ms)):
            labels = {"source": name, "quantile": quantile}
            durations.add_sample("otic_inference_seconds", labels, ms / 1e3)
    yield durations
    yield _gauge(
        "otic_score",
        "Latest smoothed score.",
        [*sources, "label"],
        [((name, _text(label)), s) for name, h in streams for label, s in h.scores.items()],
    )
    yield _counter(
        "otic_events",
        "Events that began so far.",
        [*sources, "label"],
        [
            ((name, _text(label)), h.event_counts.get(label, 0))
            for name, h in streams
            for label in dict.fromkeys((*h.scores, *h.event_counts))
        ],
    )


def _of_receivers(workers: Sequence[Delivery]) -> Iterator[Metric]:
    def each(value: Callable[[Delivery], float]) -> list[_Value]:
        return [((_text(c.name),), value(c)) for c in workers]

    labels = ["receiver"]
    yield _gauge(
        "otic_receiver_connected",
        "1 while the receiver can be reached.",
        labels,
        each(lambda c: c.connected),
    )
    yield _gauge("otic_receiver_waiting", "Notices that wait.", labels, each(lambda c: c.waiting))
    yield _counter("otic_receiver_delivered", "Notices taken.", labels, each(lambda c: c.delivered))
    yield _counter("otic_receiver_refused", "Notices refused.", labels, each(lambda c: c.refused))
    yield _counter(
        "otic_receiver_dropped",
        "Notices lost because too many waited.",
        labels,
        each(lambda c: c.dropped),
    )
    yield _counter(
        "otic_receiver_retries", "Deliveries tried again.", labels, each(lambda c: c.retries)
    )


def _of_recordings(recordings: Recordings) -> Metric:
    results = ("written", "dropped", "failed", "deleted")
    return _counter(
        "otic_recordings",
        "Recordings by what became of them; a deleted one was written before.",
        ["result"],
        [((result,), getattr(recordings, result)) for result in results],
    )


def _gauge(name: str, text: str, labels: Sequence[str], values: Iterable[_Value]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, float(value))
    return family


def _counter(name: str, text: str, labels: Sequence[str], values: Iterable[_Value]) -> Metric:
    """A counter; its samples are called ``<name>_total``."""
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, float(value))
    return family


def _text(text: str) -> str:
    """What UTF-8 can hold of it."""
    return text.encode(errors="replace").decode()
