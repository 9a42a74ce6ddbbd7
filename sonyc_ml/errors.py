"""What can go wrong, one branch for each reaction.

::

    SonycMLError
    ├── ConfigError                  exit 2, says which key
    ├── BundleError                  refuse to start, or keep the old bundle
    │   ├── BundleIntegrityError     digest, signature, owner or mode
    │   └── BundleMismatchError      shapes, dtypes, versions, golden vector
    ├── RecordingError               this recording is refused with its reason; carry on
    │   ├── UnreadableRecordingError
    │   └── EmptyRecordingError
    └── StoreError                   keep the recording, back off, try again

A mistake in a call (a negative hop, a string for a number) stays a ``ValueError`` or ``TypeError``.
"""


class SonycMLError(Exception):
    """Anything this package refuses; its text is one sentence for the user."""


class ConfigError(SonycMLError):
    """A configuration that cannot be meant as written."""


class BundleError(SonycMLError):
    """A bundle (network and extractor) that cannot be used."""


class BundleIntegrityError(BundleError):
    """A bundle whose files are not what they are said to be."""


class BundleMismatchError(BundleError):
    """A bundle whose parts do not fit each other, or not this machine."""


class RecordingError(SonycMLError):
    """One recording that cannot be embedded; the others can."""


class UnreadableRecordingError(RecordingError):
    """Not sound, unfinished, truncated, or holding values that are no numbers."""


class EmptyRecordingError(RecordingError):
    """A recording without a single sample."""


class StoreError(SonycMLError):
    """An output that could not be written for now: disk full, no permission, I/O error."""
