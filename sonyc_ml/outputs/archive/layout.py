"""Where things lie in an archive, on a disk and in an object store alike.

::

    ROOT/node=pole_12/date=2026-11-21/part-0123456789abcdef0123.parquet
    ROOT/detections/node=pole_12/date=2026-11-21/part-0123456789abcdef0123.parquet
    ROOT/levels/node=pole_12/date=2026-11-21/part-0123456789abcdef0123.parquet

The tables of detections and levels have the names of the parts that they are made of. A date is the day, in UTC, on
which a recording begins.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote, unquote

from sonyc_ml.base.human import date_of, seconds_of
from sonyc_ml.outputs.archive.metadata import FORMAT_VERSION

EMBEDDINGS = "embeddings"  # with scores, and everything else that an output holds
TABLES = ("detections", "levels")  # made of the parts, each in a folder of its own
UNKNOWN = "unknown"
DIGITS = 20  # hexadecimal, of a name
KEY = re.compile(r"node=(?P<node>[^/]+)/date=(?P<date>\d{4}-\d\d-\d\d|unknown)/(?P<name>[^/.][^/]*\.parquet)")


class Place(NamedTuple):
    """Whose a part is: its node, and its day in UTC as in ``2026-11-21``, or ``unknown``."""

    node: str
    date: str

    @property
    def folder(self) -> str:
        """Below the root, as in ``node=pole_12/date=2026-11-21``."""
        return f"node={quote(self.node, safe=' ', errors='surrogateescape')}/date={self.date}"

    def key(self, name: str, kind: str = EMBEDDINGS) -> str:
        """Below the root, of a part or of a table that is made of it."""
        return f"{self.folder}/{name}" if kind == EMBEDDINGS else f"{kind}/{self.folder}/{name}"


def place_in(key: str) -> tuple[Place, str] | None:
    """Whose a part is by its key below the root, and its name; None for what is no part of an archive."""
    found = KEY.fullmatch(key)
    return (Place(unquote(found["node"], errors="surrogateescape"), found["date"]), found["name"]) if found else None


def is_part(key: str) -> bool:
    """Whether a key below the root is that of a part of some dataset: tables that are made of parts are none."""
    return key.endswith(".parquet") and key.partition("/")[0] not in TABLES


def place_of(key: str) -> Place:
    """Whose a part of any dataset is, by the folders of its key; a text is empty where they do not say."""
    said = dict(folder.split("=", 1) for folder in key.split("/")[:-1] if "=" in folder)
    return Place(unquote(said.get("node", ""), errors="surrogateescape"), said.get("date", said.get("day", "")))


def date_in(start_time: str) -> str:
    """The day in UTC of a time in ISO 8601; ``unknown`` where there is none."""
    return date_of(seconds_of(start_time)).date().isoformat() if start_time else UNKNOWN


def part_name(place: Place, digests: Iterable[str]) -> str:
    """The name of a part by what it holds, so that the same part sent again is the same file.

    Parameters
    ----------
    place : Place
    digests : iterable of str
        Of what it is made of, in order.
    """
    text = "\n".join([f"{FORMAT_VERSION}", *place, *digests])
    return f"part-{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:DIGITS]}.parquet"
