"""Who writes into a store: one machine at a time, for two would give their parts the same names."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from sonyc_ml.base.durable import write_atomically
from sonyc_ml.base.human import iso
from sonyc_ml.base.lock import STATE_FOLDER
from sonyc_ml.batch.places.place import Place
from sonyc_ml.errors import ConfigError, StoreError

logger = logging.getLogger(__name__)

NAME = f"{STATE_FOLDER}/batch.json"
LEASE_S, RENEW_S = 900.0, 60.0  # a machine that is gone keeps others off for so long


class Lease:
    """A folder in a store is taken for this process, and the format of its outputs is on record there.

    A thread keeps it, as a single recording may take longer than a lease lasts.

    Parameters
    ----------
    place : Place
    output_format : {"npz", "csv", "parquet"}

    Raises
    ------
    ConfigError
        Another machine writes there, or there are outputs of another format.
    StoreError
        The store cannot be read, or not be written to.
    """

    def __init__(self, place: Place, output_format: str) -> None:
        self._place, self._format = place.beside(""), output_format  # a place of its own, for the thread
        self._trouble: StoreError | None = None
        self._ended = threading.Event()
        self._holder = f"{socket.gethostname()}:{place.state_folder}"
        held = self._held()
        if held.get("holder") not in (None, self._holder) and held["until_s"] > time.time():
            raise ConfigError(
                f"{held['holder'].partition(':')[0]} embeds into {place}; stop it, or give another --output. Where it "
                f"has ended without a word, others may from {iso(held['until_s'])} on"
            )
        found = held.get("format") or self._format_there()
        if found not in (None, output_format):
            raise ConfigError(
                f"{place} holds outputs of another format already, {found}: with {output_format} beside them every "
                f"window would be there twice; give another --output, or remove them and {place.path(NAME)} first"
            )
        self._write(time.time() + LEASE_S)
        if self._held().get("holder") != self._holder:
            raise ConfigError(f"another machine has just begun to embed into {place}; give another --output")
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """See that it is still held.

        Raises
        ------
        StoreError
            Another machine has taken it: this one was away for too long.
        """
        if self._trouble is not None:
            raise self._trouble

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_S):
            try:
                holder = self._held().get("holder") or "another machine"
                if holder != self._holder:
                    self._trouble = StoreError(f"{holder} embeds into {self._place} now; this batch ends")
                    return
                self._write(time.time() + LEASE_S)
            except StoreError as error:  # it lasts for some more tries
                logger.debug("the lease of %s is not renewed yet: %s", self._place, error)

    def release(self) -> None:
        """Let other machines write there."""
        self._ended.set()
        self._thread.join()
        with suppress(StoreError):
            if self._held().get("holder") == self._holder:
                self._write(0)

    def _write(self, until_s: float) -> None:
        table = {"holder": self._holder if until_s else None, "until_s": until_s, "format": self._format}
        content = json.dumps(table).encode()
        self._place.write(NAME, lambda path: write_atomically(path, content))

    def _held(self) -> dict[str, Any]:
        """What is on record; nothing where there is none, or it is damaged."""
        try:
            with self._place.files([NAME]) as (path,):
                table: dict[str, Any] = json.loads(Path(path).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        is_whole = isinstance(table, dict) and isinstance(table.get("until_s"), (int, float))
        return table if is_whole and isinstance(table.get("holder"), (str, type(None))) else {}

    def _format_there(self) -> str | None:
        """The format of outputs that something else has put there; None where there are none."""
        for name, _ in self._place.walk():
            suffix = name.rpartition(".")[2]
            if suffix in ("npz", "parquet") or (suffix == "csv" and "/" in name):
                return suffix
        return None
