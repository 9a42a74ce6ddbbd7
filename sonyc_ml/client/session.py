"""The other process: begun where there is none, and once more where it dies."""

from __future__ import annotations

import warnings

from sonyc_ml import errors
from sonyc_ml.client.transport import HungUpError, SilenceError
from sonyc_ml.errors import BundleError, LostModelError, ProtocolError, RestartedModelWarning
from sonyc_ml.sound.live.answers import read_error
from sonyc_ml.sound.live.wyoming import AUDIO_CHUNK, AUDIO_START, AUDIO_STOP, ERROR, INFO, Event, encode

TYPE_CHECKING = False  # typing takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    class Asked(Protocol):
        """What of a :class:`~sonyc_ml.client.transport.Transport` every peer has; streams need all of it."""

        is_out_of_step: bool

        def ask(self, parts: Sequence[bytes | memoryview], wanted: tuple[str, ...], patience_s: float, /) -> Event:
            """Send the parts of a question, and return the answer."""

        def close(self) -> None:
            """Hang up."""


CHUNK_LENGTH = 1 << 17  # bytes of samples in one event: what the caches of two processors hold


def chunks(samples: bytes | memoryview) -> list[bytes | memoryview]:
    """Samples as ``audio-chunk`` events: what is sent of each, and its samples, in turn."""
    parts: list[bytes | memoryview] = []
    view = memoryview(samples)
    for start in range(0, len(view), CHUNK_LENGTH):
        chunk = view[start : start + CHUNK_LENGTH]
        parts += [encode(AUDIO_CHUNK, None, len(chunk)), chunk]
    return parts


class Peer:
    """What is at the other end: a process, or a daemon; :meth:`end` is to be called in every case.

    Parameters
    ----------
    link : Transport
        Or what can be asked as one.
    greeting : bytes
        What it is asked first; it answers with ``info``, or an error.
    patience_s : float
        How long that may take (in seconds).
    """

    is_ours = False  # whether this process has begun it, and may begin it again
    takes_streams = True
    pid = 0

    def __init__(self, link: Asked, greeting: bytes, patience_s: float) -> None:
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
        return [encode(AUDIO_START, said), *chunks(samples), encode(AUDIO_STOP)]

    def end(self, *, hangs: bool = False) -> str:
        """Let go of it, at once where it hangs; return how it ended, as in ``was ended by SIGKILL``."""
        raise NotImplementedError


class Session:
    """What connects a model here with the one over there.

    Parameters
    ----------
    make_peer : callable
        Begins the other process, or connects to it.
    name : str
        What messages call it.

    Attributes
    ----------
    peer : Peer or None
    info : dict
        What the other side says of its model.
    """

    def __init__(self, make_peer: Callable[[], Peer], name: str) -> None:
        self._make_peer, self.name = make_peer, name
        self.peer: Peer | None = None
        self.info: dict[str, Any] = {}
        self._is_closed = False

    def again(self) -> Session:
        """Another one to the same place."""
        return Session(self._make_peer, self.name)

    def persist(self, task: Callable[[Peer], Any], what: str, stacklevel: int, patience_s: float = 0.0) -> Any:
        """Carry out a task with the other process; once more, with a new one, where it ends within.

        Parameters
        ----------
        task : callable
        what : str
            What it does meanwhile, for messages: ``computed 10.0 s of sound``.
        stacklevel : int
            Of warnings, as if the caller gave them.
        patience_s : float
            How long the task waits (in seconds), for messages.

        Raises
        ------
        LostModelError
            It ended within the second time too, or hangs.
        """
        lost: list[str] = []
        while True:
            try:
                return task(self.peer or self.begin(stacklevel + 2))
            except HungUpError:
                lost.append(f"{self.drop()} while it {what}")
            except SilenceError:
                raise self.hangs(patience_s, what) from None
            except BaseException:  # an error of what it sent, or Ctrl-C: where the conversation stands is not known
                self.drop()
                raise
            if len(lost) > 1:
                raise LostModelError(f"{self.name}: the process {lost[0]}, and, begun again, {lost[1]}")
            self.warn_of(lost[0], stacklevel)

    def begin(self, stacklevel: int) -> Peer:
        """Begin the other process, and hear what it is; its warnings are given.

        Raises
        ------
        Exception
            What it has raised over there.
        HungUpError, SilenceError
        ProtocolError
            It is something else.
        """
        if self._is_closed:
            raise ValueError(f"{self.name} is closed")
        self.peer = peer = self._make_peer()
        event = peer.greet()
        if event.type == ERROR:
            raise read_error(event)
        info = event.data.get("sonyc_ml")
        if info is None and "sonyc_ml" in event.data:
            raise BundleError(f"{self.name}: there is no network that could answer: that node measures levels alone")
        if not isinstance(info, dict):
            raise ProtocolError(f"{self.name}: what answers there is no sonyc_ml")
        self.info = info
        warn(info.get("warnings"), stacklevel)
        return peer

    def warn_of(self, loss: str, stacklevel: int) -> None:
        """Warn, as if the caller did, that the process has ended, and is begun again."""
        text = f"{self.name}: the process {loss}; it is begun again"
        warnings.warn(text, RestartedModelWarning, stacklevel=stacklevel + 1)

    def hangs(self, patience_s: float, what: str) -> LostModelError:
        """Let go of a process that hangs; return the error that says so."""
        how = self.drop(hangs=True)
        return LostModelError(f"{self.name}: it gave no sign of life for {patience_s:.3g} s while it {what}, and {how}")

    def drop(self, *, hangs: bool = False) -> str:
        """Let go of the other process; return how it ended."""
        peer, self.peer = self.peer, None
        return peer.end(hangs=hangs) if peer is not None else ""

    def close(self) -> None:
        """Let go of it for good."""
        self._is_closed = True
        self.drop()


def warn(given: Any, stacklevel: int) -> None:
    """Give the warnings that the other process gave."""
    for one in given if isinstance(given, list) else []:
        kind = getattr(errors, str(one.get("code")), None)
        is_ours = isinstance(kind, type) and issubclass(kind, Warning)
        warnings.warn(str(one.get("text")), kind if is_ours else UserWarning, stacklevel=stacklevel)
