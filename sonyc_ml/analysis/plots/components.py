"""What embeddings have in common: principal components, an order of likeness, a sample of many."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Components:
    """Principal components of points.

    Attributes
    ----------
    mean : np.ndarray [shape=(n_dims,), dtype=float64]
        Of the points.
    axes : np.ndarray [shape=(n_components, n_dims), dtype=float64]
        Of unit length, the one with the largest variance first. The largest entry of each is positive.
    shares : np.ndarray [shape=(n_components,), dtype=float64]
        Of the whole variance, each in [0, 1].
    """

    mean: Numbers
    axes: Numbers
    shares: Numbers

    def coordinates(self, points: npt.NDArray[np.floating]) -> Numbers:
        """Points along the axes, `(n_points, n_components)`."""
        coordinates: Numbers = (points - self.mean) @ self.axes.T
        return coordinates


def principal_components(points: npt.NDArray[np.floating], n_components: int) -> Components:
    """Principal components of points, by singular values.

    Parameters
    ----------
    points : np.ndarray [shape=(n_points, n_dims)]
    n_components : int > 0
        How many at most; there are no more than points or dimensions.
    """
    mean = points.mean(axis=0, dtype=np.float64)
    _, lengths, axes = np.linalg.svd(points - mean, full_matrices=False)
    axes = axes[:n_components]
    # Which way an axis points is the library's whim; a picture must not depend on it.
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    variances = lengths**2
    shares = variances[:n_components] / max(float(variances.sum()), sys.float_info.min)
    return Components(mean, axes * signs[:, None], shares)


def varying(values: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.bool_], Numbers, Numbers]:
    """Which columns of `values`, `(n, n_dims)`, are not constant; the mean and the standard deviation of each."""
    mean, deviation = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    # What rounding leaves of a constant is no deviation.
    return deviation > 1e-6 * np.abs(values).max(axis=0, initial=0), mean, deviation


def order_of_likeness(values: npt.NDArray[np.floating]) -> Indices:
    """Order dimensions so that those which rise and fall together lie together.

    By average linkage of their correlations, as in [1]_: the two groups that are most alike are joined, at the ends
    that are most alike, until there is one. Constant dimensions are last.

    Parameters
    ----------
    values : np.ndarray [shape=(n, n_dims)]

    Returns
    -------
    np.ndarray [shape=(n_dims,)]
        Numbers of the dimensions in their order.

    References
    ----------
    .. [1] M. B. Eisen, P. T. Spellman, P. O. Brown, D. Botstein. "Cluster analysis and display of genome-wide
       expression patterns." PNAS 95(25), 1998.
    """
    varies, mean, deviation = varying(values)
    moving, constant = np.flatnonzero(varies), np.flatnonzero(~varies)
    if len(moving) < 3:
        return np.concatenate([moving, constant])
    scaled = ((values[:, moving] - mean[moving]) / deviation[moving]).astype(np.float32)
    return np.concatenate([moving[_linked(scaled.T @ scaled / np.float32(len(scaled)))], constant])


def _linked(likeness: Floats) -> list[int]:
    """Numbers of the rows of a likeness, `(n, n)`, in the order in which average linkage lays them."""
    groups = [[row] for row in range(len(likeness))]
    between = likeness.copy()  # of groups; each is kept in the row of its first member, the rest is empty
    np.fill_diagonal(between, -np.inf)
    nearest = between.argmax(axis=1)
    best = between.max(axis=1)
    for _ in range(len(groups) - 1):
        one = int(best.argmax())
        other = int(nearest[one])
        shares = np.array([len(groups[one]), len(groups[other])], np.float32)
        joined = (shares @ between[[one, other]]) / shares.sum()
        between[one], between[:, one] = joined, joined
        between[other], between[:, other] = -np.inf, -np.inf
        between[one, one] = -np.inf
        groups[one], groups[other] = _end_to_end(groups[one], groups[other], likeness), []
        # A mean is no larger than the larger of its two, so only rows that were nearest to one of them have changed.
        changed = np.flatnonzero((nearest == one) | (nearest == other) | (np.arange(len(groups)) == one))
        nearest[changed], best[changed] = between[changed].argmax(axis=1), between[changed].max(axis=1)
    return next(group for group in groups if group)


def _end_to_end(one: list[int], other: list[int], likeness: Floats) -> list[int]:
    """Join two rows of numbers at the ends that are most alike."""
    ways = [(first, second) for first in (one, one[::-1]) for second in (other, other[::-1])]
    first, second = max(ways, key=lambda way: float(likeness[way[0][-1], way[1][0]]))
    return first + second


class Reservoir:
    """A fair sample of a stream of points: each has the same chance, the same ones are drawn every time.

    Parameters
    ----------
    size : int > 0
        How many are kept at most.
    seed : int
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self._size = size
        self._rng = np.random.default_rng(seed)
        self.n_seen = 0
        self.kept: list[tuple[Floats, int, float]] = []

    def add(self, point: Floats, kind: int, time_s: float) -> None:
        """Show it a point: where it lies, of what kind it is, when it was."""
        item = (point, kind, time_s)
        if self.n_seen < self._size:
            self.kept.append(item)
        else:
            place = int(self._rng.integers(self.n_seen + 1))
            if place < self._size:
                self.kept[place] = item
        self.n_seen += 1
