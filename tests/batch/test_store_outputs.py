"""Outputs that go to a store: S3 as moto's server speaks it, on loopback, and others through fsspec."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from sonyc_ml.base.durable import write_atomically
from sonyc_ml.batch.events import RecordingEmbedded, RecordingFailed, RecordingKept
from sonyc_ml.batch.job import Job
from sonyc_ml.batch.places import lease as leases
from sonyc_ml.batch.places.addresses import output_of
from sonyc_ml.batch.places.lease import NAME as LEASE_NAME
from sonyc_ml.batch.places.lease import Lease
from sonyc_ml.batch.places.store import StoreFolder
from sonyc_ml.batch.run import Batch, embed_recordings
from sonyc_ml.batch.sources import Sources
from sonyc_ml.errors import ConfigError, OutputNameError, StoreError
from tests.conftest import needs, write_recording
from tests.support.batches import named, outputs, run
from tests.support.buckets import ENVIRONMENT, fetched, s3_server

fsspec = pytest.importorskip("fsspec", reason="stores elsewhere are an extra")
pytest.importorskip("s3fs")
pytest.importorskip("moto.server")

FORMATS = ("npz", "csv", pytest.param("parquet", marks=needs("pyarrow")))
STORE = "s3://outputs/of/tiny"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server on loopback."""
    with s3_server() as address:
        yield address


