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

# From the oracle's samples no processor's features are further off: it is the last bit of a float32 beyond 64 dB. Which
# instructions take the logarithm decides it (numpy has others for AVX-512).
FEATURES_DB = 1e-5
# SONYC's network stores its input, -80 to 0 dB, in 8 bits.
INPUT_STEP_DB = 80 / 255


def oracle(name: str) -> dict[str, npt.NDArray[np.float32]]:
    """The arrays of one: ``y``, ``sample_rate``, ``features``, ``embedding`` and ``urban_sound_tags``."""
    with np.load(require_shared(f"oracle/{name}.npz"), allow_pickle=False) as arrays:
        return dict(arrays)


def at_an_edge(features: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which windows have a feature so near to the middle of two steps of SONYC's input that its last bit decides.

    Twice `FEATURES_DB`: the runtimes divide by the step in float32, and differ in that by as much.
    """
    steps = features.reshape(len(features), -1).astype(np.float64) / INPUT_STEP_DB
    is_near = np.abs(steps - np.floor(steps) - 0.5) * INPUT_STEP_DB <= 2 * FEATURES_DB
    return np.asarray(is_near.any(axis=1))


def long_if_street(names: Iterable[str]) -> list[Any]:
    """Parameters for tests that run SONYC's network, which takes up to half a second a window where it is emulated."""
    return [pytest.param(name, marks=[pytest.mark.long] if name in STREET else []) for name in names]
