"""Classes that are expected at a place and in a week."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonyc_ml.analysis.labels import label_output
from sonyc_ml.cli import main
from sonyc_ml.errors import BundleMismatchError, ConfigError
from sonyc_ml.model.hearing import week_of
from sonyc_ml.model.loading import load_model
from sonyc_ml.node.config import load_config
from sonyc_ml.sound.start_time import StartTime
from tests.support import networks
from tests.support.detections import make_echo, write_scores

LABELS = ("north", "late", "east", "south")
PLACE = [60.0, 10.0]
# Values of the location model: a share of 90 degrees of latitude, of the year, of 180 degrees of longitude.
WEIGHTS = np.array([[1 / 90, 0, 0], [0, 0, 1 / 48], [0, 1 / 180, 0], [-1 / 90, 0, 0]], np.float32)
ALL_HEARD = np.full((4, 4), 0.9, np.float32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose scores are a recording's samples, with a location model."""
    folder = tmp_path_factory.mktemp("placed")
    (folder / "where.tflite").write_bytes(networks.weighted(WEIGHTS))
    rules = {"threshold": 0.5}
    return make_echo(folder / "echo.tflite", LABELS, detections=rules, location="where.tflite", location_threshold=0.5)


def heard(bundle: Path, recording: Path, **asked: Any) -> tuple[set[str], str]:
    """The classes that are detected, and the output's note."""
    output = load_model(bundle, detections=asked).embed_file(recording)
    return {one.label for one in output.detections or ()}, output.provenance.note


def test_only_what_is_expected_is_detected(bundle: Path, tmp_path: Path) -> None:
    """By the week in which a recording begins, by the week that is said, or by any where nobody knows."""
    early = write_scores(tmp_path / "20240201_120000.wav", ALL_HEARD)
    late = write_scores(tmp_path / "20241101_120000.wav", ALL_HEARD)
    unknown = write_scores(tmp_path / "night.wav", ALL_HEARD)
    assert heard(bundle, early) == (set(LABELS), "")
    assert heard(bundle, early, place=PLACE) == ({"north"}, "")
    assert heard(bundle, late, place=PLACE) == ({"north", "late"}, "")
    assert heard(bundle, early, place=PLACE, week=40) == ({"north", "late"}, "")
    assert heard(bundle, early, place=[10, 100], week=1) == ({"east"}, "")
    found, note = heard(bundle, unknown, place=PLACE)
    assert (found, "expected in any week, as its start is in doubt" in note) == ({"north", "late"}, True)
    assert heard(bundle, late, place=PLACE, classes=["late", "east"])[0] == {"late"}


def test_it_is_recorded_and_kept_apart(bundle: Path, tmp_path: Path) -> None:
    """Place and week are in the output and its fingerprint, and labels by other rules do not forget them."""
    path = write_scores(tmp_path / "20240201_120000.wav", ALL_HEARD)
    model = load_model(bundle, detections={"place": PLACE})
    output = model.embed_file(path)
    assert json.loads(output.provenance.parameters)["detections"]["place"] == PLACE
    others = [load_model(bundle, detections=asked) for asked in ({}, {"place": PLACE, "week": 3}, {"place": [1, 2]})]
    assert len({one.fingerprint() for one in (model, *others)}) == 4
    with pytest.raises(ConfigError, match="expected at a place"):
        label_output(output, {"threshold": 0.1})
    assert {one.label for one in label_output(output, {"threshold": 0.1, "classes": ("late",)})} == {"late"}
    found = load_model(bundle, detections={"place": PLACE, "week": 3}).get_labels(ALL_HEARD.ravel(), 8000)
    assert {one.label for one in found} == {"north"}


def test_by_command_and_configuration(bundle: Path, tmp_path: Path) -> None:
    """Flags and keys say the same."""
    path = write_scores(tmp_path / "20240201_120000.wav", ALL_HEARD)
    out = tmp_path / "out"
    arguments = ["embed", str(path), "--model", str(bundle), "--output", str(out), "--quiet", "--workers", "1"]
    assert main([*arguments, "--place", "60,10", "--week", "30"]) == 0
    with np.load(out / f"{path.name}.npz") as arrays:
        parameters = json.loads(str(arrays["parameters"]))
    tables: dict[str, dict[str, Any]] = {
        "model": {"path": bundle},
        "spool": {"folder": tmp_path},
        "output": {"folder": tmp_path},
        "detections": {"place": PLACE, "week": 30},
    }
    model = load_model(bundle, **load_config(None, tables).model[0].parameters())
    assert parameters["detections"] == {"threshold": 0.5, "place": PLACE, "week": 30}
    assert {one.label for one in model.embed_file(path).detections or ()} == {"north", "late"}
    assert main([*arguments, "--place", "60"]) == 2
    assert main([*arguments, "--week", "3"]) == 2


def test_what_does_not_fit_is_refused(bundle: Path, tmp_path: Path) -> None:
    """A place without a location model, and one that reads or gives something else."""
    plain = make_echo(tmp_path / "plain.tflite", LABELS)
    with pytest.raises(ValueError, match="the bundle has none: bundle make --location"):
        load_model(plain, detections={"place": PLACE})
    for asked, text in (
        ({"place": [100, 0]}, "in degrees"),
        ({"place": [1]}, "in degrees"),
        ({"place": PLACE, "week": 49}, "from 1 to 48"),
        ({"week": 3}, "give both"),
    ):
        with pytest.raises(ValueError, match=text):
            load_model(bundle, detections=asked)
    for name, weights in (("few", WEIGHTS[:2]), ("wide", np.zeros((4, 5), np.float32))):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "where.tflite").write_bytes(networks.weighted(weights))
        path = make_echo(folder / "echo.tflite", LABELS, location="where.tflite")
        with pytest.raises(BundleMismatchError, match=r"where\.tflite"):
            load_model(path, detections={"place": PLACE})


@pytest.mark.parametrize(
    ("day", "week"), [("2024-01-01", 1), ("2024-12-31", 48), ("2023-12-31", 48), ("2024-07-01", 24), ("2023-03-01", 8)]
)
def test_weeks(day: str, week: int) -> None:
    """A year has 48, as birdnetlib counts them."""
    assert week_of(StartTime(datetime.fromisoformat(day).replace(tzinfo=UTC), "name")) == week
