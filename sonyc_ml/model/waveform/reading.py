"""A model that hears a track instead of the recording: without voices, without noise, before anything else reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.features import Framing
from sonyc_ml.model.extractor import Extractor
from sonyc_ml.model.waveform.loading import load_waveform_model
from sonyc_ml.model.waveform.model import WaveformModel

Floats = npt.NDArray[np.float32]


class TrackReader:
    """An extractor that another one's sound passes first: what it reads is a track of it.

    Parameters
    ----------
    extractor : Extractor
        The model's own.
    model : WaveformModel
    track : str

    Attributes
    ----------
    reads : dict of str to str
        What is read, as provenance has it: ``bundle``, its ``bundle_sha256``, ``track``.

    Raises
    ------
    BundleMismatchError
        The bundle has no such track.
    """

    def __init__(self, extractor: Extractor, model: WaveformModel, track: str) -> None:
        if track not in model.tracks:
            raise BundleMismatchError(
                f"{model.bundle.path} has no track {track!r}; it has {', '.join(model.tracks)}: give one as in "
                f"{model.bundle.path}:{model.tracks[0]}"
            )
        self._extractor, self._model, self._track = extractor, model, track
        self.reads = {"bundle": model.bundle.name, "bundle_sha256": model.bundle.sha256, "track": track}

    def __getattr__(self, name: str) -> Any:
        """Everything else is the extractor's."""
        if name.startswith("__"):  # as copying and pickling ask before there is an extractor
            raise AttributeError(name)
        return getattr(self._extractor, name)

    def __repr__(self) -> str:
        return f"{self._extractor!r} of the track {self._track} of {self._model.bundle.name}"

    def framing(self, n_samples: int, sr: int, hop_size: float | None = None) -> Framing:
        """Where the windows lie: a track is as long as its recording."""
        return self._extractor.framing(n_samples, sr, hop_size)

    def stream(
        self, blocks: Iterable[Floats], sr: int, n_samples: int, hop_size: float | None = None
    ) -> Iterator[Floats]:
        """Yield the features of the track that blocks of samples become."""
        track = (tracks[self._track][0] for tracks in self._model.stream(blocks, sr))
        return self._extractor.stream(track, sr, n_samples, hop_size)


def read_through(extractor: Extractor, reads: str, **parameters: Any) -> TrackReader:
    """Have an extractor read a track.

    Parameters
    ----------
    extractor : Extractor
    reads : str
        ``NAME.tflite:TRACK``; without the track, that of a bundle that has one alone.
    **parameters
        Those of :func:`sonyc_ml.model.waveform.loading.load_waveform_model`.

    Raises
    ------
    BundleError
        That bundle cannot be used, or has no such track.
    """
    path, colon, track = reads.rpartition(":")
    if not colon or track.endswith(".tflite"):
        path, track = reads, ""
    model = load_waveform_model(path, **parameters)
    return TrackReader(extractor, model, track or (model.tracks[0] if len(model.tracks) == 1 else track))
