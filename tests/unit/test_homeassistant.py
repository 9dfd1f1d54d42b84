"""What Home Assistant is told, against its documented schema.

The schema below is written down from Home Assistant's documentation, "MQTT", section
"Device discovery payload", and from home-assistant/core 2025.4.4, homeassistant/components/mqtt:
schemas.py (DEVICE_DISCOVERY_SCHEMA, MQTT_ENTITY_COMMON_SCHEMA), discovery.py (TOPIC_MATCHER),
config.py, binary_sensor.py, sensor.py; device classes and units from its components
binary_sensor and sensor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jinja2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otic.audio.sources import STATES
from otic.sinks.delivery.notification import Notification
from otic.sinks.open import page_address
from otic.sinks.receivers.homeassistant import (
    Topics,
    discovery_payload,
    discovery_topic,
    removal_payload,
    short_slugs,
    slug,
)

Check = Callable[[Any], bool]


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_named(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def is_topic(value: Any) -> bool:
    """Of a subscription without wildcards, by util.py's valid_subscribe_topic."""
    return (
        isinstance(value, str)
        and 0 < len(value.encode()) < 65536
        and not any(character in value for character in "+#\0")
        and not any(unfit(ord(character)) for character in value)
    )


def unfit(code: int) -> bool:
    return code <= 0x1F or 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xDFFF


def one_of(*values: Any) -> Check:
    return lambda value: value in values


DEVICE: dict[str, Check] = {
    "identifiers": lambda value: (
        isinstance(value, list) and value != [] and all(map(is_named, value))
    ),
    "name": is_text,
    "manufacturer": is_text,
    "model": is_text,
    "model_id": is_text,
    "hw_version": is_text,
    "sw_version": is_text,
    "serial_number": is_text,
    "suggested_area": is_text,
    "via_device": is_text,
    "configuration_url": lambda value: value.startswith(("http://", "https://")),
}
ORIGIN: dict[str, Check] = {"name": is_named, "sw_version": is_text}
ENTITY: dict[str, Check] = {
    "platform": one_of("binary_sensor", "sensor", "event"),
    "unique_id": is_named,
    "name": is_text,
    "state_topic": is_topic,
    "qos": one_of(0, 1, 2),
    "value_template": is_text,
    "json_attributes_topic": is_topic,
    "json_attributes_template": is_text,
    "entity_category": one_of("config", "diagnostic"),
    "enabled_by_default": one_of(True, False),
    "icon": is_text,
    "object_id": is_text,
    "expire_after": lambda value: isinstance(value, int) and value >= 0,
    "force_update": one_of(True, False),
}
BINARY_SENSOR: dict[str, Check] = {
    **ENTITY,
    "device_class": one_of("sound"),
    "payload_on": is_text,
    "payload_off": is_text,
    "off_delay": lambda value: isinstance(value, int) and value >= 0,
}
SENSOR: dict[str, Check] = {
    **ENTITY,
    "device_class": one_of("enum", "sound_pressure"),
    "state_class": one_of("measurement", "total", "total_increasing"),
    "unit_of_measurement": is_text,
    "suggested_display_precision": lambda value: isinstance(value, int) and value >= 0,
    "options": lambda value: isinstance(value, list) and value != [],
}
EVENT: dict[str, Check] = {
    **{key: check for key, check in ENTITY.items() if key not in ("expire_after", "force_update")},
    "device_class": one_of("button", "doorbell", "motion"),
    "event_types": lambda value: isinstance(value, list) and all(map(is_text, value)),
}
ROOT: dict[str, Check] = {
    "device": lambda value: valid(value, DEVICE, required={"identifiers"}),
    "origin": lambda value: valid(value, ORIGIN, required={"name"}),
    "components": lambda value: (
        isinstance(value, dict) and all(map(valid_component, value.values()))
    ),
    "availability_topic": is_topic,
    "payload_available": is_text,
    "payload_not_available": is_text,
    "state_topic": is_topic,
    "qos": one_of(0, 1, 2),
    "encoding": is_text,
}
DISCOVERY_TOPIC = re.compile(r"\w+/(?:[a-zA-Z0-9_-]+/)?[a-zA-Z0-9_-]+/config")


