"""The versions of a bundle that a node keeps, and the link to the one that runs; each change is whole or none.

::

    bundles/NAME/
        current -> 3f9c…            what the daemon loads, replaced in one step
        3f9c…/NAME.tflite …         a version, by the SHA-256 of its manifest
        77ab…/NAME.tflite …         the one before, to go back to
        .incoming-…/                what a pull fetches just now, or left when it was killed
        rollout-state.json
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sonyc_ml.base.durable import flush_folder, write_atomically
from sonyc_ml.base.human import iso
from sonyc_ml.bundles.bundle import read_bundle
from sonyc_ml.bundles.location import CURRENT
from sonyc_ml.bundles.manifest import SHA256
from sonyc_ml.bundles.rollout.record import BACK, changed_record, read_record
from sonyc_ml.errors import BundleError, SonycMLError, StoreError

NEW_LINK = ".current"
INCOMING = ".incoming-"


class KeptVersions:
    """The versions of one bundle.

    Parameters
    ----------
    folder : Path
        Of the bundle: ``STATE/bundles/NAME``.
    name : str
        ``NAME`` of ``NAME.tflite``.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    @property
    def path(self) -> Path:
        """Where the network of the version that runs is, or would be."""
        return self.folder / CURRENT / f"{self.name}.tflite"

    @property
    def current(self) -> str:
        """SHA-256 of the manifest of the version that the link names; empty where there is none."""
        try:
            target = (self.folder / CURRENT).readlink().name
        except OSError:
            return ""
        return target if SHA256.fullmatch(target) else ""

    def network(self, manifest: str) -> Path:
        """The network of a version."""
        return self.folder / manifest / f"{self.name}.tflite"

    def before(self) -> str:
        """The version that was switched to before the one that runs, and is kept; empty where there is none."""
        order = list(read_record(self.folder).versions)
        behind = order[: order.index(self.current)] if self.current in order else []
        return next((one for one in reversed(behind) if self.network(one).exists()), "")

    def incoming(self) -> Path:
        """A new folder to fetch a version into."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            folder = self.folder / f"{INCOMING}{secrets.token_hex(8)}"
            folder.mkdir()
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be written: {error.strerror}") from error
        return folder

    def adopt(self, incoming: Path, manifest: str) -> None:
        """Give a folder with a whole version its name, by which it counts."""
        try:
            flush_folder(incoming)
            if not (self.folder / manifest).is_dir():
                incoming.rename(self.folder / manifest)
            flush_folder(self.folder)
        except OSError as error:
            raise StoreError(f"{self.folder / manifest} cannot be made: {error.strerror}") from error

    def keep(self, files: Mapping[str, bytes], manifest: str) -> None:
        """Keep a version of which the files are here, as that which the node began with."""
        if (self.folder / manifest).is_dir():
            return
        incoming = self.incoming()
        for name, content in files.items():
            write_atomically(incoming / name, content)
        self.adopt(incoming, manifest)

    def switch(self, manifest: str, version: str, now_s: float, *, on_trial: bool = True) -> None:
        """Have the link name a version; the record is written before, and says where one could go back to."""
        with changed_record(self.folder) as record:
            before = record.versions.pop(self.current, None)
            record.versions.pop(manifest, None)
            if before is not None:
                record.versions[self.current] = before
            record.versions[manifest] = version
            record.trial, record.n_starts = manifest if on_trial else "", 0
            record.switched = iso(now_s)
        self._link(manifest)

    def roll_back(self, why: str, now_s: float) -> str:
        """Go back to the version before, and do not try the one that runs again; returns which runs then.

        Raises
        ------
        BundleError
            There is none to go back to.
        """
        failed, before = self.current, self.before()
        if not before:
            raise BundleError(f"{self.folder} keeps no version to go back to")
        with changed_record(self.folder) as record:
            versions = record.versions
            text = f"{self.name} {versions[failed]} was rolled back to {versions[before]}, {why}"
            record.refuse(failed, f"it was rolled back, {why}")
            record.says(BACK, text)
            record.trial, record.n_starts, record.switched = "", 0, iso(now_s)
        self._link(before)
        with changed_record(self.folder) as record:
            record.versions.pop(failed, None)
        return before

    def _link(self, manifest: str) -> None:
        """There is no moment without a link."""
        temporary = self.folder / NEW_LINK
        try:
            with changed_record(self.folder):  # one at a time
                temporary.unlink(missing_ok=True)
                temporary.symlink_to(manifest)
                temporary.rename(self.folder / CURRENT)
                flush_folder(self.folder)
        except OSError as error:
            raise StoreError(f"{self.folder / CURRENT} cannot be written: {error.strerror}") from error

    def finish(self) -> None:
        """Go back where a process that went back was killed in the middle of it."""
        if self.current in read_record(self.folder).refused and (before := self.before()):
            self._link(before)

    def prune(self) -> None:
        """Remove all but the version that runs and the one before, and what killed processes have left."""
        kept = {self.current, self.before()}
        with changed_record(self.folder) as record:
            record.versions = {one: version for one, version in record.versions.items() if one in kept}
        for path in self.folder.iterdir():
            if path.name.startswith(INCOMING) or (SHA256.fullmatch(path.name) and path.name not in kept):
                shutil.rmtree(path, ignore_errors=True)

    def is_whole(self, manifest: str, trusted_keys: Path) -> bool:
        """Whether a version lies here, with a signature by a trusted key and all of its files."""
        try:
            bundle = read_bundle(self.network(manifest), trusted_keys=trusted_keys, accepted=(manifest,))
        except SonycMLError:
            return False
        return bundle.sha256 == manifest


def signed_files(path: Path, trusted_keys: Path) -> tuple[str, str, dict[str, bytes]]:
    """A signed bundle on the disk: its manifest's SHA-256, its version, and all its files with their names.

    Raises
    ------
    BundleError
    """
    digest = ""
    with suppress(OSError):
        digest = hashlib.sha256(path.with_suffix(".json").read_bytes()).hexdigest()
    bundle = read_bundle(path, trusted_keys=trusted_keys, accepted=(digest,))
    if bundle.manifest is None or bundle.sha256 != digest:
        raise BundleError(f"{path} was replaced while it was read")
    try:
        beside = {name: path.with_name(name).read_bytes() for name in (f"{path.stem}.json", f"{path.stem}.json.sig")}
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}") from error
    return digest, bundle.manifest.version, {**bundle.files, **beside}
