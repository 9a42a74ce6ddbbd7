"""Our own extractor in a pickle, recognised without running it: the text of this package's features.py, and numbers."""

from __future__ import annotations

import hashlib
import io
import pickle
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any

from sonyc_ml import features
from sonyc_ml.bundles.bounds import check_numbers

# What a pickle of ours does when it is loaded: run the text of features.py in a namespace of its own, and build the
# extractor there. Only builtins and numpy take part, so it loads wherever numpy is, in every version of Python.
BUILD = (
    "exec(compile(source, '<sonyc_ml/features.py>', 'exec'), namespace := {'__name__': 'sonyc_ml_extractor'})"
    " or namespace['LogMel'](**parameters)"
)

# SHA-256 of features.py as it was in releases and in the default bundles before this one.
EARLIER_TEXTS = frozenset(
    {
        "e103efde7b883793cfa81ea137ef055baa57a84f628daae0738de12c108f5ad8",
        "8f41570aaf3ec8009da57d5603d4bcd6aa391d358e90b1f3a43750708a7d78dc",
        "49dc77316adf5b8125784313d26f5515c3a1a5e60271d2e988c3fac867f57f59",
        "a31f6858edd5da27ef824be0872a853cb2b5b4fb55c50062b97871ef5fddb6e5",
    }
)


def is_own_extractor(content: bytes) -> bool:
    """Whether a pickle does nothing but build this package's LogMel, of this release or one before, with plain numbers.

    Parameters
    ----------
    content : bytes
        The pickle; what lies behind its end does not matter.
    """
    return _read(content) is not None


def own_extractor_of_today(content: bytes) -> features.LogMel | None:
    """Build the extractor of a pickle that holds the very text of this release's features.py; None for any other.

    That text is imported and compiled already; to compile what the pickle holds takes 6 ms here, and ten times that on
    a node.
    """
    read = _read(content)
    if read is None or _digest(read["source"]) not in _text_of_today():
        return None
    return features.LogMel(**read["parameters"])


def _read(content: bytes) -> dict[str, Any] | None:
    """Text and parameters of a pickle that does nothing but build this package's LogMel."""
    reader = _Reader(io.BytesIO(content))
    try:
        return reader.names if reader.load() is reader.built else None
    except Exception:  # noqa: BLE001  a pickle of something else fails in every way there is
        return None


class _Reader(pickle.Unpickler):
    """Reads plain values, and knows one function, which it does not call: it looks at what that would be called with.

    Looks there and then: what is judged later may be changed in between.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.built: object = None
        self.names: dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) != ("builtins", "eval"):
            raise pickle.UnpicklingError(f"{module}.{name} is not ours")
        return self._call

    def _call(self, *arguments: Any) -> object:
        if self.built is not None or not _are_ours(arguments):
            raise pickle.UnpicklingError("it does something else")
        self.built = object()  # nothing can be done to it
        self.names = {name: copy(value) for name, value in arguments[1].items()}
        return self.built


def _are_ours(arguments: tuple[Any, ...]) -> bool:
    if len(arguments) != 2 or type(arguments[0]) is not str or arguments[0] != BUILD:
        return False
    names = arguments[1]
    if type(names) is not dict or set(names) != {"source", "parameters"}:
        return False
    source, parameters = names["source"], names["parameters"]
    if type(source) is not str or not _is_plain(parameters):
        return False
    try:
        check_numbers(parameters)
    except ValueError:
        return False
    return _digest(source) in EARLIER_TEXTS | _text_of_today()


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode(errors="replace")).hexdigest()


def _is_plain(parameters: Any) -> bool:
    return type(parameters) is dict and all(
        type(name) is str and type(value) in (int, float, str, bool, type(None)) for name, value in parameters.items()
    )


@cache
def _text_of_today() -> frozenset[str]:
    try:
        text = Path(features.__file__).read_text(encoding="utf-8")
    except OSError:  # a package without its sources
        return frozenset()
    return frozenset({hashlib.sha256(text.encode()).hexdigest()})
