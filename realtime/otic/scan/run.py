"""A scan: what is there, what is left to do, and the processes that do it."""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import threading
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import datetime

from otic.audio.recording_time import TimeRule
from otic.errors import RuntimeMissingError
from otic.scan.find import Problem, Recording, find
from otic.scan.folder import WHOLE, Ledger
from otic.scan.tables import shown_path
from otic.scan.task import Done, Job, Worker, commit_problems
from otic.system.log import silence_native_stderr

_TASK_SECONDS = 3600.0
"""Audio of a task, about: a part of the results has as much, and a crash costs no more."""

_LEAST_TASK_SECONDS = 120.0
_TASKS_A_WORKER = 8  # at least, where there is so much to do: the last ones end together
_MOST_FILES = 1000  # of a task
_SAMPLED = 100
_MOST_DEATHS = 20  # in a row
AHEAD = 2  # tasks a worker that are handed out
TICK_SECONDS = 0.5
_BYTES_A_SECOND = {".mp3": 16e3, ".mp2": 24e3, ".ogg": 14e3, ".oga": 14e3, ".opus": 8e3}
_BYTES_A_SECOND |= {".flac": 60e3, ".m4a": 16e3, ".m4b": 8e3, ".aac": 16e3, ".webm": 12e3}
_PLAIN_BYTES_A_SECOND = 96e3  # 48 kHz, mono, 16 bits

Found = Recording | Problem
Task = tuple[Found, ...]


@dataclass(frozen=True)
class Survey:
    """What is there to do.

    Attributes
    ----------
    files, size, seconds : int, int, float
        Recordings to classify, their bytes, and about how much audio they are.
    done : int
        Recordings that are done already.
    problems : int
        What can't be looked into.
    largest : tuple of Recording
        Those that are a task of their own, the largest first.
    sample : tuple of Recording
        Some of them, each as likely as another.
    """

    files: int
    size: int
    seconds: float
    done: int
    problems: int
    largest: tuple[Recording, ...]
    sample: tuple[Recording, ...]


@dataclass(frozen=True)
class Share:
    """A share of the recordings, by their paths: number ``index`` of ``count``, from 1."""

    index: int = 1
    count: int = 1

    def __str__(self) -> str:
        return WHOLE if self.count == 1 else f"{self.index}of{self.count}"

    def has(self, path: str) -> bool:
        """Tell whether a path is in this share."""
        return zlib.crc32(shown_path(path).encode()) % self.count == self.index - 1


class Plan:
    """The recordings of a scan that are left to do.

    Parameters
    ----------
    names : sequence of str
        See :func:`otic.scan.find.find`.
    ledger : Ledger or None
        What is done; None: nothing is.
    share : Share
    select : callable
        Gives a recording that is to be taken, None, or a problem with telling that.
    """

    def __init__(
        self,
        names: Sequence[str],
        ledger: Ledger | None,
        share: Share,
        select: Callable[[Recording], Found | None] = lambda found: found,
    ) -> None:
        self._names = names
        self._ledger = ledger
        self._share = share
        self._select = select

    def survey(self, forget: bool = True) -> Survey:
        """Look at everything once.

        Parameters
        ----------
        forget : bool
            Whether parts with recordings that have changed are removed.
        """
        files = size = done = problems = 0
        seconds = 0.0
        largest: list[Recording] = []
        sample: list[Recording] = []
        chance = random.Random(0)
        changed: set[str] = set()
        for found in self._found():
            if isinstance(found, Problem):
                problems += 1
                continue
            state = None if self._ledger is None else self._ledger.state(found)
            if state:
                done += 1
                continue
            if state is False:
                changed.add(shown_path(found.path))
            files += 1
            size += found.size
            if len(sample) < _SAMPLED:
                sample.append(found)
            elif (place := chance.randrange(files)) < _SAMPLED:
                sample[place] = found
            about = about_seconds(found)
            seconds += about
            if about >= _TASK_SECONDS:
                largest.append(found)
        if changed and forget and self._ledger is not None:
            self._ledger.forget(changed)
            return self.survey()
        largest.sort(key=lambda each: (-each.size, each.path))
        return Survey(files, size, seconds, done, problems, tuple(largest), tuple(sample))

    def tasks(self, survey: Survey, workers: int) -> Iterator[Task]:
        """Cut what is left into tasks: large recordings alone and first, others together."""
        alone = {each.path for each in survey.largest}
        yield from ((each,) for each in survey.largest)
        share = survey.seconds / (_TASKS_A_WORKER * workers)
        limit = min(_TASK_SECONDS, max(_LEAST_TASK_SECONDS, share))
        task: list[Found] = []
        seconds = 0.0
        for found in self._found():
            if isinstance(found, Recording):
                if found.path in alone or (self._ledger and self._ledger.state(found)):
                    continue
                seconds += about_seconds(found)
            task.append(found)
            if seconds >= limit or len(task) >= _MOST_FILES:
                yield tuple(task)
                task, seconds = [], 0.0
        if task:
            yield tuple(task)

    def _found(self) -> Iterator[Found]:
        for found in find(self._names):
            if self._share.has(found.path):
                taken = self._select(found) if isinstance(found, Recording) else found
                if taken is not None:
                    yield taken