def valid(record: Any, schema: dict[str, Check], required: set[str]) -> bool:
    assert isinstance(record, dict)
    assert required <= record.keys(), required - record.keys()
    for key, value in record.items():
        assert key in schema, key
        assert schema[key](value), (key, value)
    return True


def valid_component(component: dict[str, Any]) -> bool:
    if component.keys() == {"platform"}:
        return ENTITY["platform"](component["platform"])
    kind = {"binary_sensor": BINARY_SENSOR, "sensor": SENSOR, "event": EVENT}[component["platform"]]
    valid(component, kind, required={"platform", "unique_id", "state_topic"})
    assert ("event_types" in component) == (kind is EVENT)
    if kind is SENSOR:  # validate_sensor_state_and_device_class_config
        is_enum = component.get("device_class") == "enum"
        assert ("options" in component) == is_enum
        assert not (is_enum and {"state_class", "unit_of_measurement"} & component.keys())
    return True


def check_payload(payload: dict[str, Any]) -> None:
    assert valid(payload, ROOT, required={"device", "components", "origin"})
    components = payload["components"]
    full = [each for each in components.values() if len(each) > 1]
    assert len({each["unique_id"] for each in full}) == len(full)


TOPICS = Topics("otic", "porch")


def test_a_payload_is_valid_and_complete() -> None:
    payload = discovery_payload(TOPICS, ["mic", "yard"], ["dog_bark", "car horn"])
    check_payload(payload)
    components = payload["components"]
    assert len(components) == 2 * (2 + 3 + 3)
    dog = components["yard.sound.dog_bark"]
    assert dog == {
        "platform": "binary_sensor",
        "name": "yard: Dog bark",
        "device_class": "sound",
        "icon": "mdi:dog",
        "state_topic": "otic/porch/yard/dog_bark/state",
        "json_attributes_topic": "otic/porch/yard/dog_bark/attributes",
        "unique_id": "otic_porch.yard.sound.dog_bark",
        "qos": 1,
    }
    assert payload["availability_topic"] == "otic/porch/status"
    assert payload["origin"].keys() == {"name", "sw_version"}
    state = components["mic.health.state"]
    assert state["options"] == list(STATES)
    assert state["state_topic"] == "otic/porch/mic/health"
    assert state["value_template"] == "{{ value_json.state }}"


def test_with_one_source_names_are_short() -> None:
    components = discovery_payload(TOPICS, ["mic"], ["dog_bark"])["components"]
    assert [each["name"] for each in components.values()] == [
        "Dog bark",
        "Any sound",
        "Last sound",
        "Sound",
        "Level",
        "Lost samples",
        "State",
    ]


def test_unique_ids_do_not_depend_on_what_else_there_is() -> None:
    few = discovery_payload(TOPICS, ["mic"], ["b"])["components"]
    many = discovery_payload(TOPICS, ["a", "mic"], ["a", "b", "c"])["components"]
    assert few["mic.event"].pop("event_types") == ["b"]
    assert {key: each["unique_id"] for key, each in few.items()}.items() <= {
        key: each["unique_id"] for key, each in many.items()
    }.items()


def test_the_schema_would_notice() -> None:
    payload = discovery_payload(TOPICS, ["mic"], ["dog_bark"])
    spoils: list[Callable[[dict[str, Any]], object]] = [
        lambda p: p.pop("origin"),
        lambda p: p.update(extra=1),
        lambda p: p["device"].update(identifiers=[]),
        lambda p: p["components"]["mic.sound.dog_bark"].pop("unique_id"),
        lambda p: p["components"]["mic.sound.dog_bark"].update(state_topic="a/#"),
        lambda p: p["components"]["mic.health.state"].update(unit_of_measurement="dB"),
    ]
    for spoil in spoils:
        spoilt = json.loads(json.dumps(payload))
        spoil(spoilt)
        with pytest.raises(AssertionError):
            check_payload(spoilt)


