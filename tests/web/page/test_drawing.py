"""What pictures are made of: marks at the right places, colours that rise, names that stay names."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml.web.pictures.drawing import svg
from sonyc_ml.web.pictures.drawing.figures import Table, legend, rows_left
from sonyc_ml.web.pictures.drawing.png import palette, to_png
from sonyc_ml.web.pictures.summaries import spread

LATER_S = 1_800_000_000.0


def lightness(colours: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """L* of CIELAB (CIE 15), from sRGB (IEC 61966-2-1)."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    return np.asarray(np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance))


def test_an_image_has_its_values_at_their_places() -> None:
    """Higher is lighter, the first row is the top, and where there is no number nothing is drawn."""
    values = np.array([[0.0, 1.0, np.nan], [2.0, 3.0, 9.0]], np.float32)
    image = matplotlib.image.imread(io.BytesIO(to_png(values, 0, 3)), format="png")
    assert image.shape == (2, 3, 4)
    assert (image[..., 3] == [[1, 1, 0], [1, 1, 1]]).all()
    light = lightness((image[..., :3] * 255).round().astype(np.uint8).reshape(-1, 3)).reshape(2, 3)
    assert light[0, 0] < light[0, 1] < light[1, 0] < light[1, 1]
    assert light[1, 2] == light[1, 1]  # beyond the end there is no other colour


def test_lightness_rises_evenly() -> None:
    """An equal step of a value is a step of about the same lightness: the picture is right in grey, too."""
    steps = np.diff(lightness(palette())[::16])
    assert steps.min() > 0.5 * steps.mean()
    assert steps.max() < 1.6 * steps.mean()


def test_shades_rise_and_nothing_heard_is_lost() -> None:
    """What is less than the least shade is not seen among scores; of counts, whatever was heard is."""
    values = np.array([np.nan, 0, 0.001, 0.02, 0.5, 1])
    assert svg.shade(values).tolist() == [-1, 0, 0, 1, 6, svg.N_SHADES]
    assert svg.shade(values, all_count=True).tolist() == [-1, 0, 1, 1, 6, svg.N_SHADES]


def test_cells_are_drawn_once_each() -> None:
    """Every cell with a shade lies in one rectangle of that shade; empty columns are told apart."""
    shades = np.array([[0, 0, -1, 3, 3], [1, 0, -1, 3, 0]])
    content = svg.heat(shades, ["a", "b"])
    seen = np.full(shades.shape, -1)
    for level, path in re.findall(r'class="h(\d)" d="([^"]*)"', content):
        for first, row, last in re.findall(r"M(\d+) ([\d.]+)H(\d+)", path):
            part = seen[int(float(row)), int(first) : int(last)]
            assert (part == -1).all()
            part[:] = int(level)
    assert (seen == shades).all()
    assert svg.empty_columns(shades) == [(0.4, 0.6)]


def test_lines_are_broken_where_there_is_no_number() -> None:
    """And what is beyond the scale stays in the picture."""
    assert "".join(svg.steps(np.array([0.0, np.nan, 10.0, 99.0]), 0, 10)) == "M0 100H1M2 0H3L3 0H4"
    assert svg.band(np.array([0.0, np.nan]), np.array([5.0, 1.0]), 0, 10) == "M0 50H1V100H0z"


@given(low=st.floats(-200, 200), span=st.floats(0.01, 1e6), most=st.integers(2, 12))
def test_ticks_are_round_and_few(low: float, span: float, most: int) -> None:
    """They lie within the scale, equally far apart, and none is missing at its ends."""
    ticks = svg.nice_steps(low, low + span, most)
    assert len(ticks) <= most + 1
    steps = np.diff(ticks)
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    if len(ticks) > 1:
        assert steps == pytest.approx(np.full(len(steps), steps[0]), rel=1e-3)
        assert f"{steps[0]:.2e}"[0] in "125"


@pytest.mark.parametrize("days", [0.02, 1, 2, 7, 31, 365, 4000])
def test_the_axis_of_a_span_has_room(days: float) -> None:
    """There are a few labels for any span, from its beginning to its end."""
    axis = svg.day_axis(LATER_S, LATER_S + days * 86400, 0)
    shares = [float(share) for share in re.findall(r'<text x="([\d.]+)%"', axis)]
    assert 1 <= len(shares) <= svg.MOST_TICKS + 1
    assert shares == sorted(shares)
    assert shares[-1] <= 100


@given(st.text(max_size=40))
def test_a_name_stays_a_name(name: str) -> None:
    """Whatever a class or a recording is called, it is text of one element, and can be sent as UTF-8."""
    for part in (
        svg.plot("", 10, name),
        rows_left([name], [True]),
        legend([("", name)]),
        svg.heat(np.zeros((1, 1), int), [name]),
    ):
        root = ET.fromstring(part.encode())
        assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {"svg", "ul", "li", "g", "title", "path"}


def test_a_csv_has_no_formulas_and_keeps_numbers() -> None:
    """A name that a spreadsheet would compute is marked; a negative level is not."""
    table = Table(name="t", heading=("name", "level"), rows=[("=1+1", "-3.5"), ("b\udcff.wav", "")])
    content = table.to_csv()
    assert content == b"name,level\n'=1+1,-3.5\nb\xff.wav,\n"
    assert list(csv.reader(io.StringIO(content.decode("latin-1"))))[1] == ["'=1+1", "-3.5"]


@given(n=st.integers(1, 3000), most=st.integers(1, 500))
def test_every_beginning_of_a_spread_is_even(n: int, most: int) -> None:
    """Places are all different; who stops after half of them has seen both halves of the span alike."""
    places = spread(n, most)
    assert len(set(places)) == len(places) == min(n, most)
    half = places[: max(1, len(places) // 2)]
    n_early = sum(place < n / 2 for place in half)
    assert abs(n_early - len(half) / 2) <= 2
