"""The topics on an MQTT broker, and their description for Home Assistant.

Pure. The description is Home Assistant's device-based discovery (2024.11 and later): one retained
message describes the sensor as a device, and each sound of each source as a component of it.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otic import __version__
from otic.audio.sources import STATES
from otic.types import label_text

ONLINE, OFFLINE = "online", "offline"
ON, OFF = "ON", "OFF"
BIRTH_TOPIC = "homeassistant/status"
"""The topic where Home Assistant says that it is ``online``, whatever the discovery prefix."""

_PLATFORMS = ("binary_sensor", "sensor")
_LONGEST_NAME = 48
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_LIKE_A_HASH = re.compile(r"-[0-9a-f]{8}$")


def slug(name: str) -> str:
    """``name`` in letters, digits, ``_`` and ``-``; distinct names stay distinct.

    A name of only those, such as ``dog_bark``, stays as it is. Any other is rewritten and
    gets eight digits of its SHA-256: ``Küche`` is ``Kuche-a9ec872e``.
    """
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    safe = _UNSAFE.sub("_", ascii_only).strip("_")[:_LONGEST_NAME]
    if safe == name != "" and not _LIKE_A_HASH.search(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe or 'name'}-{digest}"


@dataclass(frozen=True)
class Topics:
    """The topics of the installation ``sensor`` below ``base``."""

    base: str
    sensor: str

    @property
    def status(self) -> str:
        """``online`` or, also if the process died, ``offline``; retained."""
        return f"{self.base}/{slug(self.sensor)}/status"

    def event(self, source: str) -> str:
        """Each notification, once or more."""
        return f"{self._of(source)}/event"

    def health(self, source: str) -> str:
        """Level, losses and state of an input, every few seconds."""
        return f"{self._of(source)}/health"

    def state(self, source: str, label: str) -> str:
        """The topic of whether a sound is on, ``ON`` or ``OFF``; retained."""
        return f"{self._of(source)}/{slug(label)}/state"

    def attributes(self, source: str, label: str) -> str:
        """The topic of the latest event of a sound; retained."""
        return f"{self._of(source)}/{slug(label)}/attributes"

    @property
    def of_all_sounds(self) -> tuple[str, str]:
        """Filters for :meth:`state` and :meth:`attributes` of whatever source and label."""
        sounds = f"{self.base}/{slug(self.sensor)}/+/+"
        return f"{sounds}/state", f"{sounds}/attributes"

    def _of(self, source: str) -> str:
        return f"{self.base}/{slug(self.sensor)}/{slug(source)}"


def discovery_topic(prefix: str, sensor: str) -> str:
    """Return the topic where Home Assistant looks for :func:`discovery_payload`; retained."""
    return f"{prefix}/device/otic_{slug(sensor)}/config"


def discovery_payload(
    topics: Topics, sources: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """The sensor as a device of Home Assistant.

    Each label of each source is a binary sensor; level, lost samples and state of each
    source are diagnostic sensors. All are unavailable while the sensor is offline.
    """
    components: dict[str, dict[str, Any]] = {}
    for source in sources:
        prefix = f"{source}: " if len(sources) > 1 else ""
        for label in labels:
            components[f"{slug(source)}.sound.{slug(label)}"] = {
                "platform": "binary_sensor",
                "name": prefix + _readable(label),
                "device_class": "sound",
                "state_topic": topics.state(source, label),
                "json_attributes_topic": topics.attributes(source, label),
            }
        for key, of_this_kind in _diagnostics(prefix).items():
            components[f"{slug(source)}.health.{key}"] = {
                "platform": "sensor",
                "entity_category": "diagnostic",
                "state_topic": topics.health(source),
                "value_template": f"{{{{ value_json.{key} }}}}",
                **of_this_kind,
            }
    device_id = f"otic_{slug(topics.sensor)}"
    for key, component in components.items():
        component |= {"unique_id": f"{device_id}.{key}", "qos": 1}
    return {
        "device": {
            "identifiers": [device_id],
            "name": topics.sensor,
            "manufacturer": "otic",
            "model": "sound sensor",
            "sw_version": __version__,
        },
        "origin": {"name": "otic", "sw_version": __version__},
        "availability_topic": topics.status,
        "components": components,
    }


def removal_payload(previous: bytes, current: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what removes from Home Assistant the components that only ``previous`` has.

    To be published once before ``current``, as Home Assistant's documentation asks: a
    component that is merely left out would stay.

    Parameters
    ----------
    previous : bytes
        What the broker retained at the discovery topic; anybody may have written it.
    current : mapping
        From :func:`discovery_payload`.

    Returns
    -------
    dict or None
        None if there is nothing to remove.
    """
    try:
        old = json.loads(previous)["components"]
        gone = {
            key: {"platform": component["platform"]}
            for key, component in old.items()
            if key not in current["components"] and component["platform"] in _PLATFORMS
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # not ours
    if not gone:
        return None
    return {**current, "components": {**current["components"], **gone}}


def _diagnostics(prefix: str) -> dict[str, dict[str, Any]]:
    return {
        "level_dbfs": {
            "name": f"{prefix}Level",
            "unit_of_measurement": "dBFS",
            "state_class": "measurement",
            "suggested_display_precision": 0,
        },
        "lost_samples": {
            "name": f"{prefix}Lost samples",
            "unit_of_measurement": "samples",
            "state_class": "total_increasing",
        },
        "state": {
            "name": f"{prefix}State",
            "device_class": "enum",
            "options": list(STATES),
        },
    }


def _readable(label: str) -> str:
    words = label_text(label)
    return words[:1].upper() + words[1:]
