"""The sensor under test: `otic run`, stopped, killed and started again, and its vitals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.logs import last_sample
from tests.soak.vitals import Vitals, children, vitals

_ORPHAN_SECONDS = 10.0
_BEGIN_SECONDS = 30.0
_END_SECONDS = 30.0


@dataclass
class Life:
    """From a start to its end, by the wall clock; ``how`` it ended: ``killed`` or ``stopped``."""

    began: float
    ended: float = 0.0
    asked: float = 0.0  # when it was sent SIGTERM
    how: str = ""
    returncode: int = 0
    stop_seconds: float = 0.0
    vitals: list[Vitals] = field(default_factory=list)
    clock: list[tuple[float, int]] = field(default_factory=list)
    """When a new line of scores was seen in the log, and its sample."""


class Sensor:
    """One installation; many lives."""

    def __init__(self, config: Path, log: Path, errors: Path, env: dict[str, str]) -> None:
        self._config, self._log, self._errors, self._env = config, log, errors, env
        self._process: subprocess.Popen[bytes] | None = None
        self._seen_sample: int | None = None
        self._must_go: list[tuple[float, int]] = []  # by when, which processes
        self.lives: list[Life] = []
        self.problems: list[str] = []

    def start(self) -> None:
        command = [sys.executable, "-m", "otic", "run", "--config", str(self._config)]
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [*command, "--no-dashboard"], env=self._env, stderr=errors
            )
        self._seen_sample = last_sample(self._log)
        self.lives.append(Life(time.time()))

    def look(self) -> None:
        """Note vitals and how far the log is; that it ended by itself is a problem."""
        assert self._process is not None
        self.look_for_orphans()
        life, now = self.lives[-1], time.time()
        if self._process.poll() is not None:
            self.problems.append(f"life {len(self.lives)} ended with {self._process.returncode}")
            self._ended("died")
            self.start()
            return
        sample = last_sample(self._log)
        if sample is not None and sample != self._seen_sample:
            life.clock.append((now, sample))
        self._seen_sample = sample
        if not life.vitals or now - life.vitals[-1].at >= 1.0:
            noted = vitals(self._process.pid, now)
            if noted is not None:
                life.vitals.append(noted)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def send_to_capture(self, number: signal.Signals) -> None:
        """To the process that holds the microphone."""
        for pid in self._captures():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait_until_it_listens(self) -> None:
        """Until it has begun its capture process, and so takes signals."""
        deadline = time.monotonic() + _BEGIN_SECONDS
        while not self._captures() and time.monotonic() < deadline:
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL; nothing of it may stay."""
        assert self._process is not None
        self._must_go += [(time.monotonic() + _ORPHAN_SECONDS, p) for p in self._captures()]
        self._process.kill()
        self._process.wait(_END_SECONDS)
        self._ended("killed")

    def stop(self) -> None:
        """SIGTERM once it listens, and how long the end took."""
        assert self._process is not None
        self.wait_until_it_listens()
        self._must_go += [(time.monotonic() + _ORPHAN_SECONDS, p) for p in self._captures()]
        begin = time.monotonic()
        self.lives[-1].asked = time.time()
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_END_SECONDS)
        self.lives[-1].stop_seconds = time.monotonic() - begin
        self._ended("stopped")

    def look_for_orphans(self) -> None:
        """A capture process that outlives its sensor is a problem."""
        now = time.monotonic()
        for deadline, pid in self._must_go:
            if now > deadline and b"otic.audio.capture_worker" in _command_line(pid):
                self.problems.append(f"capture process {pid} outlived its sensor")
        self._must_go = [(deadline, pid) for deadline, pid in self._must_go if now <= deadline]

    def end(self) -> None:
        """Whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(_END_SECONDS)

    def _ended(self, how: str) -> None:
        assert self._process is not None
        life = self.lives[-1]
        life.ended, life.how, life.returncode = time.time(), how, self._process.returncode

    def _captures(self) -> list[int]:
        assert self._process is not None
        pids = children(self._process.pid)
        return [pid for pid in pids if b"otic.audio.capture_worker" in _command_line(pid)]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
