"""Log-mel features: resampling, windows and spectra, in numpy alone; by default those that SONYC's nodes computed.

This file travels. An exported extractor (``NAME.pkl``) carries its text and runs it on the node, so it imports nothing
but the standard library and numpy (soxr, where an extractor was exported with it). Export one with::

    python sonyc_ml/features.py export models/NAME.pkl --duration=1 --hop_size=0.1 --target_sr=8000 --n_fft=1024

Everything here is a stream: samples come in blocks of any size, features leave in blocks of windows. Inside, the work
is always cut at the same sample positions, so a recording of hours read in blocks gives, bit for bit, the features of
the same recording held in one array.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.lib.stride_tricks import as_strided

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

LOUDEST = 2.0**32  # full scale is 1; 32-bit numbers that nobody scaled reach half of this
N_FRAMES_AT_ONCE = 64  # half a megabyte of float64 spectra: stays in the cache
BLOCK_S = 30.0  # a block of windows spans about so long …
MAX_WINDOWS_AT_ONCE = 128  # … and never more windows than this


def get_features(y: Floats, sr: int, hop_size: float | None = None, **parameters: Any) -> Floats:
    """Return the log-mel features of a recording.

    Parameters
    ----------
    y : np.ndarray [shape=(n_samples,), dtype=float32]
        Mono samples in [-1, 1].
    sr : int > 0
        Sample rate of `y` (in Hz).
    hop_size : float > 0, optional
        Distance between windows (in seconds); 0.1 where not given.
    **parameters
        Those of :class:`LogMel`.

    Returns
    -------
    np.ndarray [shape=(n_windows, *feature_shape), dtype=float32]
        By default levels in dB (10 log10 of a mel magnitude), `(n_windows, n_mels, n_frames)`, each window clipped
        80 dB below its maximum.

    Raises
    ------
    ValueError, TypeError
        For samples or parameters that cannot be meant.
    """
    return LogMel(**parameters)(y, sr, hop_size)


# --- windows ----------------------------------------------------------------------------------------------------------


class Framing(NamedTuple):
    """Where the windows of a recording lie, in samples."""

    n_windows: int
    window_length: int
    hop_length: int
    lead: int  # zeros before the first sample: the signal sits in the middle of its whole windows

    def starts(self) -> npt.NDArray[np.int64]:
        """First sample of each window, `(n_windows,)`; the first is ``-lead``, before the recording begins."""
        return np.arange(self.n_windows, dtype=np.int64) * self.hop_length - self.lead


def frame(n_samples: int, window_length: int, hop_length: int) -> Framing:
    """Lay whole windows over `n_samples` samples, the missing ones zero and half of them on either side."""
    n_windows = 1 + max(0, -(-(n_samples - window_length) // hop_length))
    n_padded = (n_windows - 1) * hop_length + window_length
    return Framing(n_windows, window_length, hop_length, lead=(n_padded - n_samples) // 2)


def frame_from_start(
    n_samples: int, window_length: int, hop_length: int, lead: int = 0, shortest: int | None = None
) -> Framing:
    """Lay windows from `lead` samples before the first sample on; what the last ones miss is zero.

    As few as hold every sample; where `shortest` is given, every window that holds so many samples, and at least one.
    """
    n_padded = n_samples + lead
    if shortest is None:
        n_windows = 1 + max(0, -(-(n_padded - window_length) // hop_length))
        n_windows = min(n_windows, 1 + (n_padded - 1) // hop_length)  # none without a single sample
    else:
        n_windows = 1 + max(0, (n_padded - shortest) // hop_length)
    return Framing(n_windows, window_length, hop_length, lead)


def overlapping(blocks: Iterable[Floats], length: int, step: int, n_pieces: int, lead: int = 0) -> Iterator[Floats]:
    """Cut a stream of samples into `n_pieces` pieces of `length` samples, each `step` after the one before.

    The first piece begins `lead` samples before the stream does; beyond both ends of the stream there is silence.
    """
    incoming = (block[i : i + length] for block in blocks for i in range(0, len(block), length))
    held = np.zeros(lead, np.float32)
    for _ in range(n_pieces):
        parts, n_held = [held], len(held)
        while n_held < max(length, step):
            block = next(incoming, None)
            if block is None:
                block = np.zeros(max(length, step) - n_held, np.float32)
            parts.append(block)
            n_held += len(block)
        held = np.concatenate(parts)
        yield held[:length]
        held = held[step:]


class WindowExtractor:
    """Samples to features, window by window: what :class:`LogMel` and :class:`PCMWindows` have in common.

    An extractor of your own derives from it, sets `feature_shape` and defines :meth:`window_features`; cutting,
    resampling and reading in blocks are done here.

    Attributes
    ----------
    sample_rate : int
        Rate at which the windows are cut (in Hz); other rates are resampled to it.
    window_size_s, hop_size_s : float
        Length of a window and default distance between two (in seconds).
    feature_shape : tuple of int
        Shape of one window's features.
    res_type : str
        The resampler, one of :data:`RES_TYPES`.
    align : {"middle", "start"}
        Where windows begin: so that the recording lies in the middle of its whole windows, or at its first sample, the
        last window filled with silence.
    lead_s : float >= 0
        Silence in front of the first sample (in seconds), where windows begin at the start.
    shortest_s : float > 0 or None
        Where windows begin at the start: how much of the recording a window must hold to be one (in seconds). None
        for as few windows as hold all of it.
    resampler : Resampler or None
        The one that was used last; None where every recording has had the windows' own rate.
    """

    feature_shape: tuple[int, ...]
    align, lead_s, shortest_s = "middle", 0.0, None

    def __init__(
        self,
        duration: float,
        hop_size: float,
        target_sr: int,
        res_type: str,
        align: str = "middle",
        lead_s: float = 0.0,
        shortest_s: float | None = None,
    ) -> None:
        self.sample_rate = _positive_int("target_sr", target_sr)
        self.window_size_s = _positive("duration", duration)
        self.hop_size_s = _positive("hop_size", hop_size)
        self.window_length = _n_samples("duration", duration, self.sample_rate)
        _n_samples("hop_size", hop_size, self.sample_rate)
        if res_type not in RES_TYPES:
            raise ValueError(f"res_type {res_type!r} is not known; use one of {', '.join(RES_TYPES)}")
        if res_type.startswith("soxr"):
            _import_soxr(res_type)  # here, not at the first recording
        self.res_type = res_type
        self.resampler: Resampler | None = None
        self._begin(align, lead_s, shortest_s)

    def _begin(self, align: str, lead_s: float, shortest_s: float | None) -> None:
        """Check and keep where windows begin."""
        _one_of("align", align, ("middle", "start"))
        if align == "middle" and (lead_s or shortest_s is not None):
            raise ValueError("lead_s and shortest_s are of windows that begin at the start: give align='start' too")
        if lead_s and _positive("lead_s", lead_s) >= self.window_size_s:
            raise ValueError(f"lead_s must be shorter than a window of {self.window_size_s:g} s, not {lead_s!r}")
        if shortest_s is not None and _positive("shortest_s", shortest_s) > self.window_size_s:
            raise ValueError(f"shortest_s must be at most a window of {self.window_size_s:g} s, not {shortest_s!r}")
        self.align, self.lead_s, self.shortest_s = align, lead_s, shortest_s

    @property
    def begins(self) -> dict[str, Any]:
        """Where windows begin, as keywords; none where it is over the middle."""
        keywords = {"align": self.align, "lead_s": self.lead_s, "shortest_s": self.shortest_s}
        return {name: value for name, value in keywords.items() if value != getattr(WindowExtractor, name)}

    def __call__(self, y: Floats, sr: int, hop_size: float | None = None) -> Floats:
        """Return the features of `y`, `(n_windows, *feature_shape)` float32; see :func:`get_features`."""
        y = checked_samples(y)
        blocks = list(self.stream([y], sr, len(y), hop_size))
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def stream(
        self, blocks: Iterable[Floats], sr: int, n_samples: int, hop_size: float | None = None
    ) -> Iterator[Floats]:
        """Yield the features of a recording read in blocks, bit for bit those of the whole.

        Parameters
        ----------
        blocks : iterable of np.ndarray [shape=(any,), dtype=float32]
            The recording's mono samples in order, in blocks of any size.
        sr : int > 0
            Their sample rate (in Hz).
        n_samples : int > 0
            How many there are in all; where the windows lie depends on it.
        hop_size : float > 0, optional
            Distance between windows (in seconds).

        Yields
        ------
        np.ndarray [shape=(n_windows_in_block, *feature_shape), dtype=float32]
        """
        framing = self.framing(n_samples, sr, hop_size)
        samples = self._resampled(blocks, sr, n_samples)
        n_at_once = min(MAX_WINDOWS_AT_ONCE, max(1, int(BLOCK_S * self.sample_rate) // framing.hop_length))
        n_at_once = min(n_at_once, framing.n_windows)
        length = (n_at_once - 1) * framing.hop_length + framing.window_length
        n_blocks = -(-framing.n_windows // n_at_once)
        n_left = framing.n_windows
        compute = self._window_features()
        for piece in overlapping(samples, length, n_at_once * framing.hop_length, n_blocks, framing.lead):
            yield compute(piece, framing.hop_length, min(n_at_once, n_left))
            n_left -= n_at_once

    def framing(self, n_samples: int, sr: int, hop_size: float | None = None) -> Framing:
        """Where the windows of a recording of `n_samples` samples at `sr` Hz lie, in samples at `sample_rate`."""
        if n_samples < 1:
            raise ValueError("there is not a single sample to compute features of")
        hop_length = _n_samples("hop_size", self.hop_size_s if hop_size is None else hop_size, self.sample_rate)
        n_resampled_samples = n_resampled(n_samples, _positive_int("sr", sr), self.sample_rate)
        if self.align == "middle":
            return frame(n_resampled_samples, self.window_length, hop_length)
        shortest = None if self.shortest_s is None else _n_samples("shortest_s", self.shortest_s, self.sample_rate)
        lead = round(self.lead_s * self.sample_rate)
        return frame_from_start(n_resampled_samples, self.window_length, hop_length, lead, shortest)

    def _resampled(self, blocks: Iterable[Floats], sr: int, n_samples: int) -> Iterable[Floats]:
        if sr == self.sample_rate:
            return blocks
        resampler = self.resampler
        if resampler is None or resampler.sr != sr:  # a node's recordings all have one rate: keep the last
            resampler = self.resampler = make_resampler(sr, self.sample_rate, self.res_type)
        return resampler.stream(blocks, n_samples)

    def window_features(self, piece: Floats, hop_length: int, n_windows: int) -> Floats:
        """Compute the features of consecutive windows; a class of your own defines it.

        Parameters
        ----------
        piece : np.ndarray [shape=(n_samples,), dtype=float32]
            Samples at `sample_rate`; the first window begins at the first of them.
        hop_length : int > 0
            Distance between windows (in samples).
        n_windows : int > 0
            How many windows, each of `window_length` samples; `piece` may hold more.

        Returns
        -------
        np.ndarray [shape=(n_windows, *feature_shape), dtype=float32]
            An array of its own, not a view of `piece`.
        """
        raise NotImplementedError

    def _features(self, piece: Floats, hop_length: int, n_windows: int) -> Floats:
        """Compute :meth:`window_features`, by its old name: what overrode it may call it too."""
        return self.window_features(piece, hop_length, n_windows)

    def _window_features(self) -> Callable[[Floats, int, int], Floats]:
        """Choose what computes: `window_features`, or `_features` where a class of before overrides that alone."""
        for names in (vars(self), *map(vars, type(self).__mro__)):
            if "window_features" in names:
                break
            if "_features" in names:
                warnings.warn(
                    f"{type(self).__name__} overrides _features, which is window_features now: rename it",
                    DeprecationWarning,
                    stacklevel=3,
                )
                return self._features
        return self.window_features


class PCMWindows(WindowExtractor):
    """Windows of samples as they are, for networks that read sound itself.

    Parameters
    ----------
    duration : float > 0
        Length of a window (in seconds).
    hop_size : float > 0
        Distance between windows (in seconds).
    target_sr : int > 0
        The network's sample rate (in Hz).
    res_type, align, lead_s, shortest_s
        Those of :class:`WindowExtractor`.
    """

    def __init__(
        self,
        duration: float,
        hop_size: float,
        target_sr: int,
        res_type: str = "kaiser_best",
        align: str = "middle",
        lead_s: float = 0.0,
        shortest_s: float | None = None,
    ) -> None:
        super().__init__(duration, hop_size, target_sr, res_type, align, lead_s, shortest_s)
        self.feature_shape = (self.window_length,)

    def __repr__(self) -> str:
        own = {"duration": self.window_size_s, "hop_size": self.hop_size_s, "target_sr": self.sample_rate}
        return _call_text("PCMWindows", {**own, "res_type": self.res_type, **self.begins})

    def window_features(self, piece: Floats, hop_length: int, n_windows: int) -> Floats:
        """Return the windows' samples, `(n_windows, window_length)`; see :meth:`WindowExtractor.window_features`."""
        return _windows(piece, self.window_length, hop_length, n_windows).copy()


