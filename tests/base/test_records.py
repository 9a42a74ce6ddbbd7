"""`sonyc_ml.base.records`: a class of it is what one of the standard library is."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import sonyc_ml.base.records
from sonyc_ml.node.spool.spool import WATCHED, FolderState


def classes(dataclass: Callable[..., Any], **options: Any) -> list[Any]:
    """Classes as one decorator makes them: of several fields, one, none, and with a text and comparison of its own."""

    @dataclass(slots=True, **options)
    class Several:
        a: float
        b: str = "b"
        c: float = dataclasses.field(default=0.5, compare=False, repr=False)
        d: tuple[int, ...] = dataclasses.field(default=(1,), hash=False)

    @dataclass(slots=True, **options)
    class One:
        a: float

    @dataclass(slots=True, **options)
    class Empty:
        pass

    @dataclass(slots=True, **options)
    class WithOwn:
        a: float

        def __repr__(self) -> str:
            return "mine"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, int)

        def __hash__(self) -> int:
            return 7

    return [Several, One, Empty, WithOwn]


def behaviour(made: Any) -> list[Any]:
    """What instances of a class do, where it does not matter who made the class."""
    values = {"a": math.nan} if dataclasses.fields(made) else {}
    record, like, other = made(**values), made(**values), made(**dict.fromkeys(values, 2.0))
    return [
        repr(record).replace("ours", "standard"),
        [record == like, record == other, record == 1, record != like, record == tuple(values.values())],
        None if made.__hash__ is None else [hash(record) == hash(like), hash(record) == hash(other), hash(other)],
        dataclasses.asdict(dataclasses.replace(other)),
        copy.copy(other) == other,
        made.__match_args__,
        made.__slots__,
    ]


@pytest.mark.parametrize("options", [{"frozen": True}, {}, {"frozen": True, "kw_only": True}])
def test_a_record_is_a_dataclass(options: dict[str, bool]) -> None:
    """Records print, compare, are hashed, replaced and copied as those of the standard library."""
    standard = classes(dataclasses.dataclass, **options)
    ours = classes(sonyc_ml.base.records.dataclass, **options)
    assert [behaviour(made) for made in ours] == [behaviour(made) for made in standard]


@pytest.mark.parametrize("options", [{}, {"kw_only": True}])
@pytest.mark.parametrize("values", [(), (1.0,), (1.0, "b", 2.0, (3,)), (1.0, "b", 2.0, (3,), 4)])
@pytest.mark.parametrize("named", [{}, {"a": 1.0}, {"b": "c", "d": ()}, {"a": 1.0, "e": 0}])
def test_the_first_record_is_made_as_all_others(
    options: dict[str, bool], values: tuple[Any, ...], named: dict[str, Any]
) -> None:
    """The first is made otherwise, which nobody sees: not in its values, its defaults, nor in what is refused."""
    outcomes = []
    for dataclass in (dataclasses.dataclass, sonyc_ml.base.records.dataclass):
        several = classes(dataclass, **options)[0]
        outcomes += [made_or_refused(several, *values, **named) for _ in range(3)]
    assert len(set(outcomes)) == 1


def made_or_refused(made: Any, *values: Any, **named: Any) -> str:
    """The values of a record that is made so, or why there is none, without the name of who made it."""
    try:
        return str(dataclasses.astuple(made(*values, **named)))
    except TypeError as error:
        return str(error).rpartition("__init__()")[2]


def test_help_shows_what_a_record_is_made_of() -> None:
    """Before the first is made too; a class derived from it, with an ``__init__`` of its own, shows that."""

    class Derived(FolderState):
        def __init__(self, other: int) -> None: ...

    assert str(inspect.signature(FolderState)) == "(word: 'str', detail: 'str' = '') -> None"
    assert list(inspect.signature(Derived).parameters) == ["other"]


def test_records_do_not_change() -> None:
    """A frozen one refuses to be changed, and is pickled all the same."""
    state = pickle.loads(pickle.dumps(FolderState(WATCHED)))
    assert state == FolderState(WATCHED)
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.word = ""
