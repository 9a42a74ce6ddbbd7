"""Lock files: what `deploy/install.sh` installs, one file for each processor and Python, each package with its hash.

A line is a requirement as pip reads it; behind it stands who needs it: ``base``, extras of this package, ``build``,
or ``source`` for what is built from it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy/locks"
INDEX = "https://pypi.org/simple"
EXTRAS = (
    "librosa",
    "mqtt",
    "parquet",
    "plot",
    "remote",
    "serve",
    "soxr",
    "upload",
)  # what a node may have beside the service's own
FROM_SOURCE = "systemd-python"  # the only one without wheels; its setup.py needs setuptools, which is not in every venv
OLDEST_GLIBC, NEWEST_GLIBC = 17, 36  # of Debian 12
HEADER = "# {name}: written by scripts/lock. A line ends with who needs it: base, build, or extras of this package.\n"


@dataclass(frozen=True, slots=True)
class Target:
    """A processor and a Python that a node may have."""

    machine: str
    python: str

    @property
    def name(self) -> str:
        """Also of its lock file."""
        return f"{self.machine}-py{self.python}"

    @property
    def environment(self) -> dict[str, str]:
        """What markers of requirements are judged by there."""
        here = {name: str(value) for name, value in default_environment().items()}
        version = {"python_version": self.python, "python_full_version": f"{self.python}.0"}
        return {**here, **version, "platform_machine": self.machine}

    @property
    def pip_options(self) -> Iterator[str]:
        """What makes pip look for its wheels, on whatever machine pip runs."""
        yield from ("--only-binary=:all:", "--implementation=cp", f"--python-version={self.python}")
        for minor in range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1):
            yield f"--platform=manylinux_2_{minor}_{self.machine}"
        for tag in ("manylinux2014", "manylinux2010", "manylinux1", "linux"):
            yield f"--platform={tag}_{self.machine}"


TARGETS = (
    *(Target(machine, f"3.{minor}") for machine in ("x86_64", "aarch64") for minor in (11, 12, 13, 14)),
    Target("armv7l", "3.11"),
)
# Debian's own packages are used for these on 32-bit ARM, of which the index has no wheels; deploy/install.sh knows.
OF_DEBIAN = {"armv7l": frozenset({"numpy", "cffi", FROM_SOURCE, "pycparser"})}
OF_FEW_WHEELS = {"armv7l": ("mqtt", "remote")}  # the extras there; others need wheels that nobody builds


def main() -> int:
    """Write every lock file, or compare; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/lock", description="Write the lock files of the service.")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where a file is not what it would be")
    check: bool = parser.parse_args().check
    FOLDER.mkdir(exist_ok=True)
    changed = 0
    for target in TARGETS:
        path, text = FOLDER / f"{target.name}.txt", lock(target)
        is_same = path.exists() and path.read_text() == text
        changed += not is_same
        if not check:
            path.write_text(text)
        outcome = "unchanged" if is_same else "differs" if check else "written"
        print(f"{path.relative_to(ROOT)}: {len(text.splitlines()) - 1} packages, {outcome}", flush=True)
    return int(check and changed > 0)


def locked(machine: str, python: str, *groups: str) -> list[str]:
    """The requirements of a lock file, with their hashes, of those who are named."""
    lines = Path(FOLDER, f"{Target(machine, python).name}.txt").read_text().splitlines()
    pairs = (line.split("  # ") for line in lines if not line.startswith("#"))
    return [requirement for requirement, users in pairs if not set(groups).isdisjoint(users.split())]


def lock(target: Target) -> str:
    """The text of a target's lock file.

    Raises
    ------
    SystemExit
        pip finds no versions that fit together; says what it said.
    """
    groups = required(target)
    wanted = [str(requirement) for some in groups.values() for requirement in some if requirement.name != FROM_SOURCE]
    found = resolve(wanted, target)
    users: dict[str, set[str]] = {}
    for group, requirements in groups.items():
        for name in closure(requirements, found, target):
            users.setdefault(name, set()).add(group)
    lines = [_line(found[name], users[name]) for name in sorted(users) if name in found]
    if is_built(target):
        lines.append(source_line(FROM_SOURCE))
    return HEADER.format(name=target.name) + "\n".join(lines) + "\n"


