"""Many recordings to their tracks: a stream of events that somebody else shows.

What is done stays done: a separation that was interrupted goes on where it ended, and one that is run again makes only
what is new, what has changed, and what would now be made in another way.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sonyc_ml.base.durable import remove_temporaries
from sonyc_ml.base.identity import Identity
from sonyc_ml.base.lock import SEPARATION, STATE_FOLDER, Lock
from sonyc_ml.base.records import dataclass, field
from sonyc_ml.batch.events import (
    BatchBegun,
    RecordingFailed,
    RecordingKept,
    RecordingSeparated,
    SeparationEnded,
    SeparationEvent,
)
from sonyc_ml.batch.sources import Source, Sources
from sonyc_ml.errors import ConfigError, RecordingError, UnavailableRecordingError, UserMistakes, word_for
from sonyc_ml.model.waveform.loading import load_waveform_model
from sonyc_ml.model.waveform.recordings import Separator, Wanted
from sonyc_ml.outputs.tracks import TrackFile, read_track_file, track_path
from sonyc_ml.sound.files import open_recording
from sonyc_ml.sound.kinds import in_words


@dataclass(frozen=True, slots=True)
class Separation:
    """What is to be separated, how, and where to.

    Attributes
    ----------
    sources : Sources
    model_path : str
        ``NAME.tflite``.
    folder : Path
        Of the tracks.
    tracks : tuple of str
        Which of the model's are written; all where empty.
    wanted : mapping
        Further keywords of :class:`~sonyc_ml.model.waveform.recordings.Wanted`.
    parameters : mapping
        Keywords of :func:`~sonyc_ml.model.waveform.loading.load_waveform_model`.
    salvage : bool
        Whether to separate what there is of truncated recordings.
    strict : bool
        Whether to end at the first recording that fails.
    """

    sources: Sources
    model_path: str
    folder: Path
    tracks: tuple[str, ...] = ()
    wanted: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    salvage: bool = False
    strict: bool = False


def separate_recordings(
    separation: Separation, progress: Callable[[], None] | None = None
) -> Generator[SeparationEvent]:
    """Make the tracks that are not there yet.

    Parameters
    ----------
    separation : Separation
    progress : callable, optional
        Called as the work on a recording goes on.

    Yields
    ------
    SeparationEvent
        BatchBegun; RecordingSeparated, RecordingKept or RecordingFailed for each recording; SeparationEnded, unless it
        was stopped before.

    Raises
    ------
    BundleError, ConfigError
        It cannot begin.
    StoreError
        Tracks cannot be written. What is finished stays.
    """
    sources = separation.sources
    if sources.has_remote:
        raise ConfigError("only recordings on this machine are separated: fetch those of other addresses first")
    n_recordings = sources.count()
    with UserMistakes(ValueError, TypeError):
        model = load_waveform_model(separation.model_path, **separation.parameters)
        wanted = Wanted(separation.tracks or model.tracks, **separation.wanted)
        separator = Separator(model, wanted, separation.folder)
    with ExitStack() as house:
        house.callback(Lock(separation.folder / STATE_FOLDER, SEPARATION).release)
        run = _Run(separation, separator, progress)
        found = [source for source in sources if not run.is_track(source)]
        if not found:
            others = in_words(sources.skipped)
            raise ConfigError(
                f"there are no recordings in {sources}"
                + (f", only {n_recordings:,} tracks that were made of others" if n_recordings else "")
                + (f", only kinds that are not read: {others}" if others else "")
            )
        yield BatchBegun(len(found), 1, model.bundle.name)
        yield from run.events(found, dict(sources.skipped))


class _Run:
    """One going through the recordings."""

    def __init__(self, separation: Separation, separator: Separator, progress: Callable[[], None] | None) -> None:
        self._separation, self._separator, self._progress = separation, separator, progress
        self._channel: int | None = separation.wanted.get("channel")
        self._counts: Counter[type] = Counter()
        self._marks: Counter[str] = Counter()
        self._sound_s = self._largest_difference = 0.0
        self._n_saturated = self._n_with_saturated = self._n_tracks = self._n_outdated = 0
        self._cleared: set[Path] = set()

    def is_track(self, source: Source) -> bool:
        """Whether a sound file is a track that was written here before, where recordings lie in the same folder."""
        path = Path(source.path)
        described = read_track_file(path) if path.resolve().is_relative_to(self._separation.folder.resolve()) else None
        is_track = described is not None and described.file == path.name
        self._n_tracks += is_track
        return is_track

    def events(self, sources: list[Source], skipped: Mapping[str, int]) -> Iterator[SeparationEvent]:
        """Go through them."""
        start_s = time.monotonic()
        for source in sources:
            event = self._one(source)
            self._counts[type(event)] += 1
            yield event
            if isinstance(event, RecordingFailed) and self._separation.strict:
                return
        yield SeparationEnded(
            n_separated=self._counts[RecordingSeparated],
            n_kept=self._counts[RecordingKept],
            n_failed=self._counts[RecordingFailed],
            sound_s=self._sound_s,
            elapsed_s=time.monotonic() - start_s,
            n_saturated=self._n_saturated,
            n_with_saturated=self._n_with_saturated,
            largest_difference=self._largest_difference,
            n_tracks_left_out=self._n_tracks,
            n_outdated=self._n_outdated,
            skipped=skipped,
            marks=dict(self._marks),
        )

    def _one(self, source: Source) -> RecordingSeparated | RecordingKept | RecordingFailed:
        start_s = time.perf_counter()
        folder = self._separation.folder
        try:
            folder = track_path(source.name, folder, "any").parent
            self._clear_up(folder)
            with open_recording(source.path, self._channel, salvage=self._separation.salvage) as recording:
                identity = Identity(source.name, recording.n_bytes, recording.mtime_ns)
                made = self._separator.made(identity)
                self._n_outdated += len(self._separator.outdated(identity))
                if made is not None:
                    self._note(made)
                    return RecordingKept(source.name, recording.duration_s)
                made = self._separator.separate(recording, source.name, self._progress)
                duration_s = recording.duration_s
        except (RecordingError, UnavailableRecordingError) as error:
            return RecordingFailed(source.name, source.path, word_for(error), str(error))
        except MemoryError as error:
            detail = f"{source.path}: there is too little memory to separate it: {error}"
            return RecordingFailed(source.name, source.path, "failed", detail)
        self._note(made)
        self._sound_s += duration_s
        marks = made[0].provenance.marks
        self._marks.update(marks)
        return RecordingSeparated(
            source.name,
            tuple(str(folder / track.file) for track in made),
            duration_s,
            time.perf_counter() - start_s,
            sum(track.n_saturated for track in made),
            max(track.largest_difference for track in made),
            marks,
        )

    def _note(self, made: tuple[TrackFile, ...]) -> None:
        n_saturated = sum(track.n_saturated for track in made)
        self._n_saturated += n_saturated
        self._n_with_saturated += n_saturated > 0
        self._largest_difference = max(self._largest_difference, *(track.largest_difference for track in made))

    def _clear_up(self, folder: Path) -> None:
        """Remove what a killed process was writing; once in each folder."""
        if folder not in self._cleared:
            self._cleared.add(folder)
            remove_temporaries(folder)
