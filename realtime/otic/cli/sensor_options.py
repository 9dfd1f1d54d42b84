"""The commands that look after a permanent sensor: their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable

_CONFIG = "/etc/otic.toml"


def add_sensor_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add ``doctor`` and ``service``."""
    doctor = command(
        "doctor",
        "otic.diagnostics.doctor:doctor",
        "look for what keeps otic from working here, and say what to do",
        f"otic doctor --config {_CONFIG}",
    )
    doctor.add_argument("--config", metavar="FILE", help="also check what a sensor is set to")
    doctor.add_argument("--device", metavar="NAME|INDEX|ID", help="the microphone to listen to")
    doctor.add_argument(
        "--no-audio", action="store_true", help="do not open a microphone for three seconds"
    )
    doctor.add_argument("--json", action="store_true", help="as JSON")

    service = command(
        "service",
        "otic.cli.service:service",
        "have systemd run a permanent sensor",
        "sudo otic service install",
    )
    service.add_argument("action", choices=("install", "status", "uninstall"))
    service.add_argument(
        "--config", default=_CONFIG, metavar="FILE", help="what it is set to (default %(default)s)"
    )
    service.add_argument("--name", default="otic", help="of the systemd unit (default %(default)s)")
    service.add_argument(
        "--print", action="store_true", help="only print the unit that install would write"
    )
