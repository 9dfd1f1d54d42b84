"""The rotated log of many lives, read back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass
class LoggedLife:
    """What the log has of one stream, from its ``start`` line on.

    ``began`` is its ``started`` as Unix time.
    """

    start: dict[str, Any]
    began: float
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def sr(self) -> int:
        return int(self.start["sr"])

    @property
    def events(self) -> list[dict[str, Any]]:
        return self.of("event")

    @property
    def dropped(self) -> int:
        return sum(record["lines"] for record in self.of("dropped"))

    @property
    def end(self) -> dict[str, Any] | None:
        ends = self.of("end")
        return ends[-1] if ends else None

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["type"] == kind]


def unix_time(text: str) -> float:
    """Of ISO 8601."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def read_log(path: Path) -> tuple[list[LoggedLife], list[str], int]:
    """Lives in their order, what is wrong with the files, and how many lines they have."""
    lives: list[LoggedLife] = []
    problems: list[str] = []
    n_lines = 0
    for file in log_files(path):
        data = file.read_bytes()
        if data and not data.endswith(b"\n"):
            problems.append(f"{file.name} ends in a torn line")
        lines = data.splitlines()
        n_lines += len(lines)
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                kind = record["type"]
            except (ValueError, KeyError, TypeError):
                problems.append(f"{file.name}:{number} is {line[:80]!r}")
                continue
            if kind == "start":
                began = unix_time(record["started"])
                if not lives or lives[-1].began != began:
                    lives.append(LoggedLife(record, began))
                if record.get("continued"):
                    continue
            elif not lives:
                problems.append(f"{file.name}:{number} has no start before it")
                continue
            elif number == 1 and kind != "dropped":
                problems.append(f"{file.name} does not begin with a start line")
            lives[-1].records.append(record)
    return lives, problems, n_lines


def log_files(path: Path) -> list[Path]:
    """The oldest first."""
    full = [p for p in path.parent.glob(f"{path.name}.*") if p.suffix[1:].isdecimal()]
    full.sort(key=lambda p: -int(p.suffix[1:]))
    return [*full, *([path] if path.exists() else [])]


def last_sample(path: Path) -> int | None:
    """The sample clock of the newest whole line of scores; None where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 4096))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return None
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if record.get("type") in ("start", "end"):
            return None
        if record.get("type") == "scores":
            return int(record["sample"])
    return None
