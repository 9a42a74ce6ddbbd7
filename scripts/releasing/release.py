"""A release: everything that users install, and what vouches for its content, in one folder."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sonyc_ml import __version__
from sonyc_ml.base.human import size

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "deploy" / "locks"
CYCLONEDX = "1.6"


def main() -> int:
    """Make the release and list it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/release", description="Make a release in dist/.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", metavar="DIR", help="where to (default dist/)")
    parser.add_argument("--no-debian", action="store_true", help="without the Debian packages, and without a network")
    parsed = parser.parse_args()
    folder: Path = parsed.output
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print("building wheel and sdist, twice", flush=True)
    build_twice(folder)
    print("listing what is locked", flush=True)
    for lock in sorted(LOCKS.glob("*.txt")):
        shutil.copy(lock, folder / f"sonyc_ml-{__version__}-{lock.stem}.lock.txt")
        bill_of_materials(lock, folder / f"sonyc_ml-{__version__}-{lock.stem}.cdx.json")
    if not parsed.no_debian:
        from scripts.releasing import debian_package as debian

        for release in debian.RELEASES:
            print(f"building the packages for {release.name}", flush=True)
            debian.build(release, next(folder.glob("*.whl")), folder, epoch_s())
    write_sums(folder)
    for path in sorted(folder.iterdir()):
        print(f"{size(path.stat().st_size):>9}  {path.relative_to(folder.parent)}")
    return 0


def epoch_s() -> int:
    """The time that files in a release have, in seconds since 1970: that of the commit, or SOURCE_DATE_EPOCH."""
    if said := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(said)
    command = ["git", "log", "-1", "--format=%ct"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    return int(done.stdout) if done.returncode == 0 else int((ROOT / "CHANGELOG.md").stat().st_mtime)


def build_twice(folder: Path) -> None:
    """Build wheel and sdist into `folder`, and again elsewhere.

    Raises
    ------
    SystemExit
        The second build has other bytes than the first.
    """
    build(folder)
    with tempfile.TemporaryDirectory() as again:
        build(Path(again))
        differ = [path.name for path in folder.iterdir() if digest(path) != digest(Path(again, path.name))]
    if differ:
        raise SystemExit(f"scripts/release: {', '.join(differ)} had other bytes when it was built again")


def build(folder: Path) -> None:
    """Build wheel and sdist, with the time of the commit in them."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch_s())}
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=environment)


def bill_of_materials(lock: Path, path: Path) -> None:
    """Write what a lock file installs as CycloneDX, with versions and hashes; what only builds it is not in it."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
        wanted.writelines(f"{requirement}\n" for requirement in installed(lock))
        wanted.flush()
        command = [sys.executable, "-m", "cyclonedx_py", "requirements", wanted.name, "--pyproject", "pyproject.toml"]
        options = ["--mc-type", "application", "--sv", CYCLONEDX, "--of", "JSON", "--output-reproducible"]
        done = subprocess.run(
            [*command, *options, "-o", str(path)], cwd=ROOT, check=False, capture_output=True, text=True
        )
    if done.returncode:
        raise SystemExit(f"scripts/release: {lock.name}: {done.stderr.strip()}")


def installed(lock: Path) -> list[str]:
    """The requirements of a lock file, with their hashes, but for those that only build something."""
    pairs = (line.split("  # ") for line in lock.read_text().splitlines() if not line.startswith("#"))
    return [requirement for requirement, users in pairs if users != "build"]


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS, as sha256sum reads it."""
    lines = [f"{digest(path)}  {path.name}\n" for path in sorted(folder.iterdir()) if path.is_file()]
    (folder / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    sys.exit(main())
