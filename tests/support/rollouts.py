"""Signed bundles of several versions, a store of them, and a node that pulls from it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from sonyc_ml.authoring import make as maker
from sonyc_ml.bundles.integrity import make_signature, signature_of
from sonyc_ml.bundles.location import pulled_path
from sonyc_ml.bundles.rollout.document import FILE_NAME, NAMESPACE, SIGNATURE_NAME, Rollout
from sonyc_ml.bundles.rollout.kept import KeptVersions
from sonyc_ml.bundles.rollout.record import RolloutRecord, read_record
from sonyc_ml.bundles.rollout.store import BundleStore
from sonyc_ml.bundles.rollout.writing import Wishes, next_rollout, publish, read_rollout, read_target
from sonyc_ml.node.rollout.pull import Pull
from tests.support import networks
from tests.support.journals import Clock

NOW_S = 1_800_000_000.0
DIMS = {"1.0.0": 5, "1.1.0": 6, "1.2.0": 7}


def make_version(folder: Path, version: str, key: Path, n_dims: int | None = None) -> Path:
    """A signed bundle ``tiny`` of a version, of which the embeddings have so many numbers."""
    path = folder / version / "tiny.tflite"
    path.parent.mkdir(parents=True)
    path.write_bytes(networks.dense((1, 64, 51, 1), n_dims or DIMS[version]))
    maker.make_bundle(path, input_kind="log_mel", version=version)
    make_signature(path.with_suffix(".json"), key)
    return path


def spoil_golden(path: Path, key: Path) -> Path:
    """Have a bundle promise other numbers than it computes, and sign it again: only the golden vector tells."""
    golden = path.with_suffix(".golden.npz")
    arrays = dict(np.load(golden))
    arrays["embedding"] = -arrays["embedding"] - 1
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    golden.write_bytes(content.getvalue())
    return change_manifest(path, key, lambda table: table["files"].update({golden.name: digest_of(golden)}))


def change_manifest(path: Path, key: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change what a manifest says, and sign it again."""
    manifest = path.with_suffix(".json")
    table = json.loads(manifest.read_text())
    change(table)
    manifest.write_text(json.dumps(table))
    make_signature(manifest, key)
    return path


def digest_of(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


class Fleet:
    """A store in a folder, who signs what is in it, and one node."""

    def __init__(self, folder: Path, keys: Path, versions: dict[str, Path], address: str = "") -> None:
        self.keys, self.versions, self.clock = keys, versions, Clock(NOW_S)
        self.folder, self.store_folder = folder, folder / "store" / "tiny"
        self.address = address or self.store_folder.as_uri()
        self.trusted = folder / "trusted_keys"
        shutil.copy(keys / "ours.pub", self.trusted)
        self.kept = KeptVersions(pulled_path(folder / "state", "tiny").parent.parent, "tiny")
        self.proved: list[Path] = []
        self.node = "pole_1"

    @property
    def store(self) -> BundleStore:
        return BundleStore(self.address)

    def roll_out(self, version: str | None = None, key: str = "ours", **wishes: Any) -> Rollout:
        """Sign the next rollout, and put it into the store."""
        name, target, files = read_target(self.versions[version]) if version else ("tiny", None, {})
        before = read_rollout(self.store, self.trusted)
        rollout = next_rollout(name, target, before, Wishes(**wishes), self.clock.now_s)
        publish(self.store, rollout, self.keys / key, files)
        return rollout

    def put(self, rollout: Rollout, key: str = "ours", namespace: str = NAMESPACE) -> None:
        """Put a rollout of the test's own making into the store."""
        content = rollout.text()
        self.store.write(FILE_NAME, content)
        self.store.write(SIGNATURE_NAME, signature_of(content, self.keys / key, FILE_NAME, namespace))

    def pull(
        self, prove: Callable[[Path], None] | None = None, sleep: Callable[[float], object] = lambda _seconds: None
    ) -> Pull:
        return Pull(
            self.kept,
            self.store,
            self.trusted,
            self.node,
            self.versions["1.0.0"],
            prove or self.proved.append,
            self.clock,
            sleep,
        )

    def look(self, *, again: bool = False) -> str:
        """Look at the store once; the word for how it came out."""
        self.pull().look(again=again)
        return self.record.word

    @property
    def record(self) -> RolloutRecord:
        return read_record(self.kept.folder)

    @property
    def running(self) -> str:
        """The version that the node runs; empty while that is the one that it began with."""
        return self.record.versions.get(self.kept.current, "")

    def folders(self) -> set[str]:
        """Versions that lie on the node's disk."""
        return {path.name for path in self.kept.folder.iterdir() if len(path.name) == 64}

    def part(self, version: str, name: str) -> Path:
        """A file of a version in the store's folder."""
        _, target, _ = read_target(self.versions[version])
        return self.store_folder / target.folder / name


def hours(n: float) -> float:
    return n * 3600
