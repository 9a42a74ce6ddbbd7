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
from pathlib import Path

from sonyc_ml.base.cells import to_cell
from sonyc_ml.base.durable import write_atomically
from sonyc_ml.base.lock import BATCH, STATE_FOLDER, Lock
from sonyc_ml.base.records import dataclass, replace
from sonyc_ml.batch.dask import Cluster
from sonyc_ml.batch.destination import Destination, Files
from sonyc_ml.batch.events import (
    BatchBegun,
    BatchEnded,
    BatchEvent,
    Outcome,
    RecordingEmbedded,
    RecordingFailed,
    RecordingKept,
)
from sonyc_ml.batch.job import Job, Task
from sonyc_ml.batch.ledger import Ledger, Origin
from sonyc_ml.batch.namesakes import name_apart, where
from sonyc_ml.batch.parquet_parts import Parts
from sonyc_ml.batch.partitions import Partition
from sonyc_ml.batch.places.lease import Lease
from sonyc_ml.batch.places.local import LocalFolder
from sonyc_ml.batch.places.place import Place, move_files
from sonyc_ml.batch.places.store import StoreFolder
from sonyc_ml.batch.remote import fetch, fetched_ahead
from sonyc_ml.batch.sources import Source, Sources
from sonyc_ml.batch.workers import Alone, Processes, Report, Workers
from sonyc_ml.errors import ConfigError, RecordingError, UnavailableRecordingError, word_for
from sonyc_ml.model import Model
from sonyc_ml.outputs.reading import output_of_another_format
from sonyc_ml.sound.kinds import in_words

FORMATS = ("npz", "csv", "parquet")
FAILURES_NAME = "failures.csv"
WAITING_FOLDER = "waiting"  # of the outputs that wait for their part
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
    store : str, optional
        Address of a folder in a store, as in ``s3://bucket/folder``, that the outputs go to instead; what is known of
        them lies in `folder` all the same.
    output_format : {"npz", "csv", "parquet"}
    partition : tuple of {"day", "node", "date"}
        Of a Parquet dataset; see :class:`sonyc_ml.batch.partitions.Partition`.
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
    store: str | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, not {self.workers}")
        if self.output_format not in FORMATS:
            raise ValueError(f"output_format must be {', '.join(FORMATS)}, not {self.output_format!r}")


def embed_recordings(batch: Batch, report: Report | None = None) -> Generator[BatchEvent]:
    """Embed what is not embedded yet.

    Parameters
    ----------
    batch : Batch
    report : callable, optional
        Gets a RecordingProgress for each recording that is being embedded, at most once a second, between the events
        that are yielded. The workers of a Dask cluster report none.

    Yields
    ------
    BatchEvent
        BatchBegun; RecordingEmbedded, RecordingKept or RecordingFailed for each recording, as they are done;
        BatchEnded, unless it was stopped before.

    Raises
    ------
    BundleError, ConfigError
        It cannot begin.
    StoreError
        Outputs cannot be written. What is finished stays.
    ClusterError
        The scheduler cannot be reached, or was lost.
    """
    n_recordings = _counted(batch.sources)
    batch.job.start_times()  # refuses what is no pattern or time zone
    model = batch.job.load_model()
    with ExitStack() as house:
        place = _make_place(batch)
        house.callback(Lock(place.state_folder, BATCH).release)
        lease = Lease(place, batch.output_format) if batch.store else None
        if lease is not None:
            house.callback(lease.release)
        ledger = house.enter_context(closing(Ledger(place.state_folder / f"batch-{batch.output_format}.sqlite")))
        house.callback(_write_failures, ledger, place)
        destination = _make_destination(batch, place, model, ledger)
        workers = house.enter_context(closing(_make_workers(batch, model, report)))
        yield BatchBegun(n_recordings, workers.n_workers, model.bundle.name)
        for event in _Run(batch, ledger, destination, workers).events():
            if lease is not None:
                lease.check()
            yield event


def _counted(sources: Sources) -> int:
    n_recordings = sources.count()
    if not n_recordings:
        others = in_words(sources.skipped)
        raise ConfigError(
            f"there are no recordings in {sources}" + (f", only kinds that are not read: {others}" if others else "")
        )
    return n_recordings


