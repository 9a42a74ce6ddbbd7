"""``[upload]``: where outputs go, when, how fast, and what may be removed once they are there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sonyc_ml.base.records import dataclass
from sonyc_ml.base.strict import build
from sonyc_ml.node.upload.schedule import parse_between

PACKS = ("day", "hour", "none")
ALSO = ("clips", "audit", "status")
SCHEMES = ("s3", "sftp", "https", "http", "file")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
PROOFS = ("digest", "size")
POLICIES = ("keep", "delete")


@dataclass(frozen=True, slots=True)
class UploadConfig:
    """``[upload]``: what ``sonyc-ml upload`` does; see :mod:`sonyc_ml.node.upload.uploader`.

    Without ``to`` nothing is uploaded, and the table says what ``sonyc-ml outbox`` needs to know.
    """

    to: str | None = None
    folder: Path | None = None
    pack: str = "day"
    late_s: float = 3600.0
    also: tuple[str, ...] = ()
    between: str = ""
    max_bytes_per_s: float = math.inf
    every_s: float = 60.0
    timeout_s: float = 60.0
    proof: str = "digest"
    prune: str = "keep"
    prune_after_s: float = 0.0
    free_low: float = 0.0
    free_high: float = 0.0

    def __post_init__(self) -> None:
        if self.to is not None:
            check_address(self.to)
        for name, choices in (("pack", PACKS), ("proof", PROOFS), ("prune", POLICIES)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be {' or '.join(choices)}, not {getattr(self, name)!r}")
        for one in self.also:
            if one not in ALSO:
                raise ValueError(f"also may have {', '.join(ALSO)}, not {one!r}")
        for name in ("max_bytes_per_s", "every_s", "timeout_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name):g}")
        for name in ("late_s", "prune_after_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be below 0, and is {getattr(self, name):g}")
        if not 0 <= self.free_low <= self.free_high < 1:
            raise ValueError("free_low and free_high must be shares of the disk, from 0 to below 1, the low one first")
        parse_between(self.between)


def use_upload(tables: dict[str, Any], folder: Path | None) -> None:
    """Make ``[upload]`` of its table; its paths are relative to the file's folder.

    Raises
    ------
    ValueError
        Says which key, and what it takes.
    """
    table = tables["upload"]
    if not isinstance(table, Mapping):
        raise ValueError(f"upload must be a table, not {type(table).__name__}")
    if folder is not None and isinstance(table.get("folder"), str):
        table = {**table, "folder": str(folder / table["folder"])}
    tables["upload"] = build(UploadConfig, table, "upload.")


def check_address(to: str) -> None:
    """See that an address is one of a store, and that no secret stands in it.

    Raises
    ------
    ValueError
        The address is not repeated where there is a secret in it.
    """
    try:
        parts = urlsplit(to)
        has_secret = parts.password is not None or bool(parts.query or parts.fragment)
        _ = parts.port
    except ValueError as error:
        raise ValueError("to is no address; give one as in s3://bucket/prefix") from error
    if has_secret or (parts.username is not None and parts.scheme != "sftp"):
        raise ValueError(
            "to holds a user with a password, or what follows a '?' or '#': credentials are taken from the environment "
            "or from systemd's credentials alone (docs/upload.md); leave them out of the address"
        )
    if parts.scheme not in SCHEMES:
        raise ValueError(f"to must begin with s3://, sftp://, https:// (WebDAV) or file:///, not {parts.scheme}://")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("to would send credentials and outputs as plain text; give https://")
    if parts.scheme == "file" and (parts.netloc or not parts.path.strip("/")):
        raise ValueError("to must name a folder with three slashes, as in file:///mnt/archive")
    if parts.scheme != "file" and not parts.hostname:
        raise ValueError("to names no bucket or host; give one as in s3://bucket/prefix")
