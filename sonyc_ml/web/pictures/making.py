"""Jobs to pictures, in the process that makes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sonyc_ml.errors import ConfigError
from sonyc_ml.node.config import Config, load_config
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.web.clock import shown_in
from sonyc_ml.web.pictures.jobs import DayJob, Job, LikeJob
from sonyc_ml.web.pictures.summaries import Summaries


class MissingError(Exception):
    """What was asked for is not there."""


class Maker:
    """Makes pictures of a node; remembers the outputs that it has read.

    Parameters
    ----------
    config_path : Path
        The daemon's configuration.
    """

    def __init__(self, config_path: Path) -> None:
        self.config: Config = load_config(config_path, {})
        self._summaries: dict[Path, Summaries] = {}

    def make(self, job: Job) -> dict[str, bytes]:
        """Return the parts of an answer.

        Raises
        ------
        MissingError
            There is no such recording.
        SonycMLError, ValueError, OSError
            It cannot be made; says why.
        """
        with shown_in(self.config.node.time_zone):
            return self._made(job)

    def _made(self, job: Job) -> dict[str, bytes]:
        if isinstance(job, DayJob):
            from sonyc_ml.web.pictures.day.making import make_day  # noqa: PLC0415

            return make_day(self, job)
        if isinstance(job, LikeJob):
            from sonyc_ml.web.pictures.recordings.likeness import make_likeness  # noqa: PLC0415

            return make_likeness(self, job)
        from sonyc_ml.web.pictures.recordings.making import make_recording  # noqa: PLC0415

        return make_recording(self, job)

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        """Open the journal to read."""
        journal = Journal(self.config.state_folder, read_only=True)
        try:
            yield journal
        finally:
            journal.close()

    def folder(self, bundle: int) -> Path:
        """Where the outputs of a bundle lie.

        Raises
        ------
        ConfigError
            There is no such bundle.
        """
        folders = self.config.output_folders
        if not 0 <= bundle < len(folders):
            raise ConfigError(f"there is no bundle {bundle}: there are {len(folders)}, counted from 0")
        return folders[bundle]

    def summaries(self, bundle: int) -> Summaries:
        """The outputs of a bundle."""
        folder = self.folder(bundle)
        if folder not in self._summaries:
            self._summaries[folder] = Summaries(folder, self.config.output.format)
        return self._summaries[folder]
