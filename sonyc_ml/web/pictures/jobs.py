"""What can be asked of the process that makes pictures, as both sides know it."""

from __future__ import annotations

import dataclasses
import json
from typing import Final, TypeAlias

from sonyc_ml.base.identity import Identity
from sonyc_ml.base.records import dataclass
from sonyc_ml.base.strict import build

PAGE: Final = "page"  # the part of every answer that a page is made of, as JSON; what else there is are files


@dataclass(frozen=True, slots=True, kw_only=True)
class DayJob:
    """What was recorded and heard in a span.

    Attributes
    ----------
    start_s, end_s : float
        In seconds since 1970.
    bundle : int
        Which bundle's outputs, counted from 0.
    stamp : str
        What the journal knows of the span: with another stamp, it is another picture.
    """

    start_s: float
    end_s: float
    bundle: int = 0
    stamp: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingJob:
    """What is known of one recording; see :class:`DayJob` for `bundle` and `stamp`.

    Attributes
    ----------
    name : str
    n_bytes, mtime_ns : int
        See :class:`~sonyc_ml.base.identity.Identity`.
    """

    name: str
    n_bytes: int
    mtime_ns: int
    bundle: int = 0
    stamp: str = ""

    @property
    def identity(self) -> Identity:
        """Which recording."""
        return Identity(self.name, self.n_bytes, self.mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class LikeJob:
    """Which recordings sound like one; see :class:`RecordingJob`."""

    name: str
    n_bytes: int
    mtime_ns: int
    bundle: int = 0
    stamp: str = ""

    @property
    def identity(self) -> Identity:
        """Which recording."""
        return Identity(self.name, self.n_bytes, self.mtime_ns)


Job: TypeAlias = DayJob | RecordingJob | LikeJob
KINDS: Final[dict[str, type[DayJob | RecordingJob | LikeJob]]] = {
    "day": DayJob,
    "recording": RecordingJob,
    "like": LikeJob,
}


def to_line(job: Job) -> bytes:
    """A job as a line of JSON; a name that is no UTF-8 comes back as it was."""
    kind = next(kind for kind, cls in KINDS.items() if isinstance(job, cls))
    return json.dumps({"kind": kind, **dataclasses.asdict(job)}).encode() + b"\n"


def from_line(line: bytes) -> Job:
    """The job of a line.

    Raises
    ------
    ValueError
        It is none.
    """
    values = json.loads(line)
    return build(KINDS[values.pop("kind")], values)
