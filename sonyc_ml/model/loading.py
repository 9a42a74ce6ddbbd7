"""A bundle's files to the model that they make: read, checked, built, and proved by the golden vector."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import math
from collections.abc import Collection, Mapping
from contextlib import suppress
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sonyc_ml.base.process import keep_freed_memory
from sonyc_ml.base.strict import build
from sonyc_ml.bundles.bundle import Bundle, read_bundle
from sonyc_ml.bundles.golden import GOLDEN_CHOICES, compare, unpack
from sonyc_ml.bundles.location import default_bundle, resolve_bundle_path
from sonyc_ml.bundles.machine_state import MachineState
from sonyc_ml.bundles.manifest import Manifest
from sonyc_ml.bundles.sections import INPUT_KINDS
from sonyc_ml.errors import BundleError, BundleMismatchError, RecordingError, StoreError
from sonyc_ml.features import LogMel, PCMWindows
from sonyc_ml.model import AudioModel, Model, PCMModel, SpecModel
from sonyc_ml.model.extractor import Extractor, without_channels
from sonyc_ml.model.interpreter import Interpreter, Tensor
from sonyc_ml.model.versions import python_and_processor, resampler
from sonyc_ml.outputs.cache import OutputCache, make_cache

if TYPE_CHECKING:
    from sonyc_ml.sound.levels.settings import LevelSettings

logger = logging.getLogger(__name__)


LOG_MEL = frozenset(signature(LogMel).parameters)
LOG_MEL_ALONE = LOG_MEL - frozenset(signature(PCMWindows).parameters)  # keywords of nothing but log-mel features

SHORT_ROW, LOUD_ROW = 2000, 2.0  # fewer values, or larger ones, than samples of a window mostly are

# Keywords that say how a network runs, and not what it computes: the golden vector holds with any of them.
RUNNING = frozenset(
    {"num_threads", "batch_size", "backend", "reference_kernels", "channel", "hop_size", "detections", "keep"}
)


def load_model(
    path: str | Path | None = None,
    *,
    input_kind: str | None = None,
    trusted_keys: str | Path | None = None,
    golden: str = "once",
    trust_owners: Collection[str] = (),
    accepted: Collection[str] = (),
    cache: OutputCache | None = None,
    cache_bytes: int | None = None,
    reads: str | Path | None = None,
    levels: LevelSettings | None = None,
    features: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> Model:
    """Load a bundle as the kind of model it is; a BundleError where it cannot be used.

    Parameters
    ----------
    path : str or Path, optional
        ``NAME.tflite``, a folder with one bundle, or ``hf://OWNER/NAME@REVISION``, a bundle on the hub; the package's
        default bundle where not given.
    input_kind : {"pickled", "log_mel", "pcm"}, optional
        What the network reads. Where not given: what the manifest says, or :func:`recognised_kind` without one.
    trusted_keys, trust_owners, accepted
        By whom it is signed, whose files it has, which of its code may run: see :func:`read_bundle`.
    golden : {"once", "always", "never"}
        When to check the golden vector; once for each bundle, runtime and machine.
    cache, cache_bytes : OutputCache or int, optional
        Where what was computed is kept, or how much of it; see :class:`~sonyc_ml.outputs.cache.OutputCache`.
    reads : str or Path, optional
        ``NAME.tflite:TRACK``: the model hears this track of another bundle's.
    levels : LevelSettings, optional
        What sound levels are measured of recordings.
    features, **parameters
        Of the class that the model is of; they win over the manifest's.
    """
    _check_choices(input_kind, golden)
    keep_freed_memory()  # for the next recording, as the commands do: about 7 % of the processor's time
    guards = {"trusted_keys": trusted_keys, "trust_owners": trust_owners, "accepted": accepted}
    path = default_bundle() if path is None else path
    model = _load_checked(path, input_kind, golden, guards, {**(features or {}), **parameters})
    model.cache, model.levels = make_cache(cache, cache_bytes), levels
    model.extractor = _reading(model.extractor, reads, golden, guards)
    return model


def _check_choices(input_kind: str | None, golden: str) -> None:
    for name, value, known in (("input_kind", input_kind, (None, *INPUT_KINDS)), ("golden", golden, GOLDEN_CHOICES)):
        if value not in known:
            raise ValueError(f"{name} {value!r} is not known; use one of {', '.join(k for k in known if k)}")


def _reading(extractor: Extractor, reads: str | Path | None, golden: str, guards: Mapping[str, Any]) -> Extractor:
    """The extractor, which hears a track of another bundle's instead of the sound where `reads` names one."""
    if reads is None:
        return extractor
    from sonyc_ml.model.waveform.reading import read_through  # noqa: PLC0415  few bundles hear another's track

    return read_through(extractor, str(reads), golden=golden, **guards)


