"""What the tests of the node share: a clock that they move, and a journal that goes by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sonyc_ml.node.journal.journal import Journal
from tests.support.journals import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(tmp_path: Path, clock: Clock) -> Iterator[Journal]:
    journal = Journal(tmp_path, clock=clock)
    yield journal
    journal.close()