def recorded_between(
    rule: TimeRule, since: datetime | None, until: datetime | None
) -> Callable[[Recording], Found | None]:
    """Select the recordings that began at or after ``since`` and before ``until``."""
    if since is None and until is None:
        return lambda found: found

    def select(found: Recording) -> Found | None:
        began = rule.began(found.path)
        if began is None:
            return Problem(found.path, "nobody knows when it was recorded: see --time-format")
        late = until is not None and began >= until
        return None if late or (since is not None and began < since) else found

    return select


def about_seconds(recording: Recording) -> float:
    """Guess how much audio a file holds, by its size and suffix."""
    suffix = os.path.splitext(recording.path)[1].lower()  # noqa: PTH122 - of a million files
    return recording.size / _BYTES_A_SECOND.get(suffix, _PLAIN_BYTES_A_SECOND)


class Engine(ABC):
    """Runs tasks somewhere; what it runs them on is left to :meth:`_run`.

    A task whose process died is a suspect: its recordings are run again, each alone, and one
    that takes its process with it again is an error.

    Parameters
    ----------
    job : Job
    count : int
        Workers.
    ledger : Ledger
        What is done is looked up here when a process has died.
    """

    def __init__(self, job: Job, count: int, ledger: Ledger) -> None:
        self._job = job
        self._count = count
        self._ledger = ledger
        self._number = 0

    def results(self, tasks: Iterable[Task], on_tick: Callable[[], None]) -> Iterator[Done]:
        """Run tasks; yield what each has done, in any order.

        Raises
        ------
        SinkError
            If results can't be written; tasks that run are ended, those that wait are dropped.
        RuntimeMissingError
            If every process dies.
        """
        waiting = iter(tasks)
        suspects: list[Task] = []
        yield from self._run(waiting, self._count, on_tick, suspects)
        deaths = 0
        while suspects:
            self._ledger.refresh()
            for found in (each for task in suspects for each in task):
                if isinstance(found, Recording) and self._ledger.state(found):
                    continue
                died: list[Task] = []
                yield from self._run(iter([(found,)]), 1, on_tick, died)
                deaths = deaths + 1 if died else 0
                if deaths >= _MOST_DEATHS:
                    raise RuntimeMissingError(
                        f"{deaths} processes in a row died: see whether memory is short, or try "
                        "'otic verify'; started again, the scan goes on"
                    )
                if died:
                    yield self._died(found)
            suspects = []
            yield from self._run(waiting, self._count, on_tick, suspects)

    @abstractmethod
    def _run(
        self, tasks: Iterator[Task], count: int, on_tick: Callable[[], None], suspects: list[Task]
    ) -> Iterator[Done]:
        """Run tasks on ``count`` workers; add those whose process died to ``suspects``."""

    def _unique(self) -> str:
        self._number += 1
        return f"{self._job.share}-{os.uname().nodename}-{os.getpid()}-{self._number}"

    def _died(self, found: Found) -> Done:
        problem = Problem(found.path, "the process that classified it died")
        commit_problems(self._job, self._unique(), [problem])
        return Done(1, getattr(found, "size", 0), errors=[(shown_path(found.path), problem.reason)])


class Processes(Engine):
    """Worker processes on this machine."""

    def _run(
        self, tasks: Iterator[Task], count: int, on_tick: Callable[[], None], suspects: list[Task]
    ) -> Iterator[Done]:
        """Run tasks until all are done, or a process dies: then those that ran are suspects."""
        running: dict[Future[Done], Task] = {}
        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(
            count, multiprocessing.get_context("spawn"), _start_worker, (self._job,)
        )
        task: Task | None = None
        try:
            while True:
                while len(running) < AHEAD * count and (task := next(tasks, None)) is not None:
                    running[pool.submit(_run_task, self._unique(), task)] = task
                    task = None
                if not running:
                    return
                ended, _ = wait(running, TICK_SECONDS, FIRST_COMPLETED)
                for future in sorted(ended, key=lambda f: f.exception() is not None):
                    done = future.result()
                    del running[future]
                    yield done
                on_tick()
        except BrokenProcessPool:
            suspects += running.values() if task is None else [*running.values(), task]
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_worker: Worker | None = None


def _start_worker(job: Job) -> None:
    """Prepare a worker process; it ends with the process that began it."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process has it, and ends this one
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    logging.getLogger("otic").setLevel(logging.CRITICAL)
    with silence_native_stderr():
        _worker = Worker(job)


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _run_task(unique: str, task: Task) -> Done:
    assert _worker is not None
    return _worker.run(unique, task)
