"""What a simulated sensor decided, against its log and what its receivers were told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.deliveries import Delivery
from tests.soak.life import SR
from tests.soak.logs import LoggedLife
from tests.soak.report import Report

Key = tuple[str, str, float, float]  # state, label, onset, time


@dataclass
class Decided:
    """One life: its items in order, as the log has them; ``clean`` where it ended in order."""

    started: str = ""
    lines: list[tuple[Any, ...]] = field(default_factory=list)
    clean: bool = False

    @property
    def events(self) -> list[Key]:
        return [line[1:] for line in self.lines if line[0] == "event"]

    @property
    def samples(self) -> int:
        numbers = [line[1] for line in self.lines if line[0] in ("scores", "end")]
        return max(numbers, default=0)


def read_truth(path: Path) -> Decided:
    """A line that was being written when the life ended is left out."""
    decided = Decided()
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    for line in lines:
        kind, rest = line[0], line[2:]
        if kind == "S":
            decided.started = rest
            decided.lines.append(("start",))
        elif kind == "s":
            decided.lines.append(("scores", int(rest)))
        elif kind == "g":
            decided.lines.append(("gap", *map(int, rest.split())))
        elif kind == "e":
            decided.lines.append(("event", *json.loads(rest)))
        else:
            decided.lines.append(("end", int(rest)))
            decided.clean = True
    return decided


def check_told(report: Report, lives: Sequence[Decided], notifications: Sequence[Delivery]) -> None:
    """Receivers were told what was decided, in order, with what restarts ended, and nothing else.

    All that may be missing is the last event of a life that was killed: the kill came between
    its decision and the queue.
    """
    told = [
        (n["state"], n["label"], n["onset"], n["time"], n["event"], n.get("reason"))
        for n in (delivery.notification for delivery in notifications)
    ]
    problems: list[str] = []
    place = in_flight = restarted = decided = 0
    on: dict[str, tuple[str, float, float]] = {}  # event: label, onset, time
    for number, life in enumerate(lives, 1):
        while place < len(told) and told[place][5] == "restart":
            state, label, onset, time, event, _ = told[place]
            if state != "off" or on.pop(event, None) != (label, onset, time):
                problems.append(f"life {number}: {told[place]} ends what was not on")
            restarted += 1
            place += 1
        problems += [f"life {number}: {event} {on[event]} was not ended" for event in on]
        on.clear()
        events = life.events
        decided += len(events)
        for index, key in enumerate(events):
            if place < len(told) and told[place][:4] == key:
                event = told[place][4]
                if key[0] == "on":
                    on[event] = (key[1], key[2], key[3])
                elif event not in on:
                    problems.append(f"life {number}: {told[place]} has another id than its on")
                on.pop(event, None) if key[0] == "off" else None
                place += 1
            elif index == len(events) - 1 and not life.clean:
                in_flight += 1
            else:
                problems.append(f"life {number}: {key} was not told")
    problems += [f"{each} was never decided" for each in told[place:]]
    report.check("told is what was decided, in order", problems, f"{decided} decided")
    report.figure("killed between decision and queue", f"{in_flight} events")
    report.figure("events ended by a restart", restarted)


def check_log(
    report: Report,
    lives: Sequence[Decided],
    logged: Sequence[LoggedLife],
    full_at_end: Sequence[bool],
) -> None:
    """The log has every line, but those that it says were dropped, and where.

    Where a life was killed, or the disk was ``full_at_end``, it could not say so of the last ones.
    """
    problems: list[str] = []
    dropped = unsaid = 0
    by_start = {life.start["started"]: life for life in logged}
    for number, life in enumerate(lives, 1):
        own = by_start.pop(life.started, None)
        if own is None:
            if life.lines and life.clean and not full_at_end[number - 1]:
                problems.append(f"life {number} is not in the log")
            unsaid += len(life.lines)
            continue
        place = excused = 0
        for record in own.records:
            if record["type"] == "dropped":
                excused += record["lines"]
                continue
            line = _line(record)
            begin = place
            while place < len(life.lines) and life.lines[place] != line:
                place += 1
            if place == len(life.lines):
                problems.append(f"life {number}: {line} was never decided, or is out of order")
                break
            if place - begin != excused:
                problems.append(
                    f"life {number}: {place - begin} lines missing before {line}, {excused} said"
                )
            dropped += excused
            excused = 0
            place += 1
        left = len(life.lines) - place
        if left != excused and life.clean and not full_at_end[number - 1]:
            problems.append(f"life {number}: {left} lines missing at the end, {excused} said")
        dropped += excused
        unsaid += left - excused
    problems += [f"a life of {started} that never was" for started in by_start]
    report.check("the log lacks what it says it lacks", problems, f"{dropped} dropped lines")
    report.figure("lines dropped at an end that could not say so", unsaid)


def _line(record: dict[str, Any]) -> tuple[Any, ...]:
    kind = record["type"]
    if kind == "event":
        return (kind, record["state"], record["label"], record["onset"], record["time"])
    if kind == "gap":
        return (kind, record["sample"], record["lost"])
    if kind == "scores":
        return (kind, record["sample"])
    return (kind, record["samples"]) if kind == "end" else (kind,)


def hours_of(lives: Sequence[Decided]) -> float:
    """Of audio."""
    return sum(life.samples for life in lives) / SR / 3600


def last_time(path: Path) -> float:
    """How far a life is, in seconds of audio."""
    if not path.exists():
        return 0.0
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 4096))
        lines = [line for line in file.read().split(b"\n")[1:-1] if line.startswith(b"s ")]
    return int(lines[-1][2:]) / SR if lines else 0.0
