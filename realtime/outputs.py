"""From settings to sinks: the log, the receivers behind their spool, recordings, metrics."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.bundle import Bundle
from realtime.errors import ConfigurationError
from realtime.messages import say
from realtime.monitor import Snapshot
from realtime.settings import Settings
from realtime.sinks.contract import Sink
from realtime.sinks.jsonl import JsonlSink
from realtime.sinks.text import TextSink

if TYPE_CHECKING:
    from realtime.sinks.courier import CourierStatus
    from realtime.sinks.outbox import Outbox

Health = Callable[[], Mapping[str, Snapshot]]

_MEGABYTE = 1_000_000
_STATE_FOLDER = Path(".local/state")  # XDG's default, below the home folder


@contextmanager
def open_outputs(
    settings: Settings,
    bundle: Bundle,
    sources: Sequence[str],
    health: Health,
    plain_text: bool,
    at_once: bool,
    patience_seconds: float,
) -> Iterator[list[Sink]]:
    """The sinks that the settings ask for, ready to use; closed in the end.

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
        Whether to tell events on standard error.
    at_once : bool
        Whether several streams run at the same time.
    patience_seconds : float
        How long the end may wait for receivers to take what they have not got yet.

    Raises
    ------
    OticError
        If something that is asked for can't be had: a folder, a port, a library.
    """
    sensor = settings.name or socket.gethostname()
    with ExitStack() as stack:
        sinks: list[Sink] = []
        couriers: Callable[[], Sequence[CourierStatus]] = tuple
        # First, so that an event is safe before anybody is told of it.
        outbox = _outbox(settings, sensor, bundle, sources, health, patience_seconds)
        if outbox is not None:
            stack.callback(outbox.close)
            sinks.append(outbox)
            couriers = outbox.statuses
        if settings.metrics.listen is not None:
            from realtime.sinks.metrics import MetricsServer

            server = MetricsServer(settings.metrics.listen, health, couriers, bundle.name)
            stack.callback(server.close)
        if settings.clips.directory is not None and settings.clips.enabled:
            from realtime.sinks.clips import ClipSink

            clips = ClipSink(settings.clips, sensor, say=say)
            stack.callback(clips.close)
            sinks.append(clips)
        if settings.jsonl.path is not None:
            log = JsonlSink(
                settings.jsonl.path,
                frozenset(settings.log),
                several=at_once,
                max_bytes=round(settings.jsonl.max_megabytes * _MEGABYTE),
                keep=settings.jsonl.keep,
                say=say,
            )
            stack.callback(log.close)
            sinks.append(log)
        if plain_text:
            sinks.append(TextSink(sys.stderr, several=at_once))
        yield sinks


def spool_file(settings: Settings, environment: Mapping[str, str]) -> Path:
    """Where events wait: what is set, else the service's state folder, else the user's.

    Raises
    ------
    ConfigurationError
        If the folder is not there and can't be made.
    """
    service = environment.get("STATE_DIRECTORY", "").split(":")[0]
    users = environment.get("XDG_STATE_HOME") or Path.home() / _STATE_FOLDER
    folder = Path(settings.spool.directory or service or Path(users) / "otic")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"spool.directory: the folder '{folder}' can't be made ({error.strerror}): "
            "name another with --spool-directory"
        ) from error
    return folder / "spool.sqlite3"


def _outbox(
    settings: Settings,
    sensor: str,
    bundle: Bundle,
    sources: Sequence[str],
    health: Health,
    patience_seconds: float,
) -> Outbox | None:
    """What hands events to the receivers; None where there are none."""
    from realtime.sinks.receiver import Receiver

    receivers: list[Receiver] = []
    if settings.csv.path is not None:
        from realtime.sinks.csv_file import CsvReceiver

        receivers.append(CsvReceiver(settings.csv))
    if settings.sqlite.path is not None:
        from realtime.sinks.sqlite_file import SqliteReceiver

        receivers.append(SqliteReceiver(settings.sqlite))
    if settings.command.argv:
        from realtime.sinks.command import CommandReceiver

        receivers.append(CommandReceiver(settings.command))
    if settings.webhook.url is not None:
        from realtime.sinks.webhook import WebhookReceiver

        receivers.append(WebhookReceiver(settings.webhook))
    if settings.mqtt.host is not None:
        from realtime.sinks.mqtt import MqttReceiver

        receivers.append(MqttReceiver(settings.mqtt, sensor, sources, bundle.labels, health))
    if not receivers:
        return None
    from realtime.sinks.courier import Courier
    from realtime.sinks.outbox import Outbox
    from realtime.sinks.spool import Spool

    names = [receiver.name for receiver in receivers]
    spool = Spool(spool_file(settings, os.environ), names, settings.spool.max_events)
    for warning in spool.warnings():
        say(warning)
    couriers = [Courier(receiver, spool, say=say) for receiver in receivers]
    return Outbox(sensor, spool, couriers, patience_seconds=patience_seconds)
