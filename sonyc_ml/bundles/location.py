"""Where a bundle is: named by its network, its folder, or its address on the hub; or the package's own."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from sonyc_ml.errors import BundleError, MissingBundleError

DEFAULT = "quantized_default_int8.tflite"
PULLED, CURRENT = "bundles", "current"  # in the folder of a node's state; of the bundle's versions, the one that runs
ADDRESS = "hf:/"  # a Path has lost the second slash


def is_address(path: str | Path) -> bool:
    """Whether a path is an address on the hub, ``hf://OWNER/NAME@REVISION``."""
    return f"{path}/".startswith(ADDRESS)


def default_bundle() -> Path:
    """Return the path of the bundle that is meant where none is named.

    It lies in the package, where a wheel put it; in a check-out it lies beside the package.

    Raises
    ------
    BundleError
        It was taken out of the package.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "models", package.parent / "models"):
        path = folder / DEFAULT
        if path.exists():
            return path
    raise MissingBundleError(f"{package / 'models' / DEFAULT} is not there: install sonyc-ml again, or name a model")


def refuse_address(path: Path) -> Path:
    """Return the path of a node's bundle; an address on the hub is refused, for a node fetches nothing.

    Raises
    ------
    ValueError
    """
    if ADDRESS.rstrip("/") in path.parts:  # a relative path has its configuration's folder before it
        raise ValueError(
            "model.path is an address on the hub, and a node fetches nothing: load it once with sonyc_ml.load_model "
            "elsewhere, and give the node the files"
        )
    return path


def pulled_path(state_folder: Path, name: str) -> Path:
    """The network of a bundle that a node pulls from a store, in the version that runs; it need not be there."""
    return state_folder / PULLED / name / CURRENT / f"{name}.tflite"


def resolve_bundle_path(path: str | Path) -> Path:
    """Find the network that names a bundle.

    Parameters
    ----------
    path : str or Path
        ``NAME.tflite``, which is returned as it is; a folder with one bundle; or ``hf://OWNER/NAME@REVISION``, which is
        fetched into the cache, once.

    Raises
    ------
    BundleError
        The folder has no bundle, or several; the address cannot be fetched.
    ConfigError
        What fetches from the hub is not installed.
    """
    if is_address(path):
        from sonyc_ml.bundles.hub import fetch  # noqa: PLC0415  most bundles are on disk

        return fetch(str(path))
    path = Path(path)
    if path.suffix == ".tflite" or not path.is_dir():
        return path
    try:
        names = os.listdir(path)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error
    return path / name_of_bundle(names, str(path))


def name_of_bundle(names: Collection[str], source: str) -> str:
    """Which of a folder's files is the network that names its one bundle: that which has a manifest.

    Raises
    ------
    BundleError
        There is none, or there are several.
    """
    networks = sorted(name for name in names if name.endswith(".tflite") and not name.startswith("."))
    described = [name for name in networks if f"{name.removesuffix('.tflite')}.json" in names]
    found = described or networks
    if not found:
        raise MissingBundleError(f"{source} has no NAME.tflite in it, and so no bundle")
    if len(found) > 1:
        kind = "bundles" if described else "networks without a manifest"
        raise BundleError(f"{source} has {len(found)} {kind}, {', '.join(found[:5])}: say which one")
    return found[0]
