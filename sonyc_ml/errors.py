"""What can go wrong, one branch for each reaction.

::

    SonycMLError
    ├── ConfigError                  exit 2, says which key
    │   └── MissingOutputsError      there is no such folder; a FileNotFoundError too
    ├── BundleError                  refuse to start, or keep the old bundle
    │   ├── BundleIntegrityError     digest, signature, owner or mode
    │   ├── BundleMismatchError      shapes, dtypes, versions, golden vector
    │   └── MissingBundleError       a file of it is not there; a FileNotFoundError too
    ├── RecordingError               this recording is refused with its reason; carry on
    │   ├── UnreadableRecordingError
    │   │   └── UnfinishedRecordingError  leave it alone; salvage it or give it up once it is old
    │   ├── EmptyRecordingError
    │   └── OutputNameError
    ├── UnavailableRecordingError    keep the recording, try again later: no permission, I/O error
    │   └── VanishedRecordingError   it is gone; a FileNotFoundError too
    ├── StoreError                   keep the recording, back off, try again
    │   └── JournalDamagedError      make it again from the folder and the outputs
    ├── ProtocolError                end this connection; the others go on
    ├── LostModelError               its process has ended: call again, or give up
    ├── ClusterError                 end; what is finished stays
    └── CrashError                   exit 70: to start again would be to crash again

    UserWarning
    └── SonycMLWarning               the work goes on, by what the warning says
        ├── AssumedSampleRateWarning
        ├── AssumedInputWarning
        ├── OwnFunctionWarning
        ├── RawScoresWarning
        └── RestartedModelWarning

A mistake in a call (a negative hop, a string for a number) stays a ``ValueError`` or ``TypeError``. Where the call is
what a user asked for, :class:`UserMistakes` makes a ``ConfigError`` of it.
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False  # typing takes longer to import than all of this
if TYPE_CHECKING:
    from types import TracebackType


class SonycMLError(Exception):
    """Anything this package refuses; its text is one sentence for the user."""


class MissingFileError(FileNotFoundError):
    """What errors about a missing file have in common: ``except FileNotFoundError`` catches them.

    Made of one sentence, as every error here, so that it can be pickled; the number and text of the system are those
    of every missing file.
    """

    errno = errno.ENOENT
    strerror = "No such file or directory"

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ConfigError(SonycMLError):
    """A configuration that cannot be meant as written."""


class MissingOutputsError(ConfigError, MissingFileError):
    """A folder of outputs, or an output, that is not there."""


class UserMistakes:
    """A context in which the arguments of calls come from a user: a mistake in one is a :class:`ConfigError`.

    Errors of this package pass as they are.

    Parameters
    ----------
    *kinds : type
        What is a mistake of the user's; ``ValueError`` and ``OSError`` where none is given.
    where : str
        What the sentence begins with, as in ``--time-zone: ``.
    """

    def __init__(self, *kinds: type[Exception], where: str = "") -> None:
        self._kinds, self._where = kinds or (ValueError, OSError), where

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, self._kinds) and not isinstance(error, SonycMLError):
            raise ConfigError(f"{self._where}{error}") from error


class BundleError(SonycMLError):
    """A bundle (network and extractor) that cannot be used."""


class BundleIntegrityError(BundleError):
    """A bundle whose files are not what they are said to be."""


class BundleMismatchError(BundleError):
    """A bundle whose parts do not fit each other, or not this machine."""


class MissingBundleError(BundleError, MissingFileError):
    """A bundle that is not there, or lacks a file: one of its own, or the keys that it is trusted by."""


class RecordingError(SonycMLError):
    """One recording that cannot be embedded; the others can."""


class UnreadableRecordingError(RecordingError):
    """Not sound, unfinished, truncated, or holding values that are no numbers."""


class UnfinishedRecordingError(UnreadableRecordingError):
    """A recording that its writer has not finished yet, or never will."""


class EmptyRecordingError(RecordingError):
    """A recording without a single sample."""


class OutputNameError(RecordingError):
    """A recording whose output cannot have its name on this disk."""


class UnavailableRecordingError(SonycMLError):
    """A recording that cannot be read for now: no permission, an I/O error, too many open files."""


class VanishedRecordingError(UnavailableRecordingError, MissingFileError):
    """A recording that is not there any more."""


class StoreError(SonycMLError):
    """An output that could not be written for now: disk full, no permission, I/O error."""


class JournalDamagedError(StoreError):
    """A journal that cannot be read, or is not one."""


class ProtocolError(SonycMLError):
    """What another program sent over a connection is not what both agreed on."""


class LostModelError(SonycMLError):
    """A model in another process that has ended, or does not answer."""


class ClusterError(SonycMLError):
    """A cluster that cannot be reached, or has been lost."""


class CrashError(SonycMLError):
    """What is to be loaded would kill the process."""


class SonycMLWarning(UserWarning):
    """Something was taken to be so that nobody said."""


class AssumedSampleRateWarning(SonycMLWarning):
    """Samples came without their sample rate."""


class AssumedInputWarning(SonycMLWarning):
    """A network's input was taken for samples by its shape, and may be something else."""


class OwnFunctionWarning(SonycMLWarning):
    """A function of the user's own gives other features for long recordings than for short ones."""


class RawScoresWarning(SonycMLWarning):
    """What a network gives as scores lies outside [0, 1]."""


class RestartedModelWarning(SonycMLWarning):
    """The process of a model has ended, and was started again."""


# What a recording is refused for, in a word or two to count by; the first that fits.
WORDS: tuple[tuple[type[SonycMLError], str], ...] = (
    (UnfinishedRecordingError, "unfinished"),
    (UnreadableRecordingError, "unreadable"),
    (EmptyRecordingError, "empty"),
    (OutputNameError, "output name"),
    (RecordingError, "refused"),
    (BundleError, "bundle"),
    (VanishedRecordingError, "vanished"),
    (UnavailableRecordingError, "unavailable"),
)


def word_for(error: SonycMLError) -> str:
    """What a recording is refused for, in a word or two."""
    return next((word for kind, word in WORDS if isinstance(error, kind)), "failed")
