"""The thread that reads every source, whatever the worker does meanwhile: it never waits for one of them."""

from __future__ import annotations

import itertools
import logging
import os
import selectors
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Self, TypeAlias

from sonyc_ml.node.intake.answering import peer_of
from sonyc_ml.node.intake.buffer import Buffer
from sonyc_ml.node.intake.config import ListenConfig, SourceConfig, microphone_table
from sonyc_ml.node.intake.connection import STOPPED, Connection
from sonyc_ml.node.intake.mistakes import Mistakes
from sonyc_ml.node.intake.requests import Requests
from sonyc_ml.node.intake.sources import MAX_CONNECTIONS, Command, listen_at
from sonyc_ml.sound.levels.microphone_files import read_microphone
from sonyc_ml.sound.live.clock import this_moment
from sonyc_ml.sound.live.formats import raw_layout

logger = logging.getLogger(__name__)

LOOK_S = 1.0  # how often what sends nothing is looked after, at the least
STOP_S = 10.0
DAEMON_STOPPED = "the daemon was stopped"

Handler: TypeAlias = Callable[[int], None]


class Reader:
    """Reads every source of a configuration.

    Parameters
    ----------
    config : ListenConfig
    buffer : Buffer
    requests : Requests
    overlap_s : float
        See :class:`~sonyc_ml.sound.live.cutting.Cutter`.

    Raises
    ------
    ConfigError
        What a source says of its microphone cannot be, or be read.
    """

    def __init__(self, config: ListenConfig, buffer: Buffer, requests: Requests, overlap_s: float = 0.0) -> None:
        self._requests = requests
        self._config, self._buffer, self._overlap_s = config, buffer, overlap_s
        self._selector = selectors.PollSelector()  # standard input may be a file, which epoll does not take
        self._wake_out, self._wake_in = os.pipe()
        self._posted: deque[tuple[Connection, bytes]] = deque()
        self._microphones = {one.name: read_microphone(microphone_table(one)) for one in config.source}
        self._connections: dict[Connection, SourceConfig] = {}
        self._reading: set[Connection] = set()
        self._resting: dict[Connection, float] = {}  # until when, by the timer
        self._commands: dict[Command, SourceConfig] = {}
        self._of_command: dict[Connection, Command] = {}
        self._listeners: list[socket.socket] = []
        self._is_stopping = threading.Event()
        self._is_over = False
        self._look_at_s, self._look_s = 0.0, min(LOOK_S, config.stall_s / 2)
        self._mistakes = Mistakes()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def __enter__(self) -> Self:
        """Open what can be opened, and begin to read.

        Raises
        ------
        ConfigError
            A socket or port cannot be had.
        """
        self._selector.register(self._wake_out, selectors.EVENT_READ, self._on_wake)
        try:
            for source in self._config.source:
                self._open(source)
        except BaseException:
            self._close_all()
            raise
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._close_all()

    @property
    def is_over(self) -> bool:
        """Whether no sound can come any more: standard input was all there was, and has ended."""
        return self._is_over or not self._thread.is_alive()

    def stop(self) -> None:
        """End every stream; what there is of its last recording is one."""
        self._is_stopping.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    # What happens in the thread

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            for key, events in self._selector.select(self._patience_s()):
                if self._selector.get_map().get(key.fd) is key:  # not if one of the others has just closed it
                    self._handle(key.data, events)
            self._wake_resting()
            self._look_after()
        for connection in list(self._connections):
            if connection in self._reading:
                connection.end(STOPPED, DAEMON_STOPPED)
                self._leave(connection)

    def _handle(self, handler: Handler, events: int) -> None:
        try:
            handler(events)
        except Exception as error:  # noqa: BLE001  whatever it is, the other sources are read on
            self._mistakes.log("live sound: a mistake while reading; it goes on", error)

    def _patience_s(self) -> float:
        """How long nothing needs to be done unless something comes; who rests and who is looked after share a turn."""
        return max(0.0, min(self._resting.values(), default=self._look_at_s) - this_moment().timer_s)

    def _wake_resting(self) -> None:
        now_s = this_moment().timer_s
        for connection in [one for one, until_s in self._resting.items() if until_s <= now_s]:
            del self._resting[connection]
            self._follow(connection)

    def _look_after(self) -> None:
        now = this_moment()
        if now.timer_s < self._look_at_s:
            return
        starts = [command.start_at_s for command in self._commands if command.process is None]
        self._look_at_s = min([now.timer_s + self._look_s, *(max(start_s, now.timer_s) for start_s in starts)])
        for connection in list(self._connections):
            if connection in self._reading:
                connection.look_after(now)
            self._follow(connection)
        for command in self._commands:
            command.drain()
            if command.process is None and now.timer_s >= command.start_at_s:
                self._start(command)
        self._is_over = not (self._connections or self._commands or self._listeners)
        if self._is_over:
            self._buffer.wake()

    # Sources

    def _open(self, source: SourceConfig) -> None:
        if source.stdin:
            answers = sys.stdout.fileno()
            self._connect(source, os.dup(sys.stdin.fileno()), answers=os.dup(answers))
        elif source.command:
            self._commands[Command(source)] = source
        else:
            listener = listen_at(source)
            listener.setblocking(False)
            self._listeners.append(listener)
            self._selector.register(listener, selectors.EVENT_READ, partial(self._on_connect, listener, source))
            logger.info("%s: listening at %s", source.name, source.socket or f"127.0.0.1:{source.port}")

    def _start(self, command: Command) -> None:
        source, now_s = self._commands[command], this_moment().timer_s
        descriptor = command.start(now_s)
        if descriptor is not None:
            self._of_command[self._connect(source, descriptor)] = command

    def _on_connect(self, listener: socket.socket, source: SourceConfig, _events: int) -> None:
        with suppress(BlockingIOError, ConnectionError):
            accepted, _ = listener.accept()
            peer = peer_of(accepted)
            if sum(of is source for of in self._connections.values()) >= MAX_CONNECTIONS:
                logger.warning("%s: %s is refused: there are %d connections", source.name, peer, MAX_CONNECTIONS)
                accepted.close()
                return
            logger.info("%s: %s has connected", source.name, peer)
            accepted.setblocking(False)
            descriptor = accepted.detach()
            self._connect(source, descriptor, answers=os.dup(descriptor))

    def _connect(self, source: SourceConfig, descriptor: int, answers: int | None = None) -> Connection:
        rate = source.sample_rate
        connection = Connection(
            source.name,
            descriptor,
            self._config,
            self._buffer,
            self._requests,
            layout=None if rate is None else raw_layout(rate, source.sample_format, source.channels),
            overlap_s=self._overlap_s,
            microphone=self._microphones[source.name],
            answers=answers,
            claim=self._claim,
            post=self._post,
        )
        self._connections[connection] = source
        self._reading.add(connection)
        self._selector.register(descriptor, selectors.EVENT_READ, partial(self._on_sound, connection))
        return connection

    def _claim(self, wanted: str) -> str:
        """A name that no other connection has: two recordings at one time are of two sources.

        Who has it and rests may have ended meanwhile; a recorder that comes again at once keeps its name.
        """
        for connection in [one for one in self._resting if one.current == wanted]:
            self._catch_up(connection)
        taken = {connection.current for connection in self._connections}
        return next(name for name in _names(wanted) if name not in taken)

    # Connections

    def _on_sound(self, connection: Connection, _events: int) -> None:
        try:
            goes_on = connection.read()
        except Exception as error:  # noqa: BLE001  its bytes would be there again at once
            self._mistakes.log(f"{connection.name}: a mistake while reading it; the connection is closed", error)
            connection.problem, goes_on = "a mistake of sonyc-ml while reading it; see the log", False
        if not goes_on:
            if connection.problem:
                logger.warning("%s: %s", connection.name, connection.problem)
            self._end(connection)
        elif (rest_s := connection.rest_s()) > 0:
            self._resting[connection] = this_moment().timer_s + rest_s
        self._follow(connection)

    def _catch_up(self, connection: Connection) -> None:
        """Read all that there is of a source that rests, and its end."""
        del self._resting[connection]
        while connection in self._reading:
            self._on_sound(connection, selectors.EVENT_READ)
            if not connection.n_read:
                return

    def _end(self, connection: Connection) -> None:
        """No more sound comes from it; its answers may still go."""
        command = self._of_command.pop(connection, None)
        if command is None:
            connection.end()
            logger.info("%s: the connection has ended", connection.name)
        else:
            connection.end(detail=command.ended(this_moment().timer_s))
        self._leave(connection)

    def _leave(self, connection: Connection) -> None:
        self._reading.discard(connection)
        self._resting.pop(connection, None)
        self._look_at_s = 0.0
        with suppress(KeyError):
            self._selector.unregister(connection.descriptor)

    def _follow(self, connection: Connection) -> None:
        """Read, write, and close as the connection needs it."""
        if connection in self._reading:
            self._set_reading(connection, wanted=connection not in self._resting and not connection.must_wait)
        elif not connection.n_waiting and not connection.has_unsent:
            self._drop(connection)
            return
        answers = connection.answers
        if answers is None:
            return
        is_known = answers in self._selector.get_map()
        if connection.has_unsent and not is_known:
            self._selector.register(answers, selectors.EVENT_WRITE, partial(self._on_room, connection))
        elif is_known and not connection.has_unsent:
            self._selector.unregister(answers)

    def _set_reading(self, connection: Connection, *, wanted: bool) -> None:
        is_known = connection.descriptor in self._selector.get_map()
        if wanted and not is_known:
            self._selector.register(connection.descriptor, selectors.EVENT_READ, partial(self._on_sound, connection))
        elif is_known and not wanted:
            self._selector.unregister(connection.descriptor)

    def _on_room(self, connection: Connection, _events: int) -> None:
        answers = connection.answers
        connection.send()
        if connection.answers is None and answers is not None:  # the other side has hung up
            self._selector.unregister(answers)
            os.close(answers)
        self._follow(connection)

    def _drop(self, connection: Connection) -> None:
        if self._connections.pop(connection, None) is None:
            return  # its descriptors may be those of another connection by now
        self._look_at_s = 0.0
        if connection.answers is not None:
            with suppress(KeyError):
                self._selector.unregister(connection.answers)
            os.close(connection.answers)
        connection.close()

    # Between the threads

    def _post(self, connection: Connection, content: bytes) -> None:
        """Hand an answer to the reader; called by the worker."""
        self._posted.append((connection, content))
        self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError, OSError):
            os.write(self._wake_in, b"\0")

    def _on_wake(self, _events: int) -> None:
        os.read(self._wake_out, 4096)
        while self._posted:
            connection, content = self._posted.popleft()
            connection.take_answer(content)
            self._follow(connection)

    def _close_all(self) -> None:
        """Let go of everything; the thread has ended, or has never begun."""
        while self._posted:
            connection, content = self._posted.popleft()
            connection.take_answer(content)
        for connection in list(self._connections):
            while connection.send():
                pass
            self._drop(connection)
        for command in self._commands:
            command.stop()
        for listener in self._listeners:
            path = listener.getsockname() if listener.family == socket.AF_UNIX else ""
            listener.close()
            if path:
                with suppress(OSError):
                    os.unlink(path)  # noqa: PTH108
        self._selector.close()
        os.close(self._wake_out)
        os.close(self._wake_in)


def _names(wanted: str) -> Iterator[str]:
    yield wanted
    for number in itertools.count(2):
        yield f"{wanted}-{number}"
