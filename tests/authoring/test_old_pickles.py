"""Pickles that version 0.1 exported, before the package had folders, give the features that they gave then."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sonyc_ml.bundles.bundle import Bundle, load_extractor, read_description
from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.features import LogMel

OLD = Path(__file__).parents[1] / "support" / "data" / "version_0_1"
SAMPLE_RATE = 16000
Y = ((np.arange(12000) ** 2 // 7 % 2001 - 1000) / 4000).astype(np.float32)  # the same everywhere, to the last bit


def load(name: str) -> Any:
    content = (OLD / f"{name}.pkl").read_bytes()
    accepted = frozenset({hashlib.sha256(content).hexdigest()})
    return load_extractor(Bundle(name, OLD / f"{name}.tflite", None, {f"{name}.pkl": content}, "", accepted))


def load_made_by_this_python(name: str) -> Any:
    """Load what holds bytecode; elsewhere see that it is refused with what to do, and skip."""
    description = read_description((OLD / f"{name}.pkl").read_bytes())
    assert description is not None
    made_by = description.python.rpartition(".")[0]
    if made_by != f"{sys.version_info.major}.{sys.version_info.minor}":
        with pytest.raises(BundleMismatchError, match=f"export it again .* or run it with Python {made_by}"):
            load(name)
        pytest.skip(f"it was made by Python {made_by}")
    return load(name)


def features_of(name: str) -> npt.NDArray[np.float32]:
    """What version 0.1 computed."""
    with np.load(OLD / "features.npz") as arrays:
        return np.asarray(arrays[name], np.float32)


def test_an_extractor_of_ours_gives_the_same_features() -> None:
    """The pickle carries its own text; its numbers are those of then, and those of today's extractor."""
    extractor = load("log_mel")
    assert (extractor.sample_rate, extractor.window_size_s, extractor.hop_size_s) == (8000, 1.0, 0.5)
    computed = np.concatenate(list(extractor.stream([Y], SAMPLE_RATE, len(Y))))
    for expected in (features_of("log_mel"), LogMel(n_mels=16, hop_size=0.5)(Y, SAMPLE_RATE)):
        np.testing.assert_allclose(computed, expected, atol=5e-3, rtol=0)


def test_a_function_of_the_users_gives_the_same_features() -> None:
    """So does a function, with the keyword that was fixed when it was exported."""
    np.testing.assert_allclose(
        load_made_by_this_python("function")(Y, SAMPLE_RATE), features_of("function"), rtol=1e-4, atol=1e-6
    )


def test_a_class_that_overrides_the_old_name_gives_the_same_features() -> None:
    """A pickled class that derives from `Extractor` and overrides `_features` computes as before; it is said once."""
    with pytest.warns(DeprecationWarning, match="features.Extractor is WindowExtractor now"):
        extractor = load_made_by_this_python("subclass")
    with pytest.warns(DeprecationWarning, match="Flatness overrides _features, which is window_features now"):
        computed = extractor(Y, SAMPLE_RATE)
    np.testing.assert_allclose(computed, features_of("subclass"), rtol=1e-4, atol=1e-6)
