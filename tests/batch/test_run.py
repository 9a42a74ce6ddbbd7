"""Batch embedding: all recordings, each once, whatever the number of workers and however often it is interrupted."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from sonyc_ml.base.lock import BATCH, Lock
from sonyc_ml.batch.events import (
    BatchBegun,
    BatchEnded,
    RecordingEmbedded,
    RecordingFailed,
    RecordingKept,
    RecordingProgress,
)
from sonyc_ml.batch.job import Job
from sonyc_ml.batch.run import Batch, embed_recordings
from sonyc_ml.batch.sources import Sources
from sonyc_ml.batch.within import Within, tell_through
from sonyc_ml.errors import BundleError, ConfigError, StoreError
from sonyc_ml.outputs.archive.embeddings import Embeddings
from sonyc_ml.outputs.files import output_path, write_output
from sonyc_ml.outputs.reading import iter_outputs, read_embeddings
from tests.conftest import PATIENCE_S, needs, vouch, write_recording
from tests.support import networks
from tests.support.batches import forget, named, outputs, run

FORMATS = ("npz", "csv", pytest.param("parquet", marks=needs("pyarrow")))


@pytest.fixture
def batch(tmp_path: Path, tiny_bundle: Path) -> Batch:
    """Twelve recordings in three folders, of different lengths."""
    for i in range(12):
        write_recording(tmp_path / "in" / f"{i % 3}" / f"20261121T12{i:02}00Z.wav", seconds=1 + i / 10, seed=i)
    return Batch(Sources([str(tmp_path / "in")]), Job(str(tiny_bundle)), tmp_path / "out")


@pytest.mark.parametrize("output_format", FORMATS)
def test_results_do_not_depend_on_the_workers(output_format: str, batch: Batch) -> None:
    """One worker and three write the same bytes, and tell of every recording once."""
    for workers in (1, 3):
        made = replace(batch, folder=batch.folder / f"{workers}", workers=workers, output_format=output_format)
        events = run(made)
        assert events[0] == BatchBegun(12, workers, "tiny")
        assert len(named(events, RecordingEmbedded)) == len(set(named(events, RecordingEmbedded))) == 12
        assert isinstance(events[-1], BatchEnded)
        assert (events[-1].n_embedded, events[-1].n_kept, events[-1].n_failed) == (12, 0, 0)
        assert events[-1].sound_s == pytest.approx(sum(1 + i / 10 for i in range(12)))
    one, three = outputs(batch.folder / "1"), outputs(batch.folder / "3")
    assert len(one) >= (1 if output_format == "parquet" else 12)
    assert one == three


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_pattern_that_leads_upwards_writes_nothing_outside(output_format: str, batch: Batch, tmp_path: Path) -> None:
    """Recordings that a pattern finds above its own folder are refused with a sentence; the others are embedded."""
    (tmp_path / "in" / "0" / "sub").mkdir()
    inputs = [f"{tmp_path}/in/[0]/*.wav", f"{tmp_path}/in/0/s*/../../1/*.wav"]
    batch = replace(batch, sources=Sources(inputs), folder=tmp_path / "deep" / "out", output_format=output_format)
    events = run(batch)
    assert (len(named(events, RecordingEmbedded)), len(named(events, RecordingFailed))) == (4, 4)
    assert all("leads out of the folder" in event.detail for event in events if isinstance(event, RecordingFailed))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "in"]


def card(folder: Path, names: tuple[str, ...], seed: int, mtime_s: float) -> Path:
    """A memory card: recordings of names that another one may have too."""
    for number, name in enumerate(names):
        path = write_recording(folder / name, seconds=1, seed=seed + number)
        os.utime(path, (mtime_s, mtime_s))
    return folder


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("kind", ["elsewhere", "elsewhere, of the same size and time", "at the same place"])
def test_a_second_card_replaces_nothing(kind: str, output_format: str, batch: Batch, tmp_path: Path) -> None:
    """Recordings of the same names from another card are kept apart by their time, and told; a second run keeps all."""
    names = ("REC1.wav", "sub/REC2.wav")
    place = tmp_path / "card"
    first = replace(batch, sources=Sources([str(card(place, names, 1, 1.6e9))]), output_format=output_format)
    before = {provenance.recording_sha256 for provenance in read_after(first).provenances}
    if kind == "at the same place":
        place.rename(tmp_path / "taken out")
        second = card(place, names, 11, 1.7e9)
    else:
        second = card(tmp_path / "card 2", names, 11, 1.6e9 if "size" in kind else 1.7e9)
    again = replace(first, sources=Sources([str(second)]))
    events = run(again)
    ended = events[-1]
    assert isinstance(ended, BatchEnded)
    assert (ended.n_embedded, ended.n_apart, ended.n_replaced) == (2, 2, 0)
    read = read_after(again)
    assert len(read.provenances) == len(set(read.recording)) == 4
    assert before < {provenance.recording_sha256 for provenance in read.provenances}
    assert len(named(run(again), RecordingKept)) == 2
    sources = Sources([str(tmp_path / "taken out" if kind == "at the same place" else place)])
    assert len(named(run(replace(first, sources=sources)), RecordingKept)) == 2


def read_after(batch: Batch) -> Embeddings:
    """What a batch leaves behind."""
    run(batch)
    return read_embeddings(batch.folder)


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_same_recordings_elsewhere_are_the_same(output_format: str, batch: Batch, tmp_path: Path) -> None:
    """An archive that was moved, or touched, is not embedded under other names; nothing is there twice."""
    batch = replace(batch, output_format=output_format)
    run(batch)
    (tmp_path / "in").rename(tmp_path / "moved")
    moved = replace(batch, sources=Sources([str(tmp_path / "moved")]))
    assert len(named(run(moved), RecordingKept)) == 12
    for task in moved.sources:
        os.utime(task.path, (1.7e9, 1.7e9))
    assert len(read_after(moved).provenances) == 12


@pytest.mark.parametrize("pair", [("npz", "csv"), ("csv", "npz"), ("npz", "parquet"), ("parquet", "csv")])
def test_a_second_format_is_refused(pair: tuple[str, str], batch: Batch, tmp_path: Path) -> None:
    """A second format would have every window in the folder twice; other folders' outputs and tables do not matter."""
    if "parquet" in pair:
        pytest.importorskip("pyarrow")
    batch = replace(batch, sources=Sources([str(tmp_path / "in" / "0")]))
    run(replace(batch, output_format=pair[0]))
    before = outputs(batch.folder)
    with pytest.raises(ConfigError, match=r"holds outputs of another format already, .*; give another --output"):
        run(replace(batch, output_format=pair[1]))
    assert outputs(batch.folder) == before
    (tmp_path / "above").mkdir()
    batch.folder.rename(tmp_path / "above" / "out")
    (tmp_path / "above" / "table.csv").write_text("a,b\n1,2\n")
    assert run(replace(batch, folder=tmp_path / "above", output_format=pair[1]))


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_name_in_the_way_costs_itself_alone(workers: int, output_format: str, batch: Batch, tmp_path: Path) -> None:
    """A recording whose output cannot have its name is listed as failed; every other one is embedded."""
    suffix = "arrow" if output_format == "parquet" else output_format
    write_recording(tmp_path / "in" / "0" / "a.wav")
    write_recording(tmp_path / "in" / "0" / f"a.wav.{suffix}" / "b.wav")
    events = run(replace(batch, output_format=output_format, workers=workers))
    assert len(named(events, RecordingEmbedded)) == 13
    (failed,) = [event for event in events if isinstance(event, RecordingFailed)]
    assert (failed.reason, failed.recording[:7]) == ("output name", "0/a.wav")


