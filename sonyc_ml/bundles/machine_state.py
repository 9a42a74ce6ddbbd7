"""What this machine remembers of bundles: which code may run, the newest versions, which golden vectors were right."""

from __future__ import annotations

import json
import logging
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from sonyc_ml.base.durable import write_atomically
from sonyc_ml.bundles.integrity import read_own
from sonyc_ml.bundles.manifest import VERSION, version_numbers
from sonyc_ml.errors import BundleError, StoreError

logger = logging.getLogger(__name__)

N_REMEMBERED = 100

RECORD = "trusted"  # the name of the list of accepted digests, in whichever folder
SYSTEM_RECORD = Path("/etc/sonyc-ml") / RECORD  # root's word, for every user and service of the machine
DIGEST = re.compile(r"([0-9a-f]{64})(\s.*)?")


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


def _chosen_folder() -> bool:
    return bool(os.environ.get("STATE_DIRECTORY") or os.environ.get("XDG_STATE_HOME"))


def _digests(record: Path) -> frozenset[str]:
    """The digests of a list, one per line, each with whatever text behind it."""
    try:
        lines = read_own(record).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        logger.debug("%s: %s", record, error.strerror)
        return frozenset()
    except BundleError as error:
        logger.warning("what it accepts does not count: %s", error)
        return frozenset()
    return frozenset(match[1] for match in map(DIGEST.fullmatch, lines) if match)


def _append(record: Path, line: bytes) -> None:
    """Add a line; several may do so at once, and a line is there whole or not at all."""
    is_new_folder = not record.parent.exists()
    record.parent.mkdir(parents=True, exist_ok=True)
    if is_new_folder and record == SYSTEM_RECORD:
        record.parent.chmod(0o755)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(record, flags, 0o644)
    try:
        if record == SYSTEM_RECORD:  # for all users, whatever root's umask
            os.fchmod(descriptor, 0o644)
        size = os.fstat(descriptor).st_size
        is_cut = size and os.pread(descriptor, 1, size - 1) != b"\n"  # by an editor
        os.write(descriptor, b"\n" * bool(is_cut) + line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class MachineState:
    """What this machine remembers, in one small file; losing it costs a check, and is no error.

    Parameters
    ----------
    folder : Path, optional
        Where the file is; :func:`state_folder` where not given.
    system_record : Path
        The list of code that root has accepted for everybody.
    """

    def __init__(self, folder: Path | None = None, system_record: Path = SYSTEM_RECORD) -> None:
        chosen = folder or state_folder()
        self._path = chosen / "bundles.json"
        self._system_record = system_record
        is_plain_root = folder is None and os.geteuid() == 0 and not _chosen_folder()
        self.record_path = system_record if is_plain_root else chosen / RECORD
        """Where what is accepted is written down."""

    def accepted(self) -> frozenset[str]:
        """SHA-256 of all code that a person has accepted here: root for everybody, or the user who runs this."""
        paths = {self._system_record: None, self.record_path: None, self._path.with_name(RECORD): None}
        if os.environ.get("STATE_DIRECTORY"):  # a service's user may have accepted it outside the service, by sudo -u
            with suppress(RuntimeError):
                paths[Path.home() / ".local" / "state" / "sonyc-ml" / RECORD] = None
        return frozenset().union(*map(_digests, paths))

    def accept(self, digest: str, what: str) -> None:
        """Remember that a person wants code of this SHA-256 to run.

        Raises
        ------
        StoreError
            It cannot be written down.
        """
        known = _digests(self.record_path)
        if digest in known:
            return
        line = f"{digest}  {''.join(char if char.isprintable() else '?' for char in what)}\n"
        try:
            _append(self.record_path, line.encode(errors="replace"))
        except OSError as error:
            raise StoreError(f"{self.record_path} cannot be written: {error.strerror or error}") from error

    def ran(self, sha256: str) -> bool:
        """Whether a bundle of this SHA-256 ran here before its golden vector was found right."""
        try:
            read_own(self._path)  # somebody else's word is none
        except (OSError, BundleError):
            return False
        return any(key.startswith(f"{sha256} ") for key in self._read()["golden"])

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
