"""A head of many classes becomes one of a few: each score is the highest of its group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("ai_edge_litert", reason="heads are written where there is LiteRT")

from sonyc_ml.authoring.groups import grouped_head, main, read_groups
from sonyc_ml.authoring.heads import dense_head
from sonyc_ml.errors import BundleError, ConfigError
from sonyc_ml.model.interpreter import Interpreter

GROUPS = [[0, 3, 5], [1], [4, 3]]  # of different lengths; 2 is in none, 3 in two


@pytest.fixture
def head() -> bytes:
    """Six classes, heard side by side."""
    rng = np.random.default_rng(2)
    return dense_head(rng.normal(0, 1, (6, 8)), rng.normal(0, 1, 6), activation="sigmoid")


@pytest.mark.parametrize("reference_kernels", [False, True])
def test_a_score_is_the_highest_of_its_group(head: bytes, reference_kernels: bool) -> None:
    """To the last bit, on either kernels."""
    embedding = np.random.default_rng(3).normal(0, 1, (50, 8)).astype(np.float32)
    scores: list[npt.NDArray[np.float32]] = []
    for network in (head, grouped_head(head, GROUPS)):
        interpreter = Interpreter(network, reference_kernels=reference_kernels)
        interpreter.fit((8,))
        scores += interpreter(embedding)
    wanted = np.stack([scores[0][:, group].max(axis=1) for group in GROUPS], axis=1)
    np.testing.assert_array_equal(scores[1], wanted)


def test_a_csv_names_the_groups(tmp_path: Path, head: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """The command writes head and labels, in the order in which groups are first named."""
    (tmp_path / "head.tflite").write_bytes(head)
    (tmp_path / "labels.txt").write_text('a\nb\nc, "loud"\nd\ne\nf\n')
    (tmp_path / "groups.csv").write_text('group,label\nlow,d\nhigh,"c, ""loud"""\nlow,a\n')
    paths = [str(tmp_path / name) for name in ("head.tflite", "labels.txt", "groups.csv")]
    assert main([*paths, "--output", str(tmp_path / "few")]) == 0
    assert "2 groups: low (2), high (1)" in capsys.readouterr().out
    assert (tmp_path / "few-labels.txt").read_text() == "low\nhigh\n"
    assert (tmp_path / "few-head.tflite").read_bytes() == grouped_head(head, [[3, 0], [2]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("group,label\nlow,a\nlow,z\n", "'z', and the list of labels has no such class"),
        ("kind,label\nlow,a\n", "needs the columns group and label"),
        ("group,label\n", "a row for each class"),
    ],
)
def test_a_wrong_csv_is_told(tmp_path: Path, text: str, said: str) -> None:
    """One sentence says which row or column."""
    (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_groups(tmp_path / "groups.csv", ["a", "b"])


def test_what_cannot_be_grouped_is_refused(head: bytes) -> None:
    """An empty group, a class beyond the last, and a file that is no head."""
    with pytest.raises(ValueError, match="a class at least"):
        grouped_head(head, [[0], []])
    with pytest.raises(ValueError, match="classes 0 to 5"):
        grouped_head(head, [[6]])
    with pytest.raises(BundleError, match="cannot be read"):
        grouped_head(b"no network at all", [[0]])
