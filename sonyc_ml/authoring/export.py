"""Feature extractors into pickles: our own as source text that every Python reads, a user's function with dill."""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import importlib.util
import inspect
import io
import pickle
import pickletools
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sonyc_ml import features
from sonyc_ml.authoring.parameters import add_parameters, value_of
from sonyc_ml.base.arguments import Parser
from sonyc_ml.base.durable import write_atomically
from sonyc_ml.bundles.bundle import Description
from sonyc_ml.bundles.own_extractor import BUILD
from sonyc_ml.errors import SonycMLError

PICKLE_PROTOCOL, PICKLE_BEGINS = 4, b"\x80"

LOAD_ALONE = """
import sys, dill
dill.load(sys.stdin.buffer)
print(*{name.partition(".")[0] for name in sys.modules})
"""

EPILOG = """\
examples:
  sonyc-ml features export models/NAME.pkl --duration=1 --hop-size=0.1 --target-sr=8000 --n-fft=1024 \\
      --n-mels=64 --mel-hop-len=160 --fmax=None
  sonyc-ml features export models/NAME.pkl --function my_module:my_features --some_kw=1

The first exports the built-in log-mel features; the pickle needs only numpy, and any Python from 3.11 on reads it.
The second exports your own function, get_features(y, sr, hop_size=None, …), by value with dill; keywords it knows
are given as --name=value. Such a pickle is read by the Python minor version that made it."""


class _FromSource:
    """Pickles as the instruction to build a :class:`~sonyc_ml.features.LogMel` from the text of its module."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return eval, (BUILD, {"source": inspect.getsource(features), "parameters": self.parameters})


def export(path: str | Path, **parameters: Any) -> Description:
    """Write the built-in log-mel extractor with these parameters to `path`.

    Parameters
    ----------
    path : str or Path
        ``NAME.pkl``, beside the network it belongs to.
    **parameters
        Those of :class:`~sonyc_ml.features.LogMel`.

    Raises
    ------
    ValueError
        For parameters that cannot be meant; or `path` is a file that is no extractor.
    StoreError
        The file could not be written; nothing half-written is left.
    """
    extractor = features.LogMel(**parameters)
    requires = ("numpy", "soxr") if extractor.res_type.startswith("soxr") else ("numpy",)
    description = _description("sonyc_ml.features:LogMel", extractor.parameters, requires, any_python=True)
    content = pickle.dumps(_FromSource(extractor.parameters), protocol=PICKLE_PROTOCOL)
    _write(Path(path), content + description.line())
    return description


def export_function(path: str | Path, function: str, **keywords: Any) -> Description:
    """Write a user's function to `path`, by value, with some of its keywords fixed.

    Parameters
    ----------
    path : str or Path
        ``NAME.pkl``, beside the network it belongs to.
    function : str
        ``module:name`` of ``get_features(y, sr, hop_size=None, …)``. What its own module defines travels inside the
        pickle; what it imports must be installed where the pickle is loaded.
    **keywords
        Of the function.

    Raises
    ------
    ValueError
        There is no such function, or it does not take these keywords; or `path` is a file that is no extractor.
    StoreError
    """
    found = find_function(function)
    signature = inspect.signature(found)
    try:
        bound = signature.bind(None, 8000, **({"hop_size": None} | keywords))
    except TypeError as error:
        raise ValueError(f"{function}{signature} cannot be called as (y, sr, hop_size=None, …): {error}") from error
    bound.apply_defaults()
    fixed = functools.partial(found, **keywords)
    try:
        content = by_value(fixed)
    except (pickle.PicklingError, TypeError) as error:
        raise ValueError(f"{function} uses something that cannot be pickled: {error}") from error
    names = [name for name in ("duration", "hop_size", "target_sr") if name in bound.arguments and name not in keywords]
    defaults = {name: signature.parameters[name].default for name in names if name in signature.parameters}
    parameters = {name: value for name, value in (defaults | keywords).items() if _is_plain(value)}
    description = _description(function, parameters, _imported(content), any_python=False)
    _write(Path(path), content + description.line())
    return description


def _write(path: Path, content: bytes) -> None:
    """Write an extractor; a network that is named by mistake is not lost."""
    if path.suffix == ".tflite":
        raise ValueError(f"{path} is the name of a network: write the extractor to {path.with_suffix('.pkl')}")
    with suppress(OSError), path.open("rb") as file:
        if file.read(1) not in (b"", PICKLE_BEGINS):
            raise ValueError(f"{path} is no extractor, and would be lost: write to another file, or remove it first")
    write_atomically(path, content)


def by_value(function: Callable[..., Any]) -> bytes:
    """Pickle a function with what its module defines, and modules by their names.

    dill alone writes the state of a module outside Python's own folders too, such as one that is installed for editing.
    """
    import dill  # noqa: PLC0415  not needed for our own extractor

    class Pickler(dill.Pickler):  # type: ignore[misc]
        def reducer_override(self, value: Any) -> Any:
            return (importlib.import_module, (value.__name__,)) if isinstance(value, ModuleType) else NotImplemented

    with io.BytesIO() as file:
        Pickler(file, protocol=PICKLE_PROTOCOL, byref=False, recurse=True).dump(function)
        return file.getvalue()


def main(arguments: Sequence[str], prog: str = "features.py") -> int:
    """``python sonyc_ml/features.py export …`` and ``sonyc-ml features export …``; returns the exit status."""
    top = Parser(prog=prog, description="Feature extractors.", takes_others=True)
    parser = add_export(top.add_subparsers(required=True, metavar="COMMAND"))
    parsed, others = top.parse_known_args(arguments)
    try:
        if others and not parsed.function:
            raise ValueError(parser.unknown(others[0]))
        description = _export(parsed, others)
    except (ValueError, TypeError, SonycMLError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    python = "any Python from 3.11 on" if description.any_python else f"Python {description.python.rpartition('.')[0]}"
    size, needs = parsed.output.stat().st_size, ", ".join((python, *description.requires))
    print(f"{parsed.output}: {description.function}, {size:,} bytes; needs {needs}")
    print(f"next, once the network is beside it: sonyc-ml bundle make {parsed.output.with_suffix('.tflite')}")
    return 0


def add_export(commands: Any) -> Parser:
    """Add ``export`` to a parser's commands."""
    parser: Parser = commands.add_parser(
        "export",
        help="write a feature extractor to NAME.pkl",
        description="Write a feature extractor to NAME.pkl, to lie beside the network NAME.tflite.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        takes_others=True,  # the keywords of a function
    )
    parser.add_argument("output", metavar="NAME.pkl", type=Path, help="where to write the extractor")
    parser.add_argument("--function", metavar="MODULE:NAME", help="export this function instead of the built-in one")
    add_parameters(parser)
    return parser


