"""A reader at work, with the keyboard alone where it matters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.browser.conftest import Window

pytestmark = pytest.mark.browser

MANY_TABS = 80


def tab_to(window: Window, description: str, condition: str) -> None:
    """Press Tab until the focused element meets a condition on `e`."""
    inner = (
        "let e = document.activeElement; while (e?.shadowRoot?.activeElement) e = e.shadowRoot.activeElement"
    )
    for _ in range(MANY_TABS):
        window.page.keyboard.press("Tab")
        if window.page.evaluate(f"() => {{ {inner}; return Boolean(e && ({condition})) }}"):
            return
    raise AssertionError(f"Tab does not reach {description}.")


def test_images_are_reached_and_read_with_the_keyboard_alone(measured: Window) -> None:
    measured.page.evaluate("document.activeElement?.blur()")
    tab_to(measured, "the axial plane", "e.dataset.plane === 'axial'")
    before = measured.inside("v.state.point")
    for key in ("PageUp", "ArrowUp", "n"):
        measured.page.keyboard.press(key)
    after = measured.inside("v.state.point")
    assert (after[1], after[2]) == (before[1] + 1, before[2] + 1)
    assert measured.page.get_by_role("button", name="Neurological").is_visible()
    measured.page.keyboard.press("n")


def test_the_left_hippocampus_and_its_percentile_are_on_the_first_screen(measured: Window) -> None:
    measured.page.evaluate("document.querySelector('[data-testid=stMain]')?.scrollTo(0, 0)")
    height = measured.page.viewport_size["height"]
    for text in ("Research use only", "Quality: REVIEW", "Percentile for age and sex"):
        box = measured.page.get_by_text(text).first.bounding_box()
        assert box is not None, text
        assert box["y"] + box["height"] <= height, text
    box = measured.page.locator("td .big").first.bounding_box()
    assert box is not None
    assert box["y"] < height


def test_a_rejection_needs_a_reason_and_is_stored_with_time_and_user(measured: Window) -> None:
    page = measured.page
    page.get_by_text("Reject the result").click()
    page.get_by_role("button", name="Store the verdict").click()
    page.get_by_text("Say why the result is rejected.").wait_for()
    page.get_by_label("Reason").fill("left outline leaks")
    page.get_by_role("button", name="Store the verdict").click()
    page.get_by_text("Rejected by local user").wait_for()
    with page.expect_download() as caught:
        page.get_by_role("link", name="reader's verdict").click()
    verdict = json.loads(Path(caught.value.path()).read_bytes())
    assert (verdict["decision"], verdict["reason"], verdict["user"]) == (
        "reject",
        "left outline leaks",
        "local user",
    )
    assert verdict["ts_utc"].startswith("20")
    assert len(verdict["result_sha256"]) == 64
