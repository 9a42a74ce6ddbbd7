"""What embeddings have in common: principal components, an order of likeness, a sample of many."""

from __future__ import annotations

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
    shares = variances[:n_components] / max(float(variances.sum()), np.finfo(np.float64).tiny)
    return Components(mean, axes * signs[:, None], shares)


def varying(values: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.bool_], Numbers, Numbers]:
    """Which columns of `values`, `(n, n_dims)`, are not constant; the mean and the standard deviation of each."""
    mean, deviation = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    # What rounding leaves of a constant is no deviation.
    return deviation > 1e-6 * np.abs(values).max(axis=0, initial=0), mean, deviation


def order_of_likeness(values: npt.NDArray[np.floating]) -> Indices:
    """Order dimensions so that those which rise and fall together lie together.

    By the angle of each in the plane of the first two principal components, as in [1]_; the circle is cut where the
    angles are furthest apart. Constant ones are last.

    Parameters
    ----------
    values : np.ndarray [shape=(n, n_dims)]

    Returns
    -------
    np.ndarray [shape=(n_dims,)]
        Numbers of the dimensions in their order.

    References
    ----------
    .. [1] M. Friendly. "Corrgrams: Exploratory displays for correlation matrices." The American Statistician 56(4),
       2002.
    """
    varies, mean, deviation = varying(values)
    moving, constant = np.flatnonzero(varies), np.flatnonzero(~varies)
    if len(moving) < 3 or len(values) < 3:
        return np.concatenate([moving, constant])
    axes = principal_components((values[:, moving] - mean[moving]) / deviation[moving], 2).axes
    angles = np.arctan2(axes[1], axes[0])
    order = np.argsort(angles, kind="stable")
    gaps = np.diff(angles[order], append=angles[order[0]] + 2 * np.pi)
    return np.concatenate([moving[np.roll(order, -1 - int(gaps.argmax()))], constant])


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
