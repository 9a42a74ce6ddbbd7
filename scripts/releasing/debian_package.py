"""Debian packages: the program with every library of its lock file, its service, and what dpkg asks for.

Libraries come from the lock file, by their hashes, and lie in a virtual environment of the package's own. Nothing of it
is run here, so packages for other processors are made on any machine. systemd-python, which has no wheels, is Debian's.
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
GROUPS = ("base", "mqtt", "serve", "soxr")  # base, and extras that are small; those that a lock file knows
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
    def file_name(self) -> str:
        """Of the package."""
        return f"sonyc-ml_{self.version}_{self.architecture}.deb"

    @property
    def version(self) -> str:
        """Of the package; an upgrade of Debian brings a newer one."""
        return f"{__version__}-1~deb{self.debian}"


RELEASES = tuple(
    Release(debian, machine, python) for debian, python in ((12, "3.11"), (13, "3.13")) for machine in ARCHITECTURES
)


def build(release: Release, wheel: Path, folder: Path, epoch_s: int) -> Path:
    """Make a release's package of a wheel, and write it into a folder.

    Parameters
    ----------
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
        put_environment(root, release, wheel)
        put_service(root)
        put_documentation(root, release, epoch_s)
        put_control(root, release)
        for path in [root, *root.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
            os.utime(path, (epoch_s, epoch_s), follow_symlinks=False)
        package = folder / release.file_name
        command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(root), str(package)]
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch_s)}
        subprocess.run(command, check=True, capture_output=True, env=environment)
    return package


def put_environment(root: Path, release: Release, wheel: Path) -> None:
    """A virtual environment as ``python3 -m venv`` makes one, with the libraries and the program; nothing runs."""
    home = root / HOME
    site = home / "lib" / f"python{release.python}" / "site-packages"
    site.mkdir(parents=True)
    (home / "bin").mkdir()
    (home / "bin" / "python").symlink_to("/usr/bin/python3")
    # Debian's packages are seen behind its own: python3-systemd is there.
    (home / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = true\nversion = {release.python}\n"
    )
    install(site, release, wheel)
    shutil.move(site / "share", root / "usr" / "share")
    shutil.rmtree(site / "bin", ignore_errors=True)  # programs of libraries, for another Python
    program = home / "bin" / "sonyc-ml"
    # Worker processes import it too, and must not start again.
    start = 'import sys\n\nfrom sonyc_ml.cli import main\n\nif __name__ == "__main__":\n    sys.exit(main())\n'
    program.write_text(f"#!/{HOME}/bin/python -sP\n{start}")
    program.chmod(0o755)
    (root / "usr" / "bin").mkdir()
    (root / "usr" / "bin" / "sonyc-ml").symlink_to(f"../lib/{program.relative_to(root / 'usr/lib')}")


