"""Recordings that are through go when they may, after proof, and never before; the journal stays short."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import logging
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import StoreError
from sonyc_ml.model import Model, SpecModel
from sonyc_ml.model.loading import load_model
from sonyc_ml.node.config import Config, ModelConfig, OutputConfig, RetentionConfig, SpoolConfig
from sonyc_ml.node.journal.file import FILE_NAME
from sonyc_ml.node.journal.journal import Journal, OutputSummary
from sonyc_ml.node.retention.move import archive
from sonyc_ml.node.retention.proof import covers_recording, proof
from sonyc_ml.node.retention.sweep import Sweeper, free_share
from sonyc_ml.node.retention.thread import RetentionThread
from sonyc_ml.outputs.files import read_output, write_output
from sonyc_ml.outputs.output import Output
from tests.conftest import PATIENCE_S, write_recording

NOW_S = 1_800_000_000.0
DAY_S = 86400.0


@dataclass
class Node:
    """A spool with recordings, their outputs and a journal; its clock stands still."""

    folder: Path
    model: Model
    now_s: float = NOW_S
    settings: dict[str, Any] = field(default_factory=lambda: {"policy": "delete"})
    output_format: str = "npz"
    bundles: tuple[str, ...] = ("tiny.tflite",)

    def __post_init__(self) -> None:
        self.spool, self.outputs = self.folder / "spool", self.folder / "out"
        self.spool.mkdir()
        self.journal = Journal(self.folder / "out" / ".sonyc-ml", clock=lambda: self.now_s)

    @property
    def config(self) -> Config:
        return Config(
            spool=SpoolConfig(self.spool),
            model=tuple(ModelConfig(Path(name)) for name in self.bundles),
            output=OutputConfig(self.outputs, self.output_format),
            retention=RetentionConfig(**self.settings),
        )

    def record(self, name: str = "a.wav", seconds: float = 2.0, *, age_s: float = 0.0, seed: int = 0) -> Identity:
        """Write a recording that the journal knows as pending."""
        path = write_recording(self.spool / name, seconds, seed=seed)
        mtime_ns = int((self.now_s - age_s) * 1e9)
        os.utime(path, ns=(mtime_ns, mtime_ns))
        identity = self.identify(name)
        self.journal.add([identity])
        return identity

    def identify(self, name: str) -> Identity:
        status = (self.spool / name).stat()
        return Identity(name, status.st_size, status.st_mtime_ns)

    def embed(self, name: str = "a.wav", **how: Any) -> Identity:
        """Write a recording and its outputs; the journal knows it as done."""
        identity = self.record(name, **how)
        output = self.model.embed_file(self.spool / name, name=name)
        for folder in self.config.output_folders:
            write_output(output, folder / f"{name}.{self.output_format}")
        self.journal.finish(identity, OutputSummary(None, 2.0, 0.1))
        return identity

    def output(self, name: str = "a.wav") -> Path:
        return self.outputs / f"{name}.{self.output_format}"

    def rewrite(self, change: Callable[[Output], Output]) -> None:
        """Publish another output in place of that of a.wav."""
        write_output(change(read_output(self.output())), self.output())

    def sweeper(self, **how: Any) -> Sweeper:
        given: dict[str, Any] = {"journal": self.journal, "prove": self.prove, "clock": lambda: self.now_s}
        given |= how
        return Sweeper(self.config.retention, self.spool, **given)

    def prove(self, identity: Identity) -> str:
        return proof(identity, self.spool, self.config.output_folders, self.output_format)

    def thread(self) -> RetentionThread:
        return RetentionThread(self.config.retention, self.spool, self.config.state_folder, self.prove)

    def sweep(self, **how: Any) -> Counter[str]:
        return self.sweeper(**how).sweep()

    def fate(self, identity: Identity) -> str:
        return next(entry.fate for entry in self.journal.find(identity.name) if entry.identity == identity)

    def names(self, folder: Path | None = None) -> list[str]:
        folder = folder or self.spool
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def tiny_model(tiny_bundle: Path) -> Model:
    return load_model(tiny_bundle)


@pytest.fixture
def node(tmp_path: Path, tiny_model: Model) -> Iterator[Node]:
    node = Node(tmp_path, tiny_model)
    yield node
    node.journal.close()


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    folder = Path("/dev/shm") / f"{tmp_path.name}-{os.getpid()}"
    folder.mkdir()
    if folder.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is on the disk of the temporary files")
    yield folder
    shutil.rmtree(folder)


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def damage(path: Path) -> None:
    """Change a bit of the embedding's numbers."""
    numbers = read_output(path).embedding
    assert numbers is not None
    flip(path, path.read_bytes().index(numbers.tobytes()) + 5)


