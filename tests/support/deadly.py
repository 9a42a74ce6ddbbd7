"""A bundle that kills the process which loads it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import vouch
from tests.support import networks


class Killer:
    """Kills whoever unpickles it: reads the first address there is, which belongs to nobody."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return exec, ("import ctypes; ctypes.string_at(0)",)


def make_deadly(network: Path) -> Path:
    """Write a bundle whose loading ends as in a runtime that stumbles over the processor: in a real fault."""
    network.write_bytes(networks.dense((1, 64, 51, 1)))
    network.with_suffix(".pkl").write_bytes(pickle.dumps(Killer()))
    return vouch(network)
