"""The next rollout of a bundle, from the one before: made, signed, and put into the store behind the bundle's files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from sonyc_ml.base.human import iso
from sonyc_ml.base.records import dataclass
from sonyc_ml.bundles.bundle import read_bundle
from sonyc_ml.bundles.integrity import is_signed, quoted, read_plain, signature_of
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
from sonyc_ml.bundles.rollout.store import BundleStore
from sonyc_ml.errors import BundleError, BundleIntegrityError, ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What somebody wants of the next rollout; None where it stays as in the one before, or as it is by default.

    Attributes
    ----------
    nodes : sequence of str or None
    share : float or None
    not_before, not_after : str or None
    back, stop : bool
        `stop`: no node takes it, and those that have it go back.
    valid_s : float
        For how long nodes act on it (in seconds).
    sequence : int or None
        Its number, where the store's rollout cannot be read any more.
    """

    nodes: Sequence[str] | None = None
    share: float | None = None
    not_before: str | None = None
    not_after: str | None = None
    back: bool = False
    stop: bool = False
    valid_s: float = 30 * 86400.0
    sequence: int | None = None


def read_target(path: Path) -> tuple[str, Target, dict[str, bytes]]:
    """A signed bundle on the disk: its name, what a rollout says of it, and its files.

    Raises
    ------
    BundleError
    """
    bundle = read_bundle(path)
    if bundle.manifest is None:
        raise BundleError(f"{path} has no manifest, and only signed bundles are rolled out: sonyc-ml bundle make")
    if bundle.manifest.name != bundle.name:
        raise BundleError(f"{path} has a manifest that calls it {bundle.manifest.name}: name it so, or make it again")
    if bundle.manifest.golden is None:
        raise BundleError(f"{path} has no golden vector, which nodes check before they switch: sonyc-ml bundle make")
    manifest, signature = path.with_suffix(".json"), path.with_suffix(".json.sig")
    if not signature.exists():
        raise BundleIntegrityError(f"{manifest} is not signed: sonyc-ml bundle sign {quoted(path)} --key FILE")
    files = {**bundle.files, manifest.name: read_plain(manifest), signature.name: read_plain(signature)}
    if hashlib.sha256(files[manifest.name]).hexdigest() != bundle.sha256:
        raise BundleError(f"{manifest} was replaced while it was read: try again")
    sizes = {name: len(content) for name, content in files.items()}
    return bundle.name, Target(bundle.manifest.version, bundle.sha256, sizes), files


def read_rollout(store: BundleStore, keys: Path) -> Rollout | None:
    """The rollout in a store; None where there is none yet.

    Raises
    ------
    BundleIntegrityError
        None of the keys has signed it.
    BundleError, StoreError
        It cannot be read.
    """
    if not store.has(FILE_NAME):
        return None
    content = store.read(FILE_NAME, MAX_ROLLOUT_BYTES)
    if not is_signed(content, store.read(SIGNATURE_NAME, MAX_SIGNATURE_BYTES), keys, NAMESPACE):
        raise BundleIntegrityError(
            f"{store.source}/{FILE_NAME} is not signed by a key of {keys}; where it was damaged, give --sequence with "
            "a number above that of every rollout before"
        )
    return parse_rollout(content, f"{store.source}/{FILE_NAME}")


def next_rollout(name: str, target: Target | None, before: Rollout | None, wishes: Wishes, now_s: float) -> Rollout:
    """The rollout that follows another.

    Parameters
    ----------
    name : str
        Of the bundle.
    target : Target or None
        What is rolled out; that of the rollout before where not given.
    before : Rollout or None
        The one in the store.
    wishes : Wishes
    now_s : float
        In seconds since 1970.

    Raises
    ------
    ConfigError
        The wishes do not fit each other, or what is there.
    """
    target = target or (before.target if before else None)
    if target is None:
        raise ConfigError("there is no rollout in the store yet: name the bundle that is rolled out, NAME.tflite")
    back = wishes.back or wishes.stop
    _refuse_misfit(name, target, before, back=back)
    renewed = before if before is not None and before.target.manifest == target.manifest else None
    if renewed is not None and (wishes.nodes, wishes.share, wishes.not_before, wishes.not_after) == (None,) * 4:
        back = back or renewed.back  # nothing of it is changed
    try:
        return Rollout(
            schema_version=1,
            name=name,
            sequence=wishes.sequence or (before.sequence if before else 0) + 1,
            made=iso(now_s),
            expires=iso(now_s + wishes.valid_s),
            target=target,
            nodes=tuple(_kept(wishes.nodes, renewed.nodes if renewed else ())),
            share=0.0 if wishes.stop else _kept(wishes.share, renewed.share if renewed else 1.0),
            not_before=_kept(wishes.not_before, renewed.not_before if renewed else ""),
            not_after=_kept(wishes.not_after, renewed.not_after if renewed else ""),
            otherwise=_otherwise(target, before),
            back=back,
        )
    except ValueError as error:
        raise ConfigError(f"no rollout can be made of this: {error}") from error


def _refuse_misfit(name: str, target: Target, before: Rollout | None, *, back: bool) -> None:
    """Refuse what does not follow the rollout before, and what may be a mistake."""
    if before is None:
        return
    if before.name != name:
        raise ConfigError(
            f"the store has rollouts of {before.name}, not of {name}: each bundle has a folder of its own"
        )
    if target.version_numbers < before.target.version_numbers and not back:
        raise ConfigError(
            f"{target.version} is older than {before.target.version}, the version that is rolled out: give --back if "
            "nodes are to go back to it"
        )


def _kept(wish: T | None, before: T) -> T:
    return before if wish is None else wish


def _otherwise(target: Target, before: Rollout | None) -> Target | None:
    """What nodes run that are not chosen: what all of them ran before this version was rolled out."""
    if before is None:
        return None
    is_complete = before.share >= 1 and (not before.nodes or "*" in before.nodes)
    if before.target.manifest == target.manifest or not is_complete:
        return before.otherwise if before.otherwise != target else None
    return before.target


def publish(store: BundleStore, rollout: Rollout, key: Path, files: dict[str, bytes]) -> None:
    """Sign a rollout, and put it into the store when the files that it names are there.

    Raises
    ------
    BundleError
        It cannot be signed.
    StoreError
        The store does not take it.
    """
    content = rollout.text()
    if len(content) > MAX_ROLLOUT_BYTES:
        raise ConfigError(
            f"the rollout has {len(content):,} bytes, and nodes read {MAX_ROLLOUT_BYTES:,}: fewer --nodes"
        )
    signature = signature_of(content, key, FILE_NAME, NAMESPACE)
    for name, part in files.items():
        store.write(f"{rollout.target.folder}/{name}", part)
    store.write(SIGNATURE_NAME, signature)
    store.write(FILE_NAME, content)
