"""Settings from a file, the environment and flags: one name in three spellings."""

from __future__ import annotations

import argparse
import os
import stat
from functools import partial
from pathlib import Path

import pytest
import soundfile

from otic.audio.open import input_settings
from otic.audio.soundscape import synthesise
from otic.config.load import add_setting_options, keys
from otic.config.load import load_settings as load_any_settings
from otic.config.settings import InputSettings, Settings
from otic.errors import ConfigurationError, UsageError
from otic.sinks import receivers
from otic.sinks.receivers.mqtt import Section as MqttSection
from otic.sinks.receivers.webhook import Section as WebhookSection
from tests.support.helpers import one_line, otic

load_settings = partial(load_any_settings, sections=receivers.sections)

EVERYTHING = """
name = "hall"
model = "esc10-tiny"
log = ["events"]
silent_seconds = 60
[[inputs]]
device = "usb-C-Media-00"
name = "door"
[[inputs]]
device = "2"
channel = 2
[jsonl]
path = "/tmp/x.jsonl"
max_megabytes = 10
[mqtt]
host = "broker"
tls = true
[command]
argv = ["/bin/echo", "a b"]
"""


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "otic.toml"
    path.write_text(text)
    return str(path)


def test_a_file_sets_everything(tmp_path: Path) -> None:
    found = load_settings(written(tmp_path, EVERYTHING), {})
    assert found.name == "hall"
    assert found.log == ("events",)
    assert found.inputs == (
        InputSettings("usb-C-Media-00", "door"),
        InputSettings("2", None, 2),
    )
    assert found.jsonl.max_megabytes == 10.0
    assert (
        found.receivers["mqtt"].host,
        found.receivers["mqtt"].tls,
        found.receivers["mqtt"].port,
    ) == ("broker", True, 0)
    assert found.receivers["command"].argv == ("/bin/echo", "a b")
    assert found.receivers["webhook"] == WebhookSection()


def test_flags_go_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, EVERYTHING)
    environment = {"OTIC_MQTT_HOST": "env", "OTIC_NAME": "env", "OTIC_MQTT_TLS": "no"}
    found = load_settings(path, environment, {"mqtt_host": "flag"})
    assert (found.receivers["mqtt"].host, found.name, found.receivers["mqtt"].tls) == (
        "flag",
        "env",
        False,
    )
    again = load_settings(path, {}, {}, (InputSettings("flag"),))
    assert again.inputs == (InputSettings("flag"),)


def test_every_key_has_a_flag_or_a_variable() -> None:
    """And each spelling sets just that key."""
    parser = argparse.ArgumentParser()
    add_setting_options(parser, frozenset(), keys(receivers.sections()))
    samples = {str: "abc", int: "17", float: "7.5", bool: "true", tuple: "events"}
    for key in keys(receivers.sections()):
        choices = key.field.metadata["choices"]
        text = choices[0] if choices else samples[key.kind]
        expected = key.from_text(text)

        def at(settings: Settings, key: object = key) -> object:
            name = key.section  # type: ignore[attr-defined]
            found = settings.receivers.get(name) or getattr(settings, name, settings)
            return getattr(found, key.field.name)  # type: ignore[attr-defined]

        assert at(load_settings(None, {key.variable: text})) == expected, key.variable
        if not key.secret:
            words = [key.flag] if key.kind is bool else [key.flag, text]
            flags = vars(parser.parse_args(words))
            assert at(load_settings(None, {}, flags)) == expected, key.flag
    assert load_settings(None, {}, vars(parser.parse_args([]))) == load_settings(None, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mqtt.hots = 'x'", "unknown key 'mqtt.hots': there are ca_file, "),
        ("colour = 1", "unknown key 'colour': there are block, clips, "),
        ("mqtt = 3", r"mqtt must be a table: write \[mqtt\]"),
        ("[mqtt]\nport = 99999", "mqtt.port: 99999 must be at most 65535"),
        ("[mqtt]\nport = true", "mqtt.port: True must be a whole number"),
        ("[mqtt]\ntls = 'yes'", "mqtt.tls: 'yes' must be true or false"),
        ("[mqtt]\npassword = 'x'", "mqtt.password must not be in this file: set OTIC_MQTT_PASS"),
        ("[mqtt]\nhost = ''", "mqtt.host: must not be empty"),
        ("log = 'events'", "log: 'events' must be a list of text"),
        ("log = ['event']", "log: .* must be some of scores, events, unknown"),
        ("[clips]\nformat = 'mp3'", "clips.format: 'mp3' must be flac, wav"),
        ("[clips]\npre_seconds = inf", "clips.pre_seconds: inf must be a finite number"),
        ("inputs = 3", r"inputs must be tables: write \[\[inputs\]\]"),
        ("[[inputs]]\n[[inputs]]\ndevise = 'x'", "inputs, the 2.: unknown key 'devise'"),
        ("[[inputs]]\nchannel = 0", "inputs, the 1.: channel: 0 must be at least 1"),
        ("[mqtt", "is not TOML: "),
    ],
)
def test_what_can_not_be_is_refused_by_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_settings(written(tmp_path, text), {})


