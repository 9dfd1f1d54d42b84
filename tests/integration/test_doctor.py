"""The doctor: each finding, on machines that are made of a few files."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from otic.cli.doctor import doctor, plain_lines, table
from otic.config.settings import (
    ClipsSettings,
    InputSettings,
    JsonlSettings,
    MetricsSettings,
    Settings,
    SpoolSettings,
)
from otic.diagnostics import machine_checks as checks
from otic.diagnostics.doctor import checks_of, look
from otic.errors import OticError
from otic.sinks.receivers.mqtt import Section as MqttSection
from otic.sinks.receivers.webhook import Section as WebhookSection
from otic.system.findings import FAIL, OK, WARN, Check, Finding, disk_check
from otic.system.machine import Board, conditions

PI = "Raspberry Pi Zero 2 W Rev 1.0\0"


def board(root: Path, files: dict[str, str] | None = None, **changes: Any) -> Board:
    """A machine of files, whose commands answer nothing unless told."""
    for name, text in (files or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    plain = Board(
        root=root, run=lambda _: None, environment={}, machine="aarch64", pointer_bits=64, cores=4
    )
    return replace(plain, **changes)


def answering(**answers: str) -> object:
    def run(arguments: Sequence[str]) -> str | None:
        return answers.get(arguments[0])

    return run


def sane(finding: Finding) -> None:
    """What holds of every finding: one line each, and a remedy where not ok."""
    assert finding.result in (OK, WARN, FAIL)
    assert "\n" not in finding.found
    assert finding.found
    assert all(remedy and "\n" not in remedy for remedy in finding.remedies)
    assert finding.remedies or finding.result == OK


@pytest.mark.parametrize(
    ("changes", "result", "words"),
    [
        ({"python": (3, 11)}, OK, ""),
        ({"python": (3, 13), "machine": "x86_64"}, OK, ""),
        ({"python": (3, 14)}, OK, ""),
        ({"python": (3, 10)}, FAIL, "Python 3.11 or newer"),
        ({"pointer_bits": 32, "machine": "armv7l"}, FAIL, "64-bit system"),
        ({"pointer_bits": 32, "machine": "armv6l"}, FAIL, "Zero 2 W"),
        ({"pointer_bits": 32, "machine": "aarch64"}, FAIL, "64-bit Raspberry Pi OS afresh"),
        ({"machine": "riscv64"}, WARN, "build them yourself"),
    ],
)
def test_python_and_processor(
    tmp_path: Path, changes: dict[str, Any], result: str, words: str
) -> None:
    found = checks.python_check(board(tmp_path, **changes))
    sane(found)
    assert found.result == result
    assert words in " ".join(found.remedies)


@pytest.mark.parametrize(
    ("versions", "result", "words"),
    [
        ({}, OK, ""),
        ({"numba": None}, FAIL, "pip install numba"),
        ({"ai-edge-litert": None}, FAIL, "pip install ai-edge-litert"),
        ({"ai-edge-litert": None, "tflite-runtime": "2.14.0"}, FAIL, "numpy<2"),
        ({"ai-edge-litert": None, "tflite-runtime": "2.14.0", "numpy": "1.26.4"}, OK, ""),
    ],
)
def test_libraries(versions: dict[str, str | None], result: str, words: str) -> None:
    here = {"numpy": "2.2.0", "tflite-runtime": None, **versions}
    found = checks.libraries_check(lambda name: here.get(name, "1.0"))
    sane(found)
    assert found.result == result
    assert words in " ".join(found.remedies)


def test_a_library_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    found = checks.libraries_check()
    assert found.result == FAIL
    assert "soxr can't be imported" in found.found


def test_the_processor(tmp_path: Path) -> None:
    governor = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    files = {"proc/device-tree/model": PI, "proc/loadavg": "0.50 0.1 0.1 1/99 1\n"}
    calm = checks.processor_check(board(tmp_path, {**files, governor: "ondemand\n"}))
    assert calm.result == OK
    assert calm.found == (
        "Raspberry Pi Zero 2 W Rev 1.0: aarch64, 4 cores, load 0.50, governor ondemand"
    )
    busy = checks.processor_check(
        board(tmp_path, {"proc/loadavg": "9.1 1 1 1/9 1", governor: "powersave"})
    )
    sane(busy)
    assert busy.result == WARN
    assert len(busy.remedies) == 2
    assert checks.processor_check(board(tmp_path / "empty")).result == OK


@pytest.mark.parametrize(
    ("texts", "result", "words"),
    [
        ([], OK, "no sensor"),
        (["48312"], OK, "48 °C"),
        (["48312", "81000"], WARN, "81 °C"),
        (["-5000"], OK, "-5 °C"),
        (["nonsense"], OK, "no sensor"),
    ],
)
def test_temperature(tmp_path: Path, texts: list[str], result: str, words: str) -> None:
    files = {f"sys/class/thermal/thermal_zone{i}/temp": text for i, text in enumerate(texts)}
    found = checks.temperature_check(board(tmp_path, files))
    sane(found)
    assert (found.result, words in found.found) == (result, True)


@pytest.mark.parametrize(
    ("bits", "result", "words"),
    [
        (0x0, OK, "never throttled"),
        (0x50005, FAIL, "now: under-voltage, throttled (0x50005)"),
        (0x10000, WARN, "since the start: under-voltage"),
        (0x80008, WARN, "now: soft temperature limit"),
        (0xE0002, WARN, "now: frequency capped; since the start: throttled, soft"),
    ],
)
def test_power(tmp_path: Path, bits: int, result: str, words: str) -> None:
    files = {
        "proc/device-tree/model": PI,
        "sys/devices/platform/soc/soc:firmware/get_throttled": f"{bits:x}\n",
    }
    from_kernel = checks.power_check(board(tmp_path / "a", files))
    sane(from_kernel)
    assert from_kernel.result == result
    assert words in from_kernel.found
    asked = board(
        tmp_path / "b",
        {"proc/device-tree/model": PI},
        run=answering(vcgencmd=f"throttled=0x{bits:x}"),
    )
    assert checks.power_check(asked) == from_kernel
    now, before = conditions(bits)
    assert not set(now) & set(before)


def test_power_where_little_is_known(tmp_path: Path) -> None:
    assert checks.power_check(board(tmp_path)).result == OK
    silent = checks.power_check(board(tmp_path, {"proc/device-tree/model": PI}))
    sane(silent)
    assert silent.result == WARN
    failed = board(tmp_path, run=answering(vcgencmd="VCHI initialization failed"))
    assert checks.power_check(failed).result == WARN
    alarm = checks.power_check(board(tmp_path, {"sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"}))
    sane(alarm)
    assert (alarm.result, alarm.found) == (FAIL, "now: under-voltage")


@pytest.mark.parametrize(("answer", "result"), [("yes", OK), ("no", WARN), ("", OK)])
def test_the_clock(tmp_path: Path, answer: str, result: str) -> None:
    found = checks.clock_check(board(tmp_path, run=answering(timedatectl=answer)))
    sane(found)
    assert found.result == result


def test_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    for free, needed, result in (
        (1e9, 0.0, OK),
        (1e9, 2000.0, WARN),
        (1e8, 0.0, WARN),
        (1e6, 0, FAIL),
    ):
        monkeypatch.setattr(
            shutil, "disk_usage", lambda _, free=free: usage._replace(free=int(free))
        )
        found = disk_check(tmp_path / "to" / "be" / "made", "clips", needed)
        sane(found)
        assert (found.name, found.result) == ("clips", result)
    (tmp_path / "file").touch()
    assert disk_check(tmp_path / "file" / "x").result == FAIL
    monkeypatch.setattr(os, "access", lambda *_: False)
    shut = disk_check(tmp_path)
    sane(shut)
    assert "can't be written by this user" in shut.found


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no folder that nobody can write")
def test_a_disk_that_can_only_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: True)
    found = disk_check(Path("/sys/kernel"))
    sane(found)
    assert found.result == FAIL


def test_the_bundled_model_and_the_cache() -> None:
    assert checks.model_check("esc10-mfcc-mlp").result == OK
    sane(checks.cache_check())


def test_a_cache_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from otic.features.kernels import jit as compiling

    monkeypatch.setattr(compiling, "cache_folder", lambda: None)
    found = checks.cache_check()
    sane(found)
    assert found.result == WARN


def test_the_checks_follow_the_configuration(tmp_path: Path) -> None:
    def names(settings: Settings | None, audio: bool = False) -> list[str]:
        return [check.name for check in checks_of(settings, board(tmp_path), audio=audio)]

    plain = names(None)
    assert names(Settings()) == plain
    assert "level" not in plain
    assert names(None, audio=True).count("level") == 1
    two = Settings(inputs=(InputSettings(device="A"), InputSettings(device="B")))
    assert names(two, audio=True).count("level") == 2
    full = Settings(
        receivers={
            "mqtt": MqttSection(host="broker.example", password_file="/p"),
            "webhook": WebhookSection(url="https://example.com/x", secret_file="/s"),
        },
        metrics=MetricsSettings(listen="9100"),
        clips=ClipsSettings(directory=str(tmp_path)),
        spool=SpoolSettings(directory=str(tmp_path)),
        jsonl=JsonlSettings(path=str(tmp_path / "log.jsonl")),
    )
    assert names(full)[len(plain) :] == [
        "extra mqtt",
        "MQTT broker",
        "mqtt.password_file",
        "webhook",
        "webhook.secret_file",
        "extra metrics",
        "clips",
        "spool",
        "jsonl",
    ]


def test_a_check_that_raises_or_hangs_is_a_finding() -> None:
    def raises() -> Finding:
        raise RuntimeError("two\nlines")

    def is_ours() -> Finding:
        raise OticError("the thing is broken: mend it")

    def hangs() -> Finding:
        time.sleep(30)
        raise AssertionError

    begin = time.monotonic()
    found = list(
        look([Check("a", raises), Check("b", is_ours), Check("c", hangs, limit_seconds=0.1)])
    )
    assert time.monotonic() - begin < 10
    assert [finding.result for finding in found] == [FAIL] * 3
    assert found[0].found == "RuntimeError: two lines"
    assert (found[1].found, found[1].remedies) == ("the thing is broken", ("mend it",))
    assert "no answer within" in found[2].found


def arguments(**changes: object) -> argparse.Namespace:
    values = {"config": None, "json": False, "input": None, "no_audio": True}
    return argparse.Namespace(**{**values, **changes})


def _same(finding: Finding) -> Finding:
    return finding


def made(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    made_checks = [Check(finding.name, partial(_same, finding)) for finding in findings]
    monkeypatch.setattr("otic.diagnostics.doctor.checks_of", lambda *_, **__: made_checks)


LONG = "do this, and then that, " * 20 + "and it is mended"


def test_what_a_person_reads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(monkeypatch, Finding("disk", OK, "fine", ("x",)), Finding("level", WARN, "low", (LONG,)))
    assert doctor(arguments()) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["ok", "disk", "fine"]
    assert said[2].strip() == f"-> {LONG}"  # not cut off
    assert len(said) == 3
    made(monkeypatch, Finding("level", FAIL, "low", (LONG,)))
    assert doctor(arguments()) == 1


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made(monkeypatch, Finding("level", FAIL, "low", ("louder",)))
    assert doctor(arguments(json=True)) == 1
    assert json.loads(capsys.readouterr().out) == {
        "passed": False,
        "checks": [{"name": "level", "result": "fail", "found": "low", "remedies": ["louder"]}],
    }


def test_the_table_folds_what_is_long(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    console = Console(width=60)
    console.print(table([Finding("level", FAIL, "low", (LONG, "x" * 100))]))
    said = capsys.readouterr().out
    assert "…" not in said
    assert " ".join(said.split()).count("and then") == LONG.count("and then")
    assert said.count("x") == 100
    assert plain_lines(Finding("a", OK, "b", ("c",))) == ["ok    a                 b"]


def test_a_wrong_configuration_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made(monkeypatch, Finding("disk", OK, "fine"))
    config = tmp_path / "otic.toml"
    config.write_text("[nonsense]\n")
    assert doctor(arguments(config=str(config))) == 1
    assert "nonsense" in capsys.readouterr().out
    config.write_text('[mqtt]\nhost = "broker.example"\n')
    assert doctor(arguments(config=str(config))) == 0


def test_this_machine_is_looked_at() -> None:
    found = list(look(checks_of(None, Board(), audio=False)))
    for finding in found:
        sane(finding)
    assert {finding.name: finding.result for finding in found}["model"] == OK
