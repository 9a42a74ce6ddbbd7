"""Bundles: made from a network, an extractor and some words; trusted; verified."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sonyc_ml.authoring.graph import cut_file
from sonyc_ml.authoring.proofs import check_repeats, golden_vector, verify
from sonyc_ml.base.durable import write_atomically
from sonyc_ml.base.records import dataclass
from sonyc_ml.bundles import golden
from sonyc_ml.bundles.bundle import Bundle, Description, read_description
from sonyc_ml.bundles.integrity import read_plain
from sonyc_ml.bundles.machine_state import MachineState
from sonyc_ml.bundles.manifest import Manifest, parse_manifest
from sonyc_ml.bundles.sections import Detections, Golden, Head, Input, Keep
from sonyc_ml.bundles.waveform import State
from sonyc_ml.errors import AssumedInputWarning, BundleError, OwnFunctionWarning, RawScoresWarning
from sonyc_ml.features import with_preset
from sonyc_ml.model import Model
from sonyc_ml.model.activation import lie_outside
from sonyc_ml.model.function_extractor import FunctionExtractor
from sonyc_ml.model.loading import doubt_of_row, make_model, recognised_kind
from sonyc_ml.model.log_mel import usual_res_type

__all__ = ["Trusted", "accept_files", "check_repeats", "make_bundle", "trust", "verify"]


def make_bundle(
    path: str | Path,
    *,
    version: str = "1.0.0",
    description: str = "",
    licence: str = "",
    input_kind: str | None = None,
    outputs: Mapping[str, int | str] | None = None,
    stages: tuple[str, ...] = (),
    head: str = "",
    head_embeddings: int | None = None,
    labels: tuple[str, ...] = (),
    constants: Mapping[str, Any] | None = None,
    state: Collection[tuple[int | str, int | str]] = (),
    activation: str = "",
    sensitivity: float | None = None,
    tolerances: Mapping[str, float] | None = None,
    detections: Mapping[str, Any] | None = None,
    keep: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> Manifest:
    """Write ``NAME.json`` and the golden vector beside ``NAME.tflite``. **This runs the extractor.**

    Parameters
    ----------
    path : str or Path
        ``NAME.tflite``; ``NAME.pkl`` and the head lie in the same folder.
    version, description, licence : str
        For the manifest.
    input_kind : {"pickled", "log_mel", "pcm"}, optional
        What the network reads. Where not given: ``pickled`` if there is a ``NAME.pkl``, else what is recognised by its
        input; see :func:`sonyc_ml.model.loading.recognised_kind`.
    outputs : mapping, optional
        Which output of the network is what; see :class:`~sonyc_ml.model.Model`. Where the embedding is a tensor inside
        the network, that is written anew as ``NAME-embedding.tflite``, and the bundle is made of that; see
        :func:`sonyc_ml.authoring.graph.cut_file`.
    stages : tuple of str
        File names of networks that follow the first in a chain: each reads the one output of the one before.
    head : str
        File name of the network that reads the embedding.
    head_embeddings : int, optional
        How many embeddings it reads, those of the windows before among them; one where not given.
    labels : tuple of str
        Of the scores.
    constants : mapping of str to value, optional
        What further inputs of the network hold, by name or number.
    state : collection of (int or str, int or str)
        Inputs of the network, each with the output that is fed back to it, by name or number; the windows then follow
        each other without a gap where no `hop_size` is given.
    activation : {"", "sigmoid", "softmax", "reconstruction_error", "none"}
        What makes scores of the network's numbers; the third is of an autoencoder, whose output is named as scores.
    sensitivity : float, optional
        Of a sigmoid; see :func:`sonyc_ml.model.activation.activated`.
    tolerances : mapping, optional
        ``features_db``, ``cosine``, ``scores``; see :class:`~sonyc_ml.bundles.manifest.Golden`. Where not given, wide
        enough for the runtime's two kinds of kernels.
    detections, keep : mapping, optional
        Which scores become detections, and what outputs keep of the numbers, by the names of
        :class:`~sonyc_ml.outputs.rules.DetectionRules` and :class:`~sonyc_ml.outputs.rules.Kept`.
    **parameters
        Of the extractor: those of ``LogMel`` or ``PCMWindows``.

    Returns
    -------
    Manifest

    Warns
    -----
    OwnFunctionWarning
        A function of your own gives other features where a recording is so long that it is embedded in blocks.
    AssumedInputWarning
        The network reads a row of numbers, which was taken for samples and does not look like them.
    RawScoresWarning
        Scores lie outside [0, 1], and no activation was given; the manifest says ``none`` then.

    Raises
    ------
    BundleError
        The parts do not fit each other.
    """
    path, outputs, rest = cut_file(_network_path(path), outputs or {})
    head = head or rest
    kind = input_kind or ("pickled" if path.with_suffix(".pkl").exists() else "")
    wiring = {"constants": constants, "feedback": state}
    kind = kind or recognised_kind(read_plain(path), str(path), parameters, **wiring)
    said: dict[str, Any] = {"version": version, "description": description, "licence": licence, "labels": labels}
    said |= {"outputs": outputs, "constants": dict(constants or {}), "sensitivity": sensitivity}
    said["state"] = tuple(State(source, target) for source, target in state)
    said["activation"] = activation or "none"  # until its scores are known
    said["detections"] = Detections(**detections) if detections else None
    said["keep"] = Keep(**keep) if keep else None
    said["stages"], said["head"] = stages, Head(head, head_embeddings) if head else None
    bundle, draft = _drafted(path, Input(kind, _written_out(kind, parameters)), said)
    model = make_model(bundle)
    draft = _with_layout(draft, model)
    bundle = dataclasses.replace(bundle, manifest=draft)
    if kind == "pcm" and not input_kind:
        _warn_of_row(model)
    check_repeats(model)
    _warn_of_blocks(model)
    draft = dataclasses.replace(draft, activation=activation or _unnamed_activation(model))
    manifest = _complete(draft, model, make_model(bundle, reference_kernels=True), tolerances or {})
    write_atomically(path.with_suffix(".json"), manifest.text().encode())
    _accept(bundle)
    return manifest


def _drafted(path: Path, read: Input, said: dict[str, Any]) -> tuple[Bundle, Manifest]:
    """The bundle's files with a manifest that says what its maker has said, and nothing yet of what they make."""
    extractors = [path.with_suffix(".pkl").name] if read.kind == "pickled" else []
    others = (*said["stages"], *([said["head"].network] if said["head"] else []))
    files = {name: read_plain(path.with_name(name)) for name in (path.name, *extractors, *others)}
    extractor = read_description(files.get(path.with_suffix(".pkl").name, b""))
    draft = Manifest(
        schema_version=1,
        name=path.stem,
        sample_rate=0,
        window_size_s=0,
        hop_size_s=0,
        input=read,
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        pickle=_versions(extractor) if extractor else {},
        **said,
    )
    bundle = Bundle(path.stem, path, draft, files, "")
    # It runs because its maker asks for it.
    return dataclasses.replace(bundle, accepted=frozenset(bundle.code)), draft


