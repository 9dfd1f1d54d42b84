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
model = "esc10-mfcc-mlp"
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
        InputSettings("usb-C-Media-00", name="door"),
        InputSettings("2", channel=2),
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
    special = {
        "minimum_score": "0.5",
        "quiet": "22:00-6:00,12:00-13:00",
        "active": "08:00-24:00",
        "time_zone": "UTC",
    }
    for key in keys(receivers.sections()):
        choices = key.field.metadata["choices"]
        text = choices[0] if choices else special.get(key.field.name) or samples[key.kind]
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
        (
            "mqtt.hots = 'x'",
            r"unknown key 'mqtt.hots' .did you mean 'host'\?.: there are ca_file, ",
        ),
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
        ("[[inputs]]\n[[inputs]]\ndevise = 'x'", "inputs, number 2: unknown key 'devise'"),
        ("[[inputs]]\nchannel = 0", "inputs, number 1: channel: 0 must be at least 1"),
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[mqtt]\nport = 1" + b"0" * 5000, "a number of thousands of digits"),
        (b"[mqtt]\ntimeout_seconds = 1" + b"0" * 400, "must be a finite number$"),
        (b"[mqtt]\nport = 0x" + b"f" * 5000, "mqtt.port: its value must be at most 65535"),
        (b"name = " + b"[" * 100_000, "brackets within brackets"),
        (b"name = 'caf\xe9'", "is not UTF-8 text: save it as UTF-8"),
        (b"\xff\xfen\0a\0", "is not UTF-8 text"),
        (b"#" * (2 << 20), "is longer than 1048576 bytes"),
    ],
)
def test_a_file_that_is_none_gets_one_short_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "otic.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as failure:
        load_settings(str(path), {}, sections=receivers.sections)
    assert len(str(failure.value)) < 400


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigurationError, match="longer than"):
        load_settings("/dev/zero", {})


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "otic.toml"
    path.write_bytes(b"\xef\xbb\xbfname = 'hall'\n")
    assert load_settings(str(path), {}).name == "hall"


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    every = {key.variable: "" for key in keys(receivers.sections())}
    path = written(tmp_path, "name = 'hall'")
    settings = load_settings(path, every, sections=receivers.sections)
    assert settings == load_settings(path, {}, sections=receivers.sections)


def test_a_tilde_is_the_home_folder_wherever_a_path_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = [key for key in keys(receivers.sections()) if key.is_path]
    assert {"model", "jsonl.path", "clips.directory", "mqtt.ca_file", "spool.directory"} <= {
        key.dotted for key in paths
    }
    for key in paths:
        assert key.from_toml("~/x") == key.from_text("~/x") == f"{tmp_path}/x"
        with pytest.raises(ValueError, match="home folder is not known: write the whole path"):
            key.from_toml("~nobody-of-this-name/x")
    settings = load_settings(None, {}, {"jsonl_path": "~/log.jsonl"})
    assert settings.jsonl.path == f"{tmp_path}/log.jsonl"
    (tmp_path / "otic.toml").write_text("name = 'hall'")
    assert load_settings("~/otic.toml", {}).name == "hall"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dog=0.5,rain=0.4", ("dog=0.5", "rain=0.4")),
        ("dog=0.5 rain=0.4", ("dog=0.5", "rain=0.4")),
        ("dog = 0.5, rain = 0.4", ("dog=0.5", "rain=0.4")),
        ("'a b=0.4' dog=1", ("a b=0.4", "dog=1")),
        ("'a b'=0.4, \"c\"=.3", ("a b=0.4", "c=.3")),
        ("dog's bark=0.4,x=1", ("dog's bark=0.4", "x=1")),
        ("Child speech, kid speaking=0.4, b=1", ("Child speech, kid speaking=0.4", "b=1")),
        ("dog", ("dog",)),
        ("dog=", ("dog=",)),
    ],
)
def test_thresholds_are_split_as_people_write_them(text: str, words: tuple[str, ...]) -> None:
    assert load_settings(None, {"OTIC_THRESHOLDS": text}).thresholds == words


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("mqtt://broker", "without 'mqtt://': the port"),
        ("broker:1883", "without a port: "),
        ("[::1]:1883", "without a port: "),
        ("mqtts://me:sesame@broker:8883/x", "without 'mqtts://', a user, a port, a path: "),
    ],
)
def test_an_address_in_place_of_a_host_is_explained(host: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as failure:
        load_settings(None, {"OTIC_MQTT_HOST": host}, sections=receivers.sections)
    assert "sesame" not in str(failure.value)
    for fine in ("broker", "192.168.1.5", "::1", "fe80::1%eth0"):
        load_settings(None, {"OTIC_MQTT_HOST": fine}, sections=receivers.sections)


@pytest.mark.parametrize(
    "text",
    [
        "[webhook]\nurl = ['https://sesame@example.org']",
        "[webhook]\nurl = {a = 'sesame'}",
        "[command]\nargv = 'curl -H sesame'",
        "[mqtt]\npassword = 'sesame'",
        "[mqtt]\npasswor = 'sesame'",
        "[mqtt]\nhost = 'mqtt://me:sesame@broker'",
    ],
)
def test_a_value_that_may_be_secret_is_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError) as failure:
        load_settings(written(tmp_path, text), {}, sections=receivers.sections)
    assert "sesame" not in str(failure.value)


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
        assert "can read a command line: set OTIC_" in one_line(done.stderr)
        assert b"sesame" not in done.stderr


def test_names_are_utf_8() -> None:
    with pytest.raises(ConfigurationError, match="OTIC_NAME: must be UTF-8 text"):
        load_settings(None, {"OTIC_NAME": "caf\udce9"})


def given(**options: list[object]) -> argparse.Namespace:
    return argparse.Namespace(**{"inputs": None, "input_name": None, "channel": None, **options})


def test_flags_for_microphones() -> None:
    configured = (InputSettings("a", name="door"), InputSettings("b", name="hall"))
    assert input_settings(given(), configured) is None
    assert input_settings(given(channel=[2]), configured) == (
        InputSettings("a", name="door", channel=2),
        InputSettings("b", name="hall", channel=2),
    )
    assert input_settings(
        given(inputs=[InputSettings("x"), InputSettings(url="rtsp://y/")], input_name=["1", "2"])
    ) == (
        InputSettings("x", name="1"),
        InputSettings(url="rtsp://y/", name="2"),
    )
    assert input_settings(given(channel=[1])) == (InputSettings(channel=1),)
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
    clip = min((esc10 / "audio").glob("1-*-10.ogg"))
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
