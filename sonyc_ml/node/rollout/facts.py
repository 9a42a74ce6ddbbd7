"""How the rollouts of a node stand, from its records alone: for status, metrics and the doctor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sonyc_ml.base.human import seconds_of, span
from sonyc_ml.base.records import dataclass
from sonyc_ml.bundles.location import PULLED
from sonyc_ml.bundles.rollout.kept import KeptVersions
from sonyc_ml.bundles.rollout.record import BACK, EXPIRED, FAILED, REFUSED, RolloutRecord, read_record
from sonyc_ml.errors import SonycMLError

MAX_SILENCE_S = 2 * 86400.0  # a store may be away for a night


@dataclass(frozen=True, slots=True)
class RolloutFacts:
    """How the rollouts of one bundle stand.

    Attributes
    ----------
    bundle : str
    version : str
        That was pulled, and that the link names; empty where the node runs what it began with.
    state, detail : str
        How the last look at the store came out: a word, and a sentence.
    looked, valid, expires : str
        When the store was last looked at, when it last gave a rollout that holds, and until when that does.
    sequence : int
        Number of that rollout.
    on_trial : bool
        Whether the daemon has not lived for long enough with this version yet.
    """

    bundle: str
    version: str = ""
    state: str = ""
    detail: str = ""
    looked: str = ""
    valid: str = ""
    expires: str = ""
    sequence: int = 0
    on_trial: bool = False

    def trouble(self, now_s: float) -> str:
        """What somebody should look at; empty where all is well."""
        if self.state in (REFUSED, EXPIRED, BACK):
            return self.detail
        if self.state == FAILED and self.valid >= self.looked:  # the rollout could be read, and its bundle not be had
            return self.detail
        if self.expires and now_s >= seconds_of(self.expires):
            return f"rollout {self.sequence} of {self.bundle} held until {self.expires}, and no newer one has come"
        if self.looked and (silence_s := now_s - seconds_of(self.looked)) > MAX_SILENCE_S:
            return f"nobody has looked for a new {self.bundle} for {span(silence_s)}; does sonyc-ml-pull.timer run?"
        if self.state == FAILED and now_s - (seconds_of(self.valid) if self.valid else 0.0) > MAX_SILENCE_S:
            return self.detail
        return ""


def read_facts(state_folder: Path) -> Iterator[RolloutFacts]:
    """How the rollouts stand of each bundle that was ever looked for."""
    try:
        folders = sorted(path for path in (state_folder / PULLED).iterdir() if path.is_dir())
    except OSError:
        return
    for folder in folders:
        try:
            record = read_record(folder)
        except SonycMLError as error:
            yield RolloutFacts(folder.name, state=FAILED, detail=str(error))
        else:
            if record.looked:
                yield _of(record, KeptVersions(folder, folder.name))


def _of(record: RolloutRecord, kept: KeptVersions) -> RolloutFacts:
    current = kept.current
    return RolloutFacts(
        bundle=kept.name,
        version=record.versions.get(current, ""),
        state=record.word,
        detail=record.detail,
        looked=record.looked,
        valid=record.valid,
        expires=record.expires,
        sequence=record.sequence,
        on_trial=bool(current) and record.trial == current,
    )
