"""What a node remembers of the rollouts of one bundle: ``rollout-state.json`` beside the versions that it keeps."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from sonyc_ml.base.durable import write_atomically
from sonyc_ml.base.records import dataclass, field
from sonyc_ml.bundles.manifest import parse_strictly
from sonyc_ml.errors import StoreError

FILE_NAME = "rollout-state.json"
N_REFUSED = 20  # versions that are remembered as refused

RUNS, OFFERED, WAITING, REFUSED, EXPIRED, FAILED, BACK = (
    "runs",
    "offered",
    "waiting",
    "refused",
    "expired",
    "failed",
    "rolled back",
)


@dataclass(slots=True)
class RolloutRecord:
    """What is known of a bundle's rollouts here.

    Attributes
    ----------
    word, detail : str
        How the last look, or the last rolling back, came out: a word, and a sentence.
    looked, valid : str
        When the store was last looked at, and when it last gave a rollout that holds; in ISO 8601.
    sequence : int
        The largest number of a rollout that was seen.
    digest : str
        SHA-256 of the rollout of that number.
    made, expires : str
        Of that rollout.
    newest : str
        The newest version that was ever accepted.
    versions : dict of str to str
        The version of each manifest that is kept, by its SHA-256; the last is the one that was switched to last.
    refused : dict of str to str
        Why a manifest is not tried again, by its SHA-256.
    trial : str
        The manifest that has been switched to, until it has run for long enough.
    n_starts : int
        How often a daemon has begun with it, and not ended in order.
    switched : str
        When the last switch was.
    """

    word: str = ""
    detail: str = ""
    looked: str = ""
    valid: str = ""
    sequence: int = 0
    digest: str = ""
    made: str = ""
    expires: str = ""
    newest: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    trial: str = ""
    n_starts: int = 0
    switched: str = ""

    def says(self, word: str, detail: str) -> None:
        """Take down how something came out."""
        self.word, self.detail = word, detail

    def refuse(self, manifest: str, why: str) -> None:
        """Do not try this manifest again."""
        self.refused.pop(manifest, None)
        self.refused[manifest] = why
        self.refused = dict(list(self.refused.items())[-N_REFUSED:])


def read_record(folder: Path) -> RolloutRecord:
    """The record in a folder; an empty one where there is none.

    Raises
    ------
    StoreError
        It cannot be read.
    BundleError
        It is damaged.
    """
    path = folder / FILE_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return RolloutRecord()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    return parse_strictly(RolloutRecord, content, str(path))


@contextmanager
def changed_record(folder: Path) -> Iterator[RolloutRecord]:
    """The record, to be changed: written durably at the end of the context, where nothing was raised in it.

    Others who change it wait meanwhile: keep it short.

    Raises
    ------
    StoreError, BundleError
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"{folder} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # of the folder: no file of another user is in the way
        record = read_record(folder)
        before = asdict(record)
        yield record
        if asdict(record) != before:
            write_atomically(folder / FILE_NAME, json.dumps(asdict(record), indent=1).encode())
    finally:
        os.close(descriptor)
