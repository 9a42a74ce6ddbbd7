"""A model behind standard input and output: the process that `sonyc_ml.client.spawn` starts.

The first event is ``load``, with the path and keywords of :func:`sonyc_ml.load_model`; the answer is ``info``.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import warnings
from collections.abc import Iterator

from sonyc_ml.base.process import use_one_thread_a_worker
from sonyc_ml.errors import ProtocolError
from sonyc_ml.sound.live.answers import encode_error
from sonyc_ml.sound.live.shared import SharedSamples
from sonyc_ml.sound.live.wyoming import INFO, Event, EventReader, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sonyc_ml.model.serving.conversation import Conversation

PR_SET_PDEATHSIG = 1  # of Linux's <sys/prctl.h>
READ_SIZE = 1 << 18  # bytes
LOAD = "load"


def main() -> int:
    """Serve until the other side hangs up."""
    incoming, outgoing = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # what an extractor prints is no answer
    with open(os.devnull) as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    shared = None
    if len(sys.argv) > 1:
        end_with(int(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # sound is never written to a disk
        shared = SharedSamples(int(sys.argv[2]))
    use_one_thread_a_worker()
    try:
        return serve(incoming, outgoing, shared)
    except (BrokenPipeError, ConnectionResetError):  # nobody is there to be answered
        return 0


def end_with(parent: int) -> None:
    """End when the process that began this one does; leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def serve(incoming: int, outgoing: int, shared: SharedSamples | None = None) -> int:
    """Answer the events that come from a descriptor, to another one; return the status to end with."""
    events = read_events(incoming)
    try:
        conversation = load(next(events, Event("", {})), outgoing, shared)
        if conversation is None:
            return 1
        for event in events:
            for answer in conversation.answer(event):
                write(outgoing, answer)
    except ProtocolError as error:
        write(outgoing, encode_error(error))
        return 1
    return 0


def read_events(incoming: int) -> Iterator[Event]:
    """Yield the events that come from a descriptor.

    Raises
    ------
    ProtocolError
        What comes is no event, or ends within one.
    """
    reader = EventReader()
    while received := os.read(incoming, READ_SIZE):
        yield from reader.feed(received)
    reader.end()


def load(event: Event, outgoing: int, shared: SharedSamples | None) -> Conversation | None:
    """Load the model that the first event names, and answer what it is; None where it could not be loaded."""
    if event.type != LOAD:
        raise ProtocolError(f"the first event must be {LOAD!r}, with the path of a model; it was {event.type!r:.40}")
    from sonyc_ml.model.loading import load_model  # noqa: PLC0415  numpy, once its threads have been limited
    from sonyc_ml.model.serving.conversation import Conversation, describe  # noqa: PLC0415

    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        try:
            model = load_model(event.data.get("path", ""), **event.data.get("parameters", {}))
        except Exception as error:  # noqa: BLE001  it is raised on the other side
            write(outgoing, encode_error(error))
            return None
    write(outgoing, encode(INFO, describe(model, given)))
    return Conversation(model, shared)


def write(outgoing: int, content: bytes) -> None:
    """Write all of something."""
    view = memoryview(content)
    while view:
        view = view[os.write(outgoing, view) :]


if __name__ == "__main__":
    sys.exit(main())
