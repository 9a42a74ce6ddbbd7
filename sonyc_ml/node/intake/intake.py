"""Live sound of a daemon: its sources, its buffer, and the queue from which the worker fetches it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sonyc_ml.node.intake.buffer import Buffer
from sonyc_ml.node.intake.config import ListenConfig
from sonyc_ml.node.intake.gapless import overlap_s
from sonyc_ml.node.intake.live_queue import LiveQueue
from sonyc_ml.node.intake.reader import DAEMON_STOPPED, Reader
from sonyc_ml.node.intake.requests import Requests
from sonyc_ml.node.intake.spooler import Spooler
from sonyc_ml.node.running_bundles import LoadedBundle

if TYPE_CHECKING:
    from sonyc_ml.node.intake.keeping.keeper import Keeper


class Intake:
    """Live sound, from its sources to the worker.

    Parameters
    ----------
    config : ListenConfig
    folder : Path
        Of the spool, for sound that may be written there.
    bundles : iterable of LoadedBundle
        What it goes through; the first answers requests.
    wake : callable
        Called where there is something for the worker.

    Attributes
    ----------
    queue : LiveQueue
    requests : Requests
    """

    def __init__(
        self, config: ListenConfig, folder: Path, bundles: Iterable[LoadedBundle], wake: Callable[[], None]
    ) -> None:
        self.requests = Requests(bundles, config.max_buffer_s, wake)
        self._buffer = Buffer(config.max_buffer_s, wake)
        self._spooler = Spooler(folder, config.max_buffer_s, wake) if config.spool != "never" else None
        if self._spooler is not None:
            self._buffer.take_away = self._spooler.take
            self._buffer.takes_all = config.spool == "always"
        overlap = overlap_s(bundles, config.segment_s) if config.gapless else 0.0
        self._reader = Reader(config, self._buffer, self.requests, overlap)
        self._house = ExitStack()
        self.queue = LiveQueue(self._buffer, hears=bool(config.detect_every_s), keeper=_keeper(config, bundles))

    def __enter__(self) -> Self:
        """Begin to read.

        Raises
        ------
        ConfigError
            A socket or port cannot be had.
        """
        if self._spooler is not None:
            self._spooler.start()
            self._house.callback(self._spooler.stop)
        self._house.enter_context(self._reader)
        return self

    def __exit__(self, *_: object) -> None:
        self._house.close()
        self.queue.close()

    @property
    def has_news(self) -> bool:
        """Whether something has come that the journal does not know."""
        return bool(self._buffer.news())

    @property
    def is_over(self) -> bool:
        """Whether no sound can come any more, and none waits."""
        return self._reader.is_over and self._buffer.is_empty()

    def drain(self, step: Callable[[], object], is_time_up: Callable[[], bool]) -> None:
        """Read no more; embed what is in memory while there is time, and give up the rest.

        Parameters
        ----------
        step : callable
            Embeds one recording, and takes up what has come.
        is_time_up : callable
        """
        self._reader.stop()
        if self._spooler is not None:
            self._spooler.stop()
        while not self._buffer.is_empty() and not is_time_up():
            step()
        self._buffer.give_up_all("stopped", f"{DAEMON_STOPPED}, and there was no time to embed it")


def _keeper(config: ListenConfig, bundles: Iterable[LoadedBundle]) -> Keeper | None:
    if config.keep == "nothing":
        return None
    from sonyc_ml.node.intake.keeping.keeper import Keeper  # noqa: PLC0415  hardly any node keeps sound

    return Keeper(config.clips, bundles)
