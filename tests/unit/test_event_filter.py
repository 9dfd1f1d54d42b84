from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from otic.config.load import load_settings
from otic.config.settings import ClipsSettings, FilterSettings
from otic.errors import ConfigurationError
from otic.sinks import receivers
from otic.sinks.clips import ClipSink
from otic.sinks.delivery.notification import Notification
from otic.sinks.delivery.outbox import Outbox
from otic.sinks.delivery.queue import DeliveryQueue
from otic.sinks.event_filter import EventFilter, open_filters
from otic.types import Event, StreamStart

LABELS = ("dog", "rain", "guitar", "piano", "music")
GROUPS = {"music": ("guitar", "piano")}
NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LIVE = StreamStart("0.1.0", "m", "00", "door", 22050, 2.0, 0.25, LABELS, "2026-01-01T11:00:00.000Z")


def on(label: str, at: float = 0.0, score: float = 0.9) -> Event:
    return Event("on", label, onset=at, time=at, score=score)


def off(label: str, at: float, onset: float = 0.0) -> Event:
    return Event("off", label, onset=onset, time=at, offset=at, peak=0.9)


def event_filter(**settings: Any) -> EventFilter:
    return EventFilter(FilterSettings(**settings), GROUPS)


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        ({}, LABELS),
        ({"only": ("dog", "music")}, ("dog", "music")),
        ({"never": ("music",)}, ("dog", "rain")),
        ({"never": ("piano",)}, ("dog", "rain", "guitar", "music")),
        ({"only": ("dog", "piano"), "never": ("music",)}, ("dog",)),
    ],
)
def test_labels_and_groups(settings: dict[str, Any], taken: tuple[str, ...]) -> None:
    chosen = event_filter(**settings)
    assert chosen.labels(LABELS) == taken
    assert tuple(n for n in LABELS if chosen.takes("door", on(n), NOON)) == taken


def test_a_score_of_just_the_minimum_is_enough() -> None:
    chosen = event_filter(minimum_score=0.8)
    assert [chosen.takes("door", on("dog", score=s), NOON) for s in (0.79, 0.8)] == [False, True]


def test_a_cooldown_counts_from_the_last_that_was_sent_for_each_label_and_source() -> None:
    chosen = event_filter(cooldown_seconds=60.0)
    times = (0.0, 59.0, 60.0, 100.0, 120.0)
    assert [chosen.takes("door", on("dog", t), NOON) for t in times] == [
        True,
        False,
        True,
        False,
        True,
    ]
    assert chosen.takes("door", on("rain", 121.0), NOON)
    assert chosen.takes("yard", on("dog", 121.0), NOON)
    assert chosen.takes("door", on("dog", 0.5), NOON)  # a new stream


def test_the_first_of_a_day_is_that_of_the_local_day() -> None:
    chosen = event_filter(first_of_day=True, time_zone="Pacific/Auckland")  # UTC+13
    hours = (9.0, 10.5, 11.5, 20.0, 34.0, 35.5)  # of UTC; midnight there is 11:00
    midnight = datetime(2026, 1, 1, tzinfo=UTC)
    taken = [
        chosen.takes("door", on("dog", h * 3600), midnight + timedelta(hours=h)) for h in hours
    ]
    assert taken == [True, False, True, False, False, True]


def test_what_is_held_back_begins_no_cooldown_and_is_no_first() -> None:
    chosen = event_filter(
        quiet=("22:00-06:00",), cooldown_seconds=1e6, first_of_day=True, time_zone="UTC"
    )
    early = datetime(2026, 1, 1, 5, 59, tzinfo=UTC)
    assert not chosen.takes("door", on("dog", 0.0), early)
    assert chosen.takes("door", on("dog", 60.0), early + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        ({"quiet": ("22:00-06:00",)}, {6, 12, 21}),
        ({"active": ("06:00-12:00", "21:00-22:00")}, {6, 21}),
        ({"active": ("20:00-24:00",)}, {21, 22, 23}),
        ({"active": ("00:00-24:00",), "quiet": ("12:00-13:00",)}, {0, 5, 6, 21, 22, 23}),
        ({"quiet": ("0:00-24:00",)}, set()),
    ],
)
def test_hours(settings: dict[str, Any], taken: set[int]) -> None:
    chosen = event_filter(time_zone="UTC", **settings)
    hours = (0, 5, 6, 12, 21, 22, 23)
    at = NOON.replace(hour=0)
    assert {h for h in hours if chosen.takes("door", on("dog"), at + timedelta(hours=h))} == taken
    assert chosen.takes("door", on("dog"), None)  # a replay knows no time of day


