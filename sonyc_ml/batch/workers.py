"""Who embeds the recordings of a batch: one process, or several, each with a network of its own on one thread."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeAlias

from sonyc_ml.base import process
from sonyc_ml.batch.events import Outcome, RecordingFailed, RecordingProgress
from sonyc_ml.batch.job import Job, Task, carry_out
from sonyc_ml.batch.within import PROGRESS_S, Tell, Within, tell_through
from sonyc_ml.model import Model

N_AHEAD = 2  # tasks per worker: one that is embedded, one that waits for it
PATIENCE_S = 1.0  # how long recordings that are begun may take to end when the batch is stopped
PR_SET_PDEATHSIG = 1  # of Linux's <sys/prctl.h>

Report: TypeAlias = Callable[[RecordingProgress], None]


class Workers(Protocol):
    """What a batch asks of those who embed."""

    n_workers: int

    @property
    def has_room(self) -> bool:
        """Whether it takes another task now."""

    @property
    def is_idle(self) -> bool:
        """Whether it has no task."""

    def submit(self, task: Task) -> None:
        """Give it a task."""

    def finished(self) -> Sequence[tuple[Task, Outcome]]:
        """Wait for tasks that are carried out, at least one.

        Raises
        ------
        StoreError
            Outputs cannot be written.
        """

    def close(self) -> None:
        """Stop: what is begun may end if it does so soon."""


class Alone:
    """One process, the one that asks, does it itself.

    Parameters
    ----------
    job : Job
    model : Model
        Of the job.
    report : callable, optional
        Gets a RecordingProgress now and then while a long recording is embedded.
    """

    n_workers = 1

    def __init__(self, job: Job, model: Model, report: Report | None = None) -> None:
        self._job, self._model, self._report = job, model, report
        self._tasks: list[Task] = []

    @property
    def has_room(self) -> bool:
        """See :class:`Workers`."""
        return not self._tasks

    @property
    def is_idle(self) -> bool:
        """See :class:`Workers`."""
        return not self._tasks

    def submit(self, task: Task) -> None:
        """See :class:`Workers`."""
        self._tasks.append(task)

    def finished(self) -> Sequence[tuple[Task, Outcome]]:
        """See :class:`Workers`."""
        task, report = self._tasks.pop(), self._report

        def tell(_number: int, done_s: float, duration_s: float) -> None:
            if report is not None:
                report(progress_of(task, done_s, duration_s))

        return [(task, carry_out(task, self._job, self._model, tell if report else None))]

    def close(self) -> None:
        """See :class:`Workers`."""


class Processes:
    """Several processes. One that dies of a recording costs that recording; the others that were begun are done again.

    Parameters
    ----------
    job : Job
        Its bundle is good: this process has loaded it.
    n_workers : int > 1
    report : callable, optional
        Gets a RecordingProgress now and then while a long recording is embedded.
    """

    def __init__(self, job: Job, n_workers: int, report: Report | None = None) -> None:
        self.n_workers = n_workers
        self._packed = pickle.dumps(job)
        self._within, self._report = Within() if report else None, report
        self._pool = self._make_pool(n_workers)
        self._running: dict[Future[Outcome], Task] = {}

    @property
    def has_room(self) -> bool:
        """See :class:`Workers`."""
        return len(self._running) < N_AHEAD * self.n_workers

    @property
    def is_idle(self) -> bool:
        """See :class:`Workers`."""
        return not self._running

    def submit(self, task: Task) -> None:
        """See :class:`Workers`."""
        read_ahead(task)
        try:
            with _not_interrupted():
                self._running[self._pool.submit(carry_out_packed, task, self._packed)] = task
        except BrokenProcessPool:
            # `finished` finds that out of those that run, and begins anew.
            self._running[_broken()] = task

    def finished(self) -> Sequence[tuple[Task, Outcome]]:
        """See :class:`Workers`."""
        done = self._wait()
        if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
            return self._begin_anew()
        return [(self._running.pop(future), future.result()) for future in done]

    def close(self) -> None:
        """See :class:`Workers`."""
        workers = _workers_of(self._pool)
        manager: Any = self._pool._executor_manager_thread  # noqa: SLF001  gone once it shuts down
        self._pool.shutdown(wait=False, cancel_futures=True)  # what it cancels itself, it does not stumble over later
        if wait(self._running, timeout=PATIENCE_S).not_done:
            for worker in workers:
                worker.kill()
        if manager is not None:  # it ends when they have
            manager.join()
        if self._within is not None:
            self._within.close()

    def _wait(self) -> set[Future[Outcome]]:
        """Wait until at least one task is through, and report what is told of the others meanwhile."""
        while not (done := wait(self._running, PROGRESS_S if self._report else None, FIRST_COMPLETED).done):
            if self._within is not None and self._report is not None:
                tasks = {task.number: task for task in self._running.values()}
                for number, position in self._within.latest(tasks).items():
                    self._report(progress_of(tasks[number], *position))
        return done

    def _make_pool(self, n_workers: int) -> ProcessPoolExecutor:
        # Not forked: threads of numpy and of the runtime would be lost on the way.
        context = multiprocessing.get_context("spawn")
        known = os.getpid(), self._within.writer if self._within else None
        return ProcessPoolExecutor(n_workers, mp_context=context, initializer=_begin, initargs=known)

    def _begin_anew(self) -> list[tuple[Task, Outcome]]:
        """A process has died, and the others with it: do what was begun one by one, to find out of what."""
        wait(self._running)
        running, self._running = self._running, {}
        _end(self._pool)
        ended = []
        for future, task in running.items():
            is_done = not future.cancelled() and future.exception() is None
            ended.append((task, future.result() if is_done else self._try_alone(task)))
        self._pool = self._make_pool(self.n_workers)
        return ended

    def _try_alone(self, task: Task) -> Outcome:
        pool = self._make_pool(1)
        try:
            return pool.submit(carry_out_packed, task, self._packed).result()
        except BrokenProcessPool:
            detail = f"{task.source.path}: the process was killed while it embedded this recording"
            return RecordingFailed(task.source.name, task.source.path, "killed the process", detail)
        finally:
            _end(pool)


def progress_of(task: Task, done_s: float, duration_s: float) -> RecordingProgress:
    """How far the recording of a task is."""
    return RecordingProgress(task.name or task.source.name, round(done_s, 3), round(duration_s, 3))


def read_ahead(task: Task) -> None:
    """Let the kernel read a recording from the disk before its turn comes."""
    if not task.source.is_remote:
        with suppress(OSError):  # whoever reads it says so
            descriptor = os.open(task.source.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(descriptor)


def _broken() -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.set_exception(BrokenProcessPool("it was broken before"))
    return future


def _end(pool: ProcessPoolExecutor) -> None:
    """End a pool's processes, those that hang too: what they write is written whole or not at all."""
    for worker in _workers_of(pool):
        worker.kill()
    pool.shutdown(cancel_futures=True)