def install(site: Path, release: Release, wheel: Path) -> None:
    """Install the locked libraries, and the wheel, for another processor and Python than this one."""
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
        wanted.write("\n".join(locked(release.machine, release.python, *GROUPS)))
        wanted.flush()
        libraries = ["--require-hashes", *target.pip_options, "-r", wanted.name]
        for what in (libraries, [str(wheel)]):
            done = subprocess.run([*base, f"--target={site}", *what], check=False, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{release.file_name}: pip fails: {done.stderr.strip()[-2000:]}")
    for path in site.rglob("direct_url.json"):  # where the wheel was on this machine
        path.unlink()
    for path in site.rglob("*"):
        if path.is_file():  # libraries are loaded, not run
            path.chmod(0o644)


def put_service(root: Path) -> None:
    """Units, users, folders and the configuration, with the paths of the package."""
    places = {
        "usr/lib/systemd/system": sorted([*DEPLOY.glob("*.service"), *DEPLOY.glob("*.timer")]),
        "usr/share/doc/sonyc-ml/drop-ins": sorted((DEPLOY / "drop-ins").glob("*.conf")),
    }
    for place, paths in places.items():
        for path in paths:
            write(root / place / path.name, packaged(path.read_text()))
    write(root / "usr/lib/sysusers.d/sonyc-ml.conf", (DEPLOY / "sysusers.conf").read_text())
    write(root / "usr/lib/tmpfiles.d/sonyc-ml.conf", (DEPLOY / "tmpfiles.conf").read_text())
    write(root / "etc/sonyc-ml/sonyc-ml.toml", configuration())


def packaged(text: str) -> str:
    """The text of a unit or drop-in with the package's paths."""
    text = re.sub(
        r"deploy/install\.sh( --\w+)* puts this into /usr/local/lib/systemd/system", "The package brings this", text
    )
    text = text.replace("/opt/sonyc-ml/current/drop-ins", "/usr/share/doc/sonyc-ml/drop-ins")
    text = text.replace("file:///opt/sonyc-ml/current/docs/", "file:///usr/share/doc/sonyc-ml/")
    return text.replace("/opt/sonyc-ml/current/bin/", "/usr/bin/")


def configuration() -> str:
    """deploy/sonyc-ml.toml with the folders of a node, and the model left to be the default bundle."""
    text = (DEPLOY / "sonyc-ml.toml").read_text()
    for old, new in (
        (r'^folder = "recordings"', 'folder = "/var/spool/sonyc-ml"'),
        (r'^folder = "embeddings"', 'folder = "/var/lib/sonyc-ml/embeddings"'),
        # Without a path it is the default bundle, which is in the package.
        (r'^path = "\.\./models/\S+"', '# path = "/opt/sonyc-ml/bundles/NAME.tflite"'),
    ):
        text, n_found = re.subn(old, new, text, flags=re.MULTILINE)
        if n_found != 1:
            raise SystemExit(f"deploy/sonyc-ml.toml has no line {old}")
    return text


def put_documentation(root: Path, release: Release, epoch_s: int) -> None:
    """Licence, changes and the operator's pages; manual pages compressed, as Debian wants them."""
    folder = root / "usr/share/doc/sonyc-ml"
    for name in ("node.md", "operations.md", "install.md", "alerts.md"):
        write(folder / name, (ROOT / "docs" / name).read_text())
    write(folder / "copyright", (PACKAGING / "copyright").read_text())
    pack(folder / "changelog.gz", (ROOT / "CHANGELOG.md").read_bytes())
    pack(folder / "changelog.Debian.gz", changelog(release, epoch_s).encode())
    write(root / "usr/share/lintian/overrides/sonyc-ml", (PACKAGING / "lintian-overrides").read_text())
    for page in (root / "usr/share/man/man1").glob("*.1"):
        pack(page.with_name(f"{page.name}.gz"), page.read_bytes())
        page.unlink()
    site = root / "usr/share/zsh/site-functions"
    site.rename(site.with_name("vendor-completions"))  # Debian's name for it


def changelog(release: Release, epoch_s: int) -> str:
    """Debian's own, which only says that there is a package of this version."""
    (maintainer,) = re.findall(r"^Maintainer: (.*)$", (PACKAGING / "control").read_text(), re.MULTILINE)
    entry = f"sonyc-ml ({release.version}) unstable; urgency=medium\n\n  * Version {__version__}: see changelog.gz.\n\n"
    return f"{entry} -- {maintainer}  {format_datetime(datetime.fromtimestamp(epoch_s, UTC))}\n"


def pack(path: Path, content: bytes) -> None:
    """Write a file compressed, without a name or time in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0))


def put_control(root: Path, release: Release) -> None:
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
    text = (PACKAGING / "control").read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    write(folder / "control", text)
    write(folder / "conffiles", "/etc/sonyc-ml/sonyc-ml.toml\n")
    paths = sorted(
        path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and folder not in path.parents
    )
    sums = (f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in paths)
    write(folder / "md5sums", "".join(sums))
    for script in ("postinst", "prerm", "postrm"):
        write(folder / script, (PACKAGING / script).read_text())
        (folder / script).chmod(0o755)


def write(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
