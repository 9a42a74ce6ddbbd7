"""Stores to upload to: a folder, S3, SFTP, WebDAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stores import StoreHere, folder_store, s3_store, sftp_store, webdav_store

KINDS = ("file", "s3", "sftp", "webdav")


@pytest.fixture
def _no_thread_leaks() -> None:
    """fsspec and paramiko keep threads for their input and output."""


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreHere]:
    """Each kind of store, on loopback."""
    if request.param == "s3":
        with s3_store() as made:
            yield made
        return
    kinds = {"file": folder_store, "sftp": sftp_store, "webdav": webdav_store}
    with kinds[request.param](tmp_path) as made:
        yield made


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[StoreHere]:
    """A folder alone."""
    with folder_store(tmp_path) as made:
        yield made


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[StoreHere]:
    """OpenSSH alone."""
    with sftp_store(tmp_path) as made:
        yield made
