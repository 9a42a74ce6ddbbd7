"""Samples at an extractor's rate, as far as the sound that has come decides them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sonyc_ml.features import n_resampled

Floats = npt.NDArray[np.float32]

# What is needed of a resampler, which may come out of a pickle; of another one, its stream is enough.
PARTS = ("_apply", "_lead", "_tail", "_n_repeats", "_n_inputs", "_n_computed", "n_outputs_at_once")


class Coming(Protocol):
    """Samples that are known so far."""

    @property
    def n_known(self) -> int:
        """How many are known that were not read."""
        ...

    def read(self) -> Floats:
        """Return those that are known and were not read before; there may be none."""
        ...

    def pull(self) -> bool:
        """Wait for more sound; False where it is over."""
        ...


def coming(extractor: Any, blocks: Iterable[Floats], sr: int, n_samples: int) -> Coming:
    """The samples of a stream, at the extractor's rate.

    Parameters
    ----------
    extractor : Extractor
        One of ours.
    blocks, sr, n_samples
        Those of :meth:`~sonyc_ml.model.extractor.Extractor.stream`.
    """
    resampled = extractor._resampled(blocks, sr, n_samples)  # noqa: SLF001  pickles of ours have it too
    resampler = getattr(extractor, "resampler", None)
    if resampled is not blocks and all(hasattr(resampler, name) for name in PARTS):
        return ResampledAsItComes(resampler, blocks, n_samples)
    return AsItComes(resampled)


class AsItComes:
    """Blocks of samples, as they are."""

    def __init__(self, blocks: Iterable[Floats]) -> None:
        self._blocks, self._waiting = iter(blocks), list[Floats]()

    @property
    def n_known(self) -> int:
        """See :class:`Coming`."""
        return sum(map(len, self._waiting))

    def read(self) -> Floats:
        """See :class:`Coming`."""
        found, self._waiting = self._waiting, []
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def pull(self) -> bool:
        """See :class:`Coming`."""
        block = next(self._blocks, None)
        self._waiting += [] if block is None else [block]
        return block is not None


class ResampledAsItComes:
    """What a polyphase resampler makes of blocks, before each of its units is whole.

    A unit is computed with silence in the place of what has not come, and again when more has: the products have the
    same shape, and no output depends on inputs beyond its filter, so what is known early has the numbers that it will
    have.

    Parameters
    ----------
    resampler : Polyphase
    blocks : iterable of np.ndarray [shape=(any,), dtype=float32]
    n_samples : int
        How many samples there will be in all.
    """

    def __init__(self, resampler: Any, blocks: Iterable[Floats], n_samples: int) -> None:
        self._resampler, self._blocks = resampler, iter(blocks)
        self._n_out = n_resampled(n_samples, resampler.sr, resampler.target_sr)
        self._n_computed = resampler._n_computed(n_samples)  # noqa: SLF001
        self._parts = [np.zeros(resampler._lead, np.float32)]  # noqa: SLF001  beginning with the unit's first input
        self._n_held = len(self._parts[0])
        self._n_before = self._n_given = 0  # outputs of units before, and of this unit
        self._is_over = False

    def pull(self) -> bool:
        """See :class:`Coming`."""
        block = next(self._blocks, None)
        if block is None:
            self._is_over = True
            return False
        self._parts.append(block)
        self._n_held += len(block)
        return True

    def read(self) -> Floats:
        """See :class:`Coming`."""
        found, n_at_once = [], self._resampler.n_outputs_at_once
        while (n_known := self.n_known) > 0:
            n = min(n_known, n_at_once - self._n_given)
            found.append(self._unit()[self._n_given : self._n_given + n])
            self._n_given += n
            if self._n_given == n_at_once:
                self._next_unit()
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    @property
    def n_known(self) -> int:
        """See :class:`Coming`."""
        one, n_left = self._resampler, self._n_out - self._n_before
        if not self._is_over:
            n_repeats = (self._n_held - one._lead - one._tail) // one._n_inputs + 1  # noqa: SLF001
            n_left = min(n_left, max(0, n_repeats) * (one.n_outputs_at_once // one._n_repeats))  # noqa: SLF001
        return n_left - self._n_given

    def _unit(self) -> Floats:
        one = self._resampler
        length = one._lead + one._n_repeats * one._n_inputs + one._tail  # noqa: SLF001
        piece = self._held()[:length]
        if len(piece) < length:
            piece = np.concatenate([piece, np.zeros(length - len(piece), np.float32)])
        samples: Floats = one._apply(piece).reshape(-1)  # noqa: SLF001
        samples[max(0, self._n_computed - self._n_before) :] = 0
        return samples

    def _next_unit(self) -> None:
        one = self._resampler
        self._parts = [self._held()[one._n_repeats * one._n_inputs :]]  # noqa: SLF001
        self._n_held = len(self._parts[0])
        self._n_before, self._n_given = self._n_before + one.n_outputs_at_once, 0

    def _held(self) -> Floats:
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0]
