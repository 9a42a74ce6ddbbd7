"""Debian packages: the program with every library of its lock file, its services, and what dpkg asks for.

sonyc-ml is a node. sonyc-ml-upload is what reaches stores; its libraries are larger than the node's own. Libraries come
from the lock file, by their hashes, and lie in a virtual environment of their own. Nothing of it is run here, so the
packages for other processors are made on any machine. systemd-python, which has no wheels, is Debian's.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from scripts.lock_files import Target, locked
from sonyc_ml import __version__

ROOT = Path(__file__).resolve().parents[2]
DEPLOY, PACKAGING = ROOT / "deploy", ROOT / "deploy" / "debian"
HOME = "usr/lib/sonyc-ml"  # the virtual environment
CONFIG = "etc/sonyc-ml/sonyc-ml.toml"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Release:
    """A Debian on a processor, and its Python."""

    debian: int
    machine: str
    python: str

    @property
    def architecture(self) -> str:
        """As dpkg calls it."""
        return ARCHITECTURES[self.machine]

    @property
    def name(self) -> str:
        """As people call it."""
        return f"Debian {self.debian}, {self.architecture}"

    @property
    def version(self) -> str:
        """Of its packages; an upgrade of Debian brings a newer one."""
        return f"{__version__}-1~deb{self.debian}"


RELEASES = tuple(
    Release(debian, machine, python) for debian, python in ((12, "3.11"), (13, "3.13")) for machine in ARCHITECTURES
)


@dataclass(frozen=True, slots=True)
class Package:
    """One of the packages of a release: the groups of the lock files that it installs, its units, its pages."""

    name: str
    groups: tuple[str, ...]
    units: tuple[str, ...]
    pages: tuple[str, ...]  # those that its units and drop-ins name, and the operator's

    def file_name(self, release: Release) -> str:
        """Of the package for a release."""
        return f"{self.name}_{release.version}_{release.architecture}.deb"

    def libraries(self, release: Release) -> list[str]:
        """The requirements that it installs, with their hashes: what sonyc-ml has is not there twice."""
        wanted = locked(release.machine, release.python, *self.groups)
        there = [] if self is NODE else locked(release.machine, release.python, *NODE.groups)
        return [line for line in wanted if line not in there]


NODE = Package(
    "sonyc-ml",
    ("base", "mqtt", "serve", "soxr"),  # base, and extras that are small
    (
        "sonyc-ml.service",
        "sonyc-ml-serve.service",
        "sonyc-ml-metrics.service",
        "sonyc-ml-metrics.timer",
    ),
    ("node.md", "operations.md", "install.md", "alerts.md", "proxy.md"),
)
UPLOAD = Package(
    "sonyc-ml-upload",
    ("parquet", "remote", "upload"),
    ("sonyc-ml-upload.service", "sonyc-ml-pull.service", "sonyc-ml-pull.timer"),
    ("upload.md", "rollout.md"),
)
PACKAGES = (NODE, UPLOAD)


def build(release: Release, wheel: Path, folder: Path, epoch_s: int) -> list[Path]:
    """Make a release's packages of a wheel, and write them into a folder; returns their paths."""
    return [build_one(package, release, wheel, folder, epoch_s) for package in PACKAGES]


def build_one(package: Package, release: Release, wheel: Path, folder: Path, epoch_s: int) -> Path:
    """Make one package of a release, and write it into a folder.

    Parameters
    ----------
    package : Package
    release : Release
    wheel : Path
        Of this package.
    folder : Path
    epoch_s : int
        The time of every file in it, in seconds since 1970.

    Returns
    -------
    Path
        Of the package.
    """
    with tempfile.TemporaryDirectory() as work:
        root = Path(work, "root")
        root.mkdir(mode=0o755)
        if package is NODE:
            put_program(root, release, wheel)
        else:
            install(site_packages(root, release), package, release)
        put_services(root, package)
        put_documentation(root, package, release, epoch_s)
        put_control(root, package, release)
        for entry in [root, *root.rglob("*")]:
            if not entry.is_symlink():
                entry.chmod(0o755 if entry.is_dir() or os.access(entry, os.X_OK) else 0o644)
            os.utime(entry, (epoch_s, epoch_s), follow_symlinks=False)
        path = folder / package.file_name(release)
        # Level 9 would take five times as long, for a hundredth of the bytes.
        command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z6", "--build", str(root), str(path)]
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch_s)}
        subprocess.run(command, check=True, capture_output=True, env=environment)
    return path


