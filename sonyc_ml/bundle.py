"""A network and the extractor of the same name: find them, read them, load them.

This is the only place that unpickles.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sonyc_ml.errors import BundleError, BundleMismatchError

# The last line of an exported pickle, behind the pickle's own end: readable without running anything.
DESCRIPTION_KEY = "sonyc_ml_extractor"


@dataclass(frozen=True, slots=True)
class Description:
    """What an exported extractor says of itself, in the last line of its pickle.

    Attributes
    ----------
    function : str
        What was exported, ``module:name``.
    parameters : dict
        The keywords it was exported with.
    python, dill, numpy : str
        Versions that made the pickle.
    any_python : bool
        Whether it holds source text, which every Python reads, or bytecode, which only the same minor version does.
    requires : tuple of str
        Modules that it imports.
    """

    function: str
    parameters: dict[str, Any]
    python: str
    dill: str
    numpy: str
    any_python: bool
    requires: tuple[str, ...]

    def line(self) -> bytes:
        """The description as the last line of a pickle."""
        content = {name: getattr(self, name) for name in self.__slots__}
        return b"\n" + json.dumps({DESCRIPTION_KEY: content}, sort_keys=True).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files of a bundle, read once.

    Attributes
    ----------
    name : str
        ``NAME`` of ``NAME.tflite``.
    path : Path
        Of the network.
    network : bytes
    pickle : bytes or None
    sha256 : str
        Of the listing that ``sha256sum NAME.tflite NAME.pkl`` prints: one number for all files.
    """

    name: str
    path: Path
    network: bytes = field(repr=False)
    pickle: bytes | None = field(repr=False)
    sha256: str

    @property
    def pickle_path(self) -> Path:
        """Where the extractor is, or would be."""
        return self.path.with_suffix(".pkl")

    @property
    def description(self) -> Description | None:
        """What the extractor says of itself; None where there is none, or it was made by something else."""
        return read_description(self.pickle) if self.pickle is not None else None


def read_bundle(path: str | Path) -> Bundle:
    """Read ``NAME.tflite`` and, where there is one, ``NAME.pkl`` beside it.

    Raises
    ------
    BundleError
    """
    path = Path(path)
    if path.suffix != ".tflite":
        raise BundleError(f"{path}: a model is named by its network, NAME.tflite")
    network = _read(path)
    pickle_path = path.with_suffix(".pkl")
    extractor = _read(pickle_path) if pickle_path.exists() else None
    files = {path.name: network} | ({pickle_path.name: extractor} if extractor is not None else {})
    listing = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    return Bundle(path.stem, path, network, extractor, hashlib.sha256(listing.encode()).hexdigest())


def load_extractor(bundle: Bundle) -> Callable[..., Any]:
    """Unpickle the extractor of a bundle. **This runs the code it holds.**

    Raises
    ------
    BundleError
        There is none, or it is damaged.
    BundleMismatchError
        It was made for another Python, or needs a module that is not installed; says which and what to do.
    """
    if bundle.pickle is None:
        raise BundleError(f"{bundle.pickle_path} does not exist; make it with `sonyc-ml features export`")
    description = bundle.description
    made_by = _maker(description)
    if description is not None and not description.any_python and not _same_minor_version(description.python):
        raise BundleMismatchError(
            f"{bundle.pickle_path} holds bytecode {made_by}, and this is Python {platform.python_version()}: "
            f"export it again with this Python, or run it with Python {description.python.rpartition('.')[0]}"
        )
    missing = [name for name in description.requires if find_spec(name) is None] if description else []
    if missing:
        raise BundleMismatchError(_needs(bundle, missing[0]))
    try:
        extractor = _unpickled(bundle.pickle, description)
    except ModuleNotFoundError as error:
        raise BundleMismatchError(_needs(bundle, error.name)) from error
    except Exception as error:  # unpickling foreign code can raise anything
        raise BundleMismatchError(
            f"{bundle.pickle_path} cannot be loaded by Python {platform.python_version()} ({type(error).__name__}: "
            f"{error}); it was made {made_by}: export it again with this Python"
        ) from error
    if not callable(extractor):
        raise BundleMismatchError(f"{bundle.pickle_path} holds a {type(extractor).__name__}, not a function")
    return extractor  # type: ignore[no-any-return]


def _unpickled(content: bytes, description: Description | None) -> Any:
    if description is not None and description.any_python:
        return pickle.loads(content)  # noqa: S301  our own extractor: nothing in it is dill's
    import dill  # noqa: PLC0415  costs 30 ms and 8 MB

    return dill.loads(content)  # noqa: S301


def read_description(content: bytes) -> Description | None:
    """Read what a pickle says of itself, without running it."""
    last_line = content.rstrip(b"\n").rpartition(b"\n")[2]
    if not last_line.startswith(b'{"' + DESCRIPTION_KEY.encode()):
        return None
    try:
        described = json.loads(last_line)[DESCRIPTION_KEY]
        return Description(**(described | {"requires": tuple(described["requires"])}))
    except (ValueError, TypeError, KeyError):
        return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error


def _maker(description: Description | None) -> str:
    if description is None:
        return "by a Python that it does not name"
    return f"by Python {description.python} with dill {description.dill} and numpy {description.numpy}"


def _needs(bundle: Bundle, module: str | None) -> str:
    return (
        f"{bundle.pickle_path} needs the module {module}, which is not installed here; install it, "
        "or export an extractor that does without (a function is exported by value from its own module only)"
    )


def _same_minor_version(version: str) -> bool:
    return version.split(".")[:2] == platform.python_version().split(".")[:2]
