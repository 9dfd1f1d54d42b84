"""The topics on an MQTT broker, and their description for Home Assistant.

Pure. The description is Home Assistant's device-based discovery (2024.11 and later): one retained
message describes the sensor as a device, and each sound of each source as a component of it.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from otic import __version__
from otic.audio.sources import STATES
from otic.types import label_text

ONLINE, OFFLINE = "online", "offline"
ON, OFF = "ON", "OFF"
BIRTH_TOPIC = "homeassistant/status"
"""The topic where Home Assistant says that it is ``online``, whatever the discovery prefix."""

HEALTH_SECONDS = 10.0
_EXPIRE_SECONDS = 6 * HEALTH_SECONDS
_LEVEL_EXPIRE_SECONDS = 180
_PLATFORMS = ("binary_sensor", "sensor", "event")
_ICONS = {
    "aircraft": "airplane", "alarm": "alarm-light", "baby": "baby-face-outline", "bell": "church",
    "bird": "bird", "car": "car", "cat": "cat", "chainsaw": "saw-blade", "clap": "hand-clap",
    "clock": "clock-outline", "cough": "emoticon-sick", "dog": "dog", "doorbell": "bell",
    "door": "door", "drill": "tools", "engine": "engine", "firework": "firework", "fire": "fire",
    "flush": "toilet", "footsteps": "shoe-print", "frog": "frog", "glass": "glass-fragile",
    "gun": "pistol", "helicopter": "helicopter", "horn": "bugle", "insect": "bug",
    "keyboard": "keyboard", "laugh": "emoticon-happy", "music": "music", "pig": "pig",
    "rain": "weather-rainy", "rooster": "bird", "saw": "hand-saw", "sea": "waves", "sheep": "sheep",
    "shout": "account-alert", "siren": "alarm-light", "sneezing": "emoticon-sick",
    "snor": "sleep", "speech": "account-voice", "teeth": "toothbrush",
    "thunder": "weather-lightning", "train": "train", "vacuum": "vacuum", "water": "water",
    "wind": "weather-windy",
}  # fmt: skip
"""Icons of Material Design, by what a label contains; Home Assistant has one for the rest."""
_EVENT_TEMPLATE = (
    "{% if value_json.state == 'on' %}{{ {'event_type': value_json.label, "
    "'score': value_json.score, 'onset_at': value_json.onset_at | default(none)} "
    "| to_json }}{% endif %}"
)
_LONGEST_NAME = 48
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_LIKE_A_HASH = re.compile(r"-[0-9a-f]{8}$")


def slug(name: str) -> str:
    """``name`` in letters, digits, ``_`` and ``-``; distinct names stay distinct.

    A name of only those, such as ``dog_bark``, stays as it is. Any other is rewritten and
    gets eight digits of its SHA-256: ``Küche`` is ``Kuche-a9ec872e``.
    """
    safe = _plain(name)
    if safe == name != "" and not _LIKE_A_HASH.search(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe or 'name'}-{digest}"


def short_slugs(names: Sequence[str]) -> dict[str, str]:
    """Return a slug for each name: without digits where no other name is rewritten to the same.

    ``car horn`` is ``car_horn``, unless there is ``car_horn``, too: then it is its :func:`slug`.
    """
    short = {name: _plain(name) for name in names}
    taken = Counter(short.values())
    return {
        name: each if each and taken[each] == 1 and not _LIKE_A_HASH.search(each) else slug(name)
        for name, each in short.items()
    }


def _plain(name: str) -> str:
    """Rewrite a name in letters, digits, ``_`` and ``-``; others may be rewritten to the same."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return _UNSAFE.sub("_", ascii_only).strip("_")[:_LONGEST_NAME]


@dataclass(frozen=True)
class Topics:
    """The topics of the installation ``sensor`` below ``base``.

    Of ``sources`` and ``labels`` that are named here the topics are short.
    """

    base: str
    sensor: str
    sources: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @cached_property
    def source_slugs(self) -> dict[str, str]:
        """The slug of each source."""
        return short_slugs(self.sources)

    @cached_property
    def label_slugs(self) -> dict[str, str]:
        """The slug of each label."""
        return short_slugs(self.labels)

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

    def level(self, source: str) -> str:
        """How loud each minute was."""
        return f"{self._of(source)}/level"

    def any_sound(self, source: str) -> str:
        """The topic of whether any sound is on, ``ON`` or ``OFF``; retained."""
        return f"{self._of(source)}/state"

    def last_sound(self, source: str) -> str:
        """The topic of the latest sound that began, a notification; retained."""
        return f"{self._of(source)}/last"

    def state(self, source: str, label: str) -> str:
        """The topic of whether a sound is on, ``ON`` or ``OFF``; retained."""
        return f"{self._of_sound(source, label)}/state"

    def attributes(self, source: str, label: str) -> str:
        """The topic of the latest event of a sound; retained."""
        return f"{self._of_sound(source, label)}/attributes"

    @property
    def of_all_sounds(self) -> tuple[str, ...]:
        """Filters for what is retained of whatever source and label."""
        sources = f"{self.base}/{slug(self.sensor)}/+"
        return (
            f"{sources}/+/state",
            f"{sources}/+/attributes",
            f"{sources}/state",
            f"{sources}/last",
        )

    def _of(self, source: str) -> str:
        name = self.source_slugs.get(source) or slug(source)
        return f"{self.base}/{slug(self.sensor)}/{name}"

    def _of_sound(self, source: str, label: str) -> str:
        return f"{self._of(source)}/{self.label_slugs.get(label) or slug(label)}"