class _Run:
    """One going through the recordings of a batch."""

    def __init__(self, batch: Batch, ledger: Ledger, destination: Destination, workers: Workers) -> None:
        self._batch, self._ledger, self._destination, self._workers = batch, ledger, destination, workers
        self._counts: Counter[type] = Counter()
        self._marks: Counter[str] = Counter()
        self._start_times = batch.job.start_times()
        self._sources: Counter[str] = Counter()  # of start times
        self._doubts: Counter[str] = Counter()
        self._sound_s = 0.0
        self._n_apart = self._n_replaced = 0

    def events(self) -> Iterator[BatchEvent]:
        """Go through them."""
        start_s = time.monotonic()
        for event in self._each():
            self._counts[type(event)] += 1
            if isinstance(event, RecordingEmbedded):
                self._sound_s += event.duration_s
                self._marks.update(event.marks)
                self._sources[event.start_time_source] += 1
                self._doubts.update(filter(None, [event.start_time_doubt]))
            yield event
            if isinstance(event, RecordingFailed) and self._batch.strict:
                return
        self._destination.finish()
        n_embedded, n_kept, n_failed = (
            self._counts[kind] for kind in (RecordingEmbedded, RecordingKept, RecordingFailed)
        )
        yield BatchEnded(
            n_embedded,
            n_kept,
            n_failed,
            self._sound_s,
            time.monotonic() - start_s,
            skipped=dict(self._batch.sources.skipped),
            marks=dict(self._marks),
            n_apart=self._n_apart,
            n_replaced=self._n_replaced,
            start_time_sources=dict(self._sources),
            start_time_doubts=dict(self._doubts),
        )

    def _each(self) -> Iterator[BatchEvent]:
        with self._todo() as todo:
            while True:
                while self._workers.has_room and (item := next(todo, None)) is not None:
                    if isinstance(item, Task):
                        self._workers.submit(item)
                    else:
                        yield item
                if self._workers.is_idle:
                    return
                for task, outcome in self._workers.finished():
                    self._note(task.number, outcome)
                    if isinstance(outcome, RecordingEmbedded):
                        self._ledger.put_origin(outcome.recording, _origin(task.source, outcome))
                    yield outcome

    def _note(self, number: int, outcome: Outcome) -> None:
        if isinstance(outcome, RecordingEmbedded):
            self._destination.take(number, outcome)
        else:
            self._destination.skip(number)
            self._ledger.put_failure(outcome)

    @contextmanager
    def _todo(self) -> Iterator[Iterator[Task | RecordingKept | RecordingFailed]]:
        """Every recording in its order: what is to be embedded, fetched where it is remote, and what is not."""
        if self._batch.scheduler or not self._batch.sources.has_remote:
            yield self._looked_up()
            return
        with tempfile.TemporaryDirectory(prefix="sonyc-ml-", ignore_cleanup_errors=True) as folder:
            fetched = fetched_ahead(self._looked_up(), lambda item: _fetched(item, Path(folder)), N_FETCHED_AHEAD)
            with closing(fetched):
                yield fetched

    def _task(self, number: int, source: Source, name: str) -> Task:
        self._n_apart += name != source.name
        self._n_replaced += self._destination.origin(name) is not None
        place, file = self._destination.place, self._destination.file(name)
        return Task(number, source, place, file, name="" if name == source.name else name)

    def _looked_up(self) -> Iterator[Task | RecordingKept | RecordingFailed]:
        for number, source in enumerate(self._batch.sources):
            try:
                self._destination.file(source.name)  # first: of a bad name nothing is looked up
                identity = source.identity()
                name = name_apart(source, identity, self._destination, self._start_times)
                here = None if source.is_remote else source.path
                row = self._destination.find(number, identity._replace(name=name), here)
            except RecordingError as error:
                failed = RecordingFailed(source.name, source.path, word_for(error), f"{source.path}: {error}")
            except OSError as error:
                failed = RecordingFailed(source.name, source.path, "unavailable", f"{source.path}: {error.strerror}")
            else:
                yield self._task(number, source, name) if row is None else RecordingKept(name, row.duration_s)
                continue
            self._note(number, failed)
            yield failed


def _fetched(item: Task | RecordingKept | RecordingFailed, folder: Path) -> Task | RecordingKept | RecordingFailed:
    if isinstance(item, Task) and item.source.remote_state is not None:
        with suppress(UnavailableRecordingError):  # whoever embeds it tries once more, and says so
            return replace(item, local=fetch(item.source.path, folder, item.source.remote_state[1]))
    return item


def _origin(source: Source, embedded: RecordingEmbedded) -> Origin:
    state = embedded.n_bytes, embedded.mtime_ns
    return Origin(*state, embedded.start_time, embedded.recording_sha256, where(source))


def _make_place(batch: Batch) -> Place:
    if not batch.store:
        return LocalFolder(batch.folder)
    return StoreFolder(batch.store, batch.folder.absolute() / STATE_FOLDER)


def _make_destination(batch: Batch, place: Place, model: Model, ledger: Ledger) -> Destination:
    fingerprint = model.fingerprint(start_times=batch.job.start_times())
    other = None if batch.store else output_of_another_format(batch.folder.absolute(), batch.output_format)
    if other is not None:
        raise ConfigError(
            f"{place} holds outputs of another format already, as {other}: with {batch.output_format} beside them "
            "every window would be there twice; give another --output, or remove them first"
        )
    if batch.output_format == "parquet":
        return Parts(place, _waiting(batch, place), Partition(batch.partition), fingerprint, ledger)
    return Files(place, batch.output_format, fingerprint, ledger)


def _waiting(batch: Batch, place: Place) -> Place:
    """Where outputs wait for their part: on this machine, or where workers on other machines can write to."""
    here: Place = LocalFolder(place.state_folder / WAITING_FOLDER)
    if not batch.store:
        return here
    there = place.below(f"{STATE_FOLDER}/{WAITING_FOLDER}")
    here, there = (there, here) if batch.scheduler else (here, there)
    move_files(there, here)  # of a batch that was interrupted and had its workers elsewhere
    return here


def _make_workers(batch: Batch, model: Model, report: Report | None) -> Workers:
    if batch.scheduler:
        return Cluster(batch.scheduler, batch.job.for_workers(model))
    if batch.workers > 1:
        return Processes(batch.job.for_workers(model), batch.workers, report)
    return Alone(batch.job, model, report)


def _write_failures(ledger: Ledger, place: Place) -> None:
    """List what was not embedded; no list where there is nothing."""
    failures = list(ledger.failures())
    if not failures:
        place.remove(FAILURES_NAME)
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["recording", "source", "reason", "detail"])
    for failed in failures:
        writer.writerow(map(to_cell, (failed.recording, failed.source, failed.reason, failed.detail)))
    content = text.getvalue().encode(errors="surrogateescape")
    place.write(FAILURES_NAME, lambda path: write_atomically(path, content))
