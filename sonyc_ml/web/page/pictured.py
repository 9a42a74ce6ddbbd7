"""Pages with pictures: they are asked of a process of their own, and what it makes is handed on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from starlette.responses import Response

from sonyc_ml.web.page.visit import PageError, Visit
from sonyc_ml.web.pictures.jobs import Job
from sonyc_ml.web.pictures.maker import PictureError, Pictures

CACHE = "private, no-cache"  # kept by the browser, and asked for whether it still holds


class Pictured:
    """A page with pictures.

    Parameters
    ----------
    pictures : Pictures
    """

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    @staticmethod
    def bundle_names(visit: Visit) -> list[str]:
        """What the bundles of the node are called."""
        return [model.path.stem for model in visit.node.config.model]

    @staticmethod
    def bundle(visit: Visit) -> int:
        """Which bundle's outputs an address asks for.

        Raises
        ------
        PageError
            There is no such bundle.
        """
        return visit.query.whole("bundle", 0, 0, max(0, len(visit.node.config.model) - 1))

    def made_for_page(self, visit: Visit, job: Job) -> Mapping[str, bytes] | None:
        """What a job makes; None where it cannot be made, and then the page says why, and shows what else there is.

        Raises
        ------
        PageError
            What is asked for is not there.
        """
        try:
            return self._pictures.made(job)
        except PictureError as error:
            if error.status == 404:
                raise PageError(404, str(error)) from error
            visit.problems.append(str(error))
            return None

    def part(self, visit: Visit, job: Job | None, name: str, media_type: str, file_name: str = "") -> Response:
        """A file of what a job makes, for whoever does not have it already.

        Raises
        ------
        PageError
            It cannot be made, or there is no such file.
        """
        if job is None:
            raise PageError(503, "; ".join(visit.problems))
        tag = f'"{hashlib.sha256(f"{job!r} {name}".encode()).hexdigest()[:24]}"'
        headers = {"ETag": tag, "Cache-Control": CACHE}
        if visit.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        try:
            parts = self._pictures.made(job)
        except PictureError as error:
            raise PageError(error.status, str(error)) from error
        if name not in parts:
            raise PageError(404, f"there is no {name} of it; there are {', '.join(sorted(set(parts) - {'page'}))}")
        if file_name:
            headers["Content-Disposition"] = f'attachment; filename="{file_name}"'
        return Response(parts[name], media_type=media_type, headers=headers)

    def csv(self, visit: Visit, job: Job | None, what: str) -> Response:
        """The numbers behind a picture, which the field ``table`` names."""
        name = f"{visit.query.text('table')}.csv"
        return self.part(visit, job, name, "text/csv; charset=utf-8", f"{what}_{name}" if name.isascii() else name)
