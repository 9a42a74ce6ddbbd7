"""A map of embeddings: recordings that sound alike lie together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from sonyc_ml.analysis.plots.classes import class_names, shortened
from sonyc_ml.analysis.plots.components import Numbers, on_unit_sphere, principal_components
from sonyc_ml.node.journal.between import Made
from sonyc_ml.web.clock import local, short, zone
from sonyc_ml.web.page.links import recording as recording_link
from sonyc_ml.web.pictures.drawing.figures import Figure, Table, legend
from sonyc_ml.web.pictures.drawing.svg import text
from sonyc_ml.web.pictures.summaries import Summary, spread

MOST_POINTS, FEWEST_POINTS = 600, 3
WIDTH, HEIGHT, MARGIN = 640, 440, 14
MOST_KINDS = 8
# A shape for each colour, so that who cannot tell colours apart can tell them, too; about 8 units high.
MARKS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "M-3.6 -3.6h7.2v7.2h-7.2z",
    "M0 -4.6L4.3 3.2H-4.3z",
    "M0 -5L4.2 0L0 5L-4.2 0z",
    "M0 4.6L4.3 -3.2H-4.3z",
    "M-1.5 -4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    "M-4.6 0L3.2 -4.3V4.3z",
    "M4.6 0L-3.2 -4.3V4.3z",
)
OTHER, QUARTERS = "other", ("0 to 6 h", "6 to 12 h", "12 to 18 h", "18 to 24 h")


def figure_of_map(read: Sequence[tuple[Made, Summary]]) -> list[Figure]:
    """The first two principal components of mean embeddings, by likeliest class or, without scores, by time of day.

    Embeddings are of length 1, so distances follow the angles between them as well as two dimensions allow.
    """
    found: list[tuple[Made, Summary, Any]] = [
        (one, summary, summary.embedding) for one, summary in read if summary.embedding is not None
    ]
    found = [found[place] for place in sorted(spread(len(found), MOST_POINTS))]
    if len({len(embedding) for _, _, embedding in found}) != 1 or len(found) < FEWEST_POINTS:
        return []
    units = on_unit_sphere(np.stack([embedding for _, _, embedding in found]))
    components = principal_components(units, 2)
    points = np.pad(components.coordinates(units), ((0, 0), (0, 2)))[:, :2]
    kinds = [kind_of(one, summary) for one, summary, _ in found]
    by_class = found[0][1].scores is not None
    names = _names(kinds, by_class=by_class)
    shares = [*components.shares, 0.0, 0.0][:2]
    what = "likeliest class" if by_class else f"time of day ({zone()})"
    rows = [
        (one.identity.name, short(one.start_s), f"{x:.4f}", f"{y:.4f}", kind)
        for (one, _, _), (x, y), kind in zip(found, points.tolist(), kinds, strict=True)
    ]
    heading = ("recording", "begins", "component 1", "component 2", what)
    marks = [
        (f'<path class="c{n}" transform="translate(8 8)" d="{MARKS[n]}"/>', shortened(name))
        for n, name in enumerate(names)
    ]
    return [
        Figure(
            title="Map of the embeddings",
            note=f"A mark is a recording; those that sound alike lie together. Two principal components, with "
            f"{shares[0]:.0%} and {shares[1]:.0%} of the variance. Shape and colour: {what}.",
            plot=_plot([one for one, _, _ in found], points, kinds, names),
            below=legend(marks),
            table=Table(
                name="map",
                heading=heading,
                rows=list(rows),
                links=[recording_link(one.identity) for one, _, _ in found],
            ),
            css="map",
        )
    ]


def kind_of(one: Made, summary: Summary) -> str:
    """The likeliest class of a recording; a quarter of the day where there are no scores."""
    if summary.scores is None:
        return QUARTERS[local(one.start_s).hour // 6]
    return class_names(summary.labels, len(summary.scores))[int(summary.scores.argmax())]


def _names(kinds: Sequence[str], *, by_class: bool) -> list[str]:
    """What gets a colour of its own: the most frequent, in their order; the rest is called other."""
    if not by_class:
        return [quarter for quarter in QUARTERS if quarter in kinds]
    counts = Counter(kinds)
    if len(counts) <= MOST_KINDS:
        return sorted(counts)
    frequent = sorted(kind for kind, _ in counts.most_common(MOST_KINDS - 1))
    return [*frequent, OTHER]


def _plot(made: Sequence[Made], points: Numbers, kinds: Sequence[str], names: Sequence[str]) -> str:
    places = {name: number for number, name in enumerate(names)}
    marks: list[list[str]] = [[] for _ in names]
    for one, (x, y), kind in zip(made, _in_frame(points).tolist(), kinds, strict=True):
        number = places.get(kind, len(names) - 1)
        address = text(recording_link(one.identity))
        place = f"translate({x:.1f} {y:.1f}) scale(1.25)"
        marks[number].append(
            f'<a href="{address}" tabindex="-1"><path transform="{place}" d="{MARKS[number]}">'
            f"<title>{text(one.identity.name)}: {text(kind)}</title></path></a>"
        )
    groups = "".join(f'<g class="c{number}">{"".join(own)}</g>' for number, own in enumerate(marks))
    said = ", ".join(f"{name}: {len(own)}" for name, own in zip(names, marks, strict=True))
    # A picture that a screen reader reads as one may hold no links: to it, the marks are those of the table.
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="group" '
        f'aria-label="{text(f"Map of {len(made)} recordings. {said}")}"><g aria-hidden="true">{groups}</g></svg>'
    )


def _in_frame(points: Numbers) -> Numbers:
    """Places in the picture, with the same scale both ways."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN])
    scale = float(np.min(room / np.maximum(high - low, 1e-9)))
    middle = (low + high) / 2
    places: Numbers = (points - middle) * scale * (1, -1) + (WIDTH / 2, HEIGHT / 2)
    return places
