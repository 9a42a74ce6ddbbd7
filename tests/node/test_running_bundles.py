"""The bundles that run are replaced when new files are whole and good, and stay otherwise."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sonyc_ml.bundles.replaced import CHECK_S
from sonyc_ml.errors import BundleError, BundleIntegrityError, ConfigError
from sonyc_ml.node.config import Config, load_config
from sonyc_ml.node.running_bundles import RunningBundles
from tests.support.bundles import configure, copy_bundle, make_bundle
from tests.support.journals import Clock


@pytest.fixture
def bundle(tmp_path: Path, tiny_bundle: Path) -> Path:
    """A bundle that the test may change."""
    return copy_bundle(tiny_bundle, tmp_path / "models")


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


def load(config: Config, timer: Callable[[], float] = time.monotonic) -> RunningBundles:
    return RunningBundles(config.model, config.output, timer)


def n_dims(bundles: RunningBundles) -> list[int]:
    return [int(bundle.model.interpreter.outputs[0].shape[-1]) for bundle in bundles]


def looks(bundles: RunningBundles, clock: Clock, n: int) -> list[bool]:
    """What it says at each of so many looks at the files."""
    answers = []
    for _ in range(n):
        clock.now_s += CHECK_S
        answers.append(bundles.were_replaced())
    return answers


def test_files_that_stay_are_not_replaced(tmp_path: Path, bundle: Path, clock: Clock) -> None:
    """Nothing is loaded again where nothing has changed."""
    bundles = load(configure(tmp_path, bundle), clock)
    assert looks(bundles, clock, 3) == [False] * 3


def test_a_replaced_bundle_is_told_once_it_is_quiet(tmp_path: Path, bundle: Path, clock: Clock) -> None:
    """Not while its files are still being copied, and only once."""
    bundles = load(configure(tmp_path, bundle), clock)
    bundle.with_suffix(".json").write_text("{}")
    assert looks(bundles, clock, 1) == [False]
    make_bundle(bundle, 7)
    assert looks(bundles, clock, 1) == [False]
    assert looks(bundles, clock, 3) == [True, False, False]
    bundles.reload(bundles.models)
    assert n_dims(bundles) == [7]
    assert looks(bundles, clock, 2) == [False] * 2


def test_the_disk_is_looked_at_now_and_then(tmp_path: Path, bundle: Path, clock: Clock) -> None:
    """Not before each recording."""
    bundles = load(configure(tmp_path, bundle), clock)
    make_bundle(bundle, 7)
    answers = []
    for _ in range(4):
        clock.now_s += CHECK_S / 2
        answers.append(bundles.were_replaced())
    assert answers == [False, False, False, True]


def test_a_bad_bundle_leaves_the_old_one_running(tmp_path: Path, bundle: Path, clock: Clock) -> None:
    """It is tried once; when a good one comes it is taken."""
    bundles = load(configure(tmp_path, bundle), clock)
    running = next(iter(bundles))
    with bundle.open("ab") as file:
        file.write(b"\0")
    assert looks(bundles, clock, 2) == [False, True]
    with pytest.raises(BundleIntegrityError):
        bundles.reload(bundles.models)
    assert next(iter(bundles)) is running
    assert looks(bundles, clock, 3) == [False] * 3
    make_bundle(bundle, 7)
    assert looks(bundles, clock, 2) == [False, True]
    bundles.reload(bundles.models)
    assert n_dims(bundles) == [7]


def test_a_bad_bundle_that_was_asked_for_is_not_tried_again(tmp_path: Path, bundle: Path, clock: Clock) -> None:
    """Who was told to reload it before it was seen on the disk has tried it."""
    bundles = load(configure(tmp_path, bundle), clock)
    bundle.write_bytes(b"no network")
    with pytest.raises(BundleError):
        bundles.reload(bundles.models)
    assert looks(bundles, clock, 3) == [False] * 3


def test_a_bundle_that_is_gone_leaves_the_old_one_running(tmp_path: Path, bundle: Path, clock: Clock) -> None:
    """A folder that vanished is a change like any other."""
    bundles = load(configure(tmp_path, bundle), clock)
    shutil.rmtree(bundle.parent)
    assert looks(bundles, clock, 2) == [False, True]
    with pytest.raises(BundleError):
        bundles.reload(bundles.models)
    assert n_dims(bundles) == [5]


def test_another_configuration_is_looked_after(tmp_path: Path, bundle: Path, clock: Clock) -> None:
    """After a reload it is the new bundle's files that are looked at."""
    other = make_bundle(tmp_path / "other" / "other.tflite", 6)
    bundles = load(configure(tmp_path, bundle), clock)
    bundles.reload(configure(tmp_path, other).model)
    assert (n_dims(bundles), bundles.models[0].path) == ([6], other)
    make_bundle(bundle, 7)
    assert looks(bundles, clock, 2) == [False, False]
    make_bundle(other, 8)
    assert looks(bundles, clock, 2) == [False, True]


def test_a_configuration_that_fails_is_not_tried_for_ever(tmp_path: Path, bundle: Path, clock: Clock) -> None:
    """Told to run a bundle that is none, the old one runs on and is still looked after."""
    bundles = load(configure(tmp_path, bundle), clock)
    with pytest.raises(BundleError):
        bundles.reload(configure(tmp_path, tmp_path / "none.tflite").model)
    assert bundles.models[0].path == bundle
    assert looks(bundles, clock, 3) == [False] * 3
    make_bundle(bundle, 7)
    assert looks(bundles, clock, 2) == [False, True]


def test_several_bundles_have_folders_of_their_own(tmp_path: Path, bundle: Path) -> None:
    """Each one's outputs lie below its name; a single one's do not."""
    other = make_bundle(tmp_path / "models" / "other.tflite", 6)
    bundles = load(configure(tmp_path, bundle, other))
    assert len(bundles) == 2
    assert n_dims(bundles) == [5, 6]
    assert [loaded.output_folder for loaded in bundles] == [tmp_path / "out" / "tiny", tmp_path / "out" / "other"]
    assert [loaded.output_folder for loaded in load(configure(tmp_path, bundle))] == [tmp_path / "out"]


def test_one_bad_bundle_of_several_changes_nothing(tmp_path: Path, bundle: Path, clock: Clock) -> None:
    """They are replaced together or not at all."""
    other = make_bundle(tmp_path / "models" / "other.tflite", 6)
    bundles = load(configure(tmp_path, bundle, other), clock)
    make_bundle(bundle, 7)
    other.unlink()
    with pytest.raises(BundleError):
        bundles.reload(bundles.models)
    assert n_dims(bundles) == [5, 6]


def test_two_of_one_name_are_refused(tmp_path: Path, bundle: Path) -> None:
    """Their outputs would have the same name."""
    twin = copy_bundle(bundle, tmp_path / "twin")
    with pytest.raises(ConfigError, match="two bundles are called tiny; their outputs would have the same name"):
        configure(tmp_path, bundle, twin)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hop_size", -1.0, "hop_size must be a number above 0"),
        ("target_sr", 8000, "AudioModel takes no target_sr"),
        ("num_threads", 0, "must be at least 1, not 0"),
    ],
)
def test_a_key_that_the_model_does_not_take(tmp_path: Path, bundle: Path, key: str, value: float, message: str) -> None:
    """It is a mistake in the configuration, and says of which bundle."""
    config = load_config(
        None,
        {
            "spool": {"folder": tmp_path},
            "output": {"folder": tmp_path},
            "model": {"path": bundle, key: value},
        },
    )
    with pytest.raises(ConfigError, match=rf"\[model\] {bundle}: .*{message}"):
        load(config)
