"""Do all receivers have the same events, each once or more, in the same order?"""

from __future__ import annotations

import csv
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.soak.report import Report


@dataclass(frozen=True)
class Delivery:
    """A notification that a receiver was given, and when, by the wall clock."""

    notification: dict[str, Any]
    came: float

    @property
    def id(self) -> str:
        return str(self.notification["id"])


def first_of_each(deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Without doubles, in the order of arrival."""
    return list({d.id: d for d in reversed(list(deliveries))}.values())[::-1]


def command_deliveries(path: Path) -> list[Delivery]:
    """What `tee` has appended, a line each."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [Delivery(json.loads(line), 0.0) for line in lines]


def sqlite_rows(path: Path) -> list[dict[str, Any]]:
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM events ORDER BY rowid")]
    finally:
        db.close()


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def check_receivers(
    report: Report,
    told: Mapping[str, Sequence[Delivery]],
    rows: list[dict[str, Any]],
    table: list[dict[str, str]],
    is_explained: Callable[[str, Delivery, Delivery], bool],
) -> dict[str, Delivery]:
    """Check what the receivers have against each other; the notifications by their ids.

    ``told`` are receivers that are given each notification, with what came in order of arrival;
    ``rows`` is SQLite's table, ``table`` the CSV file. ``is_explained`` says whether at-least-once
    explains that a receiver got a notification for a second time.
    """
    first = {name: first_of_each(came) for name, came in told.items()}
    known: dict[str, Delivery] = {}
    for deliveries in first.values():
        for delivery in deliveries:
            known.setdefault(delivery.id, delivery)
    report.figure("notifications", len(known))
    for name, came in told.items():
        has = {d.id for d in first[name]}
        report.check(f"{name}: has every notification", sorted(known.keys() - has), len(has))
        report.check(f"{name}: no notification has changed", _changed(came, known))
        doubles = _doubles(came)
        unexplained = [
            f"{again.id} at {one.came:.2f} and {again.came:.2f}"
            for one, again in doubles
            if not is_explained(name, one, again)
        ]
        report.check(f"{name}: doubles only by at-least-once", unexplained, len(doubles))
    report.check("order is the same everywhere", _disorder(first))
    report.check("each on has exactly one off", _pairs(known))
    offs = {d.notification["event"]: d for d in known.values() if d.notification["state"] == "off"}
    events = {d.notification["event"] for d in known.values()}
    report.check("sqlite: a row for each event, once", _rows(rows, offs, events), len(rows))
    order = [
        d.notification["event"]
        for d in next(iter(first.values()))
        if d.notification["state"] == "off"
    ]
    report.check("csv: a row for each event, once, in order", _table(table, order), len(table))
    return known


def _changed(came: Iterable[Delivery], known: dict[str, Delivery]) -> list[str]:
    return [
        f"{d.notification} and {known[d.id].notification}"
        for d in came
        if d.notification != known[d.id].notification
    ]


def _doubles(came: Iterable[Delivery]) -> list[tuple[Delivery, Delivery]]:
    latest: dict[str, Delivery] = {}
    doubles = []
    for delivery in came:
        if delivery.id in latest:
            doubles.append((latest[delivery.id], delivery))
        latest[delivery.id] = delivery
    return doubles


def _disorder(first: dict[str, list[Delivery]]) -> list[str]:
    problems = []
    reference_name, reference = next(iter(first.items()))
    places = {d.id: place for place, d in enumerate(reference)}
    for name, deliveries in first.items():
        order = [places[d.id] for d in deliveries if d.id in places]
        problems += [
            f"{name} had {reference[b].id} after {reference[a].id}, {reference_name} before"
            for a, b in pairwise(order)
            if b < a
        ]
    return problems


def _pairs(known: dict[str, Delivery]) -> list[str]:
    ons = {d.notification["event"] for d in known.values() if d.notification["state"] == "on"}
    offs = {d.notification["event"] for d in known.values() if d.notification["state"] == "off"}
    return [f"{event}: no off" for event in ons - offs] + [
        f"{event}: no on" for event in offs - ons
    ]


def _rows(rows: list[dict[str, Any]], offs: dict[str, Delivery], events: set[str]) -> list[str]:
    problems = [f"{event} is not there" for event in events - {row["event"] for row in rows}]
    problems += [f"{e} {n} times" for e, n in Counter(r["event"] for r in rows).items() if n > 1]
    for row in rows:
        off = offs.get(row["event"])
        if off is None:
            problems.append(f"{row['event']} was never told elsewhere")
        elif any(
            row[key] != off.notification.get(key) for key in ("offset", "peak", "reason", "label")
        ):
            problems.append(f"{row} is not {off.notification}")
    return problems


def _table(table: list[dict[str, str]], order: list[str]) -> list[str]:
    has = [row["event"] for row in table]
    if has == order:
        return []
    problems = [f"{event} is not there" for event in set(order) - set(has)]
    problems += [f"{event} was never told elsewhere" for event in set(has) - set(order)]
    problems += [f"{event} {n} times" for event, n in Counter(has).items() if n > 1]
    return problems or ["another order"]