def _load_checked(
    path: str | Path,
    input_kind: str | None,
    golden: str,
    guards: Mapping[str, Any],
    parameters: Mapping[str, Any],
) -> Model:
    """Read a bundle under its guards, build its model, prove it, and only then remember that it runs here."""
    state, path = MachineState(), resolve_bundle_path(path)
    bundle = read_bundle(path, state=state, **guards)
    model = make_described(bundle, input_kind=input_kind, **parameters)
    if input_kind is None and model.bundle.assumed_kind:
        _tell_assumed(path, model)
    if golden != "never" and input_kind is None and RUNNING.issuperset(parameters):
        _prove(model, state, always=golden == "always")
    is_signed = guards["trusted_keys"] is not None
    if not is_signed and bundle.accepted and state.ran(bundle.sha256):
        _keep_accepted(bundle, state)
    if is_signed and bundle.manifest is not None:
        # Only now: a version that does not run here must not stand in the way of the one that did.
        state.remember_version(bundle.manifest.name, bundle.manifest.version)
    return model


def _tell_assumed(path: Path, model: Model) -> None:
    read, kind = model.interpreter.input, model.bundle.assumed_kind
    doubt = doubt_of_row(read) if kind == "pcm" else ""
    logger.warning("nothing says what %s reads; by its input, %s, it was taken for %s%s", path, read, kind, doubt)


def _prove(model: Model, state: MachineState, *, always: bool) -> None:
    """Check the golden vector, if there is one, and if it was not right here before."""
    if model.bundle.manifest is None or model.bundle.manifest.golden is None:
        return
    key = golden_key(model)
    if always or not state.was_golden(key):
        check_golden(model)
        state.remember_golden(key)


def _keep_accepted(bundle: Bundle, state: MachineState) -> None:
    """Write down what runs here since before acceptance was asked for: golden vectors are forgotten some time."""
    with suppress(StoreError):
        for digest in bundle.accepted:
            state.accept(digest, f"{bundle.code[digest]}, which ran here before")


def make_described(bundle: Bundle, *, input_kind: str | None = None, **parameters: Any) -> Model:
    """Build a model as :func:`make_model` does; a mistake that only the manifest can have made is a BundleError."""
    try:
        return make_model(bundle, input_kind=input_kind, **parameters)
    except (ValueError, TypeError) as error:
        if bundle.manifest is None or input_kind is not None or parameters:
            raise
        raise BundleError(f"{bundle.path.with_suffix('.json')}: {error}") from error


def make_model(bundle: Bundle, *, input_kind: str | None = None, **parameters: Any) -> Model:
    """Build the model of a bundle that was read; see :func:`load_model`."""
    manifest = bundle.manifest
    if manifest is not None and manifest.waveform is not None and input_kind is None:
        raise BundleMismatchError(
            f"{bundle.path} turns sound into tracks ({', '.join(manifest.waveform.tracks)}), not into embeddings: use "
            "`sonyc-ml separate`, or sonyc_ml.load_waveform_model in Python"
        )
    if manifest is not None and manifest.class_ and input_kind is None:
        return _make_own_model(bundle, manifest, parameters)
    kind = input_kind or (manifest.input.kind if manifest else "")
    wiring = {name: parameters.get(name) for name in ("backend", "constants")}
    kind = kind or recognised_kind(bundle.network, str(bundle.path), parameters, **wiring)
    if manifest is None or kind != manifest.input.kind:
        bundle = dataclasses.replace(bundle, assumed_kind=kind)
    from_manifest: Mapping[str, Any] = manifest.input.parameters if manifest and kind == manifest.input.kind else {}
    kinds: dict[str, type[Model]] = {"pickled": AudioModel, "log_mel": SpecModel, "pcm": PCMModel}
    model = kinds[kind](bundle, **{**from_manifest, **parameters})
    if manifest is not None and kind == manifest.input.kind and RUNNING.issuperset(parameters):
        different = _differences(manifest, model, parameters)
        if different:
            raise BundleMismatchError(
                f"{bundle.path.with_suffix('.json')} is not of this extractor: {different}; make the bundle again with "
                f"`sonyc-ml bundle make`"
            )
    return model


def _differences(manifest: Manifest, model: Model, parameters: Mapping[str, Any]) -> str:
    """Where a manifest says something else of the windows than the extractor; what either does not know is left out."""
    extractor = model.extractor
    pairs = [
        ("sample_rate", manifest.sample_rate, extractor.sample_rate, "Hz"),
        ("window_size_s", manifest.window_size_s, extractor.window_size_s, "s"),
    ]
    if "hop_size" not in parameters:
        pairs.append(("hop_size_s", manifest.hop_size_s, extractor.hop_size_s, "s"))
    return ", ".join(
        f"{name} is {said:g} {unit} there and {found:g} {unit} in the extractor"
        for name, said, found, unit in pairs
        if said and found and not math.isclose(said, found, rel_tol=1e-6)
    )


def golden_key(model: Model) -> str:
    """What a golden vector's result depends on, as far as this machine goes."""
    kernels = "reference kernels" if not model.interpreter.delegated()[0] else "XNNPACK"
    parts = (
        model.bundle.sha256,
        model.interpreter.backend,
        kernels,
        f"numpy {np.__version__}",
        resampler(model.extractor.res_type),
        python_and_processor(),
    )
    return " ".join(parts)


