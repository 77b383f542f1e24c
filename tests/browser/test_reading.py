"""A reader at work, with the keyboard alone where it matters."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.browser.conftest import WAIT_MS, Window, open_window, playwright

pytestmark = pytest.mark.browser

MANY_TABS = 80
OPENINGS = 5  # of a list that a page closes by running once more


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


def choose_file(window: Window, file: Path) -> None:
    """Give a file by the keyboard; once more where the page was redrawn between Tab and Enter."""
    for _ in range(4):
        tab_to(window, "the button for files", "e.textContent === 'Choose files'")
        try:
            with window.page.expect_file_chooser(timeout=20_000) as chooser:
                window.page.keyboard.press("Enter")
        except playwright.TimeoutError:
            continue
        return chooser.value.set_files(str(file))  # type: ignore[no-any-return]
    raise AssertionError("Enter on the button for files opens no chooser.")


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


def test_a_scan_is_given_measured_and_judged_with_the_keyboard_alone(window: Window, head_file: Path) -> None:
    page = window.page
    page.get_by_text("Drop a T1 head scan here").wait_for()
    page.locator("[data-stale=true], [data-testid=stSkeleton]").first.wait_for(state="detached")
    choose_file(window, head_file)
    page.get_by_role("button", name="Measure", exact=True).wait_for()
    tab_to(window, "the button Measure", "e.textContent.trim() === 'Measure'")
    page.keyboard.press("Enter")
    page.locator(".lnn-viewer[data-ready=true]").wait_for()
    tab_to(window, "the reason", "e.ariaLabel?.startsWith('Reason')")
    page.keyboard.type("outline fits")
    tab_to(window, "the verdict", "e.textContent.trim() === 'Store the verdict'")
    page.keyboard.press("Enter")
    page.get_by_text("Accepted by local user").wait_for()
    assert window.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_left_hippocampus_and_its_percentile_are_on_the_first_screen(
    scheme: str, base: str, chromium: Any, head_file: Path
) -> None:
    window = open_window(base, chromium, color_scheme=scheme)
    page = window.page
    page.set_viewport_size({"width": 1440, "height": 900})
    window.give(head_file)
    page.get_by_label("Age, years").fill("72")
    choose(window, "Sex", "F")
    page.get_by_role("button", name="Measure", exact=True).click()
    page.locator(".lnn-viewer[data-ready=true]").wait_for()
    table = page.get_by_role("table", name="Volumes, mm³")
    left = table.get_by_role("row", name="Hippocampus").get_by_role("cell").first
    volume, *_, percentile = left.inner_text().split("\n")
    assert re.fullmatch(r"\d\u202f\d{3}", volume)
    assert percentile == "percentile 46"
    plot = page.get_by_role("img", name="Volume by age with percentile lines of Made people")
    shown = [left, plot, page.locator(".banner"), page.get_by_text("Quality: REVIEW")]
    height = page.evaluate("document.querySelector('[data-testid=stMain]').clientHeight")
    assert height < 900  # the mark of research use lies below
    for one in shown:
        box = one.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= height
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop") == 0
    assert window.complaints == []
    page.context.close()


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


def saved(window: Window, name: str) -> Path:
    """A file that the page offers, under its own name's endings."""
    with window.page.expect_download() as caught:
        window.page.get_by_role("link", name=name).click()
    target = Path(caught.value.path()).with_name(caught.value.suggested_filename)
    caught.value.save_as(target)
    return target


def test_a_brush_stroke_becomes_an_edited_map_with_its_own_volumes(window: Window, head_file: Path) -> None:
    window.measure(head_file)
    page = window.page
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_label("Paint").select_option(label="erase")
    canvas = page.locator("canvas[data-plane=axial]")
    x, y = window.inside("v.planes[0].placeOf(v.state.point)")
    canvas.click(position={"x": x, "y": y})
    at = window.inside("v.volume.fileVoxel(v.state.point)")
    count = int(re.search(r"\d+", page.get_by_text("voxels changed, not handed over").inner_text())[0])  # type: ignore[index]
    assert count > 0
    page.get_by_role("button", name="Hand over").click()
    page.get_by_text(f"Handed over: {count} voxels of segmentation").wait_for()
    page.get_by_role("button", name="Store the verdict").click()
    page.get_by_text("Accepted with edited labels by local user").wait_for()
    before, after = (nib.load(saved(window, name)) for name in ("structures (NIfTI)", "edited segmentation"))
    np.testing.assert_array_equal(before.affine, after.affine)
    different = np.asarray(before.dataobj) != np.asarray(after.dataobj)
    assert different.sum() == count
    assert different[tuple(at)]
    rows = {row["name"]: row for row in csv.DictReader(saved(window, "volumes after the edit").open())}
    mm3 = float((np.asarray(after.dataobj) == 1).sum() * abs(np.linalg.det(after.affine[:3, :3])))
    assert float(rows["Hippocampus_L"]["volume_mm3"]) == pytest.approx(mm3, abs=0.2)
    verdict = json.loads(saved(window, "reader's verdict").read_bytes())
    assert verdict["decision"] == "edit"
    assert verdict["edit"]["changed_voxels"] == {"segmentation.nii.gz": count}
    assert window.complaints == []


