"""A Dask cluster as the workers of a batch: recordings are read, and outputs written, where the worker is."""

from __future__ import annotations

import importlib
import os
import pickle
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sonyc_ml.base.human import to_install
from sonyc_ml.batch.events import Outcome, RecordingFailed
from sonyc_ml.batch.job import Job, Task
from sonyc_ml.batch.workers import N_AHEAD, carry_out_packed
from sonyc_ml.errors import ClusterError, ConfigError, SonycMLError

COUNT_S = 5.0  # how often the workers are counted: they come and go
CONNECT_S, WORKERS_S = 5.0, 60.0  # for the scheduler to answer, and for a first worker


class Cluster:
    """The workers of a Dask scheduler. What a worker had begun when it died is given to another one.

    Parameters
    ----------
    address : str
        Of the scheduler, as in ``tcp://host:8786``.
    job : Job
        Its paths are those of the workers: on a file system that all of them share, or the same on each.

    Raises
    ------
    ConfigError
        There is no Dask here.
    ClusterError
        The scheduler does not answer, or has no worker.
    """

    def __init__(self, address: str, job: Job) -> None:
        try:
            distributed: Any = importlib.import_module("distributed")  # an extra
        except ImportError as error:
            raise ConfigError(f"--scheduler needs Dask; {to_install('dask')}") from error
        self._distributed, self._address = distributed, address
        self._packed = pickle.dumps(replace(job, model_path=os.path.abspath(job.model_path)))  # noqa: PTH100
        try:
            self._client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise ClusterError(f"no Dask scheduler answers at {address}: {error}") from error
        self.n_workers = self._await_workers()
        self._ended = distributed.as_completed(loop=self._client.loop, with_results=True, raise_errors=False)
        self._running: dict[Any, Task] = {}
        self._next_count_s = time.monotonic() + COUNT_S
        self._batch_id = secrets.token_hex(8)  # others use the scheduler too

    @property
    def has_room(self) -> bool:
        """See :class:`sonyc_ml.batch.workers.Workers`."""
        return len(self._running) < N_AHEAD * max(1, self.n_workers)

    @property
    def is_idle(self) -> bool:
        """See :class:`sonyc_ml.batch.workers.Workers`."""
        return not self._running

    def submit(self, task: Task) -> None:
        """See :class:`sonyc_ml.batch.workers.Workers`."""
        if not task.source.is_remote:
            task = replace(task, source=replace(task.source, path=os.path.abspath(task.source.path)))  # noqa: PTH100
        key = f"sonyc-ml-{self._batch_id}-{task.number}"
        future = self._client.submit(carry_out_packed, task, self._packed, pure=False, key=key)
        self._running[future.key] = task
        self._ended.add(future)

    def finished(self) -> Sequence[tuple[Task, Outcome]]:
        """See :class:`sonyc_ml.batch.workers.Workers`; also raises ClusterError where the scheduler is lost."""
        first = next(self._ended)
        ended = [first, *self._ended.next_batch(block=False)]
        if time.monotonic() >= self._next_count_s:
            self._next_count_s = time.monotonic() + COUNT_S
            self.n_workers = sum(self._client.nthreads().values()) or self.n_workers
        tasks = [self._running.pop(future.key) for future, _ in ended]
        return [
            (task, self._outcome(future, result, task)) for task, (future, result) in zip(tasks, ended, strict=True)
        ]

    def close(self) -> None:
        """See :class:`sonyc_ml.batch.workers.Workers`."""
        self._client.close()

    def _outcome(self, future: Any, result: Any, task: Task) -> Outcome:
        """What became of a task; where something was raised, `result` holds it in a way of Dask's own."""
        if future.status == "finished":
            outcome: Outcome = result
            return outcome
        error = future.exception() if future.status == "error" else None
        if isinstance(error, SonycMLError):
            raise error
        if isinstance(error, self._distributed.KilledWorker):
            detail = f"{task.source.path}: every worker that embedded this recording was killed"
            return RecordingFailed(task.source.name, task.source.path, "killed the process", detail)
        raise ClusterError(
            f"the cluster at {self._address} could not embed {task.source.path}: {type(error).__name__}: {error}"
            if error
            else f"the cluster at {self._address} was lost"
        ) from error

    def _await_workers(self) -> int:
        try:
            self._client.wait_for_workers(1, timeout=WORKERS_S)
        except Exception as error:
            self._client.close()
            raise ClusterError(f"the scheduler at {self._address} has no worker; start one: dask worker") from error
        return sum(self._client.nthreads().values())
