"""A model in another process, with the calls of one in this process."""

from __future__ import annotations

import threading
import warnings

from sonyc_ml import errors
from sonyc_ml.client.link import HungUpError, Link, SilenceError
from sonyc_ml.errors import AssumedSampleRateWarning, LostModelError, ProtocolError, RestartedModelWarning
from sonyc_ml.sound.live.answers import OUTPUTS, read_error, read_outputs
from sonyc_ml.sound.live.wyoming import AUDIO_CHUNK, AUDIO_START, AUDIO_STOP, ERROR, INFO, Event, encode

TYPE_CHECKING = False  # typing takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any, Self

    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

CHUNK_LENGTH = 1 << 17  # bytes of samples in one event: what the caches of two processors hold
SLOWNESS = 10.0  # seconds that a second of sound may take, before its process counts as hanging


class Peer:
    """What is at the other end: a process, or a daemon; :meth:`end` is to be called in every case.

    Parameters
    ----------
    link : Link
    greeting : bytes
        What it is asked first; it answers with ``info``, or an error.
    patience_s : float
        How long that may take (in seconds).
    """

    def __init__(self, link: Link, greeting: bytes, patience_s: float) -> None:
        self.link, self._greeting, self._patience_s = link, greeting, patience_s

    def greet(self) -> Event:
        """Return its ``info``, or the error that it answers."""
        return self.link.ask([self._greeting], (INFO, ERROR), self._patience_s)

    def request(self, samples: memoryview, said: dict[str, Any]) -> list[bytes | memoryview]:
        """Return what asks for the outputs of samples.

        Parameters
        ----------
        samples : memoryview
            Mono float32, as bytes.
        said : dict
            Of ``audio-start``.
        """
        parts: list[bytes | memoryview] = [encode(AUDIO_START, said)]
        for start in range(0, len(samples), CHUNK_LENGTH):
            chunk = samples[start : start + CHUNK_LENGTH]
            parts += [encode(AUDIO_CHUNK, None, len(chunk)), chunk]
        return [*parts, encode(AUDIO_STOP)]

    def end(self, *, hangs: bool = False) -> str:
        """Let go of it, at once where it hangs; return how it ended, as in ``was ended by SIGKILL``."""
        raise NotImplementedError