def check_golden(model: Model) -> dict[str, float]:
    """Compute the golden vector of a model's bundle here and compare.

    Returns
    -------
    dict of str to float
        How far off each part is; see :func:`sonyc_ml.bundles.golden.compare`.

    Raises
    ------
    BundleMismatchError
        Further than the manifest allows, or there is no golden vector.
    """
    manifest = model.bundle.manifest
    if manifest is None or manifest.golden is None:
        raise BundleError(f"{model.bundle.name} has no golden vector; make one with `sonyc-ml bundle make`")
    name = manifest.golden.file
    wanted = unpack(model.bundle.files[name], name)
    try:
        y, sr = wanted["y"], int(wanted["sample_rate"].item())
        features = model.get_features(y, sr, manifest.hop_size_s)
        outputs = model.get_outputs(y, sr, manifest.hop_size_s)
        outputs.pop("timestamps", None)  # they follow from the manifest
    except (RecordingError, ValueError, TypeError, OverflowError) as error:
        raise BundleMismatchError(f"{name} cannot be computed here: {error}") from error
    return compare(manifest.golden, wanted, features, outputs)


def _make_own_model(bundle: Bundle, manifest: Manifest, parameters: Mapping[str, Any]) -> Model:
    """Import the class that a manifest names; only now, and only where somebody has accepted that manifest."""
    bundle.check_accepted()
    module_name, _, name = manifest.class_.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except Exception as error:  # importing foreign code can raise anything
        raise BundleError(
            f"{bundle.name} needs the class {manifest.class_}, which cannot be imported here "
            f"({type(error).__name__}: {error}): install its package"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Model) and hasattr(found, "make_extractor")):
        raise BundleError(
            f"{manifest.class_} is not a class derived from sonyc_ml.model.Model that defines make_extractor"
        )
    own: dict[str, Any] = {}
    if hasattr(found, "Parameters"):
        if not (isinstance(found.Parameters, type) and dataclasses.is_dataclass(found.Parameters)):
            raise BundleError(f"{manifest.class_}.Parameters is not a dataclass")
        try:
            own["parameters"] = build(found.Parameters, manifest.parameters, "parameters.")
        except ValueError as error:
            raise BundleError(f"{bundle.path.with_suffix('.json')}: {error}") from error
    elif manifest.parameters:
        raise BundleError(f"{bundle.name} has parameters, and {manifest.class_} has no dataclass Parameters for them")
    model: Model = found(bundle, **own, **parameters)
    different = _differences(manifest, model, parameters)
    if different:  # a manifest that was written by hand: its class decides, and goes on
        logger.warning("%s: %s; the extractor's counts", bundle.path.with_suffix(".json"), different)
    return model


def recognised_kind(network: bytes, source: str, parameters: Mapping[str, Any], **wiring: Any) -> str:
    """What a network reads of which nothing says it, where its input fits one kind alone.

    Samples are a row of numbers: ``[1, n]``, ``[n]``, ``[1, n, 1]``. Log-mel features are of exactly the shape that the
    parameters make, which without any is `(64, 51)`.

    Parameters
    ----------
    network : bytes
    source : str
        Its path, for messages.
    parameters : mapping
        What was said of the extractor.
    **wiring
        Of the network, as :class:`~sonyc_ml.model.interpreter.Interpreter` takes it: which input reads the features.

    Returns
    -------
    {"pcm", "log_mel"}

    Raises
    ------
    BundleError
        Nothing fits; asks for it.
    """
    if LOG_MEL_ALONE.intersection(parameters):
        return "log_mel"
    tensor = Interpreter(network, **wiring).input
    declared, _ = without_channels(tensor.shape, parameters.get("n_channels"))
    shape = tuple(size for size in declared[1:] or declared if size != 1)
    if len(shape) == 1:
        return "pcm"
    try:
        log_mel = LogMel(**{name: parameters[name] for name in LOG_MEL & set(parameters)}).feature_shape
    except (ValueError, TypeError):  # said better where they are used
        return "log_mel"
    if shape != log_mel:
        raise BundleError(
            f"{source} reads {tensor}, and nothing says what that is: give --input-kind log_mel with the parameters of "
            "the features (bundle make --n-mels N …; embed and watch --feature n_mels=N,…), or --input-kind pcm for "
            "samples"
        )
    return "log_mel"


def doubt_of_row(tensor: Tensor) -> str:
    """Why a row of numbers may be no samples, as the end of a sentence; empty where it looks like them."""
    n_values = math.prod(abs(size) for size in tensor.shape)
    limits = np.iinfo(tensor.dtype) if tensor.scale else None
    largest = max(abs(limits.min - tensor.zero_point), limits.max - tensor.zero_point) * tensor.scale if limits else 1.0
    doubts = [
        *([f"{n_values:,} samples are a short window"] if 1 < n_values < SHORT_ROW else []),
        *([f"its numbers reach to {largest:.3g}, and samples to 1"] if largest > LOUD_ROW else []),
    ]
    return f" ({' and '.join(doubts)}: it may be features in a row, for which there is --input-kind)" if doubts else ""
