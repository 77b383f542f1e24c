"""Two browsers at once, strangers with a copied address, and what leaves the machine: nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.browser.conftest import Window

pytestmark = pytest.mark.browser


def addresses(window: Window) -> list[str]:
    """What the owner's page loads: images and downloads."""
    data = window.inside(
        "host.querySelector('canvas') && performance.getEntriesByType('resource').map(e => e.name)"
    )
    images = [one for one in data if "/lnn/case/" in one]
    token = re.search(r"/lnn/case/([0-9a-f]{64})/", images[0])
    assert token is not None
    return [*images, f"{window.base}/lnn/file/{token[1]}/result.json"]


def test_another_browser_sees_nothing_of_it(measured: Window, window: Window) -> None:
    mine = addresses(measured)
    for address in mine:
        assert measured.page.request.get(address).status == 200, address
        stranger = window.page.request.get(address)
        assert stranger.status == 404, address
        assert stranger.headers["cache-control"] == "no-store"
    window.page.get_by_text("None yet.").wait_for()
    window.page.get_by_role("link", name="Result").click()
    window.page.get_by_text("No result yet").wait_for()


def test_guessing_and_climbing_lead_nowhere(measured: Window) -> None:
    token = re.search(r"[0-9a-f]{64}", addresses(measured)[0])
    assert token is not None
    for path in (
        f"/lnn/case/{'0' * 64}/scan", f"/lnn/case/{token[0]}/..%2f..%2fmeta",
        f"/lnn/file/{token[0]}/audit.jsonl",
        f"/lnn/file/{token[0]}/..%2fupload%2f000000", "/lnn/script/viewer_component/__init__.py",
        "/lnn/script/viewer_component/..%2f..%2fsettings.py", "/_stcore/metrics",
    ):  # fmt: skip
        assert measured.page.request.get(measured.base + path).status in (400, 404), path


def test_uploads_need_their_owner_and_the_header_of_our_page(measured: Window, window: Window) -> None:
    token = re.search(r"[0-9a-f]{64}", addresses(measured)[0])
    assert token is not None
    address = f"{measured.base}/lnn/upload/{token[0]}/7"
    for one, headers in (
        (window, {"x-lnn-med": "upload"}),
        (measured, {}),
        (measured, {"x-lnn-med": "upload"}),
    ):
        assert one.page.request.put(address, data=b"x", headers=headers).status == 404


def test_every_answer_carries_the_guarding_headers(measured: Window) -> None:
    for path in ("/", "/_stcore/health", "/lnn/script/viewer_component/main.js", "/lnn/case/x/scan"):
        headers = measured.page.request.get(measured.base + path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "unsafe-eval" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_the_cookie_is_out_of_reach_of_scripts(measured: Window) -> None:
    cookie = next(one for one in measured.page.context.cookies() if one["name"] == "lnn_med_session")
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"


def test_no_request_leaves_and_nothing_complains(measured: Window, base: str, chromium: Any) -> None:
    assert measured.foreign == []
    assert measured.complaints == []