class RemoteModel:
    """A model in another process; made by :func:`~sonyc_ml.client.spawn` and :func:`~sonyc_ml.client.connect`.

    Several threads may use it; their calls take turns.

    Attributes
    ----------
    outputs : tuple of str
        ``"embedding"``, ``"scores"``: what :meth:`get_outputs` gives beside ``"timestamps"``.
    labels : tuple of str
        The classes of the scores.
    sample_rate : int
        That the model's windows are cut at (in Hz); 0 where it takes any.
    window_size_s, hop_size_s : float
        Length of a window, and distance between two (in seconds).
    """

    def __init__(self, make_peer: Callable[[], Peer], name: str, timeout_s: float, first: str) -> None:
        self._make_peer, self._name, self._timeout_s = make_peer, name, timeout_s
        self._lock = threading.Lock()
        self._peer: Peer | None = None
        self._is_closed = self._has_warned = False
        self._info: dict[str, Any] = {}
        with self._lock:
            self._persist(lambda _: None, first, 4)
        self.outputs: tuple[str, ...] = tuple(self._info.get("outputs", ()))
        self.labels: tuple[str, ...] = tuple(self._info.get("labels", ()))
        self.sample_rate: int = self._info.get("sample_rate", 0)
        self.window_size_s: float = self._info.get("window_size_s", 0.0)
        self.hop_size_s: float = self._info.get("hop_size_s", 0.0)

    def __repr__(self) -> str:
        return f"<RemoteModel {self._name}: {self._info.get('shown', '')}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if (peer := getattr(self, "_peer", None)) is not None:
            peer.link.close()

    @property
    def pid(self) -> int:
        """Number of the process; 0 where it is none of ours, or has not been started again."""
        return getattr(self._peer, "pid", 0)

    def close(self) -> None:
        """Let go of the other process; one of ours ends."""
        with self._lock:
            self._is_closed = True
            self._drop()

    def get_embedding(self, y: Floats, sr: int | None = None, hop_size: float | None = None) -> Floats:
        """Return the embedding of samples; see :meth:`sonyc_ml.AudioModel.get_embedding`.

        Parameters
        ----------
        y : np.ndarray [shape=(n_samples,), dtype=float32]
            Mono samples in [-1, 1].
        sr : int > 0, optional
            Their sample rate (in Hz); the model's own where not given, with a warning.
        hop_size : float > 0, optional
            Distance between windows (in seconds).

        Returns
        -------
        np.ndarray [shape=(n_windows, n_dims), dtype=float32]

        Raises
        ------
        LostModelError
            The other process ended while it computed, twice, or does not answer.
        """
        if "embedding" not in self.outputs:
            name = self._info.get("name", self._name)
            raise ValueError(f"{name} has no embedding, only {', '.join(self.outputs)}: use get_outputs")
        return self._compute(y, sr, hop_size)["embedding"]

    def get_outputs(
        self, y: Floats, sr: int | None = None, hop_size: float | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return everything that samples become; see :meth:`sonyc_ml.AudioModel.get_outputs`.

        Parameters
        ----------
        y, sr, hop_size
            Those of :meth:`get_embedding`.

        Returns
        -------
        dict of str to np.ndarray
            ``timestamps`` (in seconds from the first sample), and each of ``embedding`` and ``scores``.
        """
        return self._compute(y, sr, hop_size)

    def _compute(self, y: Floats, sr: int | None, hop_size: float | None) -> dict[str, npt.NDArray[Any]]:
        from sonyc_ml.features import checked_sample_rate  # noqa: PLC0415  numpy
        from sonyc_ml.sound.live.audio_format import AudioFormat  # noqa: PLC0415

        sr = self._assumed_rate() if sr is None else checked_sample_rate(sr)
        y = as_samples(y)
        audio = AudioFormat(sr, 4, 1, is_float=True)
        hop_size = hop_size if isinstance(hop_size, (int, str, type(None))) else float(hop_size)
        said = {**audio.data, "n_samples": len(y), "hop_size": hop_size}
        what = f"{len(y) / sr:.1f} s of sound ({len(y):,} samples)"
        event = self._ask(lambda peer: peer.request(y.data.cast("B"), said), len(y) / sr, what)
        warn(event.data.get("warnings"), 4)
        return read_outputs(event)

    def _assumed_rate(self) -> int:
        """The model's own sample rate, as a model in this process assumes it."""
        if not self.sample_rate:
            raise ValueError("the extractor does not say its sample rate: give the one of y as sr")
        if not self._has_warned:
            self._has_warned = True
            name = self._info.get("name", self._name)
            text = f"y is taken to be at {self.sample_rate} Hz, the rate of {name}: if it is not, give its own as sr"
            warnings.warn(text, AssumedSampleRateWarning, stacklevel=4)
        return self.sample_rate

    def _ask(self, request: Callable[[Peer], Sequence[bytes | memoryview]], duration_s: float, what: str) -> Event:
        """Have the other process compute; raise what it raises."""
        patience_s = self._timeout_s + SLOWNESS * duration_s

        def ask(peer: Peer) -> Event:
            return peer.link.ask(request(peer), (OUTPUTS, ERROR), patience_s)

        with self._lock:
            event: Event = self._persist(ask, f"computed {what}", 5, patience_s)
            if self._peer is not None and self._peer.link.is_out_of_step:
                self._drop()
        if event.type == ERROR:
            raise read_error(event)
        return event

    # The other process, begun where there is none, and once more where it dies. All of this holds the lock.

    def _persist(self, task: Callable[[Peer], Any], what: str, stacklevel: int, patience_s: float = 0.0) -> Any:
        """Carry out a task of the other process; once more, in a new one, where it ends within."""
        lost: list[str] = []
        while True:
            try:
                return task(self._peer or self._begin(stacklevel + 2))
            except HungUpError:
                lost.append(f"{self._drop()} while it {what}")
            except SilenceError:
                how = self._drop(hangs=True)
                raise LostModelError(
                    f"{self._name}: it gave no sign of life for {patience_s:.0f} s while it {what}, and {how}"
                ) from None
            except BaseException:  # an error of what it sent, or Ctrl-C: where the conversation stands is not known
                self._drop()
                raise
            if len(lost) > 1:
                raise LostModelError(f"{self._name}: the process {lost[0]}, and, begun again, {lost[1]}")
            warnings.warn(
                f"{self._name}: the process {lost[0]}; it is begun again", RestartedModelWarning, stacklevel=stacklevel
            )

    def _begin(self, stacklevel: int) -> Peer:
        if self._is_closed:
            raise ValueError(f"{self._name} is closed")
        self._peer = peer = self._make_peer()
        event = peer.greet()
        if event.type == ERROR:
            raise read_error(event)
        info = event.data.get("sonyc_ml")
        if not isinstance(info, dict):
            raise ProtocolError(f"{self._name}: what answers there is no sonyc_ml")
        self._info = info
        warn(info.get("warnings"), stacklevel)
        return peer

    def _drop(self, *, hangs: bool = False) -> str:
        """Let go of the other process; return how it ended."""
        peer, self._peer = self._peer, None
        return peer.end(hangs=hangs) if peer is not None else ""


def as_samples(y: Any) -> Floats:
    """Return float32 `(n_samples,)`, or raise what is wrong; the other process looks at the values."""
    import numpy as np  # noqa: PLC0415

    if isinstance(y, np.ndarray) and y.dtype == np.float32 and y.ndim == 1 and len(y) and y.flags.c_contiguous:
        return y
    from sonyc_ml.features import checked_samples  # noqa: PLC0415

    return checked_samples(y)


def warn(given: Any, stacklevel: int) -> None:
    """Give the warnings that the other process gave."""
    for one in given if isinstance(given, list) else []:
        kind = getattr(errors, str(one.get("code")), None)
        is_ours = isinstance(kind, type) and issubclass(kind, Warning)
        warnings.warn(str(one.get("text")), kind if is_ours else UserWarning, stacklevel=stacklevel)
