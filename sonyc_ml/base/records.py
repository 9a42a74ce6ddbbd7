"""``dataclass`` as in the standard library, made in an eighth of the time: only ``__init__`` is compiled, and late.

The standard one writes and compiles six functions for each class. Those of the 61 classes that a daemon imports are a
fifth of what it does until it is ready (Python 3.11): a tenth of a second on the processor of a node. Here ``__init__``
is compiled with the second record of a class, as of most a process makes one or none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field as field  # noqa: PLC0414  handed on
from dataclasses import replace as replace  # noqa: PLC0414
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414  what type checkers know all about
else:

    def dataclass(*, frozen: bool = False, **options: Any) -> Callable[[type], type]:
        """Decorate a class as :func:`dataclasses.dataclass` does, with its options; `eq` and `repr` are always on."""

        def made(cls: type) -> type:
            own = vars(cls).keys()
            cls = dataclasses.dataclass(cls, init=False, eq=False, repr=False, **options)
            for name, function in _methods(cls, is_frozen=frozen).items():
                if name not in own:
                    setattr(cls, name, function)
            return cls

        return made


def _methods(cls: Any, *, is_frozen: bool) -> dict[str, Any]:
    entries = dataclasses.fields(cls)
    names = [entry.name for entry in entries]
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

    def state_of(self: object) -> list[Any]:
        return [getattr(self, name) for name in names]

    def take_state(self: object, state: Sequence[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    methods = {"__init__": _init(cls, entries), "__signature__": _Signature(entries)}
    methods |= {"__eq__": equals, "__hash__": None, "__repr__": text_of}
    if is_frozen:
        methods |= {"__hash__": hash_of, "__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
        methods |= {"__getstate__": state_of, "__setstate__": take_state}
    return methods


def _init(cls: Any, entries: Sequence[dataclasses.Field[Any]]) -> Any:
    """What sets the fields: of the first record one by one; with the second, a compiled function takes its place."""
    has_made_one = False

    def init(self: object, *values: Any, **named: Any) -> None:
        nonlocal has_made_one
        if has_made_one or not _fill(self, entries, values, named):
            cls.__init__ = _compiled_init(cls, entries)
            cls.__init__(self, *values, **named)
        has_made_one = True

    init.__name__, init.__qualname__ = "__init__", f"{cls.__qualname__}.__init__"
    return init


def _fill(
    record: Any, entries: Sequence[dataclasses.Field[Any]], values: Sequence[Any], named: Mapping[str, Any]
) -> bool:
    """Set the fields; False where the arguments are not those of the class, which the compiled function tells."""
    given = dict(zip([entry.name for entry in entries if not entry.kw_only], values, strict=False))
    if len(given) < len(values) or given.keys() & named.keys():
        return False
    given.update(named)
    for entry in entries:
        if entry.name in given:
            value = given.pop(entry.name)
        elif entry.default is not dataclasses.MISSING:
            value = entry.default
        elif entry.default_factory is not dataclasses.MISSING:
            value = entry.default_factory()
        else:
            return False
        object.__setattr__(record, entry.name, value)
    if given:
        return False
    if hasattr(record, "__post_init__"):
        record.__post_init__()
    return True


class _Signature:
    """What a class is called with, which is known once ``__init__`` is compiled; for ``help`` and :mod:`inspect`."""

    def __init__(self, entries: Sequence[dataclasses.Field[Any]]) -> None:
        self._entries = entries

    def __get__(self, _: object, cls: type) -> Any:
        import inspect  # noqa: PLC0415  only where somebody asks

        if "__dataclass_fields__" not in vars(cls):
            raise AttributeError("__signature__")  # a class derived from it, with its own
        return inspect.signature(_compiled_init(cls, self._entries).__get__(object()))


def _compiled_init(cls: Any, entries: Iterable[dataclasses.Field[Any]]) -> Any:
    """What sets the fields, from its arguments, defaults, and what makes those."""
    known: dict[str, Any] = {"set_field": object.__setattr__, "Missing": dataclasses.MISSING}
    arguments: list[str] = []
    only_named: list[str] = []
    lines: list[str] = []
    for entry in entries:
        name = entry.name
        argument, value = name, name
        if entry.default is not dataclasses.MISSING:
            known[f"default_{name}"] = entry.default
            argument = f"{name}=default_{name}"
        elif entry.default_factory is not dataclasses.MISSING:
            known[f"make_{name}"] = entry.default_factory
            argument, value = f"{name}=Missing", f"make_{name}() if {name} is Missing else {name}"
        (only_named if entry.kw_only else arguments).append(argument)
        lines.append(f"set_field(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    listed = ", ".join(["self", *arguments, *(["*", *only_named] if only_named else [])])
    made: dict[str, Any] = {}
    exec(f"def __init__({listed}):\n " + "\n ".join(lines or ["pass"]), known, made)  # noqa: S102  of names in a class
    function = made["__init__"]
    function.__qualname__ = f"{cls.__qualname__}.__init__"
    function.__annotations__ = {entry.name: entry.type for entry in entries} | {"return": None}
    return function


def _refuse_to_set(_: object, name: str, __: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _getter(names: list[str]) -> Callable[[Any], Any]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda record: tuple(getattr(record, name) for name in names)  # a tuple also of one
