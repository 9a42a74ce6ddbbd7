"""What the Debian packages hold, as far as that shows without building them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.releasing import debian_package
from scripts.releasing.debian_package import DEPLOY, NODE, PACKAGES, RELEASES, UPLOAD, Package, Release
from sonyc_ml.base.human import OF_DEBIAN_UPLOAD, to_install
from tests.conftest import ROOT

UNITS = sorted([*DEPLOY.glob("*.service"), *DEPLOY.glob("*.timer")])


def test_the_configuration_is_the_annotated_one() -> None:
    """With the folders of a node, and without a model: the default bundle is taken."""
    lines = debian_package.configuration().splitlines()
    said = {line.partition("  ")[0] for line in lines}
    assert {'folder = "/var/spool/sonyc-ml"', '# folder = "/var/lib/sonyc-ml-upload"'} <= said
    assert len(lines) == len((ROOT / "deploy/sonyc-ml.toml").read_text().splitlines())


def test_each_unit_is_in_one_package() -> None:
    """No unit is forgotten, and dpkg refuses a file that two packages have."""
    assert sorted(name for package in PACKAGES for name in package.units) == [path.name for path in UNITS]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_page_that_a_unit_names_is_installed(unit: Path) -> None:
    """By the package that has the unit, and by deploy/install.sh; so are those that its comments name."""
    (package,) = (package for package in PACKAGES if unit.name in package.units)
    named = set(re.findall(r"docs/(\w+\.md)", unit.read_text()))
    assert named <= set(NODE.pages + package.pages)
    for listed in re.findall(r"docs/{(.*?)}\.md", (ROOT / "deploy/install.sh").read_text()):
        assert named <= {f"{name}.md" for name in listed.split(",")}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_of_the_package_knows_nothing_of_the_installer(unit: Path) -> None:
    """No path or command of the other way to install a node is left in it."""
    text = debian_package.packaged(unit.read_text())
    assert "install.sh" not in text
    assert "/opt/sonyc-ml" not in text


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_libraries_are_there_once(release: Release) -> None:
    """Each library is in one package; what uploads is in the second, whole."""
    node, upload = ({line.split("==")[0] for line in package.libraries(release)} for package in (NODE, UPLOAD))
    assert node & upload == set()
    assert {"numpy", "watchdog", "starlette", "paho-mqtt"} <= node
    assert {"fsspec", "paramiko", "pyarrow", "s3fs", "webdav4"} <= upload


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_the_maintainer_scripts_are_shell(package: Package) -> None:
    """They name the units of their own package alone, and every shell of Debian reads them."""
    others = {name for other in PACKAGES if other is not package for name in other.units}
    for name in ("postinst", "prerm", "postrm"):
        script = DEPLOY / "debian" / package.name / name
        subprocess.run(["sh", "-n", script], check=True)
        assert not [unit for unit in others if re.search(rf"(?<![\w-]){re.escape(unit)}", script.read_text())]


def test_the_program_of_the_package_names_what_works_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the second package has is installed with it; anything else with Debian's pip, by root."""
    monkeypatch.setattr(sys, "prefix", f"/{debian_package.HOME}")
    assert UPLOAD.groups == OF_DEBIAN_UPLOAD
    for extra in UPLOAD.groups:
        assert to_install(extra).endswith(f": sudo apt-get install ./{UPLOAD.name}_*.deb")
    assert "apt-get install python3-pip && sudo " in to_install("plot")
