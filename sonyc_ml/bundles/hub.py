"""Bundles from the hub (huggingface.co, or what acts as it), by a revision that cannot change."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from sonyc_ml.base.durable import write_atomically
from sonyc_ml.base.human import to_install
from sonyc_ml.bundles.integrity import MAX_FILE_SIZE, read_plain
from sonyc_ml.bundles.location import name_of_bundle
from sonyc_ml.bundles.manifest import parse_manifest
from sonyc_ml.errors import BundleError, BundleIntegrityError, ConfigError, SonycMLError, StoreError

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
ADDRESS = re.compile(rf"hf://?(?P<repository>{REPOSITORY.pattern})@(?P<revision>[0-9a-f]{{40}})", re.ASCII)


def fetch(address: str) -> Path:
    """Fetch a bundle into the cache, where it is not there yet; nothing of it is run or trusted.

    Its manifest is fetched, and of all else in the repository the files that it lists, which must be what it says.

    Parameters
    ----------
    address : str
        ``hf://OWNER/NAME@REVISION``, with a full revision: 40 hexadecimal digits.

    Returns
    -------
    Path
        Of its network, below ``~/.cache/sonyc-ml/hub``.

    Raises
    ------
    BundleError
        The address is none, or nothing can be fetched from it.
    ConfigError
        huggingface_hub is not installed.
    StoreError
        The cache cannot be written.
    """
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise BundleError(
            f"{address} is no address of a bundle: it takes hf://OWNER/NAME@REVISION with the full revision, 40 "
            "hexadecimal digits, as the hub shows it under History; a branch or tag may be something else tomorrow"
        )
    repository, revision = match["repository"], match["revision"]
    folder = cache_folder() / repository / revision
    if not folder.is_dir():
        _put(folder, _download(repository, revision, f"hf://{repository}@{revision}"))
    return folder / name_of_bundle(os.listdir(folder), str(folder))


def cache_folder() -> Path:
    """Where fetched bundles are kept: by repository and revision, which never change."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "sonyc-ml" / "hub"
    except RuntimeError as error:  # a user without an entry in passwd
        raise ConfigError("there is no home folder to keep what is fetched in: set XDG_CACHE_HOME") from error


def _download(repository: str, revision: str, source: str) -> dict[str, bytes]:
    """The files of a bundle by their names."""
    hub = _import()
    try:
        sizes = _sizes(hub, repository, revision, source)
        network = name_of_bundle(sizes, source)
        manifest_name = f"{network.removesuffix('.tflite')}.json"
        if manifest_name not in sizes:
            raise BundleError(f"{source} has {network} without a manifest, {manifest_name}, and so no bundle")
        content = _file(hub, repository, revision, manifest_name, sizes)
        manifest = parse_manifest(content, f"{source}/{manifest_name}")
        files = {manifest_name: content}
        for name, digest in manifest.files.items():
            files[name] = _file(hub, repository, revision, name, sizes)
            if hashlib.sha256(files[name]).hexdigest() != digest:
                raise BundleIntegrityError(f"{source}: its {name} is not the file that its manifest lists")
        signature = f"{manifest_name}.sig"
        if signature in sizes:
            files[signature] = _file(hub, repository, revision, signature, sizes)
    except SonycMLError:
        raise
    except Exception as error:  # of the library, of the network, of the system
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BundleError(f"{source} cannot be fetched from {_endpoint() or 'the hub'}: {reason}") from error
    return files


def _sizes(hub: Any, repository: str, revision: str, source: str) -> dict[str, int]:
    """What is in the repository, with the bytes of each file."""
    info = hub.HfApi(endpoint=_endpoint()).model_info(repository, revision=revision, files_metadata=True)
    if info.sha != revision:
        raise BundleIntegrityError(f"{source}: the hub gives revision {info.sha} instead")
    return {entry.rfilename: entry.size or 0 for entry in info.siblings or ()}


def _file(hub: Any, repository: str, revision: str, name: str, sizes: Mapping[str, int]) -> bytes:
    if name not in sizes:
        raise BundleError(f"hf://{repository}@{revision}: its manifest lists {name}, which is not there")
    if sizes[name] > MAX_FILE_SIZE:
        raise BundleError(
            f"hf://{repository}@{revision}: {name} has {sizes[name]:,} bytes, which no model of a node has"
        )
    path = hub.hf_hub_download(repository, name, revision=revision, endpoint=_endpoint())
    return read_plain(Path(path))


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _put(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder of files: there whole, or not at all."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as temporary:
            made = Path(temporary) / folder.name
            made.mkdir(mode=0o755)
            for name, content in files.items():
                write_atomically(made / name, content)
            with suppress(OSError):  # another process was faster
                made.rename(folder)
        if not folder.is_dir():
            raise StoreError(f"{folder} cannot be made")
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}") from error


def _import() -> Any:
    try:
        return import_module("huggingface_hub")
    except ImportError as error:
        raise ConfigError(
            f"bundles are fetched from the hub with huggingface_hub, and this Python cannot import it ({error}); "
            f"{to_install('hub')}; or download the files and name the folder"
        ) from error
