"""A Debian of another processor in a folder: downloaded, unpacked, and kept for the next time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from scripts.arm.processors import CACHE, Processor, SkippedError, of_installer

SUITE = "bookworm"
# On a node before install.sh, and what it calls.
ALWAYS = ("python3", "python3-venv", "ca-certificates", "systemd", "procps")


def kept(kind: str, what: object, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, from the cache where it was made before from the same `what`.

    It is made beside its place and renamed: one that is there is whole.
    """
    digest = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:12]
    folder = CACHE / f"{kind}-{digest}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=CACHE))
        made.chmod(0o755)
        try:
            make(made)
            _replace_others(kind, folder)
            made.rename(folder)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
    return folder


def _replace_others(kind: str, folder: Path) -> None:
    """Remove what was kept before of this kind: it will not be asked for again."""
    for old in CACHE.glob(f"{kind}-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)


def userland(processor: Processor) -> Path:
    """A root folder with Python and what install.sh installs; nothing in it has been configured."""
    name = "BUILD_PACKAGES" if processor.has_litert else "ARMHF_PACKAGES"
    packages = sorted({*ALWAYS, *of_installer(name)})
    what = (SUITE, processor.name, packages, "1")
    return kept(f"debian-{processor.name}", what, lambda folder: _make(processor, packages, folder))


def _make(processor: Processor, packages: list[str], folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="debian-") as downloads:
        _download(processor, packages, Path(downloads))
        # As usrmerge does it, and first: then /lib and /usr/lib are one folder for whatever is unpacked.
        for name in ("bin", "sbin", "lib"):
            (folder / "usr" / name).mkdir(parents=True)
            (folder / name).symlink_to(f"usr/{name}")
        for package in sorted(Path(downloads).glob("var/cache/apt/archives/*.deb")):
            _unpack(package, folder)
    _do_what_packages_would(processor, folder)


def _download(processor: Processor, packages: list[str], folder: Path) -> None:
    command = ["debootstrap", "--download-only", f"--arch={processor.name}", "--variant=minbase"]
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(
            [*command, f"--include={','.join(packages)}", SUITE, folder],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
        )
    except FileNotFoundError as error:
        raise SkippedError("there is no debootstrap (Debian package debootstrap)") from error
    if done.returncode:
        last = (done.stdout + done.stderr).strip().rpartition("\n")[2]
        raise SkippedError(f"Debian's packages for {processor.name} cannot be had: {last}")


def _unpack(package: Path, folder: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as archive:
        subprocess.run(["tar", "-x", "-C", folder, "--keep-directory-symlink"], stdin=archive.stdout, check=True)
    if archive.returncode:
        raise RuntimeError(f"{package} is damaged: remove {folder} and start again")


def _do_what_packages_would(processor: Processor, folder: Path) -> None:
    """The little of their scripts that matters here: users, folders, links of alternatives, certificates."""
    for name in ("passwd", "group"):
        shutil.copyfile(folder / f"usr/share/base-passwd/{name}.master", folder / f"etc/{name}")
    (folder / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    libraries = folder / "usr/lib" / processor.triplet
    for path in (*libraries.glob("blas/lib*.so.3"), *libraries.glob("lapack/lib*.so.3")):
        link = libraries / path.name
        link.unlink(missing_ok=True)
        link.symlink_to(path.relative_to(libraries))
    certificates = sorted((folder / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle = folder / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(b"".join(path.read_bytes() for path in certificates))
