"""The facts that a daemon publishes about itself: typed, with a version, and as plain values for the journal.

The daemon's reporter writes them into the journal; whoever asks (status, explain, metrics, MQTT …) reads them there.
Writer and reader may be of different versions. What a reader does not know is left out, what it misses has its default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Self, TypeVar

from sonyc_ml.base.records import dataclass, field

T = TypeVar("T")

SCHEMA: Final = 1  # facts without a number are those of versions before there was one; their form is the same
OK, QUIET, SILENT = "ok", "quiet", "silent"


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """A bundle that runs.

    Attributes
    ----------
    name, version, sha256, path : str
        Of the bundle.
    runtime : str
        What runs its network.
    xnnpack_operators, operators : int
        Operators of the network that XNNPACK has taken, and all of them.
    output : str
        Folder of its outputs.
    """

    name: str = ""
    version: str = ""
    sha256: str = ""
    path: str = ""
    runtime: str = ""
    xnnpack_operators: int = 0
    operators: int = 0
    output: str = ""


@dataclass(frozen=True, slots=True)
class DaemonFacts:
    """What runs, since when, and how it is configured.

    Attributes
    ----------
    pid : int
    since : str
        In ISO 8601, as all times of facts are.
    version : str
        Of the package.
    folder : str
        Where recordings are looked for; empty where they do not come from a folder.
    extensions : tuple of str
    recursive : bool
        Whether recordings in sub-folders are looked for too.
    output, format : str
        Where outputs go, and their format.
    overload, retention : str
        The policies.
    bundles : tuple of BundleFacts
    sources : tuple of str
        Live sources that should always send sound.
    upload : str
        Where the process that uploads keeps its state; empty where nothing is uploaded.
    node : str
        What the node is called, and where it stands; see :meth:`sonyc_ml.sound.node.Node.record`.
    moved_to : str
        Where retention moves recordings that are done; empty where it moves none.
    """

    pid: int = 0
    since: str = ""
    version: str = ""
    folder: str = ""
    extensions: tuple[str, ...] = ()
    recursive: bool = True
    output: str = ""
    format: str = "npz"
    overload: str = ""
    retention: str = ""
    bundles: tuple[BundleFacts, ...] = field(default=(), metadata={"of": BundleFacts})
    sources: tuple[str, ...] = ()
    upload: str = ""
    node: str = ""
    moved_to: str = ""


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """How the spool folder is, and since when; see :class:`sonyc_ml.node.spool.spool.FolderState`.

    Uploading is in such a state too: ``ok``, ``waiting``, ``failing`` or ``stopped``.
    """

    word: str = ""
    detail: str = ""
    since: str = ""


@dataclass(frozen=True, slots=True)
class InputFacts:
    """Whether recordings come in: ``ok`` or ``quiet``, and since when."""

    word: str = ""
    since: str = ""


@dataclass(frozen=True, slots=True)
class SoundFacts:
    """Whether there is sound in the recordings: ``ok``, or ``silent`` for so many, and since when."""

    word: str = ""
    since: str = ""
    recordings: int = 0


@dataclass(frozen=True, slots=True)
class TroubleFacts:
    """Why nothing can be written, and since when."""

    since: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ReloadFacts:
    """The outcome of the last reload."""

    at: str = ""
    ok: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts of a daemon.

    Attributes
    ----------
    schema : int
        Version of this form.
    daemon : DaemonFacts or None
        None where no daemon has run yet.
    folder : FolderFacts or None
    input : InputFacts or None
    sound : SoundFacts or None
    left_out : str
        Files in the spool folder that are no recordings by their names, such as ``3 .mp3``; empty where there are none.
    start_times : str
        Where start times come from since the daemon began, and which are in doubt; empty where all is well.
    trouble : TroubleFacts or None
        None while everything can be written.
    reload : ReloadFacts or None
        None where there was none yet.
    upload : FolderFacts or None
        How uploading is; None where nothing is uploaded.
    stopped : str
        When a daemon ended in order last; empty where none did.
    """

    schema: int = SCHEMA
    daemon: DaemonFacts | None = field(default=None, metadata={"of": DaemonFacts})
    folder: FolderFacts | None = field(default=None, metadata={"of": FolderFacts})
    input: InputFacts | None = field(default=None, metadata={"of": InputFacts})
    sound: SoundFacts | None = field(default=None, metadata={"of": SoundFacts})
    left_out: str = ""
    start_times: str = ""
    trouble: TroubleFacts | None = field(default=None, metadata={"of": TroubleFacts})
    reload: ReloadFacts | None = field(default=None, metadata={"of": ReloadFacts})
    upload: FolderFacts | None = field(default=None, metadata={"of": FolderFacts})
    stopped: str = ""

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """Facts from plain values, of this version or another.

        What is not known here is left out, and so is what has another type: facts of a later version are read as far
        as this one understands them.
        """
        return _from_plain(cls, values)

    def to_plain(self) -> dict[str, Any]:
        """The facts as values for JSON; what there is nothing to say of is None."""
        return dataclasses.asdict(self) | {"stopped": self.stopped or None}

    @property
    def folder_word(self) -> str:
        """How the spool folder is, in a word; empty where that is not known."""
        return self.folder.word if self.folder else ""

    @property
    def is_quiet(self) -> bool:
        """Whether no recording has come for long."""
        return self.input is not None and self.input.word == QUIET

    @property
    def is_silent(self) -> bool:
        """Whether there has been no sound in the last recordings."""
        return self.sound is not None and self.sound.word == SILENT

    def is_of(self, pid: int | None) -> bool:
        """Whether these are the facts of this process, and not of a daemon before it."""
        return pid is not None and self.daemon is not None and self.daemon.pid == pid


def _from_plain(cls: type[T], values: Mapping[str, Any]) -> T:
    known = {}
    for entry in dataclasses.fields(cls):  # type: ignore[arg-type]
        value = _converted(entry, values.get(entry.name))
        if value is not None:
            known[entry.name] = value
    return cls(**known)


def _converted(entry: dataclasses.Field[Any], value: object) -> object:
    """A value as its field takes it; None where it cannot be had."""
    kind = entry.metadata.get("of")
    if isinstance(entry.default, tuple):
        if not isinstance(value, (list, tuple)):
            return None
        if kind is None:
            return tuple(item for item in value if isinstance(item, str))
        return tuple(_from_plain(kind, item) for item in value if isinstance(item, Mapping))
    if kind is not None:
        return _from_plain(kind, value) if isinstance(value, Mapping) else None
    return value if type(value) is type(entry.default) else None
