"""A Parquet dataset in parts, filled in the order of the recordings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from sonyc_ml.base.identity import Identity, has_sha256
from sonyc_ml.base.names import checked_name
from sonyc_ml.base.records import dataclass, field
from sonyc_ml.batch.destination import new_row, output_name, row_of, touched
from sonyc_ml.batch.events import RecordingEmbedded
from sonyc_ml.batch.ledger import PART_NAME, Ledger, Origin, Row, is_part_name
from sonyc_ml.batch.partitions import Partition
from sonyc_ml.batch.places.place import Place, State
from sonyc_ml.errors import ConfigError, OutputNameError, StoreError
from sonyc_ml.outputs import parquet, parquet_detections
from sonyc_ml.outputs.levels import FOLDER_SUFFIX as LEVELS_SUFFIX
from sonyc_ml.outputs.levels import write_level_table
from sonyc_ml.outputs.output import Provenance

TABLES = {  # beside the dataset, by the suffix of their folders' names
    parquet_detections.FOLDER_SUFFIX: ("detections", parquet_detections.write_table),
    LEVELS_SUFFIX: ("levels", write_level_table),
}
PART_BYTES = 64 << 20  # of the outputs in a part, in memory: an hour of sound at a hop of 0.1 s
PART_RECORDINGS = 2048  # in all parts that are being filled: each takes some 400 bytes of memory


@dataclass(slots=True)
class _OpenPart:
    """A part that is being filled."""

    rows: list[Row] = field(default_factory=list)
    n_bytes: int = 0


class Parts:
    """A Parquet dataset in parts. Outputs wait in files of their own until a part is full or the batch is through.

    Where outputs have detections, each part has a table of them beside the dataset, made of the part and of its name.

    Parts are filled in the order of the recordings, whichever is embedded first, so that the same recordings make the
    same parts however often the batch was interrupted. A part that holds an output which is made anew is replaced;
    what else it holds waits for another one.

    Parameters
    ----------
    dataset : Place
    waiting : Place
        Where outputs wait until a part is full.
    partition : Partition
        Which partition a recording belongs to.
    fingerprint, ledger
        See :class:`Files`.
    part_bytes : int
        Of the outputs in a part, as they wait for it.

    Raises
    ------
    ConfigError
        There is no pyarrow, or the dataset is partitioned by something else.
    StoreError, OSError
        The folder cannot be read.
    """

    def __init__(
        self,
        dataset: Place,
        waiting: Place,
        partition: Partition,
        fingerprint: str,
        ledger: Ledger,
        part_bytes: int = PART_BYTES,
    ) -> None:
        parquet.check_installed()
        self._part_bytes = part_bytes
        self._dataset, self.place = dataset, waiting
        self._partition, self._fingerprint, self._ledger = partition, fingerprint, ledger
        self._hashes: tuple[str, dict[str, str]] = "", {}  # of the recordings of a part
        self._next = 0
        self._early: dict[int, Row | None] = {}  # those before them are not done yet
        self._open: defaultdict[str, _OpenPart] = defaultdict(_OpenPart)  # by their partition
        dataset.clear_up()
        self.place.clear_up()
        self._reconcile()
        self._check_partition()

    def find(self, number: int, identity: Identity, recording: str | None = None) -> Row | None:
        """See :class:`Destination`."""
        row = self._ledger.get(identity.name)
        if row is None or (row.is_waiting and row.output_state != self._waiting_state(row.name)):
            row = self._found_waiting(identity.name)
        if row is None or row.made_of != (identity.n_bytes, row.mtime_ns, self._fingerprint):
            return None
        if row.mtime_ns != identity.mtime_ns:
            if recording is None or not has_sha256(recording, identity[1:], self._sha256(row)):
                return None
            row = touched(row, identity, self._ledger)
        self._put_in_order(number, row if row.is_waiting else None)
        return row

    def origin(self, name: str) -> Origin | None:
        """See :class:`Destination`."""
        row = self._ledger.get(name)
        if row is None or (row.is_waiting and row.output_state != self._waiting_state(name)):
            return None
        return self._ledger.origin(row)

    def _sha256(self, row: Row) -> str:
        """Of the recording of an output; empty where the output is damaged."""
        with suppress(parquet.DamagedPartError, OSError):
            if row.is_waiting:
                return self._waiting_provenance(row.name).recording_sha256
            if self._hashes[0] != row.path:  # the recordings of a part follow one another
                recordings = self._provenances(row.path)
                self._hashes = row.path, {found.recording: found.recording_sha256 for found in recordings}
            return self._hashes[1].get(row.name, "")
        return ""

    def file(self, name: str) -> str:
        """See :class:`Destination`."""
        return output_name(name, "arrow")

    def take(self, number: int, embedded: RecordingEmbedded) -> None:
        """See :class:`Destination`."""
        self.place.note(self.file(embedded.recording), embedded.output_state)
        partition = self._partition(embedded.recording, embedded.start_time)
        old = self._ledger.get(embedded.recording)
        replaces = (old.path or old.replaces) if old is not None else ""
        row = new_row(embedded, self._fingerprint, partition)._replace(replaces=replaces)
        self._ledger.put(row)
        self._put_in_order(number, row)

    def skip(self, number: int) -> None:
        """See :class:`Destination`."""
        self._put_in_order(number, None)

    def finish(self) -> None:
        """See :class:`Destination`."""
        for partition in sorted(self._open):
            self._publish(partition, self._open[partition].rows)
        self._open.clear()
        left: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in self._ledger.waiting():  # out of parts that were replaced, or left by a batch of other inputs
            if row.output_state == self._waiting_state(row.name):
                left[row.partition, row.fingerprint].append(row)
            else:
                self._ledger.forget(row.name)
        for (partition, _), rows in sorted(left.items()):
            self._publish(partition, rows)
        self.place.remove_all()
        self._dataset.clear_up()

    def _put_in_order(self, number: int, row: Row | None) -> None:
        """Bring what became of the recordings into their order, and fill parts."""
        self._early[number] = row
        while self._next in self._early:
            row = self._early.pop(self._next)
            self._next += 1
            if row is None:
                continue
            part = self._open[row.partition]
            part.rows.append(row)
            part.n_bytes += row.output_bytes
            if part.n_bytes >= self._part_bytes:
                self._publish(row.partition, self._open.pop(row.partition).rows)
            elif sum(len(part.rows) for part in self._open.values()) >= PART_RECORDINGS:
                fullest = max(sorted(self._open), key=lambda partition: len(self._open[partition].rows))
                self._publish(fullest, self._open.pop(fullest).rows)

    def _publish(self, partition: str, rows: Sequence[Row]) -> None:
        """Make a part of outputs that wait, and remove those that it replaces."""
        path = self._new_path(partition)
        if not self._dataset.holds(path):
            raise StoreError(
                f"{self._dataset.path(partition)} leads out of the dataset by a symbolic link; remove the link"
            )
        with self.place.files([self.file(row.name) for row in rows]) as waiting:
            self._write_tables(path, waiting)  # first: if it ends here, the next part has this name, and so its table
            state = self._dataset.write(path, lambda file: parquet.write_part(file, waiting))
        published = [row._replace(path=path, replaces="") for row in rows]
        replaced = {row.replaces for row in rows} & self._ledger.parts().keys()
        # What else they hold, which was not made anew.
        unpacked = [row for other in sorted(replaced) for row in self._unpack(other, self._names_in(other))]
        self._ledger.put_part(path, state, [*published, *unpacked], replaced)
        for row in rows:
            self.place.remove(self.file(row.name))
        self._remove(replaced)

    def _unpack(self, path: str, names: set[str]) -> list[Row]:
        """Let outputs of a part wait for another one."""
        rows: list[Row] = []
        if not names:
            return rows
        # One that is damaged is embedded anew, the next time.
        with suppress(parquet.DamagedPartError), self._dataset.files([path]) as (part,):
            for output in parquet.read_part(part):
                if output.provenance.recording in names:
                    write = partial(parquet.write_waiting, output)
                    state = self.place.write(self.file(output.provenance.recording), write)
                    rows.append(self._waiting_row(output.provenance, state))
        return rows

    def _remove(self, paths: Iterable[str]) -> None:
        """Remove parts that were replaced, and then the memory of them: a crash between leaves no part to take up."""
        for path in paths:
            if is_part_name(path):
                for place in (self._dataset, *map(self._dataset.beside, TABLES)):
                    if place.holds(path):
                        place.remove(path)
            self._ledger.forget_part(path)

    def _write_tables(self, path: str, waiting: Sequence[Path]) -> None:
        """Write the tables of a part's detections and levels, where its outputs were asked for any."""
        for suffix, (kind, write_table) in TABLES.items():
            columns = ("start_s", kind)
            if getattr(parquet.read_waiting(waiting[0], columns), kind) is None:
                continue
            place = self._dataset.beside(suffix)
            if not place.holds(path):
                raise StoreError(f"{place.path(path)} leads elsewhere by a symbolic link; remove the link")
            place.write(path, partial(_write_table, write_table, waiting, columns))

    def _new_path(self, partition: str) -> str:
        above = f"{partition}/" if partition else ""
        names = [PART_NAME.fullmatch(path) for path in self._ledger.parts()]
        numbers = [int(found["number"]) for found in names if found and found["above"] == above]
        return f"{above}part-{max(numbers, default=-1) + 1:05}.parquet"

    def _waiting_state(self, name: str) -> tuple[int, int] | None:
        with suppress(OutputNameError):
            return self.place.state(self.file(name))
        return None

    def _found_waiting(self, name: str) -> Row | None:
        """An output that a batch which was killed left waiting."""
        state = self._waiting_state(name)
        if state is None:
            return None
        with suppress(parquet.DamagedPartError, OSError):
            row = self._waiting_row(self._waiting_provenance(name), state)
            if row.name == name:
                self._ledger.put(row)
                return row
        return None

    def _waiting_provenance(self, name: str) -> Provenance:
        with self.place.files([self.file(name)]) as (path,):
            return parquet.read_waiting(path, ("start_s",)).provenance

    def _waiting_row(self, provenance: Provenance, state: tuple[int, int]) -> Row:
        return row_of(provenance, "", self._partition(provenance.recording, provenance.start_time), state)

    # What is on the disk and what the ledger knows, after a crash

    def _check_partition(self) -> None:
        """See that new parts lie among the old ones as they do: readers take one kind of partition."""
        for path in self._ledger.parts():
            keys = tuple(part.partition("=")[0] for part in path.split("/")[:-1])
            if keys != self._partition.keys:
                found, wanted = (",".join(names) or "none" for names in (keys, self._partition.keys))
                raise ConfigError(
                    f"{self._dataset} is partitioned by {found}, not by {wanted}: {path}; leave out --partition or "
                    f"give --partition {found}, or give another --output"
                )

    def _reconcile(self) -> None:
        """Make the ledger agree with the parts that are there."""
        self._remove(self._ledger.parts(replaced=True))
        known, there = self._ledger.parts(), dict(self._parts_there())
        for path in known:
            if known[path] != there.get(path):
                self._ledger.forget_part(path)
        unknown = [path for path in there if known.get(path) != there[path]]
        for path in sorted(unknown, key=lambda path: (there[path][1], path)):  # the newest has the last word
            self._take_up(path, there[path])

    def _take_up(self, path: str, state: tuple[int, int]) -> None:
        """Know a part that the ledger does not; one that is damaged goes, and its recordings are embedded again."""
        try:
            recordings = self._provenances(path)
            for provenance in recordings:
                checked_name(provenance.recording)  # its output would wait in a file of this name
        except (parquet.DamagedPartError, OutputNameError):
            self._remove([path])
            return
        partition = path.rpartition("part-")[0].rstrip("/")
        rows = [row_of(provenance, path, partition, (0, 0)) for provenance in recordings]
        names = {row.name for row in rows}
        before = [row for row in map(self._ledger.get, names) if row is not None]
        known = self._ledger.parts()
        others = {row.path or row.replaces for row in before} & known.keys()
        if any(known[other][1] > state[1] for other in others):  # it is the older one
            left = self._unpack(path, names - {row.name for row in before})
            self._ledger.put_part(path, state, left)
            self._remove([path])
            return
        unpacked = [row for other in sorted(others) for row in self._unpack(other, self._names_in(other) - names)]
        self._ledger.put_part(path, state, [*rows, *unpacked], others)
        self._remove(others)

    def _names_in(self, path: str) -> set[str]:
        return {row.name for row in self._ledger.in_part(path)}

    def _provenances(self, path: str) -> list[Provenance]:
        """Of the outputs in a part, in their order."""
        with self._dataset.files([path]) as (part,):
            return [provenance for provenance, _ in parquet.read_description(part).recordings]

    def _parts_there(self) -> Iterator[tuple[str, State]]:
        return ((name, state) for name, state in self._dataset.walk() if is_part_name(name))


def _write_table(write: Any, waiting: Sequence[Path], columns: Sequence[str], path: Path) -> None:
    write(path, (parquet.read_waiting(one, columns) for one in waiting))
