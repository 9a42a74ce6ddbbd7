"""A model that turns sound into tracks: a bundle's networks at work on a stream, or on a whole recording."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.blas import one_blas_thread
from sonyc_ml.bundles.bundle import Bundle, read_bundle
from sonyc_ml.bundles.waveform import Waveform
from sonyc_ml.errors import BundleError, BundleMismatchError
from sonyc_ml.features import RES_TYPES, Resampler, checked_sample_rate, checked_samples, make_resampler
from sonyc_ml.model.versions import versions
from sonyc_ml.model.waveform.blocks import BlockProcessor
from sonyc_ml.model.waveform.cutting import chunk_lengths, cut_overlapping, cut_stream
from sonyc_ml.model.waveform.resampling import Counted, resampled, rows_of
from sonyc_ml.model.waveform.stages import Stage

Floats = npt.NDArray[np.float32]
T = TypeVar("T")

MAX_CHANNELS = 256
PIECE_LENGTH = 1 << 16  # samples of each channel: a whole sound is read in such pieces


class WaveformModel:
    """Networks that turn sound into one or several named tracks, each as long as the sound and aligned with it.

    Several streams may be read in turn, all of them by one thread: they share interpreters.

    Parameters
    ----------
    model_path : str, Path or Bundle
        ``NAME.tflite`` with its manifest, whose section ``waveform`` says how; or the bundle that was read from it.
    num_threads, reference_kernels, backend
        See :class:`~sonyc_ml.model.interpreter.Interpreter`.

    Attributes
    ----------
    bundle : Bundle
    tracks : tuple of str
        Names of the tracks.
    sample_rate : int
        Of the networks (in Hz).
    res_type : str
        The resampler from the sound's rate to that and back.
    versions : str
        Of what computes, as an output's provenance has it.

    Raises
    ------
    BundleError
        The files cannot be used; its branches say why.

    Examples
    --------
    ::

        model = sonyc_ml.WaveformModel("models/dtln.tflite")
        y, sr = soundfile.read("a.wav", dtype="float32", always_2d=True)
        denoised = model.separate(y.T, sr)["denoised"]  # (n_channels, n_samples)
    """

    def __init__(
        self,
        model_path: str | Path | Bundle,
        *,
        num_threads: int = 1,
        reference_kernels: bool = False,
        backend: str | None = None,
    ) -> None:
        self.bundle = model_path if isinstance(model_path, Bundle) else read_bundle(model_path)
        manifest = self.bundle.manifest
        if manifest is None or manifest.waveform is None:
            raise BundleMismatchError(
                f"{self.bundle.path} is no bundle that turns sound into tracks: its manifest has no section waveform; "
                "make one with `sonyc-ml bundle make --input-kind waveform`"
            )
        self._section: Waveform = manifest.waveform
        self.tracks, self.sample_rate = self._section.tracks, manifest.sample_rate
        self.res_type = self._section.res_type
        if self.res_type not in RES_TYPES:
            raise BundleMismatchError(f"waveform.res_type {self.res_type!r} is not known; use {', '.join(RES_TYPES)}")
        self._block_length, self._hop_length = self._lengths()
        kernels = dict[str, Any](num_threads=num_threads, reference_kernels=reference_kernels, backend=backend)
        self._stages = [
            Stage(self.bundle.files[section.network], section, self._block_length, **kernels)
            for section in self._section.stages
        ]
        self._check_overlap()
        self._processor_class = self._find_class()
        self._try_a_block()
        self._resamplers: dict[tuple[int, int], Resampler] = {}
        runtime = f"{self._stages[0].backend}{', reference kernels' if reference_kernels else ''}"
        self.versions = versions(runtime, self.res_type)

    @property
    def window_size_s(self) -> float:
        """Length of what the networks read at once (in seconds)."""
        return self._block_length / self.sample_rate

    @property
    def hop_size_s(self) -> float:
        """Distance between two of these (in seconds)."""
        return self._hop_length / self.sample_rate

    def __repr__(self) -> str:
        how = "a stream" if self._section.stream else "chunks that overlap"
        return (
            f"<WaveformModel {self.bundle.name}: {', '.join(self.tracks)}; {how} of {self.window_size_s:g} s every "
            f"{self.hop_size_s:g} s at {self.sample_rate} Hz>"
        )

    def separate(self, y: Floats, sr: int, *, at_model_rate: bool = False) -> dict[str, Floats]:
        """Turn a whole sound into its tracks.

        Parameters
        ----------
        y : np.ndarray [shape=(n_samples,) or (n_channels, n_samples), dtype=float32]
            Samples in [-1, 1]. Each channel passes the networks on its own, with a state of its own.
        sr : int > 0
            Sample rate of `y` (in Hz).
        at_model_rate : bool
            Leave the tracks at the networks' `sample_rate`, instead of resampling them to `sr`.

        Returns
        -------
        dict of str to np.ndarray [shape=(n_channels, n_samples), dtype=float32]
            Each track by its name, sample by sample at the places of `y`. Nothing is scaled.

        Raises
        ------
        ValueError, TypeError
            For samples that cannot be meant.
        """
        frames = checked_frames(y)
        pieces = (frames[:, i : i + PIECE_LENGTH] for i in range(0, frames.shape[1], PIECE_LENGTH))
        parts = list(self.stream(pieces, sr, at_model_rate=at_model_rate))
        return {track: np.concatenate([part[track] for part in parts], axis=1) for track in self.tracks}

    def stream(self, blocks: Iterable[Floats], sr: int, *, at_model_rate: bool = False) -> Iterator[dict[str, Floats]]:
        """Turn a sound that arrives in blocks into its tracks, bit for bit those of the whole.

        Memory does not grow with the sound. What comes out is behind what went in by a block of the networks and one
        of the resampler at most; all of it is there at the end.

        Parameters
        ----------
        blocks : iterable of np.ndarray [shape=(n,) or (n_channels, n), dtype=float32]
            Samples in order, in blocks of any size.
        sr, at_model_rate
            Those of :meth:`separate`.

        Yields
        ------
        dict of str to np.ndarray [shape=(n_channels, n), dtype=float32]
            The next samples of each track, by its name.

        Raises
        ------
        ValueError, TypeError
            For samples that cannot be meant, or where there is not a single one.
        """
        sr = checked_sample_rate(sr)
        incoming = Counted(block for block in map(checked_frames, blocks) if block.shape[1])
        first = next(incoming, None)
        if first is None:
            raise ValueError("there is not a single sample to separate")
        n_channels = len(first)
        rows = [
            row for channel in rows_of(_with_first(first, incoming), n_channels) for row in self._tracks(channel, sr)
        ]
        target_sr = self.sample_rate if at_model_rate else sr
        back = self._resampler(self.sample_rate, target_sr)
        tracks = [resampled(row, back, self.sample_rate, target_sr) for row in rows]
        n_given = 0
        for pieces in _on_one_thread(zip(*tracks, strict=True)):
            given = np.stack(pieces).reshape(n_channels, len(self.tracks), -1)
            if incoming.is_over and not at_model_rate:  # there and back, a length is rounded up twice
                given = given[..., : incoming.n_samples - n_given]
            n_given += given.shape[-1]
            if given.shape[-1]:
                yield {track: np.ascontiguousarray(given[:, i]) for i, track in enumerate(self.tracks)}

    def warm_up(self) -> None:
        """Run once, on a block of silence: what is loaded late is loaded now, and what fails fails now."""
        self.separate(np.zeros(self._block_length, np.float32), self.sample_rate)

    def _tracks(self, channel: Iterator[Floats], sr: int) -> list[Iterator[Floats]]:
        """The tracks of one channel, at the networks' rate."""
        heard = resampled(channel, self._resampler(sr, self.sample_rate), sr, self.sample_rate)
        process = partial(self._process, self._make_processor())
        n_tracks, section = len(self.tracks), self._section
        if section.stream is not None:
            return rows_of(cut_stream(process, n_tracks, heard, section.stream), n_tracks)
        assert section.overlap is not None  # the manifest has one of the two
        return rows_of(cut_overlapping(process, n_tracks, heard, section.overlap, self.sample_rate), n_tracks)

    def _process(self, processor: BlockProcessor, block: Floats) -> Floats:
        return processor.process(block)

    def _make_processor(self) -> BlockProcessor:
        stages = [stage.begin() for stage in self._stages]
        return self._processor_class(stages, self._block_length, len(self.tracks))

    def _resampler(self, sr: int, target_sr: int) -> Resampler | None:
        if sr == target_sr:
            return None
        if (sr, target_sr) not in self._resamplers:
            if len(self._resamplers) > 1:  # a folder's recordings all have one rate: keep those of the last
                self._resamplers.clear()
            self._resamplers[sr, target_sr] = make_resampler(sr, target_sr, self.res_type)
        return self._resamplers[sr, target_sr]

    def _lengths(self) -> tuple[int, int]:
        if self._section.stream is not None:
            return self._section.stream.block_length, self._section.stream.hop_length
        assert self._section.overlap is not None  # the manifest has one of the two
        return chunk_lengths(self._section.overlap, self.sample_rate)

    def _check_overlap(self) -> None:
        """Chunks that overlap are heard twice: what remembers them would hear an echo of its own."""
        recurrent = [stage.name for stage in self._stages if stage.has_state]
        if self._section.overlap is not None and recurrent:
            raise BundleMismatchError(
                f"{recurrent[0]} keeps a state from one run to the next and cannot read chunks that overlap: give "
                "stream in the place of overlap (--block-length, --block-hop)"
            )

    def _find_class(self) -> type[BlockProcessor]:
        """Import the class that the manifest names; only now, and only where it is ours or somebody has accepted it."""
        dotted = self._section.class_
        if not dotted:
            return BlockProcessor
        if self._section.foreign_class:
            self.bundle.check_accepted()
        module, _, name = dotted.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except Exception as error:  # importing foreign code can raise anything
            raise BundleError(
                f"{self.bundle.name} needs the class {dotted}, which cannot be imported here "
                f"({type(error).__name__}: {error}): install its package"
            ) from error
        if not (isinstance(found, type) and issubclass(found, BlockProcessor)):
            raise BundleError(f"{dotted} is not a class derived from sonyc_ml.model.waveform.BlockProcessor")
        return found

    def _try_a_block(self) -> None:
        """What does not fit is refused here, not in the middle of a recording."""
        silence = np.zeros(self._block_length, np.float32)
        try:
            tracks = self._make_processor().process(silence)
        except BundleError:
            raise
        except Exception as error:  # a class of the user's own, or a reshape
            raise BundleMismatchError(
                f"{self.bundle.name}: a block of {self._block_length} samples cannot pass its networks "
                f"({type(error).__name__}: {error}); check block_length, or chunk_s, and what lies between the stages"
            ) from error
        if np.shape(tracks) != (len(self.tracks), self._block_length):
            raise BundleMismatchError(
                f"{self.bundle.name}: a block becomes an array of shape {np.shape(tracks)}, and not of "
                f"{(len(self.tracks), self._block_length)}: tracks and samples"
            )


def checked_frames(y: Floats) -> Floats:
    """Samples of one or several channels as `(n_channels, n_samples)` float32, or what is wrong with them.

    Raises
    ------
    ValueError, TypeError
        See :func:`sonyc_ml.features.checked_samples`.
    """
    y = np.asarray(y)
    frames = y[None] if y.ndim == 1 else y
    if frames.ndim != 2 or not 1 <= len(frames) <= MAX_CHANNELS:
        raise ValueError(
            f"y must be of shape (n_samples,) or (n_channels, n_samples) with at most {MAX_CHANNELS} channels, not "
            f"{y.shape}"
        )
    return checked_samples(frames.reshape(-1)).reshape(frames.shape) if frames.size else frames.astype(np.float32)


def _with_first(first: Floats, others: Iterable[Floats]) -> Iterator[Floats]:
    yield first
    for block in others:
        if len(block) != len(first):
            raise ValueError(f"the sound began with {len(first)} channels, and goes on with {len(block)}")
        yield block


def _on_one_thread(items: Iterator[T]) -> Iterator[T]:
    """The same items: while each is made, and not while somebody else uses it, numpy's products have one thread."""
    while True:
        with one_blas_thread():
            item = next(items, None)
        if item is None:
            return
        yield item
