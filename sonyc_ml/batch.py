"""Many recordings, offline: a stream of events that somebody else shows."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from sonyc_ml.audio import EXTENSIONS
from sonyc_ml.errors import BundleError, ConfigError, RecordingError, StoreError, UnavailableRecordingError
from sonyc_ml.model import Model
from sonyc_ml.store import output_path, write_output


@dataclass(frozen=True, slots=True)
class Task:
    """A recording to embed, and what its output is called by."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """A recording was embedded."""

    recording: str
    output: Path
    n_windows: int
    duration_s: float
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A recording was not embedded, and why."""

    recording: str
    reason: str


Event: TypeAlias = Embedded | Failed


def find_recordings(inputs: Iterable[Path]) -> list[Task]:
    """List the recordings among files and in folders, in the order of their names.

    Raises
    ------
    ConfigError
        An input is not there, or two recordings would have the same output.
    """
    tasks: dict[str, Task] = {}
    for root in inputs:
        if root.is_dir():
            found = [Task(path, path.relative_to(root).as_posix()) for path in _walk(root)]
        elif root.exists():
            found = [Task(root, root.name)]
        else:
            raise ConfigError(f"{root} does not exist")
        for task in found:
            other = tasks.setdefault(task.name, task)
            if other.path != task.path:
                raise ConfigError(f"{other.path} and {task.path} would have the same output; embed them one by one")
    return list(tasks.values())


def embed_recordings(
    tasks: Iterable[Task],
    make_model: Callable[[], Model],
    output_dir: Path,
    *,
    output_format: str = "npz",
    workers: int = 1,
) -> Iterator[Event]:
    """Embed recordings on several threads, each with a model of its own; results do not depend on how many.

    Parameters
    ----------
    tasks : iterable of Task
    make_model : callable
        Loads a model; called once for each worker.
    output_dir : Path
    output_format : {"npz", "csv"}
    workers : int > 0

    Yields
    ------
    Embedded or Failed
        One for each task, as they are done.

    Raises
    ------
    BundleError
        The model cannot be loaded.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    models: queue.SimpleQueue[Model] = queue.SimpleQueue()
    for _ in range(workers):
        models.put(make_model())

    def embed(task: Task) -> Event:
        model = models.get()
        try:
            return _embed(task, model, output_path(task.name, output_dir, output_format))
        finally:
            models.put(model)

    waiting = iter(tasks)
    with ThreadPoolExecutor(workers, thread_name_prefix="embed") as pool:
        running: set[Future[Event]] = {pool.submit(embed, task) for task in islice(waiting, 2 * workers)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(embed, task) for task in islice(waiting, len(done))}
                yield from (future.result() for future in done)
        finally:
            pool.shutdown(cancel_futures=True)


def _embed(task: Task, model: Model, path: Path) -> Event:
    start_s = time.perf_counter()
    try:
        output = model.embed_file(task.path, name=task.name)
        write_output(output, path)
    except (RecordingError, UnavailableRecordingError, BundleError, StoreError) as error:
        return Failed(task.name, str(error))
    duration_s = output.provenance.n_samples / output.provenance.sample_rate
    return Embedded(task.name, path, len(output.timestamps), duration_s, time.perf_counter() - start_s)


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                yield Path(folder, name)
