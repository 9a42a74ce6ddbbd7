"""Recordings in stores elsewhere: in S3 as moto's server speaks it, on loopback, and in memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sonyc_ml.batch import remote
from sonyc_ml.batch.events import RecordingEmbedded, RecordingFailed, RecordingKept
from sonyc_ml.batch.job import Job
from sonyc_ml.batch.run import Batch
from sonyc_ml.batch.sources import Sources
from sonyc_ml.errors import ConfigError, UnavailableRecordingError
from tests.conftest import needs, write_recording
from tests.support.batches import named, outputs, run

fsspec = pytest.importorskip("fsspec", reason="stores elsewhere are an extra")
s3fs = pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")

KEYS = ("node-12/20261121T120000Z.wav", "node-12/sub/b.flac", "node-12/notes.txt")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server on loopback."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    s3fs.S3FileSystem.clear_instance_cache()  # that of an earlier test would go on asking its own server
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def _no_thread_leaks() -> None:
    """fsspec keeps a thread for its input and output, and that one another, for as long as the process lives."""


@pytest.fixture
def bucket(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket with two recordings and something else."""
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    system = fsspec.filesystem("s3")
    system.mkdir("recordings")
    for i, key in enumerate(KEYS):
        path = write_recording(tmp_path / "local" / f"{i}{Path(key).suffix.replace('.txt', '.wav')}", seed=i, seconds=2)
        system.put_file(str(path), f"recordings/{key}")
    yield system
    system.rm("recordings", recursive=True)
    system.invalidate_cache()


@pytest.fixture
def batch(tmp_path: Path, tiny_bundle: Path, bucket: Any) -> Batch:
    """The bucket's recordings, to be embedded."""
    return Batch(Sources(["s3://recordings/node-12"]), Job(str(tiny_bundle)), tmp_path / "out", workers=2)


def test_a_bucket_is_embedded(batch: Batch, bucket: Any, tmp_path: Path) -> None:
    """Recordings in a bucket have the embeddings of the same files here; a second run fetches nothing."""
    assert named(run(batch), RecordingEmbedded) == ["20261121T120000Z.wav", "sub/b.flac"]
    here = tmp_path / "here"
    for i, name in enumerate(("20261121T120000Z.wav", "sub/b.flac")):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes((tmp_path / "local" / f"{i}{Path(name).suffix}").read_bytes())
    local = replace(batch, sources=Sources([str(here)]), folder=tmp_path / "local out")
    run(local)
    remote_outputs, local_outputs = outputs(batch.folder), outputs(local.folder)
    same = [key for key in local_outputs if key.endswith(("/embedding.npy", "/embedding", "/recording_sha256"))]
    assert same
    assert all(remote_outputs[key] == local_outputs[key] for key in same)
    bucket.rm("recordings/node-12/sub/b.flac")
    bucket.put_file(str(tmp_path / "local" / "2.wav"), "recordings/node-12/20261121T120000Z.wav")
    (event,) = [event for event in run(batch)[1:-1] if not isinstance(event, RecordingKept)]
    assert isinstance(event, RecordingEmbedded)
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob("sonyc-ml-*/*.wav"))


def test_one_object_a_pattern_and_a_list(bucket: Any) -> None:
    """An object, a pattern and a list of addresses name their recordings sensibly."""
    sources = ["s3://recordings/node-12/sub/b.flac"], ["s3://recordings/node-*/*.wav"]
    assert [source.name for given in sources for source in Sources(given)] == ["b.flac", "node-12/20261121T120000Z.wav"]
    source, other = Sources([], ["s3://recordings/node-12/20261121T120000Z.wav", "s3://recordings/node-12/sub"])
    assert (source.path, source.name) == (
        "s3://recordings/node-12/20261121T120000Z.wav",
        "recordings/node-12/20261121T120000Z.wav",
    )
    assert other.name == "recordings/node-12/sub/b.flac"
    assert source.identity().n_bytes == bucket.info("recordings/node-12/20261121T120000Z.wav")["size"]
    assert source.identity().mtime_ns > 1_700_000_000 * 10**9


