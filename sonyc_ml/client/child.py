"""A process of our own that embeds: bound to this one's life, and known to have ended the moment that it does."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

from sonyc_ml.errors import LostModelError

TYPE_CHECKING = False  # typing takes longer to import than all of this
if TYPE_CHECKING:
    from socket import socket

PROGRAM = "sonyc_ml.model.serving"
SHUT_RDWR, SIGKILL = 2, 9  # of <sys/socket.h> and <signal.h>
ENDING_S = 2.0  # how long a process that is no longer needed may take to end by itself


class Child:
    """A process that speaks Wyoming's events over its standard input and output, which are one socket.

    A thread starts it, and waits for its end. The kernel kills it when that thread ends (PR_SET_PDEATHSIG), which is
    when this process does; a thread of the caller's might end before.

    Attributes
    ----------
    connection : socket
        This end of the socket; whoever uses it closes it.
    samples : SharedSamples
        Memory that it sees too.
    pid : int

    Raises
    ------
    LostModelError
        It could not be started.
    """

    def __init__(self) -> None:
        from socket import socketpair  # noqa: PLC0415  this, subprocess and signal only with a process to start

        from sonyc_ml.sound.live.shared import SharedSamples  # noqa: PLC0415

        self.connection, theirs = socketpair()
        self.samples = SharedSamples()
        self.pid = 0
        self.status: int | None = None
        self._problem = ""
        self._is_ended = False
        self._has_begun = threading.Event()
        self._thread = threading.Thread(target=self._keep, args=(theirs,), name="sonyc-ml model", daemon=True)
        self._thread.start()
        self._has_begun.wait()
        if not self.pid:
            self.connection.close()
            self.samples.close()
            raise LostModelError(f"a process for the model could not be started{self._problem}")

    def _keep(self, theirs: socket) -> None:
        import subprocess  # noqa: PLC0415

        # As spawned processes of Python's own have it: what can be imported here can be imported there.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}  # noqa: PTH109
        command = [sys.executable, "-P", "-m", PROGRAM, str(os.getpid()), str(self.samples.descriptor)]
        end = theirs.fileno()
        try:
            with (
                theirs,
                subprocess.Popen(  # noqa: S603  our own program
                    command,
                    stdin=end,
                    stdout=end,
                    env=environment,
                    pass_fds=[self.samples.descriptor],
                    process_group=0,  # Ctrl-C is for this process
                ) as process,
            ):
                theirs.close()
                self.pid = process.pid
                self._has_begun.set()
                self.status = process.wait()
        except OSError as error:
            self._problem = f": {error.strerror or error}"
        finally:
            self._has_begun.set()
        with suppress(OSError):  # where a process that it started still holds the other end, and this one is open
            self.connection.shutdown(SHUT_RDWR)

    def end(self, ending_s: float) -> str:
        """Close the connection, wait until the process has ended, and kill it where it does not.

        Returns
        -------
        str
            How it ended, as in ``was ended by SIGKILL``.
        """
        self.connection.close()
        self._thread.join(ending_s)
        if self._thread.is_alive():
            os.kill(self.pid, SIGKILL)
            self._thread.join()
        if not self._is_ended:
            self._is_ended = True
            self.samples.close()
        return how_it_ended(self.status)


def how_it_ended(status: int | None) -> str:
    """What the status of a process says, as in ``was ended by SIGKILL``."""
    import signal  # noqa: PLC0415

    if status is None or status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
