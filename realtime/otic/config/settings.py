"""The settings of a sensor: a frozen dataclass per section, and the range of each value.

A key has one name in three spellings: ``mqtt.host`` in the configuration file is ``--mqtt-host``
on the command line and ``OTIC_MQTT_HOST`` in the environment. :mod:`otic.config.load` reads them.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from otic.config.stream_url import check_url, refuse_url
from otic.config.values import (
    LOG_CHOICES,
    LOG_DEFAULT,
    MAX_BLOCK,
    MICROPHONE_BLOCK,
    check_clock_range,
    check_time_zone,
    label_words,
    threshold_words,
)


def setting(
    default: Any,
    help_text: str,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
    secret: bool = False,
    shown: bool = True,
    metavar: str | None = None,
    split: Callable[[str], list[str]] = shlex.split,
    check: Callable[[str], None] = lambda _: None,
) -> Any:
    """Make a field that knows what its value may be.

    Parameters
    ----------
    default : object
    help_text : str
    least, most : float, optional
        The range of a number.
    choices : tuple of str
        The words that are allowed.
    secret : bool
        True for a value that comes from the environment only.
    shown : bool
        False for a value that may hold a secret. Neither it nor a secret is in the settings'
        representation or in a message.
    metavar : str, optional
        The value's name in ``--help``.
    split : callable
        Splits the text of a list.
    check : callable
        Raises a ValueError for text that can't be the value, or one of a list's.
    """
    metadata = {
        "help": help_text,
        "least": least,
        "most": most,
        "choices": choices,
        "secret": secret,
        "metavar": metavar,
        "split": split,
        "check": check,
    }
    return field(default=default, metadata=metadata, repr=shown and not secret)


@dataclass(frozen=True)
class JsonlSettings:
    """Settings of the log."""

    path: str | None = setting(
        None, "write scores and events as JSON lines; 'otic run' appends; - is stdout"
    )
    max_megabytes: float = setting(
        0.0, "start a new file at this size, and append to the log; 0: never", least=0.0
    )
    keep: int = setting(5, "number of full files to keep", least=1, most=10_000)


@dataclass(frozen=True)
class ClipsSettings:
    """Settings of the recordings of events."""

    directory: str | None = setting(None, "record the sound of each event into this folder")
    enabled: bool = setting(True, "false: never write sound, for privacy")
    format: str = setting("flac", "file format", choices=("flac", "wav"))
    pre_seconds: float = setting(2.0, "sound from before the onset", least=0.0, most=30.0)
    post_seconds: float = setting(1.0, "sound from after the end", least=0.0, most=30.0)
    longest_seconds: float = setting(30.0, "end a recording after this", least=1.0, most=600.0)
    speech: str = setting(
        "keep", "drop: no recording where speech is heard", choices=("keep", "drop")
    )
    max_megabytes: float = setting(
        500.0, "delete the oldest recordings beyond this", least=0.1, most=1e7
    )


@dataclass(frozen=True)
class FilterSettings:
    """Settings of which events go to receivers and recordings; the log has all."""

    only: tuple[str, ...] = setting(
        (),
        "send these labels and no other: dog,rain",
        metavar="LABEL,…",
        split=label_words,
    )
    never: tuple[str, ...] = setting(
        (),
        "never send these labels; a group of the model stands for its labels, too",
        metavar="LABEL,…",
        split=label_words,
    )
    minimum_score: float = setting(
        0.0, "send an event only if its score is at least this", least=0.0, most=1.0
    )
    cooldown_seconds: float = setting(
        0.0, "send no further event of a label for this long", least=0.0, most=1e7
    )
    first_of_day: bool = setting(False, "send only the first event of each label on each day")
    quiet: tuple[str, ...] = setting(
        (),
        "send nothing in these hours: 22:00-06:00",
        metavar="HH:MM-HH:MM",
        split=label_words,
        check=check_clock_range,
    )
    active: tuple[str, ...] = setting(
        (),
        "send only in these hours: 08:00-12:00,13:00-17:00",
        metavar="HH:MM-HH:MM",
        split=label_words,
        check=check_clock_range,
    )
    time_zone: str | None = setting(
        None,
        "time zone of these hours and of the day, such as Europe/Berlin (default: the system's)",
        check=check_time_zone,
    )


@dataclass(frozen=True)
class ReviewSettings:
    """Settings of the marks, right or wrong, that a person gives events for training."""

    directory: str | None = setting(
        None, "keep marked events here (default: the service's state folder, else the user's)"
    )
    enabled: bool = setting(True, "false: events can't be marked")


@dataclass(frozen=True)
class LevelSettings:
    """Settings of how loud it is."""

    enabled: bool = setting(
        False, "measure each minute: LAeq, L10, L50, L90, peak and third-octave bands"
    )
    calibration_db: float | None = setting(
        None,
        "what to add to dB re full scale to get dB of sound pressure (default: uncalibrated, dBFS)",
        least=-50.0,
        most=250.0,
        metavar="DB",
    )
    loud_db: float | None = setting(
        None,
        "report events 'loud' from this A-weighted level on, in the same dB",
        least=-120.0,
        most=200.0,
        metavar="DB",
    )


@dataclass(frozen=True)
class MetricsSettings:
    """Settings of the metrics for Prometheus."""

    listen: str | None = setting(
        None,
        "serve metrics for Prometheus (needs the extra metrics); without HOST, for this machine "
        "only",
        metavar="[HOST:]PORT",
    )


@dataclass(frozen=True)
class WebSettings:
    """Settings of the web page."""

    listen: str | None = setting(
        None,
        "serve a page with live scores, spectrogram and events (needs the extra web); without "
        "HOST, for this machine only",
        metavar="[HOST:]PORT",
    )
    token: str | None = setting(None, "visitors of the page need this token", secret=True)
    token_file: str | None = setting(
        None,
        "read the token from this file (default: a new one, printed, unless only this machine "
        "can connect)",
    )


@dataclass(frozen=True)
class SpoolSettings:
    """Settings of the queue of events that wait for their receivers."""

    directory: str | None = setting(
        None, "folder where events wait (default: the service's state folder, else the user's)"
    )
    max_events: int = setting(
        100_000, "drop and count the oldest events beyond this", least=10, most=10_000_000
    )


@dataclass(frozen=True)
class InputSettings:
    """Settings of one microphone: a device of this machine, or a stream."""

    device: str | None = setting(
        None,
        "input device: its index, name, part of its name, or id (default: the system's)",
        check=refuse_url,
    )
    url: str | None = setting(
        None,
        "in place of a device, a live stream: rtsp://…, http://…, or a FIFO's path",
        shown=False,
        check=check_url,
    )
    url_file: str | None = setting(None, "read the url from this file")
    name: str | None = setting(None, "name in the log (default: the device's or the host's)")
    channel: int | None = setting(None, "use this channel, counted from 1", least=1, most=1024)

    @property
    def is_stream(self) -> bool:
        """True for what ffmpeg fetches, False for a device of this machine."""
        return bool(self.url or self.url_file)


@dataclass(frozen=True)
class Settings:
    """All settings of a sensor."""

    name: str | None = setting(None, "name of this sensor (default: the machine's name)")
    model: str | None = setting(None, "bundled model or .tflite file", metavar="NAME|PATH")
    log: tuple[str, ...] = setting(LOG_DEFAULT, "what the JSON lines contain", choices=LOG_CHOICES)
    thresholds: tuple[str, ...] = setting(
        (),
        "thresholds in place of the model's: dog=0.5,rain=0.4; 1 is never",
        metavar="LABEL=X",
        split=threshold_words,
    )
    silent_seconds: float = setting(
        30.0, "reopen a microphone that delivers only zeros for this long; 0: never", least=0.0
    )
    block: int = setting(
        MICROPHONE_BLOCK, "samples per read, at the model's rate", least=1, most=MAX_BLOCK
    )
    inputs: tuple[InputSettings, ...] = (InputSettings(),)
    receivers: Mapping[str, Any] = field(default_factory=dict)
    """The section of each receiver, by its name: an instance of its module's ``Section``."""
    filter: FilterSettings = FilterSettings()
    filters: Mapping[str, FilterSettings] = field(default_factory=dict)
    """The filters of those receivers that have one of their own; ``clips`` are the recordings."""
    jsonl: JsonlSettings = JsonlSettings()
    clips: ClipsSettings = ClipsSettings()
    review: ReviewSettings = ReviewSettings()
    level: LevelSettings = LevelSettings()
    metrics: MetricsSettings = MetricsSettings()
    web: WebSettings = WebSettings()
    spool: SpoolSettings = SpoolSettings()
