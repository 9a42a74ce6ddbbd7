"""A golden vector: proof that this machine computes what the bundle's maker computed."""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.strict import open_npz
from sonyc_ml.bundles.sections import LARGEST_TOLERANCE, LOWEST_COSINE, USUAL_COSINE, USUAL_SCORES, Golden
from sonyc_ml.errors import BundleMismatchError

GOLDEN_CHOICES = ("once", "always", "never")  # when a golden vector is checked
REFERENCE = "_reference"  # behind the name of an output: what the reference kernels give
TRACK = "track_"  # before the name of a track
WHAT = "this machine does not compute what the bundle's golden vector says"
ADVICE = "use the Python, runtime and kernels it was made with, or make the bundle again here"

MAX_BYTES = 1 << 28  # of all arrays: it is a short signal
MAX_SIGNAL_S, MAX_SAMPLE_RATE = 60, 10_000_000

Floats = npt.NDArray[np.float32]

SAMPLE_RATE = 22050  # resampled by most extractors, so that the resampler is proved too
N_SAMPLES = 29767  # a little over 1.3 s, so that the padding is as well

DIRECTIONS = {"embedding": "cosine"}  # a tolerance's name; other kinds have theirs, a difference, under their own


def golden_signal(n_channels: int | None = None) -> Floats:
    """A signal that reaches every part of a bundle: a chirp over steps of noise, with silence at its end.

    With `n_channels`, `(n_channels, n_samples)`: each channel has it later and softer than the one before.
    """
    time_s = np.arange(N_SAMPLES) / SAMPLE_RATE
    chirp = 0.3 * np.sin(2 * np.pi * (50 + 2500 * time_s) * time_s)
    noise = np.random.default_rng(2016).normal(0, 1, N_SAMPLES) * np.where(time_s % 0.4 < 0.2, 0.1, 0.001)
    signal = np.where(time_s < 1.2, chirp + noise, 0)
    pcm = np.round(np.clip(signal, -1, 1) * 32767).astype(np.int16)  # what is stored is what is heard
    y = (pcm / np.float32(32768)).astype(np.float32)
    return y if n_channels is None else np.stack([np.roll(y, 5 * i) / np.float32(2**i) for i in range(n_channels)])


