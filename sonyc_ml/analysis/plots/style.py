"""What all pictures look like, and how they get onto the disk: the one place that knows matplotlib's settings.

No pyplot and no settings left behind: a figure is made, drawn and written inside :func:`style`.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sonyc_ml.analysis.plots.classes import LIKELY as LIKELY  # noqa: PLC0414  as if they were here
from sonyc_ml.analysis.plots.classes import class_names as class_names  # noqa: PLC0414
from sonyc_ml.analysis.plots.classes import loudest as loudest  # noqa: PLC0414
from sonyc_ml.analysis.plots.classes import shortened as shortened  # noqa: PLC0414
from sonyc_ml.base.durable import atomic_file
from sonyc_ml.base.human import shown
from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs.output import Provenance

SUFFIXES = (".png", ".svg", ".pdf")
WIDTH_INCH = 7.2  # two columns of a paper
ROOM_FOR_TWO_INCH = 5.5  # of the figure's width, for two panels side by side
DPI = 300
TITLE_CHARACTERS, SUBTITLE_CHARACTERS = 11.0, 0.75  # an inch; of the title, for each of the subtitle's
SHORTEST_TITLE = 24  # characters that are shown of a longer one
FOOTNOTE_CHARACTERS = 18.0  # an inch
UNBROKEN = "\u00a0"  # a space where no line ends

INK, GREY, PALE = "#1a1a1a", "#6b6b6b", "#e9e9e9"
LEVELS, SCORES, EMBEDDING = "magma", "viridis", "cividis"  # even to the eye, in grey and to the colour-blind too
HOURS = "twilight_shifted"  # ends as it begins, dark at midnight
# Paul Tol's "muted" scheme, which the colour-blind can tell apart, and a mark for each, which a copier can.
CLASS_COLOURS = (
    "#332288", "#cc6677", "#117733", "#ddcc77", "#88ccee", "#882255", "#44aa99", "#999933", "#aa4499", "#444444",
)  # fmt: skip
MARK_SIZE = 12  # points squared
CLASS_MARKS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")

SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same picture on every machine
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold a dollar sign
    "text.usetex": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "hatch.linewidth": 0.5,
    "hatch.color": "#9a9a9a",
    "image.interpolation": "none",
    "figure.dpi": 100,
    "savefig.dpi": DPI,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "sonyc-ml",  # the same picture is the same file
    "pdf.fonttype": 42,
}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings while a picture is made; those before return afterwards."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # drawn as a box
        yield


def new_figure(width_inch: float, height_inch: float) -> Figure:
    """An empty figure whose panels will not overlap."""
    figure = Figure(figsize=(width_inch, height_inch), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.05, h_pad=0.03, wspace=0.01, hspace=0.02)  # type: ignore[union-attr, call-arg]
    return figure


def check_suffix(path: Path) -> None:
    """Refuse a name that says no kind of picture.

    Raises
    ------
    ConfigError
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"a picture is written as {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, not as {path.name!r}")


def save(figure: Figure, path: Path, dpi: int = DPI) -> None:
    """Write a figure, whole or not at all; the same figure gives the same bytes.

    Parameters
    ----------
    figure : Figure
    path : Path
        Its suffix says the format.
    dpi : int > 0
        Dots an inch, of a PNG and of the images in an SVG or PDF.

    Raises
    ------
    ConfigError
        The suffix is no picture's.
    StoreError
        It could not be written.
    """
    check_suffix(path)
    kind = path.suffix.lower()[1:]
    nothing: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    _settle(figure)
    with atomic_file(path) as file:
        figure.savefig(file, format=kind, dpi=dpi, metadata=nothing[kind])


