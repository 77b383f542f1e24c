"""Servers of their own: slow networks with a queue, a proxy in front, a login; and what the log tells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Window, open_window, serving
from tests.browser.test_privacy import addresses

pytestmark = pytest.mark.browser

ACCESS = """users:
  ann: {role: reader, studies: [trial-a]}
  bob: {role: reader, studies: [trial-b]}
  root: {role: admin}
"""


@pytest.fixture
def access_file(tmp_path: Path) -> Path:
    path = tmp_path / "access.yaml"
    path.write_text(ACCESS)
    return path


def test_a_second_scan_waits_while_one_runs_and_a_cancelled_one_makes_room(
    chromium: Any, head_file: Path, other_file: Path, tmp_path: Path
) -> None:
    with serving("--seconds", 600, log=tmp_path / "log") as port:
        window = open_window(f"http://localhost:{port}", chromium)
        page = window.page
        for path in (head_file, other_file):
            window.give(path)
            page.get_by_role("button", name="Measure", exact=True).click()
            page.get_by_role("button", name="Cancel").first.wait_for()
        page.get_by_text("Measuring").wait_for()
        page.get_by_text("Waiting: next in line").wait_for()
        assert page.get_by_role("button", name="Cancel").count() == 2
        page.get_by_role("button", name="Cancel").last.click()  # the list begins with the newest
        page.get_by_text("Cancelled").wait_for()
        page.get_by_text("Waiting: next in line").wait_for(state="detached")
        page.get_by_role("button", name="Remove").wait_for()
        page.get_by_text("Measuring").wait_for()
        assert window.complaints == []
        page.context.close()


def test_behind_a_proxy_each_user_sees_the_studies_of_the_list(
    chromium: Any, access_file: Path, runs_folder: Path, tmp_path: Path
) -> None:
    options = ("--auth", "proxy", "--access", access_file, "--runs", runs_folder)
    with serving(*options, log=tmp_path / "log") as port:
        address = f"http://localhost:{port}"
        for user, sees in (("ann", True), ("bob", False), ("root", True)):
            window = open_window(address, chromium, extra_http_headers={"X-Forwarded-User": user})
            window.page.get_by_role("link", name="Cohort").click()
            window.page.get_by_text("sub-01_T1w" if sees else "No run can be opened").first.wait_for()
            assert sees or window.page.get_by_text("sub-01_T1w").count() == 0
            window.page.context.close()
        for headers in ({}, {"X-Forwarded-User": "eve"}):
            context = chromium.new_context(extra_http_headers=headers)
            assert context.request.get(address).status == 401
            context.close()


def test_before_the_sign_in_there_is_a_button_and_nothing_else(
    chromium: Any, access_file: Path, runs_folder: Path, tmp_path: Path
) -> None:
    options = ("--auth", "oidc", "--access", access_file, "--runs", runs_folder)
    with serving(*options, log=tmp_path / "log") as port:
        window = open_window(f"http://localhost:{port}", chromium)
        window.page.get_by_role("button", name="Sign in").wait_for()
        for hidden in ("Drop a T1 head scan here", "Cohort", "trial-a"):
            assert window.page.get_by_text(hidden).count() == 0
        window.page.goto(f"{window.base}/cohort")
        window.page.get_by_role("button", name="Sign in").wait_for()
        assert window.page.get_by_text("trial-a").count() == 0
        window.page.context.close()


def test_neither_log_nor_title_names_a_scan_or_a_token(measured: Window, log_file: Path) -> None:
    said = log_file.read_text()
    token = re.search(r"[0-9a-f]{64}", addresses(measured)[0])
    assert token is not None
    assert "LNN-Med viewer" in said
    assert token[0] not in said
    assert "head.nii" not in said
    assert measured.page.title() == "LNN-Med"
