"""Events: what happens to recordings, for listeners such as metrics and MQTT."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from sonyc_ml.base.records import dataclass, field
from sonyc_ml.outputs.detections import Detection
from sonyc_ml.outputs.output import Highest, Output, Provenance

if TYPE_CHECKING:
    from sonyc_ml.sound.levels.result import SoundLevels

N_HIGHEST = 10  # classes and detections of a recording that leave the node: 6,522 classes would be 331 kB


@dataclass(frozen=True, slots=True)
class OutputPublished:
    """A bundle's output of a recording is on the disk.

    Attributes
    ----------
    recording : str
        Its name in the spool.
    bundle : str
    output : Path
    start_time : str
        When the recording begins, in ISO 8601.
    duration_s, hop_size_s : float
        Of the recording, and between the windows (in seconds).
    n_windows, n_bytes : int
        Of the output.
    stages_s : mapping of str to float
        How long it took to embed (``embed``) and to write (``store``), in seconds.
    scores : mapping of str to float
        Highest score of any window, of the labels where it is highest; empty where there are none.
    highest : tuple of Highest
        The same, with the number of the class and where it is.
    detections : tuple of Detection or None
        Those with the highest scores; None where nobody asked for any.
    n_detections : int
        How many there are in all.
    levels : SoundLevels or None
        How loud it was; None where nobody asked for it.
    mtime_ns : int
        Of the recording: with its name, which one it is.
    """

    recording: str
    bundle: str
    output: Path
    start_time: str
    duration_s: float
    hop_size_s: float
    n_windows: int
    n_bytes: int
    stages_s: Mapping[str, float]
    scores: Mapping[str, float] = field(default_factory=dict)
    highest: tuple[Highest, ...] = ()
    detections: tuple[Detection, ...] | None = None
    n_detections: int = 0
    levels: SoundLevels | None = None
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class PeriodMeasured:
    """The sound levels of one period of a recording.

    Attributes
    ----------
    recording : str
    start_time : str
        When the period begins, in ISO 8601; empty where nobody knows.
    fields : mapping of str to object
        The levels by their names, their reference, and what else is said of the period; None for what there is not.
    """

    recording: str
    start_time: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class WindowHeard:
    """Classes whose scores reach their thresholds in one window of live sound, while its recording goes on.

    Nothing is merged or left out here, as it is in the detections of the recording's output.

    Attributes
    ----------
    source : str
        Of the sound.
    bundle : str
    start_time : str
        When the window begins, in ISO 8601.
    window_s : float
        Its length (in seconds).
    scores : mapping of str to float
        By label, the highest first.
    """

    source: str
    bundle: str
    start_time: str
    window_s: float
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RecordingEnded:
    """A recording has come to its end.

    Attributes
    ----------
    recording : str
    state : {"done", "quarantined", "shed"}
    reason, detail : str
        A word or two, and a sentence; empty for what is done.
    lag_s : float
        From when it was found until now (in seconds).
    duration_s : float or None
        Of the recording, where it is known (in seconds).
    salvaged : bool
    without_sound : bool
        Whether there is nothing to hear in it, as from a dead microphone.
    start_time_source, start_time_doubt : str
        See :class:`sonyc_ml.sound.start_time.StartTime`.
    """

    recording: str
    state: str
    reason: str = ""
    detail: str = ""
    lag_s: float = 0.0
    duration_s: float | None = None
    salvaged: bool = False
    without_sound: bool = False
    start_time_source: str = ""
    start_time_doubt: str = ""


@dataclass(frozen=True, slots=True)
class RecordingPostponed:
    """A recording could not be embedded for now.

    Attributes
    ----------
    recording, reason, detail : str
    delay_s : float
        Until the next attempt (in seconds).
    """

    recording: str
    reason: str
    detail: str
    delay_s: float


NodeEvent: TypeAlias = OutputPublished | RecordingEnded | RecordingPostponed | WindowHeard
Listener: TypeAlias = Callable[[NodeEvent], None]


def ignore(_event: NodeEvent) -> None:
    """Do nothing."""


def done(recording: str, provenance: Provenance, lag_s: float) -> RecordingEnded:
    """The event of a recording whose outputs are all written, by where the first of them comes from."""
    return RecordingEnded(
        recording,
        "done",
        lag_s=lag_s,
        duration_s=provenance.duration_s,
        salvaged=provenance.salvaged,
        without_sound=provenance.without_sound,
        start_time_source=provenance.start_time_source,
        start_time_doubt=provenance.start_time_doubt,
    )


def published(output: Output, path: Path, stages_s: dict[str, float]) -> OutputPublished:
    """The event of an output that was written."""
    provenance, detections = output.provenance, output.detections
    highest = tuple(output.highest(N_HIGHEST)) if output.labels or detections else ()
    if detections is not None:
        detections = tuple(sorted(detections, key=lambda one: -one.score_max)[:N_HIGHEST])
    return OutputPublished(
        recording=provenance.recording,
        bundle=provenance.bundle,
        output=path,
        start_time=provenance.start_time,
        duration_s=provenance.duration_s,
        hop_size_s=provenance.hop_size_s,
        n_windows=len(output.timestamps),
        n_bytes=path.stat().st_size,
        stages_s=stages_s,
        scores={one.label: one.score for one in highest},
        highest=highest,
        detections=detections,
        n_detections=len(output.detections or ()),
        levels=output.levels,
        mtime_ns=provenance.recording_mtime_ns,
    )


def periods_of(event: OutputPublished) -> Iterator[PeriodMeasured]:
    """The sound levels of each period of an output; nothing where it has none."""
    levels = event.levels
    if levels is None:
        return
    for row, start_s in enumerate(levels.start_s.tolist()):
        start = datetime.fromisoformat(event.start_time) + timedelta(seconds=start_s) if event.start_time else None
        yield PeriodMeasured(event.recording, start.isoformat() if start else "", levels.period(row))