@pytest.mark.parametrize(
    ("utc", "taken"),
    [
        ("2026-03-28T05:30", True),  # 06:30 in Berlin's winter
        ("2026-03-28T04:30", False),  # 05:30
        ("2026-03-29T04:30", True),  # 06:30: since 01:00 UTC it is summer
        ("2026-03-29T03:30", False),
        ("2026-10-25T04:30", False),  # 05:30: it is winter again
        ("2026-10-25T00:30", False),  # 02:30, the first time
        ("2026-10-25T01:30", False),  # 02:30, the second time
    ],
)
@pytest.mark.parametrize("offset_hours", [0, 9])
def test_quiet_hours_are_those_of_the_wall_clock_in_summer_and_winter(
    utc: str, taken: bool, offset_hours: int
) -> None:
    chosen = event_filter(quiet=("22:00-06:00",), time_zone="Europe/Berlin")
    at = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    elsewhere = at.astimezone(timezone(timedelta(hours=offset_hours)))
    assert chosen.takes("door", on("dog"), elsewhere) is taken


def outbox(
    path: Path | None, filters: dict[str, EventFilter], ids: Callable[[], str]
) -> tuple[Outbox, DeliveryQueue]:
    queue = DeliveryQueue(path, ["csv", "mqtt"], 100)
    return Outbox("hall", queue, [], now=lambda: NOON, new_id=ids, filters=filters), queue


def drain(queue: DeliveryQueue, receiver: str) -> list[Notification]:
    found = []
    while (entry := queue.next(receiver)) is not None:
        found.append(entry[1])
        queue.done(receiver, entry[0])
    return found


@pytest.mark.parametrize("kept", [False, True])
def test_each_receiver_gets_what_its_filter_takes(tmp_path: Path, kept: bool) -> None:
    path = tmp_path / "queue.jsonl" if kept else None
    numbers = iter("abcdefgh")
    filters = {"csv": event_filter(), "mqtt": event_filter(never=("rain",), cooldown_seconds=60.0)}
    sink, queue = outbox(path, filters, lambda: next(numbers))
    for item in (on("dog"), on("rain", 1.0), off("dog", 2.0), off("rain", 3.0, 1.0)):
        sink.write(LIVE, item)
    sink.write(LIVE, on("dog", 30.0))
    sink.write(LIVE, off("dog", 31.0, 30.0))
    sink.write(LIVE, on("dog", 61.0))
    assert (queue.waiting("csv"), queue.waiting("mqtt")) == (7, 3)
    assert [n.id for n in drain(queue, "mqtt")] == ["a/on", "a/off", "d/on"]
    assert queue.waiting("mqtt") == queue.dropped("mqtt") == 0
    sent = drain(queue, "csv")
    assert [n.id for n in sent] == ["a/on", "b/on", "a/off", "b/off", "c/on", "c/off", "d/on"]
    assert not any("receivers" in n.to_json() for n in sent)
    sink.close()


def test_what_every_filter_refuses_does_not_wait() -> None:
    sink, queue = outbox(None, {n: event_filter(never=("rain",)) for n in ("csv", "mqtt")}, str)
    sink.write(LIVE, on("rain"))
    sink.write(LIVE, off("rain", 1.0))
    assert (queue.waiting("csv"), queue.waiting("mqtt"), queue.open_events()) == (0, 0, ())
    sink.close()


