"""From settings to sinks: the log, the receivers behind their queue, recordings, metrics."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from otic.config.settings import LevelSettings, Settings
from otic.detection.loud import LOUD
from otic.errors import ConfigurationError
from otic.model.bundle import Bundle
from otic.sinks.delivery.notification import Receiver, Sensor
from otic.sinks.event_filter import EventFilter, open_filters
from otic.sinks.jsonl import JsonlSink
from otic.sinks.text import TextSink
from otic.system.files import state_folder
from otic.system.network import host_and_port
from otic.types import Sink, StreamStatus

if TYPE_CHECKING:
    from otic.sinks.clips import ClipSink
    from otic.sinks.delivery.outbox import Outbox
    from otic.sinks.metrics import MetricsServer

_log = logging.getLogger(__name__)

Health = Callable[[], Mapping[str, StreamStatus]]

_MEGABYTE = 1_000_000
_OLD_QUEUE = "spool.sqlite3"  # until December 2026


class Outputs:
    """The outputs that :func:`open_outputs` opened.

    Attributes
    ----------
    sinks : list of Sink
        They are given the streams in this order.
    """

    def __init__(self) -> None:
        self.sinks: list[Sink] = []
        self._outbox: Outbox | None = None
        self._clips: ClipSink | None = None
        self._log: JsonlSink | None = None

    def undelivered(self) -> int:
        """Once they are closed: how many events receivers have not got; they were named."""
        return 0 if self._outbox is None else self._outbox.undelivered()


@contextmanager
def open_outputs(
    settings: Settings,
    bundle: Bundle,
    sources: Sequence[str],
    health: Health,
    plain_text: bool,
    concurrent: bool,
    drain_timeout: Callable[[], float],
    permanent: bool = False,
    kept: bool = True,
) -> Iterator[Outputs]:
    """The sinks that the settings ask for, ready to use; closed in the end, all at once.

    Parameters
    ----------
    settings : Settings
    bundle : Bundle
        The model in use.
    sources : sequence of str
        Names of the streams.
    health : callable
        A snapshot of each running stream, by its name.
    plain_text : bool
        Whether to print events on standard error.
    concurrent : bool
        Whether several streams run at the same time.
    drain_timeout : callable
        How long the end may wait for receivers to take what they have not got yet, and for
        recordings. Asked until then: it may become shorter.
    permanent : bool
        Whether a log in a file goes on where it was, and outlives a full disk.
    kept : bool
        True for live streams: events that wait are kept on the disk, and a disk that is
        too slow costs recordings. False for what can be played again: events wait in memory,
        apart from a sensor's, and the streams wait for the disk.

    Raises
    ------
    OticError
        If something that is asked for can't be had: a folder, a port, a library.
    """
    sensor = settings.name or socket.gethostname()
    filters = open_filters(
        settings.filter,
        settings.filters,
        (*settings.receivers, "clips"),
        _labels(settings, bundle),
        bundle.groups,
    )
    outputs = Outputs()
    with ExitStack() as closing, ExitStack() as finishing:
        # They are asked to end, all of them, before one is waited for.
        outbox = _outbox(settings, sensor, bundle, sources, health, drain_timeout, kept, filters)
        # First, so that an event is safe before it is shown anywhere.
        if outbox is not None:
            closing.callback(outbox.close)
            finishing.callback(outbox.finish)
            outputs.sinks.append(outbox)
            outputs._outbox = outbox
        if settings.clips.directory is not None and settings.clips.enabled:
            from otic.sinks.clips import DROP, ClipSink, speech_labels

            if settings.clips.speech == DROP and not speech_labels(bundle.labels):
                raise ConfigurationError(
                    f"clips.speech = '{DROP}' needs a model with the label 'speech', which "
                    f"'{bundle.name}' has not: take another model, or '--clips-speech keep'"
                )
            clips = ClipSink(
                settings.clips,
                sensor,
                event_filter=filters["clips"],
                waits=not kept,
                drain_timeout=drain_timeout,
            )
            closing.callback(clips.close)
            finishing.callback(clips.finish)
            outputs.sinks.append(clips)
            outputs._clips = clips
        if settings.jsonl.path is not None:
            log = JsonlSink(
                settings.jsonl.path,
                frozenset(settings.log),
                several=concurrent,
                max_bytes=round(settings.jsonl.max_megabytes * _MEGABYTE),
                keep=settings.jsonl.keep,
                permanent=permanent,
            )
            closing.callback(log.close)
            outputs.sinks.append(log)
            outputs._log = log
        if settings.metrics.listen is not None:
            server = _metrics(settings.metrics.listen, health, bundle.name, outputs)
            closing.callback(server.close)
            finishing.callback(server.finish)
        if plain_text:
            outputs.sinks.append(TextSink(sys.stderr, several=concurrent))
        yield outputs


def spool_file(settings: Settings, environment: Mapping[str, str]) -> Path:
    """Return the queue's file: in the folder that is set, else the service's, else the user's.

    Raises
    ------
    ConfigurationError
        If the folder is not there and can't be made, or none is named and the user has no home.
    """
    given = settings.spool.directory
    folder = Path(given) if given else state_folder(environment, "--spool-directory")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"spool.directory: the folder '{folder}' can't be made ({error.strerror}): "
            "name another with --spool-directory"
        ) from error
    if (old := folder / _OLD_QUEUE).exists():
        _log.warning(
            f"'{old}' is the queue of an older otic, and events may wait in it: start that otic "
            "once more to have them delivered, then delete the file"
        )
    return folder / "queue.jsonl"


def _outbox(
    settings: Settings,
    sensor: str,
    bundle: Bundle,
    sources: Sequence[str],
    health: Health,
    drain_timeout: Callable[[], float],
    kept: bool,
    filters: Mapping[str, EventFilter],
) -> Outbox | None:
    """Open what hands events to the receivers; None if there are none."""
    from otic.sinks import receivers

    opened = [
        receivers.module(name).open_receiver(
            section,
            Sensor(
                sensor,
                tuple(sources),
                filters[name].labels(_labels(settings, bundle)),
                health,
                page_address(settings.web.listen),
                _level_unit(settings.level),
                settings.clips if settings.clips.directory and settings.clips.enabled else None,
                kept,
            ),
        )
        for name, section in settings.receivers.items()
    ]
    asked_for: list[Receiver] = [receiver for receiver in opened if receiver is not None]
    if not asked_for:
        return None
    from otic.sinks.delivery.outbox import Outbox
    from otic.sinks.delivery.queue import DeliveryQueue
    from otic.sinks.delivery.worker import DeliveryWorker

    names = [receiver.name for receiver in asked_for]
    file = spool_file(settings, os.environ) if kept else None
    queue = DeliveryQueue(file, names, settings.spool.max_events)
    for warning in queue.warnings():
        _log.warning(warning)
    workers = [DeliveryWorker(receiver, queue) for receiver in asked_for]
    asked = {name: filters[name] for name in names}
    return Outbox(
        sensor,
        queue,
        workers,
        filters=asked,
        level_receivers=[r.name for r in asked_for if getattr(r, "takes_levels", False)],
        drain_timeout=drain_timeout,
    )


def _labels(settings: Settings, bundle: Bundle) -> tuple[str, ...]:
    """Return the labels of which there may be events."""
    return bundle.labels if settings.level.loud_db is None else (*bundle.labels, LOUD)


def _level_unit(settings: LevelSettings) -> str | None:
    if not settings.enabled:
        return None
    return "dBFS" if settings.calibration_db is None else "dB"


def page_address(listen: str | None) -> str | None:
    """Return the page's address for others on the network; None where they can't open it."""
    if listen is None:
        return None
    host, port = host_and_port(listen, "web.listen")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name
        return None if host == "localhost" else f"http://{host}:{port}"
    if address.is_loopback:
        return None
    if address.is_unspecified:
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _metrics(listen: str, health: Health, model: str, outputs: Outputs) -> MetricsServer:
    from otic.sinks.metrics import MetricsServer
    from otic.sinks.metrics_page import Collector

    outbox, clips, log = outputs._outbox, outputs._clips, outputs._log
    collector = Collector(
        health,
        tuple if outbox is None else outbox.statuses,
        model,
        recordings=None if clips is None else clips.status,
        lines_dropped=None if log is None else lambda: log.dropped,
    )
    return MetricsServer(listen, collector)
