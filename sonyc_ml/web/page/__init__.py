"""The node's page for people: read only, made on this side of the wire, complete without JavaScript."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import Route

    from sonyc_ml.web.page.frame import Frame


def routes(frame: Frame) -> list[Route]:
    """Return the addresses of the page, each with what answers there."""
    from sonyc_ml.web.page import detections  # noqa: PLC0415
    from sonyc_ml.web.page.day import Day  # noqa: PLC0415
    from sonyc_ml.web.page.health import Health  # noqa: PLC0415
    from sonyc_ml.web.page.now import Now, stamp  # noqa: PLC0415
    from sonyc_ml.web.page.recording import Recording  # noqa: PLC0415

    day, recording = Day(frame.pictures), Recording(frame.pictures)
    return [
        *frame.static_routes(),
        frame.route("/", "now.html", Now(frame.node).content),
        frame.answer("/stamp", stamp),
        frame.route("/day", "day.html", day.content),
        frame.answer("/day.csv", day.table),
        frame.route("/recording", "recording.html", recording.content),
        frame.answer("/recording.csv", recording.table),
        frame.answer("/log-mel.png", recording.log_mel),
        frame.answer("/sound", recording.sound),
        frame.route("/detections", "detections.html", detections.content),
        frame.answer("/detections.csv", detections.table),
        frame.route("/condition", "health.html", Health(frame.node).content),
    ]