def site_packages(root: Path, release: Release) -> Path:
    """Where the virtual environment has its libraries; it is made."""
    site = root / HOME / "lib" / f"python{release.python}" / "site-packages"
    site.mkdir(parents=True)
    return site


def put_program(root: Path, release: Release, wheel: Path) -> None:
    """A virtual environment as ``python3 -m venv`` makes one, with the libraries and the program; nothing runs."""
    home = root / HOME
    site = site_packages(root, release)
    (home / "bin").mkdir()
    (home / "bin" / "python").symlink_to("/usr/bin/python3")
    # Debian's packages are seen behind its own: python3-systemd is there.
    (home / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = true\nversion = {release.python}\n"
    )
    install(site, NODE, release, wheel)
    shutil.move(site / "share", root / "usr" / "share")
    program = home / "bin" / "sonyc-ml"
    # Worker processes import it too, and must not start again.
    start = 'import sys\n\nfrom sonyc_ml.cli import main\n\nif __name__ == "__main__":\n    sys.exit(main())\n'
    program.write_text(f"#!/{HOME}/bin/python -sP\n{start}")
    program.chmod(0o755)
    (root / "usr" / "bin").mkdir()
    (root / "usr" / "bin" / "sonyc-ml").symlink_to(f"../lib/{program.relative_to(root / 'usr/lib')}")


