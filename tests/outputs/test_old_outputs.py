"""Outputs that version 0.1 wrote are read, and what it would have written is written today, to the byte."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from sonyc_ml.outputs.files import read_output, write_output
from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.parquet import read_part
from tests.conftest import needs

OLD = Path(__file__).parents[1] / "support" / "data" / "version_0_1"
CASES = ("both", "embedding", "scores", "labelled")  # scores without and with labels


def members(path: Path) -> dict[str, bytes]:
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def assert_same(output: Output, other: Output) -> None:
    for array, expected in ((output.embedding, other.embedding), (output.scores, other.scores)):
        np.testing.assert_array_equal(np.asarray(array), np.asarray(expected))
    np.testing.assert_array_equal(output.timestamps, other.timestamps)
    assert (output.labels, output.provenance) == (other.labels, other.provenance)


@pytest.mark.parametrize("case", CASES)
def test_an_npz_is_what_it_was(case: str, tmp_path: Path) -> None:
    """The same arrays in the same order, byte for byte; only what a provenance has gained since is added."""
    old, new = OLD / f"{case}.npz", tmp_path / "new.npz"
    write_output(read_output(old), new)
    before, today = members(old), members(new)
    assert list(before.items()) == [(name, content) for name, content in today.items() if name in before]
    if before.keys() == today.keys():
        assert new.read_bytes() == old.read_bytes()


@pytest.mark.parametrize("case", CASES)
def test_a_csv_is_what_it_was(case: str, tmp_path: Path) -> None:
    """The same lines in the same order, byte for byte; only what a provenance has gained since is added."""
    old, new = OLD / f"{case}.csv", tmp_path / "new.csv"
    write_output(read_output(old), new)
    before = old.read_bytes().splitlines(keepends=True)
    keys = {line.partition(b":")[0] for line in before}
    today = new.read_bytes().splitlines(keepends=True)
    assert before == [line for line in today if not line.startswith(b"# ") or line.partition(b":")[0] in keys]


@pytest.mark.parametrize("case", CASES)
def test_both_formats_hold_the_same(case: str) -> None:
    """Whichever format it was written in, the same output is read."""
    assert_same(read_output(OLD / f"{case}.csv"), read_output(OLD / f"{case}.npz"))


@needs("pyarrow")
def test_a_part_of_a_dataset_is_read() -> None:
    """So is a part of a Parquet dataset."""
    (output,) = read_part(OLD / "both.parquet")
    assert_same(output, read_output(OLD / "both.npz"))
