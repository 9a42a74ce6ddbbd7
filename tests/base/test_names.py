"""Names of recordings stay below the folder they are joined to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml.base.names import checked_name
from sonyc_ml.errors import OutputNameError, RecordingError
from sonyc_ml.outputs.files import output_path
from tests.conftest import examples

BAD = ("", "/a.wav", "..", ".", "../a.wav", "a/../b.wav", "ok/../../../X.wav", "a//b.wav", "./a.wav", "a/./b", "a/")
parts = st.sampled_from(["..", ".", "", "a.wav", "...", "..a", "\0", "-", " "])


@pytest.mark.parametrize("name", [*BAD, "a\0.wav", "//a.wav", "sub/.."])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    """Empty, absolute, with a part that is empty, `.` or `..`, or with a zero: it costs that recording alone."""
    with pytest.raises(OutputNameError, match=r"the name '.*' is refused, as .*; give the recording another name$"):
        checked_name(name)
    with pytest.raises(RecordingError):
        output_path(name, Path("out"))


@pytest.mark.parametrize("name", ["a.wav", "..a/...wav", "sub/.a", "a b/\udcff.wav", "-rf", "a\n.wav", "~/a.wav"])
def test_an_odd_name_is_kept(name: str) -> None:
    """Dots inside a part, bytes that are no UTF-8 and whatever else a file may be called are no fault."""
    assert checked_name(name) == name


@examples(300)
@given(st.lists(parts, max_size=6).map("/".join))
def test_whatever_passes_stays_inside(name: str) -> None:
    """What is not refused means one place below the folder, and is its only spelling."""
    try:
        path = os.path.normpath(f"/out/{checked_name(name)}")
    except OutputNameError:
        return
    assert path == f"/out/{name}"
