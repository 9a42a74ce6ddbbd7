"""Pages in a browser, as people of all kinds use them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESK: dict[str, Any] = {"viewport": {"width": 1200, "height": 800}, "color_scheme": "light"}
PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 740},
    "color_scheme": "dark",
    "is_mobile": True,
    "has_touch": True,
}


@contextmanager
def opened(browser: Browser, url: str, **context: Any) -> Iterator[Page]:
    """A page in a context of its own; nothing in it may go wrong, for whatever the policy forbids is told there."""
    complaints: list[str] = []
    with browser.new_context(**context) as inside:
        page = inside.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        yield page
    assert [text for text in complaints if "404" not in text] == []


def check_for_all(page: Page, *, folds: bool = True) -> None:
    """With every fold open, where wanted, axe finds nothing serious, and nothing is wider than the screen."""
    from axe_playwright_python.sync_playwright import Axe

    for closed in page.query_selector_all("details:not([open]) > summary") if folds else ():
        closed.click()
    found = Axe().run(page).response["violations"]
    worst = {one["id"]: [node["html"] for node in one["nodes"]] for one in found if one["impact"] != "minor"}
    assert worst == {}, worst
    size = page.viewport_size
    assert size is not None
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
