"""Pages of runs in the browser: cohort with a click that opens a case, a report, the self-test."""

from __future__ import annotations

import json
import re
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


def test_the_page_writes_all_its_numbers_alike(window: Window, runs_folder: Path) -> None:
    page = window.page
    page.get_by_role("link", name="Cohort").click()
    page.get_by_text("sub-01_T1w").first.wait_for()
    record = json.loads((runs_folder / "trial-a/cases/sub-01_T1w/result.json").read_bytes())
    volume = next(one["volume_mm3"] for one in record["structures"] if one["name"] == "Hippocampus_L")
    page.get_by_text(as_printed(volume), exact=True).wait_for()
    said = page.locator(".stMain").inner_text()
    assert f"{as_printed(volume)}\n" in said.split("to ")[-1]  # the last bar ends at the largest volume
    assert not re.search(r"\d,\d{3}", said)


def test_a_report_is_made_on_its_page_and_shows_its_estimates(window: Window) -> None:
    page = window.page
    page.get_by_role("link", name="Reports").click()
    page.get_by_role("button", name="Compare and write the report").click()
    page.get_by_text("Save report.html").wait_for()
    table = page.get_by_role("table", name="Labels: mean over 2 cases (95 % interval)")
    mean = table.get_by_role("row", name="Mean of the structures")
    assert mean.get_by_role("cell").first.inner_text() == "1.000 (1.000 to 1.000)"
    assert "The protocol names no endpoint" in page.locator(".stMain").inner_text()
    with page.expect_download() as caught:
        page.get_by_role("button", name="Save report.json").click()
    assert json.loads(Path(caught.value.path()).read_bytes())["flow"]["analysed"] == 2
    assert window.complaints == []


def test_the_self_test_judges_server_networks_and_browser_apart(window: Window) -> None:
    page = window.page
    page.get_by_role("link", name="Self-test").click()
    page.get_by_role("button", name="Run the self-test").click()
    page.get_by_text("images arrived with the server's sums").wait_for()
    table = page.get_by_role("table", name="Outcome")
    outcome = [
        table.get_by_role("row", name=part).get_by_role("cell").first.inner_text()
        for part in ("Server", "Networks", "Browser")
    ]
    assert outcome == ["passed", "not judged", "passed"]  # no answer of the stand-in is stored
    assert window.complaints == []
