"""A bundle as a folder that the hub takes; and a network with Audacity's metadata as a bundle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sonyc_ml.authoring.hub_card import MARK, model_card
from sonyc_ml.authoring.make import make_bundle
from sonyc_ml.authoring.waveform import Recipe, make_waveform_bundle
from sonyc_ml.base.durable import write_atomically
from sonyc_ml.base.records import dataclass
from sonyc_ml.base.strict import build
from sonyc_ml.bundles.about import EFFECT_TYPES, MAX_LONG, MAX_SHORT, Metadata
from sonyc_ml.bundles.bundle import Bundle, read_bundle
from sonyc_ml.bundles.hub import REPOSITORY
from sonyc_ml.bundles.integrity import quoted, read_plain
from sonyc_ml.bundles.location import resolve_bundle_path
from sonyc_ml.bundles.manifest import Manifest, parse_manifest
from sonyc_ml.errors import BundleError, ConfigError, StoreError

ATTRIBUTES = "".join(f"*.{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in ("npz", "pkl", "tflite"))
CARD, METADATA, GIT = "README.md", "metadata.json", ".gitattributes"


@dataclass(frozen=True, slots=True)
class Published:
    """What :func:`publish` has written.

    Attributes
    ----------
    folder : Path
    files : tuple of str
        Their names.
    kept : tuple of str
        Files that a person has written, and that were left as they are.
    notes : tuple of str
        What was cut, or is not known.
    command : str
        What uploads the folder; empty without a name on the hub.
    """

    folder: Path
    files: tuple[str, ...]
    kept: tuple[str, ...]
    notes: tuple[str, ...]
    command: str


def publish(path: str | Path, folder: str | Path, hub_id: str = "") -> Published:
    """Write a bundle as a folder that the hub takes; nothing is uploaded. The same bundle gives the same bytes.

    Parameters
    ----------
    path : str or Path
        ``NAME.tflite``, with its manifest.
    folder : str or Path
        Is made where it is not there.
    hub_id : str
        ``OWNER/NAME`` on the hub.

    Raises
    ------
    BundleError
        The bundle cannot be read, or the folder has another one in it.
    ValueError
        `hub_id` is no such name.
    StoreError
        A file cannot be written.
    """
    if hub_id and not REPOSITORY.fullmatch(hub_id):
        raise ValueError(f"--hub-id takes OWNER/NAME, of letters, digits, '.', '_' and '-', not {hub_id!r}")
    bundle, target = read_bundle(resolve_bundle_path(path)), Path(folder)
    if bundle.manifest is None:
        raise BundleError(
            f"{bundle.path} has no manifest: make one with `sonyc-ml bundle make {quoted(bundle.path)}` first"
        )
    metadata, notes = audacity_metadata(bundle.manifest)
    files = _files_of(bundle) | {
        METADATA: _as_json(metadata),
        CARD: model_card(bundle, hub_id).encode(),
        GIT: ATTRIBUTES.encode(),
    }
    _refuse_another(target, bundle.path.name, files)
    kept = [name for name in (CARD,) if _is_of_a_person(target / name)]
    for name in sorted(files.keys() - set(kept), key=lambda name: (name == bundle.path.name, name)):
        write_atomically(target / name, files[name])
    command = f"hf upload {hub_id} {quoted(target)} ." if hub_id else ""
    return Published(target, tuple(sorted(files)), tuple(kept), tuple(notes), command)


def audacity_metadata(manifest: Manifest) -> tuple[dict[str, Any], list[str]]:
    """What ``metadata.json`` says of a bundle, in the keys that Audacity's model manager reads.

    Returns
    -------
    metadata : dict
    notes : list of str
        What was cut, or is not known.

    Raises
    ------
    BundleError
        The manifest's sample rate is beyond what that file can say.
    """
    said, notes = manifest.metadata or Metadata(), []
    try:
        dataclasses.replace(said, sample_rate=manifest.sample_rate)
    except ValueError as error:
        raise BundleError(f"{manifest.name}: metadata.{error}") from error
    texts = {}
    for key, largest in (("short_description", MAX_SHORT), ("long_description", MAX_LONG)):
        texts[key] = getattr(said, key) or _cut(manifest.description, largest)
        if not getattr(said, key) and texts[key].endswith("…"):
            notes.append(f"{METADATA}: {key} is the beginning of the description; metadata.{key} may say it better")
    effect_type, tracks = said.effect_type, manifest.waveform.tracks if manifest.waveform else ()
    if not effect_type and (tracks or manifest.labels or "scores" in manifest.outputs):
        effect_type = EFFECT_TYPES[1 if tracks else 0]
    missing = [key for key, value in (("domains", said.domains), ("effect_type", effect_type)) if not value]
    if missing:
        notes.append(f"{METADATA}: the manifest says nothing of {' and '.join(missing)} (metadata.{missing[0]})")
    found = {
        "sample_rate": manifest.sample_rate if said.sample_rate is None else said.sample_rate,
        "domains": list(said.domains),
        **texts,
        "tags": list(said.tags),
        "labels": list(said.labels or manifest.labels or tracks),
        "effect_type": effect_type,
        "multichannel": said.multichannel,
    }
    return {key: value for key, value in found.items() if value != ""}, notes


def save_model(
    network: bytes | str | Path,
    metadata: Mapping[str, Any] | Metadata,
    folder: str | Path,
    *,
    name: str = "",
    **parameters: Any,
) -> Path:
    """Make a bundle of a network and Audacity's metadata, with ``metadata.json`` beside it.

    Parameters
    ----------
    network : bytes, str or Path
        The content of a ``.tflite`` file, or where it is.
    metadata : mapping or Metadata
        See :class:`sonyc_ml.bundles.about.Metadata`. Its sample rate is that of the windows, its labels are those of
        the scores, or names of tracks; for ``waveform-to-labels`` the network's only output is the scores.
    folder : str or Path
        Is made where it is not there.
    name : str
        Of the bundle; where not given that of the network's file, or ``model``.
    **parameters
        Those of :func:`sonyc_ml.authoring.make.make_bundle`; for ``waveform-to-waveform`` those of
        :class:`sonyc_ml.authoring.waveform.Recipe`. They win.

    Returns
    -------
    Path
        Of the new ``NAME.tflite``.

    Raises
    ------
    ValueError
        The metadata are none; says which key.
    BundleError, StoreError
        The parts do not fit each other; a file cannot be written.
    """
    said = _checked(metadata)
    content = network if isinstance(network, bytes) else read_plain(Path(network))
    path = Path(folder) / f"{name or ('model' if isinstance(network, bytes) else Path(network).stem)}.tflite"
    _refuse_another(path.parent, path.name, {})
    manifest = _made(path, content, said, parameters)
    write_atomically(path.with_name(METADATA), _as_json(audacity_metadata(manifest)[0]))
    return path.with_name(f"{manifest.name}.tflite")


def _checked(metadata: Mapping[str, Any] | Metadata) -> Metadata:
    said = metadata if isinstance(metadata, Metadata) else build(Metadata, metadata, "metadata.")
    if said.effect_type == EFFECT_TYPES[1] and not (said.sample_rate and said.labels):
        raise ValueError(
            f"metadata.sample_rate and metadata.labels must say the rate and the tracks of {EFFECT_TYPES[1]}"
        )
    return said


def _made(path: Path, network: bytes, said: Metadata, parameters: Mapping[str, Any]) -> Manifest:
    was_there = path.exists()
    write_atomically(path, network)
    try:
        if said.effect_type == EFFECT_TYPES[1]:
            made = _make_tracks(path, said, parameters)
        else:
            made = make_bundle(path, **_defaults(said, path, parameters))
        return add_metadata(path.with_name(f"{made.name}.tflite"), said)
    except Exception:
        if not was_there:
            path.unlink(missing_ok=True)  # a network that is no bundle is nothing that anybody asked for
        raise


def _make_tracks(path: Path, said: Metadata, parameters: Mapping[str, Any]) -> Manifest:
    """Make the bundle of a network that turns sound into tracks: its labels are their names."""
    texts = {"description": said.long_description or said.short_description}
    texts |= {name: parameters[name] for name in ("version", "description", "licence") if name in parameters}
    recipe = {name: value for name, value in parameters.items() if name not in ("version", "description", "licence")}
    recipe = {"sample_rate": said.sample_rate or 0, "tracks": said.labels, **recipe}
    return make_waveform_bundle(path, Recipe(**recipe), **texts)


def _defaults(said: Metadata, path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """What metadata say of how a bundle is made, where nothing else does."""
    found: dict[str, Any] = {"labels": said.labels, "description": said.long_description or said.short_description}
    if said.effect_type == EFFECT_TYPES[0] and not given.get("head"):
        found["outputs"] = {"scores": 0}
    if said.sample_rate and not path.with_suffix(".pkl").exists():
        found["target_sr"] = said.sample_rate
    return {**found, **given}


def add_metadata(path: Path, metadata: Metadata) -> Manifest:
    """Write metadata into the manifest of a bundle that was made here; where it was signed, it is to be signed again.

    Raises
    ------
    BundleError
        There is no manifest.
    ValueError
        They contradict it.
    StoreError
        It cannot be written.
    """
    manifest_path = path.with_suffix(".json")
    before = parse_manifest(read_plain(manifest_path), str(manifest_path))
    manifest = dataclasses.replace(before, metadata=metadata)
    write_atomically(manifest_path, manifest.text().encode())
    return manifest


def read_metadata(path: str | Path) -> Metadata:
    """Metadata from a file such as Audacity's ``metadata.json``.

    Raises
    ------
    ConfigError
        It cannot be read, or says something else; says which key.
    """
    try:
        table = json.loads(Path(path).read_bytes())
        if not isinstance(table, dict):
            raise ValueError("it must hold a JSON object")
        return build(Metadata, table)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: {reason}") from error


def _files_of(bundle: Bundle) -> dict[str, bytes]:
    """The bundle's own files by their names, with its signature where it has one."""
    manifest_path = bundle.path.with_suffix(".json")
    files = bundle.files | {manifest_path.name: read_plain(manifest_path)}
    signature = manifest_path.with_name(f"{manifest_path.name}.sig")
    return files | ({signature.name: read_plain(signature)} if signature.exists() else {})


def _refuse_another(folder: Path, network: str, files: Mapping[str, bytes]) -> None:
    """Refuse a folder in which the bundle would not be the only one."""
    try:
        there = {entry.name for entry in folder.iterdir()} if folder.exists() else set[str]()
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror}") from error
    others = there - files.keys() - {network}
    described = sorted(name for name in others if name.endswith(".tflite") and f"{name[:-7]}.json" in others)
    if described:
        raise BundleError(f"{folder} has another bundle in it, {described[0]}: give a folder of its own")


def _is_of_a_person(path: Path) -> bool:
    return path.exists() and MARK.encode() not in read_plain(path)


def _cut(text: str, largest: int) -> str:
    """The beginning of a text in one line, to the last whole word, with an ellipsis where it is not all."""
    line = " ".join(text.split())
    return line if len(line) <= largest else line[: largest - 1].rsplit(" ", 1)[0] + "…"


def _as_json(table: Mapping[str, Any]) -> bytes:
    return (json.dumps(table, indent=2, ensure_ascii=False) + "\n").encode()
