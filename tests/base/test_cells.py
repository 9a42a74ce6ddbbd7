"""No text becomes a formula in a spreadsheet, and every text comes back."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sonyc_ml.analysis.label_files import CSV_HEADING, write_labels
from sonyc_ml.analysis.labels import Rules
from sonyc_ml.base.cells import from_cell, from_comment, to_cell, to_comment
from sonyc_ml.outputs.files import read_output, write_output
from tests.conftest import ROOT, examples
from tests.support.outputs import output_of

FORMULAS = ("=1+1", "+1", "-1+A1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1", "\n@x", "'=1", "\u00a0-1")
PLAIN = ("dog", "'dog'", "a=b", "1-2", "", "'", "\N{GREEK SMALL LETTER ALPHA}", "#=1")
odd = st.text(st.sampled_from("=+-@'\t\r\n ,;a\uff1d"), max_size=6)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text(text: str) -> None:
    """What a spreadsheet would compute, also behind blanks or in full-width characters, begins with an apostrophe."""
    assert to_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_are_as_they_are(text: str) -> None:
    """No apostrophe is put before, or taken from, what is no formula."""
    assert to_cell(text) == from_cell(text) == text


@examples(500)
@example(";' \t=")
@given(odd)
def test_every_text_comes_back(text: str) -> None:
    """Reading gives the original, apostrophes of its own too; no cell of a commented line is a formula."""
    assert from_cell(to_cell(text)) == text
    assert from_comment(to_comment(text)) == text
    for cell in to_comment(text).replace(";", ",").replace("\t", ",").split(",")[1:]:
        assert not cell.strip().startswith(("=", "+", "-", "@", "\uff1d"))


def test_outputs_and_labels_hold_no_formula(tmp_path: Path) -> None:
    """Names and classes in every csv that is written are text; numbers stay numbers; an output comes back as it was."""
    labels = ("=cmd|' /C calc'!A0", "@SUM(1,2)")
    output = replace(output_of("-1,=1+1,@b.wav", 3), labels=labels)
    write_output(output, tmp_path / "a.csv")
    read = read_output(tmp_path / "a.csv")
    assert (read.labels, read.provenance) == (labels, output.provenance)
    np.testing.assert_array_equal(read.embedding, output.embedding)
    write_labels([output], Rules(threshold=0.0), "csv", tmp_path / "labels")
    n_rows = 0
    for path in tmp_path.rglob("*.csv"):
        for row in csv.reader(io.StringIO(path.read_text(), newline="")):
            n_rows += 1
            for cell in row:
                assert not cell.strip().startswith(("=", "+", "-", "@")) or is_number(cell), (path, cell)
    assert n_rows > 20
    assert (tmp_path / "labels" / "labels.csv").read_text().splitlines()[1].startswith('"\'-1,=1+1,@b.wav",0.0')


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_documented_headings_are_the_real_ones(page: Path) -> None:
    """Wherever a page shows the first row of the labels, it is that which is written."""
    shown = [
        line.strip("`. ") for line in page.read_text().replace("`. A", "`\n").replace("csv is `", "\n`").splitlines()
    ]
    headings = [line for line in shown if line.startswith("recording,start")]
    assert set(headings) <= {",".join(CSV_HEADING)}
