"""The service: the unit itself, and what is done to a system to install and remove it."""

from __future__ import annotations

import argparse
import configparser
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from otic.cli.service import reading_problem, service, unit_text
from otic.config.load import load_settings
from otic.sinks import receivers
from otic.system import systemd
from otic.system.log import start_logging
from otic.system.systemd import Outcome, ServiceError, System, run_systemctl

PYTHON = "/opt/otic/bin/python"
PACKAGE = Path("/opt/otic/lib/otic")

# Answers 'show' from a file, and notes down every call.
FAKE_SYSTEMCTL = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
case "$1" in
  show) cat "$here/state" ;;
  enable) [ ! -e "$here/refuses" ] || { echo "Access denied" >&2; exit 1; } ;;
esac
"""


@pytest.fixture(autouse=True)
def messages() -> Iterator[None]:
    """Messages appear on standard error, as they do in the command."""
    logger = start_logging()
    yield
    logger.handlers.clear()


class Machine:
    """A root folder and a systemctl of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        for name in ("run/systemd/system", "etc/systemd/system", "opt/otic/bin", "opt/otic/lib"):
            (self.root / name).mkdir(parents=True)
        (self.root / PYTHON[1:]).touch()
        self.script = folder / "systemctl"
        self.script.write_text(FAKE_SYSTEMCTL)
        self.script.chmod(0o755)
        self.state("active", "running", "2 inputs, dog is on")

    def systemctl(self, arguments: Sequence[str]) -> Outcome:
        done = subprocess.run(
            [self.script, *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        return Outcome(done.returncode, done.stdout.strip(), done.stderr.strip())

    def state(self, active: str, detail: str, told: str = "", loaded: str = "loaded") -> None:
        (self.folder / "state").write_text(
            f"LoadState={loaded}\nActiveState={active}\nSubState={detail}\nStatusText={told}\n"
            f"NRestarts={3 if detail == 'auto-restart' else 0}\n"
        )

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def system(
        self, *, superuser: bool = True, python: str = PYTHON, package: Path = PACKAGE
    ) -> System:
        return System(
            root=self.root,
            systemctl=self.systemctl,
            is_superuser=superuser,
            python=python,
            package=package,
            wait_seconds=0.3,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def arguments(action: str, **changes: object) -> argparse.Namespace:
    values = {"action": action, "config": "/etc/otic.toml", "name": "otic", "print": False}
    return argparse.Namespace(**{**values, **changes})


def directives(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_install_writes_starts_and_says_so(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert service(arguments("install"), machine.system()) == 0
    unit = machine.root / "etc/systemd/system/otic.service"
    assert f"ExecStart={PYTHON} -m otic run --config /etc/otic.toml" in unit.read_text()
    assert unit.stat().st_mode & 0o777 == 0o644
    assert [call.split()[0] for call in machine.calls] == [
        "daemon-reload",
        "enable",
        "restart",
        "show",
    ]
    assert [path.name for path in unit.parent.iterdir()] == ["otic.service"]  # nothing beside
    said = capsys.readouterr().out
    assert "active (running): 2 inputs, dog is on" in said
    assert "journalctl -u otic -f" in said


def test_a_configuration_is_made_once_and_holds_no_secret(machine: Machine) -> None:
    service(arguments("install"), machine.system())
    config = machine.root / "etc/otic.toml"
    assert config.stat().st_mode & 0o777 == 0o644
    text = config.read_text()
    assert all(line.startswith("#") for line in text.splitlines() if line)
    assert "/etc/otic.env" in text
    assert not re.search(r"^#?(password|secret) =", text, re.MULTILINE)
    config.write_text('name = "mine"\n')
    service(arguments("install"), machine.system())
    assert config.read_text() == 'name = "mine"\n'


def test_the_example_configuration_is_toml_of_known_keys(machine: Machine) -> None:
    service(arguments("install"), machine.system())
    text = (machine.root / "etc/otic.toml").read_text()
    lines = [line[1:] for line in text.splitlines() if re.match(r"#(\[|[a-z_]+ = )", line)]
    machine.script.with_name("all.toml").write_text("\n".join(lines))
    settings = load_settings(
        str(machine.script.with_name("all.toml")), {}, sections=receivers.sections
    )
    assert settings.receivers["mqtt"].host == "broker.example"
    assert settings.web.listen == "8080"


@pytest.mark.parametrize(
    ("active", "detail", "words", "code"),
    [
        ("activating", "auto-restart", "journalctl -u otic -n 20", 1),
        ("failed", "failed", "journalctl -u otic -n 20", 1),
        ("activating", "start", "still starting", 0),  # the first start compiles
    ],
)
def test_install_says_where_it_does_not_run(
    machine: Machine,
    capsys: pytest.CaptureFixture[str],
    active: str,
    detail: str,
    words: str,
    code: int,
) -> None:
    machine.state(active, detail)
    assert service(arguments("install"), machine.system()) == code
    assert words in capsys.readouterr().err


def test_what_systemctl_refuses_is_one_line(machine: Machine) -> None:
    (machine.folder / "refuses").touch()
    with pytest.raises(ServiceError, match=r"'systemctl enable otic.service' failed: Access"):
        service(arguments("install"), machine.system())


@pytest.mark.parametrize("action", ["install", "uninstall"])
def test_only_root_changes_the_system(machine: Machine, action: str) -> None:
    with pytest.raises(ServiceError, match=rf"sudo /opt/otic/bin/otic service {action}"):
        service(arguments(action), machine.system(superuser=False))
    assert machine.calls == []


@pytest.mark.parametrize("action", ["install", "uninstall", "status"])
def test_without_systemd_it_is_one_line(machine: Machine, action: str) -> None:
    (machine.root / "run/systemd/system").rmdir()
    with pytest.raises(ServiceError, match="systemd does not run here"):
        service(arguments(action), machine.system())


def test_status(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert service(arguments("status"), machine.system(superuser=False)) == 0
    assert capsys.readouterr().out == "otic: active (running): 2 inputs, dog is on\n"
    machine.state("activating", "auto-restart")
    assert service(arguments("status"), machine.system()) == 1
    assert "restarts: 3" in capsys.readouterr().out
    machine.state("inactive", "dead", loaded="not-found")
    assert service(arguments("status"), machine.system()) == 1
    assert "not installed" in capsys.readouterr().out


def test_uninstall_keeps_what_was_written(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    service(arguments("install"), machine.system())
    assert service(arguments("uninstall"), machine.system()) == 0
    assert not (machine.root / "etc/systemd/system/otic.service").exists()
    assert (machine.root / "etc/otic.toml").exists()
    assert "disable --now otic.service" in machine.calls
    assert "/var/lib/otic" in capsys.readouterr().out
    with pytest.raises(ServiceError, match="nothing to uninstall"):
        service(arguments("uninstall"), machine.system())


def test_a_second_sensor_has_a_name_of_its_own(machine: Machine) -> None:
    service(arguments("install", name="yard", config="/etc/yard.toml"), machine.system())
    text = (machine.root / "etc/systemd/system/yard.service").read_text()
    found = directives(text)
    assert found["StateDirectory"] == ["yard"]
    assert found["EnvironmentFile"] == ["-/etc/yard.env"]
    assert found["Environment"] == ["NUMBA_CACHE_DIR=/var/cache/yard/numba"]
    with pytest.raises(ServiceError, match="can't be called"):
        service(arguments("install", name="../evil"), machine.system())


def test_print_changes_nothing(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    system = machine.system(superuser=False, python="/root/venv/bin/python")
    assert service(arguments("install", print=True), system) == 0
    said = capsys.readouterr()
    assert "ExecStart=/root/venv/bin/python" in said.out
    assert "could not read /root/venv/bin/python" in said.err
    assert machine.calls == []


def test_words_are_quoted_for_systemd(machine: Machine) -> None:
    text = unit_text("otic", '/etc/my $conf "100%".toml', machine.system())
    assert '--config "/etc/my $$conf \\"100%%\\".toml"' in text
    with pytest.raises(ServiceError, match="line break"):
        unit_text("otic", "/etc/a\nExecStartPre=evil", machine.system())


def test_an_installation_that_the_service_cannot_read_is_refused(machine: Machine) -> None:
    for python in ("/root/v/bin/python", "/tmp/v/bin/python", "/run/user/1000/v/bin/python"):
        with pytest.raises(ServiceError, match="/opt/otic"):
            service(arguments("install"), machine.system(python=python))
    with pytest.raises(ServiceError, match="/opt/otic"):
        service(arguments("install"), machine.system(package=Path("/root/clone/otic")))
    link = machine.root / "opt/otic/bin/python3"
    link.symlink_to(machine.root / "root/.pyenv/bin/python")
    assert reading_problem("/etc/otic.toml", machine.system(python="/opt/otic/bin/python3"))
    with pytest.raises(ServiceError, match="move it to /etc"):
        service(arguments("install", config="/home/pi/otic.toml"), machine.system())
    assert machine.calls == []


def test_a_home_that_all_may_enter_is_opened_for_reading(machine: Machine) -> None:
    home = machine.root / "home/pi"
    (home / "venv/bin").mkdir(parents=True)
    python = "/home/pi/venv/bin/python"
    (home / "venv/bin/python").touch()
    home.chmod(0o755)
    system = machine.system(python=python)
    assert reading_problem("/etc/otic.toml", system) is None
    assert directives(unit_text("otic", "/etc/otic.toml", system))["ProtectHome"] == ["read-only"]
    assert directives(unit_text("otic", "/etc/otic.toml", machine.system()))["ProtectHome"] == [
        "yes"
    ]
    home.chmod(0o700)
    assert "/home/pi" in str(reading_problem("/etc/otic.toml", system))


def test_the_unit_is_hardened(machine: Machine) -> None:
    text = unit_text("otic", "/etc/otic.toml", machine.system())
    found = directives(text)
    assert "@" not in text.replace("@system-service", "").replace("@.", "")
    for key, value in {
        "Type": "notify",
        "NotifyAccess": "main",
        "WatchdogSec": "30",
        "Restart": "always",
        "StartLimitIntervalSec": "0",
        "DynamicUser": "yes",
        "SupplementaryGroups": "audio",
        "ProtectSystem": "strict",
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "DevicePolicy": "closed",
        "DeviceAllow": "char-alsa rw",
        "SystemCallFilter": "@system-service",
        "TimeoutStopSec": "5",
    }.items():
        assert found[key] == [value], key
    for impossible in ("MemoryDenyWriteExecute", "PrivateDevices", "ProcSubset"):
        assert impossible not in found  # each would end otic; the unit says why
        assert impossible in text
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read_string(text)
    assert parser.sections() == ["Unit", "Service", "Install"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit_and_finds_it_safe(machine: Machine, tmp_path: Path) -> None:
    unit = tmp_path / "otic.service"
    unit.write_text(unit_text("otic", "/etc/otic.toml", machine.system(python=sys.executable)))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert verified.returncode == 0, verified.stderr
    assert "otic.service" not in verified.stderr, verified.stderr
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    match = re.search(r"Overall exposure level for .*: ([\d.]+)", rated.stdout)
    if match is None:
        pytest.skip("this systemd-analyze can't rate a file: version 250 can")
    print(f"exposure {match[1]}")
    assert float(match[1]) < 5.0


def test_a_missing_systemctl_is_an_outcome(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_systemctl(["show"]).problem == "systemctl is not installed"
    stuck = tmp_path / "systemctl"
    stuck.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    stuck.chmod(0o755)
    monkeypatch.setattr(systemd, "_SYSTEMCTL_SECONDS", 0.2)
    assert "no answer" in run_systemctl(["show"]).problem