def is_built(target: Target) -> bool:
    """Whether the package without wheels is built there, and not Debian's."""
    return FROM_SOURCE not in OF_DEBIAN.get(target.machine, ())


def required(target: Target) -> dict[str, list[Requirement]]:
    """What pyproject.toml requires there, by who needs it; markers judged, and gone."""
    with Path(ROOT, "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    extras = OF_FEW_WHEELS.get(target.machine, EXTRAS)
    named: dict[str, list[str]] = {"base": [*project["dependencies"], *project["optional-dependencies"]["systemd"]]}
    named |= {extra: project["optional-dependencies"][extra] for extra in extras}
    named["build"] = [
        "hatchling",
        *(["setuptools"] if is_built(target) else []),
    ]  # what builds this package, and that one
    return {group: list(_that_apply(map(Requirement, texts), target)) for group, texts in named.items()}


def _that_apply(requirements: Any, target: Target, extras: frozenset[str] = frozenset({""})) -> Iterator[Requirement]:
    for requirement in requirements:
        if canonicalize_name(requirement.name) in OF_DEBIAN.get(target.machine, ()):
            continue
        environments = ({**target.environment, "extra": extra} for extra in sorted(extras | {""}))
        if requirement.marker is None or any(map(requirement.marker.evaluate, environments)):
            requirement.marker = None
            yield requirement


def resolve(requirements: list[str], target: Target) -> dict[str, dict[str, Any]]:
    """What pip would install there, by canonical name, as its report lists it."""
    found = _reported(requirements, target)
    while target.machine in OF_DEBIAN:  # pip does not know what is Debian's: what is needed is added here
        texts = [text for item in found.values() for text in item["metadata"].get("requires_dist", ())]
        needed = [
            one for one in _that_apply(map(Requirement, texts), target) if canonicalize_name(one.name) not in found
        ]
        if not needed:
            break
        requirements = [*requirements, *map(str, needed)]
        found = _reported(requirements, target)
    return found


def _reported(requirements: list[str], target: Target) -> dict[str, dict[str, Any]]:
    alone = ["--no-deps"] if target.machine in OF_DEBIAN else []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        options = ["--quiet", "--dry-run", "--ignore-installed", f"--target={folder}/packages", f"--report={report}"]
        command = [sys.executable, "-m", "pip", "install", *options, f"--index-url={INDEX}", *alone]
        done = subprocess.run(
            [*command, *target.pip_options, *requirements],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PIP_CONFIG_FILE": "/dev/null", "PIP_FIND_LINKS": ""},
        )
        if done.returncode:
            raise SystemExit(f"scripts/lock: {target.name}: pip finds no versions that fit: {done.stderr.strip()}")
        installed = json.loads(report.read_text())["install"]
    return {canonicalize_name(item["metadata"]["name"]): item for item in installed}


def closure(requirements: list[Requirement], found: Mapping[str, dict[str, Any]], target: Target) -> set[str]:
    """Every package that requirements bring with them, themselves among them, by canonical name."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen or key[0] not in found:
            continue
        seen.add(key)
        needs = map(Requirement, found[key[0]]["metadata"].get("requires_dist", ()))
        waiting += _that_apply(needs, target, key[1])
    return {name for name, _ in seen}


def _line(item: Mapping[str, Any], users: set[str]) -> str:
    metadata, hashes = item["metadata"], item["download_info"]["archive_info"]["hashes"]
    name = canonicalize_name(metadata["name"])
    return f"{name}=={metadata['version']} --hash=sha256:{hashes['sha256']}  # {' '.join(sorted(users))}"


def source_line(name: str) -> str:
    """The line of a package that is built from source: the newest archive of the index."""
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    with urllib.request.urlopen(urllib.request.Request(f"{INDEX}/{name}/", headers=accept), timeout=60) as answer:
        page = json.load(answer)
    ending = ".tar.gz"
    archives = [file for file in page["files"] if file["filename"].endswith(ending) and not file["yanked"]]
    newest = max(archives, key=lambda file: str(file["upload-time"]))
    version = newest["filename"].removesuffix(ending).rpartition("-")[2]
    return f"{name}=={version} --hash=sha256:{newest['hashes']['sha256']}  # source"


if __name__ == "__main__":
    sys.exit(main())
