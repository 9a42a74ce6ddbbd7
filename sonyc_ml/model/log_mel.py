"""Log-mel features fitted to what a network reads: the layout that alone fits, and what is off where none does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.features import LogMel, with_preset

LAYOUTS = ("mels_first", "time_first")
# What SONYC's nodes computed is defined with resampy's kaiser_best; these say whether it is that.
OF_SONYC = ("sample_rate", "n_fft", "n_mels", "mel_hop_len", "fmax", "fmin")


def usual_res_type(kind: str, parameters: Mapping[str, Any]) -> str:
    """The resampler of a network that nothing says one of: exact, but for features that SONYC's nodes computed.

    Parameters
    ----------
    kind : {"log_mel", "pcm"}
    parameters : mapping
        Keywords of the extractor.
    """
    parameters = {name: value for name, value in with_preset(parameters).items() if name != "n_channels"}
    if "res_type" in parameters:
        return str(parameters["res_type"])
    if kind == "log_mel":
        extractor, usual = LogMel(**parameters), LogMel()
        if not extractor.spectrum.changed and all(getattr(extractor, of) == getattr(usual, of) for of in OF_SONYC):
            return "kaiser_best"
    return "sinc"


def fit_log_mel(parameters: Mapping[str, Any], declared: tuple[int, ...]) -> tuple[LogMel, dict[str, Any]]:
    """Make the extractor that fits what a network reads.

    Parameters
    ----------
    parameters : mapping
        Keywords of :class:`~sonyc_ml.features.LogMel`; `layout` and `flat` are found where they are not among them.
    declared : tuple of int
        Shape of the network's input, with its batch; -1 for any size.

    Returns
    -------
    extractor : LogMel
    found : dict
        What of the layout was found.

    Raises
    ------
    BundleMismatchError
        No layout fits; says which parameter may be off.
    """
    extractor = LogMel(**parameters)
    features = declared[1:] or declared
    wanted = tuple(size for size in features if size != 1)
    for found in _layouts(parameters, extractor):
        fitted = LogMel(**{**parameters, **found}) if found else extractor
        if _fits(wanted, tuple(size for size in fitted.feature_shape if size != 1)) or _fits(
            features, fitted.feature_shape
        ):
            return fitted, found
    text = f"the network reads windows of shape {_text(features)}, and the extractor makes windows of shape "
    hints = list(near_misses(parameters, extractor, wanted))
    hint = f"; {', or '.join(hints)}" if hints else ""
    raise BundleMismatchError(f"{text}{_text(extractor.feature_shape)}{hint}")


def explain_misfit(extractor: Any, declared: tuple[int, ...]) -> None:
    """Say what is off where log-mel features of a pickle are not what a network reads; nothing of other extractors.

    Raises
    ------
    BundleMismatchError
    """
    parameters, features = getattr(extractor, "parameters", None), declared[1:] or declared
    if type(extractor).__name__ != "LogMel" or not isinstance(parameters, Mapping):
        return
    if _fits(*(tuple(size for size in shape if size != 1) for shape in (features, extractor.feature_shape))):
        return
    _, found = fit_log_mel(parameters, declared)
    if found:
        flags = " ".join(f"--{name}={str(value).lower()}" for name, value in found.items())
        raise BundleMismatchError(
            f"the network reads windows of shape {_text(features)}, and the extractor makes windows of shape "
            f"{_text(extractor.feature_shape)}; export it with {flags} to make them fit"
        )


def _layouts(parameters: Mapping[str, Any], extractor: LogMel) -> Iterator[dict[str, Any]]:
    """What may be said of the layout, the likeliest first: as it is, then turned, then in one row with time first."""
    yield {}
    if "layout" not in parameters:  # a preset's may be another than the network's
        yield {"layout": next(layout for layout in LAYOUTS if layout != extractor.spectrum.layout)}
    if "flat" not in parameters:
        yield {"flat": True} if "layout" in parameters else {"layout": "time_first", "flat": True}


def _fits(wanted: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(wanted) == len(shape) and all(w in (-1, size) for w, size in zip(wanted, shape, strict=True))


def near_misses(parameters: Mapping[str, Any], extractor: LogMel, wanted: tuple[int, ...]) -> Iterator[str]:
    """Yield which other value of a parameter would give the wanted number of frames or bands, as phrases."""
    given = with_preset(parameters)
    n_frames, n_bands = extractor.n_frames, extractor.n_bands
    if "layout" in parameters and _fits(wanted, extractor.feature_shape[::-1]):
        yield f"layout={next(of for of in LAYOUTS if of != extractor.spectrum.layout)} would fit"
    if len(wanted) == 1 and wanted[0] % n_bands == 0:
        wanted = (n_bands, wanted[0] // n_bands)
    if len(wanted) != 2:
        return
    if n_bands in wanted and wanted[1 - wanted.index(n_bands)] != n_frames:
        sought = wanted[1 - wanted.index(n_bands)]
        for changes in _other_frames(extractor, sought):
            if _n_frames({**given, **changes}) == sought:
                yield f"{_assignments(changes)} would give {sought} frames instead of {n_frames}"
    elif n_frames in wanted and n_bands not in wanted:
        sought = wanted[1 - wanted.index(n_frames)]
        name = "n_mfcc" if extractor.spectrum.n_mfcc else "n_mels"
        if extractor.spectrum.mel_scale == "none":
            name, sought = "n_fft", 2 * (sought - 1)
        if sought > 0:
            yield f"{name}={sought} would give {wanted[1 - wanted.index(n_frames)]} bands instead of {n_bands}"


def _other_frames(extractor: LogMel, sought: int) -> Iterator[dict[str, Any]]:
    """Changes that may give the frames that are sought, those that people forget most often first."""
    spectrum = extractor.spectrum
    frame_length = spectrum.win_length or extractor.n_fft if spectrum.win_pad == "end" else extractor.n_fft
    span = extractor.window_length - (frame_length % 2 if spectrum.center else frame_length)
    yield {"center": not spectrum.center}
    weighted = min(extractor.n_fft, extractor.window_length - (sought - 1) * extractor.mel_hop_len)
    if 0 < weighted < extractor.n_fft:
        yield {"center": False, "win_length": weighted, "win_pad": "end"}
    if spectrum.win_length is not None:
        yield {"win_pad": "end" if spectrum.win_pad == "both" else "both"}
        yield {"win_pad": "end", "center": not spectrum.center}
    if sought < 2:
        return
    hop = extractor.mel_hop_len
    hops = range(span // sought + 1, span // (sought - 1) + 1)
    if hops:
        yield {"mel_hop_len": min(hops, key=lambda other: (other % 10 != 0, abs(other - hop)))}
    missing = (sought - extractor.n_frames) * hop
    yield {"duration": round(extractor.window_size_s + missing / extractor.sample_rate, 9)}


def _n_frames(parameters: Mapping[str, Any]) -> int:
    try:
        return LogMel(**parameters).n_frames
    except (ValueError, TypeError):
        return 0


def _assignments(changes: Mapping[str, Any]) -> str:
    return " with ".join(f"{name}={str(value).lower()}" for name, value in changes.items())


def _text(shape: tuple[int, ...]) -> str:
    return f"({', '.join('any' if size < 0 else str(size) for size in shape)})"
