"""Log-mel features as SONYC's nodes compute them: resampling, windows and spectra, in numpy alone.

This file travels. An exported extractor (``NAME.pkl``) carries its text and runs it on the node, so it imports nothing
but the standard library and numpy (soxr, where an extractor was exported with it). Export one with::

    python sonyc_ml/features.py export models/NAME.pkl --duration=1 --hop_size=0.1 --target_sr=8000 --n_fft=1024

Everything here is a stream: samples come in blocks of any size, features leave in blocks of windows. Inside, the work
is always cut at the same sample positions, so a recording of hours read in blocks gives, bit for bit, the features of
the same recording held in one array.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

AMIN = np.float32(1e-10)  # the smallest mel magnitude that has a level
LOUDEST = 2.0**32  # full scale is 1; 32-bit numbers that nobody scaled reach half of this
TOP_DB = np.float32(80)  # how far below its loudest point a window is still looked at, dB
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
    np.ndarray [shape=(n_windows, n_mels, n_frames), dtype=float32]
        Levels in dB (10 log10 of a mel magnitude), each window clipped 80 dB below its maximum.

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
        The resampler, by librosa's name for it.
    resampler : Resampler or None
        The one that was used last; None where every recording has had the windows' own rate.
    """

    feature_shape: tuple[int, ...]

    def __init__(self, duration: float, hop_size: float, target_sr: int, res_type: str) -> None:
        self.sample_rate = _positive_int("target_sr", target_sr)
        self.window_size_s = _positive("duration", duration)
        self.hop_size_s = _positive("hop_size", hop_size)
        self.window_length = _n_samples("duration", duration, self.sample_rate)
        _n_samples("hop_size", hop_size, self.sample_rate)
        if res_type not in RES_TYPES:
            raise ValueError(f"res_type {res_type!r} is not known; use one of {', '.join(RES_TYPES)}")
        if res_type != "kaiser_best":
            _import_soxr(res_type)  # here, not at the first recording
        self.res_type = res_type
        self.resampler: Resampler | None = None

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
        return frame(n_resampled(n_samples, _positive_int("sr", sr), self.sample_rate), self.window_length, hop_length)

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
    res_type : str
        See :data:`RES_TYPES`.
    """

    def __init__(self, duration: float, hop_size: float, target_sr: int, res_type: str = "kaiser_best") -> None:
        super().__init__(duration, hop_size, target_sr, res_type)
        self.feature_shape = (self.window_length,)

    def window_features(self, piece: Floats, hop_length: int, n_windows: int) -> Floats:
        """Return the windows' samples, `(n_windows, window_length)`; see :meth:`WindowExtractor.window_features`."""
        return _windows(piece, self.window_length, hop_length, n_windows).copy()


# --- log-mel ----------------------------------------------------------------------------------------------------------


