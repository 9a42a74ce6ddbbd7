"""One recording: what it sounds like, what the network read of it, what was heard, and what became of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.analysis.plots.recording_view import View, look_at
from sonyc_ml.base.human import count, shown, span
from sonyc_ml.errors import SonycMLError
from sonyc_ml.node.journal.journal import Entry, Journal
from sonyc_ml.node.operate.explain import explain_entry
from sonyc_ml.outputs.files import find_output, read_output
from sonyc_ml.outputs.output import Output
from sonyc_ml.web.pictures.drawing.figures import Figure, csv_parts
from sonyc_ml.web.pictures.jobs import PAGE, LikeJob, RecordingJob
from sonyc_ml.web.pictures.making import MissingError
from sonyc_ml.web.pictures.recordings import figures
from sonyc_ml.web.pictures.recordings.sounds import sound_of

if TYPE_CHECKING:
    from sonyc_ml.model import Model
    from sonyc_ml.web.pictures.making import Maker

LOG_MEL = "log-mel.png"
N_COLUMNS = 600
LONGEST_S = 1800.0  # of sound that is read once more for a picture: a file of an hour takes a Raspberry Pi too long


def make_recording(maker: Maker, job: RecordingJob) -> dict[str, bytes]:
    """Return the page's values and its files; see :meth:`sonyc_ml.web.pictures.making.Maker.make`."""
    with maker.journal() as journal:
        told = explain_entry(journal, find_entry(journal, job))
    output, problem = _output(maker, job)
    notes = [problem] if problem else []
    values: dict[str, Any] = {"entry": told, "figures": [], "output": None, "has_sound": False}
    parts: dict[str, bytes] = {}
    with sound_of(maker.config, job.identity) as sound:
        values["has_sound"] = sound is not None
        if output is not None:
            made, more = _figures(maker, job, output, sound)
            values["figures"] = [figure.shown() for figure in made]
            values["output"] = _said(output)
            parts = csv_parts(figure.table for figure in made)
            image = next((figure.image for figure in made if figure.image is not None), None)
            parts |= {LOG_MEL: image} if image is not None else {}
            notes += more
    values["notes"] = notes
    return {PAGE: json.dumps(values).encode(), **parts}


def find_entry(journal: Journal, job: RecordingJob | LikeJob) -> Entry:
    """What the journal knows of a recording.

    Raises
    ------
    MissingError
        Nothing.
    """
    for entry in journal.find(job.name):
        if entry.identity == job.identity:
            return entry
    raise MissingError(f"the journal knows no recording {shown(job.name)} of this size and time")


def _output(maker: Maker, job: RecordingJob) -> tuple[Output | None, str]:
    """The output, or why there is none."""
    path = find_output(job.identity, maker.folder(job.bundle), maker.config.output.format)
    if path is None:
        return None, "there is no output of it, so there is nothing to show"
    try:
        return read_output(path), ""
    except (ValueError, OSError) as error:
        if isinstance(error.__cause__, MemoryError):  # no damage, but more than this process may take
            raise MemoryError from error
        return None, str(error)


def _said(output: Output) -> dict[str, Any]:
    """What an output says of itself."""
    provenance = output.provenance
    return {
        "bundle": provenance.bundle,
        "bundle_sha256": provenance.bundle_sha256,
        "sample_rate": provenance.sample_rate,
        "duration": span(provenance.duration_s),
        "windows": f"{count(len(output.timestamps), 'window')} of {provenance.window_size_s:g} s, every "
        f"{provenance.hop_size_s:g} s",
        "start_time": provenance.start_time,
        "start_time_source": provenance.start_time_source,
        "doubt": provenance.start_time_doubt,
        "marks": list(provenance.marks),
        "note": provenance.note,
        "heard": output.describe_heard(),
    }


def _figures(maker: Maker, job: RecordingJob, output: Output, sound: Path | None) -> tuple[list[Figure], list[str]]:
    """The figures that there is something for, and what is said of those that are missing."""
    view, notes = _view(maker, job, output, sound)
    return list(figures.figures_of(output, view, job)), notes


def _view(maker: Maker, job: RecordingJob, output: Output, sound: Path | None) -> tuple[View | None, list[str]]:
    """The columns of the figures, with as much of the sound as there is; and why there is not all."""
    if sound is None:
        why = "came as a stream and was not kept" if output.provenance.is_live else "is not kept any more"
        return _seen(output), [f"the sound {why}: there is no waveform, no log-mel, and nothing to play"]
    if output.provenance.duration_s > LONGEST_S:
        return _seen(output), [f"longer than {span(LONGEST_S)}: the sound is not read again for a picture"]
    notes = []
    try:
        return look_at(output, sound, _model(maker, job.bundle), N_COLUMNS), []
    except (SonycMLError, ValueError) as error:
        notes.append(f"there is no log-mel: {_without(sound, error)}")
    try:
        return look_at(output, sound, None, N_COLUMNS), notes
    except (SonycMLError, ValueError) as error:
        return _seen(output), [f"there is no waveform: {_without(sound, error)}"]


def _seen(output: Output) -> View | None:
    """What there is to see of an output alone."""
    try:
        return look_at(output, None, None, N_COLUMNS)
    except (SonycMLError, ValueError):
        return None


def _without(path: Path, error: Exception) -> str:
    """What went wrong, without the number of a file that is open here."""
    return str(error).replace(f"{path}", "the recording")


def _model(maker: Maker, bundle: int) -> Model | None:
    """The bundle that embedded it, for its extractor; None where no network does."""
    from sonyc_ml.model.loading import load_model  # noqa: PLC0415

    models = maker.config.model
    if not models:
        return None
    chosen = models[bundle]
    return load_model(chosen.path, **{**chosen.parameters(), "golden": "never"})