names = st.text(min_size=0, max_size=20)


@given(sensor=names, sources=st.lists(names, max_size=3), labels=st.lists(names, max_size=4))
@example("Küche", ["USB Audio: - (hw:1,0)"], ["a_b", "a b", "a/b", "a+b"])
@example("a", ["a_b", "a"], ["c", "b_c"])
@example("+", ["+", "#"], ["+", "#", "", "\0", "\ud800"])
def test_any_names_give_a_valid_payload(sensor: str, sources: list[str], labels: list[str]) -> None:
    sources, labels = list(dict.fromkeys(sources)), list(dict.fromkeys(labels))
    topics = Topics("home/otic", sensor, tuple(sources), tuple(labels))
    payload = discovery_payload(topics, sources, labels)
    check_payload(json.loads(json.dumps(payload)))
    assert len(payload["components"]) == len(sources) * (len(labels) + 3 + 3 * bool(labels))
    found = discovery_topic("homeassistant", sensor).removeprefix("homeassistant/")
    assert DISCOVERY_TOPIC.fullmatch(found)
    states = {topics.state(source, label) for source in sources for label in labels}
    assert len(states) == len(sources) * len(labels)
    assert all(topic.count("/") == 5 for topic in states)


@given(st.lists(st.text(max_size=60), unique=True, max_size=30))
def test_slugs_are_safe_and_distinct(some: list[str]) -> None:
    slugs = [slug(name) for name in some]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,57}", each) for each in slugs)
    assert len(set(slugs)) == len(some)


def test_slugs_of_plain_names_are_the_names_and_others_resemble_them() -> None:
    assert slug("air_conditioner") == "air_conditioner"
    assert slug("car horn").startswith("car_horn-")
    assert slug("Küche").startswith("Kuche-")
    assert slug("犬").startswith("name-")
    assert slug(slug("car horn")) != slug("car horn")  # or it could be taken for another's
    assert slug("x" * 100) != slug("x" * 101)
    assert slug("caf\u00e9") != slug("cafe\u0301")


@given(st.lists(st.text(max_size=60) | st.sampled_from(["a b", "a_b", "A_b", "a-b"]), unique=True))
def test_short_slugs_are_safe_and_distinct(some: list[str]) -> None:
    slugs = short_slugs(some)
    assert list(slugs) == some
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,57}", each) for each in slugs.values())
    assert len(set(slugs.values())) == len(some)


def test_topics_have_digits_only_where_two_would_be_the_same() -> None:
    topics = Topics("otic", "porch", ("default input", "mic"), ("car horn", "a b", "a_b"))
    assert topics.event("default input") == "otic/porch/default_input/event"
    assert topics.state("mic", "car horn") == "otic/porch/mic/car_horn/state"
    assert topics.state("mic", "a_b") == "otic/porch/mic/a_b/state"
    assert topics.state("mic", "a b") == f"otic/porch/mic/{slug('a b')}/state"
    assert topics.event("another mic") == f"otic/porch/{slug('another mic')}/event"


@pytest.mark.parametrize(
    ("label", "icon"),
    [
        ("dog_bark", "mdi:dog"),
        ("crackling fire", "mdi:fire"),
        ("Smoke detector, smoke alarm", "mdi:alarm-light"),
        ("hotdog stand", None),
        ("Küche", None),
    ],
)
def test_icons(label: str, icon: str | None) -> None:
    found = discovery_payload(TOPICS, ["mic"], [label])["components"]
    assert found[f"mic.sound.{slug(label)}"].get("icon") == icon