def test_a_restart_keeps_who_gets_what(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    filters = {"mqtt": event_filter(never=("rain",))}
    numbers = iter("abcdefgh")
    sink, queue = outbox(path, filters, lambda: next(numbers))
    sink.write(LIVE, on("dog"))
    sink.write(LIVE, on("rain"))
    sink.close()
    sink, queue = outbox(path, filters, lambda: next(numbers))  # it was killed: both end
    assert (queue.waiting("csv"), queue.waiting("mqtt")) == (4, 2)
    assert [n.id for n in drain(queue, "mqtt")] == ["a/on", "a/off"]
    assert [n.id for n in drain(queue, "csv")] == ["a/on", "b/on", "a/off", "b/off"]
    sink.close()


def test_what_is_dropped_counts_for_those_who_would_have_got_it() -> None:
    queue = DeliveryQueue(None, ["csv", "mqtt"], 10)
    filters = {"mqtt": event_filter(never=("rain",))}
    sink = Outbox("hall", queue, [], filters=filters)
    for number in range(20):
        sink.write(LIVE, on("rain" if number % 2 else "dog", float(number)))
    assert (queue.waiting("csv"), queue.dropped("csv")) == (10, 10)
    assert (queue.waiting("mqtt"), queue.dropped("mqtt")) == (5, 5)
    sink.close()


def test_only_what_the_filter_takes_is_recorded(tmp_path: Path) -> None:
    import numpy as np

    settings = ClipsSettings(directory=str(tmp_path), format="wav")
    chosen = event_filter(only=("dog",))
    sink = ClipSink(settings, "hall", lambda: NOON, event_filter=chosen, drain_timeout=lambda: 60.0)
    sink.start(LIVE)
    sink.on_chunk(LIVE, np.zeros(LIVE.sr * 5, np.float32))
    for item in (on("dog", 1.0), on("rain", 1.0), off("dog", 2.0, 1.0), off("rain", 2.0, 1.0)):
        sink.write(LIVE, item)
    sink.close()
    assert [path.name.rpartition("_")[2] for path in tmp_path.iterdir()] == ["dog.wav"]


def test_a_receiver_s_own_table_replaces_single_keys(tmp_path: Path) -> None:
    file = tmp_path / "otic.toml"
    file.write_text(
        "[filter]\nonly = ['dog', 'rain']\ncooldown_seconds = 60\n"
        "[filter.mqtt]\ncooldown_seconds = 0\n[filter.clips]\nonly = []\n"
    )
    environment = {"OTIC_FILTER_ONLY": 'dog, "Domestic animals, pets"'}
    settings = load_settings(str(file), environment, sections=receivers.sections)
    only = ("dog", "Domestic animals, pets")
    assert settings.filter == FilterSettings(only=only, cooldown_seconds=60.0)
    assert settings.filters == {
        "mqtt": FilterSettings(only=only),
        "clips": FilterSettings(cooldown_seconds=60.0),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[filter.mqqt]\n", r"unknown key 'filter.mqqt' .did you mean 'mqtt'\?.: there are clips,"),
        ("[filter.mqtt]\nnevr = ['dog']", r"filter.mqtt: unknown key 'nevr' .did you mean 'never'"),
        ("[filter]\nnevr = ['dog']", r"unknown key 'filter.nevr' .did you mean 'never'"),
        ("[filter.mqtt]\nminimum_score = 7", "filter.mqtt: minimum_score: 7.0 must be at most 1"),
        ("[filter]\nquiet = ['22-6']", "filter.quiet: '22-6' must be two times of the day, such"),
        ("[filter]\nactive = ['8:00-25:00']", "filter.active: '8:00-25:00' must be two times of"),
        ("[filter]\ntime_zone = 'Berlin'", "filter.time_zone: 'Berlin' must be a time zone that"),
        ("[filter]\ntime_zone = '../x'", "filter.time_zone: '../x' must be a time zone that"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "otic.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load_settings(str(file), {}, sections=receivers.sections)


def test_a_label_that_the_model_lacks_is_named() -> None:
    own = {"mqtt": FilterSettings(never=("gitar",))}
    with pytest.raises(
        ConfigurationError, match=r"filter\.mqtt: the model has no label 'gitar' .did you mean 'gui"
    ):
        open_filters(FilterSettings(), own, ["mqtt"], LABELS, GROUPS)
