"""What is to be done with every recording of a batch, and doing it with one; the same wherever it is done."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from sonyc_ml.base.records import dataclass, field, replace
from sonyc_ml.batch.events import Outcome, RecordingEmbedded, RecordingFailed
from sonyc_ml.batch.places.place import Place
from sonyc_ml.batch.remote import fetch
from sonyc_ml.batch.sources import Source
from sonyc_ml.batch.within import Position, Tell
from sonyc_ml.errors import BundleError, RecordingError, UnavailableRecordingError, UserMistakes, word_for
from sonyc_ml.model import Model
from sonyc_ml.model.loading import load_model
from sonyc_ml.outputs import parquet
from sonyc_ml.outputs.files import write_output
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.files import open_recording
from sonyc_ml.sound.start_time import PATTERNS, StartTimes


@dataclass(frozen=True, slots=True)
class Job:
    """How recordings are embedded; goes to other processes and machines.

    Attributes
    ----------
    model_path : str
        ``NAME.tflite``, as whoever embeds finds it; empty where sound levels alone are measured.
    parameters : mapping
        Keywords of :func:`sonyc_ml.model.loading.load_model`.
    salvage : bool
        Whether to embed what there is of truncated recordings.
    start_patterns : tuple of str
    time_zone : str
        See :class:`sonyc_ml.sound.start_time.StartTimes`.
    """

    model_path: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    salvage: bool = False
    start_patterns: tuple[str, ...] = PATTERNS
    time_zone: str = "UTC"

    def start_times(self) -> StartTimes:
        """Finds out when recordings begin.

        Raises
        ------
        ConfigError
        """
        with UserMistakes(ValueError):
            return _start_times(self.start_patterns, self.time_zone)

    def for_workers(self, model: Model) -> Job:
        """The job for other processes and machines: they run the code that was accepted here, and guess nothing anew.

        Parameters
        ----------
        model : Model
            What :meth:`load_model` gave here.
        """
        bundle = model.bundle
        known: dict[str, Any] = {"accepted": sorted(bundle.accepted)} if bundle.accepted else {}
        if bundle.assumed_kind:
            known["input_kind"] = bundle.assumed_kind
        return replace(self, parameters={**self.parameters, **known})

    def load_model(self, *, golden: str | None = None) -> Model:
        """Load the bundle, and prove it as the parameters or `golden` say.

        Raises
        ------
        BundleError, ConfigError
        """
        if not self.model_path:
            from sonyc_ml.model.measuring import LevelMeter  # noqa: PLC0415  a batch without a network is rare

            meter: Any = LevelMeter(self.parameters["levels"])  # it does all that is asked of a model here
            return cast("Model", meter)
        parameters = {**self.parameters, **({} if golden is None else {"golden": golden})}
        with UserMistakes(ValueError, TypeError):
            return load_model(self.model_path, **parameters)


@dataclass(frozen=True, slots=True)
class Task:
    """One recording to embed.

    Attributes
    ----------
    number : int
        Of the recording in the batch, from 0.
    source : Source
    place : Place
    output : str
        Where to, and what it is called there.
    local : Path, optional
        A copy of a remote recording that was fetched already.
    name : str
        What the output calls the recording where its own name is another's; else empty.
    """

    number: int
    source: Source
    place: Place
    output: str
    local: Path | None = None
    name: str = ""


def carry_out(task: Task, job: Job, model: Model, tell: Tell | None = None) -> Outcome:
    """Embed one recording and write its output; whatever is wrong with the recording costs only itself.

    What hears how far it is, if anything does, gets what a :class:`sonyc_ml.batch.within.Position` tells.

    Raises
    ------
    StoreError
        The output cannot be written, nor can the next ones.
    """
    start_s = time.perf_counter()
    source = task.source
    try:
        output = _embed(task, job, model, tell)
        if task.name:  # only now: its time must not be read from this name
            output = replace(output, provenance=replace(output.provenance, recording=task.name))
    except (RecordingError, UnavailableRecordingError, BundleError) as error:
        return RecordingFailed(source.name, source.path, word_for(error), str(error))
    except Exception as error:  # noqa: BLE001  a mistake of an extractor's, or too little memory
        detail = f"{source.path}: embedding it failed: {type(error).__name__}: {error}"
        return RecordingFailed(source.name, source.path, "failed", detail)
    try:
        state = task.place.write(task.output, lambda path: write_as_named(output, path))
    except RecordingError as error:  # its name is too long for a file
        return RecordingFailed(source.name, source.path, word_for(error), str(error))
    provenance = output.provenance
    return RecordingEmbedded(
        recording=task.name or source.name,
        output=task.place.path(task.output),
        n_bytes=provenance.recording_bytes,
        mtime_ns=provenance.recording_mtime_ns,
        output_bytes=state[0],
        output_mtime_ns=state[1],
        n_windows=len(output.timestamps),
        start_time=provenance.start_time,
        duration_s=provenance.duration_s,
        elapsed_s=time.perf_counter() - start_s,
        marks=provenance.marks,
        recording_sha256=provenance.recording_sha256,
        start_time_source=provenance.start_time_source,
        start_time_doubt=provenance.start_time_doubt,
    )


@lru_cache(maxsize=1)
def _start_times(patterns: tuple[str, ...], time_zone: str) -> StartTimes:
    """Kept, for patterns are compiled."""
    return StartTimes(patterns, time_zone)


def write_as_named(output: Output, path: Path) -> None:
    """Write an output in the format of its path's suffix: npz, csv, or arrow for one that waits for its part."""
    if path.suffix == ".arrow":
        parquet.write_waiting(output, path)
    else:
        write_output(output, path)


def _embed(task: Task, job: Job, model: Model, tell: Tell | None) -> Output:
    local = task.local
    if local is None and task.source.remote_state is not None:
        local = fetch(task.source.path, Path(tempfile.gettempdir()), task.source.remote_state[1])
    try:
        with open_recording(local or task.source.path, model.channel, salvage=job.salvage) as recording:
            return model.embed(
                recording,
                name=task.source.name,
                start_times=_start_times(job.start_patterns, job.time_zone),
                progress=Position(recording, task.number, tell) if tell else None,
                scratch=task.place.scratch(task.output),
            )
    finally:
        if local is not None:
            local.unlink(missing_ok=True)
