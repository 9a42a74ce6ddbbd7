"""A folder of outputs in a store elsewhere (S3, Google Cloud, SFTP and the like), through fsspec."""

from __future__ import annotations

import hashlib
import posixpath
import secrets
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sonyc_ml.base.durable import TEMPORARY_NAME
from sonyc_ml.base.stores.hiding import scrubbed
from sonyc_ml.base.stores.opening import open_store
from sonyc_ml.batch.places.place import State
from sonyc_ml.batch.remote import time_ns
from sonyc_ml.errors import OutputNameError, StoreError
from sonyc_ml.outputs.archive.store import OBJECT_STORES

T = TypeVar("T")
VERSIONS = ("ETag", "etag", "generation", "md5Hash")  # by which stores tell one content from another
N_TRIES, FIRST_PAUSE_S = 5, 0.5  # each pause is twice the one before
N_LISTED = 64  # folders whose files are kept in mind: recordings come folder by folder
MAX_KEY_BYTES = 1024  # of S3, and of those that followed it


class StoreFolder:
    """See :class:`sonyc_ml.batch.places.place.Place`.

    A store that fails is asked again, a few times. Of an object that replaces another within the same second the store
    tells no other time: its version is in the digits below the second, so that :meth:`state` tells the two apart.

    Parameters
    ----------
    address : str
        As in ``s3://bucket/folder``, without credentials: they come from the environment.
    state_folder : Path
        On this machine; others do not use it.
    """

    def __init__(self, address: str, state_folder: Path) -> None:
        self._address, self._state_folder = address.rstrip("/"), state_folder
        self._listed: OrderedDict[str, dict[str, State]] = OrderedDict()

    def __reduce__(self) -> tuple[type[StoreFolder], tuple[str, Path]]:
        return StoreFolder, (self._address, self._state_folder)

    @property
    def state_folder(self) -> Path:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        return self._state_folder

    def __str__(self) -> str:
        return self._address

    def path(self, name: str) -> str:
        """See :class:`~sonyc_ml.batch.places.place.Place`: an address."""
        return f"{self._address}/{name}"

    def state(self, name: str) -> State | None:
        """See :class:`~sonyc_ml.batch.places.place.Place`: the folder of the file is listed, once."""
        self._key(name)
        folder, _, base = name.rpartition("/")
        if folder not in self._listed:
            self._listed[folder] = {name: state for name, state in self._entries(folder) if state is not None}
            if len(self._listed) > N_LISTED:
                self._listed.popitem(last=False)
        return self._listed[folder].get(base)

    def note(self, name: str, state: State) -> None:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        folder, _, base = name.rpartition("/")
        if folder in self._listed:
            self._listed[folder][base] = state

    def write(self, name: str, write: Callable[[Path], None]) -> State:
        """See :class:`~sonyc_ml.batch.places.place.Place`: written here, and put there."""
        key = self._key(name)
        with tempfile.TemporaryDirectory(prefix="sonyc-ml-", ignore_cleanup_errors=True) as folder:
            path = Path(folder, f"output{posixpath.splitext(name)[1]}")
            write(path)
            state = self._tried("written", name, lambda system: _put(system, path, key))
        self.note(name, state)
        return state

    @contextmanager
    def files(self, names: Sequence[str]) -> Iterator[list[Path]]:
        """See :class:`~sonyc_ml.batch.places.place.Place`: copies of them."""
        keys = [self._key(name) for name in names]
        with tempfile.TemporaryDirectory(prefix="sonyc-ml-", ignore_cleanup_errors=True) as folder:
            paths = [Path(folder, f"{number}{posixpath.splitext(name)[1]}") for number, name in enumerate(names)]
            copies = list(map(str, paths))
            self._tried("read", names[0], lambda system: system.get(keys, copies))
            yield paths

    def remove(self, name: str) -> None:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        key = self._key(name)
        with suppress(FileNotFoundError):
            self._tried("removed", name, lambda system: system.rm_file(key))
        folder, _, base = name.rpartition("/")
        self._listed.get(folder, {}).pop(base, None)

    def remove_all(self) -> None:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        self._listed.clear()
        root = self._key("")
        with suppress(FileNotFoundError, StoreError):
            self._tried("removed", "", lambda system: system.exists(root) and system.rm(root, recursive=True))

    def walk(self) -> Iterator[tuple[str, State]]:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        folders = [""]
        while folders:
            folder = folders.pop()
            for base, state in self._entries(folder):
                name = f"{folder}/{base}" if folder else base
                if state is not None:
                    yield name, state
                elif not base.startswith("."):
                    folders.append(name)

    def holds(self, name: str) -> bool:  # noqa: ARG002  a store has no links
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        return True

    def beside(self, suffix: str) -> StoreFolder:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        return StoreFolder(f"{self._address}{suffix}", self._state_folder)

    def below(self, folder: str) -> StoreFolder:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        return StoreFolder(f"{self._address}/{folder}", self._state_folder)

    def scratch(self, name: str) -> Path:  # noqa: ARG002  it is none of the store's
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        return Path(tempfile.gettempdir())

    def clear_up(self) -> None:
        """See :class:`~sonyc_ml.batch.places.place.Place`; in an object store nothing half-written has a name."""
        if self._address.partition("://")[0] not in OBJECT_STORES:
            for name, _ in list(self.walk()):
                if TEMPORARY_NAME.fullmatch(posixpath.basename(name)):
                    self.remove(name)

    def _key(self, name: str) -> str:
        """What the store calls a file.

        Raises
        ------
        OutputNameError
        """
        _, root = open_store(self._address)
        key = f"{root}/{name}".rstrip("/")
        try:
            n_bytes = len(key.encode())
        except UnicodeEncodeError as error:
            raise OutputNameError(f"the name {name!a} is not UTF-8, as names in a store are") from error
        if n_bytes > MAX_KEY_BYTES:
            raise OutputNameError(f"the name {name[:100]}… is too long: a store's have {MAX_KEY_BYTES} bytes at most")
        return key

    def _entries(self, folder: str) -> list[tuple[str, State | None]]:
        """What lies in a folder, by name; files with their state."""
        above = self._key(folder)
        try:
            found = self._tried("listed", folder, lambda system: system.ls(above, detail=True))
        except FileNotFoundError:
            return []
        names = [(info["name"].rstrip("/"), info) for info in found]
        return [
            (posixpath.basename(name), None if info["type"] == "directory" else state_in(info))
            for name, info in names
            if posixpath.dirname(name.lstrip("/")) == above.lstrip("/")  # a file of that name is listed as itself
        ]

    def _tried(self, done: str, name: str, action: Callable[[Any], T]) -> T:
        """Ask the store; a few times, where that may help.

        Raises
        ------
        FileNotFoundError, StoreError
        """
        system, _ = open_store(self._address)
        for number in range(1, N_TRIES + 1):
            try:
                return action(system)
            except FileNotFoundError:
                raise
            except Exception as error:  # each store has its own
                if number == N_TRIES or isinstance(error, PermissionError) or "credentials" in str(error).lower():
                    raise StoreError(f"{self.path(name)} cannot be {done}: {scrubbed(error)}") from error
                time.sleep(FIRST_PAUSE_S * 2 ** (number - 1))
        raise AssertionError


def state_in(info: dict[str, Any]) -> State:
    """Size and time of a file, as its store describes it."""
    version = next((str(info[key]).strip('"') for key in VERSIONS if info.get(key)), "")
    changed_ns = time_ns(info)
    if version:
        digits = int.from_bytes(hashlib.sha256(version.encode()).digest()[:8]) % 10**9
        changed_ns = changed_ns // 10**9 * 10**9 + digits
    return int(info.get("size") or 0), changed_ns


def _put(system: Any, path: Path, key: str) -> State:
    """Put a file into a store, and see that it is there with all its bytes."""
    protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
    if protocols & OBJECT_STORES:
        system.put_file(str(path), key)
    else:
        above = posixpath.dirname(key)
        system.makedirs(above, exist_ok=True)
        temporary = f"{above}/.{secrets.token_hex(8)}.tmp"
        try:
            system.put_file(str(path), temporary)
            system.mv(temporary, key)
        except BaseException:
            with suppress(Exception):
                system.rm_file(temporary)
            raise
    state = state_in(system.info(key))
    if state[0] != path.stat().st_size:
        raise OSError(f"it has {state[0]:,} bytes there, and {path.stat().st_size:,} here")
    return state
