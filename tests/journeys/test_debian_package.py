"""The Debian packages in a container with a real systemd: installed, upgraded, removed, purged."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.releasing import debian_package, release
from tests.conftest import write_recording
from tests.support.container import Container, why_not

pytestmark = pytest.mark.service

UNIT, UPLOAD = "sonyc-ml.service", "sonyc-ml-upload.service"
CONFIG, OUTPUTS, SPOOL = "etc/sonyc-ml/sonyc-ml.toml", "var/lib/sonyc-ml/embeddings", "var/spool/sonyc-ml"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages for Debian 12, and Debian's own that it needs."""
    if reason := why_not():
        pytest.skip(reason)
    if "bookworm" not in Path("/etc/os-release").read_text():
        pytest.skip("the container is a copy of this machine, and this is not Debian 12")
    folder = tmp_path_factory.mktemp("packages")
    release.build(folder)
    download = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "python3-systemd"]
    if subprocess.run(download, cwd=folder, check=False, capture_output=True).returncode:
        pytest.skip("apt-get download finds no python3-systemd")
    machine = subprocess.run(["uname", "-m"], check=True, capture_output=True, text=True).stdout.strip()
    (one,) = [one for one in debian_package.RELEASES if (one.debian, one.machine) == (12, machine)]
    debian_package.build(one, next(folder.glob("*.whl")), folder, release.epoch_s())
    return folder


@pytest.fixture(scope="module")
def node(packages: Path) -> Iterator[Container]:
    """A container in which the package is installed by one command."""
    with Container() as container:
        shutil.copytree(packages, container.root / "opt/packages", dirs_exist_ok=True)
        container.run("sh", "-c", "dpkg -i /opt/packages/sonyc-ml_*.deb /opt/packages/python3-*.deb", timeout_s=180)
        yield container


def config(node: Container) -> str:
    """The text of the configuration there."""
    return (node.root / CONFIG).read_text()


def embed(node: Container, name: str) -> None:
    """Record something, and wait for its embedding."""
    write_recording(node.root / SPOOL / name, 2)
    node.wait_for((node.root / OUTPUTS / f"{name}.npz").exists, "embedding", 60)


def test_it_is_a_node_at_once(node: Container) -> None:
    """The service runs, is enabled, and embeds; the command, its manual page and its completions are there."""
    assert node.show(UNIT, "ActiveState") == "active"
    assert node.show(UNIT, "UnitFileState") == "enabled"
    embed(node, "a.wav")
    assert node.run("sonyc-ml", "--version").stdout.startswith("sonyc-ml ")
    write_recording(node.root / "root/recordings/c.wav", 2)
    node.run("sh", "-c", "cd /root && sonyc-ml embed recordings/")  # whose workers import the program
    assert (node.root / "root/embeddings/c.wav.npz").exists()
    for path in ("man/man1/sonyc-ml.1.gz", "bash-completion/completions/sonyc-ml", "zsh/vendor-completions/_sonyc-ml"):
        assert (node.root / "usr/share" / path).exists()


def test_an_upgrade_keeps_the_configuration(node: Container) -> None:
    """The service runs the new program with the operator's configuration."""
    before = node.show(UNIT, "MainPID")
    with (node.root / CONFIG).open("a") as file:
        file.write("# the operator's\n")
    node.run("sh", "-c", "dpkg -i /opt/packages/sonyc-ml_*.deb", timeout_s=180)
    assert node.show(UNIT, "ActiveState") == "active"
    assert node.show(UNIT, "MainPID") not in {"0", before}
    assert config(node).endswith("# the operator's\n")
    embed(node, "b.wav")