@pytest.fixture
def _no_thread_leaks() -> None:
    """fsspec keeps a thread for its input and output, and that one another, for as long as the process lives."""


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket for outputs."""
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)
    system = fsspec.filesystem("s3", use_listings_cache=False)
    system.mkdir("outputs")
    yield system
    system.rm("outputs", recursive=True)


@pytest.fixture
def batch(tmp_path: Path, tiny_bundle: Path, bucket: Any) -> Batch:
    """Six recordings in two folders, whose outputs go to the bucket."""
    for i in range(6):
        write_recording(tmp_path / "in" / f"{i % 2}" / f"20261121T12{i:02}00Z.wav", seconds=1 + i / 10, seed=i)
    return Batch(Sources([str(tmp_path / "in")]), Job(str(tiny_bundle)), tmp_path / "known", store=STORE)


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_store_has_what_a_folder_has(output_format: str, batch: Batch, bucket: Any, tmp_path: Path) -> None:
    """The same bytes, interrupted after every second recording or not; a second run keeps all and writes none."""
    local = replace(batch, store=None, folder=tmp_path / "here", output_format=output_format)
    run(local)
    batch = replace(batch, output_format=output_format)
    embedded: list[str] = []
    for _ in range(2):
        events = embed_recordings(batch)
        embedded += islice((event.recording for event in events if isinstance(event, RecordingEmbedded)), 2)
        events.close()
    embedded += named(run(batch), RecordingEmbedded)
    assert sorted(embedded) == sorted(source.name for source in batch.sources)
    assert outputs(fetched(bucket, STORE, tmp_path / "there")) == outputs(local.folder)
    before = bucket.find("outputs", detail=True)
    assert len(named(run(batch), RecordingKept)) == 6
    after = bucket.find("outputs", detail=True)
    assert {key: info["ETag"] for key, info in after.items() if LEASE_NAME not in key} == {
        key: info["ETag"] for key, info in before.items() if LEASE_NAME not in key
    }


@pytest.mark.parametrize("output_format", FORMATS)
def test_what_is_known_can_be_lost(output_format: str, batch: Batch, tmp_path: Path) -> None:
    """On a machine that knows nothing, the outputs are the truth; with another parameter all are made anew."""
    batch = replace(batch, output_format=output_format)
    run(batch)
    elsewhere = replace(batch, folder=tmp_path / "another machine")
    assert len(named(run(elsewhere), RecordingKept)) == 6
    other = replace(elsewhere, job=replace(batch.job, parameters={"hop_size": 0.5}))
    assert len(named(run(other), RecordingEmbedded)) == 6
    assert len(named(run(other), RecordingKept)) == 6


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_truncated_or_replaced_object_is_made_anew(
    output_format: str, batch: Batch, bucket: Any, tmp_path: Path
) -> None:
    """An object of another size, or of the same size and another content, is seen, though its time be the same."""
    batch = replace(batch, output_format=output_format)
    run(batch)
    before = outputs(fetched(bucket, STORE, tmp_path / "before"))
    victim = next(key for key in sorted(bucket.find(STORE)) if key.endswith(f".{output_format}"))
    content = bucket.cat_file(victim)
    for damaged in (content[:-30], content[:-30] + bytes(30)):
        bucket.pipe_file(victim, damaged)
        assert len(named(run(batch), RecordingEmbedded)) == (6 if output_format == "parquet" else 1)
        assert outputs(fetched(bucket, STORE, tmp_path / f"after {len(damaged)}")) == before


def test_failures_are_listed_in_the_store(batch: Batch, bucket: Any, tmp_path: Path) -> None:
    """A recording that cannot be read is listed beside the outputs until it can."""
    bad = tmp_path / "in" / "bad.wav"
    bad.write_bytes(b"no sound at all")
    assert named(run(batch), RecordingFailed) == ["bad.wav"]
    assert b"bad.wav," in bucket.cat_file(f"{STORE}/failures.csv")
    write_recording(bad)
    assert named(run(batch), RecordingEmbedded) == ["bad.wav"]
    assert not bucket.exists(f"{STORE}/failures.csv")


def test_one_machine_and_one_format_at_a_time(batch: Batch, bucket: Any, tmp_path: Path) -> None:
    """While one machine writes there, another is refused; so is another format, whoever has written the outputs."""
    events = embed_recordings(batch)
    next(events)
    with pytest.raises(ConfigError, match=r"embeds into s3://outputs/of/tiny; stop it, or give another --output"):
        run(replace(batch, folder=tmp_path / "another machine"))
    events.close()
    run(replace(batch, folder=tmp_path / "another machine"))
    for loses_record in (False, True):
        with pytest.raises(ConfigError, match=r"holds outputs of another format already, npz"):
            run(replace(batch, output_format="csv"))
        if not loses_record:
            bucket.rm_file(f"{STORE}/{LEASE_NAME}")
    held = {"holder": "gone:/x", "until_s": time.time() - 1, "format": "npz"}
    bucket.pipe_file(f"{STORE}/{LEASE_NAME}", json.dumps(held).encode())
    assert len(named(run(batch), RecordingKept)) == 6


def test_a_lease_is_kept_while_a_recording_takes_long(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is renewed without a word of the batch; who loses it to another machine is told."""
    monkeypatch.setattr(leases, "RENEW_S", 0.05)

    def held() -> dict[str, Any]:
        bucket.invalidate_cache()
        found: dict[str, Any] = json.loads(bucket.cat_file(f"{STORE}/{LEASE_NAME}"))
        return found

    def wait_for(is_so: Callable[[], bool]) -> None:
        end_s = time.monotonic() + 20
        while not is_so():
            assert time.monotonic() < end_s
            time.sleep(0.02)

    lease = Lease(StoreFolder(STORE, tmp_path), "npz")
    first = held()
    wait_for(lambda: held()["until_s"] > first["until_s"])
    lease.check()
    taken = json.dumps({**first, "holder": "another:/x"}).encode()

    def is_told() -> bool:
        bucket.pipe_file(f"{STORE}/{LEASE_NAME}", taken)  # again, where it was just being renewed
        try:
            lease.check()
        except StoreError as error:
            return f"another:/x embeds into {STORE} now; this batch ends" in str(error)
        return False

    wait_for(is_told)
    lease.release()
    assert held()["holder"] == "another:/x"


