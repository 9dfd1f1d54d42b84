"""Events as signed HTTP requests to a web server: what can be set."""

from __future__ import annotations

from dataclasses import dataclass

from otic.config.settings import setting
from otic.sinks.delivery.notification import Receiver, Sensor


@dataclass(frozen=True)
class Section:
    """A web server that each event is posted to."""

    url: str | None = setting(None, "post each event to this http(s) address", shown=False)
    secret: str | None = setting(None, "sign with this", secret=True)
    secret_file: str | None = setting(None, "read the secret to sign with from this file")
    ca_file: str | None = setting(None, "trust these certificate authorities (default: system's)")
    timeout_seconds: float = setting(10.0, "how long to wait for the answer", least=0.1, most=300.0)


def open_receiver(section: Section, sensor: Sensor) -> Receiver | None:
    """The receiver that the section asks for."""
    if section.url is None:
        return None
    from otic.sinks.receivers.webhook_client import WebhookReceiver

    return WebhookReceiver(section)
