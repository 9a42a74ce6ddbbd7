"""The windows of a dataset that are most like an example: by brute force, a row group at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.human import seconds_of
from sonyc_ml.base.records import dataclass, field
from sonyc_ml.errors import ConfigError
from sonyc_ml.model import Model
from sonyc_ml.outputs.archive.choice import Choice, Moment, choice_of
from sonyc_ml.outputs.archive.partitions import Key, key_of, partitions
from sonyc_ml.outputs.archive.parts import PartFile, tables_of
from sonyc_ml.outputs.archive.reading import each_once
from sonyc_ml.outputs.archive.store import store_at
from sonyc_ml.outputs.output import Provenance

Floats = npt.NDArray[np.float32]

EMBEDDING = "embedding"
# Parameters that an output records and that its embedding does not depend on.
OF_OTHERS = frozenset({"detections", "keep", "levels", "start_patterns", "time_zone"})


class Way(NamedTuple):
    """What two embeddings have in common that can be compared; their hops may differ.

    Attributes
    ----------
    bundle_sha256 : str
    window_size_s : float
    res_type : str
    parameters : str
        Those that the embedding depends on, as JSON.
    """

    bundle_sha256: str
    window_size_s: float
    res_type: str
    parameters: str


@dataclass(frozen=True, slots=True)
class Example:
    """What is searched for.

    Attributes
    ----------
    name : str
    embedding : np.ndarray [shape=(n_dims,), dtype=float32]
    made : Provenance
        How it was embedded.
    """

    name: str
    embedding: Floats
    made: Provenance


class Match(NamedTuple):
    """A window that is like the example.

    Attributes
    ----------
    cosine : float
        Of the two embeddings, in [-1, 1].
    node : str
        Empty where the dataset does not say.
    recording : str
    start_s, end_s : float
        Where the window begins and ends, from the recording's first sample.
    time : str
        When it does, in ISO 8601 in UTC; empty where nobody knows.
    part : str
        The file that it is in.
    """

    cosine: float
    node: str
    recording: str
    start_s: float
    end_s: float
    time: str
    part: str


@dataclass(slots=True)
class Found:
    """What a search has found.

    Attributes
    ----------
    matches : list of Match
        The nearest first.
    n_windows, n_recordings : int
        How many were compared.
    others : Counter of str
        Recordings that were made in another way and are left out, by their bundle and window.
    """

    matches: list[Match] = field(default_factory=list)
    n_windows: int = 0
    n_recordings: int = 0
    others: Counter[str] = field(default_factory=Counter)


def way_of(made: Provenance) -> Way:
    """How an output was made, as far as its embedding depends on it."""
    parameters = json.loads(made.parameters or "{}")
    kept = {name: value for name, value in parameters.items() if name not in OF_OTHERS}
    return Way(made.bundle_sha256, made.window_size_s, made.res_type, json.dumps(kept, sort_keys=True))


def embed_example(model: Model, path: str | Path, at_s: float | None = None) -> Example:
    """Embed what is to be searched for.

    Parameters
    ----------
    model : Model
        Of the bundle that the dataset was made with.
    path : str or Path
        Of a recording.
    at_s : float, optional
        The window around this moment is taken (in seconds from the first sample); where not given, the mean direction
        of all windows.

    Raises
    ------
    RecordingError, UnavailableRecordingError
    ConfigError
        The bundle gives no embedding, or there is no window at this moment.
    """
    output = model.embed_file(path)
    if output.embedding is None:
        raise ConfigError(f"the bundle {output.provenance.bundle} gives no embedding, so nothing can be compared")
    if at_s is None:
        return Example(Path(path).name, _unit(output.embedding).mean(axis=0), output.provenance)
    middles_s = output.timestamps + output.provenance.window_size_s / 2
    nearest = int(np.abs(middles_s - at_s).argmin())
    if not 0 <= at_s <= output.provenance.duration_s:
        raise ConfigError(f"--at {at_s:g} is not in {path}, which is {output.provenance.duration_s:.1f} s long")
    return Example(Path(path).name, output.embedding[nearest], output.provenance)


def search(
    dataset: str | Path,
    example: Example,
    *,
    top: int = 50,
    apart_s: float | None = None,
    nodes: str | Iterable[str] | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    tell: Callable[[str], None] | None = None,
) -> Found:
    """Find the windows whose embeddings have the largest cosine with the example's.

    Every window is compared, so nothing is missed. Memory holds a row group, the cosines of a part, and what is found.

    Parameters
    ----------
    dataset : str or Path
        A folder of Parquet parts, or its address.
    example : Example
    top : int > 0
        How many.
    apart_s : float >= 0, optional
        Of matches in one recording that begin closer than this, the nearest alone counts (in seconds): windows that
        overlap hear the same sound. The length of a window where not given; with 0 every window counts.
    nodes, since, until
        See :func:`sonyc_ml.read_embeddings`.
    tell : callable, optional
        Called with the reason for each part that is damaged and left out; without it the first ends the search.

    Raises
    ------
    ConfigError
        Nothing in it was made with the example's bundle, window and parameters; says with which.
    DamagedPartError, StoreError
    """
    if top < 1:
        raise ValueError(f"top must be at least 1, not {top}")
    searching = _Search(example, top, example.made.window_size_s if apart_s is None else apart_s)
    choice = choice_of(nodes, since, until)
    for partition in partitions(store_at(dataset), choice):
        for _ in each_once(partition, choice, lambda part, wanted: searching.add(part, wanted, choice), tell):
            pass
    _refuse_others(searching.found, dataset, example)
    return searching.found


def _refuse_others(found: Found, dataset: str | Path, example: Example) -> None:
    if not found.n_recordings and found.others:
        raise ConfigError(
            f"{dataset} holds nothing that can be compared with {example.name}: that was embedded with "
            f"{_described(example.made)}, and the dataset with {'; '.join(found.others)}. Give the bundle of the "
            "dataset by --model"
        )


class _Search:
    """The nearest so far."""

    def __init__(self, example: Example, top: int, apart_s: float) -> None:
        self._direction = _unit(example.embedding[None])[0]
        self._way, self._top, self._apart_s = way_of(example.made), top, apart_s
        self._ways: dict[tuple[str, ...], bool] = {}  # thousands of outputs are made in one way
        self.found = Found()

    def add(self, part: PartFile, wanted: npt.NDArray[np.bool_], choice: Choice) -> Iterator[tuple[list[Key], None]]:
        """Compare some recordings of a part; they count once all of it was read."""
        made = [provenance for provenance, _ in part.description.recordings]
        alike = np.array([bool(one) and self._is_alike(made[i]) for i, one in enumerate(wanted)], np.bool_)
        others = Counter(_described(made[i]) for i in np.flatnonzero(wanted & ~alike))
        if alike.any() and EMBEDDING in part.columns:
            self._compare(part, alike, choice)
            self.found.n_recordings += int(alike.sum())
        self.found.others += others
        yield [key_of(made[number], part.place.node) for number in np.flatnonzero(wanted)], None

    def _compare(self, part: PartFile, wanted: npt.NDArray[np.bool_], choice: Choice) -> None:
        rows, starts_s, cosines = [], [], []
        is_wanted = np.repeat(wanted, np.diff(part.starts))
        for first, table in tables_of(part, wanted, ("start_s", "time", EMBEDDING)):
            kept = is_wanted[first : first + table.num_rows].copy()
            if choice.is_span:
                kept &= choice.rows(table["time"].to_numpy().astype("datetime64[us]"))
            rows.append(first + np.flatnonzero(kept))
            starts_s.append(table["start_s"].to_numpy()[kept])
            cosines.append(self._cosines(table[EMBEDDING])[kept])
        if rows:
            self._take(part, np.concatenate(rows), np.concatenate(starts_s), np.concatenate(cosines))

    def _cosines(self, column: Any) -> Floats:
        values = column.combine_chunks().flatten().to_numpy().reshape(len(column), -1)
        if values.shape[1] != len(self._direction):
            raise ConfigError(f"the dataset has {values.shape[1]} dimensions, the example {len(self._direction)}")
        with np.errstate(invalid="ignore", over="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", values, values))
            cosines = values @ self._direction / np.maximum(lengths, np.finfo(np.float32).tiny)
        cosines[~np.isfinite(cosines)] = -1  # what is no number is like nothing
        return np.asarray(cosines, np.float32)

    def _take(self, part: PartFile, rows: Any, starts_s: Any, cosines: Floats) -> None:
        """Take up the nearest of a part that are nearer than the last of those before."""
        found = self.found
        found.n_windows += len(rows)
        lowest = found.matches[-1].cosine if len(found.matches) >= self._top else -np.inf
        near = np.flatnonzero(cosines > lowest)
        near = near[np.argsort(-cosines[near], kind="stable")]
        taken: dict[int, list[float]] = {}
        new: list[Match] = []
        for i in near:
            if len(new) >= self._top:
                break
            number = int(np.searchsorted(part.starts, rows[i], side="right")) - 1
            start_s = float(starts_s[i])
            if all(abs(start_s - other) >= self._apart_s for other in taken.setdefault(number, [])):
                taken[number].append(start_s)
                new.append(_match(part, number, start_s, float(cosines[i])))
        if new:
            nearest = sorted([*found.matches, *new], key=lambda match: (-match.cosine, *match[1:4]))
            found.matches = nearest[: self._top]

    def _is_alike(self, made: Provenance) -> bool:
        key = made.bundle_sha256, str(made.window_size_s), made.res_type, made.parameters
        if key not in self._ways:
            self._ways[key] = way_of(made) == self._way
        return self._ways[key]


def _match(part: PartFile, number: int, start_s: float, cosine: float) -> Match:
    made = part.description.recordings[number][0]
    time = ""
    if made.start_time:
        start_us = np.datetime64(round((seconds_of(made.start_time) + start_s) * 1e6), "us")
        time = f"{start_us.astype('datetime64[ms]')}Z"
    return Match(cosine, part.place.node, made.recording, start_s, start_s + made.window_size_s, time, part.key)


def _unit(rows: Floats) -> Floats:
    """Rows of length 1."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, np.finfo(np.float64).tiny), np.float32)


def _described(made: Provenance) -> str:
    return f"{made.bundle} (SHA-256 {made.bundle_sha256[:12]}…), a window of {made.window_size_s:g} s"
