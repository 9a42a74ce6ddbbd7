"""A node without a network: recordings in, sound levels out, by the way that models' outputs go."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sonyc_ml.base.blas import one_blas_thread
from sonyc_ml.base.process import keep_freed_memory
from sonyc_ml.model.provenance import make_provenance
from sonyc_ml.model.versions import versions
from sonyc_ml.outputs.output import Output, fingerprint_of
from sonyc_ml.sound.files import open_recording
from sonyc_ml.sound.levels.measuring import Measuring
from sonyc_ml.sound.levels.settings import LevelSettings
from sonyc_ml.sound.recording import Recording
from sonyc_ml.sound.start_time import StartTimes

if TYPE_CHECKING:
    from sonyc_ml.bundles.bundle import Bundle
    from sonyc_ml.model.hearing import Hear

NAME = "levels"  # what outputs, the journal and the status call it, where others have a bundle's name


class _NoBundle:
    """What is asked of a bundle, where there is none."""

    name, sha256, path = NAME, "", Path(NAME)
    manifest = None
    accepted: Mapping[str, str] = {}
    assumed_kind = ""


class _NoInterpreter:
    backend = "no network"

    def delegated(self) -> tuple[int, int]:
        return 0, 0


class _Periods:
    """Windows that are the periods of the levels."""

    sample_rate, res_type = 0, ""

    def __init__(self, period_s: float) -> None:
        self.window_size_s = self.hop_size_s = period_s


class LevelMeter:
    """Measures recordings, and does what the daemon and a batch ask of a :class:`~sonyc_ml.model.base.Model`.

    Its outputs have a row for each period, and no kind but the levels.

    Parameters
    ----------
    levels : LevelSettings
    """

    bundle, interpreter = _NoBundle(), _NoInterpreter()
    carries_state = True  # no other hop makes sense of periods
    labels: tuple[str, ...] = ()
    channel: int | None = None  # all are read; the settings say which is measured

    def __init__(self, levels: LevelSettings) -> None:
        keep_freed_memory()
        self.levels, self.extractor = levels, _Periods(levels.period_s)

    def __repr__(self) -> str:
        return f"<LevelMeter: levels of {self.levels.period_s:g} s in {self.levels.reference}>"

    def embed(
        self,
        recording: Recording,
        hop_size: float | None = None,
        name: str | None = None,
        *,
        start_times: StartTimes | None = None,
        progress: Callable[[], None] | None = None,
        scratch: Path | None = None,  # noqa: ARG002  what is measured fits in memory
        hear: Hear | None = None,  # noqa: ARG002  there is nothing to be heard
    ) -> Output:
        """Measure one recording in blocks; parameters and errors as :meth:`sonyc_ml.model.base.Model.embed`."""
        if hop_size not in (None, self.levels.period_s):
            raise ValueError(f"levels have periods of {self.levels.period_s:g} s, and no hop size")
        measuring = Measuring(recording, self.levels)
        with one_blas_thread():
            for _, blocks in recording.segment_blocks():
                for _ in blocks:
                    if progress is not None:
                        progress()
            levels = measuring.levels()
        times, bundle = start_times or StartTimes(), cast("Bundle", self.bundle)
        settings, name = self._settings(times), name or recording.name
        provenance = make_provenance(recording, name, times, progress, bundle, versions("", ""), settings)
        return Output(timestamps=np.array(levels.start_s), levels=levels, provenance=provenance)

    def embed_file(
        self,
        path: str | Path,
        hop_size: float | None = None,
        name: str | None = None,
        *,
        salvage: bool = False,
        **others: Any,
    ) -> Output:
        """Open a recording and measure it; see :meth:`sonyc_ml.model.base.Model.embed_file`."""
        with open_recording(path, salvage=salvage) as recording:
            return self.embed(recording, hop_size, name, **others)

    def fingerprint(self, hop_size: float | None = None, start_times: StartTimes | None = None) -> str:  # noqa: ARG002
        """What the outputs made this way have in common; see :attr:`sonyc_ml.outputs.output.Provenance.fingerprint`."""
        return fingerprint_of(self.bundle.sha256, **self._settings(start_times or StartTimes()))

    def warm_up(self) -> None:
        """Nothing is loaded late."""

    def _settings(self, start_times: StartTimes) -> dict[str, Any]:
        given = {**start_times.settings, "levels": self.levels.decides()}
        return {
            "window_size_s": self.levels.period_s,
            "hop_size_s": self.levels.period_s,
            "res_type": "",
            "parameters": json.dumps(given, sort_keys=True, default=str),
        }
