"""``otic service``: otic as a systemd service.

The template of the unit is ``otic.service.in``, beside this file. All changes to the system go
through :class:`System`, which tests replace.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

from otic.cli.arguments import Parser
from otic.system.systemd import ServiceError, System, UnitState, unit_state

_log = logging.getLogger(__name__)

DEFAULT_CONFIG = "/etc/otic.toml"
DEFAULT_NAME = "otic"

_UNITS = Path("/etc/systemd/system")
_PRIVATE_HOMES = (Path("/root"), Path("/run/user"))
_HOME = Path("/home")
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # PrivateTmp=yes hides them
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_POLL_SECONDS = 0.25

_SOME_CONFIG = """\
# otic's configuration: the sensor's inputs and the receivers of its events.
# Each key is also an environment variable (mqtt.host: OTIC_MQTT_HOST) and a flag of
# 'otic run' (--mqtt-host). After a change: systemctl restart {name}
#
# No passwords here: everyone can read this file. Put them into {environment_file}
# (mode 0600), as OTIC_MQTT_PASSWORD=..., or into files of their own, named by keys such as
# mqtt.password_file; see LoadCredential= in 'systemctl cat {name}'.

#name = "hall"                 # default: this machine's name
#model = "esc10-stream"        # 'otic models' lists them

#[[inputs]]
#device = "USB"                # index, name, part of a name, or id: see 'otic devices'
#name = "window"
#[[inputs]]
#url = "rtsp://camera/stream1"  # a network microphone; with a password: url_file

#[jsonl]
#path = "/var/lib/{name}/events.jsonl"
#max_megabytes = 10

#[mqtt]
#host = "broker.example"
#tls = true
#username = "otic"

#[webhook]
#url = "https://example.com/hook"

#[notify]
#urls = ["ntfy://my-topic"]    # addresses hold secrets: better a file, named by urls_file

#[clips]
#directory = "/var/lib/{name}/clips"
#max_megabytes = 500

