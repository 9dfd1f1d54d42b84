"""The machine that ``otic service`` changes: its files, its systemd, and the state of a unit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import otic
from otic.errors import OticError

_BOOTED = Path("/run/systemd/system")  # exists where systemd is PID 1 (sd_booted(3))
_SYSTEMCTL_SECONDS = 60.0


class ServiceError(OticError):
    """The service can't be installed, queried or removed."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of ``systemctl``."""

    code: int
    text: str
    problem: str = ""


def run_systemctl(arguments: Sequence[str]) -> Outcome:
    """Run the machine's ``systemctl``."""
    try:
        done = subprocess.run(
            ["systemctl", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SYSTEMCTL_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        return Outcome(127, "", "systemctl is not installed")
    except subprocess.TimeoutExpired:
        return Outcome(124, "", f"no answer within {_SYSTEMCTL_SECONDS:.0f} s")
    return Outcome(done.returncode, done.stdout.strip(), done.stderr.strip())


@dataclass(frozen=True)
class System:
    """The machine: its files below ``root``, its service manager, and the user.

    ``wait_seconds`` is how long an installation waits for the service to run.
    """

    root: Path = Path("/")
    systemctl: Callable[[Sequence[str]], Outcome] = run_systemctl
    is_superuser: bool = field(default_factory=lambda: os.geteuid() == 0)
    python: str = field(default_factory=lambda: sys.executable)
    package: Path = field(default_factory=lambda: Path(otic.__file__).parent)
    wait_seconds: float = 20.0

    def path(self, absolute: Path | str) -> Path:
        """Return the path of a file of the machine."""
        return self.root / Path(absolute).relative_to("/")

    @property
    def has_systemd(self) -> bool:
        """True if systemd manages this machine's services."""
        return self.path(_BOOTED).is_dir()

    def real(self, absolute: Path | str) -> Path:
        """Resolve the links in the path of a file of the machine."""
        found, root = self.path(absolute).resolve(), self.root.resolve()
        return Path("/") / found.relative_to(root) if found.is_relative_to(root) else found

    @property
    def otic(self) -> Path:
        """The command that a person would type."""
        return Path(self.python).parent / "otic"

    def must(self, *arguments: str) -> str:
        """Run systemctl and return its output.

        Raises
        ------
        ServiceError
            If it fails.
        """
        outcome = self.systemctl(arguments)
        if outcome.code:
            reason = outcome.problem or outcome.text or f"exit code {outcome.code}"
            raise ServiceError(f"'systemctl {' '.join(arguments)}' failed: {reason}")
        return outcome.text


@dataclass(frozen=True)
class UnitState:
    """The state of a unit; ``reported`` is the status that its service reported."""

    loaded: str
    active: str
    detail: str
    reported: str
    restarts: int

    @property
    def runs(self) -> bool:
        """True if the service has started and not ended."""
        return self.active == "active"

    @property
    def text(self) -> str:
        """The state on one line: systemd's words, then the service's own."""
        words = f"{self.active} ({self.detail})" if self.detail else self.active
        if self.restarts:
            words += f", restarts: {self.restarts}"
        return f"{words}: {self.reported}" if self.reported else words


def unit_state(unit: str, system: System) -> UnitState:
    """Ask systemd for the state of a unit.

    Raises
    ------
    ServiceError
        If there is no answer.
    """
    wanted = ("LoadState", "ActiveState", "SubState", "StatusText", "NRestarts")
    answer = system.must("show", unit, *(f"--property={key}" for key in wanted))
    values = dict(line.partition("=")[::2] for line in answer.splitlines())
    restarts = values.get("NRestarts", "0")
    return UnitState(
        loaded=values.get("LoadState", ""),
        active=values.get("ActiveState") or "unknown",
        detail=values.get("SubState", ""),
        reported=values.get("StatusText", ""),
        restarts=int(restarts) if restarts.isdecimal() else 0,
    )