def _settle(figure: Figure) -> None:
    """Lay a figure out once and for all, in whole steps: the last digits of a layout are not the same every time."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(tuple(round(number, 5) for number in axes.get_position(original=True).bounds))
    for text in figure.texts:
        x, y = text.get_position()
        text.set_position((round(x, 5), round(y, 5)))


def with_heading(figure: Figure, title: str, subtitle: str, footnote: Sequence[str]) -> None:
    """What the picture shows, above it; how it was made, below, in parts that lines are not broken within."""
    width_inch = figure.get_figwidth()
    title = shown(title)
    room = int(TITLE_CHARACTERS * width_inch - SUBTITLE_CHARACTERS * len(subtitle))
    if room < min(len(title), SHORTEST_TITLE):  # no room beside it
        room, subtitle, footnote = int(TITLE_CHARACTERS * width_inch), "", [subtitle, *footnote]
    title = title if len(title) <= room else "…" + title[1 - room :]
    figure.suptitle(title, x=0.06 / width_inch, ha="left", fontsize=9, fontweight="bold")
    if subtitle:
        place = (1 - 0.06 / width_inch, 1 - 0.06 / figure.get_figheight())
        figure.text(*place, shown(subtitle), ha="right", va="top", fontsize=7.5, color=GREY)
    text = "; ".join(shown(part).replace(" ", UNBROKEN) for part in footnote)
    lines = textwrap.fill(text, int(FOOTNOTE_CHARACTERS * width_inch), break_on_hyphens=False)
    lines = lines.replace(UNBROKEN, " ")
    figure.supxlabel(lines, x=0.06 / width_inch, ha="left", fontsize=6.5, color=GREY)


def panels(figure: Figure, heights: Sequence[float]) -> list[tuple[Axes, Axes]]:
    """Panels below one another on one time axis, each with room for a colour bar beside it."""
    grid = GridSpec(len(heights), 2, figure=figure, height_ratios=heights, width_ratios=(60, 1))
    made: list[tuple[Axes, Axes]] = []
    for row in range(len(heights)):
        axes = figure.add_subplot(grid[row, 0], sharex=made[0][0] if made else None)
        made.append((axes, figure.add_subplot(grid[row, 1])))
        if row < len(heights) - 1:
            axes.tick_params(labelbottom=False)
    return made


def draw_image(
    axes: Axes, values: npt.NDArray[Any], extent: tuple[float, float, float, float], **look: Any
) -> AxesImage:
    """Draw rows of values over time; where there is no number, the ground shows."""
    image = axes.imshow(np.ma.masked_invalid(values), extent=extent, aspect="auto", rasterized=True, **look)
    axes.spines[["top", "right"]].set_visible(True)
    return image


def colour_bar(
    axes: Axes, image: ScalarMappable, label: str, ticks: Sequence[float] | None = None, extend: Any = "neither"
) -> None:
    """A scale beside an image; `extend` says at which end values lie beyond it."""
    bar = Colorbar(axes, image, ticks=ticks if ticks is not None else MaxNLocator(4), extend=extend, extendfrac=0.04)
    bar.set_label(label)
    bar.outline.set_linewidth(0.6)
    bar.ax.tick_params(size=2, labelsize=6.5)


def hatch_ground(axes: Axes) -> None:
    """Grey stripes behind a panel: what is not drawn over was not recorded."""
    axes.set_facecolor(PALE)
    axes.patch.set_hatch("//////")
    axes.patch.set_edgecolor("#9a9a9a")


def name_rows(axes: Axes, names: Sequence[str], bold: Sequence[bool]) -> None:
    """Name the rows of an image, the first at its top."""
    axes.set_yticks(np.arange(len(names)) + 0.5, [shortened(name) for name in names])
    axes.tick_params(axis="y", length=0)
    for text, is_bold in zip(axes.get_yticklabels(), bold, strict=True):
        text.set_fontweight("bold" if is_bold else "normal")


def what_classes(peaks: npt.NDArray[Any]) -> list[str]:
    """Which classes are shown, in words."""
    n_shown = len(loudest(peaks))
    chosen = [f"the {n_shown} highest of {len(peaks)} classes"] if n_shown < len(peaks) else []
    return [*chosen, f"bold: reaches {LIKELY:g}"]


def seconds_axis(axes: Axes, end_s: float) -> None:
    """Label a time axis in seconds, or in minutes or hours where it is long."""
    unit, size_s = next(
        (u, s) for u, s, least_s in (("h", 3600, 10800), ("min", 60, 180), ("s", 1, 0)) if end_s >= least_s
    )
    axes.set_xlabel(f"Time ({unit})")
    steps = [1, 2, 2.5, 5, 10]
    if unit != "s":
        locator = MaxNLocator(10, steps=steps)
        axes.set_xticks(
            [tick * size_s for tick in locator.tick_values(0, end_s / size_s) if 0 <= tick * size_s <= end_s]
        )
    else:
        axes.xaxis.set_major_locator(MaxNLocator(10, steps=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / size_s:g}"))


def made_by(provenance: Provenance, version: str = "") -> list[str]:
    """What made an output, for a footnote: the bundle and its windows, or no network at all."""
    if not provenance.bundle_sha256:
        return [f"Sound levels alone, of {provenance.window_size_s:g} s"]
    bundle = " ".join(filter(None, (provenance.bundle, version)))
    windows = f"window {provenance.window_size_s:g} s, hop {provenance.hop_size_s:g} s"
    return [f"Bundle {bundle} (SHA-256 {provenance.bundle_sha256[:8]})", windows]
