"""Many recordings, offline, to their outputs: a stream of events that somebody else shows.

What is done stays done: a batch that was interrupted goes on where it ended, and one that is run again embeds only
what is new, what has changed, and what would now be embedded in another way.
"""

from __future__ import annotations

import csv
import io
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sonyc_ml.base.durable import write_atomically
from sonyc_ml.base.lock import BATCH, STATE_FOLDER, Lock
from sonyc_ml.batch.dask import Cluster
from sonyc_ml.batch.destination import Collection, Files
from sonyc_ml.batch.events import Begun, Embedded, Ended, Event, Failed, Kept, Outcome
from sonyc_ml.batch.job import Job, Order
from sonyc_ml.batch.ledger import Ledger
from sonyc_ml.batch.parquet_parts import Parts
from sonyc_ml.batch.partitions import Place
from sonyc_ml.batch.remote import fetch, fetched_ahead
from sonyc_ml.batch.sources import Sources
from sonyc_ml.batch.workers import Alone, Crew, Processes
from sonyc_ml.errors import ConfigError, UnavailableRecordingError
from sonyc_ml.model import Model

FORMATS = ("npz", "csv", "parquet")
FAILURES_NAME = "failures.csv"
N_FETCHED_AHEAD = 8


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be embedded, how, and where to.

    Attributes
    ----------
    sources : Sources
    job : Job
    folder : Path
        Of the outputs. What is known of them lies in ``.sonyc-ml`` in it.
    output_format : {"npz", "csv", "parquet"}
    partition : tuple of {"day", "node"}
        Of a Parquet dataset; see :class:`sonyc_ml.batch.partitions.Place`.
    workers : int > 0
        Processes that embed at the same time; the outputs do not depend on how many.
    scheduler : str, optional
        Address of a Dask scheduler, as in ``tcp://host:8786``, whose workers embed instead.
    strict : bool
        Whether to end at the first recording that fails.
    """

    sources: Sources
    job: Job
    folder: Path
    output_format: str = "npz"
    partition: tuple[str, ...] = ("day",)
    workers: int = 1
    scheduler: str | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, not {self.workers}")
        if self.output_format not in FORMATS:
            raise ValueError(f"output_format must be {', '.join(FORMATS)}, not {self.output_format!r}")


def embed_recordings(batch: Batch) -> Generator[Event]:
    """Embed what is not embedded yet.

    Yields
    ------
    Event
        Begun; Embedded, Kept or Failed for each recording, as they are done; Ended, unless it was stopped before.

    Raises
    ------
    BundleError, ConfigError
        It cannot begin.
    StoreError
        Outputs cannot be written. What is finished stays.
    ClusterError
        The scheduler cannot be reached, or was lost.
    """
    n_recordings = batch.sources.count()
    if not n_recordings:
        raise ConfigError(f"there are no recordings in {batch.sources}")
    batch.job.start_times()  # refuses what is no pattern or time zone
    model = batch.job.load_model()
    with ExitStack() as house:
        state_folder = batch.folder / STATE_FOLDER
        house.callback(Lock(state_folder, BATCH).release)
        ledger = house.enter_context(closing(Ledger(state_folder / f"batch-{batch.output_format}.sqlite")))
        house.callback(_write_failures, ledger, batch.folder / FAILURES_NAME)
        collection = _make_collection(batch, model, ledger)
        crew = house.enter_context(closing(_make_crew(batch, model)))
        yield Begun(n_recordings, crew.n_workers, model.bundle.name)
        yield from _Run(batch, ledger, collection, crew).events()


class _Run:
    """One going through the recordings of a batch."""

    def __init__(self, batch: Batch, ledger: Ledger, collection: Collection, crew: Crew) -> None:
        self._batch, self._ledger, self._collection, self._crew = batch, ledger, collection, crew
        self._counts: Counter[type] = Counter()
        self._sound_s = 0.0

    def events(self) -> Iterator[Event]:
        """Go through them."""
        start_s = time.monotonic()
        for event in self._each():
            self._counts[type(event)] += 1
            if isinstance(event, Embedded):
                self._sound_s += event.duration_s
            yield event
            if isinstance(event, Failed) and self._batch.strict:
                return
        self._collection.finish()
        n_embedded, n_kept, n_failed = (self._counts[kind] for kind in (Embedded, Kept, Failed))
        yield Ended(n_embedded, n_kept, n_failed, self._sound_s, time.monotonic() - start_s)

    def _each(self) -> Iterator[Event]:
        with self._todo() as todo:
            while True:
                while self._crew.has_room and (item := next(todo, None)) is not None:
                    if isinstance(item, Order):
                        self._crew.submit(item)
                    else:
                        yield item
                if self._crew.is_idle:
                    return
                for order, outcome in self._crew.finished():
                    self._note(order.number, outcome)
                    yield outcome

    def _note(self, number: int, outcome: Outcome) -> None:
        if isinstance(outcome, Embedded):
            self._collection.take(number, outcome)
        else:
            self._collection.skip(number)
            self._ledger.put_failure(outcome)

    @contextmanager
    def _todo(self) -> Iterator[Iterator[Order | Kept | Failed]]:
        """Every recording in its order: what is to be embedded, fetched where it is remote, and what is not."""
        if self._batch.scheduler or not self._batch.sources.has_remote:
            yield self._looked_up()
            return
        with tempfile.TemporaryDirectory(prefix="sonyc-ml-", ignore_cleanup_errors=True) as folder:
            fetched = fetched_ahead(self._looked_up(), lambda item: _fetched(item, Path(folder)), N_FETCHED_AHEAD)
            with closing(fetched):
                yield fetched

    def _looked_up(self) -> Iterator[Order | Kept | Failed]:
        for number, task in enumerate(self._batch.sources):
            try:
                row = self._collection.find(number, task.identity())
            except OSError as error:
                failed = Failed(task.name, task.source, "unavailable", f"{task.source}: {error.strerror}")
                self._note(number, failed)
                yield failed
                continue
            if row is None:
                yield Order(number, task, self._collection.path(task.name))
            else:
                yield Kept(task.name, row.duration_s)


def _fetched(item: Order | Kept | Failed, folder: Path) -> Order | Kept | Failed:
    if isinstance(item, Order) and item.task.remote_state is not None:
        with suppress(UnavailableRecordingError):  # whoever embeds it tries once more, and says so
            return replace(item, local=fetch(item.task.source, folder, item.task.remote_state[1]))
    return item


def _make_collection(batch: Batch, model: Model, ledger: Ledger) -> Collection:
    fingerprint = model.fingerprint(start_times=batch.job.start_times())
    folder = batch.folder.absolute()  # whoever embeds may stand elsewhere
    if batch.output_format == "parquet":
        return Parts(folder, Place(batch.partition), fingerprint, ledger)
    return Files(folder, batch.output_format, fingerprint, ledger)


def _make_crew(batch: Batch, model: Model) -> Crew:
    if batch.scheduler:
        return Cluster(batch.scheduler, batch.job)
    return Processes(batch.job, batch.workers) if batch.workers > 1 else Alone(batch.job, model)


def _write_failures(ledger: Ledger, path: Path) -> None:
    """List what was not embedded; no list where there is nothing."""
    failures = list(ledger.failures())
    if not failures:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["recording", "source", "reason", "detail"])
    writer.writerows((failed.recording, failed.source, failed.reason, failed.detail) for failed in failures)
    write_atomically(path, text.getvalue().encode(errors="surrogateescape"))
