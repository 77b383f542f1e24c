"""Every page under axe-core (npm axe-core 4.14.1, MPL-2.0, unchanged), in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Window, open_window

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "assets" / "axe-4.14.1.min.js"
SERIOUS = ("serious", "critical")
PAGES = {
    "Scan": "Drop a T1 head scan here",
    "Cohort": "sub-01_T1w",
    "Reports": "Validation reports",
    "Self-test": "Run the self-test",
    "About": "Model cards",
}


def faults(window: Window) -> list[str]:
    """Serious faults that axe finds on the page, shadow trees included, and where."""
    window.page.locator("[data-stale=true], [data-testid=stSkeleton]").first.wait_for(state="detached")
    window.page.evaluate(f"async () => {{ {AXE.read_text(encoding='utf-8')}; globalThis.axe = axe }}")
    found = window.page.evaluate("async () => (await axe.run(document)).violations")
    return [
        f"{one['id']}: {one['help']} at {node['target']}"
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


@pytest.fixture(params=["light", "dark"])
def themed(request: pytest.FixtureRequest, base: str, chromium: Any) -> Iterator[Window]:
    """A fresh window in one of the two themes."""
    one = open_window(base, chromium, color_scheme=request.param)
    yield one
    one.page.context.close()


def test_no_page_has_a_serious_fault(themed: Window) -> None:
    found = {}
    for name, sign in PAGES.items():
        themed.page.get_by_role("link", name=name, exact=True).click()
        themed.page.get_by_text(sign).first.wait_for()
        found[name] = faults(themed)
    assert not any(found.values()), found


def test_the_result_has_no_serious_fault(measured: Window) -> None:
    measured.page.get_by_role("button", name="Edit", exact=True).click()
    assert faults(measured) == []
    measured.page.get_by_role("button", name="Edit", exact=True).click()


def test_axe_finds_a_fault_that_is_there(window: Window) -> None:
    window.page.get_by_text("Drop a T1 head scan here").wait_for()
    window.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<button id=mute></button>')")
    assert any("mute" in fault for fault in faults(window))
