"""The daemon as a process, the store as a folder or as S3 speaks it, the commands as a user runs them."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sonyc_ml.bundles.location import pulled_path
from sonyc_ml.bundles.rollout.kept import KeptVersions
from sonyc_ml.node.journal.event_log import read_events
from sonyc_ml.node.rollout.trial import MAX_KILLED
from tests.conftest import write_recording
from tests.support.command import sonyc_ml
from tests.support.rollouts import DIMS, Fleet, digest_of, spoil_golden
from tests.support.watching import StartWatch, Watch

DIM_OF = {n_dims: version for version, n_dims in DIMS.items()}


@pytest.fixture
def node(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """``[model]`` of a node that pulls from the fleet's store; the machine has run no version before."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "machine"))
    fleet.kept = KeptVersions(pulled_path(tmp_path / "out" / ".sonyc-ml", "tiny").parent.parent, "tiny")
    fleet.clock.now_s = 1.9e9  # the commands go by the machine's clock, and this holds for years
    return (
        f'[node]\nname = "pole_1"\n[model]\npath = "{fleet.versions["1.0.0"]}"\n'
        f'trusted_keys = "{fleet.trusted}"\nsource = "{fleet.address}"\n'
    )


def look(fleet: Fleet) -> dict[str, str]:
    """Have the command look at the store; what it says."""
    done = sonyc_ml("bundle", "pull", "--config", fleet.folder / "sonyc-ml.toml", "--json")
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def versions_of(daemon: Watch, fleet: Fleet) -> dict[str, str]:
    """Which version made each output: by what it computed, and by what the output says of its bundle."""
    manifests = {version: digest_of(path.with_suffix(".json")) for version, path in fleet.versions.items()}
    found = {}
    for name in daemon.outputs():
        with np.load(daemon.output / name) as output:
            found[name] = DIM_OF[output["embedding"].shape[1]]
            assert str(output["bundle_sha256"]) == manifests[found[name]]
    return found


def test_it_switches_between_two_recordings(watch: StartWatch, fleet: Fleet, node: str) -> None:
    """While recordings come: none is lost, and each output is of the old bundle or of the new one."""
    daemon = watch(text=node, model=None)
    names = [f"{i:03}.wav" for i in range(40)]
    is_over = threading.Event()

    def record() -> None:
        for name in names:
            write_recording(daemon.folder / name, 1.0)
            is_over.wait(0.1)

    recorder = threading.Thread(target=record)
    recorder.start()
    daemon.wait_for_output(f"{names[3]}.npz")
    fleet.roll_out("1.1.0")
    assert look(fleet) == {"bundle": "tiny", "state": "runs", "detail": "switched to tiny 1.1.0"}
    daemon.wait_for_line("reloaded: running tiny ")
    recorder.join()
    write_recording(daemon.folder / "last.wav")
    daemon.wait_for_output("last.wav.npz")
    for name in names:
        daemon.wait_for_output(f"{name}.npz")
    made = versions_of(daemon, fleet)
    assert sorted(made) == sorted([f"{name}.npz" for name in names] + ["last.wav.npz"])
    assert (made["000.wav.npz"], made["last.wav.npz"]) == ("1.0.0", "1.1.0")
    events = [(one.kind, one.reason) for one in daemon.ask(lambda journal: read_events(journal, 0))]
    assert ("bundle", "tiny") in events
    assert ("rollout", "runs") in events
    assert daemon.stop() == 0


def test_a_wrong_golden_vector_leaves_the_daemon_alone(
    watch: StartWatch, fleet: Fleet, node: str, keys: Path, tmp_path: Path
) -> None:
    """It is told in status, events, metrics and by the doctor, and recordings go through what ran before."""
    daemon = watch(text=node, model=None)
    bad = Path(shutil.copytree(fleet.versions["1.1.0"].parent, tmp_path / "bad")) / "tiny.tflite"
    fleet.versions = {**fleet.versions, "1.1.0": spoil_golden(bad, keys / "ours")}
    fleet.roll_out("1.1.0")
    assert look(fleet)["state"] == "refused"
    write_recording(daemon.folder / "a.wav")
    daemon.wait_for_output("a.wav.npz")
    assert versions_of(daemon, fleet) == {"a.wav.npz": "1.0.0"}
    assert "reloaded" not in daemon.log()
    config = ("--config", tmp_path / "sonyc-ml.toml")
    status = json.loads(sonyc_ml("status", *config, "--json").stdout)
    assert status["rollouts"][0]["state"] == "refused"
    assert any("golden vector" in text for text in status["attention"])
    assert 'sonyc_ml_rollout_trouble{bundle="tiny"} 1' in sonyc_ml("metrics", *config).stdout
    events = sonyc_ml("events", *config, "--json").stdout
    assert '"event": "rollout", "bundle": "tiny", "state": "refused"' in events
    findings = json.loads(sonyc_ml("doctor", *config, "--json").stdout)["findings"]
    assert [one["verdict"] for one in findings if one["check"] == "rollout"] == ["bad"]
    assert daemon.stop() == 0


