"""Recordings in stores elsewhere (S3, HTTP, SSH and the like), found and fetched through fsspec.

A recording is copied to a temporary file before it is read: it is then checked, hashed and read as any other, and a
store that is slow does not hold up the network.
"""

from __future__ import annotations

import os
import posixpath
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sonyc_ml.base.stores.hiding import scrubbed
from sonyc_ml.base.stores.opening import open_store
from sonyc_ml.errors import ConfigError, UnavailableRecordingError

T = TypeVar("T")
TIMES = ("LastModified", "last_modified", "mtime", "modified", "updated", "created")
WILDCARDS = "*?["


def is_remote(source: str) -> bool:
    """Whether it is an address such as ``s3://bucket/key``, not a path."""
    return "://" in source


def find(address: str, extensions: tuple[str, ...]) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """Yield the recordings at an address: one, those below a folder, or those that a pattern fits.

    Parameters
    ----------
    address : str
    extensions : tuple of str
        That recordings in a folder have.

    Yields
    ------
    tuple
        The recording's address, its name below `address`, and its size and time (in nanoseconds).

    Raises
    ------
    ConfigError
        There is no fsspec for it, nothing is there, or the store does not let it be listed.
    """
    system, path = open_store(address)
    try:
        if any(char in path for char in WILDCARDS):
            found: dict[str, Any] = system.glob(path, detail=True)
            start = posixpath.dirname(path[: min(path.find(char) for char in WILDCARDS if char in path)])
        elif system.isfile(path):
            found, extensions, start = {path: system.info(path)}, (), posixpath.dirname(path)
        else:
            found, start = system.find(path, detail=True), path
    except Exception as error:  # each store has its own
        raise ConfigError(f"{address} cannot be listed: {scrubbed(error)}") from error
    if not found:
        raise ConfigError(f"{address} does not exist, or there is nothing in it")
    for key in sorted(found):
        name = posixpath.basename(key)
        if found[key].get("type") != "directory" and name.lower().endswith(extensions or (name.lower(),)):
            state = int(found[key].get("size") or 0), time_ns(found[key])
            yield system.unstrip_protocol(key), key[len(start) :].strip("/"), state


def fetch(address: str, folder: Path, mtime_ns: int) -> Path:
    """Copy a recording into a folder, with its own time.

    Raises
    ------
    UnavailableRecordingError
        The store does not give it for now.
    """
    system, path = open_store(address)
    descriptor, name = tempfile.mkstemp(dir=folder, suffix=posixpath.basename(path)[-100:])
    os.close(descriptor)
    try:
        system.get_file(path, name)
        os.utime(name, ns=(mtime_ns, mtime_ns))
    except Exception as error:  # each store has its own
        with suppress(OSError):
            Path(name).unlink()
        raise UnavailableRecordingError(f"{address} cannot be fetched: {scrubbed(error)}") from error
    return Path(name)


def fetched_ahead(items: Iterable[T], fetch_one: Callable[[T], T], n_ahead: int) -> Generator[T]:
    """Pass items on in their order, each after `fetch_one` was applied to it on a thread, a few ahead of time."""
    with ThreadPoolExecutor(n_ahead, thread_name_prefix="fetch") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(fetch_one, item))
                if len(waiting) > n_ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def time_ns(info: dict[str, Any]) -> int:
    """When a store says that something was last changed (in nanoseconds since 1970); 0 where it does not."""
    value = next((info[name] for name in TIMES if info.get(name) is not None), 0)
    if isinstance(value, str):
        with suppress(ValueError):
            value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000
    return round(value * 1e9) if isinstance(value, (int, float)) else 0