def _workers_of(pool: ProcessPoolExecutor) -> list[Any]:
    return list((pool._processes or {}).values())  # noqa: SLF001  there is no public way


@contextmanager
def _not_interrupted() -> Iterator[None]:
    """Let processes that begin here not hear Ctrl-C before they have left the group that it is sent to."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# In the processes


_told: Tell | None = None  # hears how far this process is


def _begin(parent: int, writer: Connection | None) -> None:
    """End when the batch does, and leave what is said to its group, such as Ctrl-C, to it."""
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)
    process.keep_freed_memory()
    if writer is not None:
        global _told  # noqa: PLW0603  what a process of a pool is given, it can keep nowhere else
        _told = tell_through(writer)


def carry_out_packed(task: Task, packed: bytes) -> Outcome:
    """Embed one recording in a process that knows nothing yet: the job comes pickled, and its models are kept."""
    job, spare = _job_and_models(packed)
    try:
        model = spare.get_nowait()
    except queue.Empty:
        model = job.load_model(golden="never")  # who gave the task has proved it
    try:
        return carry_out(task, job, model, _told)
    finally:
        spare.put(model)


@cache
def _job_and_models(packed: bytes) -> tuple[Job, queue.SimpleQueue[Model]]:
    """A job and the models that no thread uses just now."""
    job: Job = pickle.loads(packed)  # noqa: S301  it comes from the process that began this one
    return job, queue.SimpleQueue()
