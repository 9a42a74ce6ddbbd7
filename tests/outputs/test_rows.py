"""Rows come in parts, and are one array in the end, in memory or not."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonyc_ml.errors import StoreError
from sonyc_ml.outputs.files import write_output
from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.rows import CHUNK_BYTES, IN_MEMORY_BYTES, Rows, chunks
from tests.support.outputs import PROVENANCE

SHAPES = [(), (3,), (2, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_rows", [1, 1000, IN_MEMORY_BYTES // 4 + 1000])
def test_parts_become_one_array(tmp_path: Path, shape: tuple[int, ...], n_rows: int) -> None:
    """Whether or not they are kept in a file, and nothing is left of it."""
    rng = np.random.default_rng(1)
    whole = rng.normal(0, 1, (n_rows, *shape)).astype(np.float32)
    for folder in (tmp_path, None):
        with Rows(folder) as rows:
            for part in np.array_split(whole, 7):
                rows.append(part)
            array = rows.array()
        assert (array.shape, array.dtype) == (whole.shape, whole.dtype)
        np.testing.assert_array_equal(array, whole)
        np.testing.assert_array_equal(np.concatenate(list(chunks(array))), whole)
        assert list(tmp_path.iterdir()) == []


def test_chunks_are_small(tmp_path: Path) -> None:
    """At most a megabyte at a time."""
    with Rows(tmp_path) as rows:
        for _ in range(12):
            rows.append(np.ones((1000, 256), np.float32))
        assert max(chunk.nbytes for chunk in chunks(rows.array())) <= CHUNK_BYTES


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """Nothing half-kept is used."""
    (tmp_path / "file").touch()
    rows = Rows(tmp_path / "file" / "folder")
    with pytest.raises(StoreError, match="results cannot be kept there"):
        rows.append(np.ones((IN_MEMORY_BYTES // 4 + 1,), np.float32))


PROGRAM = """
import sys
from pathlib import Path
from typing import Any
import numpy as np
from sonyc_ml.outputs.files import write_output
from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.rows import Rows, chunks
rows = Rows(Path(sys.argv[1]))
block = np.ones((1000, 256), np.float32)
def peak_kb():  # ru_maxrss would begin with that of the process that started this one
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1])
before = peak_kb()
for _ in range(200):
    rows.append(block)
total = sum(float(chunk.sum()) for chunk in chunks(rows.array()))
print(total == 200 * 256000, peak_kb() - before)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """200 MB of rows, written and read, take less than 40 MB of memory."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    is_right, grown_kb = done.stdout.split()
    assert is_right == "True"
    assert int(grown_kb) < 40_000


def test_a_long_output_has_the_bytes_of_numpys_own_writer(tmp_path: Path) -> None:
    """Written a chunk at a time, from a file without a name, the npz is what ``np.savez`` writes."""
    rng = np.random.default_rng(4)
    embedding = rng.normal(0, 1, (12_000, 256)).astype(np.float32)
    with Rows(tmp_path) as rows:
        rows.append(embedding[:9000])
        rows.append(embedding[9000:])
        output = Output(
            timestamps=np.linspace(0, 1200, 12_000),
            embedding=rows.array(),
            scores=None,
            labels=(),
            provenance=PROVENANCE,
        )
        write_output(output, tmp_path / "long.npz")
    arrays: Any = {**output.arrays(), "embedding": embedding}
    np.savez(tmp_path / "whole.npz", **arrays)
    assert contents(tmp_path / "long.npz") == contents(tmp_path / "whole.npz")


def contents(path: Path) -> dict[str, bytes]:
    """The members of an archive, in their order."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