def test_a_daemon_that_is_killed_goes_back(watch: StartWatch, fleet: Fleet, node: str) -> None:
    """After a switch, so many times; then the version before runs, and the killer is not tried again."""
    daemon = watch(text=node, model=None)
    fleet.roll_out("1.1.0")
    look(fleet)
    for _ in range(MAX_KILLED):
        daemon.process.kill()
        daemon.process.wait()
        assert fleet.running == "1.1.0"
        daemon = watch(text=node, model=None)
    assert fleet.running == "1.0.0"
    assert "was rolled back to 1.0.0, as the daemon was killed 2 times in its first 10 min with it" in daemon.log()
    assert look(fleet)["state"] == "refused"
    write_recording(daemon.folder / "a.wav")
    daemon.wait_for_output("a.wav.npz")
    assert versions_of(daemon, fleet) == {"a.wav.npz": "1.0.0"}
    assert daemon.stop() == 0


def test_a_version_that_was_damaged_gives_way_at_the_start(watch: StartWatch, fleet: Fleet, node: str) -> None:
    """A disk that has lost a byte costs the version, and not the node."""
    daemon = watch(text=node, model=None)
    fleet.roll_out("1.1.0")
    look(fleet)
    assert daemon.stop() == 0
    with fleet.kept.path.open("r+b") as file:
        file.write(b"\0\0\0\0\0\0\0\0")
    daemon = watch(text=node, model=None)
    assert "as the daemon could not load it" in daemon.log()
    write_recording(daemon.folder / "a.wav")
    daemon.wait_for_output("a.wav.npz")
    assert versions_of(daemon, fleet) == {"a.wav.npz": "1.0.0"}
    assert daemon.stop() == 0


def test_a_person_goes_back(watch: StartWatch, fleet: Fleet, node: str, tmp_path: Path) -> None:
    """By a command, which waits for the daemon; and says why to whoever looks. To stop the daemon is no such word."""
    daemon = watch(text=node, model=None)
    fleet.roll_out("1.1.0")
    look(fleet)
    assert fleet.record.n_starts == 1
    assert daemon.stop() == 0
    assert (fleet.record.n_starts, fleet.record.trial) == (0, fleet.kept.current)
    daemon = watch(text=node, model=None)
    assert (fleet.running, fleet.record.n_starts) == ("1.1.0", 1)
    done = sonyc_ml("bundle", "rollback", "--config", tmp_path / "sonyc-ml.toml", "--why", "it hears sirens in rain")
    assert done.returncode == 0, done.stderr
    assert "was rolled back to 1.0.0, by a person: it hears sirens in rain" in done.stdout
    write_recording(daemon.folder / "a.wav")
    daemon.wait_for_output("a.wav.npz")
    assert versions_of(daemon, fleet) == {"a.wav.npz": "1.0.0"}
    assert daemon.stop() == 0


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a bundle's folder in a bucket of an S3 server on loopback."""
    s3fs = pytest.importorskip("s3fs")
    s3fs.S3FileSystem.clear_instance_cache()  # that of an earlier test would go on asking its own server
    moto_server = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    import fsspec

    fsspec.filesystem("s3", skip_instance_cache=True).mkdir("fleet")
    yield "s3://fleet/bundles/tiny"
    server.stop()


def test_a_bundle_goes_through_s3(fleet: Fleet, s3: str, tmp_path: Path, keys: Path, node: str) -> None:
    """As in a folder: written by one command, taken by another."""
    (tmp_path / "sonyc-ml.toml").write_text(
        f'[spool]\nfolder = "recordings"\n[output]\nfolder = "out"\n{node.replace(fleet.address, s3)}'
    )
    flags = ("--to", s3, "--key", keys / "ours")
    done = sonyc_ml("bundle", "rollout", fleet.versions["1.1.0"], *flags, "--nodes", "pole_*")
    assert done.returncode == 0, done.stderr
    assert look(fleet)["detail"] == "switched to tiny 1.1.0"
    fleet.address = s3
    fleet.roll_out(stop=True)
    assert fleet.look() == "runs"
    assert fleet.record.detail == "went back to tiny 1.0.0, by rollout 2"
