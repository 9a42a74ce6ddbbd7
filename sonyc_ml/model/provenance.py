"""Where an output comes from: the recording, the bundle, and everything else that decides the numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sonyc_ml.base.process import is_clock_synchronised
from sonyc_ml.bundles.bundle import Bundle
from sonyc_ml.errors import RecordingError, UnreadableRecordingError
from sonyc_ml.model.extractor import Extractor
from sonyc_ml.outputs.output import CLOCK_STATES, Provenance
from sonyc_ml.sound.recording import Recording
from sonyc_ml.sound.start_time import StartTimes

RECORDED_ELSEWHERE = ("duration", "hop_size", "res_type")  # the extractor has them, however they came to it


def make_settings(extractor: Extractor, hop_size: float | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the numbers beside the bundle, as an output records it.

    Parameters
    ----------
    extractor : Extractor
    hop_size : float > 0 or None
        What the call says (in seconds); None for the extractor's own.
    given : mapping
        Further parameters by their names, None for what was left as it comes.
    """
    given = {**getattr(extractor, "begins", {}), **given}  # a pickled extractor's too
    names = [name for name in given if given[name] is not None and name not in RECORDED_ELSEWHERE]
    recorded = {name: given[name] for name in names}
    if reads := getattr(extractor, "reads", None):  # a track, made by another bundle
        recorded["reads"] = reads
    return {
        "window_size_s": extractor.window_size_s,
        "hop_size_s": extractor.hop_size_s if hop_size is None else hop_size,
        "res_type": extractor.res_type,
        "parameters": json.dumps(recorded, sort_keys=True, default=str) if recorded else "",
    }


@contextmanager
def naming(recording: Recording) -> Iterator[None]:
    """Name the recording in what an extractor says against it, which does not know what it was given."""
    try:
        yield
    except UnreadableRecordingError:
        raise
    except (RecordingError, ValueError) as error:
        raise RecordingError(f"{recording.source}: {error}") from error


def make_provenance(
    recording: Recording,
    name: str,
    start_times: StartTimes,
    progress: Callable[[], None] | None,
    bundle: Bundle,
    versions: str,
    settings: Mapping[str, Any],
) -> Provenance:
    """Put the provenance of a recording's output together, once its blocks are read.

    Parameters
    ----------
    recording : Recording
    name : str
        What the output calls it.
    start_times : StartTimes
        How the time at which it begins is found.
    progress : callable or None
        Called as its file is read once more, for its SHA-256.
    bundle : Bundle
    versions : str
        See :class:`~sonyc_ml.outputs.output.Provenance`.
    settings : mapping
        Those of :func:`make_settings`.
    """
    start = recording.start_time(name, start_times)
    return Provenance(
        recording=name,
        recording_sha256=recording.sha256(progress),
        recording_bytes=recording.n_bytes,
        recording_mtime_ns=recording.mtime_ns,
        sample_rate=recording.sample_rate,
        n_samples=recording.n_samples,
        start_time=start.text,
        start_time_source=start.source,
        start_time_doubt=start.doubt,
        clock_synchronised=CLOCK_STATES[is_clock_synchronised()],
        salvaged=recording.salvaged,
        **recording.description,
        bundle=bundle.name,
        bundle_sha256=bundle.sha256,
        versions=versions,
        **settings,
    )
