"""The nearest windows of growing datasets, here and in DuckDB: time, memory, and what 100 million would take."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from scripts.benchmarks.figures import Figure, progress, spread
from sonyc_ml.outputs.output import Output, Provenance
from sonyc_ml.outputs.parquet import write_part, write_waiting

N_DIMS, N_WINDOWS, N_RECORDINGS = 256, 60, 1440  # of a minute at a hop of 1 s, a day of them
NODE_DAYS = (1, 4, 16)
TARGET = 100_000_000
BAR_GROWTH = 1.2  # memory of the largest beside that of the smallest
N_LEVELS, STEP = 256, 0.05  # of a network that is quantised to eight bits

SEARCH = """
import json, resource, sys, time
import numpy as np
from sonyc_ml.analysis.search import Example, search
from sonyc_ml.outputs.output import Provenance
folder, made = sys.argv[1], Provenance(**json.loads(sys.argv[2]))
example = Example("x", np.random.default_rng(9).normal(size=int(sys.argv[3])).astype(np.float32), made)
start_s = time.perf_counter()
found = search(folder, example, top=50)
print(found.n_windows, time.perf_counter() - start_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
DUCKDB = """
import resource, sys, time
import duckdb, numpy as np
folder, n_dims = sys.argv[1], int(sys.argv[3])
example = np.random.default_rng(9).normal(size=n_dims).astype(np.float32).tolist()
connection = duckdb.connect(config={"threads": 1, "memory_limit": "2GB"})
connection.execute("set enable_progress_bar = false")
start_s = time.perf_counter()
vectors = f'embedding::float[{n_dims}], $1::float[{n_dims}]'
asked = f'''select recording, start_s, array_cosine_similarity({vectors}) as cosine
from read_parquet('{folder}/**/*.parquet') order by cosine desc limit 50'''
connection.execute(asked, [example]).fetchall()
took_s = time.perf_counter() - start_s
(n,) = connection.execute(f"select count(*) from read_parquet('{folder}/**/*.parquet')").fetchone()
print(n, took_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def measure(parsed: argparse.Namespace) -> dict[str, Any]:
    """Search in more and more node-days of made-up embeddings."""
    rows: list[tuple[str, ...]] = [("windows", "search s", "MB", "DuckDB s", "MB")]
    took: dict[str, list[float]] = {"search": [], "DuckDB": []}
    memory: list[float] = []
    with tempfile.TemporaryDirectory(prefix="sonyc-ml-bench-") as name:
        part, made = _make_part(Path(name))
        for n in NODE_DAYS:
            progress(f"search in {n} node-days")
            root = Path(name, f"archive {n}")
            for node in range(n):
                target = root / f"node=node_{node:04}" / "date=2026-11-21" / part.name
                target.parent.mkdir(parents=True)
                os.link(part, target)  # in the cache of the system: what a disk takes comes on top
            of_search = [_run(SEARCH, root, made) for _ in range(parsed.repeats)]
            of_duckdb = [_run(DUCKDB, root, made) for _ in range(parsed.repeats)]
            n_windows = of_search[0][0]
            medians = [spread(one[1] for one in some).median for some in (of_search, of_duckdb)]
            memories = [spread(one[2] / 1024 for one in some).median for some in (of_search, of_duckdb)]
            memory.append(memories[0])
            rows.append(
                (
                    f"{n_windows:,.0f}",
                    f"{medians[0]:.2f}",
                    f"{memories[0]:.0f}",
                    f"{medians[1]:.2f}",
                    f"{memories[1]:.0f}",
                )
            )
            took["search"] = [one[1] / one[0] * TARGET / 60 for one in of_search]
            took["DuckDB"] = [one[1] / one[0] * TARGET / 60 for one in of_duckdb]
        size_gb = part.stat().st_size / (N_WINDOWS * N_RECORDINGS) * TARGET / 1e9
    figures = [
        Figure(f"{TARGET:,} windows, one thread, by the largest", spread(took["search"]), "min"),
        Figure("the same in DuckDB, one thread", spread(took["DuckDB"]), "min"),
        Figure("their files", spread([size_gb]), "GB"),
        Figure(f"memory with {NODE_DAYS[-1]} x the windows", spread([memory[-1] / memory[0]]), "x", BAR_GROWTH),
    ]
    return {"figures": figures, "tables": {f"nearest 50, {N_DIMS} dimensions": rows}}


def _make_part(folder: Path) -> tuple[Path, Provenance]:
    """A day of a node, and how it was made."""
    rng = np.random.default_rng(1)
    values: dict[str, Any] = {field.name: "" for field in fields(Provenance) if field.type == "str"}
    values |= {field.name: 0 for field in fields(Provenance) if field.type in ("int", "float")}
    made = Provenance(
        **{**values, "salvaged": False, "clock_synchronised": "unknown", "window_size_s": 1.0, "bundle": "b"}
    )
    waiting = []
    for number in range(N_RECORDINGS):
        minute, second = divmod(number * 60, 60)
        time = f"2026-11-21T{minute // 60:02}:{minute % 60:02}:{second:02}+00:00"
        named = {name: getattr(made, name) for name in values}
        named |= {"recording": f"{number}.wav", "start_time": time, "sample_rate": 48000, "n_samples": 60 * 48000}
        steps = rng.normal(0, N_LEVELS / 6, (N_WINDOWS, N_DIMS)).round().clip(-N_LEVELS // 2, N_LEVELS // 2 - 1)
        embedding = (steps * STEP).astype(np.float32)
        provenance = Provenance(**{**named, "salvaged": False, "clock_synchronised": "unknown", "hop_size_s": 1.0})
        output = Output(timestamps=np.arange(float(N_WINDOWS)), embedding=embedding, labels=(), provenance=provenance)
        waiting.append(folder / f"{number}.arrow")
        write_waiting(output, waiting[-1])
    write_part(folder / "part-00000.parquet", waiting)
    for path in waiting:
        path.unlink()
    return folder / "part-00000.parquet", made


def _run(program: str, root: Path, made: Provenance) -> tuple[float, float, float]:
    """How many windows, how long (in seconds), and the most memory (in kB), of a process of its own."""
    table = json.dumps({field.name: getattr(made, field.name) for field in fields(made)})
    command = [sys.executable, "-c", program, str(root), table, str(N_DIMS)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    n_windows, took_s, memory_kb = map(float, result.stdout.split())
    return n_windows, took_s, memory_kb