#[web]
#listen = "8080"               # a web page, for this machine only: see docs/dashboard.md
"""


def add_service_options(parser: Parser) -> None:
    """Add the options of ``otic service``."""
    parser.epilog = "example: sudo otic service install"
    parser.add_argument("action", choices=("install", "status", "uninstall"))
    parser.add_argument(
        "--config",
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help="the sensor's configuration (default %(default)s)",
    )
    parser.add_argument(
        "--name", default=DEFAULT_NAME, help="name of the systemd unit (default %(default)s)"
    )
    parser.add_argument(
        "--print", action="store_true", help="print the unit that install would write, and stop"
    )


def service(args: argparse.Namespace, system: System | None = None) -> int:
    """Install, show or remove the service; exit code 1 if it does not run.

    Raises
    ------
    ServiceError
        If that is not possible.
    """
    system = system or System()
    name = getattr(args, "name", None) or DEFAULT_NAME
    config = str(Path.cwd() / (getattr(args, "config", None) or DEFAULT_CONFIG))
    _check_name(name)
    if args.print:
        if problem := reading_problem(config, system):
            _log.warning(problem)
        print(unit_text(name, config, system), end="")
        return 0
    if not system.has_systemd:
        raise ServiceError(
            "systemd does not run here: 'otic service --print install' prints the unit; in a "
            "container, have its runtime restart 'otic run'"
        )
    if args.action == "status":
        return status(name, system)
    if not system.is_superuser:
        raise ServiceError(
            f"'otic service {args.action}' changes the system and must run as root: "
            f"sudo {system.otic} service {args.action}"
        )
    return install(name, config, system) if args.action == "install" else uninstall(name, system)


def unit_text(name: str, config: str, system: System) -> str:
    """Fill in the template of the unit for this installation.

    Raises
    ------
    ServiceError
        If a path can't be written in a unit.
    """
    for path in (config, system.python):
        if any(character in path for character in "\n\r\0"):
            raise ServiceError(f"{path!r} contains a line break: rename it")
    values = {
        "NAME": name,
        "PYTHON": _quoted(system.python),
        "CONFIG": _quoted(config),
        "ENVIRONMENT_FILE": f"/etc/{name}.env",
        "PROTECT_HOME": "read-only" if _under(_needed(system), _HOME) else "yes",
    }
    text = Path(__file__).with_name("otic.service.in").read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def install(name: str, config: str, system: System) -> int:
    """Write the unit and what it needs, start it, and print whether it runs."""
    if problem := reading_problem(config, system):
        raise ServiceError(problem)
    text = unit_text(name, config, system)
    settings = system.path(config)
    if not settings.exists():
        content = _SOME_CONFIG.format(name=name, environment_file=f"/etc/{name}.env")
        _write(settings, content)
        print(f"wrote {config}: all defaults, for you to edit")
    unit = system.path(_UNITS / f"{name}.service")
    _write(unit, text)
    print(f"wrote {_UNITS / unit.name}")
    system.must("daemon-reload")
    system.must("enable", unit.name)
    system.must("restart", "--no-block", unit.name)  # also where an old one runs
    state = _wait(unit.name, system)
    print(f"{name}: {state.text}")
    if not state.runs:
        _log.warning(
            f"the service does not run yet: 'journalctl -u {name} -n 20' shows why; systemd "
            "keeps trying"
            if state.active != "activating" or state.restarts
            else f"the service is still starting (the first start compiles): "
            f"'{system.otic} service status' shows when it runs"
        )
    print(f"log: journalctl -u {name} -f")
    print(f"after changing {config}: sudo systemctl restart {name}")
    starting = state.active == "activating" and not state.restarts
    return 0 if state.runs or starting else 1


def status(name: str, system: System) -> int:
    """Print the state of the service; exit code 1 if it does not run."""
    state = unit_state(f"{name}.service", system)
    if state.loaded == "not-found":
        print(f"{name}: not installed: sudo otic service install")
        return 1
    print(f"{name}: {state.text}")
    return 0 if state.runs else 1


def uninstall(name: str, system: System) -> int:
    """Stop the service and remove its unit; its files stay."""
    unit = system.path(_UNITS / f"{name}.service")
    if not unit.exists():
        raise ServiceError(f"there is no {_UNITS / unit.name}: nothing to uninstall")
    system.must("disable", "--now", unit.name)
    unit.unlink()
    system.must("daemon-reload")
    system.systemctl(["reset-failed", unit.name])  # fails, harmlessly, if the unit has not failed
    print(f"removed {_UNITS / unit.name}")
    print(
        f"kept: the configuration (by default {DEFAULT_CONFIG}), /etc/{name}.env, "
        f"/var/lib/{name} (waiting events, logs, recordings) and /var/cache/{name}"
    )
    return 0


def _wait(unit: str, system: System) -> UnitState:
    """Wait until the service runs or has failed, or time is up; returns its state."""
    end = time.monotonic() + system.wait_seconds
    while True:
        state = unit_state(unit, system)
        failed = state.active == "failed" or (state.restarts and not state.runs)
        if state.runs or failed or time.monotonic() >= end:
            return state
        time.sleep(_POLL_SECONDS)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ServiceError(
            f"a service can't be called '{name}': up to 64 letters, digits, - and _ are allowed"
        )


def reading_problem(config: str, system: System) -> str | None:
    """Return why the service's user could not read otic or its configuration; None if it could."""
    private = (*_PRIVATE_HOMES, *_TEMPORARY)
    for path in _needed(system):
        if _under([path], *private) or not _all_may_enter(path, system):
            return (
                f"the service's user could not read {path}, and it must not be root: install "
                "otic where everyone can read it, 'sudo python3 -m venv /opt/otic', and run "
                "'sudo /opt/otic/bin/otic service install'"
            )
    if _under([Path(config)], *private, _HOME):
        return f"the service's user could not read '{config}': move it to /etc, as {DEFAULT_CONFIG}"
    if not _all_may_read(Path(config), system):
        return (
            f"the service's user could not read '{config}': sudo chmod a+r it, and move secrets "
            "elsewhere, as the file explains"
        )
    return None


def _needed(system: System) -> list[Path]:
    """Return what the service's user must be able to read; an environment's Python is a link."""
    return [Path(system.python), system.real(system.python), system.package]


def _under(paths: Iterable[Path], *folders: Path) -> bool:
    return any(path.is_relative_to(folder) for path in paths for folder in folders)


def _all_may_read(path: Path, system: System) -> bool:
    """Return True if everyone may read a file, or if it does not exist yet."""
    try:
        mode = system.path(path).stat().st_mode
    except OSError:
        return True
    return bool(mode & 0o004) and _all_may_enter(path, system)


def _all_may_enter(path: Path, system: System) -> bool:
    """Return True if everyone may enter the folders of a file, as far as they exist."""
    for folder in path.parents:
        try:
            if not system.path(folder).stat().st_mode & 0o001:
                return False
        except OSError:
            return True
    return True


def _quoted(word: str) -> str:
    """Quote a word of a command line for systemd (systemd.service(5))."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if re.fullmatch(r"[A-Za-z0-9_./+-]+", word) else f'"{escaped}"'


def _write(path: Path, content: str) -> None:
    """Write a file that everyone may read: beside the old one, then renamed."""
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(0o644)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ServiceError(f"{path} can't be written ({error.strerror})") from error
