"""What an output is, and that it is whole on the disk or not there."""

from __future__ import annotations

import csv
import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sonyc_ml.base.durable import atomic_file, remove_temporaries, write_atomically
from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import OutputNameError, RecordingError, StoreError
from sonyc_ml.outputs.files import find_output, free_path, is_output_of, output_path, read_provenance, write_output
from sonyc_ml.outputs.output import FORMAT_VERSION, Output, Provenance
from tests.conftest import floats
from tests.support.outputs import PROVENANCE

IDENTITY = (PROVENANCE.recording_bytes, PROVENANCE.recording_mtime_ns)

matrices = hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=floats(width=32))


def an_output(embedding: npt.NDArray[np.float32] | None = None, provenance: Provenance = PROVENANCE) -> Output:
    embedding = np.linspace(-1, 1, 30, dtype=np.float32).reshape(3, 10) if embedding is None else embedding
    timestamps = np.linspace(-0.05, 1, len(embedding), dtype=np.float64)
    return Output(timestamps=timestamps, embedding=embedding, scores=None, labels=(), provenance=provenance)


def read_csv(path: Path) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The provenance, and the rows by the names of their columns."""
    lines = path.read_text(errors="surrogateescape").split("\n")
    comments = [line[2:].split(": ", 1) for line in lines if line.startswith("# ")]
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return {line[0]: line[1] for line in comments}, list(rows)


def columns_of(rows: list[dict[str, str]], name: str) -> npt.NDArray[np.float32]:
    return np.array([[value for key, value in row.items() if key.startswith(f"{name}_")] for row in rows], np.float32)


def failure_of(path: Path, content: bytes = b"new") -> str:
    """Why a file cannot be written; the text begins with its path."""
    with pytest.raises(StoreError) as caught:
        write_atomically(path, content)
    place, reason = str(caught.value).split(" cannot be written: ")
    assert place == str(path)
    return reason


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one MiB, of which half is taken."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    (folder := tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this root may not mount a small disk")
    try:
        (folder / "ballast").write_bytes(bytes(1 << 19))
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_npz_round_trip(tmp_path: Path) -> None:
    """Everything in an .npz is a plain array, under its name, and loads without unpickling."""
    output = an_output()
    write_output(output, path := tmp_path / "a.npz")
    with np.load(path, allow_pickle=False) as arrays:
        loaded = {name: arrays[name] for name in arrays}
    assert set(loaded) == {"timestamps", "embedding", *(field.name for field in fields(Provenance))}
    assert loaded["embedding"].dtype == np.float32
    np.testing.assert_array_equal(loaded["embedding"], output.embedding)
    np.testing.assert_array_equal(loaded["timestamps"], output.timestamps)
    for name, value in dataclasses.asdict(PROVENANCE).items():
        assert loaded[name].shape == ()
        assert loaded[name] == value


def test_only_what_there_is_is_stored() -> None:
    """An output has an embedding, scores, or both; what it lacks has no array."""
    scores = np.zeros((1, 2), np.float32)
    only_scores = Output(timestamps=np.zeros(1), embedding=None, scores=scores, labels=(), provenance=PROVENANCE)
    assert not {"embedding", "labels"}.intersection(only_scores.arrays())
    assert only_scores.arrays()["scores"] is scores
    assert only_scores.arrays()["format_version"] == FORMAT_VERSION


@given(embedding=matrices, data=st.data())
def test_csv_numbers_round_trip(
    tmp_path_factory: pytest.TempPathFactory, embedding: npt.NDArray[np.float32], data: st.DataObject
) -> None:
    """The text of every number, NaN and infinity too, gives back just that float32."""
    scores = data.draw(hnp.arrays(np.float32, (len(embedding), 2), elements=floats(0, 1, width=32)))
    output = replace(an_output(embedding), scores=scores)
    write_output(output, path := tmp_path_factory.getbasetemp() / "numbers.csv")
    _, rows = read_csv(path)
    np.testing.assert_array_equal(columns_of(rows, "embedding"), embedding)
    np.testing.assert_array_equal(columns_of(rows, "scores"), scores)
    assert [float(row["timestamp"]) for row in rows] == output.timestamps.tolist()


def test_csv_provenance_round_trip(tmp_path: Path) -> None:
    """The lines before the table hold the provenance, by name."""
    write_output(an_output(), path := tmp_path / "a.csv")
    provenance, rows = read_csv(path)
    assert provenance == {name: str(value) for name, value in dataclasses.asdict(PROVENANCE).items()}
    assert list(rows[0])[:3] == ["timestamp", "embedding_0", "embedding_1"]


def test_labels_are_stored_with_their_scores(tmp_path: Path) -> None:
    """An .npz has the labels as an array of text; in a CSV they head the columns of the scores, whatever they say."""
    labels = ("dog, barking", 'a "siren"', "Stra\N{LATIN SMALL LETTER SHARP S}e")
    scores = np.array([[0.25, 0.5, 0.125]] * 3, np.float32)
    output = replace(an_output(), scores=scores, labels=labels)
    write_output(output, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["labels"].tolist() == list(labels)
    write_output(output, tmp_path / "a.csv")
    _, rows = read_csv(tmp_path / "a.csv")
    assert list(rows[0])[-4:] == ["embedding_9", *labels]
    assert [rows[-1][label] for label in labels] == ["0.25", "0.5", "0.125"]


def test_the_likeliest_label() -> None:
    """It is the one with the highest score of any window; without labels or scores there is none."""
    scores = np.array([[0.9, 0.5], [0.0, 0.75]], np.float32)
    assert replace(an_output(), scores=scores, labels=("dog", "siren")).likeliest() == "dog 0.90"
    assert replace(an_output(), scores=scores).likeliest() == ""
    assert replace(an_output(), labels=("dog", "siren")).likeliest() == ""


@pytest.mark.parametrize("suffix", ["csv", "npz"])
@pytest.mark.parametrize("name", [b"stra\xdfe.wav", b"a\n0,0,0\r.wav"], ids=["not UTF-8", "line breaks"])
def test_names_of_any_bytes(name: bytes, suffix: str, tmp_path: Path) -> None:
    """A recording's name may hold any bytes, and stays on its line."""
    provenance = replace(PROVENANCE, recording=os.fsdecode(name))
    write_output(an_output(provenance=provenance), path := output_path(provenance.recording, tmp_path, suffix))
    if suffix == "npz":
        with np.load(path) as arrays:
            assert os.fsencode(str(arrays["recording"])) == name
    else:
        loaded, rows = read_csv(path)
        assert os.fsencode(loaded["recording"]) == name.replace(b"\n", b"\\n").replace(b"\r", b"\\r")
        assert len(rows) == 3


