"""How values look on the page: times, lengths, names. What has no end is cut, what cannot be printed is spelt out."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from sonyc_ml.base import human


def add_filters(environment: Environment) -> None:
    """Give templates their filters."""
    filters = {"time": time_text, "ago": human.span, "span": human.span, "size": human.size, "count": human.count}
    environment.filters |= {**filters, "percent": percent}
    environment.finalize = safe


def safe(value: Any) -> Any:
    """What a template puts into a page: names of files may hold newlines, and characters that turn the text around."""
    if isinstance(value, Markup):
        return value
    return human.shown(str(value))


def time_text(moment: float | str) -> Markup:
    """A time for people and programs: ``2026-11-29 05:12:33 UTC``; of seconds since 1970, or in ISO 8601."""
    iso = moment if isinstance(moment, str) else human.iso(moment)
    shown = human.iso(human.seconds_of(iso)).replace("T", " ").replace("+00:00", " UTC")
    return Markup('<time datetime="{}">{}</time>').format(iso, shown)


def percent(share: float) -> str:
    """A share: ``12 %``, ``1.5 %``."""
    return f"{share:.1%}".replace("%", " %") if share < 0.1 else f"{share:.0%}".replace("%", " %")
