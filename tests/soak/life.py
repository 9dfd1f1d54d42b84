"""One life of a simulated sensor: `python -m tests.soak.life PLAN` (JSON); a child of `simulated`.

The real runner, stream, pipeline, model and outputs; only the microphone, the clock and the
workers' patience are a simulation's.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otic.audio.converter import Converter
from otic.audio.soundscape import synthesise
from otic.config.settings import JsonlSettings, Settings, SpoolSettings
from otic.model.bundle import load_bundle
from otic.sinks.delivery import outbox, worker
from otic.sinks.delivery.outbox import Outbox
from otic.sinks.open import open_outputs
from otic.sinks.receivers.command import Section as CommandSection
from otic.sinks.receivers.csv import Section as CsvSection
from otic.sinks.receivers.sqlite import Section as SqliteSection
from otic.sinks.receivers.webhook import Section as WebhookSection
from otic.streaming.control import stop_on_signals
from otic.streaming.runner import Runner
from otic.types import Chunk, Event, Gap, Item, Lost, SourceHealth, StreamEnd, StreamStart

SR = 22050
WEBHOOK_SECONDS = 1.0
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 0.05, 1.0  # as much faster as the stream
_LONGEST_JUMP_HOURS = 30.0
_SOUND_SECONDS = 6.0  # a sound of the soundscape and the pause before it


@dataclass(frozen=True)
class LifePlan:
    """What a life shall do.

    ``truth`` is the file that what was decided goes to; ``speed`` is stream seconds a second;
    the last one hears nothing, and ends when all receivers have everything (``drain``).
    """

    seed: int
    speed: float
    disk: str
    truth: str
    command: str
    url: str
    secret: str
    drain: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class SimulatedMicrophone:
    """Sounds, silence, noise, NaN and losses, by chance, as fast as ``speed`` says."""

    live = True
    name = "mic"

    def __init__(self, rng: random.Random, speed: float, is_over: Callable[[], bool]) -> None:
        self._rng, self._speed, self._is_over = rng, speed, is_over
        self._sounds = synthesise(SR, rng.randrange(1000))[0]
        self._noise = np.random.default_rng(rng.randrange(1000)).standard_normal(SR * 60)
        self._converter = Converter(SR, 1, SR)

    def chunks(self) -> Iterator[Chunk | None]:
        begin, samples = time.monotonic(), 0
        while not self._is_over():
            for chunk in self._something():
                samples += chunk.samples if isinstance(chunk, Lost) else len(chunk)
                ahead = samples / SR / self._speed - (time.monotonic() - begin)
                if ahead < -1.0:  # it was stopped, or is too slow: no hurry
                    begin -= ahead
                time.sleep(max(0.0, ahead))
                yield chunk
            if self._speed == 0.0:
                yield None

    def fileno(self) -> int | None:
        return None

    def health(self) -> SourceHealth:
        return SourceHealth()

    def warnings(self) -> list[str]:
        return []

    def close(self) -> None:
        pass

    def _something(self) -> Iterator[Chunk]:
        if self._speed == 0.0:
            return
        kind = self._rng.random()
        if kind < 0.45:
            begin = self._rng.randrange(len(self._sounds))
            length = round(self._rng.uniform(1.0, 2.0 * _SOUND_SECONDS) * SR)
            y = np.take(self._sounds, range(begin, begin + length), mode="wrap")
            yield from self._blocks(y * np.float32(self._rng.uniform(0.1, 1.5)))
        elif kind < 0.65:
            yield from self._blocks(np.zeros(round(self._rng.uniform(1.0, 60.0) * SR), np.float32))
        elif kind < 0.9:
            noise = self._noise[: round(self._rng.uniform(1.0, 60.0) * SR)]
            yield from self._blocks((10.0 ** self._rng.uniform(-6, -2) * noise).astype(np.float32))
        elif kind < 0.95:  # an overrun, or a device that was away
            seconds = 0.001 * 60_000.0 ** self._rng.random()
            yield from self._converter.lose(max(1, round(seconds * SR)))
        else:
            y = np.zeros(SR, np.float32)
            at = self._rng.randrange(SR)
            y[at : at + self._rng.randrange(1, 2000)] = self._rng.choice([np.nan, np.inf, -1e30])
            yield from self._blocks(y)

    def _blocks(self, y: NDArray[np.float32]) -> Iterator[Chunk]:
        block = self._rng.choice([512, 2048, 8192, 32768])
        for start in range(0, len(y), block):
            yield from self._converter.push(y[start : start + block, None])


class Truth:
    """The first sink: whatever is decided is in a file before anybody else is told.

    A line is ``S``, ``s SAMPLE`` (scores), ``g SAMPLE LOST``, ``e`` and JSON, or ``E SAMPLES``.
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def start(self, stream: StreamStart) -> None:
        self._put(f"S {stream.started}")

    def write(self, stream: StreamStart, item: Item) -> None:
        if isinstance(item, Event):
            self._put("e " + json.dumps([item.state, item.label, *_rounded(item)]))
        elif isinstance(item, Gap):
            self._put(f"g {item.sample} {item.lost}")
        else:
            self._put(f"s {item.sample}")

    def end(self, stream: StreamStart, end: StreamEnd) -> None:
        self._put(f"E {end.samples}")

    def close(self) -> None:
        os.close(self._fd)

    def _put(self, line: str) -> None:
        os.write(self._fd, f"{line}\n".encode())


