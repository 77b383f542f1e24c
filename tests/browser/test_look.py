"""What a page looks like in both themes and in narrow windows: nothing covered, nothing unreadable."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import Window, open_window
from tests.browser.test_accessibility import faults
from tests.browser.test_reading import choose

pytestmark = pytest.mark.browser

SETTLE_MS = 1500
LETTERS = 20  # pixels that differ clearly from the ground, at least, where there is a plot
CONTRAST = 120  # grey levels between ink and ground
SCROLLED = "side => { side.style.maxHeight = '4rem'; return side.scrollHeight > side.clientHeight }"
MARK = """() => {
  const mark = document.querySelector('.lnn-mark').getBoundingClientRect()
  const main = document.querySelector('[data-testid=stMain]').getBoundingClientRect()
  const { top, bottom, right } = mark
  return { top, bottom, right, page: main.bottom, width: innerWidth, height: innerHeight }
}"""


@pytest.fixture(scope="module")
def person(base: str, chromium: Any, head_file: Path) -> Iterator[Window]:
    """The result of a head whose age and sex are known."""
    window = open_window(base, chromium)
    window.give(head_file)
    window.page.get_by_label("Age, years").fill("72")
    choose(window, "Sex", "F")
    window.page.get_by_role("button", name="Measure", exact=True).click()
    window.page.locator(".lnn-viewer[data-ready=true]").wait_for()
    yield window
    assert window.complaints == []
    window.page.context.close()


@pytest.fixture(params=["light", "dark"])
def themed(request: pytest.FixtureRequest, person: Window) -> Iterator[Window]:
    """The result in one of the two themes."""
    person.page.emulate_media(color_scheme=request.param)
    person.page.wait_for_timeout(SETTLE_MS)
    yield person
    person.page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("width", [1440, 1000, 420])
def test_the_mark_of_research_use_is_whole_and_covers_nothing(themed: Window, width: int) -> None:
    page = themed.page
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(SETTLE_MS)
    found = page.evaluate(MARK)
    assert found["page"] <= found["top"] + 0.5  # where the page ends, however far it is scrolled
    assert (found["bottom"], found["right"]) == (found["height"], found["width"])
    assert page.locator(".lnn-mark").inner_text() == "Research use only: not a medical device."
    assert page.evaluate("(e => e.scrollWidth <= e.clientWidth)(document.querySelector('.lnn-mark'))")


@pytest.mark.parametrize("kind", ["plot"])
def test_pictures_stand_on_the_page_s_own_ground_in_its_ink(themed: Window, kind: str) -> None:
    page = themed.page
    page.set_viewport_size({"width": 1440, "height": 900})
    picture = page.locator(f"img.{kind}").first
    picture.scroll_into_view_if_needed()
    grey = np.asarray(Image.open(io.BytesIO(picture.screenshot())).convert("L")).astype(int)
    ground = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    red = int(ground.removeprefix("rgb(").split(",")[0])
    assert abs(int(grey[2, 2]) - red) < 6
    ink = np.abs(grey - red) > CONTRAST
    assert ink.sum() > LETTERS


def test_the_result_has_no_serious_fault_and_what_scrolls_is_reached_by_the_keyboard(themed: Window) -> None:
    page = themed.page
    for summary in page.locator("[data-testid=stExpander] summary").all():
        summary.click()
    for width in (1440, 420):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(SETTLE_MS)
        assert page.locator(".lnn-viewer .side").evaluate(SCROLLED)
        assert faults(themed) == []
