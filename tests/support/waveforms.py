"""Bundles that turn sound into tracks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.authoring.waveform import Recipe, make_waveform_bundle
from sonyc_ml.model.waveform import WaveformModel
from tests.support import networks

Floats = npt.NDArray[np.float32]


def make(path: Path, network: bytes, *others: bytes, tracks: tuple[str, ...] = ("same",), **said: Any) -> Path:
    """A bundle of networks that read samples at 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(network)
    names = [f"{path.stem}_{number}.tflite" for number in range(2, 2 + len(others))]
    for name, other in zip(names, others, strict=True):
        path.with_name(name).write_bytes(other)
    make_waveform_bundle(path, Recipe(**{"sample_rate": 16000, "tracks": tracks, "stages": tuple(names), **said}))
    return path


def model(path: Path, network: bytes, *others: bytes, **said: Any) -> WaveformModel:
    """The model of such a bundle."""
    return WaveformModel(make(path, network, *others, **said))


def identity(n_values: int) -> bytes:
    """A network that gives the samples that it reads."""
    return networks.reshaping(networks.Spec((1, n_values)), networks.Spec((1, n_values)))


def streamed(found: WaveformModel, y: Floats, sr: int, cuts: npt.NDArray[np.int64], **said: Any) -> dict[str, Floats]:
    """The tracks of a sound that arrives in blocks, cut at these samples."""
    parts = list(found.stream(np.split(y, np.sort(cuts), axis=-1), sr, **said))
    return {track: np.concatenate([part[track] for part in parts], axis=1) for track in found.tracks}
