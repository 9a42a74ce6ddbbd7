"""One look at a store: read what is signed there, fetch what this node is to run, prove it, switch to it.

Whoever holds the store cannot have a node run anything, nor keep it from telling that it hears nothing new:

- what is not signed by a trusted key is refused (arbitrary software), and so is a manifest that stands for a rollout;
- a rollout with a smaller number than one before is refused (rollback), and so is another one of the same number;
- one that has expired is not acted on, by the later of the clock and the last rollout's own time (freeze);
- the rollout holds the digest of the manifest, and that holds those of the files (mix and match);
- sizes are signed, and nothing is read beyond them (endless data);
- name of the bundle and names of the nodes are signed (wrong node).
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from sonyc_ml.base.human import iso, seconds_of, size
from sonyc_ml.bundles.integrity import check_signature, is_signed
from sonyc_ml.bundles.manifest import parse_manifest, version_numbers
from sonyc_ml.bundles.rollout.document import (
    FILE_NAME,
    MAX_ROLLOUT_BYTES,
    MAX_SIGNATURE_BYTES,
    NAMESPACE,
    SIGNATURE_NAME,
    Rollout,
    Target,
    parse_rollout,
)
from sonyc_ml.bundles.rollout.kept import KeptVersions, signed_files
from sonyc_ml.bundles.rollout.record import (
    EXPIRED,
    FAILED,
    OFFERED,
    REFUSED,
    RUNS,
    WAITING,
    RolloutRecord,
    changed_record,
    read_record,
)
from sonyc_ml.bundles.rollout.store import BundleStore
from sonyc_ml.errors import BundleError, BundleIntegrityError, StoreError

logger = logging.getLogger(__name__)

AGAIN_S = 5.0  # the file and its signature are two: who reads between their two changes reads again
NO_VERSION = "0.0.0"
SPARE_BYTES = 50 << 20  # of the disk, that a bundle leaves free


class Pull:
    """Looks at the store of one bundle.

    Parameters
    ----------
    kept : KeptVersions
    store : BundleStore
    trusted_keys : Path
    node : str
        This node's name.
    first : Path
        ``NAME.tflite`` that the node begins with, before anything was pulled.
    prove : callable
        Loads a network as the daemon would, in another process; raises a BundleError where it cannot be used.
    clock, sleep : callable
        Of seconds since 1970.
    """

    def __init__(
        self,
        kept: KeptVersions,
        store: BundleStore,
        trusted_keys: Path,
        node: str,
        first: Path,
        prove: Callable[[Path], None],
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._kept, self._store, self._keys, self._node = kept, store, trusted_keys, node
        self._first, self._prove, self._clock, self._sleep = first, prove, clock, sleep

    def look(self, *, again: bool = False) -> bool:
        """Look at the store once; True where the link names another version than before.

        What is wrong is taken down in the record, and what runs, runs on.

        Parameters
        ----------
        again : bool
            Whether what was refused before is tried again.

        Raises
        ------
        StoreError
            The node's own disk does not do as it should.
        """
        self._kept.finish()
        with changed_record(self._kept.folder) as record:
            record.looked = iso(self._clock())
            if again:
                record.refused = {}
        try:
            return self._act_on(self._rollout())
        except StoreError as error:
            self._says(FAILED, str(error))
        except BundleError as error:
            self._says(REFUSED, str(error))
        finally:
            self._kept.prune()
        return False

    def _says(self, word: str, detail: str) -> None:
        with changed_record(self._kept.folder) as record:
            record.says(word, detail)

    # The rollout

    def _rollout(self) -> Rollout:
        """The rollout in the store, where a trusted key signed it, and where it is newer than what was seen."""
        for is_last in (False, True):
            content = self._store.read(FILE_NAME, MAX_ROLLOUT_BYTES)
            signature = self._store.read(SIGNATURE_NAME, MAX_SIGNATURE_BYTES)
            if is_signed(content, signature, self._keys, NAMESPACE):
                break
            if is_last:
                raise BundleIntegrityError(
                    f"{self._store.source}/{FILE_NAME} is not signed by a key of {self._keys}: nothing of it is used"
                )
            self._sleep(AGAIN_S)
        rollout = parse_rollout(content, f"{self._store.source}/{FILE_NAME}")
        if rollout.name != self._kept.name:
            raise BundleIntegrityError(
                f"{self._store.source}/{FILE_NAME} rolls out {rollout.name}, and this node runs {self._kept.name}"
            )
        with changed_record(self._kept.folder) as record:
            _take_down(record, rollout, hashlib.sha256(content).hexdigest(), iso(self._clock()))
        return rollout

    def _act_on(self, rollout: Rollout) -> bool:
        now_s = max(self._clock(), seconds_of(rollout.made))
        if now_s >= seconds_of(rollout.expires):
            self._says(
                EXPIRED,
                f"rollout {rollout.sequence} of {rollout.name} holds until {rollout.expires}, and it is {iso(now_s)} "
                "by this node's clock: set the clock, or renew it with `sonyc-ml bundle rollout`",
            )
            return False
        current, record = self._kept.current, read_record(self._kept.folder)
        is_chosen = rollout.chooses(self._node)
        if rollout.back and not is_chosen and rollout.otherwise is None and current == rollout.target.manifest:
            return self._go_back(rollout, record)
        target = rollout.target if is_chosen else _instead(rollout, record)
        if target is None or target.manifest == current:
            self._runs(rollout, current, record)
            return False
        if why := record.refused.get(target.manifest, ""):
            self._says(REFUSED, f"{rollout.name} {target.version} is not tried again: {why}")
            return False
        if _newest(record) > target.version_numbers and not rollout.back:
            raise BundleIntegrityError(
                f"{rollout.name} {target.version} is older than {record.newest}, which was accepted here, and rollout "
                f"{rollout.sequence} does not say that nodes go back"
            )
        if target is rollout.target and (why := rollout.waits(now_s)):
            self._says(WAITING, f"{rollout.name} {target.version} is offered, and {why}")
            return False
        self._take(rollout.name, target, current)
        return True

    def _go_back(self, rollout: Rollout, record: RolloutRecord) -> bool:
        """Leave a version that was stopped, for the one before."""
        before = self._kept.before()
        if not before:
            raise BundleError(f"rollout {rollout.sequence} stops {rollout.target.version}, and there is none before it")
        self._kept.switch(before, record.versions[before], self._clock(), on_trial=False)
        self._says(RUNS, f"went back to {rollout.name} {record.versions[before]}, by rollout {rollout.sequence}")
        return True

    def _runs(self, rollout: Rollout, current: str, record: RolloutRecord) -> None:
        what = f"{rollout.name} {record.versions.get(current, '')}".strip() if current else "what it began with"
        self._says(RUNS, f"runs {what}, by rollout {rollout.sequence}")

    # The bundle

    def _take(self, name: str, target: Target, current: str) -> None:
        """Fetch a version where it is not here, prove it, and switch to it."""
        self._says(OFFERED, f"{name} {target.version} is offered")
        if not self._kept.is_whole(target.manifest, self._keys):
            self._fetch(target)
        try:
            if not self._kept.is_whole(target.manifest, self._keys):
                raise BundleIntegrityError(f"{self._kept.network(target.manifest)} is not what was signed")
            self._prove(self._kept.network(target.manifest))
        except BundleError as error:
            with changed_record(self._kept.folder) as record:
                record.refuse(target.manifest, str(error))
            raise
        if not current:
            self._keep_first()
        with changed_record(self._kept.folder) as record:
            record.newest = max(record.newest or NO_VERSION, target.version, key=version_numbers)
        self._kept.switch(target.manifest, target.version, self._clock())
        self._says(RUNS, f"switched to {name} {target.version}")

    def _keep_first(self) -> None:
        """Keep what the node has run so far, to go back to; it is signed, as all that runs here."""
        try:
            manifest, version, files = signed_files(self._first, self._keys)
        except BundleError as error:
            logger.warning("there is nothing to go back to before the first bundle that is pulled: %s", error)
            return
        self._kept.keep(files, manifest)
        self._kept.switch(manifest, version, self._clock(), on_trial=False)

    def _fetch(self, target: Target) -> None:
        """Fetch a version into a folder of its own, which gets its name when all of it is there and right."""
        name, folder = self._kept.name, self._kept.incoming()
        free = shutil.disk_usage(folder).free
        if target.n_bytes + SPARE_BYTES > free:
            raise StoreError(f"{folder.parent} has {size(free)} free, and the bundle has {size(target.n_bytes)}")
        manifest_path = folder / f"{name}.json"
        for part, digest in ((manifest_path.name, target.manifest), (f"{manifest_path.name}.sig", None)):
            self._store.fetch(f"{target.folder}/{part}", folder / part, target.sizes[part], digest)
        content = manifest_path.read_bytes()
        check_signature(content, manifest_path, self._keys)
        manifest = parse_manifest(content, f"{self._store.source}/{target.folder}/{manifest_path.name}")
        if (manifest.name, manifest.version) != (name, target.version):
            raise BundleIntegrityError(
                f"{self._store.source}/{target.folder} holds {manifest.name} {manifest.version}, not {name} "
                f"{target.version}, as the rollout says"
            )
        for part, digest in manifest.files.items():
            if part not in target.sizes:
                raise BundleIntegrityError(f"the rollout of {name} {target.version} does not say how large {part} is")
            self._store.fetch(f"{target.folder}/{part}", folder / part, target.sizes[part], digest)
        self._kept.adopt(folder, target.manifest)


def _instead(rollout: Rollout, record: RolloutRecord) -> Target | None:
    """What a node runs that is not chosen; None where it stays as it is."""
    otherwise = rollout.otherwise
    is_older = otherwise is not None and _newest(record) > otherwise.version_numbers
    return None if is_older and not rollout.back else otherwise


def _newest(record: RolloutRecord) -> tuple[int, ...]:
    return version_numbers(record.newest or NO_VERSION)


def _take_down(record: RolloutRecord, rollout: Rollout, digest: str, now: str) -> None:
    """Remember a rollout, before anything is done by it.

    Raises
    ------
    BundleIntegrityError
        A newer one was seen before, or another one of this number.
    """
    if rollout.sequence < record.sequence:
        raise BundleIntegrityError(
            f"the store offers rollout {rollout.sequence} of {rollout.name}, and {record.sequence} was seen before: an "
            "old one that was signed once does not count again"
        )
    if rollout.sequence == record.sequence and digest != record.digest:
        raise BundleIntegrityError(
            f"there are two different rollouts of {rollout.name} with the number {rollout.sequence}: sign a new one"
        )
    record.sequence, record.digest, record.valid = rollout.sequence, digest, now
    record.made, record.expires = rollout.made, rollout.expires
