"""A recording through one bundle: embedded, and its output written."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sonyc_ml.base.durable import remove_temporaries
from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import SonycMLError, UnfinishedRecordingError
from sonyc_ml.node.events import Listener, published
from sonyc_ml.node.overload import Overload
from sonyc_ml.node.running_bundles import LoadedBundle
from sonyc_ml.outputs.detections import Detection
from sonyc_ml.outputs.files import find_output, free_path, read_output, read_provenance, write_output
from sonyc_ml.outputs.output import Output, Provenance
from sonyc_ml.sound.files import open_recording
from sonyc_ml.sound.node import Node
from sonyc_ml.sound.start_time import StartTimes

if TYPE_CHECKING:
    from sonyc_ml.node.intake.ahead import Ahead
    from sonyc_ml.node.intake.buffer import Waiting
    from sonyc_ml.sound.levels.result import SoundLevels
    from sonyc_ml.sound.live.segment import LiveSegment

logger = logging.getLogger("sonyc_ml.node.worker")  # one line per recording, as one asks for


class Published(NamedTuple):
    """Of an output on the disk: where it comes from, what is heard, and how loud it was."""

    provenance: Provenance
    detections: Sequence[Detection] | None
    levels: SoundLevels | None


class Publisher:
    """Embeds recordings and writes their outputs.

    Parameters
    ----------
    folder : Path
        Where the recordings lie.
    output_format : {"npz", "csv"}
    overload : Overload
        Says how many windows there is time for.
    start_times : StartTimes
    node : Node
        Which this is, for the outputs.
    emit : callable
        Takes an event for each output.
    progress : callable, optional
        Called as the work goes on.
    """

    def __init__(
        self,
        folder: Path,
        output_format: str,
        overload: Overload,
        start_times: StartTimes,
        node: Node,
        emit: Listener,
        progress: Callable[[], None] | None = None,
    ) -> None:
        self._folder, self._format, self._overload, self._start_times = folder, output_format, overload, start_times
        self._node, self._emit, self._progress = node, emit, progress
        self._clean: set[Path] = set()  # folders without anything that a killed process was writing

    def publish(
        self, identity: Identity, bundle: LoadedBundle, *, salvage: bool = False, live: Waiting | None = None
    ) -> Published:
        """Embed with one bundle and write the output, where there is none; return what the journal keeps of it.

        Parameters
        ----------
        identity : Identity
        bundle : LoadedBundle
        salvage : bool
            Of a file, whether to embed what there is of it.
        live : Waiting, optional
            Of a stream, the recording itself.
        """
        existing = find_output(identity, bundle.output_folder, self._format)
        provenance = read_provenance(existing) if existing else None
        if provenance is not None:
            logger.debug("%s is embedded already", identity.name)
            return Published(provenance, *_read_back(existing))
        start_s = time.perf_counter()
        output = self._placed(self._embed(identity, bundle, live, salvage=salvage))
        embedded_s = time.perf_counter()
        if (output.provenance.recording_bytes, output.provenance.recording_mtime_ns) != identity[1:]:
            raise UnfinishedRecordingError(
                f"{identity.name}: it changed since it was found; something is still writing it"
            )
        path = free_path(identity, bundle.output_folder, self._format)
        self.clear_up(path.parent)
        write_output(output, path, self._progress)
        stages_s = {"embed": embedded_s - start_s, "store": time.perf_counter() - embedded_s}
        event = published(output, path, stages_s)
        self._emit(event)
        if live is not None:
            live.outputs.append(output)
            if live.peer is not None:
                live.peer.published(event, output)
        _log_output(output, path, sum(stages_s.values()))
        return Published(output.provenance, output.detections, output.levels)

    def measure(self, identity: Identity) -> tuple[float | None, float | None]:
        """When a recording begins and how long it is, by its header."""
        try:
            with open_recording(self._folder / identity.name) as recording:
                return self._start_times(recording, identity.name).time.timestamp(), recording.duration_s
        except SonycMLError:
            return None, None

    def clear_up(self, folder: Path) -> None:
        """Remove what a killed process was writing in a folder; once, for this one leaves nothing.

        Before the first output of a folder too: a journal that lost the end of its log has forgotten what was begun.
        """
        if folder not in self._clean:
            remove_temporaries(folder)
            self._clean.add(folder)

    def _placed(self, output: Output) -> Output:
        """The output with which node it is of, and where that stands."""
        node = self._node.record(output.provenance.node)
        return dataclasses.replace(output, provenance=dataclasses.replace(output.provenance, node=node))

    def _embed(self, identity: Identity, bundle: LoadedBundle, live: Waiting | None, *, salvage: bool) -> Output:
        own_s = bundle.model.extractor.hop_size_s
        hop_size_s = None if bundle.model.carries_state else self._overload.hop_size_s(own_s)
        if live is not None:
            return self._embed_live(identity, bundle, live, hop_size_s)
        return bundle.model.embed_file(
            self._folder / identity.name,
            hop_size_s,
            identity.name,
            salvage=salvage,
            start_times=self._start_times,
            progress=self._progress,
            scratch=bundle.output_folder,
        )

    def begin(self, segment: LiveSegment, bundle: LoadedBundle, hears: bool) -> Ahead:
        """Begin to embed a recording of a stream that still comes; `hears` says whether to tell what is heard."""
        from sonyc_ml.node.intake.ahead import Ahead  # noqa: PLC0415  a node without live sound needs none of it

        return Ahead(segment, bundle, self._start_times, self._progress, hears=hears)

    def _embed_live(self, identity: Identity, bundle: LoadedBundle, live: Waiting, hop_size_s: float | None) -> Output:
        """Embed a recording of a stream: the rest of it, where the most was done while it came."""
        from sonyc_ml.node.intake.gapless import n_heard  # noqa: PLC0415
        from sonyc_ml.sound.live.segment import LiveRecording  # noqa: PLC0415

        for ahead in live.ahead:
            output = ahead.finish(identity.name) if ahead.bundle is bundle and hop_size_s is None else None
            if output is not None:
                for event in ahead.heard():
                    self._emit(event)
                return output
        return bundle.model.embed(
            LiveRecording(live.segment, identity.name, bundle.model.channel, n_heard(live.segment, bundle)),
            hop_size_s,
            start_times=self._start_times,
            progress=self._progress,
            scratch=bundle.output_folder,
        )


def _log_output(output: Output, path: Path, elapsed_s: float) -> None:
    if marks := output.provenance.marks:
        detail = output.provenance.note or f"{output.provenance.level_dbfs:.0f} dBFS"
        logger.info("%s: %s: %s", output.provenance.recording, ", ".join(marks), detail)
    likeliest = f"{output.describe_heard()}, " if output.describe_heard() else ""
    name, n_windows = output.provenance.recording, len(output.timestamps)
    fields = {"RECORDING": name, "BUNDLE": output.provenance.bundle, "DURATION_MS": round(elapsed_s * 1e3)}
    logger.debug("%s: %s%d windows in %.0f ms, %s", name, likeliest, n_windows, elapsed_s * 1e3, path, extra=fields)


def _read_back(path: Path | None) -> tuple[Sequence[Detection] | None, SoundLevels | None]:
    """What an output that is there already says was heard, and how loud it was."""
    try:
        output = read_output(path) if path else None
    except (ValueError, OSError):
        output = None
    return (output.detections, output.levels) if output else (None, None)
