"""A model in another process, with the calls of one in this process."""

from __future__ import annotations

import threading
import warnings

from sonyc_ml.client.session import Peer, Session, warn
from sonyc_ml.client.stream import Stream
from sonyc_ml.errors import AssumedSampleRateWarning, ProtocolError
from sonyc_ml.sound.live.answers import OUTPUTS, read_error, read_outputs
from sonyc_ml.sound.live.wyoming import ERROR, Event

TYPE_CHECKING = False  # typing takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any, Self

    import numpy as np
    import numpy.typing as npt

    from sonyc_ml.sound.live.audio_format import AudioFormat

    Floats = npt.NDArray[np.float32]

SLOWNESS = 10.0  # seconds that a second of sound may take, before its process counts as hanging
DTYPES = {"int16": (2, False), "int24": (3, False), "int32": (4, False), "float32": (4, True), "float64": (8, True)}


class RemoteModel:
    """A model in another process; made by :func:`~sonyc_ml.client.spawn` and :func:`~sonyc_ml.client.connect`.

    Several threads may use it; their calls take turns.

    Attributes
    ----------
    name : str
        Of the bundle.
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
        self._session, self._timeout_s = Session(make_peer, name), timeout_s
        self._lock = threading.Lock()  # of the session
        self._has_warned = self._is_streaming = False
        self._session.persist(lambda _: None, first, 4)
        info = self._session.info
        self._is_ours = self._session.peer is not None and self._session.peer.is_ours
        self._takes_streams = self._session.peer is not None and self._session.peer.takes_streams
        self.name = str(info.get("name") or name)
        self.outputs: tuple[str, ...] = tuple(info.get("outputs", ()))
        self.labels: tuple[str, ...] = tuple(info.get("labels", ()))
        self.sample_rate: int = info.get("sample_rate", 0)
        self.window_size_s: float = info.get("window_size_s", 0.0)
        self.hop_size_s: float = info.get("hop_size_s", 0.0)

    def __repr__(self) -> str:
        return f"<RemoteModel {self._session.name}: {self._session.info.get('shown', '')}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        session = getattr(self, "_session", None)
        if session is not None and session.peer is not None:
            session.peer.link.close()

    @property
    def pid(self) -> int:
        """Number of the process; 0 where it is none of ours, or has not been started again."""
        return self._session.peer.pid if self._session.peer is not None else 0

    def close(self) -> None:
        """Let go of the other process; one of ours ends."""
        with self._lock:
            self._session.close()

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
            raise ValueError(f"{self.name} has no embedding, only {', '.join(self.outputs)}: use get_outputs")
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

    def stream(
        self,
        rate: int,
        channels: int,
        dtype: str = "int16",
        *,
        segment_s: float | None = None,
        hop_size: float | None = None,
        source: str = "",
    ) -> Stream:
        """Begin a stream of sound, which is cut into segments; each is embedded as a recording of its own.

        A process of one's own answers nothing else while a stream goes on. A daemon takes several streams and calls at
        a time, cuts as its configuration says, and publishes what it answers.

        Parameters
        ----------
        rate : int > 0
            Sample rate (in Hz).
        channels : int > 0
            The mean of all is embedded, or the model's ``channel``.
        dtype : {"int16", "int24", "int32", "float32", "float64"}
            Of the samples; those of 24 bits come as bytes.
        segment_s : float > 0, optional
            Length of a segment (in seconds); 10 where not given. A daemon's configuration says it.
        hop_size : float > 0, optional
            Distance between windows (in seconds). A daemon's configuration says it.
        source : str
            What a daemon calls its recordings; the name of its socket where not given.

        Raises
        ------
        ValueError
            There is no such sound, or a stream goes on.
        """
        if segment_s is not None and not 0 < segment_s < float("inf"):
            raise ValueError(f"segment_s must be above 0, not {segment_s!r}")
        if not self._takes_streams:
            raise ValueError(
                f"{self._session.name}: a service over HTTP takes whole recordings; for a stream use spawn"
            )
        given = {"segment_s": segment_s, "hop_size": as_plain(hop_size), "source": source or None}
        said = {name: value for name, value in given.items() if value is not None}
        with self._lock:
            return self._begin_stream(audio_format(rate, channels, dtype), said, dtype)

    def _begin_stream(self, audio: AudioFormat, said: dict[str, Any], dtype: str) -> Stream:
        if self._is_ours:
            self._check_no_stream()
            stream = Stream(self._session, audio, said, dtype, self._timeout_s, self._stream_ended)
            self._is_streaming = True
            return stream
        if {"segment_s", "hop_size"} & said.keys():
            raise ValueError(f"{self._session.name}: the daemon's configuration says segment_s and hop_size")
        session = self._session.again()
        return Stream(session, audio, said, dtype, self._timeout_s, session.close)

    def _stream_ended(self) -> None:
        self._is_streaming = False

    def _check_no_stream(self) -> None:
        if self._is_streaming:
            raise ValueError(f"{self._session.name}: a stream goes on; end it first")

    def _compute(self, y: Floats, sr: int | None, hop_size: float | None) -> dict[str, npt.NDArray[Any]]:
        from sonyc_ml.features import checked_sample_rate  # noqa: PLC0415  numpy
        from sonyc_ml.sound.live.audio_format import AudioFormat  # noqa: PLC0415

        sr = self._assumed_rate() if sr is None else checked_sample_rate(sr)
        y = as_samples(y)
        audio = AudioFormat(sr, 4, 1, is_float=True)
        said = {**audio.data, "n_samples": len(y), "hop_size": as_plain(hop_size)}
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
            text = (
                f"y is taken to be at {self.sample_rate} Hz, the rate of {self.name}: if it is not, give its own as sr"
            )
            warnings.warn(text, AssumedSampleRateWarning, stacklevel=4)
        return self.sample_rate

    def _ask(self, request: Callable[[Peer], Sequence[bytes | memoryview]], duration_s: float, what: str) -> Event:
        """Have the other process compute; raise what it raises."""
        patience_s = self._timeout_s + SLOWNESS * duration_s

        def ask(peer: Peer) -> Event:
            return peer.link.ask(request(peer), (OUTPUTS, ERROR), patience_s)

        with self._lock:
            self._check_no_stream()
            event: Event = self._session.persist(ask, f"computed {what}", 5, patience_s)
            if self._session.peer is not None and self._session.peer.link.is_out_of_step:
                self._session.drop()
        if event.type == ERROR:
            raise read_error(event)
        return event


def audio_format(rate: int, channels: int, dtype: str) -> AudioFormat:
    """What a stream's samples are, or a ValueError that says why there are none such."""
    from sonyc_ml.sound.live.audio_format import read_audio_format  # noqa: PLC0415  who only calls needs none

    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    width, is_float = DTYPES[dtype]
    try:
        kind = "float" if is_float else "int"
        return read_audio_format({"rate": rate, "width": width, "channels": channels, "format": kind})
    except ProtocolError as error:
        raise ValueError(str(error)) from error


def as_plain(hop_size: Any) -> Any:
    """A hop as JSON holds it: numpy has numbers of its own."""
    return hop_size if isinstance(hop_size, (int, str, type(None))) else float(hop_size)


def as_samples(y: Any) -> Floats:
    """Return float32 `(n_samples,)`, or raise what is wrong; the other process looks at the values."""
    import numpy as np  # noqa: PLC0415

    if isinstance(y, np.ndarray) and y.dtype == np.float32 and y.ndim == 1 and len(y) and y.flags.c_contiguous:
        return y
    from sonyc_ml.features import checked_samples  # noqa: PLC0415

    return checked_samples(y)
