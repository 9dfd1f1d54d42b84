"""Many lives of a sensor, faster than time: `python -m tests.soak.simulated HOURS [--seed N]`.

Each life is a process (:mod:`tests.soak.life`) that is stopped, killed and started again, while
its disk is filled, its database is locked and its web server fails.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ROOT
from tests.soak.deliveries import (
    Delivery,
    check_receivers,
    command_deliveries,
    csv_rows,
    first_of_each,
    sqlite_rows,
)
from tests.soak.disk import SmallDisk
from tests.soak.faults import Chance, Fault
from tests.soak.hook import SECRET, Hook
from tests.soak.life import WEBHOOK_SECONDS, LifePlan
from tests.soak.logs import read_log
from tests.soak.report import Report, end_in_order_on_sigterm, tracebacks
from tests.soak.truth import Decided, check_log, check_told, hours_of, last_time, read_truth
from tests.soak.vitals import Vitals, growth, vitals

_DRAIN_SECONDS = 300.0
_STOP_SECONDS = 30.0
_END_SECONDS = 2.0  # that an end takes at most
_BAD_ANSWERS = 0.05
_LONG_LIFE_SECONDS = 30.0
# Of megabytes, 5000 notifications that wait in memory take 5.
_MORE_MEGABYTES, _MORE_THREADS, _MORE_DESCRIPTORS = 8.0, 2, 4


@dataclass
class SimulatedLife:
    """A process, by the wall clock."""

    began: float
    ended: float = 0.0
    vitals: list[Vitals] = field(default_factory=list)
    stop_seconds: float | None = None


class Simulation:
    """A sensor, its world, and what becomes of them.

    ``speed`` is stream seconds a second, ``life_hours`` how long a life is on average, of audio,
    ``long_life`` the share of all hours that the last but one takes; all files are copied to
    ``keep`` in the end.
    """

    def __init__(
        self,
        folder: Path,
        hours: float,
        seed: int,
        speed: float = 500.0,
        life_hours: float = 0.5,
        long_life: float = 0.25,
        keep: Path | None = None,
    ) -> None:
        self._keep = keep
        self._folder, self._hours, self._seed, self._speed = folder, hours, seed, speed
        self._life_hours, self._long_life = life_hours, long_life
        self._rng = random.Random(seed)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: sqlite3.Connection | None = None
        self._down = threading.Event()
        self._truths: list[Path] = []
        self._lives: list[SimulatedLife] = []
        self._problems: list[str] = []

    def run(self) -> Report:
        """All lives, and what is found afterwards."""
        report = Report()
        with ExitStack() as stack:
            self._disk = SmallDisk(self._folder / "disk", 24 + round(5 * self._hours))
            stack.callback(self._disk.close)
            if self._keep is not None:
                stack.callback(shutil.copytree, self._folder, self._keep, dirs_exist_ok=True)
            self._hook = Hook(self._answer)
            stack.callback(self._hook.close)
            self._chance = Chance(self._faults(), self._seed, every_seconds=0.6)
            begin = said = time.monotonic()
            decided: list[Decided] = []
            while (hours := hours_of(decided)) < self._hours * (1.0 - self._long_life):
                self._live(self._rng.expovariate(1.0 / self._life_hours))
                decided.append(read_truth(self._truths[-1]))
                if time.monotonic() - said > 30.0:
                    said = time.monotonic()
                    print(f"{said - begin:4.0f} s: {hours:.1f} h, {len(decided)} lives", flush=True)
            self._live(self._hours - hours, killed=False)
            self._chance.end_all()
            self._live(0.0, drain=True)
            decided += [read_truth(path) for path in self._truths[-2:]]
            report.figure("hours of audio", f"{hours_of(decided):.1f}")
            report.figure("in seconds", f"{time.monotonic() - begin:.0f}")
            self._check(report, decided)
        return report

    def _faults(self) -> list[Fault]:
        span, stop = (0.05, 2.0), (0.05, 0.5)
        return [
            Fault("disk full", "disk", self._disk.fill, self._disk.empty, *span),
            Fault(
                "web server down",
                "hook",
                self._down.set,
                self._down.clear,
                *span,
            ),
            Fault("database locked", "sqlite", self._lock_database, self._unlock_database, *span),
            Fault(
                "otic stopped",
                "otic",
                lambda: self._send(signal.SIGSTOP),
                lambda: self._send(signal.SIGCONT),
                *stop,
            ),
        ]

    def _answer(self) -> str:
        if self._down.is_set() or random.random() < _BAD_ANSWERS:
            return random.choice(["500", "drop", "stall"])
        return "ok"

    def _lock_database(self) -> None:
        path = self._disk.folder / "events.sqlite"
        if path.exists():
            self._lock = sqlite3.connect(path, timeout=0.1, isolation_level=None)
            with suppress(sqlite3.Error):
                self._lock.execute("BEGIN IMMEDIATE")

    def _unlock_database(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _live(self, hours: float, killed: bool | None = None, drain: bool = False) -> None:
        """One life of so much audio; or as long as it takes to ``drain`` what waits."""
        number = len(self._lives)
        truth = self._folder / f"truth-{number:04}"
        self._truths.append(truth)
        plan = LifePlan(
            seed=self._rng.randrange(2**31),
            speed=self._speed,
            disk=str(self._disk.folder),
            truth=str(truth),
            command=str(self._folder / "command.jsonl"),
            url=self._hook.url,
            secret=SECRET,
            drain=drain,
        )
        command = [sys.executable, "-m", "tests.soak.life", plan.to_json()]
        life = SimulatedLife(time.time())
        self._lives.append(life)
        with (self._folder / "stderr.txt").open("ab") as errors:
            self._process = subprocess.Popen(command, cwd=ROOT, stderr=errors)
        try:
            self._watch(life, truth, hours, drain)
        except BaseException:
            self._process.kill()
            raise
        if killed if killed is not None else self._rng.random() < 0.6:
            self._process.kill()
        elif not drain:
            self._send(signal.SIGCONT)
            begin = time.monotonic()
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
            life.stop_seconds = time.monotonic() - begin
        self._end(life, number)

    def _watch(self, life: SimulatedLife, truth: Path, hours: float, drain: bool) -> None:
        assert self._process is not None
        noted = begin = time.monotonic()
        while self._process.poll() is None:
            now = time.monotonic()
            if drain and now - begin > _DRAIN_SECONDS:
                break
            if not drain:
                if self._truths[0].exists():  # not yet where it is being installed
                    self._chance.look()
                if truth.exists() and last_time(truth) >= hours * 3600.0:
                    break
            if now - noted >= 0.2 and truth.exists():
                noted = now
                found = vitals(self._process.pid, time.time())
                life.vitals += [] if found is None else [found]
            time.sleep(0.01)

    def _end(self, life: SimulatedLife, number: int) -> None:
        assert self._process is not None
        try:
            code = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
            self._problems.append(f"life {number + 1} did not end")
        if code not in (0, -signal.SIGKILL):
            self._problems.append(f"life {number + 1} ended with {code}")
        life.ended = time.time()

    def _check(self, report: Report, decided: list[Decided]) -> None:
        happened = self._chance.happened
        begun = [f"{life.began:.3f} … {life.ended:.3f} a life" for life in self._lives]
        begun += [f"{h.began:.3f} … {h.ended:.3f} {h.name}" for h in happened]
        (self._folder / "history.txt").write_text("\n".join(sorted(begun)))
        for name, count in sorted(Counter(h.name for h in happened).items()):
            report.figure(f"fault: {name}", count)
        killed = sum(life.stop_seconds is None for life in self._lives) - 1
        report.figure("lives, of which killed", f"{len(self._lives)}, {killed}")
        report.figure("web server: posts without a good answer", self._hook.refused)
        report.check("no life ends by itself", self._problems)
        logged, problems, n_lines = read_log(self._disk.folder / "log.jsonl")
        report.check("log: every line of every file is whole", problems, n_lines)
        full = [h for h in happened if h.name == "disk full"]
        full_at_end = [
            any(h.began < v.ended and h.ended > v.ended - _END_SECONDS for h in full)
            for v in self._lives
        ]
        check_log(report, decided, logged, full_at_end)
        told = {
            "webhook": self._hook.taken,
            "command": command_deliveries(self._folder / "command.jsonl"),
        }
        check_receivers(
            report,
            told,
            sqlite_rows(self._disk.folder / "events.sqlite"),
            csv_rows(self._disk.folder / "events.csv"),
            self._is_explained,
        )
        check_told(report, decided, first_of_each(self._hook.taken))
        report.check("webhook: every post is signed", self._hook.unsigned)
        self._check_vitals(report)
        report.check("no traceback on standard error", tracebacks(self._folder / "stderr.txt"))
        stops = [s for life in self._lives if (s := life.stop_seconds) is not None]
        report.figure("SIGTERM: ended within", f"{max(stops):.2f} s")

    def _is_explained(self, name: str, one: Delivery, again: Delivery) -> bool:
        """By another life, or an answer that otic did not wait for."""
        if name == "command":  # it keeps no time
            return len(self._lives) > 1
        lives = any(one.came < life.began < again.came for life in self._lives)
        stopped = any(
            h.name == "otic stopped" and h.began < again.came and h.ended > one.came
            for h in self._chance.happened
        )
        return lives or stopped or again.came - one.came > WEBHOOK_SECONDS

    def _check_vitals(self, report: Report) -> None:
        life = self._lives[-2]
        more = growth(life.vitals)
        peak = max(v.rss_kilobytes for each in self._lives for v in each.vitals) / 1024
        limits = (_MORE_MEGABYTES, _MORE_THREADS, _MORE_DESCRIPTORS)
        grown = any(each > limit for each, limit in zip(more, limits, strict=True))
        seconds = life.ended - life.began  # what is short is all beginning
        problems = [f"{more}"] if grown and seconds > _LONG_LIFE_SECONDS else []
        figure = f"{more[0]:+.1f} MB, {more[1]:+d}, {more[2]:+d} in a life of "
        figure += f"{seconds:.0f} s; peak {peak:.0f} MB"
        report.check("memory, threads, descriptors are flat", problems, figure)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.simulated", description=__doc__)
    parser.add_argument("hours", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speed", type=float, default=500.0, help="stream seconds a second")
    parser.add_argument("--keep", type=Path, help="copy all files here in the end")
    args = parser.parse_args()
    end_in_order_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="otic-soak-") as name:
        report = Simulation(Path(name), args.hours, args.seed, args.speed, keep=args.keep).run()
    return report.print()


if __name__ == "__main__":
    sys.exit(main())
