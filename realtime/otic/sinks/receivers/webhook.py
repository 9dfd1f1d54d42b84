"""Events as signed HTTP requests to a web server: what can be set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from otic.config.settings import setting
from otic.sinks.delivery.notification import Receiver, Sensor
from otic.system.findings import CONNECTION_SECONDS, FAIL, Check, Finding, secret_checks

_USUAL_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Section:
    """A web server that each event is posted to."""

    url: str | None = setting(None, "post each event to this http(s) address", shown=False)
    secret: str | None = setting(None, "sign with this", secret=True)
    secret_file: str | None = setting(None, "read the secret to sign with from this file")
    ca_file: str | None = setting(None, "trust these certificate authorities (default: system's)")
    timeout_seconds: float = setting(10.0, "how long to wait for the answer", least=0.1, most=300.0)


def open_receiver(section: Section, sensor: Sensor) -> Receiver | None:
    """Return the receiver that the section asks for."""
    if section.url is None:
        return None
    from otic.sinks.receivers.webhook_client import WebhookReceiver

    return WebhookReceiver(section)


def checks(section: Section) -> list[Check]:
    """List the checks of ``otic doctor``."""
    if section.url is None:
        return []
    return [
        Check("webhook", partial(server_check, section.url, section.ca_file), CONNECTION_SECONDS),
        *secret_checks("webhook.secret_file", section.secret_file),
    ]


def server_check(url: str, ca_file: str | None) -> Finding:
    """Check that the server can be reached. Nothing of the address but host and port is shown."""
    from otic.system.network import connection_check

    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _USUAL_PORTS.get(parts.scheme)
    except ValueError:
        host = port = None
    if host is None or port is None:
        remedy = "write it as https://host/path"
        return Finding("webhook", FAIL, "webhook.url is no http(s) address", (remedy,))
    return connection_check("webhook", host, port, parts.scheme == "https", ca_file, "webhook.url")