# --- log-mel ----------------------------------------------------------------------------------------------------------


class Spectrum(NamedTuple):
    """What distinguishes one family of log-mel features from another; by default that of SONYC's nodes.

    Attributes
    ----------
    layout : {"mels_first", "time_first"}
        Features are `(n_bands, n_frames)` or `(n_frames, n_bands)`.
    flat : bool
        Whether they are one row of numbers, in that order.
    center : bool
        Whether the first frame lies around the window's first sample, or begins at it.
    pad_mode : {"constant", "reflect"}
        What lies beyond a window's ends, of centred frames: silence, or the window reflected.
    win_length : int > 0, optional
        How many samples of a frame are weighted (by `window`) and transformed; `n_fft` where not given.
    win_pad : {"both", "end"}
        Where zeros make `win_length` samples up to `n_fft`: on both sides, so that frames are `n_fft` samples long as
        librosa's are, or at the end, so that frames are `win_length` samples long as TensorFlow's are.
    window : {"hann", "hamming"}
        Periodic, as spectra ask for.
    power : {1, 2}
        Magnitudes, or their squares.
    mel_scale : {"htk", "slaney", "none"}
        Mel scale of the bands; "none" for the bins of the FFT from `fmin` to `fmax` as they are.
    mel_norm : {"slaney", "none"}
        Whether each mel filter has unit area, or a peak of 1.
    mel_slopes : {"hz", "mel"}
        Over which of them a filter's sides are straight: over Hz as librosa's are, over mel as TensorFlow's are.
    mel_sr : int > 0, optional
        Sample rate that the filters are made for (in Hz); `target_sr` where not given.
    log : {"10log10", "20log10", "log10", "ln", "none"}
        What is taken of the bands. The first two are dB.
    amin, log_offset : float >= 0
        The least that the logarithm is taken of, and what is added to it before.
    ref : float > 0 or "max"
        What the bands are relative to: a number, or the largest of the window.
    top_db : float > 0, optional
        How far below its loudest point a window is cut (in dB), of levels in dB.
    n_mfcc : int > 0, optional
        So many cepstral coefficients (DCT-II of the levels) take the place of the bands.
    dct_norm : {"ortho", "htk"}
        See :func:`dct_matrix`.
    normalise : {"none", "mean_variance", "min_max"}
        What is done with each window as a whole: nothing, to mean 0 and variance 1, or to 0 to 1.
    mean, std : float
        Constants: `mean` is taken off, then all is divided by `std`.
    front_end : {"float", "micro"}
        All of the above, or the integers of :class:`MicroFrontEnd`, which knows only the frames, bands and constants.
    pcan : bool
        Whether the gain of the latter follows the noise.
    """

    layout: str = "mels_first"
    flat: bool = False
    center: bool = True
    pad_mode: str = "constant"
    win_length: int | None = None
    win_pad: str = "both"
    window: str = "hann"
    power: float = 1
    mel_scale: str = "htk"
    mel_norm: str = "slaney"
    mel_slopes: str = "hz"
    mel_sr: int | None = None
    log: str = "10log10"
    amin: float = 1e-10
    log_offset: float = 0.0
    ref: float | str = 1.0
    top_db: float | None = 80.0
    n_mfcc: int | None = None
    dct_norm: str = "ortho"
    normalise: str = "none"
    mean: float = 0.0
    std: float = 1.0
    front_end: str = "float"
    pcan: bool = True

    @property
    def changed(self) -> dict[str, Any]:
        """What is not as by default."""
        return {name: value for name, value in self._asdict().items() if value != self._field_defaults[name]}

    @property
    def is_in_db(self) -> bool:
        """Whether the levels are dB."""
        return self.log in DECIBELS

    def check(self) -> None:
        """Refuse what cannot be meant, with a ValueError that names it."""
        for name, known in CHOICES.items():
            _one_of(name, getattr(self, name), known)
        for name in ("win_length", "mel_sr", "n_mfcc"):
            if getattr(self, name) is not None:
                _positive_int(name, getattr(self, name))
        for name in ("amin", "log_offset"):
            if _finite(name, getattr(self, name)) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)!r}")
        if self.log != "none" and not self.amin + self.log_offset > 0:
            raise ValueError("amin or log_offset must be above 0: silence has no logarithm")
        if self.ref != "max":
            _positive("ref", cast("float", self.ref))
        if self.top_db is not None:
            _positive("top_db", self.top_db)
        if "top_db" in self.changed and self.top_db is not None and not self.is_in_db:
            raise ValueError(f"top_db is of levels in dB (log of {' or '.join(DECIBELS)}), not of log={self.log!r}")
        _finite("mean", self.mean)
        _positive("std", self.std)
        if self.front_end == "micro":
            strange = [name for name in self.changed if name not in OF_MICRO]
            if strange or self.center or self.win_pad != "end":
                raise ValueError(
                    f"front_end='micro' goes with center=False, win_pad='end' and {', '.join(OF_MICRO)}, "
                    f"not with {', '.join(strange) or 'centred frames'}"
                )


