"""Whether the outputs of a recording are whole and its own: what has to hold before the recording may go."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import RecordingError, SonycMLError, UnfinishedRecordingError
from sonyc_ml.features import RES_TYPES, frame_from_start
from sonyc_ml.outputs.files import find_output, output_path, read_output
from sonyc_ml.outputs.kinds import KINDS
from sonyc_ml.outputs.output import Output, Provenance
from sonyc_ml.sound.files import FileRecording, open_recording

ROUNDING_S = 0.005  # windows and recordings are rounded to samples, at whatever rate
HOP_TOLERANCE = 1 / 3  # a hop is rounded to samples; with every other row missing it would be twice as long


def proof(identity: Identity, folder: Path, output_folders: Sequence[Path], output_format: str) -> str:
    """Why a recording that is done may not go; empty where every output of it is proved.

    Every output is read again, wholly; its numbers are finite, a row for each window, and its windows cover the
    recording. The recording is opened and read once more: its length and its SHA-256 are those that the outputs have,
    and it holds no more sound than that, by its size and not by its header.

    Parameters
    ----------
    identity : Identity
        Of the recording, whose file is a regular one.
    folder : Path
        Where the recording lies.
    output_folders : sequence of Path
        Where the outputs of each bundle lie.
    output_format : {"npz", "csv"}

    Returns
    -------
    str
        ``no output``, ``output damaged``, ``rows do not match``, ``sound left over``, ``recording changed``,
        ``recording unreadable``, ``I/O error`` or nothing.
    """
    provenances: list[Provenance] = []
    try:
        for output_folder in output_folders:
            output = _output(identity, output_folder, output_format)
            if output is None:
                return "no output"
            if not is_sound(output):
                return "output damaged"
            if not covers_recording(output):
                return "rows do not match"
            provenances.append(output.provenance)
    except ValueError:
        return "output damaged"
    except OSError:
        return "I/O error"
    return _recording_flaw(folder / identity.name, identity, provenances)


def is_sound(output: Output) -> bool:
    """Whether it has windows, and as many rows of finite numbers as windows; it may have detections or levels alone."""
    kinds = output.by_kind()
    n_windows = len(output.timestamps) if output.timestamps.ndim == 1 else 0
    return (
        n_windows > 0
        and (bool(kinds) or output.detections is not None or bool(output.levels))
        and bool(np.isfinite(output.timestamps).all())
        and all(KINDS[name].fits(array, n_windows) and _is_finite(array) for name, array in kinds.items())
    )


def covers_recording(output: Output) -> bool:
    """Whether its windows are those of the whole recording, none missing and none too many.

    Where they lie is known of our own extractors, whose output names their resampler: a hop apart, over the middle of
    the recording, beyond either end by half a hop at most (:func:`sonyc_ml.features.frame`), or from its start on, the
    last one beyond its end (:func:`sonyc_ml.features.frame_from_start`), which their parameters say. So the times of
    the first and the last window tell of every missing row; their number would not, as it depends on the rate of the
    windows, which outputs do not hold. How another's function pads is not known, only that it lays windows over the
    recording alone or, at most, over half a window of silence on either side; it may be one off for how it rounds.
    """
    provenance = output.provenance
    spans_s = provenance.spans_s
    # Each stretch of a triggered recording has its windows, whose middles (or first samples) lie in it, not in a gap.
    begins = _where_windows_begin(provenance)
    middles_s = output.timestamps + (begins.get("lead_s", 0.0) if begins else provenance.window_size_s / 2)
    borders_s = [(end + start) / 2 for (_, end), (start, _) in pairwise(spans_s)]
    numbers = np.searchsorted(borders_s, middles_s)
    return all(
        _covers(output.timestamps[numbers == i] - start_s, end_s - start_s, provenance)
        for i, (start_s, end_s) in enumerate(spans_s)
    )


def _covers(timestamps: npt.NDArray[np.float64], duration_s: float, provenance: Provenance) -> bool:
    n_windows = len(timestamps)
    if n_windows == 0:
        return False
    first_s, last_s = float(timestamps[0]), float(timestamps[-1])
    hop_s = (last_s - first_s) / (n_windows - 1) if n_windows > 1 else provenance.hop_size_s
    if abs(hop_s - provenance.hop_size_s) > HOP_TOLERANCE * provenance.hop_size_s:
        return False
    slack_s = hop_s / 4  # for rounding to samples: less than the half of a hop by which a missing row shows
    if not np.allclose(np.diff(timestamps), hop_s, rtol=0, atol=slack_s):
        return False
    if provenance.res_type not in RES_TYPES:
        n_least = 1 + max(0, math.floor((duration_s - provenance.window_size_s) / hop_s))
        n_most = 1 + math.ceil(duration_s / hop_s)
        return n_least - 1 <= n_windows <= n_most + 1
    before_s, behind_s = -first_s, last_s + provenance.window_size_s - duration_s
    if begins := _where_windows_begin(provenance):
        slack_s = min(slack_s, ROUNDING_S)
        numbers = [_n_from_start(duration_s + s, hop_s, provenance, begins) for s in (-slack_s, slack_s)]
        return abs(before_s - begins.get("lead_s", 0.0)) <= slack_s and numbers[0] <= n_windows <= numbers[1]
    most_s = hop_s / 2 + slack_s if n_windows > 1 else provenance.window_size_s
    least_s = -slack_s - max(0.0, hop_s - provenance.window_size_s)  # windows with a gap between them: at the ends too
    return least_s <= before_s <= most_s and least_s <= behind_s <= most_s


def _n_from_start(duration_s: float, hop_s: float, provenance: Provenance, begins: Mapping[str, Any]) -> int:
    """How many windows a recording has where they begin at its start."""
    shortest_s = begins.get("shortest_s")
    seconds = (duration_s, provenance.window_size_s, hop_s, begins.get("lead_s", 0.0), shortest_s or 0.0)
    n_samples, window, hop, lead, shortest = (max(0, round(1e9 * value)) for value in seconds)
    return frame_from_start(max(1, n_samples), window, hop, lead, None if shortest_s is None else shortest).n_windows


def _where_windows_begin(provenance: Provenance) -> dict[str, Any]:
    """What an output says of windows that begin at the start; nothing where they lie over the middle."""
    try:
        parameters = json.loads(provenance.parameters or "{}")
    except ValueError:
        return {}
    if not isinstance(parameters, dict) or parameters.get("align") != "start":
        return {}
    return {name: parameters[name] for name in ("align", "lead_s", "shortest_s") if name in parameters}


def _output(identity: Identity, folder: Path, output_format: str) -> Output | None:
    path = find_output(identity, folder, output_format)
    if path is not None:
        return read_output(path)
    with suppress(FileNotFoundError, NotADirectoryError):
        read_output(output_path(identity.name, folder, output_format))  # what is there is damaged, or another's
    return None


def _recording_flaw(path: Path, identity: Identity, provenances: Iterable[Provenance]) -> str:
    claimed = {
        (entry.recording_bytes, entry.recording_mtime_ns, entry.sample_rate, entry.n_samples, entry.recording_sha256)
        for entry in provenances
    }
    is_salvaged = any(entry.salvaged for entry in provenances)
    try:
        with open_recording(path, salvage=is_salvaged) as recording:
            if (recording.n_bytes, recording.mtime_ns) != identity[1:]:
                return "recording changed"
            length = (recording.sample_rate, recording.n_samples)
            if {(rate, n_samples) for _, _, rate, n_samples, _ in claimed} != {length}:
                return "rows do not match"
            return _content_flaw(recording, is_same=claimed == {(*identity[1:], *length, recording.sha256())})
    except UnfinishedRecordingError:
        return "recording changed"
    except RecordingError:
        return "recording unreadable"
    except (SonycMLError, OSError):
        return "I/O error"


def _content_flaw(recording: FileRecording, *, is_same: bool) -> str:
    if recording.n_left:  # of which the header that gave both lengths says nothing
        return "sound left over"
    return "" if is_same else "recording changed"


def _is_finite(array: npt.NDArray[np.float32]) -> bool:
    return bool(np.isfinite(array).all())