def rows(output: Output, keep: Any) -> Output:
    """An output with some of its rows."""
    assert output.embedding is not None
    return dataclasses.replace(output, timestamps=output.timestamps[keep], embedding=output.embedding[keep])


# --- proof ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_format", ["npz", "csv"])
@pytest.mark.parametrize("seconds", [0.3, 1.0, 1.0001, 1.1, 2.0, 2.0499, 2.05, 33.333])
def test_good_output_is_proof(node: Node, output_format: str, seconds: float) -> None:
    """A recording of any length whose output is whole may go."""
    node.output_format = output_format
    assert node.prove(node.embed(seconds=seconds)) == ""


def test_truncated_recording_is_proved_by_what_was_salvaged(node: Node) -> None:
    """A salvaged recording goes as well as a whole one."""
    path = write_recording(node.spool / "a.wav", 3.0)
    os.truncate(path, path.stat().st_size - 8001)
    output = node.model.embed_file(path, salvage=True)
    write_output(output, node.output())
    assert output.provenance.salvaged
    assert node.prove(node.identify("a.wav")) == ""


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("output_format", ["npz", "csv"])
def test_truncated_output_is_no_proof(node: Node, share: float, output_format: str) -> None:
    """An output that ends early keeps its recording, wherever it ends."""
    node.output_format = output_format
    identity = node.embed()
    os.truncate(node.output(), int(share * node.output().stat().st_size))
    assert node.prove(identity) in ("output damaged", "rows do not match")


def test_csv_that_ends_within_its_last_number_is_no_proof(node: Node) -> None:
    """A csv whose last number has lost a digit keeps its recording, though it still reads as a number."""
    node.output_format = "csv"
    identity = node.embed()
    os.truncate(node.output(), node.output().stat().st_size - 2)
    assert node.prove(identity) == "output damaged"


def test_csv_with_short_rows_is_no_proof(node: Node) -> None:
    """A csv whose rows have fewer numbers than its heading has names keeps its recording."""
    node.output_format = "csv"
    identity = node.embed()
    lines = node.output().read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("timestamp,"))
    heading = ",".join(["timestamp", *(f"embedding_{i}" for i in range(5))])
    node.output().write_text("\n".join([*lines[:first], heading, *["0.0,1.0"] * 3, ""]))
    with pytest.raises(ValueError, match="not as long as its heading"):
        read_output(node.output())
    assert node.prove(identity) == "output damaged"


