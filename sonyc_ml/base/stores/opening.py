"""A store by its address, for all that read or write through fsspec."""

from __future__ import annotations

from typing import Any

from sonyc_ml.base.human import to_install
from sonyc_ml.base.stores.hiding import scrubbed
from sonyc_ml.errors import ConfigError, StoreError


def open_store(address: str) -> tuple[Any, str]:
    """The store that an address is of, as fsspec knows it, and what the store calls it.

    Nothing that a store listed is kept in mind: others write there too.

    Parameters
    ----------
    address : str
        As in ``s3://bucket/folder``; credentials come from the environment, or from the store's own files.

    Raises
    ------
    ConfigError
        fsspec, or its package for this kind of store, is not installed; or the address is none.
    StoreError
        The store cannot be reached.
    """
    try:
        import fsspec  # noqa: PLC0415  an extra
    except ImportError as error:
        raise ConfigError(f"{scrubbed(address)} is reached through fsspec; {to_install('remote')}") from error
    try:
        try:
            system, path = fsspec.core.url_to_fs(address, use_listings_cache=False)
        except TypeError:  # a store that has no such option
            system, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{scrubbed(address)} cannot be reached: {scrubbed(error)}") from error
    except Exception as error:  # SFTP connects at once; each store has its own errors
        raise StoreError(f"{scrubbed(address)} cannot be reached: {scrubbed(error)}") from error
    return system, str(path)
