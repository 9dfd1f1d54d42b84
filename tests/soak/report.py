"""What a soak found: one line a check, and whether all of them hold."""

from __future__ import annotations

import re
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

_SHOWN = 5


@dataclass
class Report:
    """Collects figures and violations."""

    lines: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def figure(self, name: str, value: object) -> None:
        """Something to know."""
        self.lines.append(f"        {name:44} {value}")

    def check(self, name: str, problems: list[str], value: object = "") -> None:
        """Something that must hold: it does where there are no problems."""
        mark = "FAILED" if problems else "ok    "
        self.lines.append(f"{mark}  {name:44} {value}")
        self.lines += [f"          {problem}" for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            self.lines.append(f"          and {len(problems) - _SHOWN} more")
        self.violations += [f"{name}: {problem}" for problem in problems]

    def print(self) -> int:
        """Print all; the exit code."""
        print("\n".join(self.lines))
        print(f"{len(self.violations)} violations" if self.violations else "all checks hold")
        return 1 if self.violations else 0


def tracebacks(stderr: Path) -> list[str]:
    """What no program should say."""
    said = stderr.read_text(errors="replace")
    return re.findall(r"^(?:Traceback.*|\w+Error\b.*)", said, re.MULTILINE)


def end_in_order_on_sigterm() -> None:
    """So that nothing stays mounted or running."""

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(1)

    signal.signal(signal.SIGTERM, end)