@pytest.mark.parametrize("output_format", FORMATS)
def test_what_is_done_is_kept(output_format: str, batch: Batch, tmp_path: Path) -> None:
    """A second run embeds only what is new and what has changed."""
    batch = replace(batch, output_format=output_format)
    run(batch)
    before = outputs(batch.folder)
    assert (named(run(batch), RecordingKept), outputs(batch.folder)) == (
        sorted(source.name for source in batch.sources),
        before,
    )
    write_recording(tmp_path / "in" / "new.wav")
    write_recording(tmp_path / "in" / "0" / "20261121T120000Z.wav", seconds=3, seed=99)
    events = run(batch)
    assert named(events, RecordingEmbedded) == ["0/20261121T120000Z.wav", "new.wav"]
    read = read_embeddings(batch.folder)
    assert sorted(provenance.recording for provenance in read.provenances) == sorted(t.name for t in batch.sources)
    assert np.count_nonzero(read.recording == "0/20261121T120000Z.wav") == 21


@pytest.mark.parametrize("output_format", FORMATS)
def test_other_parameters_compute_anew(output_format: str, batch: Batch) -> None:
    """Another hop, another channel or another bundle replaces every output; nothing of the old way is left."""
    batch = replace(batch, output_format=output_format)
    run(batch)
    other = replace(batch, job=replace(batch.job, parameters={"hop_size": 0.5}))
    assert len(named(run(other), RecordingEmbedded)) == 12
    read = read_embeddings(batch.folder)
    assert {provenance.hop_size_s for provenance in read.provenances} == {0.5}
    assert len(read.provenances) == 12
    assert len(named(run(other), RecordingKept)) == 12
    fresh = replace(other, folder=batch.folder.with_name("fresh"))
    run(fresh)
    assert sum(map(len, outputs(batch.folder).values())) == sum(map(len, outputs(fresh.folder).values()))


