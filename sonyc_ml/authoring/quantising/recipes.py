"""A float32 network to a smaller one: what each recipe makes of its weights and activations. Needs no TensorFlow."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.human import to_install
from sonyc_ml.base.process import quiet_stderr
from sonyc_ml.errors import BundleError, ConfigError
from sonyc_ml.model.runtime import first_line

Floats = npt.NDArray[np.float32]

RECIPES = {
    "int8": "weights and activations of 8 bits, for which ranges are measured on recordings",
    "int16x8": "weights of 8 bits, activations of 16, for which ranges are measured; slow on most processors",
    "dynamic": "weights of 8 bits; activations stay float32, and are rounded as they come",
    "float16": "weights of 16-bit floats; everything is computed in float32",
}
CALIBRATED = ("int8", "int16x8")
DISTRIBUTION = "ai-edge-quantizer"
SIGNATURE = "serving_default"
FILE_IDENTIFIER = b"TFL3"


def quantised_network(network: bytes, recipe: str, windows: Floats) -> tuple[bytes, str]:
    """Quantise a network.

    Parameters
    ----------
    network : bytes
        The content of a ``.tflite`` file whose numbers are all float32, with one input.
    recipe : str
        One of :data:`RECIPES`.
    windows : np.ndarray [shape=(n_windows, …), dtype=float32]
        What it reads, as it occurs: the ranges of the activations are measured on it. Of the shape of the input, but
        for the batch.

    Returns
    -------
    network : bytes
    tool : str
        What has made it, name and version.

    Raises
    ------
    BundleError
        It is quantised already, or cannot be by this recipe; says why.
    ConfigError
        What quantises is not installed.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe {recipe!r} is not known; use one of {', '.join(RECIPES)}")
    _import("ai_edge_quantizer.quantizer")
    model = _parsed(network)
    if not _is_float(model):
        raise BundleError("the network holds numbers of fewer bits than float32 already: give the float32 network")
    if len(model.subgraphs[0].inputs) != 1:
        raise BundleError(f"the network has {len(model.subgraphs[0].inputs)} inputs; one with 1 input can be quantised")
    signed, signature, name = _with_signature(network, model)
    try:
        with _quiet():
            made = _quantise(signed, recipe, {signature: [{name: window} for window in windows]})
    except Exception as error:  # its own errors are of every kind
        raise BundleError(f"the network cannot be quantised by the recipe {recipe}: {first_line(error)}") from error
    if _is_float(_parsed(made)):
        raise BundleError(f"the recipe {recipe} changes nothing of this network: it has no layers that it applies to")
    return made, f"{DISTRIBUTION} {version(DISTRIBUTION)}"


def _quantise(network: bytes, recipe: str, data: dict[str, list[dict[str, Floats]]]) -> bytes:
    quantizer = _import("ai_edge_quantizer.quantizer")
    work = quantizer.Quantizer(network)
    _LOADERS[recipe](work)
    ranges = _ranges(network, work.get_quantization_recipe(), data) if recipe in CALIBRATED else None
    result = work.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _ranges(network: bytes, recipe: Any, data: dict[str, list[dict[str, Floats]]]) -> Any:
    """The least and largest value of every tensor over all windows.

    Left to itself, the library keeps a moving average of them, which clips what is loud and rare: a third of the top
    classes change.
    """
    calibrator = _import("ai_edge_quantizer.calibrator")
    widest = _import("ai_edge_quantizer.utils.qsv_utils").min_max_update
    manager = _import("ai_edge_quantizer.recipe_manager").RecipeManager()
    manager.load_quantization_recipe(recipe)
    measured = calibrator.Calibrator(network, num_threads=1, qsv_update_func=widest)
    measured.calibrate(data, manager)
    return measured.get_model_qsvs()


def _load_named(name: str) -> Callable[[Any], None]:
    def load(work: Any) -> None:
        work.load_quantization_recipe(getattr(_import("ai_edge_quantizer.recipe"), name)())

    return load


def _load_float16(work: Any) -> None:
    operation = _import("ai_edge_quantizer.qtyping").TFLOperationName.ALL_SUPPORTED
    key = _import("ai_edge_quantizer.algorithm_manager").AlgorithmName.FLOAT_CASTING
    work.add_weight_only_config(".*", operation, 16, algorithm_key=key)


_LOADERS: dict[str, Callable[[Any], None]] = {
    "int8": _load_named("static_wi8_ai8"),
    "int16x8": _load_named("static_wi8_ai16"),
    "dynamic": _load_named("dynamic_wi8_afp32"),
    "float16": _load_float16,
}


# The file


def _with_signature(network: bytes, model: Any) -> tuple[bytes, str, str]:
    """The network with a signature of its main graph, the signature's name, and the name of its input there."""
    for signature in model.signatureDefs or ():
        if signature.subgraphIndex == 0 and len(signature.inputs or ()) == 1:
            return network, _text(signature.signatureKey), _text(signature.inputs[0].name)
    schema, flatbuffers = _import("ai_edge_litert.schema_py_generated"), _import("flatbuffers")
    graph = model.subgraphs[0]
    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = SIGNATURE, 0
    made.inputs, made.outputs = (
        [_entry(schema, f"{kind}_{i}", number) for i, number in enumerate(numbers)]
        for kind, numbers in (("input", graph.inputs), ("output", graph.outputs))
    )
    model.signatureDefs = [*(model.signatureDefs or ()), made]
    builder = flatbuffers.Builder(len(network))
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output()), SIGNATURE, "input_0"


def _entry(schema: Any, name: str, number: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(number)
    return entry


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _parsed(network: bytes) -> Any:
    schema = _import("ai_edge_litert.schema_py_generated")
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(network, 0))


def _is_float(model: Any) -> bool:
    """Whether no tensor holds numbers of fewer bits."""
    types = _import("ai_edge_litert.schema_py_generated").TensorType
    smaller = {types.INT8, types.UINT8, types.INT16, types.FLOAT16, types.INT4}
    return not any(tensor.type in smaller for graph in model.subgraphs for tensor in graph.tensors)


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"a network is quantised with ai-edge-quantizer, and this Python cannot import it ({error}). Do it where "
            f"that is installed (320 MB), for the node only runs what comes of it; {to_install('quantise')}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars of the library, and what it warns its own developers of."""
    bars = _import("tqdm").tqdm
    before, bars.monitor_interval = bars.monitor_interval, 0  # or a thread that watches over them stays
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()), quiet_stderr():
            warnings.simplefilter("ignore")
            yield
    finally:
        bars.monitor_interval = before
