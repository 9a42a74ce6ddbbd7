"""A dataset apart by node and by bundle: what each has heard, of the time that is asked for."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from sonyc_ml.analysis.by_node import outputs_by_node
from sonyc_ml.analysis.groups import group_outputs
from sonyc_ml.cli import main
from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs.output import Output
from tests.support.archives import DAY, output_at, packed, starts

pytest.importorskip("pyarrow", reason="Parquet is an extra")


@pytest.fixture
def outputs() -> dict[str, list[Output]]:
    """Two nodes; one of them has another bundle from the second day on."""
    days = [start + timedelta(days=day) for day in (0, 1) for start in starts(6)]
    other = "b7" * 32
    return {
        "a": [output_at(start, whole=True) for start in days],
        "b": [
            output_at(start, whole=True, bundle_sha256=other if start.day > DAY.day else "a0" * 32) for start in days
        ],
    }


@pytest.fixture
def archive(outputs: dict[str, list[Output]], tmp_path: Path) -> Path:
    """Of both."""
    for node, some in outputs.items():
        packed(tmp_path / node, tmp_path / "archive", node, some)
    return tmp_path / "archive"


def test_a_bundle_on_half_of_the_fleet_is_told_apart(
    archive: Path, outputs: dict[str, list[Output]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the time that is asked for: rates of detections and scores are those of the outputs, counted by hand."""
    asked = ["compare", str(archive), "--by", "bundle", "--since", (DAY + timedelta(days=1)).isoformat()]
    assert main([*asked, "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert list(groups) == ["quantized_default_int8 a0a0a0a0a0a0", "quantized_default_int8 b7b7b7b7b7b7"]
    for group, node in zip(groups.values(), ("a", "b"), strict=True):
        some = outputs[node][6:]
        assert (group["recordings"], group["windows"], group["sound_h"]) == (6, 24, pytest.approx(24 / 3600))
        heard = [found.label for output in some for found in output.detections or ()]
        scores = [score for output in some if output.scores is not None for score in output.scores[:, 1]]
        siren = group["classes"]["siren"]
        assert siren["detections_per_h"] == pytest.approx(heard.count("siren") / 24 * 3600)
        assert siren["mean_score"] == pytest.approx(sum(scores) / len(scores), rel=1e-5)
        assert siren["share_of_windows"] == pytest.approx(sum(score >= 0.5 for score in scores) / len(scores))
    assert main(asked) == 0
    assert "detections per hour (nodes " in capsys.readouterr().out


def test_nodes_are_told_apart_and_mistakes_too(
    archive: Path, outputs: dict[str, list[Output]], capsys: pytest.CaptureFixture[str]
) -> None:
    """A node is the archive's, or the first folder of a recording's name; what cannot be meant is refused."""
    for dataset, names in ((archive, {"a": 12, "b": 12}), (archive.parent / "a", {"unknown": 12})):
        groups = group_outputs(outputs_by_node(dataset), "node")
        assert {name: group.n_recordings for name, group in groups.items()} == names
    assert len(outputs) == 2
    for arguments, message in (
        ([str(archive)], "give two folders, A and B; or one dataset with --by"),
        ([str(archive), str(archive), "--by", "node"], "--by puts one dataset apart"),
        ([str(archive), "--by", "node", "--since", "2030-01-01"], "there are no outputs"),
    ):
        assert main(["compare", *arguments]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(ConfigError, match="there are no outputs"):
        group_outputs([], "node")