@pytest.mark.parametrize("output_format", FORMATS)
def test_truncated_outputs_are_made_anew(output_format: str, batch: Batch) -> None:
    """An output that is not whole is no output, with a ledger or without one."""
    batch = replace(batch, output_format=output_format)
    run(batch)
    before = outputs(batch.folder)
    for loses_ledger in (False, True):
        victim = next(path for path in sorted(batch.folder.rglob(f"*.{output_format}")))
        victim.write_bytes(victim.read_bytes()[:-30])
        if loses_ledger:
            forget(batch)
        n_lost = 12 if output_format == "parquet" else 1
        assert len(named(run(batch), RecordingEmbedded)) == n_lost
        assert outputs(batch.folder) == before


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_lost_or_damaged_ledger_costs_nothing(output_format: str, batch: Batch) -> None:
    """The outputs are the truth: without the ledger, or with one that is scribbled over, none is made anew."""
    batch = replace(batch, output_format=output_format)
    run(batch)
    before = outputs(batch.folder)
    forget(batch)
    assert len(named(run(batch), RecordingKept)) == 12
    path = batch.folder / ".sonyc-ml" / f"batch-{output_format}.sqlite"
    path.write_bytes(b"scribbled over" * 1000)
    assert len(named(run(batch), RecordingKept)) == 12
    assert outputs(batch.folder) == before


@pytest.mark.parametrize("output_format", FORMATS)
def test_an_interrupted_batch_goes_on(output_format: str, batch: Batch) -> None:
    """Stopped after every third recording, it computes each once and ends with the very outputs of one run."""
    whole = replace(batch, folder=batch.folder.with_name("whole"), output_format=output_format)
    run(whole)
    batch = replace(batch, output_format=output_format)
    embedded: list[str] = []
    for _ in range(4):
        events = embed_recordings(batch)
        made = (event.recording for event in events if isinstance(event, RecordingEmbedded))
        embedded += islice(made, 3)
        events.close()
    assert isinstance(run(batch)[-1], BatchEnded)
    assert sorted(embedded) == sorted(source.name for source in batch.sources)
    assert outputs(batch.folder) == outputs(whole.folder)


def test_what_others_embedded_is_kept(batch: Batch) -> None:
    """Outputs that the library or the daemon wrote, of the same recordings in the same way, are not made anew."""
    model = batch.job.load_model()
    for source in batch.sources:
        write_output(model.embed_file(source.path, name=source.name), output_path(source.name, batch.folder))
    assert len(named(run(batch), RecordingKept)) == 12


@pytest.mark.parametrize("output_format", FORMATS)
def test_one_bad_recording_costs_only_itself(output_format: str, batch: Batch, tmp_path: Path) -> None:
    """A recording that cannot be read is told and listed with its reason; once it is mended, the list is gone."""
    bad = tmp_path / "in" / "bad, with a comma.wav"
    bad.write_bytes(b"no sound at all")
    batch = replace(batch, output_format=output_format, workers=2)
    events = run(batch)
    assert len(named(events, RecordingEmbedded)) == 12
    (failed,) = [event for event in events if isinstance(event, RecordingFailed)]
    assert (failed.recording, failed.source, failed.reason) == (bad.name, str(bad), "unreadable")
    with (batch.folder / "failures.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["recording", "source", "reason", "detail"],
            [bad.name, str(bad), "unreadable", failed.detail],
        ]
    assert len(list(iter_outputs(batch.folder))) == 12
    write_recording(bad)
    assert named(run(batch), RecordingEmbedded) == [bad.name]
    assert not (batch.folder / "failures.csv").exists()


def test_a_strict_batch_ends_at_the_first_failure(batch: Batch, tmp_path: Path) -> None:
    """What was embedded before stays, and the failure is listed."""
    (tmp_path / "in" / "0" / "a.wav").write_bytes(b"no sound at all")  # behind four that are good
    events = run(replace(batch, strict=True))
    assert isinstance(events[-1], RecordingFailed)
    assert len(named(events, RecordingEmbedded)) == 4
    assert "a.wav" in (batch.folder / "failures.csv").read_text()


