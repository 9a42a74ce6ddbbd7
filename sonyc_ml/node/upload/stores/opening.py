"""An address to its store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

from sonyc_ml.base.human import to_install
from sonyc_ml.errors import ConfigError
from sonyc_ml.node.upload.config import UploadConfig
from sonyc_ml.node.upload.stores.objects import S3Store
from sonyc_ml.node.upload.stores.renaming import FolderStore, SftpStore, WebdavStore
from sonyc_ml.node.upload.stores.secrets import read_credentials, silence_libraries
from sonyc_ml.node.upload.stores.store import Store

KINDS: Mapping[str, type[Store]] = {
    "s3": S3Store,
    "sftp": SftpStore,
    "https": WebdavStore,
    "http": WebdavStore,
    "file": FolderStore,
}
NEEDED = {"s3": ("fsspec", "s3fs"), "sftp": ("fsspec", "paramiko"), "https": ("fsspec", "webdav4"), "file": ()}


def open_store(settings: UploadConfig, environment: Mapping[str, str] = os.environ) -> Store:
    """The store that ``upload.to`` names; nothing is asked of it yet.

    Raises
    ------
    ConfigError
        No address is given, a package is missing, or credentials cannot be read.
    """
    if settings.to is None:
        raise ConfigError('[upload] has no to; say where outputs go, as in to = "s3://bucket/prefix"')
    scheme = urlsplit(settings.to).scheme
    missing = [name for name in NEEDED.get(scheme, NEEDED["https"]) if find_spec(name) is None]
    if missing:
        raise ConfigError(f"upload to {scheme}:// needs {' and '.join(missing)}; {to_install('upload')}")
    silence_libraries()
    return KINDS[scheme](settings.to, read_credentials(environment), settings.timeout_s, settings.proof)
