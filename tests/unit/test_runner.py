"""One stream after the other, to an orderly end whatever happens."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from otic import Event, Gap, Scores
from otic.audio.soundscape import synthesise
from otic.audio.sources import ArraySource
from otic.errors import SinkError, SourceError
from otic.streaming.control import Control, Stop, stop_on_signals
from otic.streaming.runner import Runner
from otic.types import Chunk, Item, Lost, StreamEnd, StreamStart
from tests.support.helpers import F32, bundled

SR = 22050


class Keep:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.starts: list[StreamStart] = []
        self.items: list[Item] = []
        self.ends: list[StreamEnd] = []

    def start(self, stream: StreamStart) -> None:
        self.starts.append(stream)

    def write(self, stream: StreamStart, item: Item) -> None:
        self.items.append(item)

    def end(self, stream: StreamStart, end: StreamEnd) -> None:
        self.ends.append(end)

    def close(self) -> None:
        pass


class Script(ArraySource):
    """Gives what it is told to, then fails where it is told to."""

    def __init__(self, chunks: list[Chunk | None], failure: Exception | None = None) -> None:
        super().__init__("script", np.zeros(0, np.float32), SR, 100)
        self._script, self._failure_at_end = chunks, failure

    def chunks(self) -> Iterator[Chunk | None]:
        yield from self._script
        if self._failure_at_end is not None:
            raise self._failure_at_end


@pytest.fixture(scope="module")
def scape() -> F32:
    return synthesise(SR)[0]


def test_losses_are_gaps_in_the_log_and_counted(scape: F32) -> None:
    keep = Keep()
    runner = Runner(bundled())
    source = Script([scape[: 6 * SR], None, Lost(4410), scape[6 * SR : 9 * SR]])
    monitor = runner.monitor(source)
    runner.run([(source, monitor)], [keep], Stop(), speed=None)
    assert [i for i in keep.items if isinstance(i, Gap)] == [Gap(6 * SR, 4410)]
    assert keep.ends == [StreamEnd(9 * SR + 4410, (9 * SR + 4410) / SR, 4410)]
    assert monitor.snapshot().lost_samples == 4410
    states = [i.state for i in keep.items if isinstance(i, Event)]
    assert states.count("on") == states.count("off") > 0


def test_a_failing_source_still_gets_a_whole_log(scape: F32) -> None:
    keep = Keep()
    runner = Runner(bundled())
    source = Script([scape[: 6 * SR]], SourceError("unplugged"))
    with pytest.raises(SourceError, match="unplugged"):
        runner.run([(source, runner.monitor(source))], [keep], Stop(), speed=None)
    states = [i.state for i in keep.items if isinstance(i, Event)]
    assert states.count("on") == states.count("off") > 0
    assert keep.ends[0].samples == 6 * SR


@pytest.mark.parametrize("chunk", [np.zeros(SR, np.float32), Lost(SR)])
def test_a_duration_is_kept_to_the_sample(chunk: Chunk) -> None:
    keep = Keep()
    runner = Runner(bundled())
    source = Script([chunk] * 5)
    runner.run([(source, runner.monitor(source))], [keep], Stop(), speed=None, duration_seconds=2.5)
    assert keep.ends[0].samples == round(2.5 * SR)


def test_streams_do_not_touch_each_other(scape: F32) -> None:
    keep = Keep()
    runner = Runner(bundled())
    for _ in range(2):
        source = ArraySource("a", scape[: 8 * SR], SR, 1000)
        runner.run([(source, runner.monitor(source))], [keep], Stop(), speed=None)
    half = len(keep.items) // 2
    assert keep.items[:half] == keep.items[half:]
    assert len(keep.starts) == len(keep.ends) == 2


def test_the_monitor_sees_what_the_log_says(scape: F32) -> None:
    keep = Keep()
    runner = Runner(bundled())
    source = ArraySource("a", scape[: 6 * SR], SR, 1000)
    monitor = runner.monitor(source)
    runner.run([(source, monitor)], [keep], Stop(), speed=None)
    now = monitor.snapshot()
    scores = [i for i in keep.items if isinstance(i, Scores)]
    assert now.n_scores == len(scores)
    assert now.scores == scores[-1].smoothed
    assert now.seconds == 6.0
    assert now.active == frozenset()  # closed by the end
    assert now.real_time_factor > 10
    assert 0 < now.inference_p50_ms <= now.inference_p99_ms


def test_streams_at_once_are_as_each_alone(scape: F32) -> None:
    """They take turns by their clocks, and one that fails does not end the other."""
    runner = Runner(bundled())
    alone = Keep()
    source = ArraySource("a", scape[: 8 * SR], SR, 1000)
    runner.run([(source, runner.monitor(source))], [alone], Stop(), speed=None)

    class Sorted(Keep):
        """Keeps apart what belongs to whom, and the order of all."""

        def __init__(self) -> None:
            super().__init__()
            self.by_source: dict[str, list[Item]] = {}
            self.times: list[float] = []

        def write(self, stream: StreamStart, item: Item) -> None:
            self.by_source.setdefault(stream.source, []).append(item)
            if isinstance(item, Scores):
                self.times.append(item.time)

    together = Sorted()
    one = ArraySource("a", scape[: 8 * SR], SR, 1000)
    two = ArraySource("b", scape[4 * SR : 12 * SR], SR, 333)
    bad = Script([scape[: 3 * SR]], SourceError("unplugged"))
    inputs = [(s, runner.monitor(s)) for s in (one, two, bad)]
    with pytest.raises(SourceError, match="unplugged"):
        runner.run(inputs, [together], Stop(), speed=None)
    assert together.by_source["a"] == alone.items
    assert {start.source for start in together.starts} == {"a", "b", "script"}
    assert sorted(end.samples for end in together.ends) == [3 * SR, 8 * SR, 8 * SR]
    steps = np.diff(together.times)
    assert steps.min() > -3.0  # the bad one came in a single chunk of three seconds
    assert np.all(np.diff(together.times[-20:]) >= -1000 / SR)


def test_signals_set_the_flag_and_a_later_one_interrupts() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        os.kill(os.getpid(), signal.SIGTERM)  # the same wish twice
        time.sleep(1.1)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def write_for_ever(fd: int) -> None:
    while True:
        os.write(fd, bytes(65536))


def test_a_quit_that_a_stalled_reader_holds_up_is_broken_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("otic.streaming.control._PATIENCE_SECONDS", 0.1)
    control = Control(bundled().labels, bundled().decision)
    reader, writer = os.pipe()
    quitting = threading.Timer(0.1, control.quit)
    with stop_on_signals() as stop:
        control.bind(stop)
        stop.streaming = True
        quitting.start()
        with pytest.raises(SinkError, match="has stalled"):
            write_for_ever(writer)  # a log that nobody reads: in the end it blocks
    quitting.join()
    assert stop.requested
    control.quit()  # too late for an alarm
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    os.close(reader)
    os.close(writer)


class Live(Script):
    """A microphone by its word."""

    live = True


def test_a_file_waits_while_it_is_paused(scape: F32) -> None:
    keep, runner_control = Keep(), Control(bundled().labels, bundled().decision)
    rounds = 0

    def on_round() -> None:
        nonlocal rounds
        rounds += 1
        runner_control.paused = 20 <= rounds < 24

    runner = Runner(bundled(), on_round=on_round, control=runner_control)
    source = ArraySource("a", scape[: 6 * SR], SR, 1000)
    monitor = runner.monitor(source)
    begin = time.monotonic()
    runner.run([(source, monitor)], [keep], Stop(), speed=None)
    assert time.monotonic() - begin > 0.15
    assert not [i for i in keep.items if isinstance(i, Gap)]  # nothing is left out
    assert monitor.snapshot().skipped_samples == 0
    assert keep.ends[0].samples == 6 * SR


def test_a_microphone_s_sound_is_skipped_while_it_is_paused(scape: F32) -> None:
    keep, runner_control = Keep(), Control(bundled().labels, bundled().decision)
    rounds = 0

    def on_round() -> None:
        nonlocal rounds
        rounds += 1
        runner_control.paused = 4 <= rounds < 6

    runner = Runner(bundled(), on_round=on_round, control=runner_control)
    parts: list[Chunk | None] = [scape[i * SR : (i + 1) * SR] for i in range(10)]
    small = np.split(scape[3 * SR : 4 * SR], 9)  # more than come in one round
    source = Live([*parts[:3], *small, None, parts[4], None, *parts[5:]])
    monitor = runner.monitor(source)
    runner.run([(source, monitor)], [keep], Stop(), speed=1.0)
    now = monitor.snapshot()
    assert now.skipped_samples == 2 * SR  # nothing that came in the pause is left for later
    assert now.lost_samples == 0
    assert [i for i in keep.items if isinstance(i, Gap)] == [Gap(3 * SR, 2 * SR)]
    assert now.seconds == 10.0


def test_a_duration_ends_a_microphone_that_is_paused() -> None:
    keep, control, stop = Keep(), Control(bundled().labels, bundled().decision), Stop()
    rounds = 0

    def on_round() -> None:
        nonlocal rounds
        rounds += 1
        stop.requested = rounds > 50

    control.paused = True
    runner = Runner(bundled(), on_round=on_round, control=control)
    source = Live([np.zeros(SR, np.float32), None] * 3)
    runner.run([(source, runner.monitor(source))], [keep], stop, duration_seconds=2.0)
    assert not stop.requested
    assert keep.ends[0].samples == 2 * SR


def test_a_threshold_counts_from_the_moment_it_is_changed(scape: F32) -> None:
    heard = []
    for changed in (False, True):
        keep, control = Keep(), Control(bundled().labels, bundled().decision)
        if changed:
            for label in bundled().labels:
                control.set_threshold(label, 1.0)  # never
        runner = Runner(bundled(), control=control)
        source = ArraySource("a", scape[: 8 * SR], SR, 1000)
        runner.run([(source, runner.monitor(source))], [keep], Stop(), speed=None)
        heard.append([i.label for i in keep.items if isinstance(i, Event)])
        assert [i for i in keep.items if isinstance(i, Scores)]
    assert "rain" in heard[0]
    assert heard[1] == []
