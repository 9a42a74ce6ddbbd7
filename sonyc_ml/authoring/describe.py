"""What a model reads, writes and needs, for ``sonyc-ml info``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from sonyc_ml.authoring.network import describe_network
from sonyc_ml.bundles.bundle import Bundle, check_description, read_bundle
from sonyc_ml.bundles.golden import unpack
from sonyc_ml.bundles.integrity import quoted, read_plain
from sonyc_ml.bundles.manifest import Manifest, parse_manifest
from sonyc_ml.bundles.sections import Golden, Section
from sonyc_ml.errors import BundleError, SonycMLError
from sonyc_ml.model import Model
from sonyc_ml.model.interpreter import Interpreter, Tensor
from sonyc_ml.model.loading import make_described
from sonyc_ml.model.versions import resampler


def describe(path: str | Path, **parameters: Any) -> dict[str, Any]:
    """Collect everything there is to say about a model, as plain values; no code of it is run.

    Parameters
    ----------
    path : str or Path
        ``NAME.tflite``.
    **parameters
        Those of :func:`sonyc_ml.model.loading.load_model`.

    Raises
    ------
    BundleError
        The network itself cannot be read; trouble with the extractor is part of the answer.
    """
    guards = {name: parameters.pop(name) for name in ("trusted_keys", "trust_owners") if name in parameters}
    parameters.pop("golden", None)  # nothing is proved here
    reads = parameters.pop("reads", None)
    bundle = read_bundle(path, **guards)
    network = describe_network(bundle.network, parameters.get("backend"))
    manifest = bundle.manifest
    interpreter, extractor, assumed_kind = _try_to_run(bundle, parameters)
    return {
        "name": bundle.name,
        "path": str(bundle.path),
        "sha256": bundle.sha256,
        "bytes": len(bundle.network),
        "runtime": network.runtime,
        "operators": network.n_operators,
        "xnnpack_operators": interpreter.delegated()[0] if interpreter else None,
        "multiplications": network.n_multiplications,
        "not_counted": list(network.uncounted),
        "assumed_kind": "" if "input_kind" in parameters else assumed_kind,
        "inputs": [_tensor(tensor) for tensor in network.inputs],
        "outputs": [_tensor(tensor) for tensor in network.outputs],
        "inner": [_tensor(tensor) | {"index": tensor.index} for tensor in network.inner if manifest is None],
        **_wiring(manifest, parameters),
        "head": _head(bundle),
        "labels": list(manifest.labels) if manifest else [],
        "code": [{"what": what, "accepted": digest in bundle.accepted} for digest, what in bundle.code.items()],
        "extractor": extractor,
        "reads": str(reads or ""),
        "tracks": list(manifest.waveform.tracks) if manifest and manifest.waveform else [],
    }


def _wiring(manifest: Manifest | None, parameters: dict[str, Any]) -> dict[str, Any]:
    """What the network's further inputs hold, and what makes scores of its numbers."""
    return {
        "constants": (manifest.constants if manifest else {}) | parameters.get("constants", {}),
        "state": [{"in": state.in_, "out": state.out} for state in manifest.state] if manifest else [],
        "activation": parameters.get("activation") or (manifest.activation if manifest else ""),
    }


def _try_to_run(bundle: Bundle, parameters: dict[str, Any]) -> tuple[Interpreter | None, dict[str, Any], str]:
    """The network as it would run, the extractor, the kind that was guessed; code is read about, not run."""
    manifest = bundle.manifest
    kind = parameters.get("input_kind") or (manifest.input.kind if manifest else "")
    is_code = kind == "pickled" or (manifest is not None and manifest.class_ and not parameters.get("input_kind"))
    try:
        if not is_code:
            model = make_described(bundle, **parameters)
            return model.interpreter, _extractor(model), model.bundle.assumed_kind
        extractor = _by_its_manifest(bundle, parameters)
    except (SonycMLError, ValueError, TypeError) as error:
        extractor = {"problem": str(error)}
    try:
        return _interpreter(bundle, parameters), extractor, ""
    except BundleError:
        return None, extractor, ""