@pytest.mark.parametrize("name", ["a.txt", "a", "a.npz.tmp", "a.NPZ"])
def test_formats_that_are_not_written(name: str, tmp_path: Path) -> None:
    """A suffix that names no format is the caller's mistake, and nothing is written."""
    with pytest.raises(ValueError, match="npz or csv"):
        write_output(an_output(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("recording", "output_format", "expected"),
    [
        ("a.wav", "npz", "out/a.wav.npz"),
        ("a.flac", "npz", "out/a.flac.npz"),
        ("2024/05/a.wav", "csv", "out/2024/05/a.wav.csv"),
        ("a.b.c.wav", "npz", "out/a.b.c.wav.npz"),
    ],
)
def test_where_an_output_belongs(recording: str, output_format: str, expected: str) -> None:
    """An output keeps the recording's sub-folders and its suffix."""
    assert output_path(recording, Path("out"), output_format) == Path(expected)


def test_written_whole(tmp_path: Path) -> None:
    """A file holds what was written, and nothing else is left beside it."""
    write_atomically(path := tmp_path / "a.npz", b"content")
    write_atomically(path, b"more content")
    assert path.read_bytes() == b"more content"
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_made(tmp_path: Path) -> None:
    """Folders that are missing are made, however deep."""
    write_atomically(path := tmp_path / "2024" / "05" / "01" / "a.npz", b"content")
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_mode(umask: int, mode: int, tmp_path: Path) -> None:
    """An output has the mode of any other file of this user."""
    previous = os.umask(umask)
    try:
        write_atomically(path := tmp_path / "a.npz", b"content")
    finally:
        os.umask(previous)
    assert path.stat().st_mode & 0o777 == mode


def test_the_longest_name(tmp_path: Path) -> None:
    """A name as long as the file system takes is written."""
    write_atomically(path := tmp_path / ("a" * 251 + ".npz"), b"content")
    assert path.read_bytes() == b"content"


def test_a_full_disk(small_disk: Path) -> None:
    """On a full disk what was there stays, nothing half-written is left, and the reason is told."""
    write_atomically(path := small_disk / "a.npz", b"old")
    assert failure_of(path, bytes(1 << 20)) == "No space left on device"
    assert path.read_bytes() == b"old"
    assert sorted(small_disk.iterdir()) == [path, small_disk / "ballast"]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_full_disk_for_an_output(small_disk: Path) -> None:
    """An output that does not fit is not there at all."""
    with pytest.raises(StoreError, match="No space left on device"):
        write_output(an_output(np.zeros((1000, 1000), np.float32)), small_disk / "a.npz")
    assert list(small_disk.iterdir()) == [small_disk / "ballast"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """Without permission what was there stays, and the reason is told."""
    write_atomically(path := tmp_path / "a.npz", b"old")
    tmp_path.chmod(0o500)
    try:
        assert failure_of(path) == "Permission denied"
        assert list(tmp_path.iterdir()) == [path]
    finally:
        tmp_path.chmod(0o700)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("below", ["a.npz", "sub/a.npz", "sub/sub/a.npz"])
def test_a_file_where_a_folder_should_be(below: str, tmp_path: Path) -> None:
    """A path that leads through a file cannot be written, the reason names the file, and the file stays."""
    (file := tmp_path / "file").write_bytes(b"old")
    assert failure_of(file / below) == f"{file} is not a folder"
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_where_the_file_should_be(tmp_path: Path) -> None:
    """A folder is not replaced, and nothing is left beside it."""
    (path := tmp_path / "a.npz").mkdir()
    assert failure_of(path) == "Is a directory"
    assert list(tmp_path.iterdir()) == [path]


NAMES_IN_THE_WAY = (
    ("a.wav", "a.wav.npz/b.wav"),
    ("a.wav.npz/b.wav", "a.wav"),
    ("n/a.wav", "n/a.wav.npz/x/y/b.wav"),
    ("n/a.wav.npz/x/y/b.wav", "n/a.wav"),
)


@pytest.mark.parametrize(("first", "second"), NAMES_IN_THE_WAY)
def test_a_name_in_the_way_of_another_is_its_own_fault(first: str, second: str, tmp_path: Path) -> None:
    """A recording whose output would be a file and a folder at once is refused; the one before it stays."""
    outputs = [an_output(provenance=replace(PROVENANCE, recording=name)) for name in (first, second)]
    write_output(outputs[0], output_path(first, tmp_path))
    with pytest.raises(OutputNameError, match=r"is a file, not a folder|a folder for other recordings has its name"):
        write_output(outputs[1], output_path(second, tmp_path))
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == [f"{first}.npz"]


@pytest.mark.parametrize("kind", ["a file", "a link to a file", "a dangling link", "a linked sub-folder that is away"])
def test_a_folder_that_is_none_is_not_a_names_fault(kind: str, tmp_path: Path) -> None:
    """Where the folder itself, or a disk that is linked into it, is not there, recordings wait."""
    folder, name = tmp_path / "out", "2026/a.wav"
    if kind == "a file":
        folder.touch()
    elif kind == "a linked sub-folder that is away":
        folder.mkdir()
        (folder / "2026").symlink_to(tmp_path / "disk")
    else:
        (tmp_path / "file").touch()
        folder.symlink_to(tmp_path / ("file" if kind == "a link to a file" else "disk"))
    with pytest.raises(StoreError, match="cannot be written"):
        write_output(an_output(provenance=replace(PROVENANCE, recording=name)), output_path(name, folder))


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    """A name that the file system never takes is the recording's trouble, not the disk's, and leaves nothing behind."""
    with pytest.raises(OutputNameError, match=r"a\.npz cannot be written: File name too long") as caught:
        write_atomically(tmp_path / ("a" * 252 + ".npz"), b"new")
    assert isinstance(caught.value, RecordingError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_the_output_of_this_recording(suffix: str, tmp_path: Path) -> None:
    """An output is known by the size and time of its recording, and by nothing less."""
    write_output(an_output(), path := tmp_path / f"a.{suffix}")
    n_bytes, mtime_ns = IDENTITY
    assert is_output_of(path, n_bytes, mtime_ns)
    assert not is_output_of(path, n_bytes + 1, mtime_ns)
    assert not is_output_of(path, n_bytes, mtime_ns + 1)


def test_a_missing_output(tmp_path: Path) -> None:
    """What is not there is no output; nor is a folder."""
    assert not is_output_of(tmp_path / "a.npz", *IDENTITY)
    assert not is_output_of(tmp_path, *IDENTITY)


@pytest.mark.parametrize("suffix", ["csv", "npy", "txt"])
def test_other_files_are_no_outputs(suffix: str, tmp_path: Path) -> None:
    """A file of another kind does not tell whose output it is."""
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, np.array(IDENTITY))
    else:
        path.write_text("hello")
    assert not is_output_of(path, *IDENTITY)


def test_an_output_of_arrays_that_are_none(tmp_path: Path) -> None:
    """An .npz with other arrays, or with arrays of another shape, is no output."""
    np.savez(path := tmp_path / "a.npz", embedding=np.zeros(3))
    assert not is_output_of(path, *IDENTITY)
    np.savez(path, recording_bytes=np.zeros(3), recording_mtime_ns=np.zeros(3))
    assert not is_output_of(path, *IDENTITY)


@pytest.mark.parametrize("n_kept", [0, 1, 3, 4, 100, 0.5, -30, -1])
def test_a_truncated_output(n_kept: float, tmp_path: Path) -> None:
    """An output that lost its end is no output."""
    write_output(an_output(), path := tmp_path / "a.npz")
    content = path.read_bytes()
    path.write_bytes(content[: int(n_kept * len(content)) if isinstance(n_kept, float) else n_kept])
    assert not is_output_of(path, *IDENTITY)


def test_a_blanked_output(tmp_path: Path) -> None:
    """An output of zeros, as a power cut leaves it where nobody flushed, is no output."""
    write_output(an_output(), path := tmp_path / "a.npz")
    path.write_bytes(bytes(path.stat().st_size))
    assert not is_output_of(path, *IDENTITY)


@given(data=st.data())
def test_a_damaged_output(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever became of an output, asking whose it is raises nothing; the identity is still the true one or none."""
    write_output(an_output(), path := tmp_path_factory.getbasetemp() / "damaged.npz")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    is_output_of(path, *IDENTITY)
    assert not is_output_of(path, 1, 1)


# --- whose output a file is -------------------------------------------------------------------------------------------

NAME = "street/a.wav"
FIRST = Identity(NAME, 100, 1_700_000_000_123_456_789)
SECOND = Identity(NAME, 100, 1_700_000_060_000_000_001)
STAMPED = "street/a.wav.20231114T221420.000000001Z"


def publish(identity: Identity, path: Path) -> Path:
    """Write the output of a recording."""
    name, n_bytes, mtime_ns = identity
    provenance = replace(PROVENANCE, recording=name, recording_bytes=n_bytes, recording_mtime_ns=mtime_ns)
    write_output(an_output(provenance=provenance), path)
    return path


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_an_output_is_published_beside_that_of_another(suffix: str, tmp_path: Path) -> None:
    """The first recording of a name has the plain path; a later one has its time in the name, to the nanosecond."""
    first = free_path(FIRST, tmp_path, suffix)
    assert first == tmp_path / f"{NAME}.{suffix}"
    publish(FIRST, first)
    assert free_path(FIRST, tmp_path, suffix) == first
    second = free_path(SECOND, tmp_path, suffix)
    assert second == tmp_path / f"{STAMPED}.{suffix}"
    publish(SECOND, second)
    assert find_output(FIRST, tmp_path, suffix) == first
    assert find_output(SECOND, tmp_path, suffix) == second
    assert find_output(SECOND._replace(n_bytes=101), tmp_path, suffix) is None


def test_a_damaged_output_is_replaced(tmp_path: Path) -> None:
    """What is no output any more keeps its place from nobody."""
    path = publish(FIRST, free_path(FIRST, tmp_path, "npz"))
    path.write_bytes(path.read_bytes()[:-30])
    assert find_output(FIRST, tmp_path, "npz") is None
    assert free_path(SECOND, tmp_path, "npz") == path


def test_an_output_of_another_format_is_none(tmp_path: Path) -> None:
    """Who asks for CSV is not given an .npz."""
    publish(FIRST, free_path(FIRST, tmp_path, "npz"))
    assert find_output(FIRST, tmp_path, "csv") is None
    assert free_path(FIRST, tmp_path, "csv") == tmp_path / f"{NAME}.csv"


@pytest.mark.parametrize("suffix", ["npz", "csv"])
@pytest.mark.parametrize("salvaged", [False, True])
def test_where_an_output_comes_from_is_read_back(suffix: str, salvaged: bool, tmp_path: Path) -> None:
    """Every word and number of it, with its type."""
    provenance = replace(PROVENANCE, salvaged=salvaged, hop_size_s=0.1 + 0.2)
    write_output(an_output(provenance=provenance), path := tmp_path / f"a.{suffix}")
    read = read_provenance(path)
    assert read is not None
    assert read == provenance
    assert [type(value) for value in dataclasses.astuple(read)] == [
        type(value) for value in dataclasses.astuple(provenance)
    ]


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_what_is_damaged_comes_from_nowhere(suffix: str, tmp_path: Path) -> None:
    """Truncated, blanked, missing, a folder, or of a version with less in it: no output, and no exception."""
    write_output(an_output(), path := tmp_path / f"a.{suffix}")
    content = path.read_bytes()
    for damaged in (
        b"",
        content[:100],
        bytes(len(content)),
        content.replace(b"start_time_source", b"start_time_sauce_"),
    ):
        path.write_bytes(damaged)
        assert read_provenance(path) is None
    path.unlink()
    assert read_provenance(path) is None
    path.mkdir()
    assert read_provenance(path) is None


# --- temporaries ------------------------------------------------------------------------------------------------------

WRITE = (
    "import sys; from pathlib import Path; from sonyc_ml.outputs.files import atomic_file\n"
    "with atomic_file(Path(sys.argv[1])) as file: file.write(b'half'); print('open', flush=True); sys.stdin.read()"
)


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    """While it lives its file stays; once it is killed the file goes."""
    command = [sys.executable, "-c", WRITE, str(tmp_path / "a.npz")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        (temporary,) = tmp_path.iterdir()
        assert remove_temporaries(tmp_path) == 0
        assert temporary.exists()
        process.kill()
        process.wait()
        assert temporary.exists()
        assert remove_temporaries(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_not_cleared_up(tmp_path: Path) -> None:
    """Only what is named as our temporaries are, and no link is followed."""
    names = [".0123456789abcdef.tmp.npz", "0123456789abcdef.tmp", ".0123456789ABCDEF.tmp", ".tmp", "a.npz"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".0123456789abcdef.tmp").symlink_to(tmp_path / "a.npz")
    (tmp_path / ".fedcba9876543210.tmp").mkdir()
    assert remove_temporaries(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == len(names) + 2
    assert remove_temporaries(tmp_path / "nowhere") == 0


def test_what_fails_in_between_leaves_nothing(tmp_path: Path) -> None:
    """An exception while a file is written publishes nothing."""

    def fail() -> None:
        with atomic_file(tmp_path / "a.npz") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []
