"""What the uploading process says of itself: a small file beside its ledger, which whoever asks reads.

Nobody needs to open the ledger for it: ``status``, the metrics and the doctor may be other users.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sonyc_ml.base.lock import UPLOAD, holder
from sonyc_ml.base.records import dataclass
from sonyc_ml.node.config import Config
from sonyc_ml.node.telemetry.textfile import write_textfile

FILE_NAME, FOLDER_NAME = "upload.json", "upload"
SCHEMA = 1
OK, WAITING, FAILING, STOPPED = "ok", "waiting", "failing", "stopped"


@dataclass(frozen=True, slots=True)
class UploadFacts:
    """How far uploading is.

    Attributes
    ----------
    schema : int
    at_s : float
        When this was written (in seconds since 1970, as all times here).
    word : {"ok", "waiting", "failing", "stopped"}
        Whether it sends what is due, waits for the time of day at which it may, or the store fails.
    detail : str
        In a sentence; without a secret.
    to : str
    waiting, waiting_bytes : int
        Outputs and other files that are not acknowledged.
    objects : int
        Objects that are ready to be sent.
    oldest_s : float or None
        Since when the oldest that could have been sent waits.
    last_success_s : float or None
        When an object was acknowledged last.
    lost : int
        Files that were removed or replaced before they were sent.
    """

    schema: int = SCHEMA
    at_s: float = 0.0
    word: str = OK
    detail: str = ""
    to: str = ""
    waiting: int = 0
    waiting_bytes: int = 0
    objects: int = 0
    oldest_s: float | None = None
    last_success_s: float | None = None
    lost: int = 0

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> UploadFacts:
        """From plain values; what is not known here is left out."""
        known = {entry.name: values[entry.name] for entry in dataclasses.fields(cls) if entry.name in values}
        return cls(**known)


def upload_folder(config: Config) -> Path:
    """Where the ledger lies: beside the journal, where nothing else is said."""
    named: Path | None = config.upload.folder if config.upload is not None else None
    return named or config.state_folder / FOLDER_NAME


def write_facts(folder: Path, facts: UploadFacts) -> None:
    """Keep the facts for those who ask; a disk that is full costs nothing else."""
    with suppress(OSError):
        write_textfile(folder / FILE_NAME, json.dumps(dataclasses.asdict(facts)).encode())


def read_facts(folder: Path) -> UploadFacts | None:
    """What was written last, ``stopped`` where nobody runs; None where there is nothing, or it cannot be read."""
    try:
        facts = UploadFacts.from_plain(json.loads((folder / FILE_NAME).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return facts if holder(folder, UPLOAD) is not None else dataclasses.replace(facts, word=STOPPED)