DECIBELS: Mapping[str, float] = {"10log10": 10, "20log10": 20}
CHOICES: Mapping[str, tuple[Any, ...]] = {
    "layout": ("mels_first", "time_first"),
    "flat": (False, True),
    "center": (True, False),
    "pad_mode": ("constant", "reflect"),
    "win_pad": ("both", "end"),
    "window": ("hann", "hamming"),
    "power": (1, 2),
    "mel_scale": ("htk", "slaney", "none"),
    "mel_norm": ("slaney", "none"),
    "mel_slopes": ("hz", "mel"),
    "log": ("10log10", "20log10", "log10", "ln", "none"),
    "dct_norm": ("ortho", "htk"),
    "normalise": ("none", "mean_variance", "min_max"),
    "front_end": ("float", "micro"),
    "pcan": (True, False),
}
# What the integer front end knows of these.
OF_MICRO = ("front_end", "pcan", "layout", "flat", "center", "win_length", "win_pad", "normalise", "mean", "std")

# Front ends by name, as keywords of LogMel: whatever else is given wins over them.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # sonyc-project/pi_ml_container, as its evaluation computes them: its filters are made for the recording's rate.
    "sonyc_published": {
        "res_type": "kaiser_best",
        "mel_sr": 44100,
        "log": "20log10",
        "amin": 1e-5,
        "ref": "max",
        "align": "start",
        "lead_s": 0.5,
    },
    # tensorflow/models, research/audioset/yamnet.
    "yamnet": {
        "duration": 0.975,
        "hop_size": 0.48,
        "target_sr": 16000,
        "align": "start",
        "res_type": "sinc",
        "n_fft": 512,
        "win_length": 400,
        "win_pad": "end",
        "center": False,
        "mel_hop_len": 160,
        "n_mels": 64,
        "fmin": 125.0,
        "fmax": 7500.0,
        "mel_norm": "none",
        "mel_slopes": "mel",
        "log": "ln",
        "amin": 0.0,
        "log_offset": 0.001,
        "layout": "time_first",
    },
    # mlcommons/tiny, benchmark/training/keyword_spotting.
    "mlperf_kws": {
        "duration": 1.0,
        "hop_size": 1.0,
        "target_sr": 16000,
        "align": "start",
        "res_type": "sinc",
        "n_fft": 512,
        "win_length": 480,
        "win_pad": "end",
        "center": False,
        "mel_hop_len": 320,
        "n_mels": 40,
        "fmin": 20.0,
        "fmax": 4000.0,
        "mel_norm": "none",
        "mel_slopes": "mel",
        "log": "ln",
        "amin": 0.0,
        "log_offset": 1e-6,
        "n_mfcc": 10,
        "dct_norm": "htk",
        "layout": "time_first",
    },
    # tensorflow/tflite-micro, examples/micro_speech.
    "micro_speech": {
        "duration": 1.0,
        "hop_size": 1.0,
        "target_sr": 16000,
        "align": "start",
        "res_type": "sinc",
        "n_fft": 512,
        "win_length": 480,
        "win_pad": "end",
        "center": False,
        "mel_hop_len": 320,
        "n_mels": 40,
        "fmin": 125.0,
        "fmax": 7500.0,
        "front_end": "micro",
        "std": 25.6,
        "layout": "time_first",
    },
}


