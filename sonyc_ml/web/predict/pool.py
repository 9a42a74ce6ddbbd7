"""Workers: threads, each with networks of its own, and a queue that does not grow without end."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

from sonyc_ml.model import Model

logger = logging.getLogger(__name__)

Models: TypeAlias = Mapping[str, Model]  # by the names of their bundles
T = TypeVar("T")


class BusyError(Exception):
    """So many requests wait already that another would wait too long."""


class DroppedError(Exception):
    """Nobody waits for the answer any more."""


class Job(Generic[T]):
    """Work for a worker.

    Parameters
    ----------
    work : callable
        What is done, with the worker's models and a function to be called as the work goes on.
    """

    def __init__(self, work: Callable[[Models, Callable[[], None]], T]) -> None:
        self._work, self._is_dropped = work, threading.Event()
        self.submitted_s = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[T] = self._loop.create_future()

    async def result(self) -> T:
        """What the work gave, or raised."""
        return await self._future

    def drop(self) -> None:
        """Nobody waits for it: it is not begun, or ends within a few windows."""
        self._is_dropped.set()

    def run(self, models: Models, done: Callable[[], None]) -> None:
        """Do it; called by a worker. `done` is called before anybody gets the result."""
        outcome: tuple[Callable[[Any], None], Any]
        try:
            self._check()
            outcome = (self._future.set_result, self._work(models, self._check))
        except Exception as error:  # noqa: BLE001  whoever waits for the result gets it
            outcome = (self._future.set_exception, error)
        done()
        self._loop.call_soon_threadsafe(self._settle, *outcome)

    def _settle(self, settle: Callable[[Any], None], outcome: Any) -> None:
        if not self._future.done():
            settle(outcome)

    def _check(self) -> None:
        if self._is_dropped.is_set():
            raise DroppedError


class Pool:
    """Workers that load their models once, and do one job after another.

    Parameters
    ----------
    load : callable
        Loads, checks and warms up the models of one worker. The first worker's are loaded before the others', so that
        the golden vector is checked once.
    n_workers, n_waiting : int
        See :class:`~sonyc_ml.web.settings.ServeSettings`.
    on_failure : callable
        Called, in a worker, with what `load` raised.

    Attributes
    ----------
    models : mapping of str to Model
        Of the worker that was ready first: to be looked at, not to be used.
    n_running : int
        Jobs that workers do now.
    problem : str
        Why the last bundles could not be switched to; empty where they could.
    observe : callable
        Called, in a worker, with ``waiting`` or ``working`` and how long that took (in seconds).
    """

    def __init__(
        self, load: Callable[[], Models], n_workers: int, n_waiting: int, on_failure: Callable[[Exception], None]
    ) -> None:
        self._load, self._on_failure, self._n_waiting = load, on_failure, n_waiting
        self._jobs: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._first_is_loaded, self._lock = threading.Event(), threading.Lock()
        self._n_loaded = 0
        self.n_running = 0
        self.observe: Callable[[str, float], None] = lambda *_: None
        self._is_stopped = False
        self._threads = [threading.Thread(target=self._run, args=(i,), name=f"worker-{i}") for i in range(n_workers)]
        self._loaded: list[Models] = [{}] * n_workers
        self.models: Models = {}
        self.problem = ""

    @property
    def is_ready(self) -> bool:
        """Whether every worker has its models, and none is told to end."""
        return self._n_loaded == len(self._threads) and not self._is_stopped

    @property
    def n_waiting(self) -> int:
        """Jobs that no worker has begun."""
        return self._jobs.qsize()

    def start(self) -> None:
        """Begin to load."""
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[Models, Callable[[], None]], T]) -> Job[T]:
        """Queue work.

        Raises
        ------
        BusyError
            The queue is full.
        """
        n_idle = len(self._threads) - self.n_running
        if self.n_waiting >= self._n_waiting + n_idle:
            raise BusyError
        job = Job(work)
        self._jobs.put(job)
        return job

    def stop(self) -> None:
        """Take no more; what is queued is done first. Returns when the workers have ended."""
        self._is_stopped = True
        self._first_is_loaded.set()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def switch(self) -> None:
        """Load the models of every worker anew; each takes its own with its next job. Where it fails, old ones stay.

        Raises
        ------
        Exception
            What `load` raised; :attr:`problem` says it too.
        """
        try:
            loaded = [self._load() for _ in self._threads]
        except Exception as error:
            self.problem = str(error)
            raise
        self._loaded, self.models, self.problem = loaded, loaded[0], ""

    def _run(self, number: int) -> None:
        if number:
            self._first_is_loaded.wait()
        if self._is_stopped:
            return
        try:
            models = self._load()
        except Exception as error:  # noqa: BLE001  the service ends with it
            self._on_failure(error)
            return
        with self._lock:
            self._loaded[number] = models
            self.models = self.models or models
            self._n_loaded += 1
            if self.is_ready:
                logger.info("ready: %s; %d requests at once", ", ".join(models), len(self._threads))
        self._first_is_loaded.set()
        while (job := self._jobs.get()) is not None:
            self._do(job, self._loaded[number])

    def _do(self, job: Job[Any], models: Models) -> None:
        begun_s = time.monotonic()
        self.observe("waiting", begun_s - job.submitted_s)
        self._count(1)

        def done() -> None:
            self._count(-1)
            self.observe("working", time.monotonic() - begun_s)

        job.run(models, done)

    def _count(self, by: int) -> None:
        with self._lock:
            self.n_running += by
