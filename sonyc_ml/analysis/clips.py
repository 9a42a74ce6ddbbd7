"""What was found, cut out of the recordings where they are kept; what is gone is told."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from glob import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from sonyc_ml.base.cells import from_cell, to_cell
from sonyc_ml.base.durable import atomic_file, write_atomically
from sonyc_ml.base.human import seconds_of
from sonyc_ml.base.names import checked_name
from sonyc_ml.errors import ConfigError, OutputNameError, RecordingError, UnavailableRecordingError
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.files import open_recording

TABLE_NAME = "clips.csv"
NO_LABEL = "match"  # of what has none, as the matches of a search
SHOWN_LENGTH = 80  # characters of a recording's name in that of a clip
UNSAFE = re.compile(r"[^\w.@+-]+")
SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")  # of WAV, which a clip keeps
GONE, ANOTHER = "gone", "another recording has its name now"


class Wanted(NamedTuple):
    """What is to be cut out.

    Attributes
    ----------
    recording, node : str
        The node is empty where nobody says.
    start_s, end_s : float
        From the recording's first sample.
    label : str
    score : float
        NaN where there is none.
    sha256 : str
        Of the recording; empty where nobody says.
    time : str
        When it begins, in ISO 8601; empty where nobody knows.
    """

    recording: str
    node: str
    start_s: float
    end_s: float
    label: str
    score: float
    sha256: str
    time: str


class Cut(NamedTuple):
    """What became of it.

    Attributes
    ----------
    wanted : Wanted
    clip : str
        Name of the file in the folder of clips; empty where there is none.
    clip_start_s, clip_end_s : float
        What of the recording it holds.
    why : str
        Why there is none, or what of it is in doubt.
    """

    wanted: Wanted
    clip: str
    clip_start_s: float
    clip_end_s: float
    why: str


HEADING = (
    *("clip", "node", "recording", "label", "score", "start_s", "end_s", "time"),
    *("clip_start_s", "clip_end_s", "why"),
)


def wanted_in_outputs(outputs: Iterable[tuple[str, Output]], classes: Collection[str] = ()) -> Iterator[Wanted]:
    """The detections of outputs, given with their nodes, of some classes or of all."""
    for node, output in outputs:
        made = output.provenance
        for found in output.detections or ():
            if not classes or found.label in classes:
                time = _time_at(made.start_time, found.start_s)
                span = found.start_s, found.end_s, found.label, found.score_max
                yield Wanted(made.recording, node, *span, made.recording_sha256, time)


def wanted_in_table(path: Path, classes: Collection[str] = ()) -> Iterator[Wanted]:
    """The rows of a csv with the columns ``recording``, ``start_s`` and ``end_s``, and what else of it is known.

    Raises
    ------
    ConfigError
        It is no such table.
    """
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.DictReader(file)
        missing = [name for name in ("recording", "start_s", "end_s") if name not in (rows.fieldnames or ())]
        if missing:
            raise ConfigError(
                f"{path} has no column {missing[0]}; give a csv of sonyc-ml labels or search, or a dataset"
            )
        for number, row in enumerate(rows, 2):
            label = from_cell(row.get("label") or NO_LABEL)
            if classes and label not in classes:
                continue
            try:
                span = float(row["start_s"]), float(row["end_s"])
                score = float(row.get("score_max") or row.get("cosine") or "nan")
            except (TypeError, ValueError) as error:
                raise ConfigError(f"{path}, line {number}: {error}") from error
            name, node = from_cell(row["recording"]), from_cell(row.get("node") or "")
            yield Wanted(name, node, *span, label, score, row.get("recording_sha256") or "", row.get("time") or "")


def cut_clips(
    wanted: Iterable[Wanted],
    recordings: Sequence[Path],
    folder: Path,
    *,
    pad_s: float = 1.0,
    tell: Callable[[Cut], None] | None = None,
) -> list[Cut]:
    """Cut clips out of recordings, and write a table of them, ``clips.csv``, that names what is gone too.

    A clip keeps sample rate, channels and, where WAV has it, the format of the samples.

    Parameters
    ----------
    wanted : iterable of Wanted
    recordings : sequence of Path
        Folders that are looked into, for ``NAME`` and ``NODE/NAME``.
    folder : Path
        Of the clips.
    pad_s : float >= 0
        What is kept before and behind each (in seconds).
    tell : callable, optional
        Called with each.

    Raises
    ------
    StoreError
        They cannot be written.
    """
    if not pad_s >= 0:
        raise ValueError(f"what is kept around a clip must not be below 0 s, and is {pad_s:g}")
    made: list[Cut] = []
    finder = _Finder(recordings)
    for one in wanted:
        made.append(_cut(one, finder, folder, pad_s, len(made)))
        if tell is not None:
            tell(made[-1])
    _write_table(made, folder / TABLE_NAME)
    return made


class _Finder:
    """Finds recordings, and keeps in mind where the last one is, or that it is gone: detections follow one another."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._asked: tuple[str, ...] = ()
        self._found: tuple[Path | None, str] = (None, GONE)

    def find(self, wanted: Wanted) -> tuple[Path | None, str]:
        """The file of a recording, and what is in doubt; no file where it is gone or another one."""
        asked = (wanted.recording, wanted.node, wanted.sha256)
        if asked != self._asked:
            self._found, self._asked = self._look_for(wanted), asked
        return self._found

    def _look_for(self, wanted: Wanted) -> tuple[Path | None, str]:
        doubt = GONE
        for path in self._candidates(wanted):
            if not path.is_file():
                continue
            if not wanted.sha256:
                return path, "not known to be the same recording"
            if _sha256(path) == wanted.sha256:
                return path, ""
            doubt = ANOTHER
        return None, doubt

    def _candidates(self, wanted: Wanted) -> Iterator[Path]:
        try:
            name = checked_name(wanted.recording)
            node = checked_name(wanted.node) if wanted.node else ""
        except OutputNameError:
            return
        paths = [folder / part for folder in self._folders for part in (name, *([f"{node}/{name}"] if node else []))]
        yield from paths
        for path in paths:  # as it is called where another had its name already, when the daemon moved it
            yield from sorted(path.parent.glob(f"{escape(path.stem)}.[0-9]*Z{escape(path.suffix)}"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cut(wanted: Wanted, finder: _Finder, folder: Path, pad_s: float, number: int) -> Cut:
    nothing = Cut(wanted, "", wanted.start_s, wanted.start_s, "")
    try:
        path, doubt = finder.find(wanted)
        if path is None:
            return nothing._replace(why=doubt)
        first, frames, rate, subtype = _frames(path, wanted.start_s - pad_s, wanted.end_s + pad_s)
    except (RecordingError, UnavailableRecordingError, OSError, soundfile.LibsndfileError) as error:
        return nothing._replace(why=f"cannot be read: {error}")
    if not len(frames):
        return nothing._replace(why="it holds no sound at this time")
    name = _clip_name(wanted, number)
    with atomic_file(folder / name) as file:
        soundfile.write(file, frames, rate, subtype=subtype, format="WAV")
    start_s = first / rate
    return Cut(wanted, name, start_s, start_s + len(frames) / rate, doubt)


def _frames(path: Path, start_s: float, end_s: float) -> tuple[int, Any, int, str]:
    """The first sample's number in time, samples `(n, n_channels)`, their rate and format."""
    with open_recording(path, salvage=True) as recording:
        rate, segments = recording.sample_rate, recording.segments
    start, end = max(0, round(start_s * rate)), round(end_s * rate)
    position = 0  # in the file, where a triggered recorder has left out what lies between its segments
    for segment in segments:
        first, last = max(start, segment.start), min(end, segment.start + segment.n_samples)
        if first < last:
            with soundfile.SoundFile(path) as sound:
                subtype = sound.subtype if sound.subtype in SUBTYPES else "PCM_16"
                sound.seek(position + first - segment.start)
                dtype = "int32" if subtype.startswith("PCM") else "float64"
                return first, sound.read(last - first, dtype=dtype, always_2d=True), rate, subtype
        position += segment.n_samples
    return start, np.zeros((0, 1), np.int32), rate, "PCM_16"


def _clip_name(wanted: Wanted, number: int) -> str:
    """``siren/000012_pole_1_20261121T120000Z_3.50s.wav``: sorted as they were asked for."""
    stem = wanted.recording.rpartition(".")[0] or wanted.recording
    parts = [f"{number:06}", UNSAFE.sub("_", f"{wanted.node} {stem}".strip())[-SHOWN_LENGTH:], f"{wanted.start_s:.2f}s"]
    return f"{UNSAFE.sub('_', wanted.label).strip('.') or NO_LABEL}/{'_'.join(parts)}.wav"


def _write_table(made: Sequence[Cut], path: Path) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADING)
    for cut in made:
        one = cut.wanted
        named = [to_cell(value) for value in (cut.clip, one.node, one.recording, one.label)]
        numbers = [f"{value:.6g}" for value in (one.score, one.start_s, one.end_s)]
        writer.writerow([*named, *numbers, one.time, f"{cut.clip_start_s:.6g}", f"{cut.clip_end_s:.6g}", cut.why])
    write_atomically(path, text.getvalue().encode(errors="surrogateescape"))


def _time_at(start_time: str, start_s: float) -> str:
    if not start_time:
        return ""
    return f"{np.datetime64(round((seconds_of(start_time) + start_s) * 1e3), 'ms')}Z"
