"""A model: a bundle's network and extractor at work. Samples in, outputs out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.blas import one_blas_thread
from sonyc_ml.bundles.bundle import Bundle, read_bundle
from sonyc_ml.errors import AssumedSampleRateWarning
from sonyc_ml.features import checked_sample_rate
from sonyc_ml.model.extractor import (
    Extractor,
    check_keywords,
    checked_channels,
    checked_number,
    describe_windows,
    frames_of,
    gathered,
    run_segments,
    with_channels,
    without_channels,
)
from sonyc_ml.model.hearing import Hear, begin_levels, make_hearing
from sonyc_ml.model.network import Network
from sonyc_ml.model.provenance import make_provenance, make_settings, naming
from sonyc_ml.model.versions import versions
from sonyc_ml.outputs.cache import OutputCache, output_of, outputs_of
from sonyc_ml.outputs.detections import Detection
from sonyc_ml.outputs.files import write_output
from sonyc_ml.outputs.output import Output, fingerprint_of
from sonyc_ml.sound.files import open_recording
from sonyc_ml.sound.recording import Recording
from sonyc_ml.sound.start_time import StartTimes
from sonyc_ml.sound.triggered import Segment

if TYPE_CHECKING:
    from sonyc_ml.sound.levels.settings import LevelSettings

Floats = npt.NDArray[np.float32]

WARM_UP_SAMPLE_RATE = 8000  # for an extractor that takes any
WINDOWS_BETWEEN_PROGRESS = 32  # a tenth of a second of a node's time


class Model:
    """A network and its extractor: recordings in, embeddings out.

    A class of the user's own derives from it and defines `make_extractor`.

    Parameters
    ----------
    model_path : str, Path or Bundle
        ``NAME.tflite``, or the bundle that was read from it.
    outputs : mapping of str to int or str, optional
        Which output of the network is the ``"embedding"`` and which the ``"scores"``, by number or name. A network
        with one output needs none: it is the embedding. A manifest may say it.
    constants : mapping of str to value, optional
        What further inputs of the network hold, by name or number, where that is other than the manifest says.
    activation, sensitivity : str, float, optional
        What makes scores of the network's numbers, where that is other than the manifest says; see
        :func:`~sonyc_ml.model.activation.activated`.
    num_threads, reference_kernels, backend, batch_size
        See :class:`~sonyc_ml.model.interpreter.Interpreter`.
    channel, n_channels : int >= 0, int > 1, optional
        Channel of the recordings to read; or how many the network reads as they are. Else it reads the mean of all.
    detections, keep : mapping, optional
        What outputs have of the scores: see :func:`~sonyc_ml.model.hearing.make_hearing`.
    cache : OutputCache, optional
        Keeps what was computed; nothing is kept where not given.

    Raises
    ------
    BundleError
        The files cannot be used; its branches say why.
    """

    # Makes the extractor, from the keywords of the constructor that are not named below.
    make_extractor: Callable[..., Extractor]
    found: Mapping[str, Any] = {}  # of those keywords, what the network's shape alone decided
    levels: LevelSettings | None = None  # what is measured of recordings beside; nothing where not set

    def __init__(
        self,
        model_path: str | Path | Bundle,
        *,
        outputs: Mapping[str, int | str] | None = None,
        constants: Mapping[str, Any] | None = None,
        activation: str | None = None,
        sensitivity: float | None = None,
        num_threads: int = 1,
        reference_kernels: bool = False,
        backend: str | None = None,
        batch_size: int = 1,
        channel: int | None = None,
        n_channels: int | None = None,
        detections: Mapping[str, Any] | None = None,
        keep: Mapping[str, Any] | None = None,
        cache: OutputCache | None = None,
        **parameters: Any,
    ) -> None:
        self.cache, self.channel, self.n_channels = cache, channel, checked_number(n_channels, channel)
        self.bundle = model_path if isinstance(model_path, Bundle) else read_bundle(model_path)
        kernels = dict[str, Any](num_threads=num_threads, reference_kernels=reference_kernels, backend=backend)
        said = (outputs, constants, activation, sensitivity)
        self._network = Network(self.bundle, batch_size, *said, **kernels)
        self.interpreter, self.outputs = self._network.interpreter, self._network.outputs
        self._n_windows_at_once = -(-WINDOWS_BETWEEN_PROGRESS // batch_size) * batch_size  # whole batches
        check_keywords(type(self).__name__, self.make_extractor, parameters)
        self.declared, is_last = without_channels(self.interpreter.input.shape, self.n_channels)
        self.extractor = with_channels(self.make_extractor(**parameters), self.n_channels, is_last=is_last)
        if self.carries_state and "hop_size" not in parameters:
            self.extractor.hop_size_s = self.extractor.window_size_s  # each window goes on where the one before ended
        self._network.fit(self.extractor.feature_shape)
        self.labels = self._network.checked_labels()
        n_scores = self._network.widths.get("scores", 0)
        self._hearing = make_hearing(self.bundle, self.labels, n_scores, detections, keep)
        kind = self.bundle.assumed_kind or None
        read = {"channel": channel, "n_channels": self.n_channels}
        self._parameters = {**read, "outputs": outputs and dict(outputs), "input_kind": kind, **parameters}
        self._parameters |= {**self.found, **self._network.settings(constants, sensitivity), **self._hearing.recorded}
        runtime = self.interpreter.backend + ", reference kernels" * reference_kernels
        self._has_warned = False  # of a sample rate that was assumed
        self._versions = versions(runtime, self.extractor.res_type)
        self._kernels = f"{self._versions}; {num_threads} threads, batches of {batch_size}"

    @property
    def widths(self) -> dict[str, int]:
        """How many columns each output has, as in ``{"embedding": 256, "scores": 10}``."""
        return self._network.widths

    @property
    def carries_state(self) -> bool:
        """Whether its network hands a state from window to window: they come in order, at its own hop alone."""
        return self._network.carries_state

    def __repr__(self) -> str:
        columns = ", ".join(f"{kind} ({width})" for kind, width in self._network.widths.items())
        return f"<{type(self).__name__} {self.bundle.name}: {describe_windows(self.extractor)}; {columns}>"

    def get_features(self, y: Floats, sr: int, hop_size: float | None = None) -> Floats:
        """Return what the network reads.

        Parameters
        ----------
        y : np.ndarray [shape=(n_samples,) or (n_channels, n_samples), dtype=float32]
            Samples in [-1, 1]; mono, but for a model of several channels.
        sr : int > 0
            Sample rate of `y` (in Hz).
        hop_size : float > 0, optional
            Distance between windows (in seconds).

        Returns
        -------
        np.ndarray [shape=(n_windows, …), dtype=float32]
        """
        y, sr = checked_channels(y, self.n_channels), checked_sample_rate(sr)
        with one_blas_thread():
            return np.concatenate(list(self.extractor.stream([y], sr, y.shape[-1], hop_size)))

    def get_embedding(self, y: Floats, sr: int | None = None, hop_size: float | None = None) -> Floats:
        """Return the embedding of samples.

        Parameters
        ----------
        y, sr, hop_size
            As for :meth:`get_features`; without `sr`, `y` is taken to be at the extractor's own sample rate, and a
            warning says so, once.

        Returns
        -------
        np.ndarray [shape=(n_windows, n_dims), dtype=float32]
            Where the network has no embedding, a ValueError says so; see :meth:`get_outputs`.
        """
        if "embedding" not in self.outputs:
            raise ValueError(f"{self.bundle.name} has no embedding, only {', '.join(self.outputs)}: use get_outputs")
        return self.get_outputs(y, self._rate_of_samples(sr), hop_size)["embedding"]

    def get_outputs(
        self, y: Floats, sr: int | None = None, hop_size: float | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Return everything that samples become.

        Parameters
        ----------
        y, sr, hop_size
            Those of :meth:`get_embedding`.

        Returns
        -------
        dict of str to np.ndarray
            ``timestamps``, where each window begins (in seconds from the first sample), `(n_windows,)` float64; each of
            ``embedding`` and ``scores`` that the network has, `(n_windows, n)` float32.
        """
        self._network.check_hop(hop_size, self.extractor.hop_size_s)
        sr, y = self._rate_of_samples(sr), checked_channels(y, self.n_channels)
        if self.cache is not None:
            return outputs_of(self, self.cache, self._kernels + self.fingerprint(hop_size), y, sr, hop_size)
        timestamps, outputs = self._run([(Segment(0, y.shape[-1]), [y])], sr, hop_size)
        return {"timestamps": timestamps, **outputs}

    def get_labels(
        self, y: Floats, sr: int | None = None, hop_size: float | None = None, **rules: Any
    ) -> list[Detection]:
        """Return when each class was heard in samples, by the code that makes labels of outputs.

        Parameters
        ----------
        y, sr, hop_size
            Those of :meth:`get_embedding`.
        **rules
            Of :class:`~sonyc_ml.outputs.rules.DetectionRules`, as in ``threshold=0.6``; others are the model's own.
            Where there are no scores, or no such class, a ValueError says so.
        """
        outputs = self.get_outputs(y, sr := self._rate_of_samples(sr), hop_size)
        return self._hearing.labels_of(outputs, self.extractor.window_size_s, np.shape(y)[-1] / sr, rules)

    def _rate_of_samples(self, sr: int | None) -> int:
        """What a public method was given as `sr`, or what is assumed: of that, whoever called the method is warned."""
        if sr is not None:
            return checked_sample_rate(sr)
        assumed = self.extractor.sample_rate
        if not assumed:
            raise ValueError("the extractor does not say its sample rate: give the one of y as sr")
        if not self._has_warned:
            self._has_warned = True
            text = f"y is taken to be at {assumed} Hz, the rate of {self.bundle.name}: if it is not, give its own as sr"
            warnings.warn(text, AssumedSampleRateWarning, stacklevel=3)
        return assumed

    def embed(
        self,
        recording: Recording,
        hop_size: float | None = None,
        name: str | None = None,
        *,
        start_times: StartTimes | None = None,
        progress: Callable[[], None] | None = None,
        scratch: Path | None = None,
        hear: Hear | None = None,
    ) -> Output:
        """Embed one recording, wherever it comes from, in blocks: memory does not grow with its length.

        Parameters
        ----------
        recording : Recording
        hop_size : float > 0, optional
            Distance between windows (in seconds).
        name : str, optional
            What the output calls the recording: its path relative to the input folder; its own name where not given.
        start_times : StartTimes, optional
        progress, hear : callable, optional
            Called after every few windows, for the work goes on; with each class that is detected in a window.
        scratch : Path, optional
            A folder for results that are too many for memory.

        Raises
        ------
        RecordingError, StoreError
            It cannot be embedded (not for now: UnavailableRecordingError), or `scratch` cannot hold the results.
        """
        if self.cache is not None:
            key, others = self._kernels + self.fingerprint(hop_size, start_times), (progress, scratch)
            return output_of(self, self.cache, key, recording, hop_size, name, start_times, *others)
        sr, times = recording.sample_rate, start_times or StartTimes()
        self._network.check_hop(hop_size, self.extractor.hop_size_s)
        self.extractor.framing(recording.n_samples, sr, hop_size)  # a hop that is none is a mistake of the caller's
        with self._hearing.begin(scratch, lambda: recording.start_time(name or recording.name, times), hear) as heard:
            measured = begin_levels(recording, self.levels)
            with naming(recording):
                segments, how = frames_of(recording, self.n_channels), (progress, scratch, heard.keep)
                timestamps, outputs = self._run(segments, sr, hop_size, *how)
            made_by = (name or recording.name, times, progress, self.bundle, self._versions)
            provenance = heard.noted(make_provenance(recording, *made_by, self._settings(hop_size, times)))
            return Output(provenance=provenance, **heard.fields(timestamps, outputs, provenance), levels=measured())

    def embed_file(
        self,
        path: str | Path,
        hop_size: float | None = None,
        name: str | None = None,
        *,
        salvage: bool = False,
        start_times: StartTimes | None = None,
        progress: Callable[[], None] | None = None,
        scratch: Path | None = None,
    ) -> Output:
        """Open a recording and :meth:`embed` it, which says what is raised.

        Parameters
        ----------
        path : str or Path
        hop_size, name, start_times, progress, scratch
            Those of :meth:`embed`.
        salvage : bool
            Whether to embed what there is of a truncated or unfinished recording; see
            :func:`~sonyc_ml.sound.files.open_recording`.
        """
        with open_recording(path, self.channel, salvage=salvage) as recording:
            return self.embed(recording, hop_size, name, start_times=start_times, progress=progress, scratch=scratch)

    def _settings(self, hop_size: float | None, start_times: StartTimes) -> dict[str, Any]:
        given = {**self._parameters, **start_times.settings, "levels": self.levels and self.levels.decides()}
        return make_settings(self.extractor, hop_size, given)

    def fingerprint(self, hop_size: float | None = None, start_times: StartTimes | None = None) -> str:
        """What the outputs made this way have in common; see :attr:`sonyc_ml.outputs.output.Provenance.fingerprint`."""
        return fingerprint_of(self.bundle.sha256, **self._settings(hop_size, start_times or StartTimes()))

    def warm_up(self) -> None:
        """Run once, on a window of silence: what is loaded late is loaded now, and what fails fails now."""
        sr = self.extractor.sample_rate or WARM_UP_SAMPLE_RATE
        shape = (*([self.n_channels] if self.n_channels else []), round(self.extractor.window_size_s * sr))
        self.get_outputs(np.zeros(shape, np.float32), sr)

    def process_file(
        self, path: str | Path, output_path: str | Path | None = None, hop_size: float | None = None
    ) -> Path:
        """Embed one recording and write the output, durably; return its path.

        Parameters
        ----------
        path, hop_size
            Those of :meth:`embed_file`.
        output_path : str or Path, optional
            Where to, ``.npz`` or ``.csv``; beside the recording, as ``NAME.wav.npz``, where not given.

        Raises
        ------
        RecordingError, UnavailableRecordingError, StoreError
        """
        output_path = Path(f"{os.fspath(path)}.npz" if output_path is None else output_path)
        write_output(self.embed_file(path, hop_size, scratch=output_path.parent), output_path)
        return output_path

    def _run(
        self, segments: Iterable[tuple[Segment, Iterable[Floats]]], sr: int, hop_size: float | None, *how: Any
    ) -> tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[Any]]]:
        """When each window begins (in seconds), and what is kept of every output: each segment as if a recording."""
        computing = run_segments(segments, sr, hop_size, self.extractor, self._network, self._n_windows_at_once)
        return gathered(computing, *how)