def test_truncated_recordings_are_salvaged_when_told_so(batch: Batch, tmp_path: Path) -> None:
    """Without being told they fail as unfinished; with it there is what there is of them, marked."""
    path = write_recording(tmp_path / "in" / "0" / "cut.wav", seconds=2)
    path.write_bytes(path.read_bytes()[:20000])
    assert named(run(batch), RecordingFailed) == ["0/cut.wav"]
    salvaging = replace(batch, job=replace(batch.job, salvage=True))
    assert named(run(salvaging), RecordingEmbedded) == ["0/cut.wav"]
    salvaged = [output.provenance.recording for output in iter_outputs(batch.folder) if output.provenance.salvaged]
    assert salvaged == ["0/cut.wav"]


def test_a_recording_that_kills_a_process_costs_only_itself(tmp_path: Path, deadly_bundle: Path) -> None:
    """The process that dies takes nothing with it: what else was at hand is embedded, and the killer is named."""
    for i in range(10):
        write_recording(tmp_path / "in" / f"{i}.wav", seconds=2 if i == 4 else 1, seed=i)
    batch = Batch(Sources([str(tmp_path / "in")]), Job(str(deadly_bundle)), tmp_path / "out", workers=2)
    events = run(batch)
    assert named(events, RecordingEmbedded) == [f"{i}.wav" for i in range(10) if i != 4]
    (failed,) = [event for event in events if isinstance(event, RecordingFailed)]
    assert (failed.recording, failed.reason) == ("4.wav", "killed the process")


