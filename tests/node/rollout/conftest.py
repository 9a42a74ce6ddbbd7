"""Signed bundles, and a fleet of one node that pulls them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.rollouts import DIMS, Fleet, make_version

pytest.importorskip("fsspec", reason="stores are an extra")


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> dict[str, Path]:
    """Signed bundles by their versions; a test changes copies only."""
    folder = tmp_path_factory.mktemp("versions")
    return {version: make_version(folder, version, keys / "ours") for version in DIMS}


@pytest.fixture
def _no_thread_leaks() -> None:
    """fsspec keeps a thread for its input and output, for as long as the process lives."""


@pytest.fixture
def fleet(tmp_path: Path, keys: Path, versions: dict[str, Path]) -> Fleet:
    return Fleet(tmp_path, keys, versions)
