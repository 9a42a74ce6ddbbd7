"""The node's page for people: read only, made on this side of the wire, complete without JavaScript."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import Route

    from sonyc_ml.web.page.frame import Frame


def routes(frame: Frame) -> list[Route]:
    """Return the addresses of the page, each with what answers there."""
    from sonyc_ml.web.page import detections, health, now  # noqa: PLC0415

    return [
        *frame.static_routes(),
        frame.route("/", "now.html", now.content),
        frame.route("/detections", "detections.html", detections.content),
        frame.route("/condition", "health.html", health.content),
    ]
