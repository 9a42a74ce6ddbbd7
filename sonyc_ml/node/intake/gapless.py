"""Windows that run on from one recording of a stream to the next: each recording hears the beginning of the next."""

from __future__ import annotations

import math
from collections.abc import Iterable

from sonyc_ml.errors import ConfigError
from sonyc_ml.node.running_bundles import LoadedBundle
from sonyc_ml.sound.live.segment import LiveSegment

ROUNDING = 1e-6


def overlap_s(bundles: Iterable[LoadedBundle], segment_s: float) -> float:
    """How far recordings reach into the next, so that every bundle's last window begins in its own (in seconds).

    Raises
    ------
    ConfigError
        A recording is not a whole number of hops: windows would begin elsewhere in each.
    """
    longest_s = 0.0
    for bundle in bundles:
        window_s, hop_s = bundle.model.extractor.window_size_s, bundle.model.extractor.hop_size_s
        n_hops = segment_s / hop_s
        if abs(n_hops - round(n_hops)) > ROUNDING * n_hops:
            name = bundle.model.bundle.name
            raise ConfigError(
                f"listen.gapless: windows of {name} begin every {hop_s:g} s, and segment_s = {segment_s:g} is no "
                "multiple of that; choose one that is"
            )
        longest_s = max(longest_s, window_s - hop_s)
    return longest_s


def n_heard(segment: LiveSegment, bundle: LoadedBundle) -> int:
    """How many samples of a recording a bundle hears: up to the end of the last window that begins in its own part.

    Where it does not reach into the next, as many as there are.
    """
    n_samples = segment.n_planned if segment.is_open else segment.n_samples
    if n_samples <= segment.n_own:
        return n_samples
    extractor, rate = bundle.model.extractor, segment.layout.sample_rate
    reach_s = extractor.window_size_s - extractor.hop_size_s
    return min(n_samples, segment.n_own + max(0, math.floor(reach_s * rate + ROUNDING)))