def test_a_variable_that_can_not_be_is_named() -> None:
    with pytest.raises(ConfigurationError, match="OTIC_MQTT_PORT: 'x' must be a whole number"):
        load_settings(None, {"OTIC_MQTT_PORT": "x"})
    with pytest.raises(ConfigurationError, match=r"^OTIC_MQTT_PASSWORD: its value is not allowed$"):
        load_settings(None, {"OTIC_MQTT_PASSWORD": "sec\0ret"})


def test_secrets_are_not_shown() -> None:
    webhook = WebhookSection(url="https://example.org/token-sesame")
    settings = Settings(receivers={"mqtt": MqttSection(password="sesame"), "webhook": webhook})
    assert "sesame" not in repr(settings)


@pytest.mark.parametrize("command", [("listen",), ("replay", "a.wav"), ("run",)])
def test_a_wrong_flag_is_wrong_usage(command: tuple[str, ...]) -> None:
    done = otic(*command, "--mqtt-port", "x")
    assert done.returncode == 2
    assert "--mqtt-port: 'x' must be a whole number" in one_line(done.stderr)


def test_a_secret_on_the_command_line_is_refused_and_not_repeated() -> None:
    for flag in ("--mqtt-password", "--webhook-secret"):
        done = otic("listen", flag, "sesame")
        assert done.returncode == 2
        assert "is everybody's: set OTIC_" in one_line(done.stderr)
        assert b"sesame" not in done.stderr


def test_names_are_utf_8() -> None:
    with pytest.raises(ConfigurationError, match="OTIC_NAME: must be UTF-8 text"):
        load_settings(None, {"OTIC_NAME": "caf\udce9"})


def given(**options: list[object]) -> argparse.Namespace:
    return argparse.Namespace(**{"device": None, "input_name": None, "channel": None, **options})


def test_flags_for_microphones() -> None:
    configured = (InputSettings("a", "door"), InputSettings("b", "hall"))
    assert input_settings(given(), configured) is None
    assert input_settings(given(channel=[2]), configured) == (
        InputSettings("a", "door", 2),
        InputSettings("b", "hall", 2),
    )
    assert input_settings(given(device=["x", "y"], input_name=["1", "2"])) == (
        InputSettings("x", "1"),
        InputSettings("y", "2"),
    )
    assert input_settings(given(channel=[1])) == (InputSettings(None, None, 1),)
    with pytest.raises(UsageError, match="--input-name is given 1 times for 2 microphones"):
        input_settings(given(input_name=["1"]), configured)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    done = otic("run", "--config", tmp_path / "none.toml")
    assert done.returncode == 1
    assert "none.toml': No such file or directory" in one_line(done.stderr)


def test_events_of_a_replay_go_where_they_should(tmp_path: Path, esc10: Path) -> None:
    """A file into CSV, SQLite, a command and clips, with no flag but those."""
    script = tmp_path / "told.sh"
    script.write_text(f'#!/bin/sh\necho "$OTIC_STATE $OTIC_LABEL" >> {tmp_path}/told.txt\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    clip = min((esc10 / "audio").glob("1-*"))
    done = otic(
        *("replay", clip, "--speed", "max", "--no-dashboard", "--csv-path", tmp_path / "e.csv"),
        *("--sqlite-path", tmp_path / "e.db", "--clips-directory", tmp_path / "clips"),
        *("--command-argv", script, "--name", "test"),
        env={**os.environ, "OTIC_CSV_PATH": str(tmp_path / "not-this.csv")},
    )
    assert done.returncode == 0, done.stderr.decode()
    told = (tmp_path / "told.txt").read_text().split("\n")[:-1]
    rows = (tmp_path / "e.csv").read_text().splitlines()[1:]
    clips = list((tmp_path / "clips").iterdir())
    assert told[0].startswith("on ")
    assert len(told) == 2 * len(rows) == 2 * len(clips) > 0
    assert not (tmp_path / "not-this.csv").exists()  # the environment is for otic run


def test_a_replay_whose_events_are_not_taken_says_so_and_fails(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", synthesise(22050)[0][: 8 * 22050], 22050)
    done = otic(
        *("replay", tmp_path / "a.wav", "--speed", "max", "--no-dashboard"),
        *("--command-argv", "/bin/false", "--jsonl", tmp_path / "log.jsonl"),
    )
    assert done.returncode == 1
    assert b"command: 2 events were refused" in done.stderr
