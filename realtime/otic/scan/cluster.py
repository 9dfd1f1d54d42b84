"""A scan on Dask's workers, which the extra ``cluster`` brings: of this machine, or of many."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from otic.errors import ConfigurationError, RuntimeMissingError
from otic.scan.folder import Ledger
from otic.scan.run import AHEAD, TICK_SECONDS, Engine, Task
from otic.scan.task import Done, Job, Worker

LOCAL = "local"
"""In place of a scheduler's address: a cluster of this machine's own processes."""

_CONNECT_SECONDS = 20

_of_thread = threading.local()


@contextmanager
def connected(scheduler: str, jobs: int) -> Iterator[Any]:
    """Open a client of a scheduler, or of a local cluster with so many workers.

    Raises
    ------
    RuntimeMissingError
        If Dask is not installed.
    ConfigurationError
        If the scheduler can't be reached.
    """
    try:
        import distributed
    except ImportError as error:
        raise RuntimeMissingError(
            f"--scheduler needs Dask, which can't be imported ({error}): "
            "pip install 'otic[cluster]'"
        ) from error
    with ExitStack() as stack:
        address: Any = scheduler
        if scheduler == LOCAL:
            address = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=jobs, threads_per_worker=1, dashboard_address=None, silence_logs=50
                )
            )
        try:
            client = distributed.Client(address, timeout=_CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"there is no Dask scheduler at '{scheduler}': give its address, such as "
                f"tcp://host:8786, or {LOCAL}"
            ) from error
        yield stack.enter_context(client)


class Cluster(Engine):
    """Dask's workers; a task whose worker dies is given to another one, three times.

    Workers that join take part, and those that leave are done without. All have otic installed,
    and see recordings and results at the same paths.

    Parameters
    ----------
    job : Job
    client : distributed.Client
    ledger : Ledger
    """

    def __init__(self, job: Job, client: Any, ledger: Ledger) -> None:
        super().__init__(job, 0, ledger)
        self._client = client

    def _run(
        self, tasks: Iterator[Task], count: int, on_tick: Callable[[], None], suspects: list[Task]
    ) -> Iterator[Done]:
        import distributed

        running: dict[Any, Task] = {}
        try:
            while True:
                threads = sum(self._client.nthreads().values())
                limit = count or AHEAD * max(1, threads)
                while len(running) < limit and (task := next(tasks, None)) is not None:
                    future = self._client.submit(
                        _run_task, self._job, self._unique(), task, pure=False
                    )
                    running[future] = task
                if not running:
                    return
                for future in [future for future in running if future.done()]:
                    task = running.pop(future)
                    try:
                        done = future.result()
                    except distributed.KilledWorker:
                        suspects.append(task)
                    except CancelledError as error:
                        raise RuntimeMissingError(
                            "the Dask scheduler has gone: started again, the scan goes on"
                        ) from error
                    else:
                        yield done
                if running and not any(future.done() for future in running):
                    with suppress(TimeoutError):
                        distributed.wait(
                            list(running), timeout=TICK_SECONDS, return_when="FIRST_COMPLETED"
                        )
                on_tick()
        finally:
            self._client.cancel(list(running))


def _run_task(job: Job, unique: str, task: Task) -> Done:
    """Run a task in a worker, which may have died at it before and left something."""
    kept = getattr(_of_thread, "worker", None)
    if kept is None or kept[0] != (job.run, job.share):
        kept = _of_thread.worker = (job.run, job.share), Worker(job)
    return kept[1].run(f"{unique}-{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}", task)