def test_what_cannot_be_fetched_fails_alone(batch: Batch, bucket: Any) -> None:
    """A recording that goes away between listing and fetching is told; the others are embedded."""
    sources = list(batch.sources)
    bucket.rm("recordings/node-12/sub/b.flac")

    class Listed(Sources):
        def __iter__(self) -> Any:
            return iter(sources)

    events = run(replace(batch, sources=Listed(["s3://recordings/node-12"])))
    (failed,) = [event for event in events if isinstance(event, RecordingFailed)]
    assert (failed.recording, failed.reason) == ("sub/b.flac", "unavailable")
    assert "s3://recordings/node-12/sub/b.flac cannot be fetched: " in failed.detail
    assert named(events, RecordingEmbedded) == ["20261121T120000Z.wav"]


def test_what_cannot_be_listed_is_one_sentence(bucket: Any) -> None:
    """No such bucket, no such protocol, and nothing at an address are told."""
    for address, message in (
        ("s3://nowhere/x", "does not exist|cannot be listed"),
        ("gopher://host/x", "cannot be reached: Protocol not known: gopher"),
        ("memory://nothing", "does not exist"),
    ):
        with pytest.raises(ConfigError, match=message):
            Sources([address]).count()


def test_fetching_keeps_the_time_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """What is fetched has its store's time; what cannot be leaves no file."""
    system = fsspec.filesystem("memory")
    system.pipe_file("/f/a.wav", b"sound")
    path = remote.fetch("memory://f/a.wav", tmp_path, 1234567890)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (b"sound", 1234567890)
    path.unlink()
    with pytest.raises(UnavailableRecordingError, match=r"memory://f/b\.wav cannot be fetched"):
        remote.fetch("memory://f/b.wav", tmp_path, 0)
    assert not list(tmp_path.iterdir())
    system.rm("/f", recursive=True)


@pytest.mark.parametrize("output_format", ["npz", "csv", pytest.param("parquet", marks=needs("pyarrow"))])
@pytest.mark.parametrize("key", ["ok/../../../X.wav", "a/../X.wav", "a//X.wav", "./X.wav", "X\0.wav"])
def test_a_key_that_leads_elsewhere_costs_itself_alone(
    key: str, output_format: str, tmp_path: Path, tiny_bundle: Path
) -> None:
    """A store whose keys hold `..` and the like writes nothing outside the folder; the others are embedded."""
    system = fsspec.filesystem("memory")
    sound = write_recording(tmp_path / "local" / "a.wav").read_bytes()
    system.pipe_file("/attack/good.wav", sound)
    system.store[f"/attack/{key}"] = type(system.store["/attack/good.wav"])(system, f"/attack/{key}", sound)
    before = {path for path in tmp_path.rglob("*") if tmp_path / "deep" not in path.parents}
    batch = Batch(
        Sources(["memory://attack"]),
        Job(str(tiny_bundle)),
        tmp_path / "deep" / "er" / "out",
        output_format=output_format,
    )
    events = run(batch)
    system.rm("/attack", recursive=True)
    system.store.pop(f"/attack/{key}", None)
    assert (named(events, RecordingEmbedded), len(named(events, RecordingFailed))) == (["good.wav"], 1)
    assert "output name," in (batch.folder / "failures.csv").read_text()
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "deep")} == before
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["er"]
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["out"]


def test_fetching_ahead_keeps_the_order() -> None:
    """Items come in their order, and no more are asked for than are allowed ahead."""
    asked: list[int] = []

    def items() -> Iterator[int]:
        for i in range(20):
            asked.append(i)
            yield i

    fetched = remote.fetched_ahead(items(), lambda item: -item, 3)
    assert next(fetched) == 0
    assert len(asked) <= 4
    assert list(fetched) == [-i for i in range(1, 20)]
