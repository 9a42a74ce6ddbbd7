"""What this machine remembers of bundles: the newest version of each that ran, and which golden vectors were right."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from sonyc_ml.base.durable import write_atomically
from sonyc_ml.bundles.manifest import VERSION, version_numbers
from sonyc_ml.errors import StoreError

logger = logging.getLogger(__name__)

N_REMEMBERED = 100


def state_folder() -> Path:
    """Where state is kept: systemd's ``STATE_DIRECTORY``, else the XDG one."""
    service = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if service:
        return Path(service)
    base = os.environ.get("XDG_STATE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".local" / "state") / "sonyc-ml"
    except RuntimeError:  # a user without an entry in passwd
        return Path("/var/lib/sonyc-ml")


class MachineState:
    """What this machine remembers, in one small file; losing it costs a check, and is no error.

    Parameters
    ----------
    folder : Path, optional
        Where the file is; :func:`state_folder` where not given.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = (folder or state_folder()) / "bundles.json"

    def newest_version(self, name: str) -> tuple[int, ...]:
        """The newest signed version of a bundle that ran here; empty where none did."""
        version = self._read()["versions"].get(name)
        return version_numbers(version) if isinstance(version, str) and VERSION.fullmatch(version) else ()

    def remember_version(self, name: str, version: str) -> None:
        """A signed version of a bundle runs."""
        try:
            self._write("versions", name, version)
        except StoreError as error:
            logger.warning("%s: an older signed version of %s would not be refused", error, name)

    def was_golden(self, key: str) -> bool:
        """Whether the golden vector of this bundle and runtime was right before."""
        return key in self._read()["golden"]

    def remember_golden(self, key: str) -> None:
        """The golden vector of this bundle and runtime is right."""
        with suppress(StoreError):  # a read-only disk: check again the next time
            self._write("golden", key, "passed")

    def _read(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"versions": {}, "golden": {}}
        with suppress(OSError, ValueError, RecursionError):
            content = json.loads(self._path.read_bytes())
            if isinstance(content, dict):
                return empty | {key: value for key, value in content.items() if isinstance(value, dict)}
        return empty

    def _write(self, table: str, key: str, value: str) -> None:
        content = self._read()
        if content[table].get(key) == value:
            return
        content[table][key] = value
        content["golden"] = dict(list(content["golden"].items())[-N_REMEMBERED:])
        write_atomically(self._path, json.dumps(content, indent=1).encode())
