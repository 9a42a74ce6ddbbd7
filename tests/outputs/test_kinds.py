"""The table of the kinds of outputs."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from sonyc_ml.outputs.archive.embeddings import Embeddings
from sonyc_ml.outputs.kinds import KINDS, split_headings
from sonyc_ml.outputs.output import Output


@pytest.mark.parametrize("of", [Output, Embeddings])
def test_every_kind_has_a_field(of: type) -> None:
    """What the table lists, an output and a folder of outputs have."""
    assert {field.name for field in fields(of)} >= KINDS.keys()


@pytest.mark.parametrize(
    ("n_dims", "n_classes", "labels"),
    [
        (3, 2, ("dog", "siren")),
        (3, 2, ()),
        (3, 0, ()),
        (0, 2, ("dog", "siren")),
        (0, 2, ()),
        (0, 0, ()),
        (1, 2, ("scores_0", "siren")),
        (2, 2, ("siren", "embedding_2")),
    ],
)
def test_headings_are_found_again(n_dims: int, n_classes: int, labels: tuple[str, ...]) -> None:
    """The columns of a csv go back to their kinds, and labels stay labels whatever they look like."""
    widths = {"embedding": n_dims, "scores": n_classes}
    headings = [name for kind, n in widths.items() if n for name in KINDS[kind].headings(n, labels)]
    columns, found = split_headings(headings)
    assert {kind: len(headings[column]) for kind, column in columns.items()} == {k: n for k, n in widths.items() if n}
    assert found == labels


def test_an_array_has_one_row_per_window() -> None:
    """The rule of shapes: two dimensions, as many rows as windows."""
    assert all(kind.fits(np.zeros((4, 3)), 4) for kind in KINDS.values())
    assert not any(kind.fits(np.zeros(shape), 4) for kind in KINDS.values() for shape in ((4,), (3, 4), (4, 3, 1)))
