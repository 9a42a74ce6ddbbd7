"""What the tests of the node share: a clock that they move, and a journal that goes by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sonyc_ml.node.journal.journal import Journal
from tests.support.journals import Clock
from tests.support.node import Node


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(tmp_path: Path, clock: Clock) -> Iterator[Journal]:
    journal = Journal(tmp_path, clock=clock)
    yield journal
    journal.close()


@pytest.fixture
def make_node(tmp_path: Path, tiny_bundle: Path) -> Iterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def make(*models: Path, more: str = "") -> Node:
        nodes.append(Node(tmp_path, *(models or (tiny_bundle,)), more=more))
        return nodes[-1]

    yield make
    for node in nodes:
        node.journal.close()
