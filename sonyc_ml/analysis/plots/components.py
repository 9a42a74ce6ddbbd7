"""What embeddings have in common: principal components, an order of likeness, a sample of many."""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

MOST_OPTIMAL = 512  # dimensions: the best of the orders takes two seconds then, and ten for twice as many


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

    By average linkage of their correlations, and of the orders that it allows the one whose neighbours are most alike
    [1]_, but for more than :data:`MOST_OPTIMAL` dimensions. Constant dimensions are last.

    Parameters
    ----------
    values : np.ndarray [shape=(n, n_dims)]

    Returns
    -------
    np.ndarray [shape=(n_dims,)]
        Numbers of the dimensions in their order.

    References
    ----------
    .. [1] Z. Bar-Joseph, D. K. Gifford, T. S. Jaakkola. "Fast optimal leaf ordering for hierarchical clustering."
       Bioinformatics 17, 2001.
    """
    from scipy.cluster import hierarchy  # noqa: PLC0415  an extra, and not needed for other pictures

    varies, mean, deviation = varying(values)
    moving, constant = np.flatnonzero(varies), np.flatnonzero(~varies)
    if len(moving) < 3:
        return np.concatenate([moving, constant])
    scaled = (values[:, moving] - mean[moving]) / deviation[moving]
    apart = 1 - scaled.T @ scaled / len(scaled)
    pairs = apart[np.triu_indices(len(apart), 1)].clip(0)  # rounding may leave less than nothing
    tree = hierarchy.linkage(pairs, "average", optimal_ordering=len(moving) <= MOST_OPTIMAL)
    return np.concatenate([moving[hierarchy.leaves_list(tree)], constant])


def on_unit_sphere(points: npt.NDArray[np.floating]) -> Numbers:
    """Points at the distance 1 from the origin, so that distances between them are those of their angles."""
    lengths = np.linalg.norm(points.astype(np.float64), axis=1, keepdims=True)
    return points / np.where(lengths == 0, 1, lengths)


class Reservoir:
    """A random sample of a stream of points: each has the same chance, and every run takes the same ones.

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
            index = int(self._rng.integers(self.n_seen + 1))
            if index < self._size:
                self.kept[index] = item
        self.n_seen += 1
