"""One request for a page: what it asks for, and what could not be found out while it was answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import parse_qsl

from sonyc_ml.base.human import moment, shown
from sonyc_ml.errors import SonycMLError
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.web.clock import zone
from sonyc_ml.web.page.node import Node

T = TypeVar("T")

MAX_FIELDS = 50  # of a form


class PageError(Exception):
    """A page that cannot be shown.

    Parameters
    ----------
    status : int
        Of HTTP.
    message : str
        One sentence for whoever asked.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Query:
    """What an address asks for behind its question mark. Names of files need not be UTF-8, and are kept as they are.

    Raises
    ------
    PageError
        It has too many fields.
    """

    def __init__(self, text: bytes) -> None:
        try:
            pairs = parse_qsl(text.decode("ascii", "replace"), errors="surrogateescape", max_num_fields=MAX_FIELDS)
        except ValueError:
            raise PageError(400, f"the address has more than {MAX_FIELDS} fields") from None
        self.fields: Mapping[str, str] = dict(pairs)

    def text(self, name: str, default: str = "") -> str:
        """A field without the blanks around it; the default where it is empty or not there."""
        return self.fields.get(name, "").strip() or default

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A field that is a number in a range.

        Raises
        ------
        PageError
            It is none.
        """
        text = self.text(name)
        try:
            value = float(text) if text else default
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise PageError(400, f"{name} must be a number from {low:g} to {high:g}, not {text!r}")
        return value

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """A field that is a whole number in a range; raises as :meth:`number` does."""
        value = self.number(name, default, low, high)
        if value != int(value):
            raise PageError(400, f"{name} must be a whole number, not {self.text(name)!r}")
        return int(value)

    def moment(self, name: str, now_s: float, default: str) -> float:
        """A field that is a time, or how long ago, in seconds since 1970.

        Raises
        ------
        PageError
            It is none.
        """
        try:
            return moment(self.text(name, default), now_s, zone())
        except ValueError as error:
            raise PageError(400, f"{name}: {error}") from error


class Visit:
    """A request, as the functions see it that know what a page says.

    Parameters
    ----------
    node : Node
    query : Query
    headers : mapping of str to str
        Of the request, by names in small letters.

    Attributes
    ----------
    problems : list of str
        What could not be found out: sentences that the page shows above all else.
    now_s : float
        When it began (in seconds since 1970).
    """

    def __init__(self, node: Node, query: Query, headers: Mapping[str, str] | None = None) -> None:
        self.node, self.query, self.headers = node, query, headers or {}
        self.problems: list[str] = []
        self.now_s = node.clock()
        self._stack = ExitStack()
        self._journal: Journal | None = None
        self._is_readable = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def ask(self, work: Callable[[Journal], T]) -> T | None:
        """What is found in the journal; None where it cannot be read, and then the page says why."""
        if not self._is_readable:
            return None
        try:
            if self._journal is None:
                self._journal = self._stack.enter_context(self.node.journal())
            return work(self._journal)
        except SonycMLError as error:
            self._is_readable = False
            self.problems.append(shown(str(error)))
            return None