def render(description: dict[str, Any]) -> str:
    """Lay a description out for reading."""
    rows = [
        ("network", f"{description['path']}, {description['bytes']:,} bytes"),
        ("bundle SHA-256", description["sha256"]),
        ("runtime", description["runtime"]),
        ("XNNPACK", _xnnpack(description["xnnpack_operators"], description["operators"])),
        ("multiplications", _multiplications(description)),
        *(("input", tensor["text"]) for tensor in description["inputs"]),
        *((f"output {i}", tensor["text"]) for i, tensor in enumerate(description["outputs"])),
        *(("inner tensor", f"{tensor['text']}: --outputs {_as_embedding(tensor)}") for tensor in description["inner"]),
        *(("constant", f"{name} = {value}") for name, value in description["constants"].items()),
        *(("state", f"{state['out']} is read as {state['in']} by the next window") for state in description["state"]),
    ]
    if description["assumed_kind"]:
        rows.append(("taken for", f"{description['assumed_kind']}, by its input; nothing says it (--input-kind)"))
    extractor, head, labels = description["extractor"], description["head"], ", ".join(description["labels"])
    if description["reads"]:
        rows.append(("hears", f"the track {description['reads']}, not the recording itself"))
    if description["tracks"]:
        rows.append(("tracks", f"{', '.join(description['tracks'])}: turns sound into them, with sonyc-ml separate"))
    elif "problem" in extractor:
        rows.append(("extractor", f"none: {extractor['problem']}"))
    else:
        rows += _extractor_rows(extractor)
    if head:
        rows += [("head", f"{head['network']}, reads {head['input']}"), ("scores", f"of the head: {labels}")]
    elif labels:
        rows.append(("labels", labels))
    if description["activation"]:
        rows.append(("activation", f"{description['activation']}, of the scores"))
    for code in description["code"]:
        hint = f"not accepted here; to accept it: sonyc-ml bundle trust {quoted(Path(description['path']))}"
        rows.append(("code", f"{code['what']} is {'accepted here' if code['accepted'] else hint}"))
    return "\n".join(f"{name:15} {text}" for name, text in rows)


def _extractor_rows(extractor: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("model", extractor["model"]),
        ("extractor", extractor["text"]),
        ("window, hop", f"{extractor['window_size_s']:g} s, {extractor['hop_size_s']:g} s"),
        ("sample rate", f"{extractor['sample_rate']} Hz" if extractor["sample_rate"] else "that of the recording"),
        ("resampler", extractor["resampler"] or "the extractor's own"),
    ]
    if extractor["feature_shape"]:
        rows.append(("features", f"({', '.join(map(str, extractor['feature_shape']))}) per window"))
    rows += [(kind, f"output {number}") for kind, number in extractor["outputs"].items()]
    return [*rows, ("made by", extractor["made_by"])] if extractor["made_by"] else rows


def _as_embedding(tensor: dict[str, Any]) -> str:
    """How a tensor inside the network is named for ``bundle make``, as it can be pasted into a shell."""
    name = f"#{tensor['index']}" if "," in tensor["name"] else tensor["name"]
    return shlex.quote(f"embedding={name}")


def _xnnpack(n_taken: int | None, n_operators: int) -> str:
    if n_taken is None:
        return f"not known: the {n_operators} operators cannot be run here as they are"
    return f"takes {n_taken or 'none'} of {n_operators} operators"


def _multiplications(description: dict[str, Any]) -> str:
    number, others = description["multiplications"], ", ".join(description["not_counted"])
    if number is None:
        return "not known before it runs"
    return f"{number:,} for one window" + (f", without those of {others}" if others else "")


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype),
        "scale": tensor.scale,
        "zero_point": tensor.zero_point,
        "text": str(tensor),
    }


def _head(bundle: Bundle) -> dict[str, Any] | None:
    if bundle.head is None or bundle.manifest is None or bundle.manifest.head is None:
        return None
    try:
        network = describe_network(bundle.head)
    except BundleError as error:
        return {"network": bundle.manifest.head.network, "input": f"nothing: {error}", "multiplications": None}
    return {
        "network": bundle.manifest.head.network,
        "input": "; ".join(map(str, network.inputs)),
        "multiplications": network.n_multiplications,
    }


def _interpreter(bundle: Bundle, parameters: dict[str, Any]) -> Interpreter:
    """The network alone, with the least that its input may be."""
    manifest = bundle.manifest
    interpreter = Interpreter(
        bundle.network,
        constants={**(manifest.constants if manifest else {}), **parameters.get("constants", {})},
        feedback=[(state.in_, state.out) for state in manifest.state] if manifest else [],
        num_threads=parameters.get("num_threads", 1),
        reference_kernels=parameters.get("reference_kernels", False),
        backend=parameters.get("backend"),
    )
    shape = interpreter.input.shape
    interpreter.fit(tuple(max(1, size) for size in shape[1:] or shape))
    return interpreter


def _extractor(model: Model) -> dict[str, Any]:
    extractor, manifest = model.extractor, model.bundle.manifest
    return {
        "model": type(model).__name__,
        "text": repr(extractor),
        "feature_shape": list(extractor.feature_shape),
        "window_size_s": extractor.window_size_s,
        "hop_size_s": extractor.hop_size_s,
        "sample_rate": extractor.sample_rate,
        "res_type": extractor.res_type,
        "resampler": resampler(extractor.res_type),
        "outputs": model.outputs,
        "head": manifest.head.network if manifest and manifest.head else "",
        "labels": list(model.labels),
        "made_by": "",
    }


