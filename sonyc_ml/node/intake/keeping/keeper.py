"""Writes clips of live sound into a folder, and keeps that within its bounds."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from sonyc_ml.base.durable import atomic_file
from sonyc_ml.base.human import date_of
from sonyc_ml.errors import ConfigError, StoreError
from sonyc_ml.node.intake.config import ClipsConfig, plain_name
from sonyc_ml.node.intake.keeping.choosing import Clip, choose
from sonyc_ml.node.intake.spooler import UNSIGNED, wav_header
from sonyc_ml.node.running_bundles import LoadedBundle
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.live.segment import LiveSegment

logger = logging.getLogger(__name__)

SAID = ".json"  # behind the name of a clip: what it is; only what has one beside it is ever removed
SWEEP_S = 600.0
DAY_S = 86400.0


class Keeper:
    """Keeps clips of what is detected.

    Parameters
    ----------
    config : ClipsConfig
    bundles : iterable of LoadedBundle
        Those that run at any time: all of them must have heard a recording.
    clock : callable
        Returns seconds since 1970.

    Raises
    ------
    ConfigError
        No bundle has one of the classes; a forbidden one would then be heard by nobody.
    """

    def __init__(
        self, config: ClipsConfig, bundles: Iterable[LoadedBundle], clock: Callable[[], float] = time.time
    ) -> None:
        self._config, self._bundles, self._clock = config, bundles, clock
        self._swept_s = -math.inf
        known = {label for bundle in bundles for label in getattr(bundle.model, "labels", ())}
        for name in (*config.never_keep, *config.classes):
            if name not in known:
                raise ConfigError(f"listen.clips: no bundle has a class {name!r}; known are {', '.join(sorted(known))}")

    def keep(self, segment: LiveSegment, recording: str, outputs: list[Output]) -> list[Path]:
        """Write the clips of a recording that has its outputs; returns them. What goes wrong costs the clips alone."""
        try:
            self.sweep()
            if {output.provenance.bundle for output in outputs} != {one.model.bundle.name for one in self._bundles}:
                return []  # one of them was made before a restart: nobody knows what it said of the windows
            return [self._write(segment, recording, clip, outputs) for clip in choose(self._config, outputs)]
        except (StoreError, OSError) as error:
            logger.warning("%s: its clips could not be kept: %s", recording, error)
            return []

    def sweep(self) -> None:
        """Remove clips that are too old, and the oldest where they take too much room; at most every few minutes."""
        if self._clock() < self._swept_s + SWEEP_S:
            return
        self._swept_s, n_bytes = self._clock(), 0
        ours = [path for path in self._folder.glob(f"*.wav{SAID}") if path.with_suffix("").is_file()]
        states = [(path, path.with_suffix("").stat()) for path in ours]
        for said, state in sorted(states, key=lambda one: -one[1].st_mtime):
            n_bytes += state.st_size
            is_old = self._clock() - state.st_mtime > self._config.max_age_days * DAY_S
            if is_old or n_bytes > self._config.max_mb * 1e6:
                said.with_suffix("").unlink()
                said.unlink()

    @property
    def _folder(self) -> Path:
        assert self._config.folder is not None
        return self._config.folder

    def _write(self, segment: LiveSegment, recording: str, clip: Clip, outputs: list[Output]) -> Path:
        layout, rate = segment.layout, segment.layout.sample_rate
        first, last = (round(seconds * rate) * layout.frame_size for seconds in (clip.start_s, clip.end_s))
        content = segment.content[first:last]
        label = plain_name(max(clip.scores, key=lambda name: clip.scores[name]))
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        path = self._folder / f"{recording}+{clip.start_s:.3f}s_{label}.wav"
        said = {
            "recording": recording,
            "source": segment.source,
            "start_time": date_of(segment.start_s + clip.start_s).isoformat(),
            "start_s": round(clip.start_s, 3),
            "end_s": round(clip.end_s, 3),
            "scores": {name: round(score, 4) for name, score in clip.scores.items()},
            "bundles": {one.provenance.bundle: one.provenance.bundle_sha256 for one in outputs},
            "never_keep": list(self._config.never_keep),
        }
        with atomic_file(
            path.with_name(path.name + SAID)
        ) as file:  # the first: without it, nobody would remove the clip
            file.write(json.dumps(said, indent=1).encode())
        with atomic_file(path) as file:
            file.write(wav_header(layout, len(content)))
            file.write(content.translate(UNSIGNED) if layout.is_signed and layout.bits == 8 else content)
        logger.info("kept %s (%s)", path, ", ".join(clip.scores), extra={"RECORDING": recording})
        return path