def test_the_second_package_uploads(node: Container) -> None:
    """Its service waits for an address, then sends what the daemon wrote; the timer of new bundles is there."""
    done = node.run("sh", "-c", "dpkg -i /opt/packages/sonyc-ml-upload_*.deb", timeout_s=180)
    assert f"in [upload] of /{CONFIG} where outputs go" in done.stderr
    assert node.show(UPLOAD, "UnitFileState") == "enabled"
    assert node.show(UPLOAD, "ActiveState") == "inactive"
    text = config(node)
    for old, new in (
        ('# to = "s3:', 'to = "file:///mnt/archive"\npack = "none" #'),
        ('# folder = "/var/lib/sonyc-ml-upload"', 'folder = "/var/lib/sonyc-ml-upload"'),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    (node.root / CONFIG).write_text(text)
    node.run("install", "-d", "-o", "sonyc-ml-upload", "/mnt/archive")
    (node.root / f"etc/systemd/system/{UPLOAD}.d").mkdir()
    node.add_unit(f"{UPLOAD}.d/archive.conf", "[Service]\nReadWritePaths=/mnt/archive\n")
    node.systemctl("start", UPLOAD)
    node.wait_for(lambda: [*(node.root / "mnt/archive").rglob("a.wav-*.npz")], "upload", 60)
    for unit in (UPLOAD, "sonyc-ml-pull.service", "sonyc-ml-pull.timer"):
        node.run("systemd-analyze", "verify", "--recursive-errors=yes", unit)
    assert node.show(UNIT, "ActiveState") == "active"


def test_uploading_ends_without_the_node(node: Container) -> None:
    """Removed, the daemon and what is known of what was sent stay; purged, that goes too, and nothing else."""
    node.systemctl("enable", "--now", "sonyc-ml-pull.timer")
    node.run("dpkg", "--remove", "sonyc-ml-upload", timeout_s=100)
    assert node.show(UPLOAD, "ActiveState") == "inactive"
    assert (node.root / "var/lib/sonyc-ml-upload").exists()
    node.run("dpkg", "--purge", "sonyc-ml-upload", timeout_s=100)
    assert not (node.root / "var/lib/sonyc-ml-upload").exists()
    assert not [*(node.root / "etc/systemd/system").rglob("sonyc-ml-pull*")]
    assert (node.root / CONFIG).exists()
    assert node.show(UNIT, "ActiveState") == "active"
    (node.root / "root/s3.toml").write_text(config(node).replace("file:///mnt/archive", "s3://bucket/fleet"))
    done = node.run("sonyc-ml", "upload", "--config", "/root/s3.toml", "--once", check=False)
    assert done.returncode == 2
    assert "apt-get install ./sonyc-ml-upload_*.deb" in done.stderr


def test_what_is_made_stays_when_it_is_removed(node: Container) -> None:
    """The program and its byte code go; configuration and embeddings stay. To purge it keeps recordings only."""
    node.run("dpkg", "--remove", "sonyc-ml", timeout_s=100)
    assert node.show(UNIT, "ActiveState") == "inactive"
    assert not (node.root / "usr/lib/sonyc-ml").exists()
    assert (node.root / CONFIG).exists()
    assert (node.root / OUTPUTS / "a.wav.npz").exists()
    done = node.run("dpkg", "--purge", "sonyc-ml", timeout_s=100)
    assert "holds recordings" in done.stderr
    assert not (node.root / "etc/sonyc-ml").exists()
    assert not (node.root / "var/lib/sonyc-ml").exists()
    assert (node.root / SPOOL / "a.wav").exists()


def test_purged_without_recordings_nothing_is_left(node: Container) -> None:
    """Nor the user, once nothing is in the spool."""
    node.run("sh", "-c", "dpkg -i /opt/packages/sonyc-ml_*.deb", timeout_s=180)
    node.run("sh", "-c", f"rm -f /{SPOOL}/*")
    node.run("dpkg", "--purge", "sonyc-ml", timeout_s=100)
    assert not (node.root / SPOOL).exists()
    for user in ("sonyc-ml", "sonyc-ml-serve", "sonyc-ml-upload"):
        assert node.run("getent", "passwd", user, check=False).returncode != 0