def _by_its_manifest(bundle: Bundle, parameters: dict[str, Any]) -> dict[str, Any]:
    """What manifest and pickle say of an extractor that is code; nothing of it is run."""
    manifest, described = bundle.manifest, bundle.description
    if manifest is None or (bundle.pickle is None and not manifest.class_):
        raise BundleError(f"{bundle.pickle_path} is not part of the bundle")
    check_description(bundle)
    keywords = described.parameters if described else {}
    numbers = {name: value for name, value in keywords.items() if type(value) in (int, float)}
    res_type = str(keywords.get("res_type") or "")
    return {
        "model": manifest.class_ or "AudioModel",
        "text": f"the class {manifest.class_}" if manifest.class_ else _text(bundle),
        "feature_shape": _golden_shape(bundle),
        "window_size_s": parameters.get("duration") or numbers.get("duration", manifest.window_size_s),
        "hop_size_s": parameters.get("hop_size") or numbers.get("hop_size", manifest.hop_size_s),
        "sample_rate": numbers.get("target_sr", manifest.sample_rate),
        "res_type": res_type,
        "resampler": resampler(res_type),
        "outputs": dict(parameters.get("outputs") or manifest.outputs),
        "head": manifest.head.network if manifest.head else "",
        "labels": list(manifest.labels),
        "made_by": f"Python {described.python}, dill {described.dill}, numpy {described.numpy}" if described else "",
    }


def _golden_shape(bundle: Bundle) -> list[int]:
    """Shape of a window's features, of which the golden vector has examples."""
    golden = bundle.manifest.golden if bundle.manifest else None
    return list(unpack(bundle.files[golden.file], golden.file)["features"].shape[1:]) if golden else []


def _text(bundle: Bundle) -> str:
    described = bundle.description
    if described is None:
        return f"{bundle.pickle_path}, which does not describe itself"
    keywords = ", ".join(f"{name}={value!r}" for name, value in described.parameters.items())
    return f"{bundle.pickle_path}: {described.function}({keywords})"


def card(path: str | Path) -> tuple[str, dict[str, Any]]:
    """A bundle's manifest, to be read and as plain values; nothing of the bundle is run.

    Raises
    ------
    BundleError
        There is no manifest, or it cannot be read.
    """
    manifest_path = Path(path).with_suffix(".json")
    try:
        content = read_plain(manifest_path)
    except BundleError as error:
        raise BundleError(f"{error}; make it with `sonyc-ml bundle make`") from error
    manifest = parse_manifest(content, str(manifest_path))
    inputs = ", ".join(f"{name}={value!r}" for name, value in manifest.input.parameters.items())
    rows = [
        ("bundle", f"{manifest.name} {manifest.version}"),
        ("description", manifest.description),
        ("licence", manifest.licence),
        ("reads", f"{manifest.input.kind} {inputs}".strip()),
        ("class", manifest.class_),
        ("sample rate", f"{manifest.sample_rate} Hz" if manifest.sample_rate else "that of the recording"),
        ("window, hop", f"{manifest.window_size_s:g} s, {manifest.hop_size_s:g} s"),
        ("outputs", ", ".join(f"{kind} from output {number}" for kind, number in manifest.outputs.items())),
        ("constants", ", ".join(f"{name}={value}" for name, value in manifest.constants.items())),
        ("state", ", ".join(f"{state.in_} from {state.out}" for state in manifest.state)),
        ("head", manifest.head.network if manifest.head else ""),
        ("activation", manifest.activation),
        ("sensitivity", "" if manifest.sensitivity is None else f"{manifest.sensitivity:g}"),
        ("labels", ", ".join(manifest.labels)),
        ("tracks", ", ".join(manifest.waveform.tracks) if manifest.waveform else ""),
        ("networks", ", ".join(stage.network for stage in manifest.waveform.stages) if manifest.waveform else ""),
        ("stages", ", ".join(manifest.stages)),
        ("detections", _said(manifest.detections)),
        ("keeps", _said(manifest.keep)),
        ("metadata", _metadata(manifest)),
        ("quantised", _quantisation(manifest)),
        ("pickle", ", ".join(f"{name} {version}" for name, version in manifest.pickle.items())),
        *(("file", f"{digest}  {name}") for name, digest in manifest.files.items()),
        ("golden vector", _tolerances(manifest.golden) if manifest.golden else "none"),
    ]
    return "\n".join(f"{name:15} {text}" for name, text in rows if text), json.loads(content)


def _said(section: Section | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in section.given().items()) if section else ""


def _metadata(manifest: Manifest) -> str:
    said = manifest.metadata
    return ", ".join((said.short_description, *said.domains, *said.tags)).strip(", ") if said else ""


def _quantisation(manifest: Manifest) -> str:
    found = manifest.quantisation
    if found is None:
        return ""
    known = [f"{found.recipe} of {found.source}, by {found.tool}"]
    if found.cosine is not None:
        known.append(f"cosine {found.cosine:.4f}")
    if found.agreement is not None:
        known.append(f"the same top class in {found.agreement:.1%}")
    if found.accuracy_before is not None and found.accuracy_after is not None:
        known.append(f"accuracy {found.accuracy_before:.1%} before, {found.accuracy_after:.1%} after")
    return f"{', '.join(known)}; on {found.n_held_out:,} recordings"


def _tolerances(golden: Golden) -> str:
    return f"features within {golden.features_db:g}, cosine >= {golden.cosine:g}, scores within {golden.scores:g}"
