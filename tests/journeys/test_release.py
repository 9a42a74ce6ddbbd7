"""What scripts/release makes: the same bytes each time, and lists that agree with the lock files."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from scripts.releasing import release


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist."""
    folder: Path = tmp_path_factory.mktemp("built")
    release.build_twice(folder)
    return folder


def test_it_is_built_with_the_same_bytes(built: Path) -> None:
    """Wheel and sdist were equal when they were built again; the wheel holds completions and manual pages."""
    assert sorted(path.suffix for path in built.iterdir()) == [".gz", ".whl"]
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in ("man1/sonyc-ml-embed.1", "completions/sonyc-ml", "_sonyc-ml", "sonyc-ml.fish"):
        assert any(".data/data/share/" in name and name.endswith(wanted) for name in names)


def test_other_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a build that holds its time is no release."""
    times = iter(("1", "2"))
    monkeypatch.setattr(release, "build", lambda folder: (folder / "a.whl").write_text(next(times)))
    with pytest.raises(SystemExit, match=r"a\.whl had other bytes"):
        release.build_twice(tmp_path)


def test_the_list_names_what_is_locked(tmp_path: Path) -> None:
    """Each library with its version and hash, as CycloneDX."""
    lock = release.LOCKS / "armv7l-py3.11.txt"
    release.bill_of_materials(lock, tmp_path / "list.json")
    listed = json.loads((tmp_path / "list.json").read_text())
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", release.CYCLONEDX)
    wanted = {line.split()[0] for line in release.installed(lock)}
    assert {f"{one['name']}=={one['version']}" for one in listed["components"]} == wanted
    hashes = {one["externalReferences"][0]["hashes"][0]["content"] for one in listed["components"]}
    assert all(any(digest in line for digest in hashes) for line in release.installed(lock))


def test_sums_are_those_that_sha256sum_checks(built: Path) -> None:
    """SHA256SUMS names every file."""
    release.write_sums(built)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=built, check=True)
