"""The daemon's life: start, embed each recording as it is finished, stop."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sonyc_ml.config import Config
from sonyc_ml.errors import BundleError, ConfigError, RecordingError, StoreError
from sonyc_ml.loading import load_model
from sonyc_ml.model import Model
from sonyc_ml.spool import Identity, Spool
from sonyc_ml.store import is_output_of, output_path, write_output

logger = logging.getLogger(__name__)

RETRY_S = 10.0


class Daemon:
    """Embeds the recordings of a folder until it is told to stop.

    Parameters
    ----------
    config : Config
        See :mod:`sonyc_ml.config`.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._n_embedded = self._n_refused = 0

    def run(self) -> None:
        """Run until SIGTERM or Ctrl-C, which finish the recording at hand; a second one stops now.

        Raises
        ------
        BundleError, ConfigError
            It cannot start.
        KeyboardInterrupt
            Stopped by a second signal.
        """
        spool = self._make_spool()
        with _stopped_by_signals(spool):
            self._startup(spool)
            try:
                self._main_loop(spool)
            finally:
                self._shutdown(spool)

    def _make_spool(self) -> Spool:
        settings = self._config.spool
        return Spool(settings.folder, settings.extensions, recursive=settings.recursive, settle_s=settings.settle_s)

    def _startup(self, spool: Spool) -> None:
        settings = self._config.model
        try:
            self._model: Model = load_model(settings.path, **settings.parameters())
        except (ValueError, TypeError) as error:  # here, a mistake in the call is one in the configuration
            raise ConfigError(f"[model]: {error}") from error
        spool.start()
        logger.info("watching %s with %s, writing to %s", spool.folder, settings.path, self._config.output.folder)

    def _main_loop(self, spool: Spool) -> None:
        for recording in spool.recordings():
            try:
                self._embed(recording, spool)
            except (RecordingError, BundleError) as error:
                self._n_refused += 1
                logger.warning("refused: %s", error)
            except StoreError as error:
                spool.retry(recording, RETRY_S)
                logger.error("%s; trying again in %.0f s", error, RETRY_S)

    def _shutdown(self, spool: Spool) -> None:
        spool.close()
        logger.info("stopped; embedded %d, refused %d", self._n_embedded, self._n_refused)

    def _embed(self, recording: Identity, spool: Spool) -> None:
        name = recording.path.relative_to(spool.folder).as_posix()
        path = output_path(name, self._config.output.folder, self._config.output.format)
        if is_output_of(path, recording.n_bytes, recording.mtime_ns):
            logger.debug("%s is embedded already", name)
            return
        logger.debug("%s is being embedded", name)
        start_s = time.perf_counter()
        output = self._model.embed_file(recording.path, name=name)
        write_output(output, path)
        self._n_embedded += 1
        elapsed_ms = (time.perf_counter() - start_s) * 1e3
        heard = f"{output.likeliest()}, " if output.likeliest() else ""
        logger.info("%s: %s%d windows in %.0f ms, %s", name, heard, len(output.timestamps), elapsed_ms, path)


@contextmanager
def _stopped_by_signals(spool: Spool) -> Iterator[None]:
    """Let SIGTERM and SIGINT stop the spool; handlers only set flags."""
    signals = (signal.SIGTERM, signal.SIGINT)
    n_received = 0

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal n_received
        n_received += 1
        if n_received > 1:
            raise KeyboardInterrupt
        spool.stop()

    previous = {number: signal.signal(number, on_signal) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
