"""What can be set for a sensor: one frozen dataclass a section, and what each value may be.

A key is known by one name in three spellings: ``mqtt.host`` in the configuration file is
``--mqtt-host`` on the command line and ``OTIC_MQTT_HOST`` in the environment. How the three
are read is in :mod:`otic.config.load`; what is here knows no file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from otic.config.values import LOG_CHOICES, LOG_DEFAULT, MAX_BLOCK, MICROPHONE_BLOCK


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
) -> Any:
    """A field with what its value may be; a ``secret`` comes from the environment only.

    Neither that nor what is not ``shown`` is in the settings' representation.
    """
    metadata = {
        "help": help_text,
        "least": least,
        "most": most,
        "choices": choices,
        "secret": secret,
        "metavar": metavar,
    }
    return field(default=default, metadata=metadata, repr=shown and not secret)


@dataclass(frozen=True)
class JsonlSettings:
    """The log."""

    path: str | None = setting(
        None, "write scores and events as JSON lines; 'otic run' appends; - is stdout"
    )
    max_megabytes: float = setting(
        0.0, "go on in a new file at this size (the log is then appended to); 0: never", least=0.0
    )
    keep: int = setting(5, "how many full files to keep", least=1, most=10_000)


@dataclass(frozen=True)
class CsvSettings:
    """Events as a table in a text file."""

    path: str | None = setting(None, "append finished events to this CSV file")


@dataclass(frozen=True)
class SqliteSettings:
    """Events in a database."""

    path: str | None = setting(None, "keep events in this SQLite database")
    keep_days: float = setting(0.0, "delete events older than this; 0: never", least=0.0)


@dataclass(frozen=True)
class MqttSettings:
    """An MQTT broker, and Home Assistant behind it."""

    host: str | None = setting(None, "publish events to this MQTT broker (extra mqtt)")
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


@dataclass(frozen=True)
class WebhookSettings:
    """A web server that each event is posted to."""

    url: str | None = setting(None, "post each event to this http(s) address", shown=False)
    secret: str | None = setting(None, "sign with this", secret=True)
    secret_file: str | None = setting(None, "read the secret to sign with from this file")
    ca_file: str | None = setting(None, "trust these certificate authorities (default: system's)")
    timeout_seconds: float = setting(10.0, "how long to wait for the answer", least=0.1, most=300.0)


@dataclass(frozen=True)
class CommandSettings:
    """A program that is run for each event."""

    argv: tuple[str, ...] = setting(
        (), "program and arguments to run for each event, without a shell", metavar="WORD"
    )
    timeout_seconds: float = setting(
        30.0, "the program is ended after this", least=0.1, most=3600.0
    )


@dataclass(frozen=True)
class ClipsSettings:
    """Recordings of events."""

    directory: str | None = setting(None, "record the sound of each event into this folder")
    enabled: bool = setting(True, "false: privacy, no sound is ever written")
    format: str = setting("flac", "file format", choices=("flac", "wav"))
    pre_seconds: float = setting(2.0, "sound from before the onset", least=0.0, most=30.0)
    post_seconds: float = setting(1.0, "sound from after the end", least=0.0, most=30.0)
    longest_seconds: float = setting(30.0, "end a recording after this", least=1.0, most=600.0)
    max_megabytes: float = setting(
        500.0, "delete the oldest recordings beyond this", least=0.1, most=1e7
    )


@dataclass(frozen=True)
class ReviewSettings:
    """Events that a person marks right or wrong, kept for training."""

    directory: str | None = setting(
        None, "keep marked events here (default: the service's state folder, else the user's)"
    )
    enabled: bool = setting(True, "false: events can't be marked")


@dataclass(frozen=True)
class MetricsSettings:
    """Prometheus."""

    listen: str | None = setting(
        None,
        "serve metrics for Prometheus (extra metrics); without a host only to this machine",
        metavar="[HOST:]PORT",
    )


@dataclass(frozen=True)
class WebSettings:
    """A page to look at a sensor from elsewhere."""

    listen: str | None = setting(
        None,
        "serve a page with live scores, spectrogram and events (extra web); without a host only "
        "to this machine",
        metavar="[HOST:]PORT",
    )
    token: str | None = setting(None, "who asks must know this", secret=True)
    token_file: str | None = setting(
        None, "read the token from this file (default: made anew and told, unless only for here)"
    )


@dataclass(frozen=True)
class SpoolSettings:
    """Events that wait for their receivers, kept over a restart."""

    directory: str | None = setting(
        None, "where events wait (default: the service's state folder, else the user's)"
    )
    max_events: int = setting(
        100_000, "drop and count the oldest beyond this", least=10, most=10_000_000
    )


@dataclass(frozen=True)
class InputSettings:
    """One microphone."""

    device: str | None = setting(
        None, "input device by index, name, part of one, or id (default: the system's)"
    )
    name: str | None = setting(None, "what to call it in the log (default: the device's name)")
    channel: int | None = setting(None, "use this channel; the first is 1", least=1, most=1024)


@dataclass(frozen=True)
class Settings:
    """All of a sensor."""

    name: str | None = setting(None, "what to call this sensor (default: the machine's name)")
    model: str | None = setting(None, "bundled model or .tflite file", metavar="NAME|PATH")
    log: tuple[str, ...] = setting(LOG_DEFAULT, "what the JSON lines contain", choices=LOG_CHOICES)
    thresholds: tuple[str, ...] = setting(
        (), "in place of the model's, by label: dog=0.5; 1 is never", metavar="LABEL=X"
    )
    silent_seconds: float = setting(
        30.0, "reopen a microphone that gives exact zeros for so long; 0: never", least=0.0
    )
    block: int = setting(
        MICROPHONE_BLOCK, "samples per read, at the model's rate", least=1, most=MAX_BLOCK
    )
    inputs: tuple[InputSettings, ...] = (InputSettings(),)
    jsonl: JsonlSettings = JsonlSettings()
    csv: CsvSettings = CsvSettings()
    sqlite: SqliteSettings = SqliteSettings()
    mqtt: MqttSettings = MqttSettings()
    webhook: WebhookSettings = WebhookSettings()
    command: CommandSettings = CommandSettings()
    clips: ClipsSettings = ClipsSettings()
    review: ReviewSettings = ReviewSettings()
    metrics: MetricsSettings = MetricsSettings()
    web: WebSettings = WebSettings()
    spool: SpoolSettings = SpoolSettings()
