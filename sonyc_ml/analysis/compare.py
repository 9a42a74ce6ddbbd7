"""Two folders of outputs: what is in both, and how far their numbers lie apart."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count, zip_longest
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sonyc_ml.analysis.detections_apart import DetectionDifference, detections_apart
from sonyc_ml.analysis.differences import PARTS, Difference, part_apart, spacing_apart, windows_apart
from sonyc_ml.base.records import dataclass, field
from sonyc_ml.errors import ConfigError, StoreError
from sonyc_ml.outputs.files import read_output
from sonyc_ml.outputs.output import Output

COMPARED = ("bundle", "bundle_sha256", "window_size_s", "hop_size_s", "res_type", "parameters", "versions")

Pair: TypeAlias = tuple[Output, Output]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """How far numbers may lie apart and still be the same; as a manifest's for its golden vector.

    Attributes
    ----------
    cosine : float
        Lowest cosine of two windows' embeddings.
    scores : float
        Largest difference of two scores.
    exact : bool
        Every value must be the same number, whatever else is allowed.

    Raises
    ------
    ValueError
        A tolerance that nothing can keep, or everything does.
    """

    cosine: float = 0.9997
    scores: float = 0.05
    exact: bool = False

    def __post_init__(self) -> None:
        if not -1 <= self.cosine <= 1:
            raise ValueError(f"the lowest cosine must be in [-1, 1], and is {self.cosine:g}")
        if not 0 <= self.scores <= 1:
            raise ValueError(f"the largest difference of scores must be in [0, 1], and is {self.scores:g}")

    def allow(self, part: str, largest: float, lowest_cosine: float) -> bool:
        """Whether a part of one recording is the same."""
        if self.exact:
            return largest == 0
        return lowest_cosine >= self.cosine if part == "embedding" else largest <= self.scores


@dataclass(kw_only=True)
class Comparison:
    """What came out.

    Attributes
    ----------
    tolerances : Tolerances
    n_both, n_alike : int
        Recordings that are in both; and those of them that were made alike, so that they can be compared.
    missing_in_a, missing_in_b : list of str
        Recordings that only the other has.
    apart : list of tuple of (str, str)
        Recordings that cannot be compared, or not all of them, and why: other windows, dimensions or classes.
    beyond : list of str
        Recordings whose numbers lie further apart than the tolerances allow.
    other_sha256 : list of str
        Names under which the two have been made of different files.
    differences : dict of str to Difference
        Of each part.
    detections : DetectionDifference or None
        Of outputs with detections; None where there are none.
    provenance : Counter of tuple of (str, str, str)
        What differs in where outputs come from (field, in A, in B), in how many recordings.
    """

    tolerances: Tolerances = Tolerances()
    n_both: int = 0
    n_alike: int = 0
    missing_in_a: list[str] = field(default_factory=list)
    missing_in_b: list[str] = field(default_factory=list)
    apart: list[tuple[str, str]] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)
    other_sha256: list[str] = field(default_factory=list)
    differences: dict[str, Difference] = field(default_factory=lambda: {part: Difference() for part in PARTS})
    detections: DetectionDifference | None = None
    provenance: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    @property
    def same(self) -> bool:
        """Whether both hold the same recordings, with the same numbers within the tolerances."""
        return not (self.missing_in_a or self.missing_in_b or self.apart or self.beyond)

    def add(self, a: Output, b: Output) -> None:
        """Compare the two outputs of a recording."""
        self.n_both += 1
        self._add_provenance(a, b)
        whys = [spacing_apart(a, b)]
        if not any(whys):
            of_parts = {part: part_apart(part, a, b) for part in PARTS}
            parts = [part for part, why in of_parts.items() if not why and getattr(a, part) is not None]
            has_detections = a.detections is not None and b.detections is not None
            self.n_alike += bool(parts) or has_detections
            whys = [*of_parts.values(), detections_apart(a, b), windows_apart(a, b)]
            allowed = [] if whys[-1] else [self._add_part(part, a, b) for part in parts]
            if has_detections:
                allowed.append(self._add_detections(a, b))
            if not all(allowed):
                self.beyond.append(a.provenance.recording)
        if any(whys):
            self.apart.append((a.provenance.recording, "; ".join(filter(None, whys))))

    def _add_provenance(self, a: Output, b: Output) -> None:
        if a.provenance.recording_sha256 != b.provenance.recording_sha256:
            self.other_sha256.append(a.provenance.recording)
        for name in COMPARED:
            values = str(getattr(a.provenance, name)), str(getattr(b.provenance, name))
            if values[0] != values[1]:
                self.provenance[name, *values] += 1

    def _add_part(self, part: str, a: Output, b: Output) -> bool:
        largest, lowest_cosine = self.differences[part].add(getattr(a, part), getattr(b, part), a)
        return self.tolerances.allow(part, largest, lowest_cosine)

    def _add_detections(self, a: Output, b: Output) -> bool:
        self.detections = self.detections or DetectionDifference()
        return self.detections.add(a, b, self.tolerances.scores, exact=self.tolerances.exact)

    def table(self) -> dict[str, Any]:
        """All of it by name, for programs."""
        return {
            "same": self.same,
            "recordings_in_both": self.n_both,
            "missing_in_a": self.missing_in_a,
            "missing_in_b": self.missing_in_b,
            "not_comparable": [{"recording": name, "why": why} for name, why in self.apart],
            "beyond_tolerance": self.beyond,
            "recording_sha256_differs": self.other_sha256,
            **{part: found.table(part) if found.n_windows else None for part, found in self.differences.items()},
            "detections": self.detections and self.detections.table(),
            "provenance": [
                {"field": name, "a": a, "b": b, "recordings": n} for (name, a, b), n in self.provenance.items()
            ],
            "tolerances": {name: getattr(self.tolerances, name) for name in ("cosine", "scores", "exact")},
        }


def compare(
    a: Iterable[Output], b: Iterable[Output], tolerances: Tolerances | None = None, *, one_each: bool = False
) -> Comparison:
    """Compare two streams of outputs, recording by recording, in whatever order they come.

    Two outputs belong together where name and SHA-256 of their recording are the same; of what is left over, where the
    name is. Both streams are read once, and side by side: in the same order, memory holds one recording of each. What
    has to wait for its counterpart waits in a temporary folder.

    Parameters
    ----------
    a, b : iterable of Output
    tolerances : Tolerances, optional
    one_each : bool
        Where each stream is one output, they belong together, whatever their recordings are called.

    Raises
    ------
    ConfigError
        Of all recordings that are in both, not one can be compared: other windows, dimensions, classes; says which.
    StoreError
        What waits cannot be written.
    """
    comparison = Comparison(tolerances=tolerances or Tolerances())
    with tempfile.TemporaryDirectory(prefix="sonyc-ml-") as folder:
        ours, theirs = _Waiting(Path(folder, "a")), _Waiting(Path(folder, "b"))
        n_a = n_b = 0
        for next_a, next_b in zip_longest(a, b):
            n_a, n_b = n_a + (next_a is not None), n_b + (next_b is not None)
            for pair in _meet(next_a, next_b, ours, theirs):
                comparison.add(*pair)
        for pair in _left_over(ours, theirs, is_single=one_each and n_a == n_b == 1):
            comparison.add(*pair)
        comparison.missing_in_a, comparison.missing_in_b = theirs.names(), ours.names()
    if comparison.apart and not comparison.n_alike:
        name, why = comparison.apart[0]
        raise ConfigError(f"the two cannot be compared: {name} has {why}")
    return comparison


class _Waiting:
    """Outputs of one stream whose counterparts have not come yet: their names in memory, they themselves on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self._paths: dict[str, list[tuple[str, Path]]] = {}
        self._numbers = count()

    def put(self, output: Output) -> None:
        """Keep an output."""
        path = self._folder / f"{next(self._numbers)}.npz"
        arrays: dict[str, Any] = output.arrays()
        try:
            np.savez(path, **arrays)
        except OSError as error:
            raise StoreError(f"what waits to be compared cannot be written: {error}; $TMPDIR says where") from error
        self._paths.setdefault(output.provenance.recording, []).append((output.provenance.recording_sha256, path))

    def take(self, name: str, sha256: str) -> Output | None:
        """The output of a recording, made of just this file, that has waited longest; None where there is none."""
        numbers = [number for number, entry in enumerate(self._paths.get(name, [])) if entry[0] == sha256]
        return self._taken(name, numbers[0]) if numbers else None

    def take_any(self, name: str) -> Output:
        """The output of a recording, made of whatever file, that has waited longest."""
        return self._taken(name, 0)

    def _taken(self, name: str, number: int) -> Output:
        _, path = self._paths[name].pop(number)
        if not self._paths[name]:
            del self._paths[name]
        output = read_output(path)
        path.unlink()
        return output

    def __contains__(self, name: str) -> bool:
        return name in self._paths

    def names(self) -> list[str]:
        """Of the recordings that wait, each as often as it does."""
        return [name for name, waiting in self._paths.items() for _ in waiting]


def _meet(next_a: Output | None, next_b: Output | None, ours: _Waiting, theirs: _Waiting) -> Iterator[Pair]:
    """The pairs that two new outputs make, with each other or with what waits; else they wait."""
    if next_a is not None and next_b is not None and _key(next_a) == _key(next_b):
        yield next_a, next_b
        return
    if next_a is not None:
        partner = theirs.take(*_key(next_a))
        if partner is None:
            ours.put(next_a)
        else:
            yield next_a, partner
    if next_b is not None:
        partner = ours.take(*_key(next_b))
        if partner is None:
            theirs.put(next_b)
        else:
            yield partner, next_b


def _left_over(ours: _Waiting, theirs: _Waiting, *, is_single: bool) -> Iterator[Pair]:
    """The pairs of other files under the same name, or under any where both streams had one output alone."""
    for name in dict.fromkeys(ours.names()):
        (other,) = theirs.names() if is_single else (name,)
        while name in ours and other in theirs:
            yield ours.take_any(name), theirs.take_any(other)


def _key(output: Output) -> tuple[str, str]:
    return output.provenance.recording, output.provenance.recording_sha256
