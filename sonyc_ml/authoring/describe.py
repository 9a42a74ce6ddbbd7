"""What a model reads, writes and needs, for ``sonyc-ml info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sonyc_ml.bundles.bundle import read_bundle
from sonyc_ml.bundles.manifest import Golden, parse_manifest
from sonyc_ml.errors import BundleError, BundleIntegrityError, SonycMLError
from sonyc_ml.model import Model
from sonyc_ml.model.interpreter import Interpreter, Tensor
from sonyc_ml.model.loading import load_model
from sonyc_ml.model.versions import resampler


def describe(path: str | Path, **parameters: Any) -> dict[str, Any]:
    """Collect everything there is to say about a model, as plain values.

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
    bundle = read_bundle(path, trusted_keys=parameters.get("trusted_keys"))
    try:
        model = load_model(path, **parameters)
        bundle, interpreter, extractor = model.bundle, model.interpreter, _extractor(model)
    except BundleIntegrityError:
        raise
    except (SonycMLError, ValueError, TypeError) as error:
        interpreter, extractor = _interpreter(bundle.network, parameters), {"problem": str(error)}
    n_delegated, n_operators = interpreter.delegated()
    return {
        "name": bundle.name,
        "path": str(bundle.path),
        "sha256": bundle.sha256,
        "bytes": len(bundle.network),
        "runtime": interpreter.backend,
        "operators": n_operators,
        "xnnpack_operators": n_delegated,
        "inputs": [_tensor(tensor) for tensor in interpreter.inputs],
        "outputs": [_tensor(tensor) for tensor in interpreter.outputs],
        "extractor": extractor,
    }


def render(description: dict[str, Any]) -> str:
    """Lay a description out for reading."""
    taken, total = description["xnnpack_operators"], description["operators"]
    rows = [
        ("network", f"{description['path']}, {description['bytes']:,} bytes"),
        ("bundle SHA-256", description["sha256"]),
        ("runtime", description["runtime"]),
        ("XNNPACK", f"takes {taken} of {total} operators" if taken else f"takes none of {total} operators"),
        *(("input", tensor["text"]) for tensor in description["inputs"]),
        *((f"output {i}", tensor["text"]) for i, tensor in enumerate(description["outputs"])),
    ]
    extractor = description["extractor"]
    if "problem" in extractor:
        rows.append(("extractor", f"none: {extractor['problem']}"))
    else:
        shape = ", ".join(map(str, extractor["feature_shape"]))
        rows += [
            ("model", extractor["model"]),
            ("extractor", extractor["text"]),
            ("window, hop", f"{extractor['window_size_s']:g} s, {extractor['hop_size_s']:g} s"),
            ("sample rate", f"{extractor['sample_rate']} Hz" if extractor["sample_rate"] else "that of the recording"),
            ("resampler", extractor["resampler"] or "the extractor's own"),
            ("features", f"({shape}) per window"),
            *((kind, f"output {number}") for kind, number in extractor["outputs"].items()),
        ]
        if extractor["head"]:
            rows.append(("scores", f"of the head {extractor['head']}: {', '.join(extractor['labels'])}"))
        if extractor["made_by"]:
            rows.append(("made by", extractor["made_by"]))
    return "\n".join(f"{name:15} {text}" for name, text in rows)


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype),
        "scale": tensor.scale,
        "zero_point": tensor.zero_point,
        "text": str(tensor),
    }


def _interpreter(network: bytes, parameters: dict[str, Any]) -> Interpreter:
    """The network alone, with the least that its input may be."""
    interpreter = Interpreter(
        network,
        num_threads=parameters.get("num_threads", 1),
        reference_kernels=parameters.get("reference_kernels", False),
        backend=parameters.get("backend"),
    )
    shape = interpreter.inputs[0].shape
    interpreter.fit(tuple(max(1, size) for size in shape[1:] or shape))
    return interpreter


def _extractor(model: Model) -> dict[str, Any]:
    extractor, described, manifest = model.extractor, model.bundle.description, model.bundle.manifest
    return {
        "model": type(model).__name__,
        "text": _text(model),
        "feature_shape": list(extractor.feature_shape),
        "window_size_s": extractor.window_size_s,
        "hop_size_s": extractor.hop_size_s,
        "sample_rate": extractor.sample_rate,
        "res_type": extractor.res_type,
        "resampler": resampler(extractor.res_type),
        "outputs": model.outputs,
        "head": manifest.head.network if manifest and manifest.head else "",
        "labels": list(model.labels),
        "made_by": f"Python {described.python}, dill {described.dill}, numpy {described.numpy}" if described else "",
    }


def _text(model: Model) -> str:
    described = model.bundle.description
    if type(model).__name__ != "AudioModel":
        return repr(model.extractor)
    if described is None:
        return f"{model.bundle.pickle_path}, which does not describe itself"
    keywords = ", ".join(f"{name}={value!r}" for name, value in described.parameters.items())
    return f"{model.bundle.pickle_path}: {described.function}({keywords})"


def card(path: str | Path) -> tuple[str, dict[str, Any]]:
    """A bundle's manifest, to be read and as plain values; nothing of the bundle is run.

    Raises
    ------
    BundleError
        There is no manifest, or it cannot be read.
    """
    manifest_path = Path(path).with_suffix(".json")
    try:
        content = manifest_path.read_bytes()
    except OSError as error:
        raise BundleError(f"{manifest_path}: {error.strerror}; make it with `sonyc-ml bundle make`") from error
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
        ("head", manifest.head.network if manifest.head else ""),
        ("labels", ", ".join(manifest.labels)),
        ("pickle", ", ".join(f"{name} {version}" for name, version in manifest.pickle.items())),
        *(("file", f"{digest}  {name}") for name, digest in manifest.files.items()),
        ("golden vector", _tolerances(manifest.golden) if manifest.golden else "none"),
    ]
    return "\n".join(f"{name:15} {text}" for name, text in rows if text), json.loads(content)


def _tolerances(golden: Golden) -> str:
    return f"features within {golden.features_db:g}, cosine >= {golden.cosine:g}, scores within {golden.scores:g}"
