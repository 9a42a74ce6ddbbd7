"""Recordings that somebody sends to have their outputs back: embedded between two others, and published nowhere."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from sonyc_ml.errors import BundleError, ProtocolError
from sonyc_ml.model import Model
from sonyc_ml.model.serving.conversation import NOTHING, WholeRecording, describe
from sonyc_ml.sound.live.answers import encode_error
from sonyc_ml.sound.live.wyoming import AUDIO_CHUNK, AUDIO_START, Event

if TYPE_CHECKING:
    from sonyc_ml.node.running_bundles import LoadedBundle

NO_NETWORK = encode_error(BundleError("there is no network here that could answer: this node measures levels alone"))


class Requests:
    """What is asked of the first bundle.

    Parameters
    ----------
    bundles : iterable of LoadedBundle
        Those that run at any time.
    max_s : float
        How long a recording may be (in seconds): it is held in memory.
    wake : callable
        Called where there is something for the worker.
    """

    def __init__(self, bundles: Iterable[LoadedBundle], max_s: float, wake: Callable[[], None]) -> None:
        self._bundles, self._max_s, self._wake = bundles, max_s, wake
        self._lock = threading.Lock()
        self._waiting: deque[tuple[WholeRecording, Callable[[bytes], None]]] = deque()

    # For the reader

    def about(self) -> dict[str, Any]:
        """What ``info`` says."""
        return describe(self._model) if self._model is not None else {**NOTHING, "sonyc_ml": None}

    def begin(self, data: dict[str, Any]) -> WholeRecording:
        """A recording that an ``audio-start`` event announces."""
        return WholeRecording(data, max_s=self._max_s)

    def put(self, recording: WholeRecording, answer: Callable[[bytes], None]) -> None:
        """All of a recording has come; `answer` is called with the event that answers, by the worker."""
        with self._lock:
            self._waiting.append((recording, answer))
        self._wake()

    # For the worker

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def answer(self) -> None:
        """Embed what waits now, and answer."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
        for recording, answer in waiting:
            answer(recording.answer(self._model) if self._model is not None else NO_NETWORK)

    @property
    def _model(self) -> Model | None:
        return next((bundle.model for bundle in self._bundles if isinstance(bundle.model, Model)), None)


class Calls:
    """What one connection asks, one call after another.

    Parameters
    ----------
    requests : Requests
    max_length : int
        The longest answer that is sent (in bytes).
    post : callable
        Takes an answer, and then nothing (``b""``) for its end; called by the worker.
    """

    def __init__(self, requests: Requests, max_length: int, post: Callable[[bytes], None]) -> None:
        self._requests, self._max_length, self._post = requests, max_length, post
        self._recording: WholeRecording | None = None  # as far as it has come
        self.is_waiting = False  # for an answer
        self.about = requests.about

    def take(self, event: Event) -> bool:
        """Take part of a recording; returns whether it is whole now, and waits for its answer."""
        if event.type == AUDIO_START:
            self._recording = self._requests.begin(event.data)
        elif self._recording is not None and event.type == AUDIO_CHUNK:
            self._recording.add(event.payload)
        elif self._recording is not None:
            recording, self._recording, self.is_waiting = self._recording, None, True
            self._requests.put(recording, self._answer)
            return True
        return False

    def _answer(self, content: bytes) -> None:
        if len(content) > self._max_length:
            content = encode_error(ProtocolError("the outputs are too many for one answer: ask for less at a time"))
        self._post(content)
        self.is_waiting = False  # before the reader looks whether to go on
        self._post(b"")
