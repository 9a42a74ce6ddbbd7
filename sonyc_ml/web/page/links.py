"""Addresses of the page. They are relative, so that a proxy may put the node below any path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

from sonyc_ml.base.identity import Identity


class Link(NamedTuple):
    """An entry of the navigation: its address, and what it is called."""

    address: str
    name: str


NAVIGATION = (Link("./", "Now"), Link("day", "Day"), Link("detections", "Detections"), Link("condition", "Health"))


def address(path: str, **fields: object) -> str:
    """An address with the fields that are not None or empty: ``detections?label=siren``."""
    given = {name: str(value) for name, value in fields.items() if value not in (None, "")}
    return f"{path}?{with_fields(given)}" if given else path


def with_fields(fields: Mapping[str, str]) -> str:
    """Fields as they stand behind a question mark; a name of a file that is no UTF-8 comes back as it was."""
    return urlencode({name: os.fsencode(value) for name, value in fields.items()}, quote_via=quote)


def recording(identity: Identity) -> str:
    """The address of a recording: its name may be used again, so its size and time are in there too."""
    return address("recording", name=identity.name, bytes=identity.n_bytes, mtime_ns=identity.mtime_ns)
