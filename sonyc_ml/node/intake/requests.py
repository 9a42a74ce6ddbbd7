"""Recordings that somebody sends to have their outputs back: embedded between two others, and published nowhere."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from sonyc_ml.errors import BundleError
from sonyc_ml.model import Model
from sonyc_ml.model.serving.conversation import NOTHING, WholeRecording, describe
from sonyc_ml.sound.live.answers import encode_error

if TYPE_CHECKING:
    from sonyc_ml.node.running_bundles import LoadedBundle

NO_NETWORK = encode_error(BundleError("there is no network here that could answer: this node measures levels alone"))


class Asker(Protocol):
    """Whoever has asked; called by the worker."""

    def answered(self, content: bytes) -> None:
        """An event is there that answers."""
        ...


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
        self._waiting: deque[tuple[WholeRecording, Asker]] = deque()

    # For the reader

    def about(self) -> dict[str, Any]:
        """What ``info`` says."""
        return describe(self._model) if self._model is not None else {**NOTHING, "sonyc_ml": None}

    def begin(self, data: dict[str, Any]) -> WholeRecording:
        """A recording that an ``audio-start`` event announces."""
        return WholeRecording(data, max_s=self._max_s)

    def put(self, recording: WholeRecording, asker: Asker) -> None:
        """All of a recording has come."""
        with self._lock:
            self._waiting.append((recording, asker))
        self._wake()

    # For the worker

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def answer(self) -> None:
        """Embed what waits now, and answer."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
        for recording, asker in waiting:
            asker.answered(recording.answer(self._model) if self._model is not None else NO_NETWORK)

    @property
    def _model(self) -> Model | None:
        return next((bundle.model for bundle in self._bundles if isinstance(bundle.model, Model)), None)
