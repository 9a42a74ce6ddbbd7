"""``dataclass`` as in the standard library, made in half the time: what compares, hashes and prints is not compiled.

The standard one writes and compiles six functions for each class. Those of the 55 classes that a daemon imports are a
fifth of what it does until it is ready (Python 3.11): a tenth of a second on the processor of a node.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import field as field  # noqa: PLC0414  handed on
from dataclasses import replace as replace  # noqa: PLC0414
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414  what type checkers know all about
else:

    def dataclass(**options: Any) -> Callable[[type], type]:
        """Decorate a class as :func:`dataclasses.dataclass` does, with its options; `eq` and `repr` are always on."""

        def made(cls: type) -> type:
            own = vars(cls).keys()
            cls = dataclasses.dataclass(cls, eq=False, repr=False, **options)
            for name, function in _methods(cls, is_frozen=options.get("frozen", False)).items():
                if name not in own:
                    setattr(cls, name, function)
            return cls

        return made


def _methods(cls: Any, *, is_frozen: bool) -> dict[str, Any]:
    entries = dataclasses.fields(cls)
    compared = _getter([entry.name for entry in entries if entry.compare])
    hashed = _getter([entry.name for entry in entries if (entry.compare if entry.hash is None else entry.hash)])
    printed = [entry.name for entry in entries if entry.repr]

    def equals(self: object, other: object) -> Any:
        return compared(self) == compared(other) if other.__class__ is self.__class__ else NotImplemented

    def hash_of(self: object) -> int:
        return hash(hashed(self))

    def text_of(self: object) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in printed)
        return f"{type(self).__qualname__}({values})"

    return {"__eq__": equals, "__hash__": hash_of if is_frozen else None, "__repr__": text_of}


def _getter(names: list[str]) -> Callable[[Any], Any]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda record: tuple(getattr(record, name) for name in names)  # a tuple also of one
