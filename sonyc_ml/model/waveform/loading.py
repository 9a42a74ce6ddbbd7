"""A bundle's files to the model that turns sound into tracks: read, checked, built, and proved by the golden vector."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from sonyc_ml.bundles.bundle import read_bundle
from sonyc_ml.bundles.golden import GOLDEN_CHOICES, TRACK, compare_tracks, unpack
from sonyc_ml.bundles.location import resolve_bundle_path
from sonyc_ml.bundles.machine_state import MachineState
from sonyc_ml.errors import BundleError, BundleMismatchError
from sonyc_ml.model.versions import python_and_processor, resampler
from sonyc_ml.model.waveform.model import WaveformModel


def load_waveform_model(
    path: str | Path,
    *,
    trusted_keys: str | Path | None = None,
    golden: str = "once",
    trust_owners: Collection[str] = (),
    accepted: Collection[str] = (),
    **parameters: Any,
) -> WaveformModel:
    """Load a bundle that turns sound into tracks.

    Parameters
    ----------
    path : str or Path
        ``NAME.tflite``, with its manifest beside it.
    trusted_keys, golden, trust_owners, accepted
        Those of :func:`sonyc_ml.model.loading.load_model`.
    **parameters
        Those of :class:`~sonyc_ml.model.waveform.WaveformModel`.

    Raises
    ------
    BundleError
        It cannot be used; its branches say why.
    """
    if golden not in GOLDEN_CHOICES:
        raise ValueError(f"golden {golden!r} is not known; use one of {', '.join(GOLDEN_CHOICES)}")
    state, path = MachineState(), resolve_bundle_path(path)
    bundle = read_bundle(path, trusted_keys=trusted_keys, state=state, trust_owners=trust_owners, accepted=accepted)
    model = WaveformModel(bundle, **parameters)
    manifest = bundle.manifest
    assert manifest is not None  # there is no such model without
    if golden != "never" and manifest.golden is not None:
        key = f"{bundle.sha256} {model.versions} {resampler(model.res_type)} {python_and_processor()}"
        if golden == "always" or not state.was_golden(key):
            check_golden_tracks(model)
            state.remember_golden(key)
    if trusted_keys is not None:
        state.remember_version(manifest.name, manifest.version)
    return model


def check_golden_tracks(model: WaveformModel) -> dict[str, float]:
    """Make the tracks of a bundle's golden vector here and compare.

    Returns
    -------
    dict of str to float
        The largest difference of each track (full scale is 1).

    Raises
    ------
    BundleMismatchError
        Further off than the manifest allows, or the golden vector cannot be read.
    BundleError
        There is none.
    """
    manifest = model.bundle.manifest
    if manifest is None or manifest.golden is None or manifest.waveform is None:
        raise BundleError(f"{model.bundle.name} has no golden vector; make one with `sonyc-ml bundle make`")
    name = manifest.golden.file
    wanted = unpack(model.bundle.files[name], name, needed=tuple(f"{TRACK}{track}" for track in model.tracks))
    try:
        tracks = model.separate(wanted["y"], int(wanted["sample_rate"].item()))
    except (ValueError, TypeError, OverflowError) as error:
        raise BundleMismatchError(f"{name} cannot be computed here: {error}") from error
    return compare_tracks(manifest.waveform.tolerance, wanted, tracks)
