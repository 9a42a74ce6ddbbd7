"""The frame of every page: templates, files of our own, threads for the work, and how a refusal looks."""

from __future__ import annotations

import hashlib
import mimetypes
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import resources
from typing import Any, TypeAlias, TypeVar

import anyio
import anyio.to_thread
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from sonyc_ml import __version__
from sonyc_ml.web.clock import shown_in
from sonyc_ml.web.page import links
from sonyc_ml.web.page.node import Node
from sonyc_ml.web.page.texts import add_filters
from sonyc_ml.web.page.visit import PageError, Query, Visit
from sonyc_ml.web.pictures.maker import Pictures

Content: TypeAlias = Callable[[Visit], Mapping[str, Any]]
T = TypeVar("T")

N_THREADS = 4  # that answer at once; more wait
KEPT_S = 365 * 86400  # by browsers, of files whose address has their hash


class Frame:
    """Makes pages.

    Parameters
    ----------
    node : Node
    failures : sequence of Exception
        Why nothing is predicted here; may grow.

    Attributes
    ----------
    pictures : Pictures
        Makes the pictures of the pages; to be closed.
    """

    def __init__(self, node: Node, failures: Sequence[Exception] = ()) -> None:
        self.node = node
        self.pictures = Pictures(node.config_path)
        self._files = _read_files()
        self._threads: anyio.CapacityLimiter | None = None
        self._environment = Environment(
            loader=PackageLoader("sonyc_ml.web.page"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        add_filters(self._environment)
        self._environment.globals |= {
            "navigation": links.NAVIGATION,
            "recording_link": links.recording,
            "link": links.address,
            "static": self._address_of_file,
            "version": __version__,
            "failures": failures,
            "host": socket.gethostname(),
            "zone": node.config.node.time_zone or "UTC",
            "up": "",
        }

    def route(self, path: str, template: str, content: Content) -> Route:
        """An address whose page a template makes of what a function finds out; the function runs in a thread.

        Parameters
        ----------
        path : str
        template : str
            In `templates/`; gets the function's values, `problems`, `now_s`, and `here`, the address in the navigation.
        content : callable
            Gets the :class:`Visit`. A :class:`PageError` becomes a page that says why.
        """

        def page(visit: Visit) -> Response:
            here = path.removeprefix("/") or "./"
            values = {**content(visit), "here": here, "problems": visit.problems, "now_s": visit.now_s}
            text = self._environment.get_template(template).render(values)
            return HTMLResponse(text, headers={"Cache-Control": "no-store"})

        return self.answer(path, page)

    def answer(self, path: str, respond: Callable[[Visit], Response]) -> Route:
        """An address that a function answers as it likes (a csv, a picture); it runs in a thread, too."""

        async def endpoint(request: Request) -> Response:
            return await self.in_thread(partial(self._answered, request, respond))

        return Route(path, endpoint, methods=["GET"])

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do work that reads files, and takes its time, where it holds nobody up."""
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(N_THREADS)
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    def static_routes(self) -> list[Route]:
        """Styles and scripts: only what is in the package has an address."""
        return [Route("/static/{name}", self._file, methods=["GET"])]

    def refusal(self, status: int, message: str, path: str = "/") -> Response:
        """A page that says in a sentence why there is no other, at a path, as it was sent, that need not be ours."""
        up = "../" * max(0, path.count("/") - 1)
        values = {"status": status, "message": message, "up": up, "here": "", "problems": []}
        text = self._environment.get_template("refusal.html").render(values)
        return HTMLResponse(text, status, {"Cache-Control": "no-store"})

    def _answered(self, request: Request, respond: Callable[[Visit], Response]) -> Response:
        try:
            with (
                shown_in(self.node.config.node.time_zone),
                Visit(self.node, Query(request.scope["query_string"]), request.headers) as visit,
            ):
                return respond(visit)
        except PageError as error:
            return self.refusal(error.status, str(error))

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404)
        content, _ = self._files[name]
        kept = f"max-age={KEPT_S}, immutable" if request.url.query else "no-cache"
        return Response(content, media_type=mimetypes.guess_type(name)[0], headers={"Cache-Control": kept})

    def _address_of_file(self, name: str) -> str:
        return f"static/{name}?{self._files[name][1]}"


def _read_files() -> dict[str, tuple[bytes, str]]:
    """The files of the page, with the beginning of each one's hash."""
    folder = resources.files("sonyc_ml.web.page") / "static"
    contents = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    return {name: (content, hashlib.sha256(content).hexdigest()[:12]) for name, content in contents.items()}