def test_what_is_said_of_all_sounds() -> None:
    labels = ["dog_bark", "rain"]
    payload = discovery_payload(TOPICS, ["mic"], labels, "http://porch:8080")
    check_payload(payload)
    assert payload["device"]["configuration_url"] == "http://porch:8080"
    components = payload["components"]
    assert components["mic.any"]["state_topic"] == "otic/porch/mic/state"
    assert components["mic.last"]["state_topic"] == "otic/porch/mic/last"
    assert components["mic.event"]["event_types"] == labels
    assert components["mic.health.level_dbfs"]["expire_after"] == 60
    assert not {"mic.any", "mic.last", "mic.event"} & set(
        discovery_payload(TOPICS, ["mic"], [])["components"]
    )


@pytest.mark.parametrize(
    ("listen", "page"),
    [
        (None, None),
        ("8080", None),
        ("localhost:8080", None),
        ("[::1]:8080", None),
        ("192.168.1.5:8080", "http://192.168.1.5:8080"),
        ("0.0.0.0:8080", "http://yard:8080"),
        ("[::]:8080", "http://yard:8080"),
        ("[fe80::1]:8080", "http://[fe80::1]:8080"),
        ("porch.lan:80", "http://porch.lan:80"),
    ],
)
def test_only_a_page_that_others_can_open_is_linked(
    listen: str | None, page: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "yard")
    assert page_address(listen) == page


def test_the_templates_give_what_home_assistant_reads() -> None:
    """With jinja2 and its filter to_json, which is json.dumps."""
    components = discovery_payload(TOPICS, ["mic"], ["dog_bark"])["components"]
    environment = jinja2.Environment()
    environment.filters["to_json"] = json.dumps

    def rendered(name: str, notification: Notification) -> str:
        template = environment.from_string(components[name]["value_template"])
        return template.render(value_json=json.loads(notification.to_json()))

    on = Notification("1", "on", "porch", "mic", "dog_bark", 1.0, 2.0, "T1", "T2", score=0.9)
    event = json.loads(rendered("mic.event", on))
    assert event == {"event_type": "dog_bark", "score": 0.9, "onset_at": "T1"}
    assert rendered("mic.event", replace(on, state="off")) == ""  # which is ignored
    assert rendered("mic.last", on) == "dog bark"


def test_all_sounds() -> None:
    assert TOPICS.of_all_sounds == (
        "otic/porch/+/+/state",
        "otic/porch/+/+/attributes",
        "otic/porch/+/state",
        "otic/porch/+/last",
    )


def test_what_is_no_more_is_removed() -> None:
    before = discovery_payload(TOPICS, ["mic", "yard"], ["dog_bark", "siren"])
    after = discovery_payload(TOPICS, ["mic"], ["dog_bark", "gun_shot"])
    removal = removal_payload(json.dumps(before).encode(), after)
    assert removal is not None
    check_payload(removal)
    gone = {key: each for key, each in removal["components"].items() if len(each) == 1}
    assert gone == {
        "mic.sound.siren": {"platform": "binary_sensor"},
        "yard.sound.dog_bark": {"platform": "binary_sensor"},
        "yard.sound.siren": {"platform": "binary_sensor"},
        "yard.any": {"platform": "binary_sensor"},
        "yard.last": {"platform": "sensor"},
        "yard.event": {"platform": "event"},
        "yard.health.level_dbfs": {"platform": "sensor"},
        "yard.health.lost_samples": {"platform": "sensor"},
        "yard.health.state": {"platform": "sensor"},
    }
    kept = {key: each for key, each in removal["components"].items() if key not in gone}
    assert {**removal, "components": kept} == after
    assert removal_payload(json.dumps(after).encode(), after) is None


@pytest.mark.parametrize(
    "previous",
    [
        b"",
        b"}{",
        b"[]",
        b"null",
        b"\xff",
        b"{}",
        b'{"components": []}',
        b'{"components": {"a": 1}}',
        b'{"components": {"a": {}}}',
        b'{"components": {"a": {"platform": "lock"}}}',
        b'{"components": {"a": {"platform": ["sensor"]}}}',
        b"[" * 100_000,
    ],
)
def test_what_is_not_ours_is_left_alone(previous: bytes) -> None:
    assert removal_payload(previous, discovery_payload(TOPICS, ["mic"], ["dog_bark"])) is None
