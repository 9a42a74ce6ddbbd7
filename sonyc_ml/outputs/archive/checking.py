"""What is wrong with an archive: holes, doubles, other bundles, parts that cannot be read or lie in a wrong place."""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sonyc_ml.base.human import count, iso, seconds_of, span
from sonyc_ml.base.records import dataclass, field
from sonyc_ml.outputs.archive.choice import Choice, node_of
from sonyc_ml.outputs.archive.layout import TABLES, UNKNOWN, date_in, place_of
from sonyc_ml.outputs.archive.metadata import NewerPartError
from sonyc_ml.outputs.archive.partitions import Key, Partition, key_of, partitions
from sonyc_ml.outputs.archive.parts import PartFile, all_of, part_file, tables_of
from sonyc_ml.outputs.archive.store import Store
from sonyc_ml.outputs.parquet import DamagedPartError

GAP_S = 600.0
KINDS = ("gap", "double", "conflict", "bundle", "damaged", "newer", "misplaced", "table")
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or may be.

    Attributes
    ----------
    kind : str
        ``gap``: a node recorded nothing for longer than was asked for; ``double``: outputs that are there twice;
        ``conflict``: two recordings of one name and start that differ; ``bundle``: made by another bundle, or another
        way of embedding, than most of the archive; ``damaged``: a part that cannot be read; ``newer``: of a schema that
        this version does not know; ``misplaced``: of another node or day than its folder says; ``table``: a table of
        detections or levels that is missing, or is of no part.
    where : str
        The node's folder, the partition or the file.
    text : str
        A sentence.
    since, until : str
        Of a gap, in ISO 8601; empty otherwise.
    """

    kind: str
    where: str
    text: str
    since: str = ""
    until: str = ""

    def as_json(self) -> dict[str, Any]:
        """For programs; without what is empty."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(slots=True)
class Totals:
    """What was looked at.

    Attributes
    ----------
    n_nodes, n_parts, n_bytes, n_recordings, n_windows : int
    heard_s : float
        How long what was recorded is, each second once a node.
    ways : Counter of (str, str) to int
        Windows by the bundle's name and the fingerprint of the way of embedding.
    """

    n_nodes: int = 0
    n_parts: int = 0
    n_bytes: int = 0
    n_recordings: int = 0
    n_windows: int = 0
    heard_s: float = 0.0
    ways: Counter[tuple[str, str]] = field(default_factory=Counter)


