"""Versions on a node's disk: proved before they run, kept to go back to, whole whatever kills whoever changes them."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sonyc_ml.errors import BundleError, StoreError
from sonyc_ml.node.config import load_config
from sonyc_ml.node.rollout.proving import prove
from sonyc_ml.node.rollout.run import pull, roll_back
from tests.support.rollouts import Fleet, spoil_golden


def configure(fleet: Fleet, more: str = "") -> Path:
    """A node's configuration file that pulls from the fleet's store."""
    path = fleet.folder / "sonyc-ml.toml"
    path.write_text(
        '[spool]\nfolder = "recordings"\n[output]\nfolder = "out"\n[state]\nfolder = "state"\n'
        f'[model]\npath = "{fleet.versions["1.0.0"]}"\ntrusted_keys = "trusted_keys"\n'
        f'source = "{fleet.address}"\n{more}'
    )
    return path


def test_a_wrong_golden_vector_keeps_the_old_bundle(fleet: Fleet, keys: Path) -> None:
    """A node whose numbers are not the maker's says so, and does not ask again; nor is it left on the disk."""
    bad = Path(shutil.copytree(fleet.versions["1.1.0"].parent, fleet.folder / "bad")) / "tiny.tflite"
    fleet.versions = {**fleet.versions, "1.1.0": spoil_golden(bad, keys / "ours")}
    path = configure(fleet)
    fleet.roll_out("1.1.0")
    (looked,) = pull(load_config(path, {}), path)
    assert looked.word == "refused"
    assert "golden vector" in looked.detail
    assert fleet.kept.current == ""
    assert not fleet.folders()
    (looked,) = pull(load_config(path, {}), path)
    assert looked.detail.startswith("tiny 1.1.0 is not tried again: ")
    fleet.versions = {**fleet.versions, "1.1.0": fleet.versions["1.0.0"].parents[1] / "1.1.0" / "tiny.tflite"}
    fleet.roll_out("1.1.0")
    (looked,) = pull(load_config(path, {}), path)
    assert (looked.word, fleet.running) == ("runs", "1.1.0")


def test_the_configuration_has_its_say(fleet: Fleet) -> None:
    """A bundle is proved with what [model] says of it: what the daemon could not load is not switched to."""
    path = configure(fleet, "hop_size = 1e9\n")
    fleet.roll_out("1.1.0")
    (looked,) = pull(load_config(path, {}), path)
    assert (looked.word, fleet.kept.current) == ("refused", "")


