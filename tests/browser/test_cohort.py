"""A run of `score` in the browser: its table, its failures, and a click that opens a case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.browser.conftest import Window
from tests.browser.test_upload import as_printed, shown_volumes

pytestmark = pytest.mark.browser


def test_a_click_opens_the_case_with_the_numbers_of_the_run(window: Window, runs_folder: Path) -> None:
    page = window.page
    page.get_by_role("link", name="Cohort").click()
    page.get_by_text("sub-01_T1w").first.wait_for()
    assert page.get_by_text("Not measured: 1").is_visible()
    page.get_by_label("Case contains").fill("02")
    page.get_by_label("Case contains").press("Enter")
    page.get_by_text("sub-01_T1w").first.wait_for(state="hidden")
    page.locator("[class*='st-key-open-trial-a-sub-02']").get_by_role("button").click()
    page.locator(".lnn-viewer[data-ready=true]").wait_for()
    record = json.loads((runs_folder / "trial-a/cases/sub-02_T1w/result.json").read_bytes())
    volumes = {one["name"]: one["volume_mm3"] for one in record["structures"]}
    assert volumes["Hippocampus_L"] < volumes["Hippocampus_R"]  # mirrored: the marker is on the right
    assert shown_volumes(window)["Hippocampus_R"] == as_printed(volumes["Hippocampus_R"])
    assert window.complaints == []
    assert window.foreign == []