@pytest.fixture
def deadly_bundle(tmp_path: Path) -> Path:
    """A bundle whose extractor kills the process that gives it more than a second and a half of sound."""
    source = tmp_path / "deadly_features.py"
    source.write_text(
        "import os, signal\nimport numpy as np\n\n\n"
        "def get_features(y, sr, hop_size=None):\n"
        "    if len(y) > 1.5 * sr:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return np.zeros((1, 64, 51), np.float32)\n"
    )
    network = tmp_path / "deadly" / "deadly.tflite"
    network.parent.mkdir()
    network.write_bytes(networks.dense((1, 64, 51, 1)))
    command = [sys.executable, "-m", "sonyc_ml", "features", "export", str(network.with_suffix(".pkl"))]
    command += ["--function", "deadly_features:get_features"]
    subprocess.run(command, check=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    return vouch(network)


def test_two_batches_do_not_share_a_folder(batch: Batch) -> None:
    """The second one is told who is at it, and touches nothing."""
    lock = Lock(batch.folder / ".sonyc-ml", BATCH)
    try:
        with pytest.raises(ConfigError, match=rf"process {os.getpid()} already embeds into the folder"):
            run(batch)
    finally:
        lock.release()
    assert not list(batch.folder.rglob("*.npz"))


def test_a_disk_that_fails_ends_it(batch: Batch) -> None:
    """Where outputs cannot be written it ends at once, and says why; nothing half-written is left."""
    blocked = batch.folder / "1"
    batch.folder.mkdir()
    blocked.symlink_to(batch.folder.with_name("a disk that is away"))
    for workers in (1, 2):
        with pytest.raises(StoreError, match="is not a folder"):
            run(replace(batch, workers=workers))
        assert not list(batch.folder.rglob(".*.tmp"))


def test_what_a_killed_batch_was_writing_is_removed(batch: Batch) -> None:
    """Temporary files that nobody holds are gone after the next run."""
    left = batch.folder / "0" / ".0123456789abcdef.tmp"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half an output")
    run(batch)
    assert not left.exists()


def test_nothing_to_embed_is_said(batch: Batch, tmp_path: Path) -> None:
    """An empty folder, no workers, an unknown format and a missing bundle are each told."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"there are no recordings in .*empty"):
        run(replace(batch, sources=Sources([str(tmp_path / "empty")])))
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        replace(batch, workers=0)
    with pytest.raises(ValueError, match="output_format must be npz, csv, parquet, not 'hdf5'"):
        replace(batch, output_format="hdf5")
    with pytest.raises(BundleError):
        run(replace(batch, job=Job(str(tmp_path / "nowhere.tflite"))))


def test_a_recording_that_vanishes_is_told(batch: Batch, tmp_path: Path) -> None:
    """One that is listed and not there fails, and the others are embedded."""
    listed = [str(tmp_path / "in" / "0" / "20261121T120000Z.wav"), str(tmp_path / "gone.wav")]
    events = run(replace(batch, sources=Sources([], listed)))
    (failed,) = [event for event in events if isinstance(event, RecordingFailed)]
    assert failed.source == listed[1]
    assert failed.detail.endswith("gone.wav: No such file or directory")
    assert len(named(events, RecordingEmbedded)) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_within_a_long_recording_is_reported(workers: int, batch: Batch, tmp_path: Path) -> None:
    """While a recording takes long, it is said how far it is, at most once a second; short ones are not spoken of."""
    write_recording(tmp_path / "long" / "night.wav", seconds=240)
    write_recording(tmp_path / "long" / "short.wav", seconds=1)
    job = replace(batch.job, parameters={"hop_size": 0.012})
    told: list[tuple[float, RecordingProgress]] = []
    long = replace(batch, sources=Sources([str(tmp_path / "long")]), job=job, workers=workers)
    ended = list(embed_recordings(long, lambda event: told.append((time.monotonic(), event))))[-1]
    assert isinstance(ended, BatchEnded)
    assert ended.n_embedded == 2
    positions = [event.done_s for _, event in told]
    assert 1 <= len(told) <= ended.elapsed_s + 1
    assert {(event.recording, event.duration_s) for _, event in told} == {("night.wav", 240.0)}
    assert positions == sorted(positions)
    assert 0 < positions[0] <= positions[-1] <= 240


def test_progress_that_nobody_reads_holds_up_nobody() -> None:
    """A pipe takes what it has room for; what was said last of each task is what counts."""
    within = Within()
    tell = tell_through(within.writer)
    for done_s in range(10_000):
        tell(done_s % 2, float(done_s), 1e5)
    latest = within.latest([0, 7])
    assert set(latest) == {0}
    assert 1000 < latest[0][0] < 10_000
    assert within.latest([0, 1]) == {}
    tell(1, 3.5, 9.0)
    assert within.latest([0, 1]) == {1: (3.5, 9.0)}
    within.close()
    tell(1, 4.5, 9.0)  # nobody is there any more


def test_workers_end_with_the_batch(batch: Batch, tmp_path: Path) -> None:
    """Killed, a batch leaves no process behind."""
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from sonyc_ml.batch.run import Batch, embed_recordings\nfrom sonyc_ml.batch.job import Job\n"
        "from sonyc_ml.batch.sources import Sources\n\n"
        "if __name__ == '__main__':\n"
        "    source, bundle, out = sys.argv[1:]\n"
        "    for event in embed_recordings(Batch(Sources([source]), Job(bundle), Path(out), workers=2)):\n"
        "        print(type(event).__name__, flush=True)\n"
        "        if type(event).__name__ == 'RecordingEmbedded':\n"
        "            sys.stdin.read()\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    command = [sys.executable, str(script), str(tmp_path / "in"), batch.job.model_path, str(batch.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "RecordingEmbedded" not in process.stdout.readline():
            pass
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) >= 2
        process.kill()
    end_s = time.monotonic() + PATIENCE_S
    while any(is_alive(int(child)) for child in children):
        assert time.monotonic() < end_s
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be noticed does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("output_format", FORMATS)
def test_another_time_is_not_another_recording(output_format: str, batch: Batch, tmp_path: Path) -> None:
    """Recordings whose times were shifted, rounded or set anew are kept; one with as many other bytes is embedded."""
    batch = replace(batch, output_format=output_format)
    run(batch)
    before = outputs(batch.folder)
    paths = sorted((tmp_path / "in").rglob("*.wav"))
    for path, shift_ns in zip(paths, (3600 * 10**9, -1_234_567_891, 7, 400 * 86400 * 10**9), strict=False):
        mtime_ns = path.stat().st_mtime_ns + shift_ns
        os.utime(path, ns=(mtime_ns, mtime_ns))
    assert named(run(batch), RecordingEmbedded) == []
    assert outputs(batch.folder) == before
    forget(batch)  # the outputs alone know as much
    assert named(run(batch), RecordingEmbedded) == []
    content = bytearray(paths[0].read_bytes())
    content[-1] ^= 1
    paths[0].write_bytes(content)
    assert named(run(batch), RecordingEmbedded) == [paths[0].relative_to(tmp_path / "in").as_posix()]


def test_nothing_is_read_again_where_times_hold(batch: Batch, tmp_path: Path) -> None:
    """What is done is known by size and time alone: recordings that could not be read any more are kept."""
    run(batch)
    for path in (tmp_path / "in").rglob("*.wav"):
        status = path.stat()
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert len(named(run(batch), RecordingKept)) == 12
