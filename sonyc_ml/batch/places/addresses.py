"""Addresses of folders in stores, as a user gives them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sonyc_ml.base.stores.opening import open_store
from sonyc_ml.batch.remote import is_remote
from sonyc_ml.bundles.machine_state import state_folder
from sonyc_ml.errors import ConfigError

STATES = "batches"  # the folder of what is known of outputs in stores
LOCAL = ("file", "local")
SHOWN_LENGTH = 60  # characters of an address in the name of a folder


def output_of(text: str) -> tuple[Path, str | None]:
    """Where ``--output`` leads: a folder of this machine; and the address where the outputs go to a store instead.

    Parameters
    ----------
    text : str
        A path, or an address such as ``s3://bucket/folder``.

    Returns
    -------
    folder : Path
        Of the outputs; or, for a store, of what is known of them: below ``$STATE_DIRECTORY`` or ``$XDG_STATE_HOME``.
    address : str or None

    Raises
    ------
    ConfigError
        There is no fsspec for the address, it holds a password, or it names a bucket and no folder in it.
    """
    if not is_remote(text):
        return Path(text), None
    try:
        parts = urlsplit(text)
        has_secret = parts.password is not None or bool(parts.query) or (bool(parts.username) and parts.scheme == "s3")
    except ValueError as error:
        raise ConfigError("--output is no address; give one as in s3://bucket/folder") from error
    if has_secret:
        raise ConfigError(
            "--output holds a password or what follows a '?': anybody on this machine can read it there; leave it out, "
            "and give credentials by the environment or by the store's own files"
        )
    if parts.scheme in LOCAL:
        return Path("/", unquote(parts.netloc + parts.path).lstrip("/")), None
    address = text.rstrip("/")
    if not parts.path.strip("/"):
        raise ConfigError(f"{address} names no folder in it; give one, as in {address}/embeddings")
    open_store(address)
    shown = re.sub(r"[^A-Za-z0-9._-]+", "-", address)[:SHOWN_LENGTH]
    digest = hashlib.sha256(address.encode(errors="surrogateescape")).hexdigest()[:12]
    return state_folder() / STATES / f"{shown}-{digest}", address