class LogMel(WindowExtractor):
    """Log-mel spectra of windows, each as if it were a recording of its own.

    Every window is what ``librosa.stft(window, center=True, pad_mode="constant")`` gives, its magnitude through an
    HTK-scale, Slaney-normalised mel filterbank, then ``power_to_db(ref=1, amin=1e-10, top_db=80)``: the features the
    SONYC network was trained on [1]_. Frames that lie wholly inside a window are the same for every window that holds
    them and are computed once; frames that reach over a window's edge see zeros there and belong to it alone.

    Parameters
    ----------
    duration : float > 0
        Length of a window (in seconds).
    hop_size : float > 0
        Default distance between windows (in seconds).
    target_sr : int > 0
        Sample rate at which the spectra are taken (in Hz).
    n_fft : int > 1
        Length of a frame (in samples).
    n_mels : int > 0
        Number of mel bands.
    mel_hop_len : int > 0
        Distance between frames (in samples).
    fmax, fmin : float, optional
        Highest and lowest frequency of the mel bands (in Hz); `fmax` defaults to half of `target_sr`.
    res_type : str
        See :data:`RES_TYPES`.

    References
    ----------
    .. [1] J. Cramer, H.-H. Wu, J. Salamon, J. P. Bello. "Look, listen and learn more: Design choices for deep audio
       embeddings." ICASSP 2019; the parameters are those of sonyc-project/pi_ml_container.
    """

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
    ) -> None:
        super().__init__(duration, hop_size, target_sr, res_type)
        self.n_fft = _positive_int("n_fft", n_fft)
        self.n_mels = _positive_int("n_mels", n_mels)
        self.mel_hop_len = _positive_int("mel_hop_len", mel_hop_len)
        self.fmin, self.fmax = fmin, self.sample_rate / 2 if fmax is None else fmax
        if not 0 <= self.fmin < self.fmax <= self.sample_rate / 2:
            raise ValueError(
                f"0 <= fmin < fmax <= half of target_sr must hold: fmin is {fmin} Hz, fmax {self.fmax} Hz, "
                f"half of target_sr {self.sample_rate / 2} Hz"
            )
        self._hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.n_fft) / self.n_fft)
        self._bands = _grouped(mel_filterbank(self.sample_rate, self.n_fft, self.n_mels, self.fmin, self.fmax))
        self._half = self.n_fft // 2
        n_frames = 1 + (self.window_length + 2 * self._half - self.n_fft) // self.mel_hop_len
        if n_frames < 1:
            raise ValueError(f"a window of {self.window_length} samples holds no frame of n_fft={n_fft}")
        self.feature_shape = (self.n_mels, n_frames)
        # Frames [0, inner) reach over the window's left edge, [outer, n_frames) over its right one.
        self._inner = -(-self._half // self.mel_hop_len)
        self._outer = max(0, (self.window_length + self._half - self.n_fft) // self.mel_hop_len + 1)
        if self._outer <= self._inner:
            self._inner = self._outer = n_frames

    def __repr__(self) -> str:
        return f"LogMel({', '.join(f'{name}={value!r}' for name, value in self.parameters.items())})"

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments that make an equal extractor."""
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
        }

    def window_features(self, piece: Floats, hop_length: int, n_windows: int) -> Floats:
        """Return the windows' levels in dB, `(n_windows, n_mels, n_frames)`; see the class it derives from."""
        samples, starts, rows = self._frames(piece, hop_length, n_windows)
        levels = np.empty((len(starts), self.n_mels), np.float32)
        self._mel_magnitudes(samples, starts, levels)
        np.maximum(levels, AMIN, out=levels)
        np.log10(levels, out=levels)
        levels *= np.float32(10)
        features = np.ascontiguousarray(levels[rows].transpose(0, 2, 1))
        floor = features.reshape(n_windows, -1).max(axis=1) - TOP_DB
        np.maximum(features, floor[:, None, None], out=features)
        return features

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
        n_frames, step, half = self.feature_shape[1], self.mel_hop_len, self._half
        windows = _windows(piece, self.window_length, hop_length, n_windows)
        rows = np.empty((n_windows, n_frames), np.intp)

        inside = np.arange(self._inner, self._outer) * step - half + np.arange(n_windows)[:, None] * hop_length
        starts, rows_inside = np.unique(inside, return_inverse=True)
        rows[:, self._inner : self._outer] = rows_inside.reshape(inside.shape)

        parts, all_starts, n_placed, n_rows = [piece], [starts], len(piece), len(starts)
        for first, last in ((0, self._inner), (self._outer, n_frames)):
            if first == last:
                continue
            edge = _padded_edge(windows, first * step - half, (last - first - 1) * step + self.n_fft)
            edge_starts = n_placed + np.arange(n_windows)[:, None] * edge.shape[1] + np.arange(last - first) * step
            rows[:, first:last] = n_rows + np.arange(edge_starts.size).reshape(edge_starts.shape)
            parts.append(edge.reshape(-1))
            all_starts.append(edge_starts.reshape(-1))
            n_placed += edge.size
            n_rows += edge_starts.size
        return np.concatenate(parts), np.concatenate(all_starts), rows

    def _mel_magnitudes(self, samples: Floats, starts: npt.NDArray[np.intp], out: Floats) -> None:
        """Write the mel magnitudes of the frames at `starts` into `out`, `(len(starts), n_mels)`.

        The FFT is one of float64: 80 dB of a magnitude are a range of 1e8, which float32 does not hold.
        """
        n_bins = 1 + self.n_fft // 2
        windowed = np.empty((N_FRAMES_AT_ONCE, self.n_fft))
        magnitudes = np.empty((N_FRAMES_AT_ONCE, n_bins), np.float32)
        for i in range(0, len(starts), N_FRAMES_AT_ONCE):
            chunk = _stretches(samples, starts[i : i + N_FRAMES_AT_ONCE], self.n_fft)
            n = len(chunk)
            np.multiply(chunk, self._hann, out=windowed[:n])
            np.abs(np.fft.rfft(windowed[:n]).astype(np.complex64), out=magnitudes[:n])
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


def _padded_edge(windows: Floats, start: int, length: int) -> Floats:
    """Samples `[start, start + length)` of every window, zero where a window has none."""
    n_windows, window_length = windows.shape
    first, last = max(0, start), min(window_length, start + length)
    edge = np.zeros((n_windows, length), np.float32)
    edge[:, first - start : last - start] = windows[:, first:last]
    return edge


def mel_filterbank(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> Floats:
    """Triangular filters on the HTK mel scale, each of unit area (Slaney's normalisation).

    Returns
    -------
    np.ndarray [shape=(n_mels, 1 + n_fft // 2), dtype=float32]
        Equal to ``librosa.filters.mel(..., htk=True, norm="slaney")``, to the last bit with its defaults.
    """
    mel_min, mel_max = (2595.0 * np.log10(1.0 + f / 700.0) for f in (fmin, fmax))
    edges_hz = 700.0 * (10.0 ** (np.linspace(mel_min, mel_max, n_mels + 2) / 2595.0) - 1.0)
    ramps = edges_hz[:, None] - np.fft.rfftfreq(n_fft, 1.0 / sample_rate)
    widths = np.diff(edges_hz)
    lower, upper = -ramps[:-2] / widths[:-1, None], ramps[2:] / widths[1:, None]
    weights = np.maximum(0, np.minimum(lower, upper)).astype(np.float32)
    weights *= (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    return weights


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


# --- resampling -------------------------------------------------------------------------------------------------------

RES_TYPES = ("kaiser_best", "soxr_vhq", "soxr_hq", "soxr_mq")


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
    return Soxr(sr, target_sr, res_type)


class KaiserBest:
    """The windowed sinc that resampy 0.2 called ``kaiser_best``, which SONYC's nodes resampled with.

    64 zero crossings, tabulated at 512 points each and interpolated linearly; the step through the table is truncated
    to a whole number of entries, which is part of the definition [2]_. The ratio of two sample rates is rational, so
    output samples repeat their filter after `n_outputs` of them: the filters are tabulated once and applied to many
    repetitions together, as matrix products.

    References
    ----------
    .. [2] J. O. Smith, "Digital Audio Resampling", CCRMA, Stanford; parameters of resampy 0.2.2's "kaiser_best" filter.
    """

    N_ZEROS, PRECISION, BETA, ROLLOFF = 64, 512, 14.769656459379492, 0.9475937167399596
    N_OUTPUTS_AT_ONCE = 8192
    N_IN_GROUP = 24  # outputs that share one product: few enough that their filters nearly coincide
    MAX_TABLE_LENGTH = 16_000_000  # filters of odd ratios that need more than this are made anew at each use

    def __init__(self, sr: int, target_sr: int) -> None:
        self.sr, self.target_sr = sr, target_sr
        divisor = math.gcd(sr, target_sr)
        up, down = target_sr // divisor, sr // divisor
        n_cycles = -(-64 // up)  # short cycles are taken several at a time
        self._n_outputs, self._n_inputs = n_cycles * up, n_cycles * down
        self._n_repeats = max(1, self.N_OUTPUTS_AT_ONCE // self._n_outputs)
        self.n_outputs_at_once = self._n_repeats * self._n_outputs
        self._half_filter = self._tabulate(min(1.0, target_sr / sr))
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
        n_computed = n_samples * self.target_sr // self.sr  # the rest, at most one sample, is zero, as it was in 2020
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

    def _tabulate(self, scale: float) -> npt.NDArray[np.float64]:
        t = np.arange(self.N_ZEROS * self.PRECISION + 1) / self.PRECISION
        kaiser = np.i0(self.BETA * np.sqrt(1 - (t / self.N_ZEROS) ** 2)) / np.i0(self.BETA)
        return np.asarray(scale * self.ROLLOFF * np.sinc(self.ROLLOFF * t) * kaiser)

    def _reach(self) -> int:
        """How many input samples a filter reaches to either side."""
        step = int(min(1.0, self.target_sr / self.sr) * self.PRECISION)
        if step < 1:
            raise ValueError(f"kaiser_best cannot resample {self.sr} Hz to {self.target_sr} Hz: over 512 to 1")
        return len(self._half_filter) // step + 1

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

    def _wings(self, fraction: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The filter of an output `fraction` of an input sample behind one, to the left and to the right."""
        scale = min(1.0, self.target_sr / self.sr)
        step = int(scale * self.PRECISION)
        table = self._half_filter
        wings = []
        for position in (scale * fraction, scale - scale * fraction):
            offset = int(position * self.PRECISION)
            n_taps = (len(table) - offset) // step
            entries = offset + np.arange(n_taps) * step
            following = np.minimum(entries + 1, len(table) - 1)
            wings.append(table[entries] + (position * self.PRECISION - offset) * (table[following] - table[entries]))
        return wings[0], wings[1]


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