def test_what_kills_its_loader_kills_nothing_else(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that proves, and is killed by the system, is tried again; one that dies of itself is not."""
    path, network = configure(fleet), fleet.versions["1.1.0"]
    (fleet.folder / "sitecustomize.py").write_text("import os\nos.kill(os.getpid(), int(os.environ['DIES_OF']))\n")
    monkeypatch.setenv("PYTHONPATH", str(fleet.folder))
    monkeypatch.setenv("DIES_OF", str(int(signal.SIGSEGV)))
    with pytest.raises(BundleError, match="kills what loads it"):
        prove(path, network)
    monkeypatch.setenv("DIES_OF", str(int(signal.SIGKILL)))
    with pytest.raises(StoreError, match="too little memory"):
        prove(path, network)


def test_the_bundle_that_the_node_began_with_is_gone_back_to(fleet: Fleet) -> None:
    """A copy of it is kept, so a newer package may bring another."""
    path = configure(fleet)
    fleet.roll_out("1.1.0")
    fleet.look()
    (looked,) = roll_back(load_config(path, {}), "", "by a person: it hears nothing")
    assert (looked.word, fleet.running) == ("rolled back", "1.0.0")
    assert "by a person: it hears nothing" in looked.detail
    assert fleet.look() == "refused"
    assert fleet.running == "1.0.0"
    assert (fleet.look(again=True), fleet.running) == ("runs", "1.1.0")
    config = load_config(path, {})
    assert config.model[0].path.resolve().parent == fleet.kept.folder / fleet.kept.current


def test_there_may_be_nothing_to_go_back_to(fleet: Fleet) -> None:
    """Then that is said, and what runs stays."""
    fleet.versions = {**fleet.versions, "1.0.0": fleet.folder / "none.tflite"}
    fleet.pull().look()
    fleet.roll_out("1.1.0")
    fleet.look()
    with pytest.raises(BundleError, match="keeps no version to go back to"):
        fleet.kept.roll_back("by a person", 0.0)
    assert fleet.running == "1.1.0"


def test_two_versions_are_kept(fleet: Fleet) -> None:
    """The one that runs and the one before; the rest is removed."""
    for version in ("1.1.0", "1.2.0"):
        fleet.roll_out(version)
        assert fleet.look() == "runs"
    assert sorted(fleet.record.versions.values()) == ["1.1.0", "1.2.0"]
    assert fleet.folders() == set(fleet.record.versions)
    fleet.kept.roll_back("by a person", 0.0)
    assert fleet.running == "1.1.0"
    with pytest.raises(BundleError, match="keeps no version"):
        fleet.kept.roll_back("by a person", 0.0)


def test_a_rollout_can_stop(fleet: Fleet) -> None:
    """No more node takes it, those that have it go back, and it can be taken up again."""
    fleet.roll_out("1.1.0", share=0.9999)
    assert (fleet.look(), fleet.running) == ("runs", "1.1.0")
    fleet.roll_out(stop=True)
    assert (fleet.look(), fleet.running) == ("runs", "1.0.0")
    assert "went back to tiny 1.0.0, by rollout 2" in fleet.record.detail
    fleet.roll_out(share=1.0)
    assert (fleet.look(), fleet.running) == ("runs", "1.1.0")


def test_a_smaller_share_leaves_who_has_switched(fleet: Fleet) -> None:
    """But with --back, they run what the others run."""
    fleet.roll_out("1.1.0")
    fleet.roll_out("1.2.0")
    fleet.look()
    fleet.roll_out(share=0.0)
    assert (fleet.look(), fleet.running) == ("runs", "1.2.0")
    fleet.roll_out(share=0.0, back=True)
    assert (fleet.look(), fleet.running) == ("runs", "1.1.0")


# Killed


CHANGES = frozenset({"os.rename", "os.mkdir", "os.symlink", "os.remove", "os.rmdir", "os.truncate"})


def killed_before(n: int, work: Callable[[], object]) -> bool:
    """Do some work in a process that is killed just before its `n`-th change of a folder; False where it ended."""
    child = os.fork()
    if child == 0:
        left = iter(range(n - 1, -1, -1))

        def count(event: str, _arguments: tuple[object, ...]) -> None:
            if event in CHANGES and next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            work()
        finally:  # nothing of the tests' own process is to run here
            os.kill(os.getpid(), signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def kill_everywhere(fleet: Fleet, work: Callable[[], object]) -> set[str]:
    """Kill some work before every third change that it makes, and look after it each time; what ran then."""
    as_it_was, running = fleet.folder / "as it was", set()
    shutil.copytree(fleet.kept.folder, as_it_was, symlinks=True)
    for n in itertools.count(1, 3):
        was_killed = killed_before(n, work)
        assert fleet.kept.is_whole(fleet.kept.current, fleet.trusted), f"after a kill before change {n}"
        running.add(fleet.running)
        fleet.kept.finish()
        assert fleet.kept.is_whole(fleet.kept.current, fleet.trusted)
        if n % 4 == 0 or not was_killed:
            fleet.look(again=True)
            assert (fleet.record.word, fleet.running) == ("runs", "1.2.0")
            assert len(fleet.folders()) == 2
            assert not list(fleet.kept.folder.glob(".incoming*"))
        if not was_killed:
            return running
        shutil.rmtree(fleet.kept.folder)
        shutil.copytree(as_it_was, fleet.kept.folder, symlinks=True)
    raise AssertionError


def test_a_pull_that_is_killed_leaves_one_whole_version(fleet: Fleet) -> None:
    """The old one or the new one, wherever it is killed, and the next pull does what is left to do."""
    fleet.roll_out("1.1.0")
    fleet.look()
    fleet.roll_out("1.2.0")
    assert kill_everywhere(fleet, lambda: fleet.pull().look()) == {"1.1.0", "1.2.0"}


def test_going_back_is_whole_too(fleet: Fleet) -> None:
    """Killed anywhere, the one or the other runs; what was begun is finished by the next who looks."""
    fleet.roll_out("1.1.0")
    fleet.look()
    fleet.roll_out("1.2.0")
    fleet.look()
    assert kill_everywhere(fleet, lambda: fleet.kept.roll_back("by a test", 0.0)) == {"1.1.0", "1.2.0"}
