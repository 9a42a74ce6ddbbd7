"""Simulate a fleet's archive and time what is asked of it: python -m scripts.simulate_fleet FOLDER [--nodes N,N] …

The parts of a few nodes are made, with other numbers each, and linked under the names of all others: the archive has
every name, footer and row that it would have, and takes little of the disk. Days are sparse unless --recordings is
8640.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from scripts.benchmarks.text_table import aligned, number
from sonyc_ml import read_embeddings
from sonyc_ml.analysis.search import Example, search
from sonyc_ml.outputs.archive.checking import Check
from sonyc_ml.outputs.archive.choice import choice_of
from sonyc_ml.outputs.archive.layout import Place, part_name
from sonyc_ml.outputs.archive.metadata import joined, metadata_of
from sonyc_ml.outputs.archive.packing import pack
from sonyc_ml.outputs.archive.store import Folder
from sonyc_ml.outputs.files import write_output
from sonyc_ml.outputs.output import Output, Provenance
from sonyc_ml.outputs.parquet import output_tables, write_rows

FIRST = date(2026, 11, 1)
N_DIMS, N_CLASSES, N_WINDOWS = 256, 10, 10  # of a recording of 10 s


def outputs_of(node: int, day: date, n_recordings: int) -> Iterator[Output]:
    """Outputs of a day as an int8 network gives them, with the recordings evenly over it."""
    rng = np.random.default_rng([node, day.toordinal()])
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    for i in range(n_recordings):
        start = midnight + timedelta(seconds=86400 * i // n_recordings)
        yield Output(
            timestamps=np.arange(float(N_WINDOWS)),
            embedding=rng.integers(-128, 128, (N_WINDOWS, N_DIMS)).astype(np.float32) * np.float32(0.0234),
            scores=rng.integers(0, 256, (N_WINDOWS, N_CLASSES)).astype(np.float32) / np.float32(256),
            labels=tuple(f"class {number}" for number in range(N_CLASSES)),
            provenance=_provenance(f"{start:%Y%m%dT%H%M%SZ}.wav", start, rng),
        )


def _provenance(name: str, start: datetime, rng: np.random.Generator) -> Provenance:
    return Provenance(
        recording=name,
        recording_sha256=rng.bytes(32).hex(),
        recording_bytes=960_044,
        recording_mtime_ns=int(start.timestamp()) * 10**9 + int(rng.integers(10**9)),
        sample_rate=48000,
        n_samples=480_000,
        start_time=start.isoformat(),
        start_time_source="name",
        clock_synchronised="yes",
        salvaged=False,
        bundle="simulated",
        bundle_sha256="a0" * 32,
        window_size_s=1.0,
        hop_size_s=1.0,
        res_type="",
        versions="sonyc-ml 0.1; numpy 2.0; ai-edge-litert 2.0",
        level_dbfs=float(rng.normal(-40, 5)),
        clipped_share=float(rng.random() * 1e-3),
        identical_share=float(rng.random() * 0.1),
    )


def make(root: Path, n_nodes: int, n_days: int, n_recordings: int, n_distinct: int) -> int:
    """Make an archive, or what is missing of it; returns the bytes of all its parts, each link counted."""
    n_bytes = 0
    for day in (FIRST + timedelta(days=n) for n in range(n_days)):
        made = []
        for node in range(min(n_nodes, n_distinct)):
            place = Place(f"node-{node:05}", day.isoformat())
            path = root / place.key(part_name(place, ["simulated"]))
            if not path.exists():
                outputs = list(outputs_of(node, day, n_recordings))
                schema = next(output_tables(outputs[0])).schema
                write_rows(path, schema, joined(map(metadata_of, outputs)), map(output_tables, outputs))
            made.append((path, path.stat().st_size))
        for node in range(n_nodes):
            source, size = made[node % len(made)]
            n_bytes += size
            folder = root / f"node=node-{node:05}" / f"date={day}"
            if node >= len(made) and not folder.exists():
                folder.mkdir(parents=True)
                os.link(source, folder / source.name)
    return n_bytes


def timed(run: Callable[[], Any], n_times: int = 3) -> tuple[float, float, Any]:
    """The shortest time of a call, the least of the processor's, and what it gave."""
    took = []
    for _ in range(n_times):
        started_s, used_s = time.perf_counter(), time.process_time()
        found = run()
        took.append((time.perf_counter() - started_s, time.process_time() - used_s))
    return min(wall_s for wall_s, _ in took), min(cpu_s for _, cpu_s in took), found


def class_over_all(root: Path) -> int:
    """Windows in which a class is likely, in all parts, by DuckDB."""
    import duckdb  # of the tests' extra

    parts = f"{root}/node=*/*/*.parquet"
    connection = duckdb.connect()
    connection.execute("set threads = 2")
    asked = f"select count(*) filter (where scores[4] > 0.9) from read_parquet('{parts}')"
    found = connection.execute(asked).fetchone()
    return int(found[0]) if found else 0


