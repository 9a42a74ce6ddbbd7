"""A bundle that was pulled is on trial: what kills the daemon, or cannot be loaded, gives way to the one before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from sonyc_ml.bundles.location import pulled_path
from sonyc_ml.bundles.rollout.kept import KeptVersions
from sonyc_ml.bundles.rollout.record import BACK, FILE_NAME, read_record
from sonyc_ml.errors import BundleError, ConfigError
from sonyc_ml.node.config import ModelConfig
from sonyc_ml.node.rollout.trial import (
    MAX_KILLED,
    TRIAL_S,
    ended,
    kept_versions,
    leave_refused,
    load_proved,
    on_trial,
    passed,
    trial_s,
)

OLD, NEW = "a" * 64, "b" * 64


class Loader:
    """Loads bundles whose content is good; keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[bytes]] = []

    def __call__(self, models: Sequence[ModelConfig]) -> list[bytes]:
        self.asked.append([model.path.read_bytes() for model in models])
        for content in self.asked[-1]:
            if content != b"good":
                raise BundleError(f"it is {content.decode()}")
        return self.asked[-1]


@pytest.fixture
def kept(tmp_path: Path) -> KeptVersions:
    """Two versions, of which the new one cannot be loaded, and was switched to last."""
    kept = KeptVersions(tmp_path / "bundles" / "tiny", "tiny")
    kept.keep({"tiny.tflite": b"good"}, OLD)
    kept.keep({"tiny.tflite": b"bad"}, NEW)
    kept.switch(OLD, "1.0.0", 0.0, on_trial=False)
    kept.switch(NEW, "1.1.0", 1.0)
    return kept


@pytest.fixture
def model(tmp_path: Path, kept: KeptVersions) -> ModelConfig:
    path = pulled_path(tmp_path, kept.name)
    return ModelConfig(path=path, source="file:///store/tiny", trusted_keys=tmp_path / "keys")


def repair(kept: KeptVersions) -> None:
    """Have the new version be a good one."""
    kept.network(NEW).write_bytes(b"good")


def test_a_bundle_of_ones_own_is_never_on_trial(tmp_path: Path) -> None:
    """There is no version before it."""
    model, loader = ModelConfig(path=tmp_path / "tiny.tflite"), Loader()
    model.path.write_bytes(b"bad")
    assert kept_versions(model) is None
    assert trial_s([model]) == math.inf
    with pytest.raises(BundleError, match="it is bad"):
        load_proved(loader, [model])


def test_what_cannot_be_loaded_gives_way(kept: KeptVersions, model: ModelConfig) -> None:
    """The one before runs; the record says why, and what failed is not tried again."""
    assert trial_s([model]) == TRIAL_S
    assert load_proved(Loader(), [model]) == [b"good"]
    record = read_record(kept.folder)
    assert (kept.current, record.word, record.trial) == (OLD, BACK, "")
    assert record.detail == "tiny 1.1.0 was rolled back to 1.0.0, as the daemon could not load it: it is bad"
    assert NEW in record.refused
    assert trial_s([model]) == math.inf


def test_it_stays_where_the_one_before_is_no_better(kept: KeptVersions, model: ModelConfig) -> None:
    """Then the trouble is another, and the error says it."""
    kept.network(OLD).write_bytes(b"worse")
    with pytest.raises(BundleError, match="it is bad"):
        load_proved(Loader(), [model])
    assert (kept.current, read_record(kept.folder).n_starts) == (NEW, 0)
    kept.network(OLD).unlink()
    with pytest.raises(BundleError, match="it is bad"):
        load_proved(Loader(), [model])
    assert kept.current == NEW


def test_a_start_is_counted_until_it_ends_in_order(kept: KeptVersions, model: ModelConfig) -> None:
    """What is left of the count are the times that the daemon was killed."""
    repair(kept)
    for n_starts in range(1, MAX_KILLED + 1):
        load_proved(Loader(), [model])
        assert read_record(kept.folder).n_starts == n_starts
    ended([model])
    assert read_record(kept.folder).n_starts == MAX_KILLED - 1
    with pytest.raises(KeyboardInterrupt), on_trial([model]):
        raise KeyboardInterrupt
    assert read_record(kept.folder).n_starts == MAX_KILLED - 1


def test_what_killed_the_daemon_gives_way(kept: KeptVersions, model: ModelConfig) -> None:
    """Without being loaded once more."""
    repair(kept)
    for _ in range(MAX_KILLED):
        load_proved(Loader(), [model])
    loader = Loader()
    load_proved(loader, [model])
    assert kept.current == OLD
    assert f"as the daemon was killed {MAX_KILLED} times in its first 10 min with it" in read_record(kept.folder).detail
    assert len(loader.asked) == 1


def test_a_daemon_that_has_lived_ends_the_trial(kept: KeptVersions, model: ModelConfig) -> None:
    """However often it is killed then."""
    repair(kept)
    load_proved(Loader(), [model])
    passed([model])
    assert (read_record(kept.folder).trial, trial_s([model])) == ("", math.inf)
    for _ in range(MAX_KILLED + 1):
        load_proved(Loader(), [model])
    assert kept.current == NEW


def test_a_reload_that_was_refused_goes_back_on_the_disk(kept: KeptVersions, model: ModelConfig) -> None:
    """Once: what runs then is on trial no more."""
    assert leave_refused([model], ConfigError("no such class"))
    assert kept.current == OLD
    assert "could not load it: no such class" in read_record(kept.folder).detail
    assert not leave_refused([model], ConfigError("again"))


def test_a_damaged_record_keeps_nobody_from_starting(kept: KeptVersions, model: ModelConfig) -> None:
    """Nothing is on trial that nobody knows of."""
    repair(kept)
    (kept.folder / FILE_NAME).write_text("{")
    assert load_proved(Loader(), [model]) == [b"good"]
    assert not leave_refused([model], ConfigError("again"))


def test_there_may_be_nothing_to_go_back_to(
    kept: KeptVersions, model: ModelConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """That is said, and the bundle is tried on."""
    kept.network(OLD).unlink()
    assert not leave_refused([model], ConfigError("no such class"))
    assert "and it cannot be rolled back" in caplog.text
    assert kept.current == NEW
