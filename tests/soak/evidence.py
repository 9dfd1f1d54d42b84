"""What the real-time run leaves for its checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.soak.deliveries import Delivery
from tests.soak.faults import Happened
from tests.soak.sensor import Life


@dataclass(frozen=True)
class Evidence:
    """Everything that the checks look at."""

    folder: Path
    disk: Path
    lives: list[Life]
    problems: list[str]
    happened: Sequence[Happened]
    mqtt: list[Delivery]
    webhook: list[Delivery]
    unsigned: list[str]
    metrics: str
    disk_is_limited: bool

    def overlapping(self, names: Sequence[str], begin: float, end: float) -> list[Happened]:
        """Faults of these names that were going on between two moments."""
        return [h for h in self.happened if h.name in names and h.began < end and h.ended > begin]