def _export(parsed: argparse.Namespace, others: list[str]) -> Description:
    keywords = {name: value for name, value in vars(parsed).items() if name not in {"output", "function"}}
    if parsed.function:
        return export_function(parsed.output, parsed.function, **keywords, **_keywords(others))
    return export(parsed.output, **keywords)


def _keywords(others: list[str]) -> dict[str, Any]:
    """``--name=value`` and ``--name value`` to keywords."""
    keywords: dict[str, Any] = {}
    remaining = list(others)
    while remaining:
        flag, equals, value = remaining.pop(0).partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or not name.isidentifier() or not (equals or remaining):
            raise ValueError(f"keywords are given as --name=value, not {flag!r}")
        keywords[name] = value_of(value if equals else remaining.pop(0))
    return keywords


def find_function(name: str) -> Callable[..., Any]:
    """Load the module of ``module:name`` under a name that nothing can import, so that dill takes it by value.

    dill writes a function that can be imported as a reference to its module, which a node does not have.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not attribute:
        raise ValueError(f"a function is named MODULE:NAME, not {name!r}")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(module_name)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise ValueError(f"there is no module {module_name} with a source file, here or among the installed ones")
    private = importlib.util.spec_from_file_location(f"{module_name}_by_value", spec.origin)
    if private is None or private.loader is None:
        raise ValueError(f"the module {module_name} ({spec.origin}) cannot be loaded")
    module = importlib.util.module_from_spec(private)
    sys.modules[private.name] = module  # only for now: a dataclass looks its own module up there
    try:
        private.loader.exec_module(module)
    except Exception as error:  # a module of the user's own can raise anything
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"the module {module_name} ({spec.origin}) cannot be loaded ({reason})") from error
    finally:
        del sys.modules[private.name]
    function = getattr(module, attribute, None)
    if not callable(function):
        raise ValueError(f"the module {module_name} has no function {attribute}")
    return function  # type: ignore[no-any-return]


def _imported(content: bytes) -> tuple[str, ...]:
    """Load a pickle in a Python that cannot see this folder; return the installed modules that it names.

    Raises
    ------
    ValueError
        It cannot be loaded there, so neither on a node.
    """
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-I", "-c", LOAD_ALONE], input=content, capture_output=True, check=False
    )
    if result.returncode:
        reason = result.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ValueError(
            f"the pickle could not be loaded outside this folder ({reason}): only what the function's own module "
            "defines travels with it; move what it needs into that module, or install it as a package"
        )
    named = {str(argument).partition(".")[0] for _, argument, _ in pickletools.genops(content)}
    return tuple(sorted(named.intersection(result.stdout.decode().split()).difference(sys.stdlib_module_names)))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _description(
    function: str, parameters: dict[str, Any], requires: tuple[str, ...], *, any_python: bool
) -> Description:
    return Description(
        function=function,
        parameters=parameters,
        python=platform.python_version(),
        dill=_version_of_dill(),
        numpy=np.__version__,
        any_python=any_python,
        requires=requires,
    )


def _version_of_dill() -> str:
    try:
        return importlib.metadata.version("dill")
    except importlib.metadata.PackageNotFoundError:  # our own extractor is exported without it
        return "none"
