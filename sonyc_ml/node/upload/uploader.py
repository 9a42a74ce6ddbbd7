"""The uploading process: finds what is to leave, packs it, sends it when it may, proves it, prunes it; again and again.

Every step is on the disk before the next begins, and each can be made again: whatever kills the process, the next one
goes on where it was. Waits are by a clock that only grows; the one on the wall decides only which time of day it is.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from datetime import tzinfo
from typing import Any

from sonyc_ml.base.human import count, iso, size, span
from sonyc_ml.base.lock import UPLOAD, Lock
from sonyc_ml.errors import StoreError
from sonyc_ml.node.config import Config
from sonyc_ml.node.upload.config import UploadConfig
from sonyc_ml.node.upload.facts import FAILING, OK, WAITING, UploadFacts, upload_folder, write_facts
from sonyc_ml.node.upload.finding import Finder, places_of
from sonyc_ml.node.upload.ledger import Ledger
from sonyc_ml.node.upload.ledger_file import StoredObject
from sonyc_ml.node.upload.pacing import Pauses, RateLimit, Stopped
from sonyc_ml.node.upload.packing import LEDGER_FOLDER, Packer
from sonyc_ml.node.upload.pruning import Pruner
from sonyc_ml.node.upload.reports import FOLDER_NAME, write_reports
from sonyc_ml.node.upload.schedule import parse_between
from sonyc_ml.node.upload.stores.secrets import UploadError
from sonyc_ml.node.upload.stores.store import LocalFileError, Sent, Store
from sonyc_ml.sound.start_time.clock import named_zone

logger = logging.getLogger(__name__)

TELL_S = 5.0  # between two writings of the facts
LOOK_S = 30.0  # between two looks at the time of day


class Uploader:
    """Uploads what a node has; one process for each node.

    Parameters
    ----------
    config : Config
        With ``[upload]``.
    store : Store
    stop : threading.Event
        Set where it is to end.
    clock, timer : callable
        Return seconds since 1970, and seconds that only grow.

    Attributes
    ----------
    ledger : Ledger
    places : tuple of Place
        Where what is to leave lies.

    Raises
    ------
    ConfigError
        Another process uploads, or a package is missing.
    StoreError
        The ledger cannot be used.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        stop: threading.Event,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        settings: UploadConfig = config.upload
        self._config, self._settings, self._store, self._stop = config, settings, store, stop
        self._clock, self._timer = clock, timer
        folder = upload_folder(config)
        self.places = places = places_of(config, folder / FOLDER_NAME)
        self._folder = folder
        self._between, self._zone = parse_between(settings.between), zone_of(config)
        self._limit = RateLimit(settings.max_bytes_per_s, stop.wait, timer)
        self._pauses, self._not_before_s = Pauses(), 0.0
        self._trouble, self._told_s = "", -TELL_S
        self._packer = Packer(
            places, folder / LEDGER_FOLDER, config.node.name, settings.pack, settings.late_s, stop.is_set, clock, timer
        )
        self._finder = Finder(places, settings.pack, stop.is_set)
        spool = None if config.has_own_spool else config.spool.folder
        self._pruner = Pruner(settings, places, spool, stop.is_set, clock)
        try:
            self._lock = Lock(folder, UPLOAD)
        except StoreError as error:
            more = "" if settings.folder else "; upload.folder may name another folder, which this user can write to"
            raise StoreError(f"{error}{more}") from error
        self.ledger = Ledger(folder, clock)
        self._packer.clear_up(self.ledger)

    def close(self) -> None:
        """Give up the store, the ledger, and the lock."""
        self._store.close()
        self.ledger.close()
        self._lock.release()

    def run(self) -> None:
        """Go on until it is to stop."""
        logger.info("uploading to %s", self._store.address)
        while not self._stop.is_set():
            self.turn()
            self._stop.wait(self._pause_s())
        logger.info("stopped")

    def turn(self, *, at_once: bool = False) -> None:
        """Do once what there is to do; a trouble that passes is logged, and told.

        Parameters
        ----------
        at_once : bool
            Pack what is there, without waiting for the end of its day or hour.
        """
        try:
            self._write_reports()
            self._finder.find(self.ledger)
            self._packer.pack(self.ledger, at_once=at_once)
            self._send_all(at_once=at_once)
            self._pruner.prune(self.ledger)
        except Stopped:
            pass
        except StoreError as error:
            self._complain(str(error))
        except OSError as error:
            self._complain(error.strerror or str(error))
        self._tell(at_once=True)

    def _write_reports(self) -> None:
        try:
            write_reports(self._config, self._folder / FOLDER_NAME, self.ledger, self._clock)
        except StoreError as error:  # the daemon has not run yet: outputs leave without its reports
            logger.debug("no reports yet: %s", error)

    def may_send(self) -> bool:
        """Whether it is the time of day for it."""
        return self._between is None or self._between.holds(self._clock(), self._zone)

    def _pause_s(self) -> float:
        """Until the next turn (in seconds)."""
        waits_s = max(0.0, self._not_before_s - self._timer())
        if self.ledger.next_waiting() is None:
            return self._settings.every_s
        return min(self._settings.every_s, waits_s or LOOK_S)

    def _send_all(self, *, at_once: bool) -> None:
        while self._timer() >= self._not_before_s and self.may_send() and not self._stop.is_set():
            waiting = self.ledger.next_waiting()
            if waiting is None:
                if not self._packer.pack(self.ledger, at_once=at_once):  # what had to wait for room
                    return
                continue
            self._send(waiting)
            self._tell()

    def _send(self, waiting: StoredObject) -> None:
        sent = Sent(waiting.key, waiting.path, waiting.n_bytes, waiting.sha256)
        try:
            proof, was_sent = self._store.send(sent, self._limit)
        except LocalFileError as error:
            self._give_up(waiting, error)
            return
        except UploadError as error:
            self._back_off(waiting, str(error))
            return
        self.ledger.acknowledge(waiting, self._store.address, proof)
        if waiting.is_part:
            waiting.path.unlink(missing_ok=True)
        if self._trouble:
            logger.info("%s takes objects again", self._store.address)
        self._trouble = ""
        self._pauses.reset()
        logger.debug("%s is there (%s)%s", waiting.key, proof, "" if was_sent else ", as it was before")

    def _give_up(self, waiting: StoredObject, error: LocalFileError) -> None:
        if not error.is_gone:
            self._back_off(waiting, str(error))
        elif waiting.is_part:
            self.ledger.unpack(waiting)
            logger.warning("%s; its outputs are packed again", error)
        else:
            self.ledger.lose(waiting, str(error))
            logger.error("%s: it was removed or replaced before it was sent, and is lost to the archive", error)

    def _back_off(self, waiting: StoredObject, detail: str) -> None:
        self.ledger.fail(waiting, detail)
        pause_s = self._pauses.next_s()
        self._not_before_s = self._timer() + pause_s
        self._complain(f"{detail}; trying again in {span(pause_s)}")

    def _complain(self, detail: str) -> None:
        """Once for each trouble: a store that is away for a week is no news every minute."""
        level = logging.DEBUG if self._trouble else logging.WARNING
        logger.log(level, "%s", detail)
        self._trouble = detail

    def _tell(self, *, at_once: bool = False) -> None:
        now = self._timer()
        if at_once or now >= self._told_s + TELL_S:
            self._told_s = now
            write_facts(self._folder, self.facts())

    def facts(self) -> UploadFacts:
        """How far it is."""
        sums = self.ledger.sums()
        overdue = [due_s for one in self.ledger.groups() if (due_s := self._packer.due_s(one)) <= self._clock()]
        sums["oldest_s"] = min([*overdue, *([sums["oldest_s"]] if sums["oldest_s"] is not None else [])], default=None)
        word, detail = self._doing(sums)
        return dataclasses.replace(
            UploadFacts(**sums), at_s=self._clock(), word=word, detail=detail, to=self._store.address
        )

    def _doing(self, sums: dict[str, Any]) -> tuple[str, str]:
        if self._trouble:
            return FAILING, self._trouble
        if self._between is not None and not self.may_send() and sums["objects"]:
            return WAITING, f"until {iso(self._between.opens_s(self._clock(), self._zone))}"
        if not sums["waiting"]:
            return OK, "everything is acknowledged"
        return OK, f"{count(sums['waiting'], 'file')} ({size(sums['waiting_bytes'])}) not acknowledged yet"


def zone_of(config: Config) -> tzinfo:
    """The node's time zone, by whose clocks sending is allowed."""
    return named_zone(config.node.time_zone or config.recordings.time_zone)