def _rounded(event: Event) -> list[float]:
    return [round(event.onset, 6), round(event.time, 6)]


class JumpingClock:
    """A wall clock that somebody sets, back and forth."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        if self._rng.random() < 0.02:
            self._ahead = timedelta(hours=self._rng.uniform(-1, 1) * _LONGEST_JUMP_HOURS)
        return datetime.now(UTC) + self._ahead


def settings_of(plan: LifePlan) -> Settings:
    """What a configuration file would say."""
    disk = Path(plan.disk)
    return Settings(
        name="soak",
        jsonl=JsonlSettings(str(disk / "log.jsonl"), max_megabytes=1.0, keep=10_000),
        spool=SpoolSettings(str(disk / "spool")),
        receivers={
            "csv": CsvSection(str(disk / "events.csv")),
            "sqlite": SqliteSection(str(disk / "events.sqlite")),
            "command": CommandSection(("tee", "-a", plan.command)),
            "webhook": WebhookSection(
                plan.url, secret=plan.secret, timeout_seconds=WEBHOOK_SECONDS
            ),
        },
    )


def live(plan: LifePlan) -> None:
    """Until a signal, or until all has been delivered."""
    rng = random.Random(plan.seed)
    # What open_outputs will import.
    worker.DeliveryWorker = functools.partial(  # type: ignore[assignment, misc]
        worker.DeliveryWorker,
        first_retry_seconds=_FIRST_RETRY_SECONDS,
        longest_retry_seconds=_LONGEST_RETRY_SECONDS,
    )
    outbox.Outbox = functools.partial(outbox.Outbox, now=JumpingClock(rng))  # type: ignore[assignment, misc]
    bundle = load_bundle("esc10-mfcc-mlp")
    truth = Truth(plan.truth)
    with stop_on_signals() as stop:
        runner = Runner(bundle)
        outputs = open_outputs(
            settings_of(plan),
            bundle,
            ["mic"],
            dict,
            plain_text=False,
            concurrent=False,
            drain_timeout=lambda: 0.3,
            permanent=True,
        )
        with outputs as opened:
            letters = opened.sinks[0]
            assert isinstance(letters, Outbox)

            def is_over() -> bool:
                return plan.drain and not any(each.waiting for each in letters.statuses())

            source = SimulatedMicrophone(rng, 0.0 if plan.drain else plan.speed, is_over)
            monitor = runner.monitor(source)
            runner.run([(source, monitor)], [truth, *opened.sinks], stop)
    truth.close()
    gc.freeze()  # as otic does: a quick end


if __name__ == "__main__":
    live(LifePlan(**json.loads(sys.argv[1])))
