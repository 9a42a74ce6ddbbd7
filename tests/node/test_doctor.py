"""The doctor: each check finds what is well and what is ill, and one that breaks does not stop the others."""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import zoneinfo
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sonyc_ml import cli
from sonyc_ml.base.lock import Lock
from sonyc_ml.model import Model
from sonyc_ml.model.interpreter import Interpreter
from sonyc_ml.node import doctor
from sonyc_ml.node.config import Config, ModelConfig, load_config
from sonyc_ml.node.doctor import bundle as doctor_bundle
from sonyc_ml.node.doctor import folders
from sonyc_ml.node.doctor import machine as doctor_machine
from sonyc_ml.node.doctor import node as doctor_node
from sonyc_ml.node.doctor.machine import BAD, OK, SKIPPED, WARN, Finding
from sonyc_ml.node.journal.journal import Journal
from tests.conftest import ROOT, vouch
from tests.support import networks

is_root = pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
MOUNTS = "22 1 8:1 / / rw - {root} /dev/sda1 rw\n23 22 0:30 / {point} rw shared:1 - {kind} server:/x rw\n"

# A configuration and the machine around it


@pytest.fixture
def config(tmp_path: Path, tiny_bundle: Path) -> Config:
    """A node with everything in its place."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    return make_config(tmp_path, tiny_bundle)


def make_config(folder: Path, bundle: Path, **tables: dict[str, Any]) -> Config:
    """A node's configuration; what is given wins."""
    spool, output = {"folder": folder / "in"}, {"folder": folder / "out"}
    known: dict[str, dict[str, Any]] = {"spool": spool, "output": output, "model": {"path": bundle}}
    return load_config(None, {name: known.get(name, {}) | tables.get(name, {}) for name in {**known, **tables}})


def write_config(folder: Path, bundle: Path) -> Path:
    """The same as a file."""
    path = folder / "sonyc-ml.toml"
    path.write_text(f'[spool]\nfolder = "in"\n[output]\nfolder = "out"\n[model]\npath = "{bundle}"\n')
    return path


