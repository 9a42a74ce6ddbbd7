"""Days and recordings in a browser: read by all, without JavaScript, and with a line that follows the sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import needs
from tests.support.browsing import DESK, PHONE, check_for_all, opened
from tests.support.serving import Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [needs("starlette"), needs("uvicorn"), needs("prometheus_client"), needs("jinja2"), needs("playwright")]

LAST = "recording?name=street_20261121T114000Z.wav"
PAGES = ("day?date=2026-11-21", f"{LAST}&like=1")


def address_of(service: Served) -> str:
    return f"http://127.0.0.1:{service.connection().port}"


@pytest.mark.parametrize("context", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("path", PAGES)
def test_pictures_can_be_read_by_all(
    browser: Browser, pictured_service: Served, path: str, context: dict[str, Any]
) -> None:
    """Light and dark, the numbers too; every picture has a text."""
    with opened(browser, f"{address_of(pictured_service)}/{path}", **context) as page:
        check_for_all(page, folds=context is DESK)  # axe takes a second for a hundred rows
        labels = [plot.get_attribute("aria-label") for plot in page.query_selector_all("svg.plot")]
        assert labels
        assert all(labels)


def test_the_day_is_whole_without_javascript(browser: Browser, pictured_service: Served) -> None:
    """Another day is one link away, a recording is a mark on the map, and its day is a link there."""
    with opened(browser, f"{address_of(pictured_service)}/day?date=2026-11-21", java_script_enabled=False) as page:
        page.click("text=Day before")
        assert page.text_content("h1") == "Friday, 2026-11-20"
        page.click("text=Next day")
        mark = page.locator(".map svg.plot a").last
        name = mark.locator("title").text_content()
        mark.click()
        assert page.text_content("h1") == str(name).partition(":")[0]
        page.click("text=its day")
        assert page.text_content("h1") == "Saturday, 2026-11-21"


def test_a_line_follows_the_sound(browser: Browser, pictured_service: Served) -> None:
    """A click on a picture moves the sound there, and the line in all pictures with it; it plays to its end."""
    from playwright.sync_api import expect

    with opened(browser, f"{address_of(pictured_service)}/{LAST}") as page:
        audio = page.locator("audio")
        expect(audio).to_have_js_property("duration", 2)
        box = page.locator("svg.plot").first.bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
        page.wait_for_selector("line.cursor[visibility=visible]", state="attached")
        assert audio.evaluate("audio => audio.currentTime") == pytest.approx(1.0, abs=0.05)
        shares = {line.get_attribute("x1") for line in page.query_selector_all("line.cursor")}
        assert len(shares) == 1
        audio.evaluate("audio => audio.play()")
        expect(audio).to_have_js_property("ended", True)
