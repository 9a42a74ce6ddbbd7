"""The three kinds of models. They differ only in what turns samples into the features that the network reads."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from sonyc_ml import __version__
from sonyc_ml.audio import open_recording
from sonyc_ml.bundle import Bundle, Description, load_extractor, read_bundle
from sonyc_ml.errors import BundleMismatchError, RecordingError, UnreadableRecordingError
from sonyc_ml.features import Framing, LogMel, PCMWindows, checked_samples, frame, overlapping
from sonyc_ml.interpreter import Interpreter, Tensor
from sonyc_ml.store import Output, Provenance, write_output

Floats = npt.NDArray[np.float32]

INPUT_KINDS = ("pickled", "log_mel", "pcm")
OUTPUT_KINDS = ("embedding", "scores")


class Extractor(Protocol):
    """What a model asks of its extractor. Pickles of years ago have just this, so it does not change."""

    sample_rate: int
    window_size_s: float
    hop_size_s: float
    feature_shape: tuple[int, ...]
    res_type: str

    def stream(
        self, blocks: Iterable[Floats], sr: int, n_samples: int, hop_size: float | None = None
    ) -> Iterator[Floats]:
        """Yield the features of blocks of samples."""
        ...

    def framing(self, n_samples: int, sr: int, hop_size: float | None = None) -> Framing:
        """Where the windows lie, in samples at `sample_rate`."""
        ...


class Model:
    """A network and its extractor: recordings in, embeddings out.

    Parameters
    ----------
    model_path : str or Path
        ``NAME.tflite``.
    outputs : mapping of str to int or str, optional
        Which output of the network is the ``"embedding"`` and which the ``"scores"``, by number or name. A network
        with one output needs none: it is the embedding.
    num_threads, reference_kernels, backend, batch_size
        See :class:`~sonyc_ml.interpreter.Interpreter`.
    channel : int >= 0, optional
        Channel of the recordings to read; the mean of all where not given.

    Raises
    ------
    BundleError
        The files cannot be used; its branches say why.
    """

    _make_extractor: Callable[..., Extractor]

    def __init__(
        self,
        model_path: str | Path,
        *,
        outputs: Mapping[str, int | str] | None = None,
        num_threads: int = 1,
        reference_kernels: bool = False,
        backend: str | None = None,
        batch_size: int = 1,
        channel: int | None = None,
        **parameters: Any,
    ) -> None:
        self.bundle = read_bundle(model_path)
        self.channel = channel
        self.interpreter = Interpreter(
            self.bundle.network,
            num_threads=num_threads,
            reference_kernels=reference_kernels,
            backend=backend,
            batch_size=batch_size,
        )
        self.outputs = _name_outputs(self.interpreter.outputs, outputs)
        _check_keywords(type(self).__name__, self._make_extractor, parameters)
        self.extractor = self._make_extractor(**parameters)
        self.interpreter.fit(self.extractor.feature_shape)
        self._versions = "; ".join(
            (f"sonyc-ml {__version__}", self.interpreter.backend, f"numpy {np.__version__}", _sndfile_version())
        )

    def get_features(self, y: Floats, sr: int, hop_size: float | None = None) -> Floats:
        """Return what the network reads.

        Parameters
        ----------
        y : np.ndarray [shape=(n_samples,), dtype=float32]
            Mono samples in [-1, 1].
        sr : int > 0
            Sample rate of `y` (in Hz).
        hop_size : float > 0, optional
            Distance between windows (in seconds).

        Returns
        -------
        np.ndarray [shape=(n_windows, …), dtype=float32]
        """
        y = checked_samples(y)
        return np.concatenate(list(self.extractor.stream([y], sr, len(y), hop_size)))

    def get_embedding(self, y: Floats, sr: int | None = None, hop_size: float | None = None) -> Floats:
        """Return the embedding of samples.

        Parameters
        ----------
        y, sr, hop_size
            As for :meth:`get_features`; without `sr`, `y` is at the extractor's own sample rate.

        Returns
        -------
        np.ndarray [shape=(n_windows, n_dims), dtype=float32]

        Raises
        ------
        ValueError
            The network has no embedding among its outputs; see :meth:`get_outputs`.
        """
        outputs = self.get_outputs(y, sr, hop_size)
        if "embedding" not in outputs:
            raise ValueError(f"{self.bundle.name} has no embedding, only {', '.join(outputs)}: use get_outputs")
        return outputs["embedding"]

    def get_outputs(self, y: Floats, sr: int | None = None, hop_size: float | None = None) -> dict[str, Floats]:
        """Return every named output of samples: ``embedding`` and ``scores``, `(n_windows, n)` float32 each.

        Parameters are those of :meth:`get_embedding`.
        """
        sr = sr or self.extractor.sample_rate
        if not sr:
            raise ValueError("the extractor does not say its sample rate: give the one of y as sr")
        y = checked_samples(y)
        return self._run([y], sr, len(y), hop_size)

    def embed_file(self, path: str | Path, hop_size: float | None = None, name: str | None = None) -> Output:
        """Embed one recording, in blocks: memory does not grow with its length, but for the result.

        Parameters
        ----------
        path : str or Path
        hop_size : float > 0, optional
            Distance between windows (in seconds).
        name : str, optional
            What the output calls the recording: its path relative to the input folder; the file's name where not given.

        Raises
        ------
        RecordingError
            This recording cannot be embedded; says why.
        """
        with open_recording(path, self.channel) as recording:
            framing = self.extractor.framing(recording.n_samples, recording.sample_rate, hop_size)
            try:
                outputs = self._run(recording.blocks(), recording.sample_rate, recording.n_samples, hop_size)
            except UnreadableRecordingError:
                raise
            except (RecordingError, ValueError) as error:  # the extractor's, which does not know what it was given
                raise RecordingError(f"{recording.path}: {error}") from error
            provenance = Provenance(
                recording=name or recording.path.name,
                recording_sha256=recording.sha256(),
                recording_bytes=recording.n_bytes,
                recording_mtime_ns=recording.mtime_ns,
                sample_rate=recording.sample_rate,
                n_samples=recording.n_samples,
                start_time="",
                bundle=self.bundle.name,
                bundle_sha256=self.bundle.sha256,
                window_size_s=self.extractor.window_size_s,
                hop_size_s=self.extractor.hop_size_s if hop_size is None else hop_size,
                res_type=self.extractor.res_type,
                versions=self._versions,
            )
            rate = self.extractor.sample_rate or recording.sample_rate
        n_windows = len(next(iter(outputs.values())))
        starts = framing.starts() if framing.n_windows == n_windows else np.arange(n_windows) * framing.hop_length
        return Output(
            timestamps=starts / rate,
            embedding=outputs.get("embedding"),
            scores=outputs.get("scores"),
            provenance=provenance,
        )

    def process_file(
        self, path: str | Path, output_path: str | Path | None = None, hop_size: float | None = None
    ) -> Path:
        """Embed one recording and write the output, durably.

        Parameters
        ----------
        path : str or Path
        output_path : str or Path, optional
            Where to, ``.npz`` or ``.csv``; beside the recording, as ``NAME.wav.npz``, where not given.
        hop_size : float > 0, optional
            Distance between windows (in seconds).

        Returns
        -------
        Path
            Of the output.

        Raises
        ------
        RecordingError, StoreError
        """
        path = Path(path)
        output_path = path.with_name(path.name + ".npz") if output_path is None else Path(output_path)
        write_output(self.embed_file(path, hop_size), output_path)
        return output_path

    def _run(self, blocks: Iterable[Floats], sr: int, n_samples: int, hop_size: float | None) -> dict[str, Floats]:
        results = [self.interpreter(features) for features in self.extractor.stream(blocks, sr, n_samples, hop_size)]
        return {
            kind: np.concatenate([rows[i] for rows in results]).reshape(sum(len(rows[i]) for rows in results), -1)
            for kind, i in self.outputs.items()
        }


class AudioModel(Model):
    """A network with a pickled extractor of the same name, ``NAME.pkl``. Loading it runs the code it holds.

    Parameters
    ----------
    model_path, **network
        Those of :class:`Model`.
    duration, hop_size : float > 0, optional
        Window and hop of an extractor that does not say its own (in seconds); 1 and 0.1 where nothing says.
    """

    def _make_extractor(self, duration: float | None = None, hop_size: float | None = None) -> Extractor:
        extractor: Any = load_extractor(self.bundle)
        if hasattr(extractor, "stream") and hasattr(extractor, "framing"):
            if duration not in (None, extractor.window_size_s):
                raise BundleMismatchError(
                    f"{self.bundle.pickle_path} cuts windows of {extractor.window_size_s:g} s, not {duration:g} s"
                )
            if hop_size is not None:
                extractor.framing(1, extractor.sample_rate, hop_size)  # refuses what is no hop
                extractor.hop_size_s = hop_size
            return extractor  # type: ignore[no-any-return]
        return FunctionExtractor(extractor, self.bundle, duration, hop_size)


class SpecModel(Model):
    """A network that reads the built-in log-mel features; further keywords are those of `features.get_features`."""

    _make_extractor = staticmethod(LogMel)


class PCMModel(Model):
    """A network that reads samples as they are.

    Parameters
    ----------
    model_path, **network
        Those of :class:`Model`.
    target_sr : int > 0
        The network's sample rate (in Hz).
    duration : float > 0, optional
        Length of a window (in seconds); what the network's input says where not given.
    hop_size : float > 0
        Distance between windows (in seconds).
    res_type : str
        See :data:`sonyc_ml.features.RES_TYPES`.
    """

    def _make_extractor(
        self,
        target_sr: int | None = None,
        duration: float | None = None,
        hop_size: float = 0.1,
        res_type: str = "kaiser_best",
    ) -> Extractor:
        if not target_sr:
            raise ValueError("a network that reads samples does not say their rate: give it as target_sr (--target_sr)")
        declared = self.interpreter.inputs[0].shape
        window = declared[1:] or declared
        if duration is None and min(window) < 0:
            raise ValueError("the network takes windows of any length: give one as duration (--duration)")
        duration = math.prod(window) / target_sr if duration is None else duration
        return PCMWindows(duration, hop_size, target_sr, res_type)


class FunctionExtractor:
    """A function ``get_features(y, sr, hop_size=None)`` of the user's own, as an :class:`Extractor`.

    A recording of up to :data:`WHOLE_S` seconds is given to the function as it is. A longer one is given in blocks of
    whole windows that overlap by a window less a hop, so that every window is seen once and whole. That is the same
    as giving it the recording if each window's features depend on that window alone; a function that looks further
    (a mean over the recording, padding of its own at the ends) sees a block where it would have seen a recording.
    """

    WHOLE_S = 120.0
    N_WINDOWS = 300
    TRIAL_SAMPLE_RATE = 44100

    def __init__(
        self, function: Callable[..., Any], bundle: Bundle, duration: float | None, hop_size: float | None
    ) -> None:
        self._function, self._source = function, bundle.pickle_path
        described = bundle.description.parameters if isinstance(bundle.description, Description) else {}
        self.window_size_s = _seconds("duration", duration, described.get("duration"), 1.0)
        self.hop_size_s = _seconds("hop_size", hop_size, described.get("hop_size"), 0.1)
        self.sample_rate = int(described.get("target_sr") or 0)  # 0: not known, windows are counted in the recording's
        self.res_type = ""
        self.feature_shape: tuple[int, ...] = ()
        self.feature_shape = self._try()

    def stream(
        self, blocks: Iterable[Floats], sr: int, n_samples: int, hop_size: float | None = None
    ) -> Iterator[Floats]:
        """Yield the function's features, of the whole recording or block by block."""
        hop_size = _seconds("hop_size", hop_size, self.hop_size_s)
        if n_samples <= self.WHOLE_S * sr:
            yield self._call(np.concatenate(list(blocks)), sr, hop_size)
            return
        window_length, hop_length = round(self.window_size_s * sr), max(1, round(hop_size * sr))
        step = self.N_WINDOWS * hop_length
        n_windows = max(1, 1 + (n_samples - window_length) // hop_length)
        n_left = n_samples
        for piece in overlapping(blocks, step - hop_length + window_length, step, -(-n_windows // self.N_WINDOWS)):
            features = self._call(piece[:n_left], sr, hop_size)
            if n_left > len(piece) and len(features) != self.N_WINDOWS:
                raise BundleMismatchError(
                    f"{self._source} gave {len(features)} windows for a block of {self.N_WINDOWS}: a long recording "
                    f"is embedded in blocks of windows of {self.window_size_s:g} s every {hop_size:g} s; say the "
                    "extractor's own with duration and hop_size"
                )
            yield features
            n_left -= step

    def framing(self, n_samples: int, sr: int, hop_size: float | None = None) -> Framing:
        """Windows from the first sample on: how a function of the user's own pads is not known."""
        rate = self.sample_rate or sr
        hop_length = max(1, round(_seconds("hop_size", hop_size, self.hop_size_s) * rate))
        return frame(n_samples * rate // sr, round(self.window_size_s * rate), hop_length)._replace(lead=0)

    def _call(self, y: Floats, sr: int, hop_size: float) -> Floats:
        try:
            features = np.asarray(self._function(y, sr, hop_size=hop_size), np.float32)
        except Exception as error:  # foreign code can raise anything; the next recording may be fine
            reason = f"{type(error).__name__}: {error}"
            raise RecordingError(f"the extractor {self._source} failed on it ({reason})") from error
        expected = self.feature_shape or features.shape[1:]
        if features.ndim < 2 or len(features) == 0 or features.shape[1:] != expected:
            wanted = ", ".join(("n_windows", *map(str, expected or "…")))
            raise RecordingError(f"the extractor {self._source} returned shape {features.shape}, not ({wanted})")
        if not np.isfinite(features).all():
            raise RecordingError(f"the extractor {self._source} returned NaN or infinity")
        return features

    def _try(self) -> tuple[int, ...]:
        """Shape of a window's features, from a window of faint noise."""
        sr = self.sample_rate or self.TRIAL_SAMPLE_RATE
        noise = np.random.default_rng(0).normal(0, 1e-3, round(self.window_size_s * sr)).astype(np.float32)
        try:
            return self._call(noise, sr, self.hop_size_s).shape[1:]
        except RecordingError as error:
            raise BundleMismatchError(str(error)) from error


def _seconds(name: str, *values: float | None) -> float:
    """The first of some values that is given; it must be a time."""
    value = next(value for value in values if value is not None)
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number above 0, not {value!r}")
    return float(value)


def load_model(path: str | Path, *, input_kind: str | None = None, **parameters: Any) -> Model:
    """Load a bundle as the kind of model it is.

    Parameters
    ----------
    path : str or Path
        ``NAME.tflite``.
    input_kind : {"pickled", "log_mel", "pcm"}, optional
        What the network reads. Where not given: the features of ``NAME.pkl`` if there is one, else samples if the
        input is a row of numbers, else the built-in log-mel features.
    **parameters
        Those of :class:`AudioModel`, :class:`SpecModel` or :class:`PCMModel`.

    Returns
    -------
    AudioModel, SpecModel or PCMModel

    Raises
    ------
    BundleError
    """
    if input_kind not in (None, *INPUT_KINDS):
        raise ValueError(f"input_kind {input_kind!r} is not known; use one of {', '.join(INPUT_KINDS)}")
    if input_kind == "pickled" or (input_kind is None and Path(path).with_suffix(".pkl").exists()):
        return AudioModel(path, **parameters)
    if input_kind == "log_mel":
        return SpecModel(path, **parameters)
    if input_kind == "pcm" or _reads_samples(path, parameters.get("backend")):
        return PCMModel(path, **parameters)
    return SpecModel(path, **parameters)


def _reads_samples(path: str | Path, backend: str | None) -> bool:
    shape = Interpreter(read_bundle(path).network, backend=backend).inputs[0].shape
    return sum(size != 1 for size in shape[1:] or shape) == 1


def _check_keywords(kind: str, function: Callable[..., Any], keywords: Mapping[str, Any]) -> None:
    known = inspect.signature(function).parameters
    for name in keywords:
        if name not in known:
            raise TypeError(f"{kind} takes no {name}; it takes {', '.join(known)}")


def _name_outputs(tensors: tuple[Tensor, ...], named: Mapping[str, int | str] | None) -> dict[str, int]:
    """Which of a network's outputs is what: kind to number."""
    listing = "; ".join(f"{i}: {tensor}" for i, tensor in enumerate(tensors))
    if not named:
        if len(tensors) == 1:
            return {"embedding": 0}
        raise BundleMismatchError(
            f"the network has {len(tensors)} outputs ({listing}): say which is what, as in outputs={{'scores': 0}} "
            "(--outputs scores=0)"
        )
    numbers = {tensor.name: i for i, tensor in enumerate(tensors)} | {str(i): i for i in range(len(tensors))}
    for kind, output in named.items():
        if kind not in OUTPUT_KINDS:
            raise ValueError(f"an output is {' or '.join(OUTPUT_KINDS)}, not {kind!r}")
        if str(output) not in numbers:
            raise BundleMismatchError(f"the network has no output {output!r}; it has {listing}")
    return {kind: numbers[str(output)] for kind, output in named.items()}


def _sndfile_version() -> str:
    return f"soundfile {soundfile.__version__} (libsndfile {soundfile.__libsndfile_version__})"
