"""What this machine is, and whether it is too hot or short of power (Raspberry Pi)."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from otic import __version__
from otic.features.kernels.jit import processor_name

_BOARD = Path("/proc/device-tree/model")
_CPU = Path("/proc/cpuinfo")
_TEMPERATURE = Path("/sys/class/thermal/thermal_zone0/temp")  # thousandths of a degree Celsius
_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")

# The firmware's bits; 16 more: it has happened since the start (Raspberry Pi's documentation of
# vcgencmd get_throttled).
_CONDITIONS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, board and versions, by name."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "board": _text(_BOARD),
        "system": f"{platform.system()} {platform.machine()}",
        "numba_target": processor_name(),
        "versions": {
            "otic": __version__,
            "python": platform.python_version(),
            "numpy": metadata.version("numpy"),
            "numba": metadata.version("numba"),
        },
    }


def health() -> dict[str, Any]:
    """Temperature in degrees Celsius, and what throttles a Raspberry Pi; None where unknown."""
    temperature = _number(_text(_TEMPERATURE), 10)
    bits = _number(_text(_THROTTLED) or _vcgencmd(), 16)
    return {
        "temperature_celsius": None if temperature is None else temperature / 1000.0,
        "throttling": None if bits is None else throttling(bits),
    }


def throttling(bits: int) -> list[str]:
    """The conditions that the firmware reports, now or since the start."""
    found = [name for i, name in enumerate(_CONDITIONS) if bits >> i & 1]
    found += [f"{name} since start" for i, name in enumerate(_CONDITIONS) if bits >> (16 + i) & 1]
    return found


def _vcgencmd() -> str | None:
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=5, check=True
        )
        return done.stdout.strip().removeprefix("throttled=") or None
    return None


def _number(text: str | None, base: int) -> int | None:
    with suppress(ValueError):  # firmware that has failed answers in words
        return None if text is None else int(text, base)
    return None


def _processor() -> str:
    for line in (_text(_CPU) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _text(path: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").strip("\0\n ") or None
    return None