def _warn_of_row(model: Model) -> None:
    """Warn whoever called :func:`make_bundle` of a row of numbers that was taken for samples."""
    doubt = doubt_of_row(model.interpreter.input)
    if doubt:
        text = f"{model.bundle.path}: its input, {model.interpreter.input}, was taken for samples{doubt}"
        warnings.warn(text, AssumedInputWarning, stacklevel=3)


def _written_out(kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with those of their preset, and the resampler that a new bundle has where nothing says it.

    What the manifest says outlives this release's presets and defaults. SONYC's own features mean kaiser_best anyway.
    """
    if kind == "pickled":
        return dict(parameters)
    res_type = usual_res_type(kind, parameters)
    is_plain = kind == "log_mel" and res_type == "kaiser_best" and "preset" not in parameters
    written_out = {**parameters, **with_preset(parameters), **({} if is_plain else {"res_type": res_type})}
    return {name: value for name, value in written_out.items() if name != "layout" or name in parameters}


def _with_layout(draft: Manifest, model: Model) -> Manifest:
    """Write the layout down that the network's shape has decided, and that of a preset."""
    of_preset = {"layout": model.extractor.spectrum.layout} if "preset" in draft.input.parameters else {}  # type: ignore[attr-defined]
    found = {**of_preset, **model.found}
    if not found:
        return draft
    return dataclasses.replace(draft, input=Input(draft.input.kind, {**draft.input.parameters, **found}))


def _warn_of_blocks(model: Model) -> None:
    """Warn whoever called :func:`make_bundle` of a function that gives other features where a recording is long."""
    if isinstance(model.extractor, FunctionExtractor):
        sentence = model.extractor.difference_in_blocks()
        if sentence:
            warnings.warn(sentence, OwnFunctionWarning, stacklevel=3)


def _unnamed_activation(model: Model) -> str:
    """What the manifest says where nobody has named an activation; of scores that are raw it warns."""
    scores = model.get_outputs(golden.golden_signal(), golden.SAMPLE_RATE).get("scores")
    if scores is None or not lie_outside(scores):
        return ""
    warnings.warn(
        f"{model.bundle.path}: the scores of the golden signal reach from {scores.min():.3g} to {scores.max():.3g}, "
        "outside [0, 1]; they are kept as they are (activation none). If they are logits, make the bundle again with "
        "--activation sigmoid (classes heard side by side) or --activation softmax (one class at a time)",
        RawScoresWarning,
        stacklevel=3,
    )
    return "none"


def _complete(draft: Manifest, model: Model, reference: Model, tolerances: Mapping[str, float]) -> Manifest:
    """Fill in what only the model knows, and write the golden vector, with the outputs of either kind of kernels."""
    manifest, vector = complete_manifest(draft, model, reference, tolerances)
    write_atomically(model.bundle.path.with_suffix(".golden.npz"), vector)
    return manifest


def complete_manifest(
    draft: Manifest, model: Model, reference: Model, tolerances: Mapping[str, float]
) -> tuple[Manifest, bytes]:
    """A manifest with what only the model knows, and the golden vector that it names; `reference` has other kernels."""
    golden_path = model.bundle.path.with_suffix(".golden.npz")
    vector, wider = golden_vector(model, reference)
    manifest = dataclasses.replace(
        draft,
        sample_rate=model.extractor.sample_rate,
        window_size_s=model.extractor.window_size_s,
        hop_size_s=model.extractor.hop_size_s,
        outputs=dict(model.outputs),
        files=draft.files | {golden_path.name: hashlib.sha256(vector).hexdigest()},
        golden=Golden(golden_path.name, **{**wider, **tolerances}),
    )
    return manifest, vector


@dataclass(frozen=True, slots=True)
class Trusted:
    """What :func:`accept_files` did.

    Attributes
    ----------
    manifest : Manifest
        With the digests of the files as they are.
    was_written : bool
        Whether its file was; it is left alone where the digests were right.
    code : tuple of str
        What may run now: a pickle, a class.
    record : Path
        Where that is written down.
    """

    manifest: Manifest
    was_written: bool
    code: tuple[str, ...]
    record: Path


def trust(path: str | Path) -> Manifest:
    """Accept the files of a bundle as :func:`accept_files` does; return its manifest."""
    return accept_files(path).manifest


def accept_files(path: str | Path) -> Trusted:
    """Accept the files of a bundle as they are now; nothing is run where there is a manifest.

    Their digests are written to the manifest, which is made if need be, and the code among them may run on this
    machine from now on.

    Raises
    ------
    BundleError
        A file is not there, or the parts do not fit each other.
    StoreError
        A file cannot be written.
    """
    path = _network_path(path)
    manifest_path = path.with_suffix(".json")
    if not manifest_path.exists():
        made = make_bundle(path, version="0.0.0", description="Trusted as it was found.")
        contents = {name: read_plain(path.with_name(name)) for name in made.files}
        return Trusted(made, True, *_accept(Bundle(path.stem, path, made, contents, "")))
    content = read_plain(manifest_path)
    before = parse_manifest(content, str(manifest_path))
    names = set(before.files) | {path.name}
    if before.input.kind == "pickled":
        names.add(path.with_suffix(".pkl").name)
    contents = {name: read_plain(path.with_name(name)) for name in sorted(names)}
    files = {name: hashlib.sha256(held).hexdigest() for name, held in contents.items()}
    manifest = before if files == before.files else dataclasses.replace(before, files=files)
    if manifest is not before:
        content = manifest.text().encode()
        write_atomically(manifest_path, content)
    bundle = Bundle(path.stem, path, manifest, contents, hashlib.sha256(content).hexdigest())
    return Trusted(manifest, manifest is not before, *_accept(bundle))


def _accept(bundle: Bundle) -> tuple[tuple[str, ...], Path]:
    """Write down that the code of a bundle may run; return what it is, and where that is written."""
    state = MachineState()
    for digest, what in bundle.code.items():
        state.accept(digest, what)
    return tuple(bundle.code.values()), state.record_path


def _versions(extractor: Description) -> dict[str, str]:
    return {"python": extractor.python, "dill": extractor.dill, "numpy": extractor.numpy}


def _network_path(path: str | Path) -> Path:
    if Path(path).suffix != ".tflite":
        raise BundleError(f"{path}: a bundle is named by its network, NAME.tflite")
    return Path(path)
