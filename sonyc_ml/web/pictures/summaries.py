"""Outputs, reduced to what pictures of many of them need: read in a quarter of the time that all of one takes."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.identity import Identity
from sonyc_ml.base.strict import open_npz
from sonyc_ml.outputs.files import output_path, read_output
from sonyc_ml.sound.levels.result import QUANTITIES

Floats = npt.NDArray[np.float32]

LAEQ, LAFMAX = (QUANTITIES.index(name) for name in ("LAeq", "LAFmax"))
MAX_REMEMBERED = 20_000  # summaries: 30 MB of embeddings with 256 dimensions and ten scores
WITH_LEVELS = 2_000  # of which the levels are kept, too


class Levels(NamedTuple):
    """Levels of the periods of a recording, `(n_periods,)` each; see :class:`sonyc_ml.sound.levels.result.SoundLevels`.

    `reference` says what 0 dB is, and `made` how they were measured.
    """

    start_s: npt.NDArray[np.float64]
    measured_s: Floats
    laeq: Floats
    lafmax: Floats
    made: str


class Summary(NamedTuple):
    """What is kept of an output.

    Attributes
    ----------
    bundle_sha256 : str
    labels : tuple of str
        Of the scores.
    embedding : np.ndarray [shape=(n_dims,), dtype=float32] or None
        Mean of the windows.
    scores : np.ndarray [shape=(n_classes,), dtype=float32] or None
        Mean of the windows.
    levels : Levels or None
    """

    bundle_sha256: str
    labels: tuple[str, ...]
    embedding: Floats | None
    scores: Floats | None
    levels: Levels | None


class Summaries:
    """Reads the outputs of a folder, and remembers them: outputs never change.

    Parameters
    ----------
    folder : Path
    output_format : str
    """

    def __init__(self, folder: Path, output_format: str) -> None:
        self._folder, self._format = folder, output_format
        self._known: OrderedDict[Identity, Summary] = OrderedDict()
        self._with_levels: OrderedDict[Identity, None] = OrderedDict()

    def __contains__(self, identity: object) -> bool:
        """Whether it was read before, and costs nothing."""
        return identity in self._known

    def read(
        self,
        wanted: Iterable[Identity],
        until_s: float,
        *,
        with_levels: bool = False,
        timer: Callable[[], float] = time.monotonic,
    ) -> Iterator[tuple[Identity, Summary]]:
        """Yield those that are there, until a time by the timer; at least one is looked for.

        Parameters
        ----------
        wanted : iterable of Identity
            Of recordings.
        until_s : float
            No other is begun after that.
        with_levels : bool
            Whether levels are needed.
        """
        for identity in wanted:
            summary = self._remembered(identity, with_levels=with_levels) or self._read(identity)
            if summary is not None:
                yield identity, summary
            if timer() > until_s:
                return

    def _remembered(self, identity: Identity, *, with_levels: bool) -> Summary | None:
        if with_levels and identity not in self._with_levels:
            return None
        return self._known.get(identity)

    def _read(self, identity: Identity) -> Summary | None:
        for name in (identity.name, f"{identity.name}.{identity.stamp}"):
            summary = summarise(output_path(name, self._folder, self._format), identity)
            if summary is not None:
                self._remember(identity, summary)
                return summary
        return None

    def _remember(self, identity: Identity, summary: Summary) -> None:
        self._known[identity] = summary
        self._with_levels[identity] = None
        if len(self._with_levels) > WITH_LEVELS:
            oldest, _ = self._with_levels.popitem(last=False)
            if oldest in self._known:
                self._known[oldest] = self._known[oldest]._replace(levels=None)
        if len(self._known) > MAX_REMEMBERED:
            oldest, _ = self._known.popitem(last=False)
            self._with_levels.pop(oldest, None)


def summarise(path: Path, identity: Identity) -> Summary | None:
    """Return what is kept of an output; None where it is not there, is another recording's, or is damaged."""
    try:
        return _in_csv(path, identity) if path.suffix == ".csv" else _in_npz(path, identity)
    except Exception:  # noqa: BLE001  a damaged file fails in a dozen ways, and is no output in any of them
        return None


def _in_npz(path: Path, identity: Identity) -> Summary | None:
    with path.open("rb") as file, open_npz(file) as arrays:
        if (int(arrays["recording_bytes"]), int(arrays["recording_mtime_ns"])) != identity[1:]:
            return None
        levels = None
        if "level_values" in arrays.files:
            values = arrays["level_values"]
            levels = Levels(
                arrays["level_start_s"],
                arrays["level_measured_s"],
                values[:, LAEQ].copy(),
                values[:, LAFMAX].copy(),
                arrays["level_made"].item(),
            )
        labels = tuple(arrays["labels"].tolist()) if "labels" in arrays.files else ()
        means = {name: mean_of(arrays[name]) for name in ("embedding", "scores") if name in arrays.files}
        return _summary(arrays["bundle_sha256"].item(), labels, means, levels)


def _in_csv(path: Path, identity: Identity) -> Summary | None:
    output = read_output(path)
    if (output.provenance.recording_bytes, output.provenance.recording_mtime_ns) != identity[1:]:
        return None
    means = {name: mean_of(array) for name, array in output.computed().items()}
    levels = None
    if output.levels is not None:
        own = output.levels
        levels = Levels(own.start_s, own.measured_s, own["LAeq"], own["LAFmax"], own.made)
    return _summary(output.provenance.bundle_sha256, output.labels, means, levels)


def _summary(
    bundle_sha256: str, labels: tuple[str, ...], means: Mapping[str, Floats | None], levels: Levels | None
) -> Summary:
    scores = means.get("scores")
    return Summary(bundle_sha256, labels if scores is not None else (), means.get("embedding"), scores, levels)


def mean_of(rows: npt.NDArray[Any]) -> Floats | None:
    """Mean of the windows, `(n,)`; None where there is none, or it is no number."""
    if not len(rows):
        return None
    mean: Floats = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean if np.isfinite(mean).all() else None


def spread(n: int, most: int) -> list[int]:
    """At most so many of `n` places, evenly over all of them, and so is every beginning of the list.

    The places come in the order of van der Corput's sequence, so that who stops early has seen the whole span, too.
    """
    n_chosen = min(n, most)
    n_bits = max(1, (n_chosen - 1).bit_length())
    order = sorted(range(n_chosen), key=lambda i: int(f"{i:0{n_bits}b}"[::-1], 2))
    return [i * n // n_chosen for i in order]
