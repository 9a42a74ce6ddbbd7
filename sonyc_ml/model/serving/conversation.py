"""What a model answers to events: sound in, outputs out, and errors as what they are."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml import __version__
from sonyc_ml.errors import ProtocolError
from sonyc_ml.model import Model
from sonyc_ml.sound.live.answers import encode_error, encode_outputs
from sonyc_ml.sound.live.audio_format import read_audio_format
from sonyc_ml.sound.live.shared import SharedSamples
from sonyc_ml.sound.live.wyoming import AUDIO_CHUNK, AUDIO_START, AUDIO_STOP, DESCRIBE, INFO, Event, encode


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
        self._request: WholeRecording | None = None

    def answer(self, event: Event) -> Iterator[bytes]:
        """Yield what is sent back for an event; one that is not known is left out, as Wyoming has it."""
        if event.type == DESCRIBE:
            yield encode(INFO, describe(self._model))
        elif event.type == AUDIO_START:
            self._request = WholeRecording(event.data, self._shared)
        elif event.type == AUDIO_CHUNK and self._request is not None:
            self._request.add(event.payload)
        elif event.type == AUDIO_STOP and self._request is not None:
            request, self._request = self._request, None
            yield request.answer(self._model)


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

    def add(self, payload: bytes) -> None:
        """Take samples in."""
        if self._problem is not None:
            return
        end = self._n_bytes + len(payload)
        if end > self._y.nbytes:
            self._problem = ProtocolError(f"more samples came than the {len(self._y):,} of audio-start")
            return
        self._y.view(np.uint8)[self._n_bytes : end] = np.frombuffer(payload, np.uint8)
        self._n_bytes = end

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


def compute(model: Model, y: npt.NDArray[np.float32], sr: int, hop_size: Any) -> bytes:
    """Embed samples: the event that answers, with the warnings that were given on the way."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        try:
            outputs = model.get_outputs(y, sr, hop_size)
        except Exception as error:  # noqa: BLE001  it is raised on the other side
            return encode_error(error)
    return encode_outputs(outputs, n_samples=len(y), warnings=described(given))


def described(given: list[warnings.WarningMessage]) -> list[dict[str, str]]:
    """Warnings, as they are sent."""
    return [{"code": warning.category.__name__, "text": str(warning.message)} for warning in given]


def describe(model: Model, given: list[warnings.WarningMessage] | None = None) -> dict[str, Any]:
    """What an ``info`` event says: what the protocol asks for, of which there is none, and the model."""
    extractor = model.extractor
    return {
        **{name: [] for name in ("asr", "tts", "handle", "intent", "wake")},
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
