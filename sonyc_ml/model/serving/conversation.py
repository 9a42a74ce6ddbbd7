"""What a model answers to events: sound in, outputs out, and errors as what they are."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from sonyc_ml import __version__
from sonyc_ml.errors import ProtocolError
from sonyc_ml.model import Model
from sonyc_ml.model.serving.computing import compute, described
from sonyc_ml.model.serving.stream import StreamedSound
from sonyc_ml.sound.live.answers import encode_error
from sonyc_ml.sound.live.audio_format import read_audio_format
from sonyc_ml.sound.live.shared import SharedSamples
from sonyc_ml.sound.live.wyoming import AUDIO_CHUNK, AUDIO_START, AUDIO_STOP, DESCRIBE, INFO, Event, encode

NOTHING: dict[str, Any] = {name: [] for name in ("asr", "tts", "handle", "intent", "wake")}  # that the protocol has


class Conversation:
    """One connection to a model.

    Parameters
    ----------
    model : Model
    shared : SharedSamples, optional
        Where samples are that do not come as events.
    """

    def __init__(self, model: Model, shared: SharedSamples | None = None) -> None:
        self._model, self._shared = model, shared
        self._request: WholeRecording | StreamedSound | None = None

    def answer(self, event: Event) -> Iterator[bytes]:
        """Yield what is sent back for an event; one that is not known is left out, as Wyoming has it."""
        if event.type == DESCRIBE:
            yield encode(INFO, describe(self._model))
        elif event.type == AUDIO_START:
            yield from self._begin(event.data)
        elif event.type == AUDIO_CHUNK and self._request is not None:
            yield from self._request.add(event.payload)
        elif event.type == AUDIO_STOP:
            yield from self._end()

    def _end(self) -> Iterator[bytes]:
        request, self._request = self._request, None
        if isinstance(request, WholeRecording):
            yield request.answer(self._model)
        elif request is not None:
            yield from request.end()
        else:  # of a stream that was refused
            yield encode(AUDIO_STOP)

    def _begin(self, data: dict[str, Any]) -> Iterator[bytes]:
        """Take a recording in that says how long it is, or else a stream."""
        try:
            is_whole = "n_samples" in data
            self._request = WholeRecording(data, self._shared) if is_whole else StreamedSound(data, self._model)
        except ProtocolError as error:
            self._request = None
            yield encode_error(error)


class WholeRecording:
    """A recording of a known length, to be embedded as a call of :meth:`~sonyc_ml.AudioModel.get_outputs`.

    Parameters
    ----------
    data : mapping
        Of ``audio-start``: mono float32, ``n_samples`` and ``hop_size``.
    shared : SharedSamples or None
        Where the samples are already, where it says so.
    max_s : float
        How long it may be (in seconds).
    """

    def __init__(self, data: dict[str, Any], shared: SharedSamples | None = None, *, max_s: float = math.inf) -> None:
        self._y = np.empty(0, "<f4")
        self._n_bytes, self._sample_rate, self._hop_size = 0, 0, data.get("hop_size")
        self._problem: Exception | None = None  # what is answered, once all has come
        try:
            self._sample_rate, n_samples = read_request(data, max_s)
            if data.get("is_shared") is True and shared is not None:
                self._y = np.frombuffer(shared.view(4 * n_samples), "<f4")
                self._n_bytes = self._y.nbytes
            else:
                self._y = np.empty(n_samples, "<f4")
        except (ProtocolError, MemoryError, ValueError) as error:
            self._problem = error

    def add(self, payload: bytes) -> tuple[()]:
        """Take samples in; there is no answer before the last."""
        if self._problem is not None:
            return ()
        end = self._n_bytes + len(payload)
        if end > self._y.nbytes:
            self._problem = ProtocolError(f"more samples came than the {len(self._y):,} of audio-start")
            return ()
        self._y.view(np.uint8)[self._n_bytes : end] = np.frombuffer(payload, np.uint8)
        self._n_bytes = end
        return ()

    def answer(self, model: Model) -> bytes:
        """Compute the outputs, and return the event; what is raised is an answer too."""
        if self._problem is None and self._n_bytes != self._y.nbytes:
            self._problem = ProtocolError(f"{self._n_bytes // 4:,} samples came of the {len(self._y):,} of audio-start")
        if self._problem is not None:
            return encode_error(self._problem)
        return compute(model, self._y, self._sample_rate, self._hop_size)


def read_request(data: dict[str, Any], max_s: float) -> tuple[int, int]:
    """Sample rate (in Hz) and number of samples of a recording that is sent as a whole.

    Raises
    ------
    ProtocolError
        It is not mono float32, does not say how long it is, or is too long.
    """
    audio, n_samples = read_audio_format(data), data.get("n_samples")
    if audio[1:] != (4, 1, True) or type(n_samples) is not int or n_samples < 1:
        raise ProtocolError(
            f"a recording to be answered must be 32-bit float, 1 channel, with its n_samples; it is {audio}"
        )
    if n_samples > max_s * audio.sample_rate:
        length_s = n_samples / audio.sample_rate
        raise ProtocolError(f"a recording may have {max_s:g} s here (listen.max_buffer_s), and this has {length_s:g} s")
    return audio.sample_rate, n_samples


def describe(model: Model, given: list[warnings.WarningMessage] | None = None) -> dict[str, Any]:
    """What an ``info`` event says: what the protocol asks for, of which there is none, and the model."""
    extractor = model.extractor
    return {
        **NOTHING,
        "sonyc_ml": {
            "version": __version__,
            "name": model.bundle.name,
            "shown": repr(model),
            "outputs": list(model.outputs),
            "labels": list(model.labels),
            "sample_rate": int(extractor.sample_rate),
            "window_size_s": float(extractor.window_size_s),
            "hop_size_s": float(extractor.hop_size_s),
            "warnings": described(given or []),
        },
    }
