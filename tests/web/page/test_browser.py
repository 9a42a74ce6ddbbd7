"""The page in a browser: on a desk and on a phone, by keyboard alone, without JavaScript, read aloud; and live."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from sonyc_ml.outputs.files import read_output
from tests.conftest import PATIENCE_S, needs, write_recording
from tests.support.browsing import DESK, PHONE, check_for_all, opened
from tests.support.serving import served
from tests.web.page.conftest import NO_SOUND, SOUND, LiveNode

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [needs("starlette"), needs("uvicorn"), needs("prometheus_client"), needs("jinja2"), needs("playwright")]

PAGES = ("", "detections", "detections?since=1000d&score=0.1", "detections?label=nothing", "condition", "nothing/here")
HEADINGS = {"": "Now", "detections": "Detections", "condition": "Health"}
# Scripts and a style, as a name that was not escaped would bring them.
INJECTION = """() => {
    const bad = '<img src="x" onerror="document.title=1"><p style="color:red">';
    document.body.insertAdjacentHTML('beforeend', bad);
    const script = document.createElement('script');
    script.textContent = 'document.title = 2';
    document.body.append(script);
}"""


@pytest.mark.parametrize("context", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("path", PAGES)
def test_each_page_can_be_used_by_all(browser: Browser, address: str, path: str, context: dict[str, Any]) -> None:
    """Light and dark, axe finds nothing serious, and nothing is wider than the screen."""
    with opened(browser, f"{address}/{path}", **context) as page:
        check_for_all(page)


@pytest.mark.parametrize("path", HEADINGS)
def test_it_is_whole_without_javascript(browser: Browser, address: str, path: str) -> None:
    """Everything is on the page as it comes; nothing of what only JavaScript can do is shown."""
    with opened(browser, f"{address}/{path}", java_script_enabled=False) as page:
        assert page.text_content("h1") == HEADINGS[path]
        assert page.query_selector_all("button.copy") == []
        assert not page.query_selector("[hidden] *:visible")
        if path != "condition":
            assert page.locator("th.name a, td.name a").count() >= len(SOUND)
        else:
            assert page.locator("code[data-copy]").count() > len(NO_SOUND)


def test_the_filter_works_without_javascript(browser: Browser, address: str) -> None:
    """A form that is sent shows what was asked for, and keeps it in its fields."""
    with opened(browser, f"{address}/detections?since=1000d", java_script_enabled=False) as page:
        label, score = page.locator("tbody tr th").first.inner_text(), page.locator(".score").first.inner_text()
        page.select_option("#label", label)
        page.fill("#score", f"{float(score) - 0.01:.2f}")
        page.click("text=Show")
        assert set(page.locator("tbody tr th").all_inner_texts()) == {label}
        assert (page.input_value("#label"), page.input_value("#since")) == (label, "1000d")
        assert all(float(one) >= float(score) - 0.01 for one in page.locator(".score").all_inner_texts())
        page.fill("#score", "1.0")
        page.click("text=Show")
        assert "Ask for a longer time, or a lower score" in page.inner_text("main")


def test_names_of_recordings_do_nothing(browser: Browser, address: str) -> None:
    """A name is text, whatever it holds: nothing runs, nothing is loaded, no text is turned around."""
    for path, heading in HEADINGS.items():
        with opened(browser, f"{address}/{path}") as page:
            text = page.inner_text("body")
            assert page.title() == f"{heading} – sonyc-ml"
            assert page.locator("main img, main script").count() == 0
            assert SOUND[0] in text or path == "condition"
            assert (NO_SOUND[0] in text and "two\\nlines\\u202eback.wav" in text) or path == "detections"
            assert "not\\udcffutf8.wav" in text or path == "detections"
            assert "\u202e" not in text


def test_the_policy_holds_where_escaping_would_fail(browser: Browser, address: str) -> None:
    """A script or a style that came into a page all the same does nothing."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        page.evaluate(INJECTION)
        page.wait_for_load_state("networkidle")
        assert page.title() == "Now – sonyc-ml"
        assert page.evaluate("getComputedStyle(document.querySelector('body > p')).color") != "rgb(255, 0, 0)"


def test_the_keyboard_is_enough(browser: Browser, address: str) -> None:
    """The first stop leads past the navigation; every link, field and fold is reached, and is seen to be."""
    with opened(browser, f"{address}/condition") as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        wanted = page.locator("main a:visible, main button:visible, main summary:visible").count()
        reached = set()
        for _ in range(wanted):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            if page.evaluate("document.activeElement.localName") == "summary":
                page.keyboard.press("Enter")
                assert page.evaluate("document.activeElement.parentElement.open")
                page.keyboard.press("Enter")
        assert len(reached) == wanted


def test_commands_are_copied(browser: Browser, address: str, live_node: LiveNode) -> None:
    """A button beside a command puts it on the clipboard; the name in it is the file's, to the byte."""
    with opened(browser, f"{address}/condition", permissions=["clipboard-read", "clipboard-write"]) as page:
        row = page.locator("#given-up tr", has_text="two\\nlines")
        row.locator("button.copy").click()
        command = page.evaluate("navigator.clipboard.readText()")
    words = command.removeprefix("sonyc-ml retry ")
    echoed = subprocess.run(["bash", "-c", f"printf '%s\\0' {words}"], capture_output=True, check=True).stdout
    assert echoed.split(b"\0")[0].decode() == str(live_node.recordings / NO_SOUND[1])


def test_what_happens_is_seen_at_once(browser: Browser, address: str, live_node: LiveNode) -> None:
    """A recording that is made while somebody looks comes up by itself, and whoever is in a section stays there."""
    name = "new_20261128T130000Z.wav"
    with opened(browser, address) as page:
        page.locator("#detections a").first.focus()
        write_recording(live_node.recordings / name, seconds=2, seed=9)
        page.locator("#recordings", has_text=name).wait_for(timeout=PATIENCE_S * 1000)
        assert page.evaluate("document.activeElement.closest('section').id") == "detections"
        page.locator("#heard li").first.wait_for(timeout=PATIENCE_S * 1000)
        assert "dBFS" in page.inner_text("#levels output")
        assert page.inner_text("#loaded").startswith("Live; as of ")


def test_a_node_that_goes_away_is_said_to(browser: Browser, live_node: LiveNode) -> None:
    """A page that stays open says that it may be old; until then, what takes a while comes up by itself."""
    with served("--config", live_node.config, "--port", 0) as service, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{service.connection().port}/condition")
        page.locator("#checks", has_text="checks by sonyc-ml doctor").wait_for(timeout=PATIENCE_S * 1000)
        page.goto(f"http://127.0.0.1:{service.connection().port}")
        service.process.kill()
        page.locator("#loaded", has_text="The node does not answer").wait_for(timeout=PATIENCE_S * 1000)


def test_levels_are_those_of_the_outputs(browser: Browser, address: str, live_node: LiveNode) -> None:
    """LAeq of each recording is what its output says, and the first of them is the last recording's."""
    with opened(browser, address) as page:
        row = page.locator("#recordings tr", has_text=SOUND[1])
        shown = row.locator(".score").inner_text()
        first = page.locator("#recordings .score").first.inner_text()
        assert page.locator("#state dd", has_text="LAFmax").inner_text().startswith(first.split()[0])
    levels = read_output(live_node.folder / "out" / f"{SOUND[1]}.npz").levels
    assert levels is not None
    assert shown == f"{levels['LAeq_total']:.1f} dBFS"
