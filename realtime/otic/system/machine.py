"""The machine: what its kernel and firmware report about heat, power, clock and load.

Everything is read below a root folder and asked of commands that tests replace: a few files make
a Raspberry Pi in any state.
"""

from __future__ import annotations

import os
import platform
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_COMMAND_SECONDS = 5.0
_MODEL = "proc/device-tree/model"
_CPUINFO = "proc/cpuinfo"
_LOAD = "proc/loadavg"
_GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
_TEMPERATURES = "sys/class/thermal/thermal_zone*/temp"  # thousandths of a degree Celsius
_THROTTLED = "sys/devices/platform/soc*/soc*firmware/get_throttled"  # hexadecimal
_ALARMS = "sys/class/hwmon/hwmon*/in0_lcrit_alarm"  # of the driver rpi_volt: 1 is under-voltage

THROTTLE_BITS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
"""Bits 0 to 3 of the firmware: what is so now. Bits 16 to 19: what was so since the start."""


def run_command(arguments: Sequence[str]) -> str | None:
    """Run a program; returns what it prints, None if it is missing, fails or takes too long."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            list(arguments),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMMAND_SECONDS,
            check=True,
        )
        return done.stdout.strip()
    return None


@dataclass(frozen=True)
class Board:
    """A machine: its files below ``root``, its commands, and what Python knows of it."""

    root: Path = Path("/")
    run: Callable[[Sequence[str]], str | None] = run_command
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    machine: str = field(default_factory=platform.machine)
    pointer_bits: int = struct.calcsize("P") * 8
    python: tuple[int, int] = (sys.version_info.major, sys.version_info.minor)
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)

    def text(self, path: str) -> str | None:
        """The text of a file, without surrounding white space; None if there is none."""
        with suppress(OSError, UnicodeDecodeError):
            return (self.root / path).read_text(encoding="utf-8").strip("\0\n ") or None
        return None

    def texts(self, pattern: str) -> list[str]:
        """The texts of all files that match."""
        found = sorted(self.root.glob(pattern))
        texts = (self.text(str(path.relative_to(self.root))) for path in found)
        return [text for text in texts if text is not None]

    @property
    def model(self) -> str | None:
        """``Raspberry Pi 5 Model B Rev 1.0``, for example; None if the kernel names no board."""
        return self.text(_MODEL)

    @property
    def is_raspberry_pi(self) -> bool:
        """True if the firmware can be asked."""
        return "Raspberry Pi" in (self.model or "")

    @property
    def processor(self) -> str:
        """The processor's name, as far as it is known."""
        for line in (self.text(_CPUINFO) or "").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
        return self.machine

    @property
    def load(self) -> float | None:
        """Mean number of processes that ran or waited to run in the last minute."""
        with suppress(ValueError, AttributeError, IndexError):
            return float((self.text(_LOAD) or "").split()[0])
        return None

    @property
    def governor(self) -> str | None:
        """The policy that sets the processor's frequency."""
        return self.text(_GOVERNOR)

    @property
    def temperature(self) -> float | None:
        """The hottest sensor, in degrees Celsius."""
        found = [int(text) / 1000.0 for text in self.texts(_TEMPERATURES) if _is_whole(text)]
        return max(found, default=None)

    @property
    def throttled(self) -> int | None:
        """The firmware's bits, see :data:`THROTTLE_BITS`; None if it does not answer."""
        answers = self.texts(_THROTTLED)
        answer = answers[0] if answers else self.run(["vcgencmd", "get_throttled"])
        with suppress(ValueError):  # firmware that has failed answers in words
            return None if answer is None else int(answer.removeprefix("throttled="), 16)
        return None

    @property
    def low_voltage_alarm(self) -> bool:
        """True if the kernel's voltage monitor raises an alarm."""
        return "1" in self.texts(_ALARMS)

    @property
    def clock_is_synchronised(self) -> bool | None:
        """True if the time of day comes from the network; None if unknown."""
        answer = self.run(["timedatectl", "show", "--property=NTPSynchronized", "--value"])
        return {"yes": True, "no": False}.get(answer or "")


def health(board: Board) -> dict[str, Any]:
    """Temperature in degrees Celsius, and what throttles a Raspberry Pi; None where unknown."""
    bits = board.throttled
    now, before = conditions(bits or 0)
    throttling = [*now, *(f"{name} since start" for name in before)]
    return {
        "temperature_celsius": board.temperature,
        "throttling": None if bits is None else throttling,
    }


def conditions(bits: int) -> tuple[list[str], list[str]]:
    """The firmware's conditions that hold now, and those that only held since the start."""
    now = [name for i, name in enumerate(THROTTLE_BITS) if bits >> i & 1]
    before = [name for i, name in enumerate(THROTTLE_BITS) if bits >> (16 + i) & 1]
    return now, [name for name in before if name not in now]


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()
