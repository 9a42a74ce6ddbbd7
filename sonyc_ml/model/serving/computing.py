"""Samples to the event that answers them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.model import Model
from sonyc_ml.sound.live.answers import encode_error, encode_outputs


def compute(model: Model, y: npt.NDArray[np.float32], sr: int, hop_size: Any, **said: Any) -> bytes:
    """Embed samples: the event that answers, with the warnings that were given on the way, and what else is said."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        try:
            outputs = model.get_outputs(y, sr, hop_size)
        except Exception as error:  # noqa: BLE001  it is raised on the other side
            return encode_error(error, n_samples=len(y), **said)
    return encode_outputs(outputs, n_samples=len(y), warnings=described(given), **said)


def described(given: list[warnings.WarningMessage]) -> list[dict[str, str]]:
    """Warnings, as they are sent."""
    return [{"code": warning.category.__name__, "text": str(warning.message)} for warning in given]
