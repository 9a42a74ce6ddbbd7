"""A bundle's numbers are proved: the golden vector is made and checked, and the same sound gives the same twice."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from sonyc_ml.bundles import golden
from sonyc_ml.bundles.bundle import Bundle, read_bundle
from sonyc_ml.bundles.sections import LARGEST_TOLERANCE
from sonyc_ml.errors import BundleError, BundleMismatchError
from sonyc_ml.model import Model
from sonyc_ml.model.loading import check_golden, make_described
from sonyc_ml.model.waveform import WaveformModel
from sonyc_ml.model.waveform.loading import check_golden_tracks

USUAL_FEATURES = 5e-3  # the tolerance of features where nothing else is said


def verify(
    path: str | Path, trusted_keys: str | Path | None = None, trust_owners: Collection[str] = ()
) -> tuple[Bundle, dict[str, float]]:
    """Check everything about a bundle: owners, modes, digests, the signature where keys are given, the golden vector.

    Returns
    -------
    bundle : Bundle
    differences : dict of str to float
        How far off the golden vector is on this machine; see :func:`sonyc_ml.bundles.golden.compare`.

    Raises
    ------
    BundleError
        What is wrong.
    """
    bundle = read_bundle(path, trusted_keys=trusted_keys, trust_owners=trust_owners)
    if bundle.manifest is None:
        raise BundleError(f"{bundle.path} has no manifest: make one with `sonyc-ml bundle make`")
    if bundle.manifest.waveform is not None:
        return bundle, check_golden_tracks(WaveformModel(bundle))
    model = make_described(bundle)
    check_repeats(model)
    return bundle, check_golden(model)


def check_repeats(model: Model) -> None:
    """Compute the golden signal twice: the same sound must give the same numbers, whatever was heard before it.

    Raises
    ------
    BundleMismatchError
        It does not.
    """
    y, sr = golden.golden_signal(model.n_channels), golden.SAMPLE_RATE
    first, second = (model.get_outputs(y, sr) for _ in range(2))
    for kind, rows in first.items():
        if not np.array_equal(rows, second[kind], equal_nan=True):
            raise BundleMismatchError(
                f"{model.bundle.path}: the same sound gives another {kind} the second time, so its numbers depend "
                "on what was heard before; a network or extractor that keeps something from one window for the next "
                "cannot be used as a bundle"
            )


def _without_times(outputs: dict[str, Any]) -> dict[str, Any]:
    """What the network says; when its windows begin follows from the manifest."""
    return {name: rows for name, rows in outputs.items() if name != "timestamps"}


def golden_vector(model: Model, reference: Model) -> tuple[bytes, dict[str, float]]:
    """The golden vector and the tolerances that it needs; with outputs of both kinds of kernels if they differ."""
    y, sr = golden.golden_signal(model.n_channels), golden.SAMPLE_RATE
    outputs, others = (_without_times(one.get_outputs(y, sr)) for one in (model, reference))
    wider = golden.default_tolerances(outputs, others)
    vector = golden.pack(y, sr, model.get_features(y, sr), outputs, others if wider else None)
    return vector, wider | _tolerance_of_features(model)


def _tolerance_of_features(model: Model) -> dict[str, float]:
    """The tolerance that features of other families need where the last bit of a sample makes more than is usual.

    Processors add in another order, and resampled samples differ by it. Where features are rounded, or are bands far
    below the loudest, that is more than log-mel features of SONYC's kind show.
    """
    if not getattr(getattr(model.extractor, "spectrum", None), "changed", None):
        return {}
    y, sr = golden.golden_signal(model.n_channels), golden.SAMPLE_RATE
    nudged = (y * (1 + np.random.default_rng(0).normal(0, 1e-7, y.shape))).astype(np.float32)
    needed = 10 * float(np.abs(model.get_features(y, sr) - model.get_features(nudged, sr)).max())
    return {"features_db": min(LARGEST_TOLERANCE["features_db"], needed)} if needed > USUAL_FEATURES else {}
