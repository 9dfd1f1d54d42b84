"""Events as messages to people, through Apprise: what can be set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from otic.config.settings import setting
from otic.sinks.delivery.notification import Receiver, Sensor
from otic.system.findings import Check, extra_check, secret_checks


@dataclass(frozen=True)
class Section:
    """Services that bring each event to people: ntfy, Telegram, e-mail and a hundred more."""

    urls: tuple[str, ...] = setting(
        (),
        "send each event to these addresses of Apprise (extra notify): ntfy://topic",
        shown=False,
        metavar="URL",
    )
    urls_file: str | None = setting(None, "read the addresses from this file, one a line")
    title: str = setting("{label}", "title of a message")
    text: str = setting(
        "{sensor}, {source}: {label} at {time}, score {score:.2f}",
        "text of a message; there are label, sensor, source, time, score and seconds",
    )
    attach: tuple[str, ...] = setting(
        (),
        "send these files, too, once the event has ended and is recorded (clips.directory)",
        choices=("clip", "spectrogram"),
        metavar="FILE,…",
    )
    longest_wait_seconds: float = setting(
        3600.0, "send no event that is older than this", least=1.0, most=1e7
    )


def open_receiver(section: Section, sensor: Sensor) -> Receiver | None:
    """Return the receiver that the section asks for."""
    if not section.urls and section.urls_file is None:
        return None
    from otic.sinks.receivers.notify_client import NotifyReceiver

    return NotifyReceiver(section, sensor)


def checks(section: Section) -> list[Check]:
    """List the checks of ``otic doctor``."""
    if not section.urls and section.urls_file is None:
        return []
    return [
        Check("extra notify", partial(extra_check, "notify", "apprise")),
        *secret_checks("notify.urls_file", section.urls_file),
    ]