def test_flipped_bit_is_no_proof(node: Node) -> None:
    """A bit that has changed anywhere among the embedding's numbers keeps the recording."""
    identity = node.embed()
    numbers = read_output(node.output()).embedding
    assert numbers is not None
    first = node.output().read_bytes().index(numbers.tobytes())
    for position in (first, first + numbers.nbytes // 2, first + numbers.nbytes - 1):
        flip(node.output(), position)
        assert node.prove(identity) == "output damaged"
        flip(node.output(), position)
    assert node.prove(identity) == ""


def test_output_of_another_recording_is_no_proof(node: Node) -> None:
    """The output of another recording proves nothing, be its length, size and time the same."""
    identity = node.embed("a.wav", seed=1)
    node.embed("b.wav", seed=2)
    shutil.copy(node.output("b.wav"), node.output("a.wav"))
    assert node.prove(identity) == "recording changed"
    node.embed("b.wav", seconds=3.0)
    shutil.copy(node.output("b.wav"), node.output("a.wav"))
    assert node.prove(identity) == "no output"


@pytest.mark.parametrize("seconds", [1.05, 2.0, 2.049, 2.099, 10.0001])
@pytest.mark.parametrize(
    "keep",
    [slice(1, None), slice(None, -1), slice(None, None, 2), [0, *range(2, 100)], slice(0, 0)],
    ids=["first", "last", "every other", "second", "all"],
)
def test_missing_row_is_no_proof(node: Node, keep: Any, seconds: float) -> None:
    """A recording is kept where any of its windows is missing, times and all."""
    identity = node.embed(seconds=seconds)
    n_windows = len(read_output(node.output()).timestamps)
    if isinstance(keep, list):
        keep = [row for row in keep if row < n_windows]
    node.rewrite(lambda output: rows(output, keep))
    if len(read_output(node.output()).timestamps) < n_windows:
        assert node.prove(identity) in ("rows do not match", "output damaged")


FROM_START: list[dict[str, Any]] = [{}, {"lead_s": 0.5}, {"shortest_s": 0.47}, {"shortest_s": 0.23, "lead_s": 0.125}]


@pytest.mark.parametrize("seconds", [0.2, 1.0, 1.05, 2.0, 2.7, 10.3])
@pytest.mark.parametrize("hop_size", [0.1, 1.0])
@pytest.mark.parametrize("begins", FROM_START, ids=str)
def test_windows_from_the_start_are_proof_if_none_is_missing(
    node: Node, begins: dict[str, Any], hop_size: float, seconds: float
) -> None:
    """An output whose windows begin at the recording's start is proof where it is whole, and not with a row less."""
    path = write_recording(node.spool / "a.wav", seconds)
    output = SpecModel(node.model.bundle.path, align="start", hop_size=hop_size, **begins).embed_file(path)
    write_output(output, node.output())
    assert node.prove(node.identify("a.wav")) == ""
    for keep in (slice(1, None), slice(None, -1)):
        if len(output.timestamps) > 1:
            write_output(rows(output, keep), node.output())
            assert node.prove(node.identify("a.wav")) == "rows do not match"


def test_row_too_many_is_no_proof(node: Node) -> None:
    """Windows beyond the recording's end are not those of this recording."""
    identity = node.embed()
    node.rewrite(lambda output: rows(output, [*range(len(output.timestamps)), -1]))
    assert node.prove(identity) == "rows do not match"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_no_proof(node: Node, value: float) -> None:
    """An embedding with NaN or infinity keeps the recording."""
    identity = node.embed()

    def spoil(output: Output) -> Output:
        assert output.embedding is not None
        output.embedding[3, 0] = value
        return output

    node.rewrite(spoil)
    assert node.prove(identity) == "output damaged"


def test_fewer_rows_than_windows_are_no_proof(node: Node) -> None:
    """Each window has its row, in every array."""
    identity = node.embed()
    node.rewrite(lambda output: dataclasses.replace(output, scores=np.zeros((2, 3), np.float32)))
    assert node.prove(identity) == "output damaged"


def test_output_without_numbers_is_no_proof(node: Node) -> None:
    """Times alone are no output."""
    identity = node.embed()
    node.rewrite(lambda output: dataclasses.replace(output, embedding=None))
    assert node.prove(identity) == "output damaged"


def test_recording_changed_by_a_byte_is_kept(node: Node) -> None:
    """A byte that changed without a trace in size and time is found by the SHA-256."""
    identity = node.embed()
    flip(node.spool / "a.wav", 5000)
    os.utime(node.spool / "a.wav", ns=(identity.mtime_ns, identity.mtime_ns))
    assert node.identify("a.wav") == identity
    assert node.prove(identity) == "recording changed"


def test_sound_that_its_header_hides_is_no_proof(node: Node) -> None:
    """What a stale header leaves out was never embedded: its length cannot prove itself, nor can one from before."""
    path = write_recording(node.spool / "a.wav", 4.0)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = (int.from_bytes(content[place : place + 4], "little") // 2).to_bytes(4, "little")
    write_recording(path, 2.0)
    output = node.model.embed_file(path, name="a.wav")
    path.write_bytes(content)
    os.utime(path, ns=(int(NOW_S * 1e9), int(NOW_S * 1e9)))
    identity = node.identify("a.wav")
    sha256 = hashlib.sha256(content).hexdigest()
    changes: dict[str, Any] = {
        "recording_sha256": sha256,
        "recording_bytes": identity.n_bytes,
        "recording_mtime_ns": identity.mtime_ns,
    }
    for is_salvaged in (False, True):
        provenance = dataclasses.replace(output.provenance, **changes, salvaged=is_salvaged)
        write_output(dataclasses.replace(output, provenance=provenance), node.output())
        assert node.prove(identity)


def test_length_is_that_of_the_recording(node: Node) -> None:
    """An output that tells of fewer samples than the recording has proves nothing of the rest."""
    identity = node.embed(seconds=2.0)
    told = node.model.embed_file(write_recording(node.folder / "short.wav", 1.0))
    provenance = read_output(node.output()).provenance
    shorter = dataclasses.replace(provenance, n_samples=told.provenance.n_samples)
    write_output(dataclasses.replace(told, provenance=shorter), node.output())
    assert node.prove(identity) == "rows do not match"


def test_every_bundle_has_to_have_its_output(node: Node) -> None:
    """With two bundles, a recording goes when both outputs are proved."""
    node.bundles = ("one.tflite", "two.tflite")
    identity = node.embed()
    assert node.prove(identity) == ""
    (node.outputs / "two" / "a.wav.npz").unlink()
    assert node.prove(identity) == "no output"


def test_output_that_cannot_be_read_is_not_called_damaged(node: Node) -> None:
    """What the disk does not give is no damage."""
    identity = node.embed()
    node.output().unlink()
    node.output().mkdir()
    assert node.prove(identity) == "I/O error"


def test_recording_that_is_no_sound_any_more_is_kept(node: Node) -> None:
    """A file that cannot be opened as sound proves nothing."""
    identity = node.embed()
    content = (node.spool / "a.wav").read_bytes()
    (node.spool / "a.wav").write_bytes(b"junk" + content[4:])
    os.utime(node.spool / "a.wav", ns=(identity.mtime_ns, identity.mtime_ns))
    assert node.prove(identity) == "recording unreadable"


def test_recording_that_is_not_there_proves_nothing(node: Node) -> None:
    """A recording that went, or became another, after it was looked at stays what it is."""
    identity = node.embed()
    os.utime(node.spool / "a.wav")
    assert node.prove(identity) == "recording changed"
    with (node.spool / "a.wav").open("ab") as file:
        file.write(bytes(2))
    assert node.prove(identity) == "recording changed"
    (node.spool / "a.wav").write_bytes(b"RIFF")
    assert node.prove(identity) == "recording changed"
    (node.spool / "a.wav").unlink()
    assert node.prove(identity) == "I/O error"


@pytest.mark.parametrize(
    ("n_windows", "is_enough"),
    [(89, False), (90, True), (91, True), (92, True), (101, True), (102, True), (103, False)],
)
def test_rows_of_a_foreign_extractor_may_be_one_off(node: Node, n_windows: int, is_enough: bool) -> None:
    """Another's extractor may pad as it likes, up to half a window on either side, and may round."""
    node.embed(seconds=10.0)
    output = read_output(node.output())
    embedding = np.zeros((n_windows, 2), np.float32)
    timestamps = np.asarray(np.arange(n_windows) * 0.1, np.float64)
    foreign = dataclasses.replace(output.provenance, res_type="")
    foreign_output = dataclasses.replace(output, timestamps=timestamps, embedding=embedding, provenance=foreign)
    assert covers_recording(foreign_output) is is_enough


@pytest.mark.parametrize("output_format", ["npz", "csv"])
def test_output_reads_as_it_was_written(node: Node, output_format: str) -> None:
    """What is read back of an output is all of it, to the last bit."""
    node.output_format = output_format
    node.embed()
    written = node.model.embed_file(node.spool / "a.wav")
    scores = np.random.default_rng(0).random((len(written.timestamps), 2), np.float32)
    for labels in ((), ("dog, barking", 'a "siren"')):
        output = dataclasses.replace(written, scores=scores, labels=labels)
        write_output(output, node.output())
        read = read_output(node.output())
        assert (read.labels, read.provenance) == (output.labels, output.provenance)
        for name in ("timestamps", "embedding", "scores"):
            np.testing.assert_array_equal(getattr(read, name), getattr(output, name))
            assert getattr(read, name).dtype == getattr(output, name).dtype


# --- who goes ---------------------------------------------------------------------------------------------------------


def test_what_is_proved_is_deleted(node: Node) -> None:
    """Once its output is proved, a recording goes, and the journal says so."""
    identity = node.embed("sub/a.wav")
    assert node.sweep() == {"deleted": 1}
    assert node.names() == []
    assert node.fate(identity) == "deleted"
    assert node.output("sub/a.wav").exists()
    assert node.sweep() == {}


def test_empty_folders_stay(node: Node) -> None:
    """A folder is not removed: somebody may be about to write into it."""
    node.embed("sub/a.wav")
    node.sweep()
    os.utime(node.spool / "sub", (0, 0))
    assert node.sweep() == {}
    assert (node.spool / "sub").is_dir()


def test_policy_keep_keeps(node: Node) -> None:
    """Nothing goes where nothing else is said."""
    node.settings = {}
    node.embed()
    assert node.sweep() == {}
    assert node.names() == ["a.wav"]


def test_what_is_not_proved_stays(node: Node) -> None:
    """Without proof a recording stays, is counted by the reason, and is looked at again."""
    identity = node.embed()
    damage(node.output())
    good = node.embed("b.wav")
    sweeper = node.sweeper()
    assert sweeper.sweep() == {"kept: output damaged": 1, "deleted": 1}
    assert sweeper.examples == {"kept: output damaged": "a.wav", "deleted": "b.wav"}
    assert (node.fate(identity), node.fate(good)) == ("", "deleted")
    write_output(node.model.embed_file(node.spool / "a.wav"), node.output())
    assert node.sweep() == {"deleted": 1}


def test_not_before_its_age(node: Node) -> None:
    """A recording stays for as long as is said after it was done, however old its sound is."""
    node.settings |= {"after_s": 3600.0}
    node.embed(age_s=30 * DAY_S)
    node.now_s += 3599
    assert node.sweep() == {}
    node.now_s += 1
    assert node.sweep() == {"deleted": 1}


def test_what_is_not_done_is_never_touched(node: Node) -> None:
    """Pending, quarantined and shed recordings stay, be there an output of them or not."""
    names = ("pending.wav", "quarantined.wav", "shed.wav", "again.wav")
    identities = [node.embed(name) for name in names]
    pending, quarantined, shed, again = (node.journal.find(name)[0] for name in names)
    node.journal.retry([pending, again])
    node.journal.take()
    node.journal.quarantine(quarantined.identity, "unreadable", "it is no sound")
    node.journal.shed(shed.identity, "too old", "it waited too long")
    node.now_s += 365 * DAY_S
    assert node.sweep() == {}
    assert node.names() == sorted(names)
    assert [node.fate(identity) for identity in identities] == [""] * 4


def test_others_go_when_told(node: Node) -> None:
    """Quarantined and shed recordings go where they are named; pending ones cannot be named."""
    node.settings |= {"states": ("quarantined", "shed")}
    for name, end in (("q.wav", node.journal.quarantine), ("s.wav", node.journal.shed)):
        end(node.record(name), "refused", "for the test")
    node.record("pending.wav")
    node.embed("done.wav")
    assert node.sweep() == {"deleted": 2}
    assert node.names() == ["done.wav", "pending.wav"]
    with pytest.raises(ValueError, match="never touched"):
        RetentionConfig(states=("pending",))


def test_what_becomes_pending_meanwhile_stays(node: Node) -> None:
    """A recording that somebody makes pending during a sweep is not removed under the worker's hands."""
    identity = node.embed()

    def prove_and_retry(identity: Identity) -> str:
        node.journal.retry(node.journal.find(identity.name))
        return node.prove(identity)

    assert node.sweep(prove=prove_and_retry) == {"kept: changed meanwhile": 1}
    assert node.identify("a.wav") == identity


def test_another_recording_of_the_name_stays(node: Node) -> None:
    """A file that was written over is another recording: it stays, and the journal tells of the old one."""
    old = node.embed(age_s=60.0)
    new = node.record("a.wav", seconds=3.0)
    assert node.sweep() == {"overwritten": 1}
    assert (node.fate(old), node.fate(new)) == ("overwritten", "")
    assert node.identify("a.wav") == new


def test_next_recording_of_the_name_goes_with_its_own_output(node: Node) -> None:
    """A name used again is proved by its own output, which has its time in the name."""
    node.embed(age_s=60.0)
    new = node.record("a.wav", seconds=3.0)
    output = node.model.embed_file(node.spool / "a.wav")
    write_output(output, node.outputs / f"a.wav.{new.stamp}.npz")
    node.journal.finish(new, OutputSummary(None, 3.0, 0.1))
    assert node.sweep() == {"overwritten": 1, "deleted": 1}


# --- by free space ----------------------------------------------------------------------------------------------------


def full_disk(node: Node, free: float, each: float = 0.1) -> Callable[[Path], float]:
    """A disk of which each recording that goes frees a share."""
    n_before = len(node.names())
    return lambda _: free + each * (n_before - len(node.names()))


def test_nothing_goes_while_there_is_room(node: Node) -> None:
    """With a low water mark, age alone removes nothing."""
    node.settings |= {"free_low": 0.2, "free_high": 0.4}
    node.embed(age_s=DAY_S)
    node.now_s += 365 * DAY_S
    assert node.sweep(free_space=lambda _: 0.2) == {}


def test_oldest_go_until_there_is_room(node: Node) -> None:
    """Below the low mark the oldest recordings go, whatever their names, until the high mark is reached."""
    node.settings |= {"free_low": 0.2, "free_high": 0.4}
    for name, age_s in (("a.wav", 10), ("b.wav", 50), ("c.wav", 30), ("d.wav", 40), ("e.wav", 20)):
        node.embed(name, age_s=age_s)
    assert node.sweep(free_space=full_disk(node, 0.15)) == {"deleted": 3}
    assert node.names() == ["a.wav", "e.wav"]


def test_age_holds_below_the_low_mark_too(node: Node) -> None:
    """However full the disk is, what is too young stays, and that is told."""
    node.settings |= {"free_low": 0.2, "free_high": 0.4, "after_s": 60.0}
    node.embed("old.wav")
    node.now_s += 60
    node.embed("young.wav")
    assert node.sweep(free_space=full_disk(node, 0.0)) == {"deleted": 1, "still below free_low": 1}
    assert node.names() == ["young.wav"]


def test_disk_that_does_not_say_loses_nothing(node: Node) -> None:
    """Where the system does not say how much is free, nothing goes on a guess."""

    def fail(_: Path) -> float:
        raise OSError(errno.EIO, "Input/output error")

    node.settings |= {"free_low": 0.2, "free_high": 0.4}
    node.embed()
    assert node.sweep(free_space=fail) == {}
    assert node.names() == ["a.wav"]


def test_free_share_is_that_of_the_disk(tmp_path: Path) -> None:
    """What is free is asked of the disk of the folder."""
    status = os.statvfs(tmp_path)
    assert free_share(tmp_path) == pytest.approx(status.f_bavail / status.f_blocks, abs=0.05)


# --- moving -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["same disk", "other disk"])
def done(request: pytest.FixtureRequest, node: Node) -> Path:
    """The folder that recordings are moved to."""
    folder: Path = node.folder / "done"
    if request.param == "other disk":
        folder = request.getfixturevalue("other_disk")
    folder.mkdir(exist_ok=True)
    node.settings = {"policy": "move", "folder": folder}
    return folder


def test_moved_recording_is_the_same(node: Node, done: Path) -> None:
    """A recording that is moved keeps its bytes, its place below the folder and its time, on any disk."""
    identity = node.embed("2026/a.wav")
    content = (node.spool / "2026/a.wav").read_bytes()
    assert node.sweep() == {"moved": 1}
    assert (node.names(), node.names(done)) == ([], ["2026/a.wav"])
    assert (done / "2026/a.wav").read_bytes() == content
    assert (done / "2026/a.wav").stat().st_mtime_ns == identity.mtime_ns
    assert node.fate(identity) == "moved"


def test_moving_replaces_nothing(node: Node, done: Path) -> None:
    """Where the name is taken, the recording's time comes into it; where that is taken too, it stays."""
    identity = node.embed()
    stamped = f"a.{identity.stamp}.wav"
    (done / "a.wav").write_text("another")
    (done / stamped).mkdir()
    assert node.sweep() == {"kept: I/O error": 1}
    (done / stamped).rmdir()
    assert node.sweep() == {"moved": 1}
    assert node.names(done) == sorted(["a.wav", stamped])
    assert (done / "a.wav").read_text() == "another"


def test_interrupted_move_is_not_made_twice(node: Node, done: Path) -> None:
    """A recording that was moved before the power failed, and not yet removed, is not there twice."""
    identity = node.embed()
    archive(node.spool / "a.wav", identity, done)
    assert node.sweep() == {"moved": 1}
    assert (node.names(), node.names(done)) == ([], ["a.wav"])


def test_move_that_was_not_written_down_is_told(node: Node, done: Path) -> None:
    """Where the power failed between removing and writing down, the next sweep finds what became of it."""
    identity = node.embed()
    node.embed("b.wav", age_s=9)
    archive(node.spool / "a.wav", identity, done)
    (node.spool / "a.wav").unlink()
    assert node.sweep() == {"gone already": 1, "moved": 1}
    assert node.fate(identity) == "moved"


def test_folder_to_move_to_is_not_made(node: Node, done: Path) -> None:
    """A folder that is missing may be on a disk that is away: nothing is moved, and every further recording waits."""
    shutil.rmtree(done)
    node.embed("a.wav")
    node.embed("b.wav")
    assert node.sweep() == {"kept: the folder to move to is missing": 1}
    assert node.names() == ["a.wav", "b.wav"]
    done.mkdir()


def test_full_disk_ends_the_sweep(node: Node, done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room to move to, the sweep ends with the first recording: the next would read for nothing."""

    def no_room(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    node.embed("a.wav")
    node.embed("b.wav")
    monkeypatch.setattr(os, "link", no_room)
    monkeypatch.setattr("sonyc_ml.node.retention.move.shutil.copyfileobj", no_room)
    sweeper = node.sweeper()
    assert sweeper.sweep() == {"kept: disk full or read-only": 1}
    assert "No space left on device" in sweeper.examples["kept: disk full or read-only"]
    assert (node.names(), node.names(done)) == (["a.wav", "b.wav"], [])


def test_copy_that_is_not_as_written_is_not_taken(node: Node, other_disk: Path) -> None:
    """A copy is read back before it has its name; where it differs, the recording stays and no copy does."""
    node.settings = {"policy": "move", "folder": other_disk}
    node.embed()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sonyc_ml.node.retention.move.shutil.copyfileobj", lambda _, copy: copy.write(b"other"))
        assert node.sweep() == {"kept: I/O error": 1}
    assert (node.names(), node.names(other_disk)) == (["a.wav"], [])


# --- odd files, and power that fails ----------------------------------------------------------------------------------


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_link(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere.wav"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make_odd", "word"),
    [
        (as_folder, "kept: no file of its folder"),
        (as_link, "kept: no file of its folder"),
        (as_pipe, "kept: no file of its folder"),
        (Path.unlink, "gone already"),
        (lambda path: path.write_bytes(b""), "overwritten"),
    ],
)
@pytest.mark.parametrize("policy", ["delete", "move"])
def test_odd_file_stops_nothing(node: Node, make_odd: Callable[[Path], Any], word: str, policy: str) -> None:
    """Whatever is there in a recording's place is left alone, and the other recordings go."""
    (node.folder / "done").mkdir()
    node.settings = {"policy": policy, "folder": node.folder / "done"}
    for name in ("a.wav", "odd.wav", "z.wav"):
        node.embed(name)
    make_odd(node.spool / "odd.wav")
    is_there = os.path.lexists(node.spool / "odd.wav")
    assert node.sweep() == {"deleted" if policy == "delete" else "moved": 2, word: 1}
    assert [path.name for path in node.spool.iterdir()] == (["odd.wav"] if is_there else [])


def test_folder_that_leads_out_of_the_spool_is_not_followed(node: Node) -> None:
    """A folder that has become a link to elsewhere does not take what is there with it."""
    node.embed("sub/a.wav")
    (node.spool / "sub").rename(node.folder / "elsewhere")
    (node.spool / "sub").symlink_to(node.folder / "elsewhere")
    assert node.sweep() == {"kept: no file of its folder": 1}
    assert (node.folder / "elsewhere/a.wav").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_recording_stops_nothing(node: Node) -> None:
    """A recording that may not be read stays; the others go."""
    node.embed("a.wav")
    node.embed("b.wav")
    (node.spool / "a.wav").chmod(0)
    assert node.sweep() == {"kept: I/O error": 1, "deleted": 1}


def test_mistake_of_ours_stops_nothing(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """What nobody thought of costs one recording's turn, and is in the log with its trace."""

    def fail_once(identity: Identity) -> str:
        if identity.name == "a.wav":
            raise RuntimeError("not thought of")
        return node.prove(identity)

    node.embed("a.wav")
    node.embed("b.wav")
    assert node.sweep(prove=fail_once) == {"kept: failed": 1, "deleted": 1}
    assert "not thought of" in caplog.text


def test_deletion_that_was_not_written_down_is_told(node: Node) -> None:
    """Where the journal could not be written after a file went, the sweep ends, and the next one makes up for it."""
    identity = node.embed()
    node.record("there.wav")
    other = Journal(node.journal.path.parent)

    class Failing(Journal):
        def settle(self, *_: Any) -> None:
            raise StoreError("the disk is full")

    journal = Failing(node.journal.path.parent)
    with pytest.raises(StoreError):
        node.sweep(journal=journal)
    journal.close()
    other.close()
    assert (node.names(), node.fate(identity)) == (["there.wav"], "")
    assert node.sweep() == {"gone already": 1}
    assert node.fate(identity) == "gone"


@pytest.mark.parametrize("folder", ["", "sub"])
def test_disk_that_is_away_settles_nothing(node: Node, folder: str) -> None:
    """A folder that is empty, or not there, may be the mount point of a disk that comes back."""
    identity = node.embed("sub/a.wav")
    node.record("b.wav")
    shutil.move(node.spool / folder, node.folder / "away")
    assert node.sweep()["gone already"] == 0
    (node.spool / folder).mkdir()
    node.sweep()
    assert node.fate(identity) == ""
    (node.spool / folder).rmdir()
    shutil.move(node.folder / "away", node.spool / folder)
    assert node.sweep() == {"deleted": 1}


# --- the journal ------------------------------------------------------------------------------------------------------


def settle_long_ago(node: Node) -> None:
    node.settings = {"history_days": 10.0}
    for name in ("gone.wav", "there.wav"):
        node.embed(name)
    (node.spool / "gone.wav").unlink()
    node.now_s += 11 * DAY_S


def known(node: Node) -> set[str]:
    return {entry.identity.name for entry in node.journal.entries()}


def test_old_rows_are_added_up(node: Node) -> None:
    """What ended long ago and has no file any more becomes a sum of its day, with every policy; the rest stays."""
    settle_long_ago(node)
    (node.spool / "young.wav").write_bytes((node.spool / "there.wav").read_bytes())
    node.journal.quarantine(node.record("young.wav"), "unreadable", "no sound")
    (node.spool / "young.wav").unlink()
    assert node.sweeper().compact() == 1
    assert known(node) == {"there.wav", "young.wav"}
    assert [day[4] for day in node.journal.days("1970-01-01")] == [1]


@pytest.mark.parametrize("is_empty", [True, False])
def test_disk_that_is_away_adds_up_nothing(node: Node, is_empty: bool) -> None:
    """Where the whole spool is away, or is empty, nothing is taken for gone."""
    settle_long_ago(node)
    shutil.rmtree(node.spool)
    if is_empty:
        node.spool.mkdir()
    assert node.sweeper().compact() == 0
    assert known(node) == {"gone.wav", "there.wav"}


def test_names_used_again_do_not_pile_up(node: Node) -> None:
    """A recorder that goes round a few names leaves no row for ever: what was written over is added up too."""
    settle_long_ago(node)
    node.embed("there.wav", seconds=3.0)
    assert node.sweeper().compact() == 2
    assert [entry.identity.mtime_s for entry in node.journal.find("there.wav")] == [pytest.approx(node.now_s)]


def test_stopped_compaction_leaves_the_rows(node: Node) -> None:
    """A compaction that is stopped can be made later."""
    settle_long_ago(node)
    assert node.sweeper(is_stopped=lambda: True).compact() == 0
    assert known(node) == {"gone.wav", "there.wav"}


@pytest.mark.parametrize("oldest_first", [True, False])
def test_pages_hold_every_row_once(node: Node, oldest_first: bool) -> None:
    """Page after page gives every recording once, in order, although rows are settled in between."""
    identities = [Identity(f"{i * 37 % 101:03d}.wav", 1000, i // 3 * 10**9) for i in range(101)]
    node.journal.adopt((identity, OutputSummary(None, 1.0, 0.1)) for identity in identities)
    seen: list[Identity] = []
    while page := node.journal.page(
        ["done"], before_s=node.now_s, after=seen[-1] if seen else None, limit=10, oldest_first=oldest_first
    ):
        seen += [entry.identity for entry in page]
        node.journal.settle(page[0].identity, "deleted")
    key: Callable[[Identity], Any] = (lambda i: (i.mtime_ns, i.name)) if oldest_first else (lambda i: i.name)
    assert seen == sorted(identities, key=key)


# --- the thread -------------------------------------------------------------------------------------------------------


def wait_until(is_so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end_s
        threading.Event().wait(0.01)


def live(node: Node) -> None:
    """The thread has the machine's clock."""
    node.now_s = time.time() - 60
    node.settings |= {"every_s": 0.05}


def test_thread_sweeps_and_stops(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """From entry on it sweeps, tells the counts in one line, and is gone at exit."""
    caplog.set_level(logging.INFO, "sonyc_ml.node.retention")
    live(node)
    node.embed()
    with node.thread():
        wait_until(lambda: not node.names())
        node.embed("b.wav")
        wait_until(lambda: not node.names())
    assert caplog.records[0].getMessage() == "retention: deleted: 1"


@pytest.mark.timing
def test_thread_stops_in_the_middle_of_a_sweep(node: Node) -> None:
    """It does not finish what it is at: a million recordings may wait."""
    live(node)
    n_looked_at = 0

    def look() -> bool:
        nonlocal n_looked_at
        n_looked_at += 1
        return n_looked_at > 3

    for i in range(10):
        node.embed(f"{i}.wav")
    assert node.sweep(is_stopped=look) == {"deleted": 3}
    node.settings |= {"every_s": 1e6}
    thread = node.thread()
    with thread:
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 5
    assert not thread.is_running


def test_kept_recordings_warn_once(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """What should go and cannot is a warning when it is new, and a line after that."""
    caplog.set_level(logging.INFO, "sonyc_ml.node.retention")
    live(node)
    node.embed()
    node.output().unlink()
    with node.thread():
        wait_until(lambda: len(caplog.records) >= 3)
    assert [record.levelname for record in caplog.records][:3] == ["WARNING", "INFO", "INFO"]
    assert caplog.records[0].getMessage() == (
        "retention: kept: no output: 1 (such as a.wav); what is kept stays until that is repaired"
    )


def test_thread_outlives_a_journal_that_goes(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """A journal that is removed is told of once; it is not made here; the next one is used when it is there."""
    live(node)
    node.embed("first.wav")
    with node.thread():
        wait_until(lambda: not node.names())
        node.journal.close()
        for path in node.journal.path.parent.glob(f"{FILE_NAME}*"):
            path.unlink()
        wait_until(lambda: len(caplog.records) >= 1)
        time.sleep(0.2)
        assert not node.journal.path.exists()
        node.journal = Journal(node.journal.path.parent, clock=lambda: node.now_s)
        assert list(node.journal.entries()) == []
        node.embed()
        wait_until(lambda: not node.names())
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_thread_outlives_a_mistake(
    node: Node, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody thought of is in the log with its trace, and the next run is made."""
    live(node)
    node.embed()
    sweep, failures = Sweeper.sweep, [RuntimeError("not thought of")]

    def fail_once(self: Sweeper) -> Counter[str]:
        if failures:
            raise failures.pop()
        return sweep(self)

    monkeypatch.setattr(Sweeper, "sweep", fail_once)
    with node.thread():
        wait_until(lambda: not node.names())
    assert "not thought of" in caplog.text


def test_thread_compacts(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal with very many ended rows is compacted at once, with policy keep too."""
    live(node)
    node.settings = {"every_s": 0.05, "history_days": 10.0}
    node.now_s -= 20 * DAY_S
    for name in ("gone.wav", "there.wav"):
        node.embed(name)
    (node.spool / "gone.wav").unlink()
    monkeypatch.setattr("sonyc_ml.node.retention.thread.N_MANY", 1)
    with node.thread():
        wait_until(lambda: known(node) == {"there.wav"})
    assert node.names() == ["there.wav"]
