"""Settings and checks of the MQTT receiver; ``mqtt_receiver`` makes and sends the messages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from otic.config.settings import setting
from otic.config.values import check_host
from otic.sinks.delivery.notification import Receiver, Sensor
from otic.system.findings import CONNECTION_SECONDS, Check, Finding, extra_check, secret_checks


@dataclass(frozen=True)
class Section:
    """An MQTT broker, and Home Assistant behind it."""

    host: str | None = setting(
        None, "publish events to this MQTT broker (extra mqtt)", check=check_host
    )
    port: int = setting(0, "0: 8883 with TLS, else 1883", least=0, most=65535)
    tls: bool = setting(False, "encrypt, and verify the broker's certificate")
    ca_file: str | None = setting(None, "trust these certificate authorities (default: system's)")
    username: str | None = setting(None, "user at the broker")
    password: str | None = setting(None, "password at the broker", secret=True)
    password_file: str | None = setting(None, "read the password from this file")
    topic: str = setting("otic", "first part of the topics")
    discovery: bool = setting(True, "let Home Assistant find each class as a sensor")
    discovery_prefix: str = setting("homeassistant", "Home Assistant's discovery prefix")
    timeout_seconds: float = setting(10.0, "how long to wait for the broker", least=0.1, most=300.0)


def open_receiver(section: Section, sensor: Sensor) -> Receiver | None:
    """Return the receiver that the section asks for."""
    if section.host is None:
        return None
    from otic.sinks.receivers.mqtt_receiver import MqttReceiver

    return MqttReceiver(section, sensor)


def checks(section: Section) -> list[Check]:
    """List the checks of ``otic doctor``."""
    if section.host is None:
        return []
    return [
        Check("extra mqtt", partial(extra_check, "mqtt", "paho")),
        Check("MQTT broker", partial(_broker_check, section, section.host), CONNECTION_SECONDS),
        *secret_checks("mqtt.password_file", section.password_file),
    ]


def _broker_check(section: Section, host: str) -> Finding:
    from otic.system.network import connection_check

    port = section.port or (8883 if section.tls else 1883)
    address = "mqtt.host and mqtt.port"
    return connection_check("MQTT broker", host, port, section.tls, section.ca_file, address)
