"""The name of an object in the store: decided by what it holds, so that the same thing sent again has the same name."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from sonyc_ml.base.human import date_of
from sonyc_ml.node.upload.ledger_file import FoundFile

UNSAFE = re.compile(rb"[^A-Za-z0-9._/~=-]")  # what one store or another would write otherwise
MAX_NAME = 160  # bytes, of what is taken of a recording's name: those of a key have a limit, too
N_DIGITS = 16  # of the digest
FOLDERS = {"output": "outputs", "clip": "clips", "report": "reports"}


def object_key(file: FoundFile, sha256: str, node: str) -> str:
    """Where a file belongs that is sent as it is: ``outputs/node=pole_12/date=2026-11-21/a.wav-0123….npz``."""
    stem, dot, suffix = file.name.rpartition(".")
    name = UNSAFE.sub(b"_", os.fsencode(stem)).decode()
    if len(name) > MAX_NAME:
        name = name.replace("/", "_")[-MAX_NAME:].lstrip(".")
    day = date_of(file.start_s).date().isoformat()
    folder = f"{FOLDERS[file.kind]}/node={quote(node, safe=' ', errors='surrogateescape')}/date={day}"
    return f"{folder}/{name}-{sha256[:N_DIGITS]}{dot}{suffix}"
