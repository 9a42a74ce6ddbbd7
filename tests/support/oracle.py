"""The oracle: what SONYC's original code made of recordings, and of the samples that it read of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import require_shared

STREET = ("08_003165", "11_000297", "34_000997", "41_002444")  # 91 windows each
RECORDINGS = (*STREET, "chirp_44k", "dog_1")
SAMPLES = (*RECORDINGS, "08_003165_odd_length")


def oracle(name: str) -> dict[str, npt.NDArray[np.float32]]:
    """The arrays of one: ``y``, ``sample_rate``, ``features``, ``embedding`` and ``urban_sound_tags``."""
    with np.load(require_shared(f"oracle/{name}.npz"), allow_pickle=False) as arrays:
        return dict(arrays)


def long_if_street(names: Iterable[str]) -> list[Any]:
    """Parameters for tests that run SONYC's network, which takes up to half a second a window where it is emulated."""
    return [pytest.param(name, marks=[pytest.mark.long] if name in STREET else []) for name in names]
