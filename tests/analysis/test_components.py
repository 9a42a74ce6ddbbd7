"""Principal components, an order of likeness, and a fair sample."""

from __future__ import annotations

import numpy as np

from sonyc_ml.analysis.plots.components import Reservoir, order_of_likeness, principal_components
from tests.conftest import needs


def test_components_are_those_of_the_covariance() -> None:
    """Axes, shares and coordinates agree with the eigenvectors of the covariance matrix."""
    rng = np.random.default_rng(1)
    points = rng.normal(size=(200, 5)) * [5, 3, 1, 0.5, 0.1] @ np.linalg.qr(rng.normal(size=(5, 5)))[0]
    values, vectors = np.linalg.eigh(np.cov(points.T))
    found = principal_components(points, 3)
    np.testing.assert_allclose(found.shares, values[::-1][:3] / values.sum())
    np.testing.assert_allclose(np.abs(found.axes @ vectors[:, ::-1][:, :3]), np.eye(3), atol=1e-9)
    np.testing.assert_allclose(found.coordinates(points).var(axis=0, ddof=1), values[::-1][:3])


def test_axes_do_not_turn_round() -> None:
    """The largest entry of each axis is positive, so that a picture is not mirrored by chance."""
    points = np.random.default_rng(2).normal(size=(50, 4))
    for axes in (principal_components(points, 4).axes, principal_components(-points, 4).axes):
        assert (axes[np.arange(4), np.abs(axes).argmax(axis=1)] > 0).all()


@needs("scipy")
def test_what_moves_together_lies_together() -> None:
    """Dimensions of three groups, shuffled, are ordered group by group; constant ones come last."""
    rng = np.random.default_rng(3)
    groups = np.repeat([0, 1, 2], 10)
    values = rng.normal(size=(300, 3))[:, groups] + rng.normal(0, 0.5, (300, 30))
    values = np.concatenate([np.full((300, 2), 7.0), values], axis=1)
    shuffled = rng.permutation(32)
    order = order_of_likeness(values[:, shuffled])
    assert sorted(order.tolist()) == list(range(32))
    assert set(shuffled[order[-2:]].tolist()) == {0, 1}
    ordered = groups[shuffled[order[:-2]] - 2]
    assert (np.diff(ordered) != 0).sum() == 2


@needs("scipy")
def test_neighbours_are_alike() -> None:
    """A chain of dimensions, each most like the next one, is found again out of any order."""
    steps = np.random.default_rng(4).normal(size=(2000, 12))
    chain = np.lib.stride_tricks.sliding_window_view(steps, 6, axis=1).mean(axis=2)
    shuffled = np.random.default_rng(5).permutation(chain.shape[1])
    order = shuffled[order_of_likeness(chain[:, shuffled])].tolist()
    assert order in (sorted(order), sorted(order, reverse=True))


@needs("scipy")
def test_few_dimensions_keep_their_order() -> None:
    """Where there is nothing to compare, nothing is moved but constant ones, and nothing fails."""
    assert order_of_likeness(np.array([[1.0, 2.0, 3.0]])).tolist() == [0, 1, 2]
    assert order_of_likeness(np.array([[1.0, 2.0, 1.0], [1.0, 3.0, 0.0]])).tolist() == [1, 2, 0]


def test_a_reservoir_is_bounded_fair_and_the_same_every_time() -> None:
    """Of 5,000 points it keeps 100, from all parts of the stream alike, and draws the same ones again."""
    kept = []
    for _ in range(2):
        reservoir = Reservoir(100)
        for number in range(5000):
            reservoir.add(np.zeros(1, np.float32), number, 0.0)
        assert reservoir.n_seen == 5000
        kept.append([kind for _, kind, _ in reservoir.kept])
    assert kept[0] == kept[1]
    assert len(set(kept[0])) == 100
    assert 2000 < np.mean(kept[0]) < 3000


def test_a_reservoir_keeps_all_there_is_room_for() -> None:
    """Points fewer than its size are kept in their order."""
    reservoir = Reservoir(3)
    for number in range(3):
        reservoir.add(np.zeros(1, np.float32), number, 0.0)
    assert [kind for _, kind, _ in reservoir.kept] == [0, 1, 2]
