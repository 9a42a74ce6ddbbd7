"""Outputs that were computed before: the same sound, asked again of the same bundle, is not computed again."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.process import is_clock_synchronised
from sonyc_ml.outputs.output import CLOCK_STATES, Output
from sonyc_ml.sound.recording import Recording
from sonyc_ml.sound.start_time import StartTimes

if TYPE_CHECKING:
    from sonyc_ml.model.base import Model

Floats = npt.NDArray[np.float32]

T = TypeVar("T")

WAIT_S = 0.1  # at most, until a thread that waits for another's work looks whether it is still wanted
OVERHEAD = 1024  # bytes that an entry takes beside its arrays
ITEM = 256  # and what each member of its lists does


class OutputCache:
    """Keeps what models have computed, in memory, up to so many bytes; what was asked for longest ago goes first.

    Several models and threads may share one: entries are told apart by bundle, parameters, runtime and kernels, and by
    the content of the sound. What several threads ask for at once is computed once. What it gives are copies.

    Parameters
    ----------
    max_bytes : int > 0
        Of all arrays, with a kilobyte for each entry. What is larger alone is not kept.

    Attributes
    ----------
    max_bytes : int
    hits, misses : int
        How often something was there, or another thread was at it, and how often neither.
    n_bytes : int
        That it takes now.
    """

    def __init__(self, max_bytes: int) -> None:
        if not max_bytes > 0:
            raise ValueError(f"max_bytes must be more than 0, not {max_bytes}")
        self.max_bytes, self.hits, self.misses, self.n_bytes = max_bytes, 0, 0, 0
        self._entries: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()
        self._at_work: dict[bytes, threading.Event] = {}  # what a thread computes now, set when it has ended
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def __repr__(self) -> str:
        found = f"{len(self)} entries, {self.n_bytes:,} of {self.max_bytes:,} bytes"
        return f"<OutputCache: {found}; {self.hits:,} hits, {self.misses:,} misses>"

    def get(self, key: bytes) -> Any:
        """A copy of what was kept under a key; None where nothing is. Counts as a hit or a miss."""
        with self._lock:
            if key not in self._entries:
                self.misses += 1
                return None
            self.hits += 1
            self._entries.move_to_end(key)
            kept = self._entries[key][0]
        return _copied(kept)  # nobody else writes to it

    def computed(self, key: bytes, compute: Callable[[], T], waiting: Callable[[], None] | None = None) -> T:
        """What is kept under a key, else what `compute` gives, which is kept then.

        Where another thread computes it already, it is waited for. What that thread does not keep, because it was given
        up or is too large, is computed here.

        Parameters
        ----------
        key : bytes
        compute : callable
        waiting : callable, optional
            Called every tenth of a second while another thread is waited for; what it raises ends the wait.
        """
        with self._lock:
            other = None if key in self._entries else self._at_work.get(key)
            is_first = other is None and key not in self._entries
            if is_first:
                self._at_work[key] = threading.Event()
        while other is not None and not other.wait(WAIT_S):
            if waiting is not None:
                waiting()
        found: T | None = self.get(key)
        try:
            if found is None:
                found = compute()
                self.put(key, found)  # type: ignore[arg-type]
            return found
        finally:
            if is_first:
                with self._lock:
                    self._at_work.pop(key).set()

    def put(self, key: bytes, value: Mapping[str, npt.NDArray[Any]] | Output) -> None:
        """Keep a copy under a key, if it is not too large."""
        size = OVERHEAD + sum(array.nbytes for array in _arrays(value).values()) + ITEM * _n_items(value)
        if size > self.max_bytes:
            return
        entry = (_copied(value), size)
        with self._lock:
            self._drop(key)
            while self.n_bytes + size > self.max_bytes:
                self._drop(next(iter(self._entries)))
            self._entries[key] = entry
            self.n_bytes += size

    def clear(self) -> None:
        """Forget all entries; the counts of hits and misses stay."""
        with self._lock:
            self._entries.clear()
            self.n_bytes = 0

    def _drop(self, key: bytes) -> None:
        if key in self._entries:
            self.n_bytes -= self._entries.pop(key)[1]


def make_cache(cache: OutputCache | None, cache_bytes: int | None) -> OutputCache | None:
    """The cache that a caller gives, or asks for by its size; None where neither is said."""
    if cache is not None and cache_bytes is not None:
        raise ValueError("cache and cache_bytes are two ways of saying one thing: give one of them")
    return cache if cache_bytes is None else OutputCache(cache_bytes)


def outputs_of(
    model: Model, cache: OutputCache, identity: str, y: Floats, sr: int, hop_size: float | None
) -> dict[str, npt.NDArray[Any]]:
    """What :meth:`~sonyc_ml.model.base.Model.get_outputs` gives for samples, computed where it is not there yet.

    Parameters
    ----------
    model : Model
    cache : OutputCache
    identity : str
        Of all that decides the numbers beside the sound.
    y, sr, hop_size
        Checked.
    """
    samples = hashlib.sha256(np.ascontiguousarray(y).data).hexdigest()
    key = _key("samples", identity, samples, str(len(y)), str(sr))
    return cache.computed(key, lambda: _without_cache(model).get_outputs(y, sr, hop_size))


def output_of(
    model: Model,
    cache: OutputCache,
    identity: str,
    recording: Recording,
    hop_size: float | None,
    name: str | None,
    start_times: StartTimes | None,
    progress: Callable[[], None] | None,
    scratch: Path | None,
) -> Output:
    """What :meth:`~sonyc_ml.model.base.Model.embed` gives for a recording, computed where it is not there yet.

    The provenance is that of the recording that was asked for now: its name, time and start.
    """
    digest = recording.sha256(progress)
    key = _key("recording", identity, digest, str(recording.n_samples), str(recording.salvaged))
    found = cache.computed(
        key,
        lambda: _without_cache(model).embed(
            recording, hop_size, name, start_times=start_times, progress=progress, scratch=scratch
        ),
        progress,
    )
    name = name or recording.name
    start = recording.start_time(name, start_times or StartTimes())
    provenance = dataclasses.replace(
        found.provenance,
        recording=name,
        recording_mtime_ns=recording.mtime_ns,
        start_time=start.text,
        start_time_source=start.source,
        start_time_doubt=start.doubt,
        clock_synchronised=CLOCK_STATES[is_clock_synchronised()],
    )
    return dataclasses.replace(found, provenance=provenance)


def _without_cache(model: Model) -> Model:
    """The same model, its networks too, which computes everything."""
    other = copy.copy(model)
    other.cache = None
    return other


def _key(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()


def _n_items(value: Mapping[str, Any] | Output) -> int:
    return sum(len(held) for held in _fields(value).values() if isinstance(held, tuple))


def _fields(value: Mapping[str, Any] | Output) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    return {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)}


def _arrays(value: Mapping[str, Any] | Output) -> dict[str, npt.NDArray[Any]]:
    return {name: held for name, held in _fields(value).items() if isinstance(held, np.ndarray)}


def _copied(value: Any) -> Any:
    copies = {name: np.array(array) for name, array in _arrays(value).items()}
    return {**value, **copies} if isinstance(value, Mapping) else dataclasses.replace(value, **copies)