@pytest.mark.parametrize("output_format", ["npz", pytest.param("parquet", marks=needs("pyarrow"))])
def test_a_batch_that_is_killed_goes_on(
    output_format: str, batch: Batch, bucket: Any, server: str, tmp_path: Path
) -> None:
    """Killed at random, with two workers, it ends with the outputs of one run; no object is ever cut short."""
    local = replace(batch, store=None, folder=tmp_path / "here", output_format=output_format)
    run(local)
    environment = {**os.environ, **ENVIRONMENT, "AWS_ENDPOINT_URL": server, "XDG_STATE_HOME": str(tmp_path / "state")}
    command = [sys.executable, "-m", "sonyc_ml", "embed", str(tmp_path / "in"), "--model", batch.job.model_path]
    command += ["--output", STORE, "--format", output_format, "--workers", "2", "--json"]
    rng = random.Random(3)
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
        assert process.stdout is not None
        for line, _ in zip(process.stdout, range(rng.randrange(1, 6)), strict=False):
            assert ENVIRONMENT["AWS_SECRET_ACCESS_KEY"].encode() not in line
        process.send_signal(signal.SIGKILL)
        process.communicate()
        whole = outputs(local.folder)
        there = outputs(fetched(bucket, STORE, tmp_path / f"{rng.random()}"))
        assert there.items() <= whole.items() or output_format == "parquet"
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    assert outputs(fetched(bucket, STORE, tmp_path / "there")) == outputs(local.folder)
    text = (
        result.stdout
        + result.stderr
        + b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()).decode(
            errors="replace"
        )
    )
    assert ENVIRONMENT["AWS_SECRET_ACCESS_KEY"] not in text


def writer(content: bytes) -> Callable[[Path], None]:
    """Writes a file."""
    return partial(write_atomically, content=content)


def test_what_a_store_cannot_have_is_one_sentence(monkeypatch: pytest.MonkeyPatch, bucket: Any, tmp_path: Path) -> None:
    """Names that a store cannot have cost their recording alone; a store that fails ends the batch."""
    place = StoreFolder(STORE, tmp_path)
    place.write("a/b.npz", writer(b"1"))
    assert (place.state("a/b.npz") or (0,))[0] == 1
    with place.files(["a/b.npz"]) as (copy,):
        assert copy.read_bytes() == b"1"
    for name, match in (("\udcff.npz", "is not UTF-8"), ("x" * 1100, "is too long")):
        with pytest.raises(OutputNameError, match=match):
            place.write(name, writer(b"1"))
    monkeypatch.setattr("sonyc_ml.batch.places.store.FIRST_PAUSE_S", 0.0)
    nowhere = StoreFolder("s3://no-such-bucket/x", tmp_path)
    with pytest.raises((StoreError, FileNotFoundError)):
        nowhere.write("a.npz", writer(b"1"))


def test_where_nothing_is_whole_at_once_it_is_renamed(tmp_path: Path) -> None:
    """A store that shows what is half-written gets it under another name; what was left of that is cleared up."""
    place = StoreFolder(f"local://{tmp_path}/there", tmp_path)
    (tmp_path / "there" / "a").mkdir(parents=True)
    left = tmp_path / "there" / "a" / ".0123456789abcdef.tmp"
    left.touch()
    place.write("a/b.npz", writer(b"12"))
    place.write("a/b.npz", writer(b"123"))
    assert [name for name, _ in place.walk() if not name.endswith(".tmp")] == ["a/b.npz"]
    assert (place.state("a/b.npz") or (0,))[0] == 3
    place.clear_up()
    assert os.listdir(left.parent) == ["b.npz"]


def test_an_address_with_a_password_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It would stand in the list of processes; the sentence does not repeat it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    for address in ("s3://key:hunter2@bucket/x", "sftp://me:hunter2@host/x", "https://host/x?token=hunter2"):
        with pytest.raises(ConfigError, match="--output holds a password") as caught:
            output_of(address)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match="names no folder in it"):
        output_of("s3://bucket/")
    assert output_of("file:///mnt/x") == (Path("/mnt/x"), None)
    assert output_of("x/y") == (Path("x/y"), None)
    folder, there = output_of("s3://bucket/x/")
    assert (folder.parent, there) == (tmp_path / "sonyc-ml" / "batches", "s3://bucket/x")
