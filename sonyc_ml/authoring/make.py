"""Bundles: made from a network, an extractor and some words; trusted; verified."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sonyc_ml.base.durable import write_atomically
from sonyc_ml.bundles import golden
from sonyc_ml.bundles.bundle import Bundle, Description, read_bundle, read_description
from sonyc_ml.bundles.integrity import read_plain
from sonyc_ml.bundles.machine_state import MachineState
from sonyc_ml.bundles.manifest import Manifest, parse_manifest
from sonyc_ml.bundles.sections import LARGEST_TOLERANCE, Detections, Golden, Head, Input, Keep
from sonyc_ml.errors import BundleError, BundleMismatchError, OwnFunctionWarning
from sonyc_ml.features import with_preset
from sonyc_ml.model import Model
from sonyc_ml.model.function_extractor import FunctionExtractor
from sonyc_ml.model.loading import check_golden, make_described, make_model, recognised_kind
from sonyc_ml.model.log_mel import usual_res_type
from sonyc_ml.model.waveform import WaveformModel
from sonyc_ml.model.waveform.loading import check_golden_tracks

USUAL_FEATURES = 5e-3  # the tolerance of features where nothing else is said


def make_bundle(
    path: str | Path,
    *,
    version: str = "1.0.0",
    description: str = "",
    licence: str = "",
    input_kind: str | None = None,
    outputs: Mapping[str, int | str] | None = None,
    head: str = "",
    labels: tuple[str, ...] = (),
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
        Which output of the network is what; see :class:`~sonyc_ml.model.Model`.
    head : str
        File name of the network that reads the embedding.
    labels : tuple of str
        Of the scores.
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

    Raises
    ------
    BundleError
        The parts do not fit each other.
    """
    path = _network_path(path)
    kind = input_kind or ("pickled" if path.with_suffix(".pkl").exists() else "")
    kind = kind or recognised_kind(read_plain(path), str(path), parameters)
    names = [path.name, *([path.with_suffix(".pkl").name] if kind == "pickled" else []), *([head] if head else [])]
    files = {name: read_plain(path.with_name(name)) for name in names}
    extractor = read_description(files.get(path.with_suffix(".pkl").name, b""))
    draft = Manifest(
        schema_version=1,
        name=path.stem,
        version=version,
        description=description,
        licence=licence,
        sample_rate=0,
        window_size_s=0,
        hop_size_s=0,
        input=Input(kind, _written_out(kind, parameters)),
        outputs=dict(outputs or {}),
        labels=labels,
        head=Head(head) if head else None,
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        pickle=_versions(extractor) if extractor else {},
        detections=Detections(**detections) if detections else None,
        keep=Keep(**keep) if keep else None,
    )
    bundle = Bundle(path.stem, path, draft, files, "")
    bundle = dataclasses.replace(bundle, accepted=frozenset(bundle.code))  # it runs because its maker asks for it
    model = make_model(bundle)
    draft = _with_layout(draft, model)
    bundle = dataclasses.replace(bundle, manifest=draft)
    check_repeats(model)
    _warn_of_blocks(model)
    manifest = _complete(draft, model, make_model(bundle, reference_kernels=True), tolerances or {})
    write_atomically(path.with_suffix(".json"), manifest.text().encode())
    _accept(bundle)
    return manifest


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
    vector, wider = _golden_vector(model, reference)
    wider |= _tolerance_of_features(model)
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


def verify(
    path: str | Path, trusted_keys: str | Path | None = None, trust_owners: Collection[str] = ()
) -> tuple[Bundle, dict[str, float]]:
    """Check everything about a bundle: owners, modes, digests, the signature where keys are given, the golden vector.

    Returns
    -------
    bundle : Bundle
    differences : dict of str to float
        How far off the golden vector is on this machine; see :func:`sonyc_ml.bundles.golden.compare`.

    Raises
    ------
    BundleError
        What is wrong.
    """
    bundle = read_bundle(path, trusted_keys=trusted_keys, trust_owners=trust_owners)
    if bundle.manifest is None:
        raise BundleError(f"{bundle.path} has no manifest: make one with `sonyc-ml bundle make`")
    if bundle.manifest.waveform is not None:
        return bundle, check_golden_tracks(WaveformModel(bundle))
    model = make_described(bundle)
    check_repeats(model)
    return bundle, check_golden(model)


def check_repeats(model: Model) -> None:
    """Compute the golden signal twice: the same sound must give the same numbers, whatever was heard before it.

    Raises
    ------
    BundleMismatchError
        It does not.
    """
    y, sr = golden.golden_signal(), golden.SAMPLE_RATE
    first, second = (model.get_outputs(y, sr) for _ in range(2))
    for kind, rows in first.items():
        if not np.array_equal(rows, second[kind], equal_nan=True):
            raise BundleMismatchError(
                f"{model.bundle.path}: the same sound gives another {kind} the second time, so its numbers depend "
                "on what was heard before; a network or extractor that keeps something from one window for the next "
                "cannot be used as a bundle"
            )


def _without_times(outputs: dict[str, Any]) -> dict[str, Any]:
    """What the network says; when its windows begin follows from the manifest."""
    return {name: rows for name, rows in outputs.items() if name != "timestamps"}


def _golden_vector(model: Model, reference: Model) -> tuple[bytes, dict[str, float]]:
    """The golden vector and the tolerances that it needs; with outputs of both kinds of kernels if they differ."""
    y, sr = golden.golden_signal(), golden.SAMPLE_RATE
    outputs, others = (_without_times(one.get_outputs(y, sr)) for one in (model, reference))
    wider = golden.default_tolerances(outputs, others)
    vector = golden.pack(y, sr, model.get_features(y, sr), outputs, others if wider else None)
    return vector, wider


def _tolerance_of_features(model: Model) -> dict[str, float]:
    """The tolerance that features of other families need where the last bit of a sample makes more than is usual.

    Processors add in another order, and resampled samples differ by it. Where features are rounded, or are bands far
    below the loudest, that is more than log-mel features of SONYC's kind show.
    """
    if not getattr(getattr(model.extractor, "spectrum", None), "changed", None):
        return {}
    y, sr = golden.golden_signal(), golden.SAMPLE_RATE
    nudged = (y * (1 + np.random.default_rng(0).normal(0, 1e-7, len(y)))).astype(np.float32)
    needed = 10 * float(np.abs(model.get_features(y, sr) - model.get_features(nudged, sr)).max())
    return {"features_db": min(LARGEST_TOLERANCE["features_db"], needed)} if needed > USUAL_FEATURES else {}


def _versions(extractor: Description) -> dict[str, str]:
    return {"python": extractor.python, "dill": extractor.dill, "numpy": extractor.numpy}


def _network_path(path: str | Path) -> Path:
    if Path(path).suffix != ".tflite":
        raise BundleError(f"{path}: a bundle is named by its network, NAME.tflite")
    return Path(path)