def with_preset(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of :class:`LogMel` with those of their preset written out; what is given beside it wins.

    Raises
    ------
    ValueError
        There is no such preset.
    """
    preset = parameters.get("preset")
    if preset is None:
        return {name: value for name, value in parameters.items() if name != "preset"}
    _one_of("preset", preset, tuple(PRESETS))
    return {**PRESETS[preset], **{name: value for name, value in parameters.items() if name != "preset"}}


def _with_preset(init: Callable[..., None]) -> Callable[..., None]:
    names = list(inspect.signature(init).parameters)[1:]

    @functools.wraps(init)
    def wrapped(self: LogMel, *arguments: Any, **parameters: Any) -> None:
        init(self, **with_preset({**dict(zip(names, arguments, strict=False)), **parameters}))

    return wrapped


def _signature(init: Callable[..., None]) -> inspect.Signature:
    """Every keyword of :class:`LogMel`: what is written out there, and the fields of :class:`Spectrum`."""
    own = [p for p in list(inspect.signature(init).parameters.values())[1:] if p.kind is not p.VAR_KEYWORD]
    defaults = {"preset": None, **Spectrum._field_defaults}
    return inspect.Signature(
        [*own, *(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=of) for name, of in defaults.items())]
    )


class LogMel(WindowExtractor):
    """Log-mel spectra of windows, each as if it were a recording of its own.

    By default every window is what ``librosa.stft(window, center=True, pad_mode="constant")`` gives, its magnitude
    through an HTK-scale, Slaney-normalised mel filterbank, then ``power_to_db(ref=1, amin=1e-10, top_db=80)``: the
    features that SONYC's nodes computed [1]_. (SONYC's network was trained on others: the preset "sonyc_published".)
    Frames that lie wholly inside a window are the same for every window that holds them and are computed once; frames
    that reach over a window's edge see what lies beyond it there and belong to it alone.

    Parameters
    ----------
    duration : float > 0
        Length of a window (in seconds).
    hop_size : float > 0
        Default distance between windows (in seconds).
    target_sr : int > 0
        Sample rate at which the spectra are taken (in Hz).
    n_fft : int > 1
        Length of a transform, and where `win_length` is not given of a frame (in samples).
    n_mels : int > 0
        Number of mel bands.
    mel_hop_len : int > 0
        Distance between frames (in samples).
    fmax, fmin : float, optional
        Highest and lowest frequency of the mel bands (in Hz); `fmax` defaults to half of the sample rate.
    res_type, align, lead_s, shortest_s
        Those of :class:`WindowExtractor`.
    preset : str, optional
        One of :data:`PRESETS`, for the parameters that are not given.
    **spectrum
        The fields of :class:`Spectrum`.

    Attributes
    ----------
    spectrum : Spectrum
    n_frames, n_bands : int
        Of the features of a window, whatever their layout.

    References
    ----------
    .. [1] J. Cramer, H.-H. Wu, J. Salamon, J. P. Bello. "Look, listen and learn more: Design choices for deep audio
       embeddings." ICASSP 2019; the parameters are those of sonyc-project/pi_ml_container.
    """

    @_with_preset
    def __init__(
        self,
        duration: float = 1.0,
        hop_size: float = 0.1,
        target_sr: int = 8000,
        n_fft: int = 1024,
        n_mels: int = 64,
        mel_hop_len: int = 160,
        fmax: float | None = None,
        fmin: float = 0.0,
        res_type: str = "kaiser_best",
        *,
        align: str = "middle",
        lead_s: float = 0.0,
        shortest_s: float | None = None,
        **spectrum: Any,
    ) -> None:
        super().__init__(duration, hop_size, target_sr, res_type, align, lead_s, shortest_s)
        for name in spectrum:
            if name not in Spectrum._fields:
                raise TypeError(f"LogMel takes no {name}; it takes {', '.join(inspect.signature(LogMel).parameters)}")
        self.spectrum = Spectrum(**{name: _none_in_words(name, value) for name, value in spectrum.items()})
        self.spectrum.check()
        self.n_fft = _positive_int("n_fft", n_fft)
        self.n_mels = _positive_int("n_mels", n_mels)
        self.mel_hop_len = _positive_int("mel_hop_len", mel_hop_len)
        mel_sr = self.spectrum.mel_sr or self.sample_rate
        self.fmin, self.fmax = fmin, mel_sr / 2 if fmax is None else fmax
        if not 0 <= self.fmin < self.fmax <= mel_sr / 2:
            of = "mel_sr" if self.spectrum.mel_sr else "target_sr"
            raise ValueError(
                f"0 <= fmin < fmax <= half of {of} must hold: fmin is {fmin} Hz, fmax {self.fmax} Hz, "
                f"half of {of} {mel_sr / 2} Hz"
            )
        self._make_bands(mel_sr)
        self._make_frames()

    __signature__ = _signature(__init__)

    def _make_bands(self, mel_sr: int) -> None:
        """Make what turns a frame's magnitudes into its bands."""
        spectrum = self.spectrum
        self._bands: list[tuple[int, int, Floats]] = []
        self._bins: slice | None = None
        self._micro: MicroFrontEnd | None = None
        if spectrum.front_end == "micro":
            lengths = (self.n_fft, spectrum.win_length or self.n_fft)
            self._micro = MicroFrontEnd(mel_sr, *lengths, self.n_mels, self.fmin, self.fmax, spectrum.pcan)
            self._n_levels = self.n_mels
        elif spectrum.mel_scale == "none":
            frequencies_hz = np.fft.rfftfreq(self.n_fft, 1.0 / self.sample_rate)
            first, last = (
                np.searchsorted(frequencies_hz, self.fmin),
                np.searchsorted(frequencies_hz, self.fmax, "right"),
            )
            self._bins, self._n_levels = slice(int(first), int(last)), int(last - first)
        else:
            how = (spectrum.mel_scale, spectrum.mel_norm, spectrum.mel_slopes)
            self._bands = _grouped(mel_filterbank(mel_sr, self.n_fft, self.n_mels, self.fmin, self.fmax, *how))
            self._n_levels = self.n_mels
        self.n_bands = self._n_levels
        self._dct: npt.NDArray[np.float64] | None = None
        if spectrum.n_mfcc is not None:
            if spectrum.n_mfcc > self._n_levels:
                raise ValueError(f"n_mfcc must be at most the number of bands, {self._n_levels}, not {spectrum.n_mfcc}")
            self._dct = dct_matrix(self._n_levels, spectrum.n_mfcc, spectrum.dct_norm)
            self.n_bands = spectrum.n_mfcc
        if self.n_bands < 1:
            raise ValueError(f"no bin of the FFT lies from fmin, {self.fmin} Hz, to fmax, {self.fmax} Hz")

    def _make_frames(self) -> None:
        """Lay out the frames of a window."""
        spectrum = self.spectrum
        weighted = self.n_fft if spectrum.win_length is None else spectrum.win_length
        if weighted > self.n_fft:
            raise ValueError(f"win_length must be at most n_fft, {self.n_fft}, not {weighted}")
        cosine = np.cos(2 * np.pi * np.arange(weighted) / weighted)
        self._weights = 0.5 - 0.5 * cosine if spectrum.window == "hann" else 0.54 - 0.46 * cosine
        if spectrum.win_pad == "both":
            before = (self.n_fft - weighted) // 2
            self._weights = np.pad(self._weights, (before, self.n_fft - weighted - before))
        self._frame_length = length = len(self._weights)
        self._before = length // 2 if spectrum.center else 0  # how far the first frame begins before the window
        if spectrum.pad_mode == "reflect" and self._before >= self.window_length:
            raise ValueError(f"pad_mode='reflect' needs windows of more than half a frame, {self._before} samples")
        self.n_frames = n_frames = 1 + (self.window_length + 2 * self._before - length) // self.mel_hop_len
        if n_frames < 1:
            raise ValueError(f"a window of {self.window_length} samples holds no frame of n_fft={self.n_fft}")
        shape = (self.n_bands, n_frames) if spectrum.layout == "mels_first" else (n_frames, self.n_bands)
        self.feature_shape = (math.prod(shape),) if spectrum.flat else shape
        # Frames [0, inner) reach over the window's left edge, [outer, n_frames) over its right one.
        self._inner = -(-self._before // self.mel_hop_len)
        self._outer = max(0, (self.window_length + self._before - length) // self.mel_hop_len + 1)
        if self._outer <= self._inner:
            self._inner = self._outer = n_frames

    def __repr__(self) -> str:
        return _call_text("LogMel", self.parameters)

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments that make an equal extractor; of those that name a family only what is not as by default."""
        return {
            "duration": self.window_size_s,
            "hop_size": self.hop_size_s,
            "target_sr": self.sample_rate,
            "n_fft": self.n_fft,
            "n_mels": self.n_mels,
            "mel_hop_len": self.mel_hop_len,
            "fmax": self.fmax,
            "fmin": self.fmin,
            "res_type": self.res_type,
            **self.begins,
            **self.spectrum.changed,
        }

    def window_features(self, piece: Floats, hop_length: int, n_windows: int) -> Floats:
        """Return the windows' features, `(n_windows, *feature_shape)`; see the class it derives from."""
        samples, starts, rows = self._frames(piece, hop_length, n_windows)
        if self._micro is not None:
            return self._micro_features(self._micro, samples, starts, rows)
        levels = np.empty((len(starts), self._n_levels), np.float32)
        self._magnitudes(samples, starts, levels)
        self._take_levels(levels)
        if self._dct is None:
            features = self._laid_out(levels[rows])
            self._relate(features)
        else:
            features = levels[rows]
            self._relate(features)
            features = self._laid_out(np.asarray(features @ self._dct, np.float32))
        self._normalise(features)
        return features.reshape(n_windows, *self.feature_shape)

    def _micro_features(
        self, micro: MicroFrontEnd, samples: Floats, starts: npt.NDArray[np.intp], rows: npt.NDArray[np.intp]
    ) -> Floats:
        bands = np.empty((len(starts), self._n_levels), np.int64)
        for i in range(0, len(starts), N_FRAMES_AT_ONCE):
            bands[i : i + N_FRAMES_AT_ONCE] = micro.bands(
                _stretches(samples, starts[i : i + N_FRAMES_AT_ONCE], self._frame_length)
            )
        features = self._laid_out(micro.levels(bands[rows]))
        self._normalise(features)
        return features.reshape(len(rows), *self.feature_shape)

    def _take_levels(self, bands: Floats) -> None:
        """Turn bands into their levels, in place."""
        spectrum = self.spectrum
        if spectrum.log == "none":
            return
        np.maximum(bands, np.float32(spectrum.amin), out=bands)
        if spectrum.log_offset:
            bands += np.float32(spectrum.log_offset)
        (np.log if spectrum.log == "ln" else np.log10)(bands, out=bands)
        if spectrum.is_in_db:
            bands *= np.float32(DECIBELS[spectrum.log])

    def _laid_out(self, features: Floats) -> Floats:
        if self.spectrum.layout == "time_first":
            return features
        return np.ascontiguousarray(features.transpose(0, 2, 1))

    def _relate(self, features: Floats) -> None:
        """Relate each window to the reference, and cut what lies far below its maximum, in place."""
        spectrum = self.spectrum
        if spectrum.ref != 1 or spectrum.top_db is not None:
            largest = features.reshape(len(features), -1).max(axis=1)[:, None, None]
        if spectrum.top_db is not None and spectrum.is_in_db:
            np.maximum(features, largest - np.float32(spectrum.top_db), out=features)
        if spectrum.ref == 1:
            return
        if spectrum.log == "none":
            features /= np.where(largest > 0, largest, 1) if spectrum.ref == "max" else np.float32(spectrum.ref)
        elif spectrum.ref == "max":
            features -= largest
        else:
            level = np.log(spectrum.ref) if spectrum.log == "ln" else np.log10(spectrum.ref)
            features -= np.float32(level * DECIBELS.get(spectrum.log, 1))

    def _normalise(self, features: Floats) -> None:
        """Scale each window by its own numbers, then all by constants, in place."""
        spectrum, windows = self.spectrum, features.reshape(len(features), -1)
        if spectrum.normalise != "none":
            smallest, largest = windows.min(axis=1, keepdims=True), windows.max(axis=1, keepdims=True)
            if spectrum.normalise == "min_max":
                origin, size = smallest, largest - smallest
            else:
                origin, size = (of(windows, axis=1, keepdims=True, dtype=np.float64) for of in (np.mean, np.std))
            windows -= origin.astype(np.float32)
            windows /= np.where(largest > smallest, size, 1).astype(np.float32)  # a window that is all the same is zero
        if spectrum.mean:
            windows -= np.float32(spectrum.mean)
        if spectrum.std != 1:
            windows /= np.float32(spectrum.std)

    def _frames(
        self, piece: Floats, hop_length: int, n_windows: int
    ) -> tuple[Floats, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Lay out the frames of `n_windows` windows.

        Returns
        -------
        samples : np.ndarray [shape=(any,), dtype=float32]
            The piece, and behind it every window's two edges with their zeros.
        starts : np.ndarray [shape=(n_distinct_frames,)]
            Where in `samples` each frame begins, no frame twice.
        rows : np.ndarray [shape=(n_windows, n_frames)]
            Which of `starts` each window's frames are.
        """
        n_frames, step, before = self.n_frames, self.mel_hop_len, self._before
        windows = _windows(piece, self.window_length, hop_length, n_windows)
        rows = np.empty((n_windows, n_frames), np.intp)

        inside = np.arange(self._inner, self._outer) * step - before + np.arange(n_windows)[:, None] * hop_length
        starts, rows_inside = np.unique(inside, return_inverse=True)
        rows[:, self._inner : self._outer] = rows_inside.reshape(inside.shape)

        parts, all_starts, n_placed, n_rows = [piece], [starts], len(piece), len(starts)
        for first, last in ((0, self._inner), (self._outer, n_frames)):
            if first == last:
                continue
            length = (last - first - 1) * step + self._frame_length
            edge = _padded_edge(windows, first * step - before, length, self.spectrum.pad_mode)
            edge_starts = n_placed + np.arange(n_windows)[:, None] * edge.shape[1] + np.arange(last - first) * step
            rows[:, first:last] = n_rows + np.arange(edge_starts.size).reshape(edge_starts.shape)
            parts.append(edge.reshape(-1))
            all_starts.append(edge_starts.reshape(-1))
            n_placed += edge.size
            n_rows += edge_starts.size
        return np.concatenate(parts), np.concatenate(all_starts), rows

    def _magnitudes(self, samples: Floats, starts: npt.NDArray[np.intp], out: Floats) -> None:
        """Write the magnitudes of the frames at `starts`, by mel bands or bins, into `out`, `(len(starts), n_bands)`.

        The FFT is one of float64: 80 dB of a magnitude are a range of 1e8, which float32 does not hold.
        """
        windowed = np.empty((N_FRAMES_AT_ONCE, self._frame_length))
        magnitudes = np.empty((N_FRAMES_AT_ONCE, 1 + self.n_fft // 2), np.float32)
        for i in range(0, len(starts), N_FRAMES_AT_ONCE):
            chunk = _stretches(samples, starts[i : i + N_FRAMES_AT_ONCE], self._frame_length)
            n = len(chunk)
            np.multiply(chunk, self._weights, out=windowed[:n])
            np.abs(np.fft.rfft(windowed[:n], self.n_fft).astype(np.complex64), out=magnitudes[:n])
            if self.spectrum.power == 2:
                np.square(magnitudes[:n], out=magnitudes[:n])
            if self._bins is not None:
                out[i : i + n] = magnitudes[:n, self._bins]
            for first_mel, first_bin, weights in self._bands:
                n_weighted, n_bands = weights.shape
                bins = magnitudes[:n, first_bin : first_bin + n_weighted]
                out[i : i + n, first_mel : first_mel + n_bands] = bins @ weights


# A view of every stretch of a long piece would be larger than a 32-bit processor can count: only those that are meant.


def _windows(piece: Floats, window_length: int, hop_length: int, n_windows: int) -> Floats:
    """The first `n_windows` windows of a piece, `(n_windows, window_length)`, as a view."""
    step = piece.strides[0]
    return as_strided(piece, (n_windows, window_length), (hop_length * step, step), writeable=False)


def _stretches(samples: Floats, starts: npt.NDArray[np.intp], length: int) -> Floats:
    """The `length` samples from each of `starts` on, `(len(starts), length)`; they ascend, and lie close together."""
    first, last = int(starts[0]), int(starts[-1])
    step = samples.strides[0]
    every = as_strided(samples[first : last + length], (last - first + 1, length), (step, step), writeable=False)
    return every[starts - first]


def _padded_edge(windows: Floats, start: int, length: int, pad_mode: str = "constant") -> Floats:
    """Samples `[start, start + length)` of every window; beyond its ends zero, or the window reflected."""
    n_windows, window_length = windows.shape
    if pad_mode == "reflect":
        places = np.abs(np.arange(start, start + length))
        return np.ascontiguousarray(windows[:, np.minimum(places, 2 * (window_length - 1) - places)])
    first, last = max(0, start), min(window_length, start + length)
    edge = np.zeros((n_windows, length), np.float32)
    edge[:, first - start : last - start] = windows[:, first:last]
    return edge


def mel_filterbank(
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    fmin: float,
    fmax: float,
    scale: str = "htk",
    norm: str = "slaney",
    slopes: str = "hz",
) -> Floats:
    """Triangular filters, by default on the HTK mel scale, each of unit area (Slaney's normalisation).

    Parameters
    ----------
    sample_rate, n_fft, n_mels, fmin, fmax
        Of the spectra (in Hz), of a frame (in samples), and of the bands (in Hz).
    scale : {"htk", "slaney"}
        Which mel scale.
    norm : {"slaney", "none"}
        Whether each filter has unit area, or a peak of 1.
    slopes : {"hz", "mel"}
        Over which of them the triangles' sides are straight: librosa's are over Hz, TensorFlow's over mel.

    Returns
    -------
    np.ndarray [shape=(n_mels, 1 + n_fft // 2), dtype=float32]
        By default equal to ``librosa.filters.mel(..., htk=True, norm="slaney")``, to the last bit with its defaults.
    """
    to_mel, to_hz = MEL_SCALES[scale]
    edges_mel = np.linspace(to_mel(np.float64(fmin)), to_mel(np.float64(fmax)), n_mels + 2)
    edges_hz, bins_hz = to_hz(edges_mel), np.fft.rfftfreq(n_fft, 1.0 / sample_rate)
    edges, bins = (edges_hz, bins_hz) if slopes == "hz" else (edges_mel, to_mel(bins_hz))
    ramps, widths = edges[:, None] - bins, np.diff(edges)
    lower, upper = -ramps[:-2] / widths[:-1, None], ramps[2:] / widths[1:, None]
    weights: Floats = np.maximum(0, np.minimum(lower, upper)).astype(np.float32)
    if norm == "slaney":
        weights *= (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    return weights


def _htk_mel(hz: Any) -> Any:
    return 2595.0 * np.log10(1.0 + hz / 700.0)


def _htk_hz(mel: Any) -> Any:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


# Slaney's scale is straight up to 1 kHz, 15 mel, and a factor of 6.4 is 27 mel beyond.
def _slaney_mel(hz: Any) -> Any:
    return np.where(hz < 1000.0, 3.0 * hz / 200.0, 15.0 + 27.0 * np.log(np.maximum(hz, 1.0) / 1000.0) / np.log(6.4))


def _slaney_hz(mel: Any) -> Any:
    return np.where(mel < 15.0, 200.0 * mel / 3.0, 1000.0 * np.exp(np.log(6.4) * (mel - 15.0) / 27.0))


MEL_SCALES: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "htk": (_htk_mel, _htk_hz),
    "slaney": (_slaney_mel, _slaney_hz),
}


def dct_matrix(n_bands: int, n_mfcc: int, norm: str = "ortho") -> npt.NDArray[np.float64]:
    """The DCT-II from levels to cepstral coefficients, `(n_bands, n_mfcc)` float64.

    Orthonormal as librosa's, or as HTK's and TensorFlow's, whose first coefficient is the square root of 2 larger.
    """
    angles = np.pi * (np.arange(n_bands)[:, None] + 0.5) * np.arange(n_mfcc) / n_bands
    matrix = np.sqrt(2.0 / n_bands) * np.cos(angles)
    if norm == "ortho":
        matrix[:, 0] = np.sqrt(1.0 / n_bands)
    return np.asarray(matrix)


def _grouped(filterbank: Floats, n_in_group: int = 16) -> list[tuple[int, int, Floats]]:
    """Cut a filterbank into groups of bands, each with only the bins it looks at: a quarter of the multiplications.

    Returns
    -------
    list of (first_mel, first_bin, weights [shape=(n_bins, n_bands)])
    """
    groups = []
    for first in range(0, len(filterbank), n_in_group):
        bands = filterbank[first : first + n_in_group]
        bins = np.flatnonzero(bands.any(axis=0))
        low, high = (bins[0], bins[-1] + 1) if len(bins) else (0, 1)
        groups.append((first, int(low), np.ascontiguousarray(bands[:, low:high].T)))
    return groups


# --- the integer front end of TensorFlow Lite Micro -------------------------------------------------------------------


class MicroFrontEnd:
    """The audio front end of microcontrollers, in the integers that they compute with: equal to the last bit.

    A Hann window, a fixed-point FFT of 16 bits, a mel filterbank, a running estimate of the noise that is taken off,
    a gain that follows it (PCAN), and a logarithm, each with the constants of TensorFlow Lite Micro's examples [4]_.
    The estimate begins at zero in every window, as it did in every recording of the networks' training.

    Parameters
    ----------
    sample_rate : int
        (in Hz)
    n_fft, win_length : int
        Length of a transform, a power of 4 times 2, and of a frame (in samples).
    n_bands : int
    fmin, fmax : float
        (in Hz)
    pcan : bool
        Whether the gain follows the noise.

    References
    ----------
    .. [4] tensorflow/lite/experimental/microfrontend; Y. Wang, P. Getreuer, T. Hughes, R. F. Lyon, R. A. Saurous,
       "Trainable frontend for robust and far-field keyword spotting", ICASSP 2017.
    """

    WEIGHT_BITS, NOISE_BITS, SMOOTHING_BITS = 12, 14, 10
    SMOOTHING, LEAST_REMAINING = (409, 983), 819  # of even and odd bands, and of the signal, in 14 bits
    GAIN_BITS, GAIN_STRENGTH, GAIN_OFFSET, SNR_BITS, OUTPUT_BITS = 21, 0.95, 80.0, 12, 6
    LOG_BITS = 6

    def __init__(
        self, sample_rate: int, n_fft: int, win_length: int, n_bands: int, fmin: float, fmax: float, pcan: bool = True
    ) -> None:
        self.n_half, self.pcan = n_fft // 2, pcan
        if n_fft < 8 or 2 * 4 ** round(math.log(self.n_half, 4)) != n_fft:
            raise ValueError(f"n_fft of the integer front end must be 8, 32, 128, 512 or 2048, not {n_fft}")
        angle = np.float64(np.float32(2 * np.pi / win_length)) * (np.arange(win_length) + 0.5)
        hann = (0.5 - 0.5 * np.cos(angle)).astype(np.float32)
        self._hann = np.floor(hann * np.float64(1 << self.WEIGHT_BITS) + 0.5).astype(np.int32)
        self._twiddles = _twiddles(-2 * np.pi * np.arange(self.n_half) / self.n_half)
        self._turns = _twiddles(-np.pi * (np.arange(1, self.n_half // 2 + 1) / self.n_half + 0.5))
        self._order = _digits_reversed(self.n_half)
        self._correction = n_fft.bit_length() - 1 - self.WEIGHT_BITS // 2
        self._filters = self._make_filters(sample_rate, n_bands, fmin, fmax)
        self._gains = self._make_gains()
        steps = np.arange(130) / 128
        self._logs = np.rint((np.log2(1 + steps) - steps) * 65536).astype(np.int64)

    def bands(self, frames: Floats) -> npt.NDArray[np.int64]:
        """Magnitudes of the bands of frames of samples, `(n_frames, win_length)`, as `(n_frames, n_bands)`."""
        samples = np.clip(np.rint(frames * np.float32(32768)), -32768, 32767).astype(np.int32)
        windowed = (samples * self._hann) >> self.WEIGHT_BITS
        # In 16 bits the lowest number has no opposite, and does not count as loud.
        shifts = 15 - _n_bits(np.maximum(0, np.abs(windowed.astype(np.int16)).max(axis=1)))[:, None]
        scaled = np.zeros((len(frames), 2 * self.n_half), np.int32)
        scaled[:, : windowed.shape[1]] = _wrapped((windowed << shifts).astype(np.int32))
        real, imaginary = self._transform(scaled)
        energies = real.astype(np.float64) ** 2 + imaginary.astype(np.float64) ** 2
        sums = energies @ self._filters  # whole numbers below 2 ** 53: exact in any order
        return _rounded_root(sums) >> shifts

    def levels(self, bands: npt.NDArray[np.int64]) -> Floats:
        """Levels of windows' bands, `(n_windows, n_frames, n_bands)`, frame after frame."""
        smoothing = np.resize(np.array(self.SMOOTHING), bands.shape[2])
        noise = np.zeros((bands.shape[0], bands.shape[2]), np.int64)
        out = np.empty(bands.shape, np.float32)
        for i in range(bands.shape[1]):
            signal = bands[:, i]
            scaled = (signal << self.SMOOTHING_BITS) & 0xFFFFFFFF
            noise = (scaled * smoothing + noise * ((1 << self.NOISE_BITS) - smoothing)) >> self.NOISE_BITS
            least = (signal * self.LEAST_REMAINING) >> self.NOISE_BITS
            signal = np.maximum((scaled - np.minimum(noise, scaled)) >> self.SMOOTHING_BITS, least)
            out[:, i] = self._log(self._with_gain(signal, noise) if self.pcan else signal)
        return out

    def _transform(self, samples: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """The FFT of real samples in 16 bits, with radix 4 and a division at each step, `(n_frames, 1 + n_half)`."""
        n_half = self.n_half
        real, imaginary = samples[:, ::2][:, self._order], samples[:, 1::2][:, self._order]
        size = 1
        while size < n_half:
            real, imaginary = self._radix_4(real, imaginary, size)
            size *= 4
        real, imaginary = _divided(real, 2), _divided(imaginary, 2)
        out_real = np.empty((len(samples), n_half + 1), np.int32)
        out_imaginary = np.zeros_like(out_real)
        out_real[:, 0], out_real[:, n_half] = real[:, 0] + imaginary[:, 0], real[:, 0] - imaginary[:, 0]
        k = np.arange(1, n_half // 2 + 1)
        mirrored = real[:, n_half - k], imaginary[:, n_half - k]
        even = _wrapped(real[:, k] + mirrored[0]), _wrapped(imaginary[:, k] - mirrored[1])
        odd = _wrapped(real[:, k] - mirrored[0]), _wrapped(imaginary[:, k] + mirrored[1])
        turned = _multiplied(odd, self._turns)
        out_real[:, k], out_imaginary[:, k] = (even[0] + turned[0]) >> 1, (even[1] + turned[1]) >> 1
        out_real[:, n_half - k], out_imaginary[:, n_half - k] = (even[0] - turned[0]) >> 1, (turned[1] - even[1]) >> 1
        return out_real, out_imaginary

    def _radix_4(
        self, real: npt.NDArray[np.int32], imaginary: npt.NDArray[np.int32], size: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Join four transforms of `size` each into one."""
        shape = (len(real), -1, 4, size)
        real, imaginary = (_divided(part, 4).reshape(shape) for part in (real, imaginary))
        step, k = self.n_half // (4 * size), np.arange(size)
        parts = [(real[:, :, 0], imaginary[:, :, 0])]
        for i in (1, 2, 3):
            twiddles = self._twiddles[0][i * k * step], self._twiddles[1][i * k * step]
            parts.append(_multiplied((real[:, :, i], imaginary[:, :, i]), twiddles))
        (r0, i0), (r1, i1), (r2, i2), (r3, i3) = parts
        joined_real = np.stack([r0 + r2 + r1 + r3, r0 - r2 + i1 - i3, r0 + r2 - r1 - r3, r0 - r2 - i1 + i3], axis=2)
        joined = np.stack([i0 + i2 + i1 + i3, i0 - i2 - r1 + r3, i0 + i2 - i1 - i3, i0 - i2 + r1 - r3], axis=2)
        return _wrapped(joined_real).reshape(len(real), -1), _wrapped(joined).reshape(len(real), -1)

    def _make_filters(self, sample_rate: int, n_bands: int, fmin: float, fmax: float) -> npt.NDArray[np.float64]:
        """Weights in 12 bits, `(1 + n_half, n_bands)`: each bin is shared by the band that ends and the next."""
        low, high = (_micro_mel(np.float32(f)) for f in (fmin, fmax))
        spacing = np.float32((high - low) / np.float32(n_bands + 1))
        centres = np.asarray(low + spacing * np.arange(1, n_bands + 2, dtype=np.float32), np.float32)
        bin_hz = np.float32(0.5 * sample_rate / self.n_half)
        mels = _micro_mel(np.arange(self.n_half + 1, dtype=np.float32) * bin_hz)
        filters = np.zeros((self.n_half + 1, n_bands + 2))
        for number in range(int(1.5 + fmin / bin_hz), self.n_half + 1):
            band = int(np.searchsorted(centres, mels[number], "left"))
            if band > n_bands:
                break
            below = low if band == 0 else centres[band - 1]
            weight = np.float32((centres[band] - mels[number]) / (centres[band] - below))
            filters[number, band] = np.floor(float(weight) * (1 << self.WEIGHT_BITS) + 0.5)
            filters[number, band + 1] = np.floor((1 - float(weight)) * (1 << self.WEIGHT_BITS) + 0.5)
        return filters[:, 1 : n_bands + 1]

    def _make_gains(self) -> npt.NDArray[np.int64]:
        """For each number of bits of the noise, a parabola of the gain: `(33, 3)`."""

        def gain(x: int) -> int:
            noise = x / (1 << (self.SMOOTHING_BITS - self._correction)) + self.GAIN_OFFSET
            return min(32767, int((1 << self.GAIN_BITS) * noise**-self.GAIN_STRENGTH + 0.5))

        table = np.zeros((33, 3), np.int64)
        table[0, 0], table[1, 0] = gain(0), gain(1)
        for n_bits in range(2, 33):
            x = 1 << (n_bits - 1)
            first, middle, last = gain(x), gain(x + (x >> 1)), gain(2 * x if n_bits < 32 else 2 * x - 1)
            slope = 4 * (middle - first) - (last - first)
            table[n_bits] = first, slope, last - first - slope
        return table

    def _with_gain(self, signal: npt.NDArray[np.int64], noise: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        n_bits = _n_bits(noise)
        first, slope, bend = np.moveaxis(self._gains[n_bits], -1, 0)
        part = np.where(n_bits < 11, noise << np.maximum(11 - n_bits, 0), noise >> np.maximum(n_bits - 11, 0)) & 0x3FF
        curve = ((((bend * part) >> 5) + (slope << 5)) * part + (1 << 14)) >> 15
        gain = first + np.where(noise > 2, curve, 0)
        snr = (signal * gain) >> (self.GAIN_BITS - self._correction - self.SNR_BITS)
        is_small = snr < 2 << self.SNR_BITS
        squared = (np.where(is_small, snr, 0) ** 2) >> (2 + 2 * self.SNR_BITS - self.OUTPUT_BITS)
        return np.where(is_small, squared, (snr >> (self.SNR_BITS - self.OUTPUT_BITS)) - (1 << self.OUTPUT_BITS))

    def _log(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The natural logarithm in 6 bits behind the point, of values in 3."""
        values = values << self._correction if self._correction >= 0 else values >> -self._correction
        whole = _n_bits(values) - 1
        part = values - (1 << np.maximum(whole, 0))
        part = np.where(whole < 16, part << np.maximum(16 - whole, 0), part >> np.maximum(whole - 16, 0))
        step = np.clip(part >> 9, 0, 127)
        base, following = self._logs[step], self._logs[step + 1]
        log2 = (whole << 16) + part + base + (((following - base) * (part - (step << 9))) >> 16)
        natural = (45426 * log2 + 32768) >> 16
        return np.where(values > 1, np.minimum(((natural << self.LOG_BITS) + 32768) >> 16, 0xFFFF), 0)


def _n_bits(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """How many bits whole numbers have; 0 for 0."""
    return np.asarray(np.frexp(values.astype(np.float64))[1], np.int64)


def _rounded_root(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The square roots of whole numbers below 2 ** 53, rounded."""
    whole = values.astype(np.int64)
    roots = np.sqrt(values).astype(np.int64)
    roots = roots + (whole - roots * roots > roots)
    return np.where(whole < 1 << 32, np.minimum(roots, 0xFFFF), roots)


def _twiddles(phases: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    cosines, sines = (np.floor(0.5 + 32767 * of(phases)).astype(np.int32) for of in (np.cos, np.sin))
    return cosines, sines


def _digits_reversed(n: int) -> npt.NDArray[np.int64]:
    """The order in which transforms of radix 4 take their inputs."""
    order = np.zeros(1, np.int64)
    while len(order) < n:
        order = np.concatenate([order * 4 + i for i in range(4)])
    return order


def _divided(values: npt.NDArray[np.int32], divisor: int) -> npt.NDArray[np.int32]:
    return np.asarray((values * np.int32(32767 // divisor) + (1 << 14)) >> 15, np.int32)


def _multiplied(
    a: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]], b: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Products of complex numbers in 15 bits behind the point, rounded."""
    real, imaginary = a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]
    return _wrapped((real + (1 << 14)) >> 15), _wrapped((imaginary + (1 << 14)) >> 15)


def _wrapped(values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """What 16 bits hold of them: the loudest sounds overflow, on a microcontroller too."""
    return values.astype(np.int16).astype(np.int32)


def _micro_mel(hz: Any) -> Any:
    return np.float32(1127.0 * np.log1p(np.float64(hz) / 700.0))


# --- resampling -------------------------------------------------------------------------------------------------------

RES_TYPES = ("kaiser_best", "sinc", "soxr_vhq", "soxr_hq", "soxr_mq")


class Resampler(Protocol):
    """One sample rate to another, a stream at a time."""

    sr: int

    def stream(self, blocks: Iterable[Floats], n_samples: int) -> Iterator[Floats]:
        """Yield the resampled samples, :func:`n_resampled` in all."""
        ...


def n_resampled(n_samples: int, sr: int, target_sr: int) -> int:
    """Length of `n_samples` samples at `sr` Hz after resampling to `target_sr` Hz."""
    return -(-n_samples * target_sr // sr)


def make_resampler(sr: int, target_sr: int, res_type: str) -> Resampler:
    """Return the resampler of that name, one of :data:`RES_TYPES`, from `sr` to `target_sr` (in Hz)."""
    sr = _positive_int("sr", sr)
    if res_type == "kaiser_best":
        return KaiserBest(sr, target_sr)
    if res_type == "sinc":
        return Sinc(sr, target_sr)
    return Soxr(sr, target_sr, res_type)


class Polyphase:
    """Resampling by a windowed sinc of finite length; classes that derive from it say which.

    The ratio of two sample rates is rational, so output samples repeat their filter after `n_outputs` of them: the
    filters are made once and applied to many repetitions together, as matrix products.

    Parameters
    ----------
    sr, target_sr : int > 0
        From which sample rate to which (in Hz).
    """

    N_OUTPUTS_AT_ONCE = 8192
    N_IN_GROUP = 24  # outputs that share one product: few enough that their filters nearly coincide
    MAX_TABLE_LENGTH = 16_000_000  # filters of odd ratios that need more than this are made anew at each use

    def __init__(self, sr: int, target_sr: int) -> None:
        self.sr, self.target_sr = sr, target_sr
        self.scale = min(1.0, target_sr / sr)
        divisor = math.gcd(sr, target_sr)
        up, down = target_sr // divisor, sr // divisor
        n_cycles = -(-64 // up)  # short cycles are taken several at a time
        self._n_outputs, self._n_inputs = n_cycles * up, n_cycles * down
        self._n_repeats = max(1, self.N_OUTPUTS_AT_ONCE // self._n_outputs)
        self.n_outputs_at_once = self._n_repeats * self._n_outputs
        reach = self._reach()
        groups = range(0, self._n_outputs, self.N_IN_GROUP)
        self._groups: list[tuple[int, int, Floats]] | None = None
        if self._n_outputs * (2 * reach + self.N_IN_GROUP * down // up) <= self.MAX_TABLE_LENGTH:
            self._groups = [self._group(first) for first in groups]
        self._lead = reach
        self._tail = reach + self._n_inputs + self.N_IN_GROUP * (1 + down // up)

    def stream(self, blocks: Iterable[Floats], n_samples: int) -> Iterator[Floats]:
        """Yield the resampled samples, :func:`n_resampled` in all; see :class:`Resampler`."""
        n_at_once, step = self.n_outputs_at_once, self._n_repeats * self._n_inputs
        n_out = n_resampled(n_samples, self.sr, self.target_sr)
        n_computed = self._n_computed(n_samples)
        length = self._lead + step + self._tail
        for i, piece in enumerate(overlapping(blocks, length, step, -(-n_out // n_at_once), self._lead)):
            samples = self._apply(piece).reshape(-1)
            samples[max(0, n_computed - i * n_at_once) :] = 0
            yield samples[: n_out - i * n_at_once]

    def _apply(self, piece: Floats) -> Floats:
        """Resample one piece to `(n_repeats, n_outputs)`; its first `lead` samples lie before the first output."""
        n_repeats, n_inputs = self._n_repeats, self._n_inputs
        out = np.zeros((n_repeats, self._n_outputs), np.float32)
        groups = self._groups or (self._group(i) for i in range(0, self._n_outputs, self.N_IN_GROUP))
        for first, first_tap, weights in groups:
            n_taps, n_rows = weights.shape
            target = out[:, first : first + n_rows]
            # The filter is longer than a repetition's step: take it in parts as long as the step, each of which
            # multiplies rows that lie one behind the other in memory.
            for tap in range(0, n_taps, n_inputs):
                part = weights[tap : tap + n_inputs]
                begin = self._lead + first_tap + tap
                rows = piece[begin : begin + n_repeats * n_inputs].reshape(n_repeats, n_inputs)
                target += rows[:, : len(part)] @ part
        return out

    def _group(self, first: int) -> tuple[int, int, Floats]:
        """The filters of the outputs from `first` on.

        Returns
        -------
        first : int
        first_tap : int
            Input sample of the first weight, relative to the repetition's first.
        weights : np.ndarray [shape=(n_taps, n_outputs_in_group), dtype=float32]
        """
        outputs = range(first, min(first + self.N_IN_GROUP, self._n_outputs))
        reach = self._reach()
        first_tap = outputs[0] * self._n_inputs // self._n_outputs - reach
        last_tap = outputs[-1] * self._n_inputs // self._n_outputs + reach + 1
        weights = np.zeros((last_tap - first_tap, len(outputs)), np.float32)
        for column, output in enumerate(outputs):
            nearest, remainder = divmod(output * self._n_inputs, self._n_outputs)
            left, right = self._wings(remainder / self._n_outputs)
            centre = nearest - first_tap
            weights[centre - len(left) + 1 : centre + 1, column] = left[::-1]
            weights[centre + 1 : centre + 1 + len(right), column] = right
        return first, first_tap, weights

    def _n_computed(self, n_samples: int) -> int:
        """How many output samples there are; the rest of :func:`n_resampled`, at most one, is zero."""
        return n_resampled(n_samples, self.sr, self.target_sr)

    def _reach(self) -> int:
        """How many input samples a filter reaches to either side."""
        raise NotImplementedError

    def _wings(self, fraction: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The filter of an output `fraction` of an input sample behind one, to the left and to the right."""
        raise NotImplementedError


class KaiserBest(Polyphase):
    """The windowed sinc that resampy 0.2 called ``kaiser_best``, which SONYC's nodes resampled with.

    64 zero crossings, tabulated at 512 points each and interpolated linearly; the step through the table is truncated
    to a whole number of entries, which is part of the definition [2]_, and keeps it 46 to 51 dB from the ideal.

    References
    ----------
    .. [2] J. O. Smith, "Digital Audio Resampling", CCRMA, Stanford; parameters of resampy 0.2.2's "kaiser_best" filter.
    """

    N_ZEROS, PRECISION, BETA, ROLLOFF = 64, 512, 14.769656459379492, 0.9475937167399596

    def __init__(self, sr: int, target_sr: int) -> None:
        self._half_filter = self._tabulate(min(1.0, target_sr / sr))
        super().__init__(sr, target_sr)

    def _n_computed(self, n_samples: int) -> int:
        return n_samples * self.target_sr // self.sr  # as it was in 2020

    def _tabulate(self, scale: float) -> npt.NDArray[np.float64]:
        t = np.arange(self.N_ZEROS * self.PRECISION + 1) / self.PRECISION
        kaiser = np.i0(self.BETA * np.sqrt(1 - (t / self.N_ZEROS) ** 2)) / np.i0(self.BETA)
        return np.asarray(scale * self.ROLLOFF * np.sinc(self.ROLLOFF * t) * kaiser)

    def _reach(self) -> int:
        step = int(self.scale * self.PRECISION)
        if step < 1:
            raise ValueError(f"kaiser_best cannot resample {self.sr} Hz to {self.target_sr} Hz: over 512 to 1")
        return len(self._half_filter) // step + 1

    def _wings(self, fraction: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        scale, step = self.scale, int(self.scale * self.PRECISION)
        table = self._half_filter
        wings = []
        for position in (scale * fraction, scale - scale * fraction):
            offset = int(position * self.PRECISION)
            n_taps = (len(table) - offset) // step
            entries = offset + np.arange(n_taps) * step
            following = np.minimum(entries + 1, len(table) - 1)
            wings.append(table[entries] + (position * self.PRECISION - offset) * (table[following] - table[entries]))
        return wings[0], wings[1]


class Sinc(Polyphase):
    """A windowed sinc at its exact values: within 100 dB of the ideal up to nine tenths of the lower half rate.

    80 zero crossings to either side, times the exponential of a semicircle [3]_, which is nearly a Kaiser window and
    needs no Bessel function: every weight is computed where it lies, and there is no table to step through.

    References
    ----------
    .. [3] A. Barnett, J. Magland, L. af Klinteberg, "A parallel nonuniform fast Fourier transform library based on an
       'exponential of semicircle' kernel", SIAM J. Sci. Comput. 41, 2019.
    """

    N_ZEROS, BETA, ROLLOFF = 80, 11.8, 0.952  # side lobes of -111 dB; its stop band begins at the half rate

    def _reach(self) -> int:
        return math.ceil(self.N_ZEROS / self.scale) + 1

    def _wings(self, fraction: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        n_taps = int(self.N_ZEROS / self.scale)
        steps = np.arange(n_taps, dtype=np.float64)
        return self._filter(self.scale * (fraction + steps)), self._filter(self.scale * (1 - fraction + steps))

    def _filter(self, t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Weights at distances `t` (in zero crossings of the lower half rate)."""
        semicircle = np.sqrt(np.maximum(0, 1 - (t / self.N_ZEROS) ** 2))
        window = np.exp(self.BETA * (semicircle - 1))
        return np.asarray(self.scale * self.ROLLOFF * np.sinc(self.ROLLOFF * t) * window)


class Soxr:
    """The SoX resampler, for those who choose it: ``librosa.resample(res_type="soxr_…")``."""

    N_INPUTS_AT_ONCE = 65536

    def __init__(self, sr: int, target_sr: int, res_type: str) -> None:
        self.sr, self.target_sr, self._quality = sr, target_sr, res_type.removeprefix("soxr_").upper()
        self._open = _import_soxr(res_type).ResampleStream

    def stream(self, blocks: Iterable[Floats], n_samples: int) -> Iterator[Floats]:
        """Yield the resampled samples, :func:`n_resampled` in all; see :class:`Resampler`."""
        n_missing = n_resampled(n_samples, self.sr, self.target_sr)
        stream = self._open(self.sr, self.target_sr, 1, dtype="float32", quality=self._quality)
        n_pieces = -(-n_samples // self.N_INPUTS_AT_ONCE)
        n_left = n_samples
        for piece in overlapping(blocks, self.N_INPUTS_AT_ONCE, self.N_INPUTS_AT_ONCE, n_pieces):
            n_left -= self.N_INPUTS_AT_ONCE
            samples = stream.resample_chunk(np.ascontiguousarray(piece[: min(n_left, 0) or None]), last=n_left <= 0)
            yield samples[:n_missing]
            n_missing -= min(n_missing, len(samples))
        if n_missing:
            yield np.zeros(n_missing, np.float32)


def _import_soxr(res_type: str) -> Any:
    try:
        import soxr  # noqa: PLC0415  an extra: only those who chose it have it
    except ImportError as error:
        raise ValueError(
            f"this extractor resamples with {res_type}, and the package soxr is not installed here; "
            "`pip install soxr`, or export the extractor with --res_type=kaiser_best"
        ) from error
    return soxr


# --- checks -----------------------------------------------------------------------------------------------------------


def checked_samples(y: Floats) -> Floats:
    """Return `y` as float32 `(n_samples,)`, or say what is wrong with it.

    Raises
    ------
    TypeError
        It is no array of floating point numbers.
    ValueError
        It is not mono, is empty, or holds NaN, infinity or what is far beyond full scale.
    """
    try:
        y = np.asarray(y)
    except (ValueError, TypeError) as error:
        raise TypeError(f"y must be an array of samples, and cannot be made one: it is a {type(y).__name__}") from error
    if y.dtype.kind not in "fiub":
        raise TypeError(f"y must be an array of floating point samples in [-1, 1], not of {y.dtype}")
    if y.dtype.kind != "f":
        raise TypeError(
            f"y must be floating point in [-1, 1], not {y.dtype}; divide integer samples by their full scale"
        )
    if y.ndim != 1:
        raise ValueError(f"y must be mono, shape (n_samples,), not {y.shape}")
    if not len(y):
        raise ValueError("y is empty: there is not a single sample")
    if not (float(y.min()) >= -LOUDEST and float(y.max()) <= LOUDEST):  # NaN is neither
        kind = "samples as large as no sound is; full scale is 1" if np.isfinite(y).all() else "NaN or infinity"
        raise ValueError(f"y holds {kind}")
    return np.ascontiguousarray(y, np.float32)


def checked_sample_rate(sr: float) -> int:
    """Return a sample rate (in Hz) as a whole number, or say what is wrong with it, with a ValueError."""
    return _positive_int("sr", sr)


def _none_in_words(name: str, value: Any) -> Any:
    """None, as other libraries say it, as the choice "none"."""
    return "none" if value is None and "none" in CHOICES.get(name, ()) else value


def _one_of(name: str, value: Any, known: tuple[Any, ...]) -> None:
    if value not in known or isinstance(value, bool) != isinstance(known[0], bool):
        raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, not {value!r}")


def _call_text(name: str, parameters: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in parameters.items())})"


def _finite(name: str, value: float) -> float:
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value)):
        raise ValueError(f"{name} must be a number, not {value!r}")
    return float(value)


def _positive(name: str, value: float) -> float:
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not (is_number and 0 < value < math.inf):
        raise ValueError(f"{name} must be a number above 0, not {value!r}")
    return float(value)


def _positive_int(name: str, value: float) -> int:
    if _positive(name, value) != int(value):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    return int(value)


def _n_samples(name: str, seconds: float, sample_rate: int) -> int:
    """Seconds to samples, rounded: 0.29 s at 8 kHz are 2,320, though 0.29 * 8000 is a little less."""
    n_samples = round(_positive(name, seconds) * sample_rate)
    if n_samples < 1:
        raise ValueError(f"{name} of {seconds} s is less than one sample at {sample_rate} Hz")
    return n_samples


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Give `WindowExtractor` by its old name too; `sonyc_ml.model.Extractor` is what a model asks of any."""
        if name != "Extractor":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        warnings.warn("sonyc_ml.features.Extractor is WindowExtractor now", DeprecationWarning, stacklevel=2)
        return WindowExtractor


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run as a file: find the package it belongs to
    from sonyc_ml.cli import main

    sys.exit(main(["features", *sys.argv[1:]]))