def discovery_topic(prefix: str, sensor: str) -> str:
    """Return the topic where Home Assistant looks for :func:`discovery_payload`; retained."""
    return f"{prefix}/device/otic_{slug(sensor)}/config"


def discovery_payload(
    topics: Topics,
    sources: Sequence[str],
    labels: Sequence[str],
    page: str | None = None,
    level_unit: str | None = None,
) -> dict[str, Any]:
    """The sensor as a device of Home Assistant.

    Each label of each source is a binary sensor; so is any sound. The latest sound is a sensor,
    and each sound that begins an event. Level, lost samples and state of each source are
    diagnostic sensors, unknown a minute after their last message. All are unavailable while the
    sensor is offline. ``page`` is the address of its page. ``level_unit`` is ``dB`` or ``dBFS``
    where levels are measured: they are sensors, too.
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
            if (icon := _icon(label)) is not None:
                components[f"{slug(source)}.sound.{slug(label)}"]["icon"] = icon
        if labels:
            components |= {
                f"{slug(source)}.{key}": each
                for key, each in _of_all(topics, source, labels, prefix).items()
            }
        if level_unit is not None:
            components |= {
                f"{slug(source)}.level.{key}": each
                for key, each in _of_levels(topics.level(source), prefix, level_unit).items()
            }
        for key, of_this_kind in _diagnostics(prefix).items():
            components[f"{slug(source)}.health.{key}"] = {
                "platform": "sensor",
                "entity_category": "diagnostic",
                "state_topic": topics.health(source),
                "value_template": f"{{{{ value_json.{key} }}}}",
                "expire_after": int(_EXPIRE_SECONDS),
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
            **({} if page is None else {"configuration_url": page}),
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


def _of_all(
    topics: Topics, source: str, labels: Sequence[str], prefix: str
) -> dict[str, dict[str, Any]]:
    """Describe what is said of all sounds of a source together."""
    last = topics.last_sound(source)
    return {
        "any": {
            "platform": "binary_sensor",
            "name": f"{prefix}Any sound",
            "device_class": "sound",
            "state_topic": topics.any_sound(source),
        },
        "last": {
            "platform": "sensor",
            "name": f"{prefix}Last sound",
            "icon": "mdi:ear-hearing",
            "state_topic": last,
            "value_template": "{{ value_json.label | replace('_', ' ') }}",
            "json_attributes_topic": last,
        },
        "event": {
            "platform": "event",
            "name": f"{prefix}Sound",
            "icon": "mdi:waveform",
            "event_types": list(labels),
            "state_topic": topics.event(source),
            "value_template": _EVENT_TEMPLATE,
        },
    }


def _of_levels(topic: str, prefix: str, unit: str) -> dict[str, dict[str, Any]]:
    """Describe the levels of a source's minutes."""
    names = {"laeq": "LAeq", "l10": "L10", "l50": "L50", "l90": "L90", "peak": "Peak"}
    kind = {"device_class": "sound_pressure"} if unit == "dB" else {"icon": "mdi:volume-high"}
    return {
        key: {
            "platform": "sensor",
            "name": prefix + name,
            "state_topic": topic,
            "value_template": f"{{{{ value_json.{key} }}}}",
            "unit_of_measurement": "dBA" if unit == "dB" and key != "peak" else unit,
            "state_class": "measurement",
            "suggested_display_precision": 1,
            "expire_after": _LEVEL_EXPIRE_SECONDS,
            **kind,
        }
        for key, name in names.items()
    }


def _icon(label: str) -> str | None:
    """Return the icon of the first known word in the label, or None."""
    words = re.split(r"[^a-z]+", label.lower())
    found = (icon for word in words for part, icon in _ICONS.items() if word.startswith(part))
    return next((f"mdi:{icon}" for icon in found), None)


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
