"""What people read: how a missing extra is installed."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from sonyc_ml.base.human import to_install
from tests.conftest import ROOT
from tests.support.printed import texts_of

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
FOR_USERS = sorted(EXTRAS.keys() - {"docs", "test", "train"})
FROM_THE_INDEX = re.compile(r"sonyc-ml\[|pip install '?sonyc-ml")  # it is not there


@pytest.mark.parametrize("extra", FOR_USERS)
def test_an_extra_is_installed_by_its_packages(extra: str) -> None:
    """The command runs pip in this Python, for the packages of pyproject.toml and no others."""
    said, _, command = to_install(extra).partition(": ")
    assert said == f"install the extra {extra}"
    (
        python,
        *pip,
        _,
    ) = shlex.split(command)[:4]
    assert (python, pip) == (sys.executable, ["-m", "pip"])
    assert set(map(Requirement, shlex.split(command)[4:])) == set(map(Requirement, EXTRAS[extra]))


def test_without_an_installation_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of sources knows no packages."""

    def refuse(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", refuse)
    assert to_install("plot") == "install the extra plot of sonyc-ml"


def test_nothing_is_said_to_come_from_the_index() -> None:
    """No message, page or configuration has a command that cannot work before the package is on PyPI."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").glob("*.toml")]
    files = [
        *(ROOT / "sonyc_ml").rglob("*.py"),
        *(page for page in pages if page.name not in {"install.md", "CHANGELOG.md"}),
    ]
    assert [str(path) for path in files if any(map(FROM_THE_INDEX.search, texts_of(path)))] == []
    assert FROM_THE_INDEX.search("pip install 'sonyc-ml[plot]'")


def test_the_page_names_every_extra() -> None:
    """docs/install.md has a row for each."""
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/install.md").read_text(), re.MULTILINE)
    assert sorted(re.findall(r"`([\w-]+)`", " ".join(rows))) == FOR_USERS
