"""A batch on a Dask cluster on loopback: a scheduler and worker processes, as a user starts them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sonyc_ml.batch.events import BatchBegun, BatchEnded, RecordingEmbedded, RecordingFailed, RecordingKept
from sonyc_ml.batch.job import Job
from sonyc_ml.batch.run import Batch, embed_recordings
from sonyc_ml.batch.sources import Sources
from sonyc_ml.errors import BundleError
from tests.conftest import PATIENCE_S, needs, write_recording
from tests.support.batches import named, outputs, run
from tests.support.buckets import ENVIRONMENT, fetched, s3_server

# What Dask warns of is between it and its own dependencies.
pytestmark = [pytest.mark.filterwarnings("default"), needs("distributed"), needs("pyarrow")]


@dataclass
class Cluster:
    """A scheduler's address and its workers."""

    address: str
    workers: list[subprocess.Popen[bytes]]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket that this process and the workers find by their environment."""
    with s3_server() as address:
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        import fsspec

        system = fsspec.filesystem("s3", use_listings_cache=False)
        system.mkdir("outputs")
        yield system


@pytest.fixture
def _no_thread_leaks() -> None:
    """fsspec keeps a thread for its input and output, and that one another, for as long as the process lives."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler and two workers of one thread."""
    processes: list[subprocess.Popen[bytes]] = []
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    log = tmp_path / "scheduler.log"

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        with log.open("ab") as file:
            command = [sys.executable, "-m", *arguments]
            process = subprocess.Popen(command, stderr=file, stdout=file, cwd=tmp_path, env=environment)
        processes.append(process)
        return process

    start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
    end_s = time.monotonic() + PATIENCE_S
    while not (found := re.search(r"Scheduler at:\s+(tcp://127\.0\.0\.1:\d+)", log.read_text())):
        assert time.monotonic() < end_s, log.read_text()
        time.sleep(0.05)
    worker = ("distributed.cli.dask_worker", found[1], "--nthreads", "1", "--no-nanny", "--no-dashboard")
    workers = [start(*worker, "--host", "127.0.0.1", "--local-directory", str(tmp_path / f"w{i}")) for i in range(2)]
    yield Cluster(found[1], workers)
    for process in reversed(processes):
        process.terminate()
        process.wait(PATIENCE_S)


@pytest.fixture
def batch(tmp_path: Path, tiny_bundle: Path) -> Batch:
    """Forty recordings."""
    for i in range(40):
        write_recording(tmp_path / "in" / f"20261121T12{i:02}00Z.wav", seconds=2, seed=i)
    return Batch(Sources([str(tmp_path / "in")]), Job(str(tiny_bundle)), tmp_path / "out")


def test_a_cluster_makes_the_same_outputs(batch: Batch, cluster: Cluster, tmp_path: Path) -> None:
    """With a worker killed midway, every recording has the very output of a local run; one that is bad is told."""
    bad = tmp_path / "in" / "bad.wav"
    bad.write_bytes(b"no sound at all")
    for output_format in ("npz", "parquet"):
        local = replace(batch, folder=tmp_path / f"local {output_format}", output_format=output_format)
        run(local)
        there = replace(local, folder=tmp_path / f"there {output_format}", scheduler=cluster.address)
        events = []
        for event in embed_recordings(there):
            events.append(event)
            if len(events) == 10 and cluster.workers[0].poll() is None:
                cluster.workers[0].send_signal(signal.SIGKILL)
        assert isinstance(events[0], BatchBegun)
        assert isinstance(events[-1], BatchEnded)
        assert len(set(named(events, RecordingEmbedded))) == 40
        (failed,) = [event for event in events if isinstance(event, RecordingFailed)]
        assert (failed.recording, failed.source, failed.reason) == ("bad.wav", str(bad), "unreadable")
        assert outputs(there.folder) == outputs(local.folder)


@needs("s3fs")
@needs("moto")
def test_workers_write_into_a_store(batch: Batch, bucket: Any, cluster: Cluster, tmp_path: Path) -> None:
    """Outputs go from the workers to the store; a dataset has the very parts of a local run, interrupted or not."""
    paths = sorted((tmp_path / "in").iterdir())[:8]
    batch = replace(batch, sources=Sources([*map(str, paths)]))
    for output_format in ("npz", "parquet"):
        local = replace(batch, folder=tmp_path / f"local {output_format}", output_format=output_format)
        run(local)
        address = f"s3://outputs/{output_format}"
        there = replace(local, folder=tmp_path / f"known {output_format}", store=address, scheduler=cluster.address)
        events = embed_recordings(there)
        made = [event for event, _ in zip(events, range(4), strict=False) if isinstance(event, RecordingEmbedded)]
        events.close()
        assert made[0].output.startswith(f"{address}/")
        again = replace(there, scheduler=None) if output_format == "parquet" else there
        assert len(named(run(again), RecordingKept)) >= len(made)
        assert outputs(fetched(bucket, address, tmp_path / f"there {output_format}")) == outputs(local.folder)
        assert not [key for key in bucket.find(address) if key.endswith(".arrow")]


def test_a_bundle_that_is_not_there_is_told(batch: Batch, cluster: Cluster, tmp_path: Path) -> None:
    """A bundle that only the one who asks can see is refused in a sentence, as if it were here."""
    bundle = Path(batch.job.model_path)
    own = tmp_path / "own" / bundle.name
    own.parent.mkdir()
    for path in bundle.parent.glob("tiny.*"):
        (own.parent / path.name).write_bytes(path.read_bytes())
    events = embed_recordings(replace(batch, job=Job(str(own)), scheduler=cluster.address))
    next(events)
    for path in own.parent.iterdir():
        path.unlink()
    with pytest.raises(BundleError, match=r"tiny.tflite: No such file"):
        list(events)


def test_no_scheduler_is_one_sentence(batch: Batch, tmp_path: Path) -> None:
    """An address where nobody answers ends it before anything is begun."""
    command = [sys.executable, "-m", "sonyc_ml", "embed", str(tmp_path / "in"), "--model", batch.job.model_path]
    command += ["--output", str(batch.folder), "--scheduler", "tcp://127.0.0.1:9"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("sonyc-ml: error: no Dask scheduler answers at tcp://127.0.0.1:9: ")
    assert len(result.stderr.splitlines()) == 1
