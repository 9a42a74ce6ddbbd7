"""Bundles and versions: what the daemon runs, what lies on the disk, what this process is made of."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from sonyc_ml import __version__
from sonyc_ml.base.human import shown
from sonyc_ml.bundles.manifest import Manifest, parse_manifest
from sonyc_ml.errors import SonycMLError
from sonyc_ml.node.config import ModelConfig

PACKAGES = (
    "numpy",
    "ai-edge-litert",
    "tflite-runtime",
    "soundfile",
    "watchdog",
    "dill",
    "starlette",
    "uvicorn",
    "jinja2",
)
MAX_BYTES = 4 << 20  # of a manifest: with the labels of all birds, it has a fifth of that


def bundle_cards(models: tuple[ModelConfig, ...], running: list[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield for each bundle of the configuration what its manifest says, and what the daemon runs of it.

    Parameters
    ----------
    models : tuple of ModelConfig
    running : list of mapping
        The bundles of :func:`sonyc_ml.node.operate.status.status`.
    """
    for model in models:
        manifest, problem = _manifest(model)
        runs = next((one for one in running if one["path"] == str(model.path)), None)
        name = manifest.name if manifest else model.path.stem
        is_other = bool(manifest and runs and runs["version"] and runs["version"] != manifest.version)
        yield {"name": name, "manifest": manifest, "problem": problem, "runs": runs, "is_other": is_other}


def _manifest(model: ModelConfig) -> tuple[Manifest | None, str]:
    path = model.path.with_suffix(".json")
    try:
        with path.open("rb") as file:
            return parse_manifest(file.read(MAX_BYTES), str(path)), ""
    except OSError as error:
        return None, f"{path}: {error.strerror}"
    except SonycMLError as error:
        return None, shown(str(error))


def versions() -> list[tuple[str, str]]:
    """Return what runs here, and in which version."""
    system = platform.freedesktop_os_release() if platform.system() == "Linux" else {}
    return [
        ("sonyc-ml", __version__),
        ("Python", platform.python_version()),
        ("SQLite", sqlite3.sqlite_version),
        *((name, version) for name in PACKAGES if (version := _version(name))),
        ("system", f"{system.get('PRETTY_NAME', platform.system())}, {platform.machine()}"),
        ("kernel", platform.release()),
    ]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
