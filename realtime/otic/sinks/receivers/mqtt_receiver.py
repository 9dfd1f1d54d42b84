"""Notifications as MQTT messages, for a broker and for Home Assistant behind it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from otic.errors import SinkError
from otic.sinks.delivery.notification import DeliveryError, Notification, Sensor
from otic.sinks.receivers.homeassistant import (
    BIRTH_TOPIC,
    HEALTH_SECONDS,
    OFF,
    OFFLINE,
    ON,
    ONLINE,
    Topics,
    discovery_payload,
    discovery_topic,
    removal_payload,
    slug,
)
from otic.sinks.receivers.mqtt import Section
from otic.sinks.receivers.mqtt_client import MqttLink, require_paho

_SERVE_SECONDS = 0.05
_CLOSE_SECONDS = 1.0  # then the broker publishes the last will, which says the same
_ATTRIBUTES = ("event", "onset_at", "offset_at", "at", "score", "peak", "reason")


class MqttReceiver:
    """Publishes notifications, the sounds that are on now, and the health of the inputs.

    Everything is sent with QoS 1 and has been acknowledged when a method returns. A sound
    is ``ON`` from a delivered *on* to the *off* after it; when the connection is made, each
    is published again, so that nothing stays ``ON`` from before a restart.

    Thread safety: one thread calls all methods, which is the one that the sensor's status is asked
    in; there is no other thread.

    Parameters
    ----------
    settings : Section
        ``host`` is given.
    sensor : Sensor
        The broker knows it by its name, so no two may have the same. Notifications of other
        sources and labels are published as events only.

    Raises
    ------
    SinkError
        If the settings contradict each other.
    RuntimeMissingError
        If paho-mqtt is not installed.
    """

    name = "mqtt"
    takes_levels = True

    def __init__(
        self,
        settings: Section,
        sensor: Sensor,
    ) -> None:
        _check(settings)
        require_paho()
        self._settings = settings
        sources, labels = list(sensor.sources), list(sensor.labels)
        self._topics = Topics(settings.topic, sensor.name, sensor.sources, sensor.labels)
        self._sounds = {(source, label): OFF for source in sources for label in labels}
        self._sources = sources
        self._kept = {self._topics.state(*sound) for sound in self._sounds}
        self._kept |= {self._topics.attributes(*sound) for sound in self._sounds}
        self._kept |= {self._topics.any_sound(each) for each in sources}
        self._kept |= {self._topics.last_sound(each) for each in sources}
        self._status = sensor.status
        self._next_health = 0.0
        self._config_topic = discovery_topic(settings.discovery_prefix, sensor.name)
        self._config = discovery_payload(
            self._topics, sources, labels, sensor.page, sensor.level_unit
        )
        self._link = MqttLink(settings, f"otic-{slug(sensor.name)}", self._topics.status, OFFLINE)

    def open(self) -> None:
        deadline = self._deadline()
        self._link.connect(deadline)
        # Whatever is retained is seen before what is published from here on replaces it.
        for topic in self._subscriptions():
            self._link.subscribe(topic)
        for (source, label), state in self._sounds.items():
            self._link.publish(self._topics.state(source, label), state, retain=True)
        for source in self._sources:
            self._publish_any(source)
        self._publish_discovery()
        self._publish_health()
        self._link.settle(deadline)
        self._link.publish(self._topics.status, ONLINE, retain=True)
        self._link.settle(deadline)
        self._answer()
        self._link.settle(deadline)

    def deliver(self, notification: Notification) -> None:
        deadline = self._deadline()
        source, label = notification.source, notification.label
        if notification.level is not None:
            record = {"at": notification.at, **notification.level}
            self._link.publish(self._topics.level(source), _json(record))
            self._link.settle(deadline)
            return
        self._link.publish(self._topics.event(source), notification.to_json())
        if (source, label) in self._sounds:
            state = ON if notification.state == "on" else OFF
            self._sounds[source, label] = state
            record = notification.to_dict()
            attributes = {key: record[key] for key in _ATTRIBUTES if key in record}
            # First, so that who is woken by the state finds them.
            self._link.publish(self._topics.attributes(source, label), _json(attributes), True)
            self._link.publish(self._topics.state(source, label), state, True)
            self._publish_any(source)
            if notification.state == "on":
                topic = self._topics.last_sound(source)
                self._link.publish(topic, notification.to_json(), True)
        self._publish_health_if_due()
        self._link.settle(deadline)

    def idle(self) -> None:
        deadline = self._deadline()
        self._link.serve(_SERVE_SECONDS)
        self._answer()
        self._publish_health_if_due()
        self._link.settle(deadline)

    def close(self) -> None:
        try:
            if self._link.usable:
                self._link.publish(self._topics.status, OFFLINE, retain=True)
                wait = min(_CLOSE_SECONDS, self._settings.timeout_seconds)
                self._link.settle(time.monotonic() + wait)
                self._link.disconnect()
        except DeliveryError:
            pass  # the broker publishes the last will
        finally:
            self._link.drop()

    def _publish_any(self, source: str) -> None:
        """Publish whether any sound of a source is on."""
        on = any(state == ON for (of, _), state in self._sounds.items() if of == source)
        self._link.publish(self._topics.any_sound(source), ON if on else OFF, retain=True)

    def _deadline(self) -> float:
        return time.monotonic() + self._settings.timeout_seconds

    def _subscriptions(self) -> list[str]:
        topics = list(self._topics.of_all_sounds)
        if self._settings.discovery:
            birth = f"{self._settings.discovery_prefix}/status"
            topics += sorted({self._config_topic, BIRTH_TOPIC, birth})
        return topics

    def _answer(self) -> None:
        """React to what the broker sent."""
        for topic, payload, retained in self._link.received():
            if topic == self._config_topic:
                removal = removal_payload(payload, self._config) if retained else None
                if removal is not None:
                    self._link.publish(topic, _json(removal))
                    self._publish_discovery()
            elif topic.endswith("/status"):
                if payload == ONLINE.encode() and not retained:  # Home Assistant has started
                    self._publish_discovery()
                    self._publish_health()
            elif retained and payload and topic not in self._kept:
                self._link.publish(topic, "", retain=True)  # of a sound that is no more: delete

    def _publish_discovery(self) -> None:
        if self._settings.discovery:
            self._link.publish(self._config_topic, _json(self._config), retain=True)

    def _publish_health_if_due(self) -> None:
        if time.monotonic() >= self._next_health:
            self._publish_health()

    def _publish_health(self) -> None:
        self._next_health = time.monotonic() + HEALTH_SECONDS
        for source, status in self._status().items():
            record = {
                "state": status.state,
                "seconds": round(status.seconds, 3),
                "level_dbfs": round(status.level_dbfs, 1),
                "lost_samples": status.lost_samples,
                "overruns": status.overruns,
                "reopenings": status.reopenings,
            }
            self._link.publish(self._topics.health(source), _json(record))


def _json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def _check(settings: Section) -> None:
    for key, value in (
        ("topic", settings.topic),
        ("discovery_prefix", settings.discovery_prefix),
    ):
        parts = value.split("/")
        bad = any(c in value for c in "+#") or not value.isprintable()
        if "" in parts or value.startswith("$") or bad:
            raise SinkError(
                f"mqtt.{key} {value!r} can't begin an MQTT topic: "
                "use words with / between them, no +, #, control character, and no $ at the start"
            )
    if not settings.host:
        raise SinkError("mqtt.host is not set: name the broker")
    if settings.ca_file is not None and not settings.tls:
        raise SinkError("mqtt.ca_file is set, but mqtt.tls is not: set mqtt.tls to encrypt")
    has_password = settings.password is not None or settings.password_file is not None
    if has_password and settings.username is None:
        raise SinkError("a password for MQTT is set, but no user: set mqtt.username")