def write(path: Path, text: str) -> Path:
    """Write a file and the folders above it; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def program(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program of this name first on the path; it says a text."""
    write(folder / name, f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def unprivileged(call: str, *arguments: object) -> tuple[str, str, str]:
    """Verdict, text and remedy of a check as root without its privileges: permissions count then."""
    script = (
        "import sys; from pathlib import Path; from sonyc_ml.node.doctor import folders, node; "
        "from sonyc_ml.node.config import load_config; "
        "config = load_config(Path(sys.argv[1]), {}) if sys.argv[1].endswith('.toml') else None; "
        f"found = {call}; print(found.verdict, found.text, found.remedy, sep='|')"
    )
    command = [*UNPRIVILEGED, sys.executable, "-c", script, *map(str, arguments)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.split("|")
    assert told[2].strip() or told[0] in (OK, SKIPPED)
    return told[0], told[1], told[2]


def assert_ill(finding: Finding, verdict: str, *words: str) -> None:
    """It is ill in this way, says these words, and how to mend it."""
    assert finding.verdict == verdict, finding
    assert finding.remedy
    for word in words:
        assert word in f"{finding.text}\n{finding.remedy}"


def assert_well(finding: Finding, *words: str) -> None:
    """It is well, says these words, and there is nothing to mend."""
    assert (finding.verdict, finding.remedy) == (OK, ""), finding
    for word in words:
        assert word in finding.text


def assert_skipped(finding: Finding) -> None:
    """There is nothing to check."""
    assert (finding.verdict, finding.remedy) == (SKIPPED, "")
    assert finding.text


def refusing(*names: str) -> doctor_machine.Importer:
    """An importer of everything but these."""

    def importer(name: str) -> ModuleType:
        if name.partition(".")[0] in names:
            raise ImportError(f"No module named {name!r}")
        return importlib.import_module(name)

    return importer


# Python and libraries


def test_python() -> None:
    """Too old is bad, 32 bits are slow or have no runtime, an odd processor is warned of."""
    assert_well(doctor_machine.python())
    assert_well(doctor_machine.python((3, 13, 1), "aarch64", is_64_bit=True), "3.13.1 on aarch64, 64 bits")
    assert_ill(doctor_machine.python((3, 9, 2), "x86_64"), BAD, "3.9.2", "3.11")
    assert_ill(doctor_machine.python((3, 12, 0), "riscv64"), WARN, "riscv64")
    assert_ill(doctor_machine.python((3, 11, 2), "aarch64", is_64_bit=False), WARN, "32 bits")
    assert_ill(doctor_machine.python((3, 12, 0), "armv7l", is_64_bit=False), BAD, "32 bits")


def test_libraries() -> None:
    """What cannot be imported or is too old is named, with the command that mends it."""
    assert_well(doctor_machine.libraries(), "numpy", "soundfile", "watchdog", "dill")
    assert_ill(
        doctor_machine.libraries(refusing("soundfile")),
        BAD,
        "soundfile cannot be imported",
        "-m pip install 'soundfile>=",
    )
    assert_ill(doctor_machine.libraries(wanted={"dill": "99.0"}), BAD, "older than 99.0", "'dill>=99.0'")


def test_runtime() -> None:
    """LiteRT is well, tflite-runtime alone is slow where there is something better, none is bad."""
    assert_well(doctor_machine.runtime(), "ai-edge-litert")
    assert_ill(doctor_machine.runtime(refusing("ai_edge_litert", "tflite_runtime")), BAD, "pip install ai-edge-litert")

    def old(name: str) -> ModuleType:
        if name.startswith("ai_edge"):
            raise ImportError(name)
        return sys

    assert_ill(
        doctor_machine.runtime(old, lambda _: "2.14.0"), WARN, "tflite-runtime 2.14.0", "pip install ai-edge-litert"
    )
    assert_well(doctor_machine.runtime(old, lambda _: "2.14.0", is_64_bit=False), "tflite-runtime 2.14.0")


def test_processor(tmp_path: Path) -> None:
    """Without /proc/cpuinfo there are no quick kernels."""
    assert_well(doctor_machine.processor())
    assert_ill(doctor_machine.processor(tmp_path), BAD, "cpuinfo", "ProcSubset=pid")
    write(tmp_path / "cpuinfo", "processor\t: 0\nprocessor\t: 1\n\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n")
    assert_well(doctor_machine.processor(tmp_path), "Raspberry Pi 4 Model B Rev 1.4, 2 cores")


def test_memory(tmp_path: Path) -> None:
    """Little memory is warned of, too little is bad."""
    assert_skipped(doctor_machine.memory(tmp_path))
    for n_kb, verdict in ((4_000_000, OK), (120_000, WARN), (40_000, BAD)):
        write(tmp_path / "meminfo", f"MemTotal: 9 kB\nMemAvailable:   {n_kb} kB\n")
        finding = doctor_machine.memory(tmp_path)
        assert finding.verdict == verdict
        assert bool(finding.remedy) == (verdict != OK)


# Clock, power and heat


def test_clock() -> None:
    """A clock that nobody sets is warned of; where nobody can tell, nothing is said."""
    assert_well(doctor_machine.clock(lambda: True))
    assert_ill(doctor_machine.clock(lambda: False), WARN, "timedatectl set-ntp true")
    assert_skipped(doctor_machine.clock(lambda: None))


def test_power(tmp_path: Path) -> None:
    """A Raspberry Pi's bits: now and before, voltage and heat."""
    told = tmp_path / doctor_machine.THROTTLED
    for bits, verdict, word, remedy in (
        (0x1, BAD, "under-voltage now", "power supply"),
        (0x50005, BAD, "under-voltage and throttling now", "power supply"),
        (0x50000, WARN, "under-voltage and throttling since", "power supply"),
        (0x2, WARN, "a capped frequency now", "cool it"),
        (0x4, WARN, "throttling now", "cool it"),
        (0x80008, WARN, "the soft limit of temperature now", "cool it"),
        (0x20000, WARN, "a capped frequency since", "cool it"),
    ):
        write(told, f"{bits:x}\n")
        assert_ill(doctor_machine.power(tmp_path, tmp_path), verdict, word, remedy)
    write(told, "0\n")
    assert_well(doctor_machine.power(tmp_path, tmp_path), "neither")


def test_power_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vcgencmd is asked where the kernel does not tell; a machine without either is left alone."""
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert_skipped(doctor_machine.power(tmp_path, tmp_path))
    write(tmp_path / "device-tree" / "model", "Raspberry Pi 5\0")
    assert "Raspberry Pi 5" in doctor_machine.power(tmp_path, tmp_path).text
    monkeypatch.undo()
    program(tmp_path / "bin", "vcgencmd", "throttled=0x50000", monkeypatch)
    assert_ill(doctor_machine.power(tmp_path, tmp_path), WARN, "under-voltage and throttling since")
    program(tmp_path / "bin", "vcgencmd", "VCHI initialization failed", monkeypatch)
    assert_skipped(doctor_machine.power(tmp_path, tmp_path))


def test_temperature(tmp_path: Path) -> None:
    """The hottest sensor counts."""
    assert_skipped(doctor_machine.temperature(tmp_path))
    zones = tmp_path / "class" / "thermal"
    write(zones / "thermal_zone0" / "temp", "41000\n")
    write(zones / "thermal_zone2" / "temp", "off\n")
    assert_well(doctor_machine.temperature(tmp_path), "41 °C")
    write(zones / "thermal_zone1" / "temp", "78000\n")
    assert_ill(doctor_machine.temperature(tmp_path), WARN, "78 °C", "cool it")
    write(zones / "thermal_zone1" / "temp", "86000\n")
    assert_ill(doctor_machine.temperature(tmp_path), BAD, "86 °C", "cool it")


def test_governor(tmp_path: Path) -> None:
    """`powersave` pins the lowest frequency, but for drivers where it does not."""
    assert_skipped(doctor_machine.governor(tmp_path))
    folder = tmp_path / "devices" / "system" / "cpu" / "cpu0" / "cpufreq"
    write(folder / "scaling_governor", "ondemand\n")
    assert_well(doctor_machine.governor(tmp_path), "ondemand")
    write(folder / "scaling_governor", "powersave\n")
    assert_ill(doctor_machine.governor(tmp_path), WARN, "powersave", "scaling_governor")
    write(folder / "scaling_driver", "intel_pstate\n")
    assert_well(doctor_machine.governor(tmp_path), "powersave")


# Bundles


@pytest.fixture
def own_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that a test may break."""
    return Path(shutil.copytree(tiny_bundle.parent, tmp_path / "models")) / tiny_bundle.name


def loaded(settings: ModelConfig) -> Model:
    """The model of a bundle that is well."""
    models: list[Model] = []
    assert_well(doctor_bundle.bundle(settings, models.append))
    return models[0]


def test_bundle(own_bundle: Path) -> None:
    """A bundle is well until a file of it is another one; a network alone has nothing that vouches for it."""
    kept: list[Model] = []
    assert_well(
        doctor_bundle.bundle(ModelConfig(own_bundle), kept.append),
        "tiny 1.0.0",
        "digests of 3 files right",
        "no signature",
    )
    own_bundle.with_suffix(".pkl").write_bytes(b"something else")
    assert_ill(
        doctor_bundle.bundle(ModelConfig(own_bundle), kept.append), BAD, "SHA-256", f"bundle verify {own_bundle}"
    )
    assert len(kept) == 1
    for suffix in (".pkl", ".json"):
        own_bundle.with_suffix(suffix).unlink()
    assert_well(doctor_bundle.bundle(ModelConfig(own_bundle), kept.append), "a network alone")
    assert_ill(doctor_bundle.bundle(ModelConfig(own_bundle, duration=-1.0), kept.append), BAD, "verify")
    assert_ill(doctor_bundle.bundle(ModelConfig(own_bundle.with_name("no.tflite")), kept.append), BAD, "No such file")


def test_bundle_modes(own_bundle: Path) -> None:
    """A bundle that others can write is bad."""
    own_bundle.chmod(0o666)
    assert_ill(doctor_bundle.bundle(ModelConfig(own_bundle), print), BAD, "chmod go-w")


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_bundle_signature(own_bundle: Path, tmp_path: Path) -> None:
    """Where signatures are asked for, one by a trusted key is well, and none or another's is bad."""
    for name in ("good", "evil"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(key, check=True, timeout=30)
    settings = ModelConfig(own_bundle, trusted_keys=tmp_path / "good.pub")
    assert_ill(doctor_bundle.bundle(settings, print), BAD, "not signed", "--trusted-keys")
    assert cli.main(["bundle", "sign", str(own_bundle), "--key", str(tmp_path / "evil")]) == 0
    assert_ill(doctor_bundle.bundle(settings, print), BAD, "no signature")
    assert cli.main(["bundle", "sign", str(own_bundle), "--key", str(tmp_path / "good")]) == 0
    assert_well(doctor_bundle.bundle(settings, lambda _: None), "signed by a key of")


def test_bundle_without_cpuinfo(own_bundle: Path) -> None:
    """On ARM nothing is loaded where that would crash."""
    kept: list[Model] = []
    settings = ModelConfig(own_bundle)
    assert_ill(doctor_bundle.bundle(settings, kept.append, sees_processor=False, machine="aarch64"), BAD, "crashes")
    assert not kept
    assert_well(doctor_bundle.bundle(settings, kept.append, sees_processor=False, machine="x86_64"))


def test_kernels(tiny_bundle: Path) -> None:
    """XNNPACK takes the network, unless it is told not to, or finds nothing in it."""
    settings = ModelConfig(tiny_bundle)
    assert_well(doctor_bundle.kernels(loaded(settings), settings), "XNNPACK took")
    slow = ModelConfig(tiny_bundle, reference_kernels=True)
    assert_ill(doctor_bundle.kernels(loaded(slow), slow), WARN, "took 0 of", "reference_kernels = true")
    assert_ill(doctor_bundle.kernels(loaded(slow), settings), WARN, "took 0 of", "ai-edge-litert")


def test_golden(own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden vector is compared, and its deviation told; another result is bad."""
    settings = ModelConfig(own_bundle)
    model = loaded(settings)
    assert_well(doctor_bundle.golden(model, settings), "features_db 0", "cosine 1.000000")
    right = Interpreter.__call__
    monkeypatch.setattr(Interpreter, "__call__", lambda self, features: tuple(-rows for rows in right(self, features)))
    assert_ill(doctor_bundle.golden(model, settings), BAD, "cosine is as low as -1", "bundle verify")


def test_golden_skipped(tiny_bundle: Path, tmp_path: Path) -> None:
    """Without a golden vector, or with another window than the bundle's, there is nothing to compare."""
    alone = tmp_path / "alone.tflite"
    alone.write_bytes(networks.dense((1, 64, 51, 1)))
    assert_skipped(doctor_bundle.golden(loaded(ModelConfig(alone)), ModelConfig(alone)))
    assert_skipped(doctor_bundle.golden(loaded(ModelConfig(vouch(alone, "log_mel"))), ModelConfig(alone)))
    changed = ModelConfig(tiny_bundle, duration=1.0)
    assert_skipped(doctor_bundle.golden(loaded(changed), changed))
    other_hop = ModelConfig(tiny_bundle, hop_size=0.5)
    assert_well(doctor_bundle.golden(loaded(other_hop), other_hop))


def ticking(seconds: float) -> Callable[[], float]:
    """A clock that goes on by so much at each look."""
    now = [0.0]

    def look() -> float:
        now[0] += seconds
        return now[0]

    return look


def test_speed(tiny_bundle: Path) -> None:
    """The share of real time, with every bundle; above a half it is warned of, above all of it bad."""
    model = loaded(ModelConfig(tiny_bundle, hop_size=0.5))
    assert_well(
        doctor_bundle.speed([model], ticking(0.4)),
        "0.04 of real time (400 ms for 10 s, a window every 0.5 s)",
        "25 recorders",
    )
    assert_well(doctor_bundle.speed([model, model], ticking(0.4)), "0.08 of real time")
    assert_ill(doctor_bundle.speed([model], ticking(7.0)), WARN, "1 recorder that", "hop_size = 0.7")
    assert_ill(doctor_bundle.speed([model], ticking(12.0)), BAD, "1.2 of real time", "cannot keep up", "hop_size = 1.2")
    assert_skipped(doctor_bundle.speed([]))
    assert doctor_bundle.speed([model]).verdict == OK


# Folders


def test_spool(config: Config) -> None:
    """A folder that is not there is bad: nothing is embedded until it is."""
    (config.spool.folder / "a.wav").touch()
    assert_well(folders.spool(config), "1 in it")
    shutil.rmtree(config.spool.folder)
    assert_ill(folders.spool(config), BAD, "is not there", f"install -d {config.spool.folder}")


@is_root
def test_spool_unreadable(config: Config, tmp_path: Path, tiny_bundle: Path) -> None:
    """A folder that may not be listed, or only be listed, is bad, and says for whom."""
    path = write_config(tmp_path, tiny_bundle)
    for mode, verdict, word in (
        (0o755, OK, "readable by root"),
        (0o300, BAD, "cannot be listed by root"),
        (0o400, BAD, "reached"),
    ):
        config.spool.folder.chmod(mode)
        found = unprivileged("folders.spool(config)", path)
        assert found[0] == verdict
        assert word in found[1]


def test_retention(config: Config, tmp_path: Path, tiny_bundle: Path) -> None:
    """Recordings can be kept, deleted, moved; where the folder is missing there is nothing to check."""
    assert_well(folders.retention(config), "kept")
    delete = make_config(tmp_path, tiny_bundle, retention={"policy": "delete"})
    assert_well(folders.retention(delete), "deleted")
    move = make_config(tmp_path, tiny_bundle, retention={"policy": "move", "folder": tmp_path / "done"})
    finding = folders.retention(move)
    assert_well(finding, f"moved to {tmp_path / 'done'}")
    assert "copying" not in finding.text
    away = make_config(tmp_path, tiny_bundle, retention={"policy": "move", "folder": Path("/dev/shm/sonyc-ml-done")})
    if Path("/dev/shm").stat().st_dev != tmp_path.stat().st_dev:
        assert_well(folders.retention(away), "by copying")
    config.spool.folder.rmdir()
    assert_skipped(folders.retention(delete))


@is_root
def test_retention_not_allowed(config: Config, tmp_path: Path, tiny_bundle: Path) -> None:
    """Where recordings are to go, their folder, and the one they are moved to, must be writable."""
    path = write_config(tmp_path, tiny_bundle)
    with path.open("a") as file:
        file.write('[retention]\npolicy = "move"\nfolder = "done"\n')
    assert unprivileged("folders.retention(config)", path)[0] == OK
    (tmp_path / "done").mkdir(mode=0o555)
    assert unprivileged("folders.retention(config)", path)[0] == BAD
    (tmp_path / "done").chmod(0o755)
    config.spool.folder.chmod(0o555)
    verdict, text, _ = unprivileged("folders.retention(config)", path)
    assert (verdict, "cannot be removed" in text) == (BAD, True)


def test_writable(tmp_path: Path) -> None:
    """A folder is tried out, and nothing is left in it; one that is missing can be made."""
    assert_well(folders.writable("output", tmp_path), "writable by")
    assert_well(folders.writable("state", tmp_path / "a" / "b"), "can make it")
    assert not list(tmp_path.iterdir())
    assert folders.writable("state", tmp_path).check == "state"


def test_read_only_disk(small_disk: Path) -> None:
    """A disk that became read-only is bad, and the kernel knows why."""
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert_ill(folders.writable("output", small_disk), BAD, "Read-only file system", "remount,rw", "dmesg")


@is_root
def test_not_writable(tmp_path: Path) -> None:
    """A folder that may not be written to, made, or reached is bad."""
    (tmp_path / "out").mkdir(mode=0o555)
    for folder, word in ((tmp_path / "out", "Permission denied"), (tmp_path / "out" / "sub", "cannot make it")):
        verdict, text, remedy = unprivileged("folders.writable('output', Path(sys.argv[1]))", folder)
        assert (verdict, word in text, f"root {folder}" in remedy) == (BAD, True, True)
    (tmp_path / "out").chmod(0o600)
    verdict, text, _ = unprivileged("folders.writable('output', Path(sys.argv[1]))", tmp_path / "out" / "sub")
    assert (verdict, "cannot be reached" in text) == (BAD, True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte, with a hundred files at most."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=100", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk needs a root who may mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_disk(small_disk: Path) -> None:
    """A disk that fills is warned of, a full one is bad, and so is one without room for names."""
    assert_well(folders.disk("output", small_disk / "not" / "there"), "output: 1.0 MB of 1.0 MB free (100%)")
    (small_disk / "a").write_bytes(bytes(970_000))
    assert_ill(folders.disk("output", small_disk), WARN, "nearly full", "du -xh")
    (small_disk / "b").write_bytes(bytes(75_000))
    assert_ill(folders.disk("output", small_disk), BAD, "full", "retention.policy")
    for name in "ab":
        (small_disk / name).unlink()
    for number in range(98):
        (small_disk / str(number)).touch()
    assert_ill(folders.disk("output", small_disk), BAD, "more files", "du -xh")


def test_full_disk_is_not_writable(small_disk: Path) -> None:
    """A full disk lets files be made, and nothing be written into them."""
    with pytest.raises(OSError, match="No space"):
        (small_disk / "a").write_bytes(bytes(2 << 20))
    assert_ill(folders.writable("output", small_disk), BAD, "No space left on device", "make room")


def test_disks(config: Config, small_disk: Path, tiny_bundle: Path) -> None:
    """Each disk is told once."""
    assert list(folders.disks(config)) == ["spool, output, state"]
    away = make_config(small_disk.parent, tiny_bundle, output={"folder": small_disk})
    assert folders.disks(away) == {"spool": config.spool.folder, "output, state": small_disk}


def test_file_systems(config: Config, tmp_path: Path) -> None:
    """A journal on another machine's disk is warned of, and outputs in memory are."""
    mountinfo = tmp_path / "self" / "mountinfo"
    assert_skipped(folders.file_systems(config, tmp_path))
    write(mountinfo, MOUNTS.format(root="ext4", point=config.spool.folder, kind="nfs4"))
    assert_well(folders.file_systems(config, tmp_path), "journal on ext4, outputs on ext4, spool on nfs4")
    write(mountinfo, MOUNTS.format(root="ext4", point=config.output.folder, kind="nfs4"))
    assert_ill(folders.file_systems(config, tmp_path), WARN, "journal on nfs4", "state.folder")
    write(mountinfo, MOUNTS.format(root="ext4", point=config.output.folder, kind="tmpfs"))
    assert_ill(folders.file_systems(config, tmp_path), WARN, "started again", "output.folder")
    write(mountinfo, MOUNTS.format(root="ext4", point=config.output.folder, kind="fuseblk"))
    assert_well(folders.file_systems(config, tmp_path))


def test_real_file_systems(small_disk: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """The kernel's own list is understood."""
    config = make_config(tmp_path, tiny_bundle, output={"folder": small_disk})
    assert_ill(folders.file_systems(config), WARN, "outputs on tmpfs")


# inotify


def inotify_limits(proc: Path, watches: int = 8192, instances: int = 128, events: int = 16384) -> Path:
    """The kernel's limits as it tells them."""
    names = ("max_user_watches", "max_user_instances", "max_queued_events")
    for name, value in zip(names, (watches, instances, events), strict=True):
        write(proc / "sys" / "fs" / "inotify" / name, f"{value}\n")
    return proc


def test_inotify_limits(config: Config, tmp_path: Path, tiny_bundle: Path) -> None:
    """Limits below what the folders need are warned of, with the command that raises them."""
    for number in range(5):
        (config.spool.folder / str(number)).mkdir()
    proc = tmp_path / "proc"
    assert_skipped(doctor_node.inotify(config, proc))
    assert_well(doctor_node.inotify(config, inotify_limits(proc)), "12 of 8,192 watches", "2 of 128 instances")
    assert_ill(doctor_node.inotify(config, inotify_limits(proc, watches=11)), WARN, "fs.inotify.max_user_watches=24")
    assert_ill(doctor_node.inotify(config, inotify_limits(proc, instances=1)), WARN, "max_user_instances")
    assert_ill(doctor_node.inotify(config, inotify_limits(proc, events=16)), WARN, "fs.inotify.max_queued_events=8192")
    flat = make_config(tmp_path, tiny_bundle, spool={"recursive": False})
    assert_well(doctor_node.inotify(flat, inotify_limits(proc, watches=2)), "2 of 2 watches")


def test_inotify_refused(config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The kernel is asked, too: others of this user may have used the limit up."""
    proc = inotify_limits(tmp_path / "proc")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        refusal = doctor_node.refusal(config.spool.folder)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert "max_user_instances" in refusal
    monkeypatch.setattr(doctor_node, "refusal", lambda _: refusal)
    assert_ill(doctor_node.inotify(config, proc), WARN, "scanned every 10 s", "fs.inotify.max_user_instances=1024")
    monkeypatch.setattr(doctor_node, "refusal", lambda _: "Permission denied")
    assert_ill(doctor_node.inotify(config, proc), WARN, "Permission denied", "see spool")


def test_inotify_remote(config: Config, tmp_path: Path, tiny_bundle: Path) -> None:
    """Another machine's disk is scanned; to insist on inotify there is warned of."""
    proc = inotify_limits(tmp_path / "proc")
    write(proc / "self" / "mountinfo", MOUNTS.format(root="ext4", point=config.spool.folder, kind="cifs"))
    assert_well(doctor_node.inotify(config, proc), "not used (cifs", "every 10 s")
    insists = make_config(tmp_path, tiny_bundle, spool={"discovery": "inotify"})
    assert_ill(doctor_node.inotify(insists, proc), WARN, "cifs", 'spool.discovery = "auto"')
    polls = make_config(tmp_path, tiny_bundle, spool={"discovery": "polling"})
    assert_well(doctor_node.inotify(polls, tmp_path), "not used (spool.discovery)")


# Journal, daemon, service


def test_journal(config: Config) -> None:
    """A sound journal is well, a missing one is made by the daemon, a damaged one is bad."""
    path = config.state_folder / "journal.sqlite"
    assert_well(doctor_node.journal(config), "yet")
    assert not config.state_folder.exists()
    journal = Journal(config.state_folder)
    assert_well(doctor_node.journal(config), "is sound, 0 recordings")
    journal.connection.execute("PRAGMA user_version = 9")
    journal.close()
    assert_ill(doctor_node.journal(config), BAD, "version 9, from a newer sonyc-ml", "install that version")
    path.write_bytes(b"no journal at all" * 1000)
    assert_ill(doctor_node.journal(config), BAD, "damaged", "restart")


def test_journal_index(config: Config) -> None:
    """Damage inside is found: an index that lacks what the table has."""
    journal = Journal(config.state_folder)
    journal.connection.executescript(
        "PRAGMA writable_schema = ON; INSERT INTO recordings (name, mtime_ns, n_bytes, state, found_s, changed_s) "
        "VALUES ('a', 1, 1, 'pending', 1, 1); "
        "UPDATE sqlite_master SET sql = replace(sql, 'pending''', 'done''') WHERE name = 'pending';"
    )
    journal.close()
    assert_ill(doctor_node.journal(config), BAD, "damaged")


@is_root
def test_journal_not_allowed(config: Config, tmp_path: Path, tiny_bundle: Path) -> None:
    """A journal that may not be read is not damaged."""
    Journal(config.state_folder).close()
    (config.state_folder / "journal.sqlite").chmod(0)
    verdict, text, _ = unprivileged("node.journal(config)", write_config(tmp_path, tiny_bundle))
    assert (verdict, "cannot be read" in text) == (WARN, True)


def test_daemon(config: Config) -> None:
    """A daemon that does not run is warned of."""
    assert_ill(doctor_node.daemon(config), WARN, "systemctl start sonyc-ml")
    lock = Lock(config.state_folder)
    try:
        assert_well(doctor_node.daemon(config), f"process {os.getpid()}")
    finally:
        lock.release()


@is_root
def test_daemon_not_allowed(config: Config, tmp_path: Path, tiny_bundle: Path) -> None:
    """Who may not look whether it runs does not say that it does not."""
    config.state_folder.mkdir(mode=0o600)
    assert unprivileged("node.daemon(config)", write_config(tmp_path, tiny_bundle))[0] == SKIPPED


def test_user(config: Config, tmp_path: Path) -> None:
    """Somebody else than the daemon is told that permissions may differ: by its process, or else by its folder."""
    assert_well(doctor_node.user(config), "nothing here says")
    lock = Lock(config.state_folder)
    try:
        assert_well(doctor_node.user(config), "as the daemon")
        if os.getuid() == 0:
            os.chown(write(tmp_path / "proc" / str(os.getpid()), ""), 65534, -1)
            assert_ill(doctor_node.user(config, tmp_path / "proc"), WARN, "runs as root", "sudo -u nobody")
    finally:
        lock.release()
    assert_well(doctor_node.user(config), "as the daemon")
    if os.getuid() == 0:
        os.chown(config.state_folder, 4242, -1)
        assert_ill(doctor_node.user(config), WARN, "as user 4242", "sudo -u '#4242'")


def test_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed unit is bad, one that is stopped or does not start with the machine is warned of."""
    assert_skipped(doctor_node.service(tmp_path / "none"))

    def told(load: str, active: str = "", enabled: str = "") -> Finding:
        text = f"LoadState={load}\nActiveState={active}\nUnitFileState={enabled}"
        program(tmp_path / "bin", "systemctl", text, monkeypatch)
        return doctor_node.service(tmp_path)

    assert_skipped(told("not-found", "inactive"))
    assert_well(told("loaded", "active", "enabled"), "active and enabled")
    assert_ill(told("loaded", "failed", "enabled"), BAD, "journalctl -u sonyc-ml.service")
    assert_ill(told("loaded", "inactive", "enabled"), WARN, "systemctl enable --now")
    assert_ill(told("loaded", "active", "disabled"), WARN, "systemctl enable --now")
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert_skipped(doctor_node.service(tmp_path))


def test_nice(config: Config, tmp_path: Path, tiny_bundle: Path) -> None:
    """A niceness that this user may not take is warned of; of a daemon that runs, its own is told."""
    assert_well(doctor_node.nice(config), "0 (process.nice)")
    hungry = make_config(tmp_path, tiny_bundle, process={"nice": -5})
    write(tmp_path / "self" / "status", "CapPrm:\t0\nCapEff:\t0000000000000000\n")
    assert_ill(doctor_node.nice(hungry, tmp_path), WARN, "may not take -5", "Nice=")
    write(tmp_path / "self" / "status", "CapEff:\t000001ffffffffff\n")
    assert_well(doctor_node.nice(hungry, tmp_path), "-5")
    lock = Lock(config.state_folder)
    try:
        assert_well(doctor_node.nice(hungry, tmp_path), f"runs with {os.getpriority(os.PRIO_PROCESS, 0)}")
    finally:
        lock.release()


def test_time_zone(config: Config, tmp_path: Path, tiny_bundle: Path) -> None:
    """A zone that this machine has no data of is bad; UTC needs none."""
    berlin = make_config(tmp_path, tiny_bundle, recordings={"time_zone": "Europe/Berlin"})
    assert_well(doctor_node.time_zone(berlin), "Europe/Berlin")
    zoneinfo.reset_tzpath([])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        if importlib.util.find_spec("tzdata") is None:
            assert_ill(doctor_node.time_zone(berlin), BAD, "Europe/Berlin", "apt-get install tzdata")
        assert_well(doctor_node.time_zone(config), "UTC")
    finally:
        zoneinfo.reset_tzpath()


# All of it, and the command


def test_broken_check_stops_nothing() -> None:
    """A check that cannot be made says so, and the next one is made."""

    def broken() -> Finding:
        raise ZeroDivisionError("by nothing")

    first, second = doctor.run_checks([("disk", broken), ("clock", lambda: Finding("clock", OK, "synchronised"))])
    assert_ill(first, WARN, "could not be checked (ZeroDivisionError: by nothing)")
    assert (first.check, second.verdict) == ("disk", OK)


def test_broken_libraries_stop_nothing(tmp_path: Path, tiny_bundle: Path, config: Config) -> None:
    """Without numpy and watchdog there are still answers to everything else."""
    script = (
        "import sys; sys.modules['numpy'] = sys.modules['watchdog'] = None; from sonyc_ml import cli; "
        f"sys.exit(cli.main(['doctor', '--json', '--config', {str(write_config(tmp_path, tiny_bundle))!r}]))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    found = {finding["check"]: finding for finding in json.loads(told.stdout)["findings"]}
    assert told.returncode == 1
    assert found["libraries"]["verdict"] == BAD
    assert "could not be checked" in found["bundle"]["text"]
    assert found["spool"]["verdict"] == found["output"]["verdict"] == found["journal"]["verdict"] == OK


def test_examine_everything(config: Config, tmp_path: Path, tiny_bundle: Path) -> None:
    """Each check is made, once for each bundle where it is about bundles."""
    findings = doctor.examine(write_config(tmp_path, tiny_bundle))
    assert [finding.check for finding in findings] == [
        *("configuration", "python", "libraries", "runtime", "processor", "bundle", "kernels", "golden", "speed"),
        *(
            "node",
            "user",
            "spool",
            "inotify",
            "retention",
            "output",
            "state",
            "disk",
            "file systems",
            "journal",
            "daemon",
        ),
        *("service", "nice", "time zone", "clock", "memory", "power", "temperature", "governor"),
    ]
    assert all(finding.verdict in doctor.VERDICTS for finding in findings)
    assert all(bool(finding.remedy) == (finding.verdict in (WARN, BAD)) for finding in findings)


def test_the_name_of_a_node(tmp_path: Path, tiny_bundle: Path) -> None:
    """A name that many hosts have is warned of; another one is shown with its place."""
    many = make_config(tmp_path, tiny_bundle, node={"name": "raspberrypi"})
    assert_ill(doctor_node.name(many), WARN, "as many hosts are", "[node] name")
    own = make_config(tmp_path, tiny_bundle, node={"name": "street-12", "latitude": 48.1, "longitude": 11.5})
    assert_well(doctor_node.name(own), "street-12, at 48.1, 11.5")


def test_two_bundles(config: Config, tmp_path: Path, own_bundle: Path) -> None:
    """One bad bundle does not keep the other from being checked."""
    bad = own_bundle.with_name("bad.tflite")
    bad.write_bytes(b"no network")
    path = tmp_path / "two.toml"
    path.write_text(
        '[spool]\nfolder = "in"\n[output]\nfolder = "out"\n'
        f'[[model]]\npath = "{bad}"\n[[model]]\npath = "{own_bundle}"\n'
    )
    findings = doctor.examine(path)
    told = [(f.check, f.verdict) for f in findings if f.check in ("bundle", "golden", "speed")]
    assert told == [("bundle", BAD), ("bundle", OK), ("golden", OK), ("speed", OK)]
    assert [f.text.split()[0] for f in findings if f.check == "output"] == [
        f"{config.output.folder},",
        *(str(config.output.folder / name) for name in ("bad", "tiny")),
    ]


def test_command(capsys: pytest.CaptureFixture[str], config: Config, tmp_path: Path, tiny_bundle: Path) -> None:
    """One line for each check, the remedy below, a sum; 0 with warnings alone."""
    path = write_config(tmp_path, tiny_bundle)
    assert cli.main(["doctor", "--config", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"ok       configuration  {path}"
    number = lines.index("warn     daemon         does not run")
    assert lines[number + 1].startswith(" " * 24 + "to repair: sudo systemctl start")
    n_findings = len([line for line in lines[:-1] if not line.startswith(" ")])
    assert lines[-1].startswith(f"{n_findings} checks: ")
    assert lines[-1].endswith(f"{sum(line.startswith('skipped') for line in lines)} skipped")


def test_command_bad(capsys: pytest.CaptureFixture[str], config: Config, tmp_path: Path, own_bundle: Path) -> None:
    """1 where something is bad; a terminal is safe from what names hold."""
    own_bundle.with_suffix(".pkl").write_bytes(b"tampered with")
    config.spool.folder.rmdir()
    path = write_config(tmp_path, own_bundle)
    path.write_text(path.read_text().replace('"in"', '"in\\u001b[31m"'))
    assert cli.main(["doctor", "--config", str(path)]) == 1
    text = capsys.readouterr().out
    assert "bad      bundle " in text
    assert "in\\x1b[31m is not there" in text


def test_command_json(capsys: pytest.CaptureFixture[str], tiny_bundle: Path) -> None:
    """`--model` alone checks the machine and the bundle; the keys are what programs rely on."""
    assert cli.main(["doctor", "--model", str(tiny_bundle), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"verdict", "findings"}
    assert answer["verdict"] in (OK, WARN)
    assert {key for finding in answer["findings"] for key in finding} == {"check", "verdict", "text", "remedy"}
    assert {"speed", "golden", "clock"} <= {finding["check"] for finding in answer["findings"]}
    assert "spool" not in {finding["check"] for finding in answer["findings"]}


def test_command_cannot_tell(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    config: Config,
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """2 without a configuration; the usual one is found without a flag."""
    monkeypatch.delenv("SONYC_ML_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    if not Path("/etc/sonyc-ml/sonyc-ml.toml").exists():
        assert cli.main(["doctor"]) == 2
        assert "give --config FILE or --model NAME.tflite" in capsys.readouterr().err
    monkeypatch.setenv("SONYC_ML_CONFIG", str(write_config(tmp_path, tiny_bundle)))
    assert cli.main(["doctor"]) == 0


@pytest.mark.parametrize(
    "content", [b"not [toml", b"\xff\xfe", b"[spool]\nfolder = 3\n", b"[spool]\nfoldr = 'x'\n", None]
)
def test_bad_configuration(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes | None) -> None:
    """A configuration that cannot be used is bad, and the machine is checked all the same."""
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_bytes(content)
    assert cli.main(["doctor", "--config", str(path), "--json"]) == 1
    found = {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert found["configuration"]["verdict"] == BAD
    assert str(path) in found["configuration"]["text"]
    assert found["python"]["verdict"] == OK
    assert "spool" not in found


def test_model_wins(config: Config, tmp_path: Path, tiny_bundle: Path) -> None:
    """`--model` stands in for what the configuration leaves to the daemon's flags."""
    path = tmp_path / "half.toml"
    path.write_text('[spool]\nfolder = "in"\n[output]\nfolder = "out"\n[model]\npath = "none.tflite"\n')
    (missing,) = [finding for finding in doctor.examine(path) if finding.check == "bundle"]
    assert missing.verdict == BAD
    findings = doctor.examine(path, tiny_bundle)
    assert findings[0].verdict == OK
    assert [finding.verdict for finding in findings if finding.check == "bundle"] == [OK]
    assert {"bundle", "spool"} <= {finding.check for finding in findings}


def test_nothing_is_changed(config: Config, tmp_path: Path, tiny_bundle: Path) -> None:
    """The doctor leaves no file behind, and remembers nothing."""
    path = write_config(tmp_path, tiny_bundle)
    Journal(config.state_folder).close()
    state = Path(os.environ["XDG_STATE_HOME"])
    before = sorted(tmp_path.rglob("*")), [(p, p.stat().st_mtime_ns) for p in sorted(state.rglob("*"))]
    doctor.examine(path)
    assert (sorted(tmp_path.rglob("*")), [(p, p.stat().st_mtime_ns) for p in sorted(state.rglob("*"))]) == before


def test_reader_that_leaves(tiny_bundle: Path) -> None:
    """`sonyc-ml doctor | head -1` ends without a complaint."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "sonyc_ml", "doctor", "--model", str(tiny_bundle)]
    try:
        told = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60)
    finally:
        os.close(writer)
    assert (told.returncode, told.stderr) == (0, b"")


def test_quick(slowness: float) -> None:
    """With the default bundle it takes less than two seconds of the processor's time."""
    bundle = ROOT / "models" / "quantized_default_int8.tflite"
    if not bundle.exists():
        pytest.skip("the default bundle is not there")
    begin = time.process_time()
    findings = doctor.examine(None, bundle)
    assert time.process_time() - begin < 2 * slowness
    assert next(finding for finding in findings if finding.check == "speed").verdict == OK
