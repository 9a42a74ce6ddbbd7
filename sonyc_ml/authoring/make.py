"""Bundles: made from a network, an extractor and some words; trusted; verified."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sonyc_ml.authoring.choices import MakerChoices
from sonyc_ml.authoring.graph import cut_file
from sonyc_ml.authoring.proofs import check_repeats, golden_vector, verify
from sonyc_ml.base.durable import write_atomically
from sonyc_ml.base.records import dataclass
from sonyc_ml.bundles import golden
from sonyc_ml.bundles.bundle import Bundle, Description, read_description
from sonyc_ml.bundles.integrity import read_plain
from sonyc_ml.bundles.machine_state import MachineState
from sonyc_ml.bundles.manifest import Manifest, parse_manifest
from sonyc_ml.bundles.sections import Golden, Input
from sonyc_ml.errors import AssumedInputWarning, BundleError, OwnFunctionWarning, RawScoresWarning
from sonyc_ml.features import with_preset
from sonyc_ml.model import Model
from sonyc_ml.model.activation import lie_outside
from sonyc_ml.model.function_extractor import FunctionExtractor
from sonyc_ml.model.loading import doubt_of_row, make_model, recognised_kind
from sonyc_ml.model.log_mel import usual_res_type

__all__ = ["Trusted", "accept_files", "check_repeats", "make_bundle", "trust", "verify"]


def make_bundle(path: str | Path, **keywords: Any) -> Manifest:
    """Write ``NAME.json`` and the golden vector beside ``NAME.tflite``. **This runs the extractor.**

    Parameters
    ----------
    path : str or Path
        ``NAME.tflite``; ``NAME.pkl`` and the head lie in the same folder.
    **keywords
        Those of :class:`~sonyc_ml.authoring.choices.MakerChoices`, as ``labels`` or ``activation``. All others are
        parameters of the extractor: those of ``LogMel`` or ``PCMWindows``.

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
    choices = MakerChoices.of(keywords)
    path, outputs, rest = cut_file(_network_path(path), choices.outputs or {})
    choices = dataclasses.replace(choices, outputs=outputs, head=choices.head or rest)
    bundle, draft = _drafted(path, choices)
    model = make_model(bundle)
    draft = _with_layout(draft, model)
    bundle = dataclasses.replace(bundle, manifest=draft)
    if draft.input.kind == "pcm" and not choices.input_kind:
        _warn_of_row(model)
    check_repeats(model)
    _warn_of_blocks(model)
    draft = dataclasses.replace(draft, activation=choices.activation or _unnamed_activation(model))
    manifest = _complete(draft, model, make_model(bundle, reference_kernels=True), choices.tolerances or {})
    write_atomically(path.with_suffix(".json"), manifest.text().encode())
    _accept(bundle)
    return manifest


def _drafted(path: Path, choices: MakerChoices) -> tuple[Bundle, Manifest]:
    """The bundle's files with a manifest that says what its maker has chosen, and nothing yet of what they make."""
    kind = choices.input_kind or ("pickled" if path.with_suffix(".pkl").exists() else "")
    wiring = {"constants": choices.constants, "feedback": choices.state}
    kind = kind or recognised_kind(read_plain(path), str(path), choices.parameters, **wiring)
    extractors = [path.with_suffix(".pkl").name] if kind == "pickled" else []
    others = (*choices.stages, *filter(None, (choices.head, choices.location)))
    files = {name: read_plain(path.with_name(name)) for name in (path.name, *extractors, *others)}
    extractor = read_description(files.get(path.with_suffix(".pkl").name, b""))
    draft = Manifest(
        schema_version=1,
        name=path.stem,
        sample_rate=0,
        window_size_s=0,
        hop_size_s=0,
        input=Input(kind, _written_out(kind, choices.parameters)),
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        pickle=_versions(extractor) if extractor else {},
        **choices.in_manifest(),
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
    scores = model.get_outputs(golden.golden_signal(model.n_channels), golden.SAMPLE_RATE).get("scores")
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