def measure(root: Path, n_nodes: int, n_days: int) -> Iterator[tuple[str, float, float, str]]:
    """Time what is asked of an archive: what, wall and processor seconds, and how much that was."""
    day = FIRST + timedelta(days=n_days // 2)
    asked: dict[str, Any] = {"since": day.isoformat(), "until": (day + timedelta(days=1)).isoformat()}
    node = f"node-{n_nodes // 2:05}"
    wall_s, cpu_s, read = timed(lambda: read_embeddings(root, nodes=node, **asked))
    yield "one node, one day", wall_s, cpu_s, f"{len(read):,} windows"
    wall_s, cpu_s, read = timed(lambda: read_embeddings(root, nodes=node, kinds=["scores"]), 1)
    yield "one node, all days, scores", wall_s, cpu_s, f"{len(read):,} windows"
    wall_s, cpu_s, read = timed(lambda: read_embeddings(root, kinds=["scores"], **asked), 1)
    yield "all nodes, one day, scores", wall_s, cpu_s, f"{len(read):,} windows"
    wall_s, cpu_s, n_found = timed(lambda: class_over_all(root), 1)
    yield "one class over all, DuckDB", wall_s, cpu_s, f"{n_found:,} found"
    output = next(outputs_of(0, day, 1))
    embedding = output.embedding[0] if output.embedding is not None else np.zeros(N_DIMS, np.float32)
    wall_s, cpu_s, matches = timed(lambda: search(root, Example("an example", embedding, output.provenance)), 1)
    yield "nearest 50 over all, search", wall_s, cpu_s, f"{matches.n_windows:,} windows"
    nodes = [f"node-{number:05}" for number in range(min(n_nodes, 10))]
    check = Check(Folder(root), choice_of(nodes, None, None), 86400)
    wall_s, cpu_s, _ = timed(lambda: list(check.findings()), 1)
    yield f"check of {len(nodes)} nodes", wall_s, cpu_s, f"{check.totals.n_parts:,} parts"


def packing(folder: Path, n_outputs: int) -> list[list[str]]:
    """What it costs to pack outputs, for a day of 8,640, and its bytes beside those of one Parquet written at once."""
    import pyarrow as arrow
    from pyarrow import parquet

    paths: list[Path] = []
    tables: list[Any] = []
    for output in outputs_of(0, FIRST, n_outputs):
        paths.append(folder / "outputs" / f"{output.provenance.recording}.npz")
        write_output(output, paths[-1])
        tables += output_tables(output)
    started_s, used_s = time.perf_counter(), time.process_time()
    (part,) = pack(paths, folder / "packed", "node-00000").parts
    wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - used_s
    parquet.write_table(
        arrow.concat_tables([table.replace_schema_metadata(None) for table in tables]),
        folder / "once.parquet",
        compression="zstd",
    )
    once = (folder / "once.parquet").stat().st_size
    share = cpu_s * 8640 / n_outputs / 86400
    return [
        ["packing", "figure"],
        [f"{n_outputs:,} outputs: wall, processor", f"{number(wall_s)} s, {number(cpu_s)} s"],
        ["of a day's processor, for 8,640", f"{share:.3%}"],
        ["bytes of the part", f"{part.n_bytes:,}"],
        ["of one table written at once, without its origin", f"{once:,} ({part.n_bytes / once:.3f} x)"],
    ]


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where archives are made, and removed at the end")
    parser.add_argument("--nodes", default="100,1000", help="of the archives, one after another (default 100,1000)")
    parser.add_argument("--days", type=int, default=30, help="of each node (default 30)")
    parser.add_argument("--recordings", type=int, default=36, help="of a day, of 10 s each (default 36)")
    parser.add_argument("--distinct", type=int, default=20, help="nodes with numbers of their own (default 20)")
    parser.add_argument("--outputs", type=int, default=1000, help="that are packed (default 1000)")
    parser.add_argument("--keep", action="store_true", help="remove nothing at the end")
    parsed = parser.parse_args()
    parsed.folder.mkdir(parents=True)
    try:
        if parsed.outputs:
            print(aligned(packing(parsed.folder, parsed.outputs)), flush=True)
        for n_nodes in map(int, parsed.nodes.split(",")):
            root = parsed.folder / f"archive-{n_nodes}"
            n_bytes = make(root, n_nodes, parsed.days, parsed.recordings, parsed.distinct)
            rows = [[f"{n_nodes:,} nodes, {parsed.days} days, {n_bytes / 1e9:.2f} GB", "wall s", "processor s", "of"]]
            for what, wall_s, cpu_s, told in measure(root, n_nodes, parsed.days):
                rows.append([what, number(wall_s), number(cpu_s), told])
                print(*rows[-1], file=sys.stderr, flush=True)
            print(aligned(rows), flush=True)
    finally:
        if not parsed.keep:
            shutil.rmtree(parsed.folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