def pack(
    y: Floats,
    sample_rate: int,
    features: Floats,
    outputs: dict[str, Floats],
    reference: dict[str, Floats] | None = None,
) -> bytes:
    """A golden vector as the content of its ``.npz``.

    Parameters
    ----------
    y : np.ndarray [shape=(n_samples,), dtype=float32]
    sample_rate : int
        Of `y` (in Hz).
    features : np.ndarray [shape=(n_windows, …), dtype=float32]
    outputs, reference : dict of str to np.ndarray [shape=(n_windows, n), dtype=float32]
        Of the kernels that are used by default, and of the reference kernels.
    """
    arrays: dict[str, Any] = {"y": y, "sample_rate": np.array(sample_rate), "features": features, **outputs}
    arrays |= {f"{kind}{REFERENCE}": rows for kind, rows in (reference or {}).items()}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def unpack(content: bytes, source: str, *, needed: tuple[str, ...] = ("features",)) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a golden vector; it must hold those `needed` beside its signal.

    Raises
    ------
    BundleMismatchError
        The file is no golden vector.
    """
    try:
        with open_npz(io.BytesIO(content)) as arrays:
            _refuse_bomb(content)
            named = {name: arrays[name] for name in arrays.files}
    except Exception as error:  # a damaged file fails in a dozen ways
        raise BundleMismatchError(f"{source} is not an .npz of arrays: {error}") from error
    missing = {"y", "sample_rate", *needed} - set(named)
    if missing:
        raise BundleMismatchError(f"{source} is no golden vector: it has no {', '.join(sorted(missing))}")
    for name, array in named.items():
        if array.dtype.kind not in "iuf" or (name == "sample_rate" and array.size != 1):
            raise BundleMismatchError(
                f"{source} is no golden vector: its {name} is {array.dtype} of shape {array.shape}"
            )
    y, sr = named["y"], named["sample_rate"].item()
    if MAX_SAMPLE_RATE < sr < math.inf or (sr >= 1 and y.size > MAX_SIGNAL_S * sr):
        raise BundleMismatchError(
            f"{source} is no golden vector: {y.size:,} samples at {sr:g} Hz are more than a minute of sound"
        )
    return named


def _refuse_bomb(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as members:
        size = sum(member.file_size for member in members.infolist())
    if size > MAX_BYTES:
        raise ValueError(f"it would unpack to {size:,} bytes")


def compare(
    golden: Golden, wanted: dict[str, npt.NDArray[Any]], features: Floats, outputs: dict[str, Floats]
) -> dict[str, float]:
    """Compare what was computed here with the golden vector: with its outputs of either kind of kernels.

    Returns
    -------
    dict of str to float
        How far off each part is, by the tolerance that it is held against: ``features_db``, ``cosine``, ``scores``.

    Raises
    ------
    BundleMismatchError
        A part is further off than the manifest allows; says how far.
    """
    computed = {"features": features, **outputs}
    for name, array in computed.items():
        if name not in wanted:
            raise BundleMismatchError(f"the golden vector has no {name}: make the bundle again")
        if wanted[name].shape != array.shape:
            raise BundleMismatchError(
                f"the golden vector has {name} of shape {wanted[name].shape}, this machine computes {array.shape}"
            )
    found = {"features_db": float(np.abs(features - wanted["features"]).max())}
    for kind, array in outputs.items():
        if kind in DIRECTIONS:
            found[DIRECTIONS[kind]] = max(_lowest_cosine(array, rows) for rows in _either(wanted, kind))
        else:
            found[kind] = min(_largest_difference(array, rows) for rows in _either(wanted, kind))
    _refuse(found, golden)
    return found


def default_tolerances(outputs: dict[str, Floats], reference: dict[str, Floats]) -> dict[str, float]:
    """How far another machine may be off, where the two kinds of kernels differ by more than is usual.

    A network with dynamic-range quantisation rounds otherwise on every kind of kernels, and other processors lie
    between: half of the distance between the two is allowed around each.

    Returns
    -------
    dict of str to float
        ``cosine`` and ``scores``, as :class:`~sonyc_ml.bundles.manifest.Golden` takes them; none where its own will do.
    """
    wider: dict[str, float] = {}
    if "embedding" in outputs:
        cosine = 1 - (1 - _lowest_cosine(outputs["embedding"], reference["embedding"])) / 2
        if cosine < USUAL_COSINE:
            wider["cosine"] = max(LOWEST_COSINE, cosine)
    if "scores" in outputs:
        scores = _largest_difference(outputs["scores"], reference["scores"]) / 2
        if scores > USUAL_SCORES:
            wider["scores"] = min(LARGEST_TOLERANCE["scores"], scores)
    return wider


def pack_tracks(y: Floats, sample_rate: int, tracks: dict[str, Floats], reference: dict[str, Floats]) -> bytes:
    """A golden vector of tracks as the content of its ``.npz``; those of the reference kernels are in it too.

    Parameters
    ----------
    y : np.ndarray [shape=(n_samples,), dtype=float32]
    sample_rate : int
        Of `y` (in Hz).
    tracks, reference : dict of str to np.ndarray [shape=(1, n_samples), dtype=float32]
    """
    arrays: dict[str, Any] = {"y": y, "sample_rate": np.array(sample_rate)}
    arrays |= {f"{TRACK}{track}": samples for track, samples in tracks.items()}
    arrays |= {f"{TRACK}{track}{REFERENCE}": samples for track, samples in reference.items()}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def compare_tracks(
    tolerance: float, wanted: dict[str, npt.NDArray[Any]], tracks: dict[str, Floats]
) -> dict[str, float]:
    """Compare tracks that were made here with those of a golden vector, of either kind of kernels.

    Returns
    -------
    dict of str to float
        The largest difference of each track (full scale is 1).

    Raises
    ------
    BundleMismatchError
        One is further off than `tolerance`, or is not there; says how far.
    """
    found = {}
    for track, samples in tracks.items():
        kept = wanted.get(f"{TRACK}{track}")
        if kept is None or kept.shape != samples.shape:
            raise BundleMismatchError(f"the golden vector has no track {track} of this length: make the bundle again")
        found[track] = min(_largest_difference(samples, rows) for rows in _either(wanted, f"{TRACK}{track}"))
        if not found[track] <= tolerance:
            raise BundleMismatchError(
                f"{WHAT}: the track {track} differs by up to {found[track]:.3g}, allowed are {tolerance:g}; {ADVICE}"
            )
    return found


def _either(wanted: dict[str, npt.NDArray[Any]], kind: str) -> list[npt.NDArray[Any]]:
    reference = wanted.get(f"{kind}{REFERENCE}")
    is_like = reference is not None and reference.shape == wanted[kind].shape
    return [wanted[kind], *([reference] if reference is not None and is_like else [])]


def _largest_difference(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    return float(np.abs(a - b).max())


def _refuse(found: dict[str, float], golden: Golden) -> None:
    if not found["features_db"] <= golden.features_db:
        raise BundleMismatchError(
            f"{WHAT}: features differ by up to {found['features_db']:.3g}, allowed are {golden.features_db:g}; {ADVICE}"
        )
    if not found.get("cosine", 1.0) >= golden.cosine:
        raise BundleMismatchError(
            f"{WHAT}: an embedding's cosine is as low as {found['cosine']:.6f}, allowed is {golden.cosine:g}; {ADVICE}"
        )
    if not found.get("scores", 0.0) <= golden.scores:
        raise BundleMismatchError(
            f"{WHAT}: scores differ by up to {found['scores']:.3g}, allowed are {golden.scores:g}; {ADVICE}"
        )


def _lowest_cosine(a: Floats, b: Floats) -> float:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    return float(np.where(both_zero, 1.0, (a * b).sum(axis=1) / np.maximum(norms, 1e-30)).min())