def test_a_verdict_and_an_edit_are_there_again_when_the_same_scan_is_opened(
    base: str, chromium: Any, other_file: Path, readings_folder: Path
) -> None:
    from lnn_med.scoring.audit import verify

    first = open_window(base, chromium)
    first.measure(other_file)
    page = first.page
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_label("Paint").select_option(label="erase")
    x, y = first.inside("v.planes[0].placeOf(v.state.point)")
    page.locator("canvas[data-plane=axial]").click(position={"x": x, "y": y})
    page.get_by_role("button", name="Hand over").click()
    page.get_by_text("Handed over:").wait_for()
    page.get_by_role("button", name="Store the verdict").click()
    page.get_by_text("Accepted with edited labels by local user").wait_for()
    edited = saved(first, "edited segmentation").read_bytes()
    page.context.close()

    again = open_window(base, chromium)  # another browser: nothing of the session is left
    again.measure(other_file)
    again.page.get_by_text("Accepted with edited labels by local user").wait_for()
    table = again.page.get_by_role("table", name="Verdicts on this scan")
    row = table.get_by_role("row").nth(1).inner_text()
    assert "local user" in row
    assert "as shown" in row
    assert saved(again, "edited segmentation").read_bytes() == edited
    assert saved(again, "page (PDF), edited by reader").read_bytes().startswith(b"%PDF")
    assert again.inside("v.editor.changed") > 0  # the brush can go on
    assert again.complaints == []
    again.page.context.close()
    assert verify(readings_folder).intact
    assert "other.nii" not in (readings_folder / "audit.jsonl").read_text()


def test_the_brush_works_with_the_keyboard_and_takes_strokes_back(measured: Window) -> None:
    canvas = measured.page.locator("canvas[data-plane=coronal]")
    canvas.focus()
    measured.page.keyboard.press("b")
    measured.page.get_by_label("Paint").select_option(label="erase")
    canvas.focus()
    measured.page.keyboard.press("Space")
    changed = measured.inside("v.editor.changed")
    measured.page.keyboard.press("z")
    measured.page.keyboard.press("b")
    assert changed > 0
    assert measured.inside("v.editor.changed") == 0


def test_an_earlier_scan_stands_beside_it_at_the_same_place_with_the_change_of_each_volume(
    window: Window, head_file: Path, other_file: Path
) -> None:
    window.measure(other_file)
    window.page.get_by_role("link", name="Scan", exact=True).click()
    window.measure(head_file)
    now = json.loads(saved(window, "whole result").read_bytes())["structures"][0]
    choose(window, "Earlier scan, shown beside it", "1. other.nii.gz")
    window.page.locator(".lnn-viewer.two[data-ready=true]").wait_for()
    where = "host.viewers.map(one => one.volume.toMm(one.state.point))"
    first, second = window.inside(where)
    assert first == pytest.approx(second)
    window.inside("v.goTo([-20, 5, 3])")
    places = window.inside(where)
    assert len(places) == 2
    assert places[0] == pytest.approx(places[1])
    assert places[0] == pytest.approx([-20, 5, 3], abs=3)
    table = window.page.get_by_role("table", name="Change since the earlier scan")
    cells = table.get_by_role("row", name="Hippocampus, left").get_by_role("cell").all_inner_texts()
    earlier, present, change = (
        float(cell.split("\n")[0].replace("\u202f", "").replace("\u2212", "-")) for cell in cells[:3]
    )
    assert present == round(now["volume_mm3"])
    assert change == pytest.approx(present - earlier, abs=1)
    assert change != 0
    assert " to " in cells[2]  # its interval
    assert "at least 80 %" in window.page.locator("body").inner_text()
    page = saved(window, "page (PDF) with the change since the earlier scan")
    assert page.read_bytes().startswith(b"%PDF")
    address = window.page.get_by_role("link", name="page (PDF) with the change").get_attribute("href")
    assert window.page.request.get(window.base + str(address)).body() == page.read_bytes()
    plain = re.compile(r"^page \(PDF\)(, edited by reader)?$")  # readings of this scan may hold an edit
    without = window.page.get_by_role("link", name=plain).get_attribute("href")
    assert window.page.request.get(window.base + str(without)).body() != page.read_bytes()
    assert window.page.context.browser.new_context().request.get(window.base + str(address)).status == 404
    assert window.complaints == []


def choose(window: Window, label: str, option: str) -> Any:
    """Pick an entry of one of Streamlit's select boxes; a page that runs once more closes an open list."""
    entry = window.page.get_by_role("option", name=option)
    for _ in range(OPENINGS):
        window.page.get_by_label(label).click()
        try:
            return entry.click(timeout=WAIT_MS / OPENINGS)
        except playwright.TimeoutError:
            window.page.keyboard.press("Escape")
    raise AssertionError(f"{option} never stood in the list of {label}.")


def test_the_3d_tab_says_that_there_is_no_webgl(measured: Window) -> None:
    measured.page.get_by_role("tab", name="3D").click()
    measured.page.get_by_text("offers no WebGL2").wait_for()
    measured.page.get_by_role("tab", name="Slices").click()
