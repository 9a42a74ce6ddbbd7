"""When there were recordings, and what a span of time held."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from sonyc_ml.analysis.plots.bins import Bins, bin_edges, longest_pause_s, merged, read_timetable, span_of_day
from tests.support.days import NOON, output_at


def test_a_timetable_knows_days_and_bundles() -> None:
    """Recordings are counted on the day on which they begin where they were made, and by their bundle."""
    late = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
    timetable = read_timetable([output_at(NOON), output_at(late, bundle="c"), output_at(NOON + timedelta(days=3))])
    assert timetable.days(UTC) == {date(2026, 11, 21): 2, date(2026, 11, 24): 1}
    assert timetable.days(ZoneInfo("Europe/Berlin"))[date(2026, 11, 22)] == 1
    assert timetable.bundle.tolist() == [0, 1, 0]
    start_s = late.timestamp()
    assert timetable.within(start_s + 9, start_s + 11).tolist() == [False, True, False]
    assert not timetable.within(start_s + 10, start_s + 11).any()


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 11, 21), 24), (date(2026, 3, 29), 23), (date(2026, 10, 25), 25)]
)
def test_a_day_is_as_long_as_it_is(day: date, hours: int) -> None:
    """From midnight to midnight, also when the clocks change."""
    start_s, end_s = span_of_day(day, ZoneInfo("Europe/Berlin"))
    assert end_s - start_s == hours * 3600
    assert datetime.fromtimestamp(start_s, ZoneInfo("Europe/Berlin")).date() == day


@pytest.mark.parametrize(
    ("every_s", "hop_size_s", "wanted_s"),
    [(10, 0.1, 300), (300, 0.1, 600), (600, 0.1, 900), (7200, 0.1, 3600), (10, 700, 900)],
)
def test_a_bin_is_longer_than_from_one_recording_to_the_next(
    every_s: float, hop_size_s: float, wanted_s: float
) -> None:
    """An empty bin is a gap: bins are no shorter than the usual pause and a half, or a hop, and an hour is a gap."""
    edges_s = bin_edges(0.0, 86400.0, np.arange(0.0, 86400.0, every_s), hop_size_s)
    assert np.diff(edges_s).tolist() == [wanted_s] * (86400 // round(wanted_s))


def test_bins_cover_a_span_of_any_length() -> None:
    """From its beginning to its end or beyond: a single recording, a year."""
    for end_s in (0.5, 100.0, 366 * 86400.0):
        edges_s = bin_edges(0.0, end_s, np.array([0.0]), 0.1)
        assert edges_s[0] == 0
        assert edges_s[-2] < end_s <= edges_s[-1]
        assert len(edges_s) <= 400


def test_spans_are_joined_over_short_pauses() -> None:
    """Spans that overlap, or lie in one another, or a short pause apart, are one."""
    starts_s, ends_s = np.array([50.0, 0.0, 5.0, 12.0, 90.0]), np.array([60.0, 10.0, 6.0, 20.0, 95.0])
    assert merged(starts_s, ends_s).tolist() == [[0, 10], [12, 20], [50, 60], [90, 95]]
    assert merged(starts_s, ends_s, 2.0).tolist() == [[0, 20], [50, 60], [90, 95]]
    assert merged(np.empty(0), np.empty(0)).tolist() == []
    assert longest_pause_s(np.array([0.0, 10.0, 20.0, 500.0])) == 15


def test_bins_hold_means_and_gaps_are_empty() -> None:
    """A bin holds the mean of the windows whose middles lie in it; one without any holds no number."""
    start_s = NOON.timestamp()
    outputs = [output_at(NOON, seed=1), output_at(NOON + timedelta(seconds=55), seed=2)]
    bins = Bins(start_s + np.array([-60.0, 0, 60, 120, 180]))
    for output in outputs:
        bins.add(output)
    scores = [output.scores for output in outputs if output.scores is not None]
    assert bins.n_windows.tolist() == [0, 15, 5, 0]
    means = bins.means("scores")
    assert means is not None
    np.testing.assert_allclose(means[1], np.concatenate([scores[0], scores[1][:5]]).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(means[2], scores[1][5:].mean(axis=0), rtol=1e-6)
    assert np.isnan(means[[0, 3]]).all()


def test_windows_beyond_the_span_are_left_out() -> None:
    """Of a recording over midnight each day has its own windows, in its bins and on its map."""
    bins = Bins(NOON.timestamp() + np.array([5.0, 65.0]))
    output = output_at(NOON, seed=1)
    bins.add(output)
    assert bins.n_windows.tolist() == [5]
    assert output.embedding is not None
    np.testing.assert_allclose(bins.map.kept[0][0], output.embedding[5:].mean(axis=0), rtol=1e-6)
    bins.add(output_at(NOON + timedelta(hours=5)))
    assert bins.map.n_seen == 1


def test_a_long_recording_is_a_point_a_minute() -> None:
    """The map has a point for each recording, and for each minute of a longer one, with its likeliest class."""
    output = output_at(NOON, 150.0)
    scores = np.zeros((150, 3), np.float32)
    scores[:60, 2], scores[60:120, 1], scores[120:, 0] = 1, 1, 1
    bins = Bins(NOON.timestamp() + np.array([0.0, 86400.0]))
    bins.add(dataclasses.replace(output, scores=scores))
    assert [kind for _, kind, _ in bins.map.kept] == [2, 1, 0]
    assert [time_s - NOON.timestamp() for _, _, time_s in bins.map.kept] == [30, 90, 135]


def test_outputs_that_do_not_fit_are_refused() -> None:
    """Scores of other classes are not added to those before."""
    bins = Bins(NOON.timestamp() + np.array([0.0, 3600.0]))
    bins.add(output_at(NOON))
    output = output_at(NOON)
    assert output.scores is not None
    with pytest.raises(ValueError, match="has 2 scores, others 3"):
        bins.add(dataclasses.replace(output, scores=output.scores[:, :2]))
    with pytest.raises(ValueError, match="has 9 rows for 10 windows"):
        bins.add(dataclasses.replace(output, scores=output.scores[:9]))
