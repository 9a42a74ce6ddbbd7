"""What happens in a batch, or in a separation, for those who show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeAlias

from sonyc_ml.base.records import dataclass, field


@dataclass(frozen=True, slots=True)
class BatchBegun:
    """The recordings were counted.

    Attributes
    ----------
    n_recordings, n_workers : int
    bundle : str
    """

    kind: ClassVar[str] = "begun"  # what it is called in JSON
    n_recordings: int
    n_workers: int
    bundle: str


@dataclass(frozen=True, slots=True)
class RecordingEmbedded:
    """A recording was embedded, and its output is on the disk.

    Attributes
    ----------
    recording : str
        What the output calls it.
    output : str
        Path or address of the output. For Parquet, of the file where it waits for its part.
    n_bytes, mtime_ns : int
        Of the recording when it was read.
    output_bytes, output_mtime_ns : int
        Of the output.
    n_windows : int
    start_time : str
        When the recording begins, in ISO 8601.
    duration_s : float
        Of the recording (in seconds).
    elapsed_s : float
        From opening the recording until its output was on the disk (in seconds).
    start_time_source, start_time_doubt : str
        See :class:`sonyc_ml.sound.start_time.StartTime`.
    marks : tuple of str
        What is out of the ordinary with it; see :attr:`sonyc_ml.outputs.output.Provenance.marks`.
    recording_sha256 : str
    """

    kind: ClassVar[str] = "embedded"
    recording: str
    output: str
    n_bytes: int
    mtime_ns: int
    output_bytes: int
    output_mtime_ns: int
    n_windows: int
    start_time: str
    duration_s: float
    elapsed_s: float
    marks: tuple[str, ...] = ()
    recording_sha256: str = ""
    start_time_source: str = ""
    start_time_doubt: str = ""

    @property
    def output_state(self) -> tuple[int, int]:
        """Size and time of the output."""
        return self.output_bytes, self.output_mtime_ns


@dataclass(frozen=True, slots=True)
class RecordingProgress:
    """A recording is being embedded, for a second or longer.

    Attributes
    ----------
    recording : str
        What its output will call it.
    done_s, duration_s : float
        How much of it was read, and how long it is (in seconds).
    """

    kind: ClassVar[str] = "progress"
    recording: str
    done_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class RecordingKept:
    """A recording's output is there already, made of just this recording in just this way."""

    kind: ClassVar[str] = "kept"
    recording: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class RecordingFailed:
    """A recording was not embedded.

    Attributes
    ----------
    recording, source : str
        What its output would have called it, and its path or address.
    reason, detail : str
        A word or two, to count by, and a sentence.
    """

    kind: ClassVar[str] = "failed"
    recording: str
    source: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class BatchEnded:
    """The batch is through with every recording.

    Attributes
    ----------
    n_embedded, n_kept, n_failed : int
    sound_s : float
        How much sound was embedded, without what was kept (in seconds).
    elapsed_s : float
    skipped : dict of str to int
        Sound files of kinds that are not read, by the ending of their names.
    marks : dict of str to int
        Of those embedded, how many have each mark.
    n_apart : int
        Recordings that got their time into their name, as it was another recording's.
    n_replaced : int
        Outputs that were made anew: of a recording that has changed, or in another way.
    start_time_sources, start_time_doubts : dict of str to int
        Of those embedded, how many start times have each source, and how many each doubt.
    """

    kind: ClassVar[str] = "ended"
    n_embedded: int
    n_kept: int
    n_failed: int
    sound_s: float
    elapsed_s: float
    skipped: Mapping[str, int] = field(default_factory=dict)
    marks: Mapping[str, int] = field(default_factory=dict)
    n_apart: int = 0
    n_replaced: int = 0
    start_time_sources: Mapping[str, int] = field(default_factory=dict)
    start_time_doubts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordingSeparated:
    """The tracks of a recording are on the disk.

    Attributes
    ----------
    recording : str
    outputs : tuple of str
        Paths of the tracks.
    duration_s, elapsed_s : float
        Length of the recording, and how long the work took (in seconds).
    n_saturated : int
        Samples of all tracks that were louder than PCM can be.
    largest_difference : float
        How far the sum of tracks and remainder is off the recording, at most; 0 without a remainder.
    marks : tuple of str
        What is out of the ordinary with it; see :attr:`sonyc_ml.outputs.output.Provenance.marks`.
    """

    kind: ClassVar[str] = "separated"
    recording: str
    outputs: tuple[str, ...]
    duration_s: float
    elapsed_s: float
    n_saturated: int
    largest_difference: float
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SeparationEnded:
    """Every recording was gone through.

    Attributes
    ----------
    n_separated, n_kept, n_failed : int
    sound_s, elapsed_s : float
        How much sound was separated, and how long that took (in seconds).
    n_saturated : int
        Samples of tracks that were louder than PCM can be, of those that were kept too.
    n_with_saturated : int
        Recordings that have such samples.
    largest_difference : float
        How far a sum of tracks and remainder is off its recording, at most.
    n_tracks_left_out : int
        Tracks of earlier runs that lie among the recordings.
    n_outdated : int
        Tracks beside those that were wanted, which were made of another state of a recording or in another way.
    skipped : mapping of str to int
        Sound files of kinds that are not read, by the ending of their names.
    marks : mapping of str to int
        Of those separated, how many have each mark.
    """

    kind: ClassVar[str] = "ended"
    n_separated: int
    n_kept: int
    n_failed: int
    sound_s: float
    elapsed_s: float
    n_saturated: int = 0
    n_with_saturated: int = 0
    largest_difference: float = 0.0
    n_tracks_left_out: int = 0
    n_outdated: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    marks: Mapping[str, int] = field(default_factory=dict)


Outcome: TypeAlias = RecordingEmbedded | RecordingFailed
BatchEvent: TypeAlias = (
    BatchBegun | RecordingProgress | RecordingEmbedded | RecordingKept | RecordingFailed | BatchEnded
)
SeparationEvent: TypeAlias = BatchBegun | RecordingSeparated | RecordingKept | RecordingFailed | SeparationEnded
