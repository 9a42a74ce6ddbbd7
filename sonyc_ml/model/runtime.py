"""LiteRT or tflite-runtime: found, and made to run a network. Both have the same interface."""

from __future__ import annotations

import importlib
import logging
import platform
import sys
from types import ModuleType
from typing import Any

from sonyc_ml.base.process import quiet_stderr
from sonyc_ml.errors import BundleError

logger = logging.getLogger(__name__)

BACKENDS = {"litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
X86 = frozenset({"x86_64", "AMD64", "i686"})

# Operators that keep something from one run for the next. Of the first kind the runtime can set it back.
VARIABLES, RESOURCES = "variables", "resources"
VARIABLE_OPERATORS = frozenset(
    {
        *("UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM", "SVDF"),
        *("UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN", "RNN"),
    }
)
RESOURCE_OPERATORS = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"})


def load_runtime(backend: str | None) -> tuple[str, ModuleType]:
    """Import a runtime; return its name with version, and its interpreter module."""
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is not known; use one of {', '.join(BACKENDS)}")
    for name in [backend] if backend else BACKENDS:
        package = BACKENDS[name]
        try:
            module = importlib.import_module(f"{package}.interpreter")
        except ImportError as error:
            logger.debug("%s cannot be imported: %s", package, error)
            continue
        return f"{package.replace('_', '-')} {sys.modules[package].__version__}", module
    wanted = backend or "ai-edge-litert"
    distribution = BACKENDS.get(wanted, wanted).replace("_", "-")
    raise BundleError(f"the runtime {wanted} is not installed for this Python; try `pip install {distribution}`")


def construct(runtime: ModuleType, network: bytes, num_threads: int, reference_kernels: bool) -> Any:
    """The runtime's interpreter of a network.

    Raises
    ------
    BundleError
        It cannot read the network.
    """
    resolver = _reference_kernels(runtime) if reference_kernels else runtime.OpResolverType.AUTO
    try:
        with quiet_stderr():
            return runtime.Interpreter(
                model_content=network, num_threads=num_threads, experimental_op_resolver_type=resolver
            )
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"the runtime cannot read the network: {first_line(error)}") from error


def _reference_kernels(runtime: ModuleType) -> Any:
    """Choose the fastest kernels that give everybody's numbers.

    On ARM the convolutions of LiteRT 2.3 that are optimised for it round otherwise: a third of all values of SONYC's
    network are up to 2 steps off. Its plain ones are a fifth as fast, and give there what they give on x86.
    """
    rounds_otherwise = runtime.__name__.startswith("ai_edge_litert") and platform.machine() not in X86
    resolvers = runtime.OpResolverType
    return resolvers.BUILTIN_REF if rounds_otherwise else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def first_line(error: Exception) -> str:
    """The first line of an error of the runtime's, which is all that a user can use of it."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def state_of_network(runtime: Any) -> str:
    """What the network carries from one run into the next, by the operators that it is made of."""
    operators = {operator["op_name"] for operator in runtime._get_ops_details()}  # noqa: SLF001  nothing public tells
    return RESOURCES if operators & RESOURCE_OPERATORS else VARIABLES if operators & VARIABLE_OPERATORS else ""