class Check:
    """Looks at an archive once, node by node and day by day; memory holds one partition, and a line of each bundle.

    Parameters
    ----------
    store : Store
    choice : Choice
        Which nodes and days.
    gap_s : float
        A node that recorded nothing for longer has a gap (in seconds).
    reads_rows : bool
        Whether all rows are read, whose checksums are compared; else footers alone.
    """

    def __init__(self, store: Store, choice: Choice, gap_s: float = GAP_S, *, reads_rows: bool = False) -> None:
        self._store, self._choice, self._gap_s, self._reads_rows = store, choice, gap_s, reads_rows
        self.totals = Totals()
        # Tables of a node of which no part was seen yet; a batch has its tables beside the dataset.
        self._left_over: dict[str, set[str]] = {kind: set() for kind in store.folders() if kind in TABLES}
        self._ways: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)  # windows by partition
        self._node, self._nodes, self._end_s = "", set[str](), math.nan

    def findings(self) -> Iterator[Finding]:
        """Look at everything, and yield what is wrong as it is found; :attr:`totals` are whole after the last.

        Raises
        ------
        StoreError
            The store cannot be reached.
        """
        for partition in partitions(self._store, self._choice):
            if partition.place.node not in self._nodes:
                yield from self._left_node()
                self._come_to_node(partition)
            parts = []
            for key, n_bytes in sorted(partition.keys.items()):
                found = self._opened(partition, key, n_bytes)
                if isinstance(found, Finding):
                    yield found
                elif found is not None:
                    parts.append(found)
                    self._count(found, partition)
                    yield from _misplaced(found)
            yield from _twice(partition, parts)
            yield from self._gaps(parts)
            yield from self._missing_tables(parts)
            for there in self._left_over.values():
                there.difference_update(partition.keys)
        yield from self._left_node()
        for node in sorted((self._choice.nodes or frozenset()) - self._nodes):
            yield Finding("gap", f"node={node}", "nothing at all of it is there")
        yield from self._other_ways()

    def _opened(self, partition: Partition, key: str, n_bytes: int) -> PartFile | Finding | None:
        try:
            part = part_file(self._store, key, n_bytes, partition.place)
            if self._reads_rows:
                deque(tables_of(part, all_of(part)), maxlen=0)
        except DamagedPartError as error:
            return Finding("damaged", key, str(error))
        except NewerPartError as error:
            return Finding("newer", key, str(error))
        except FileNotFoundError:
            return None  # merged into another part since the folder was listed
        return part

    def _count(self, part: PartFile, partition: Partition) -> None:
        totals = self.totals
        totals.n_parts += 1
        totals.n_bytes += part.n_bytes
        for made, n_windows in part.description.recordings:
            totals.n_recordings += 1
            totals.n_windows += n_windows
            way = made.bundle, made.fingerprint
            totals.ways[way] += n_windows
            self._ways[way][partition.folder] += n_windows

    def _gaps(self, parts: Sequence[PartFile]) -> Iterator[Finding]:
        """Where nothing was recorded, in the span that is asked for or between the first recording and the last."""
        spans = sorted(
            (start_s, start_s + made.duration_s)
            for part in parts
            for made, _ in part.description.recordings
            if made.start_time
            for start_s in [seconds_of(made.start_time)]
        )
        for start_s, end_s in spans:
            yield from self._gap_before(start_s)
            last_s = start_s if math.isnan(self._end_s) else self._end_s
            self.totals.heard_s += max(0.0, end_s - max(start_s, last_s))
            self._end_s = max(last_s, end_s)

    def _come_to_node(self, partition: Partition) -> None:
        self._node = partition.place.node
        self._nodes.add(self._node)
        self.totals.n_nodes += 1
        self._end_s = self._choice.since_s if math.isfinite(self._choice.since_s) else math.nan
        self._list_tables(partition.folder.partition("/")[0] if self._node else "")

    def _gap_before(self, time_s: float) -> Iterator[Finding]:
        if time_s - self._end_s > self._gap_s:
            since, until = iso(self._end_s), iso(time_s)
            text = f"nothing for {span(time_s - self._end_s)}, from {since} to {until}"
            yield Finding("gap", f"node={self._node}" if self._node else "", text, since, until)

    def _left_node(self) -> Iterator[Finding]:
        """What is seen at the end of a node: a gap up to the end of what was asked for, and tables of no part."""
        yield from self._left_tables()
        if math.isfinite(self._choice.until_s):
            yield from self._gap_before(self._choice.until_s)

    def _list_tables(self, folder: str) -> None:
        """Note which tables there are of a node, or of all where there are no nodes."""
        for kind in self._left_over:
            keys = (key.partition("/")[2] for key in self._store.files(f"{kind}/{folder}".rstrip("/")))
            self._left_over[kind] = {key for key in keys if self._choice.has_date(place_of(key).date)}

    def _missing_tables(self, parts: Sequence[PartFile]) -> Iterator[Finding]:
        for kind, there in self._left_over.items():
            for key in sorted(part.key for part in parts if kind in part.columns):
                if key not in there:
                    yield Finding("table", f"{kind}/{key}", f"the table of the {kind} in {key} is missing")

    def _left_tables(self) -> Iterator[Finding]:
        """Tables of a node that are of no part."""
        for kind, left in self._left_over.items():
            for key in sorted(left):
                yield Finding("table", f"{kind}/{key}", f"it is made of {key}, which is not there; remove it")

    def _other_ways(self) -> Iterator[Finding]:
        """What was embedded in another way than most windows."""
        if len(self._ways) < 2:
            return
        most = max(self.totals.ways, key=lambda way: (self.totals.ways[way], way))
        for way, folders in sorted(self._ways.items()):
            if way == most:
                continue
            others = f" and {count(len(folders) - 1, 'other partition')}" if len(folders) > 1 else ""
            yield Finding(
                "bundle",
                min(folders),
                f"{count(sum(folders.values()), 'window')} are by {way[0]} ({way[1][:12]}), and most are by {most[0]} "
                f"({most[1][:12]}): in {min(folders)}{others}",
            )


def _misplaced(part: PartFile) -> Iterator[Finding]:
    wrong = Counter(
        (node, date)
        for made, _ in part.description.recordings
        for node, date in [(node_of(made) or part.place.node, date_in(made.start_time))]
        if (part.place.node, part.place.date) != (node, date) and part.place.date and part.place.node
    )
    for (node, date), n in sorted(wrong.items()):
        told = "no known day" if date == UNKNOWN else date
        yield Finding("misplaced", part.key, f"{count(n)} are of node {node} and {told}, not of the part's folder")


def _twice(partition: Partition, parts: Sequence[PartFile]) -> Iterator[Finding]:
    """Outputs that are there twice in a partition: no other one can hold them, for it is of another node or day."""
    seen: dict[Key, str] = {}
    n_doubles, conflicts = 0, []
    for part in parts:
        for made, _ in part.description.recordings:
            key = key_of(made, partition.place.node)
            if key not in seen:
                seen[key] = made.recording_sha256
            elif seen[key] == made.recording_sha256:
                n_doubles += 1
            else:
                conflicts.append(made.recording)
    if n_doubles:
        yield Finding(
            "double",
            partition.folder,
            f"{count(n_doubles, 'output')} are there twice; readers take one of each; sonyc-ml compact removes them",
        )
    if conflicts:
        others = f" and {len(conflicts) - 1} more" if len(conflicts) > 1 else ""
        yield Finding(
            "conflict",
            partition.folder,
            f"two recordings of one name and start differ, {conflicts[0]}{others}; readers take the longer of the two",
        )
