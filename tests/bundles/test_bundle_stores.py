"""A store of bundles, of which nothing is trusted; and what of a bundle can be put into one."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from sonyc_ml.authoring import make as maker
from sonyc_ml.bundles.rollout.document import MAX_ROLLOUT_BYTES, Target
from sonyc_ml.bundles.rollout.store import BundleStore, check_source
from sonyc_ml.bundles.rollout.writing import Wishes, next_rollout, publish, read_rollout, read_target
from sonyc_ml.errors import BundleError, BundleIntegrityError, ConfigError, StoreError
from tests.support import networks

pytest.importorskip("fsspec", reason="stores are an extra")

CONTENT = bytes(range(256)) * 2000  # more than is read at once


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Of a store in a folder."""
    (tmp_path / "store" / "1.0.0-abc").mkdir(parents=True)
    (tmp_path / "store" / "1.0.0-abc" / "tiny.tflite").write_bytes(CONTENT)
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> BundleStore:
    return BundleStore(f"{root.as_uri()}/")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_addresses() -> None:
    """A path is none, and one with a password is refused without showing it."""
    check_source("s3://bucket/bundles/tiny")
    check_source("sftp://user@host/bundles/tiny")
    with pytest.raises(ValueError, match=r"source must be an address such as s3://.*, not '/mnt/bundles'"):
        check_source("/mnt/bundles")
    with pytest.raises(ValueError, match="source holds a password: give it in the environment") as caught:
        check_source("sftp://user:hunter2@host/bundles")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"gopher://host/a cannot be reached: .*gopher"):
        BundleStore("gopher://host/a")


def test_what_is_there(store: BundleStore, root: Path) -> None:
    """Files and folders by their names; what is written is there, in folders that are made for it."""
    assert store.folders() == ["1.0.0-abc"]
    assert not store.has("rollout.json")
    store.write("a/b/rollout.json", b"{}")
    assert (root / "a" / "b" / "rollout.json").read_bytes() == b"{}"
    assert store.has("a/b/rollout.json")
    assert store.read("a/b/rollout.json", 2) == b"{}"


def test_a_file_that_is_larger_than_it_may_be_is_not_read(store: BundleStore, tmp_path: Path) -> None:
    """However large it is."""
    name = "1.0.0-abc/tiny.tflite"
    with pytest.raises(BundleIntegrityError, match=f"has more than {len(CONTENT) - 1:,} bytes, and was not read"):
        store.read(name, len(CONTENT) - 1)
    with pytest.raises(BundleIntegrityError, match="was not read"):
        store.fetch(name, tmp_path / "a", 10, None)
    assert not (tmp_path / "a").exists()


def test_only_the_file_that_was_signed_comes_to_lie_on_the_disk(store: BundleStore, tmp_path: Path) -> None:
    """Neither a shorter one nor another of its length."""
    name, path = "1.0.0-abc/tiny.tflite", tmp_path / "tiny.tflite"
    with pytest.raises(BundleIntegrityError, match=f"has fewer than the {len(CONTENT) + 1:,} bytes that were signed"):
        store.fetch(name, path, len(CONTENT) + 1, None)
    with pytest.raises(
        BundleIntegrityError, match=f"is not the file that was signed: its SHA-256 is {digest(CONTENT)[:12]}"
    ):
        store.fetch(name, path, len(CONTENT), "0" * 64)
    assert list(tmp_path.iterdir()) == [tmp_path / "store"]
    store.fetch(name, path, len(CONTENT), digest(CONTENT))
    assert path.read_bytes() == CONTENT


def test_a_store_that_is_away_is_told_in_one_sentence(store: BundleStore, root: Path) -> None:
    """Reading, listing and writing; it is tried again later."""
    shutil.rmtree(root)
    with pytest.raises(StoreError, match=r"/store/rollout\.json cannot be read: it is not there$"):
        store.read("rollout.json", 10)
    with pytest.raises(StoreError, match=r"/store/ cannot be read: it is not there$"):
        store.folders()
    root.write_bytes(b"a file where the folder was")
    with pytest.raises(StoreError, match=r"/store/a/rollout\.json cannot be written: "):
        store.write("a/rollout.json", b"")


def test_a_store_without_a_rollout(store: BundleStore, tmp_path: Path) -> None:
    """It has none yet, which is no error."""
    assert read_rollout(store, tmp_path / "keys") is None


def test_only_signed_bundles_with_a_golden_vector_are_rolled_out(tmp_path: Path) -> None:
    """Each with the command that helps."""
    path = tmp_path / "tiny.tflite"
    path.write_bytes(networks.dense((1, 64, 51, 1), 5))
    with pytest.raises(
        BundleError, match="has no manifest, and only signed bundles are rolled out: sonyc-ml bundle make"
    ):
        read_target(path)
    maker.make_bundle(path, input_kind="log_mel", version="1.0.0")
    with pytest.raises(
        BundleIntegrityError, match=r"tiny\.json is not signed: sonyc-ml bundle sign .*tiny\.tflite --key"
    ):
        read_target(path)
    path.with_suffix(".json.sig").write_bytes(b"a signature")
    name, target, files = read_target(path)
    assert (name, target.version, target.manifest) == ("tiny", "1.0.0", digest(files["tiny.json"]))
    assert files["tiny.json.sig"] == b"a signature"
    assert target.sizes == {name: len(content) for name, content in files.items()}
    for one in tmp_path.glob("tiny*"):
        one.rename(one.with_name(one.name.replace("tiny", "other")))
    with pytest.raises(BundleError):
        read_target(tmp_path / "other.tflite")


def test_a_rollout_that_no_node_would_read_is_not_signed(store: BundleStore, tmp_path: Path) -> None:
    """Nothing comes into the store."""
    target = Target("1.0.0", "a" * 64, {"tiny.json": 1, "tiny.json.sig": 1, "tiny.tflite": 1})
    names = [f"node-{number:06}" for number in range(MAX_ROLLOUT_BYTES // 10)]
    rollout = next_rollout("tiny", target, None, Wishes(nodes=names), 0.0)
    with pytest.raises(ConfigError, match=f"and nodes read {MAX_ROLLOUT_BYTES:,}: fewer --nodes"):
        publish(store, rollout, tmp_path / "key", {"tiny.tflite": b""})
    assert store.folders() == ["1.0.0-abc"]