def install(site: Path, package: Package, release: Release, *wheels: Path) -> None:
    """Install a package's locked libraries, and wheels, for another processor and Python than this one."""
    target = Target(release.machine, release.python)
    base = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-compile",
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
        wanted.write("\n".join(package.libraries(release)))
        wanted.flush()
        libraries = ["--require-hashes", *target.pip_options, "-r", wanted.name]
        for what in (libraries, *([str(wheel)] for wheel in wheels)):
            done = subprocess.run([*base, f"--target={site}", *what], check=False, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{package.file_name(release)}: pip fails: {done.stderr.strip()[-2000:]}")
    shutil.rmtree(site / "bin", ignore_errors=True)  # programs of libraries, for another Python
    for path in site.rglob("direct_url.json"):  # where the wheel was on this machine
        path.unlink()
    for path in site.rglob("*"):
        if path.is_file():  # libraries are loaded, not run
            path.chmod(0o644)


def put_services(root: Path, package: Package) -> None:
    """Units, with the paths of the package; with the daemon's: drop-ins, users, folders and the configuration."""
    for name in package.units:
        write(root / "usr/lib/systemd/system" / name, packaged((DEPLOY / name).read_text()))
    if package is not NODE:
        return
    for path in sorted((DEPLOY / "drop-ins").glob("*.conf")):
        write(root / "usr/share/doc/sonyc-ml/drop-ins" / path.name, packaged(path.read_text()))
    write(root / "usr/lib/sysusers.d/sonyc-ml.conf", (DEPLOY / "sysusers.conf").read_text())
    write(root / "usr/lib/tmpfiles.d/sonyc-ml.conf", (DEPLOY / "tmpfiles.conf").read_text())
    write(root / CONFIG, configuration())


def packaged(text: str) -> str:
    """The text of a unit or drop-in with the package's paths."""
    text = re.sub(
        r"deploy/install\.sh( --\w+)* puts this into /usr/local/lib/systemd/system", "The package brings this", text
    )
    text = text.replace(", or deploy/install.sh --pull, where", ", where")
    text = text.replace("/opt/sonyc-ml/current/drop-ins", "/usr/share/doc/sonyc-ml/drop-ins")
    text = text.replace("file:///opt/sonyc-ml/current/docs/", "file:///usr/share/doc/sonyc-ml/")
    return text.replace("/opt/sonyc-ml/current/bin/", "/usr/bin/")


def configuration() -> str:
    """deploy/sonyc-ml.toml with the folders of a node, and the model left to be the default bundle."""
    text = (DEPLOY / "sonyc-ml.toml").read_text()
    for old, new in (
        (r'^folder = "recordings"', 'folder = "/var/spool/sonyc-ml"'),
        (r'^folder = "embeddings"', 'folder = "/var/lib/sonyc-ml/embeddings"'),
        (r'^# folder = "upload"', '# folder = "/var/lib/sonyc-ml-upload"'),
        # Without a path it is the default bundle, which is in the package.
        (r'^path = "\.\./models/\S+"', '# path = "/opt/sonyc-ml/bundles/NAME.tflite"'),
    ):
        text, n_found = re.subn(old, new, text, flags=re.MULTILINE)
        if n_found != 1:
            raise SystemExit(f"deploy/sonyc-ml.toml has no line {old}")
    return text


def put_documentation(root: Path, package: Package, release: Release, epoch_s: int) -> None:
    """Licence, changes and the operator's pages; manual pages compressed, as Debian wants them."""
    for name in package.pages:  # of both packages in one folder, as they name each other
        write(root / "usr/share/doc/sonyc-ml" / name, (ROOT / "docs" / name).read_text())
    folder = root / "usr/share/doc" / package.name
    write(folder / "copyright", (PACKAGING / "copyright").read_text())
    pack(folder / "changelog.gz", (ROOT / "CHANGELOG.md").read_bytes())
    pack(folder / "changelog.Debian.gz", changelog(package, release, epoch_s).encode())
    overrides = (PACKAGING / "lintian-overrides").read_text().replace("@PACKAGE@", package.name)
    write(root / "usr/share/lintian/overrides" / package.name, overrides)
    for page in (root / "usr/share/man/man1").glob("*.1"):
        pack(page.with_name(f"{page.name}.gz"), page.read_bytes())
        page.unlink()
    site = root / "usr/share/zsh/site-functions"
    if site.exists():
        site.rename(site.with_name("vendor-completions"))  # Debian's name for it


def changelog(package: Package, release: Release, epoch_s: int) -> str:
    """Debian's own, which only says that there is a package of this version."""
    (maintainer,) = re.findall(r"^Maintainer: (.*)$", (PACKAGING / package.name / "control").read_text(), re.MULTILINE)
    first = f"{package.name} ({release.version}) unstable; urgency=medium"
    entry = f"{first}\n\n  * Version {__version__}: see changelog.gz.\n\n"
    return f"{entry} -- {maintainer}  {format_datetime(datetime.fromtimestamp(epoch_s, UTC))}\n"


def pack(path: Path, content: bytes) -> None:
    """Write a file compressed, without a name or time in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0))


def put_control(root: Path, package: Package, release: Release) -> None:
    """What dpkg reads: control, conffiles, checksums and the maintainer scripts."""
    folder = root / "DEBIAN"
    next_python = f"3.{int(release.python.partition('.')[2]) + 1}"
    n_kilobytes = sum(path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink()) >> 10
    values = {
        "VERSION": release.version,
        "ARCHITECTURE": release.architecture,
        "INSTALLED_SIZE": str(n_kilobytes),
        "PYTHON": f"python3 (>= {release.python}), python3 (<< {next_python})",
    }
    text = (PACKAGING / package.name / "control").read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    write(folder / "control", text)
    if (root / CONFIG).exists():
        write(folder / "conffiles", f"/{CONFIG}\n")
    paths = sorted(
        path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and folder not in path.parents
    )
    sums = (f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in paths)
    write(folder / "md5sums", "".join(sums))
    for script in ("postinst", "prerm", "postrm"):
        write(folder / script, (PACKAGING / package.name / script).read_text())
        (folder / script).chmod(0o755)


def write(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
