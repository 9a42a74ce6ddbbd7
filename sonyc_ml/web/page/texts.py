"""How values look on the page: times, lengths, names. What has no end is cut, what cannot be printed is spelt out."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment
from markupsafe import Markup, escape

from sonyc_ml.base import human
from sonyc_ml.outputs.names import split_label
from sonyc_ml.web.clock import spelt

BREAK = re.compile(r"([/_])")
FITS = 30  # characters that a column has room for


def add_filters(environment: Environment) -> None:
    """Give templates their filters."""
    filters = {
        "time": time_text,
        "ago": ago,
        "sentence": sentence,
        "span": human.span,
        "size": human.size,
        "count": human.count,
    }
    environment.filters |= {**filters, "percent": percent, "label": label, "breakable": breakable}
    environment.finalize = safe


def safe(value: Any) -> Any:
    """What a template puts into a page: names of files may hold newlines, and characters that turn the text around."""
    if isinstance(value, Markup):
        return value
    return human.shown(str(value))


def time_text(moment: float | str) -> Markup:
    """A time for people and programs: see :func:`spelt`; of seconds since 1970, or in ISO 8601."""
    iso = moment if isinstance(moment, str) else human.iso(moment)
    return Markup('<time datetime="{}">{}</time>').format(iso, spelt(human.seconds_of(iso)))


def label(text: str) -> Markup:
    """The name of a class as people call it, and its scientific name behind it where it has both."""
    names = split_label(text)
    if names.scientific == names.common:
        return Markup("<bdi>{}</bdi>").format(human.shown(names.common))
    both = human.shown(names.common), human.shown(names.scientific)
    return Markup('<bdi>{}</bdi> <i class="minor" lang="la">{}</i>').format(*both)


def ago(seconds: float) -> str:
    """How long ago, as exactly as one cares: ``3 min ago``, ``2 d 5 h ago``; where a clock is ahead, ``just now``."""
    step = 3600 if seconds >= 86400 else 60 if seconds >= 60 else 1
    return f"{human.span(seconds // step * step)} ago" if seconds >= 1 else "just now"


def breakable(name: str, fits: int = FITS) -> Markup:
    """A name that may go on in the next line behind each slash and underscore, where it is long."""
    if len(name) <= fits:
        return escape(human.shown(name))
    return Markup(BREAK.sub(r"\1<wbr>", str(escape(human.shown(name)))))  # noqa: S704  escaped before


def sentence(text: str) -> str:
    """A text that begins with a capital."""
    return text[:1].upper() + text[1:]


def percent(share: float) -> str:
    """A share: ``12 %``, ``1.5 %``."""
    return f"{share:.1%}".replace("%", " %") if share < 0.1 else f"{share:.0%}".replace("%", " %")
