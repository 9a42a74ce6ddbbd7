"""A folder of outputs on this machine, or on a disk that is mounted here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sonyc_ml.base.durable import TEMPORARY_NAME, remove_temporaries
from sonyc_ml.base.identity import state_of
from sonyc_ml.base.lock import STATE_FOLDER
from sonyc_ml.batch.places.place import State


class LocalFolder:
    """See :class:`sonyc_ml.batch.places.place.Place`; `write` itself must write whole or not at all.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()  # whoever embeds may stand elsewhere

    @property
    def state_folder(self) -> Path:
        """See :class:`~sonyc_ml.batch.places.place.Place`: beside the outputs, so that it moves with them."""
        return self.folder / STATE_FOLDER

    def __str__(self) -> str:
        return str(self.folder)

    def path(self, name: str) -> str:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        return str(self.folder / name)

    def state(self, name: str) -> State | None:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        try:
            return state_of(os.stat(self.folder / name))  # noqa: PTH116  of each of thousands
        except OSError:
            return None

    def write(self, name: str, write: Callable[[Path], None]) -> State:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        path = self.folder / name
        write(path)
        return state_of(path.stat())

    def note(self, name: str, state: State) -> None:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""

    @contextmanager
    def files(self, names: Sequence[str]) -> Iterator[list[Path]]:
        """See :class:`~sonyc_ml.batch.places.place.Place`: the files themselves."""
        yield [self.folder / name for name in names]

    def remove(self, name: str) -> None:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        (self.folder / name).unlink(missing_ok=True)

    def remove_all(self) -> None:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def walk(self) -> Iterator[tuple[str, State]]:
        """See :class:`~sonyc_ml.batch.places.place.Place`; links are left out."""
        for folder, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(folder, name)
                if not path.is_symlink():
                    yield path.relative_to(self.folder).as_posix(), state_of(path.stat())

    def holds(self, name: str) -> bool:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        return (self.folder / name).parent.resolve().is_relative_to(self.folder.resolve())

    def beside(self, suffix: str) -> LocalFolder:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        return LocalFolder(self.folder.with_name(f"{self.folder.name}{suffix}"))

    def below(self, folder: str) -> LocalFolder:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        return LocalFolder(self.folder / folder)

    def scratch(self, name: str) -> Path:
        """See :class:`~sonyc_ml.batch.places.place.Place`: beside the file, where there is room for it."""
        return (self.folder / name).parent

    def clear_up(self) -> None:
        """See :class:`~sonyc_ml.batch.places.place.Place`."""
        for below, _, names in os.walk(self.folder):
            if any(TEMPORARY_NAME.fullmatch(name) for name in names):
                remove_temporaries(Path(below))
