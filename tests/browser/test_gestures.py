"""Fingers, sharp screens, zoom, presets and jumps: what moves the images beside mouse clicks and letters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser.conftest import Window, open_window, playwright
from tests.browser.test_images import marker_place, pixels, settled
from tests.phantoms import marker_mm, phantom

pytestmark = pytest.mark.browser

RATIO = 2
AWAY_MM = [5.0, -12.0, 21.0]


@pytest.fixture(scope="module")
def tablet(base: str, chromium: Any, head_file: Path) -> Iterator[Window]:
    """The result on a sharp screen with fingers."""
    window = open_window(base, chromium, has_touch=True, device_scale_factor=RATIO)
    window.measure(head_file)
    yield window
    assert window.complaints == []
    window.page.context.close()


@pytest.fixture
def viewer(tablet: Window) -> Window:
    """In its first state, on the marker, in sight."""
    tablet.inside("v.reset()")
    mm = marker_mm(phantom()).tolist()
    tablet.inside(
        f"v.set({{layer: 'segmentation', crosshair: true, outline: true, opacity: 0.8}}), v.goTo({mm})"
    )
    tablet.page.locator("canvas[data-plane=axial]").scroll_into_view_if_needed()
    settled(tablet)
    return tablet


def at(window: Window, x: float, y: float) -> tuple[float, float]:
    """A place of the axial canvas on the page."""
    box = window.page.locator("canvas[data-plane=axial]").bounding_box()
    return box["x"] + x, box["y"] + y


def touch(window: Window, *steps: list[tuple[float, float]]) -> None:
    """Fingers that are put down, moved and lifted; each step holds the place of every finger."""
    session = window.page.context.new_cdp_session(window.page)
    for number, fingers in enumerate([*steps, []]):
        kind = "touchEnd" if not fingers else "touchMove" if number else "touchStart"
        points = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(fingers)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    settled(window)


def test_a_sharp_screen_gets_a_pixel_for_each_of_its_own(viewer: Window) -> None:
    for plane in ("axial", "coronal", "sagittal"):
        width, shown = viewer.page.locator(f"canvas[data-plane={plane}]").evaluate(
            "canvas => [canvas.width, canvas.clientWidth]"
        )
        assert width == RATIO * shown
    viewer.inside("v.set({layer: '', crosshair: false})")
    settled(viewer)
    column, row = marker_place(pixels(viewer, "axial"))
    expected = viewer.inside("v.planes[0].placeOf(v.state.point)")
    assert np.abs(np.array([column, row]) / RATIO - expected).max() < 12  # two voxels


def test_a_tap_reads_the_place_under_the_finger(viewer: Window) -> None:
    x, y = viewer.inside("v.planes[0].placeOf(v.state.point)")
    viewer.inside(f"v.goTo({AWAY_MM})")
    level = viewer.inside("v.state.point[2]")
    viewer.page.touchscreen.tap(*at(viewer, x, y))
    found = viewer.inside("v.volume.toMm(v.state.point)")
    assert viewer.inside("v.state.point[2]") == level
    assert viewer.inside(f"v.planes[0].voxelAt({x}, {y})") == viewer.inside("v.state.point")
    assert found[0] == pytest.approx(marker_mm(phantom())[0], abs=15)  # the grid is tilted


def test_one_finger_drags_the_crosshair_and_two_zoom_and_shift(viewer: Window) -> None:
    before = viewer.inside("v.state.point")
    touch(viewer, [at(viewer, 120, 120)], [at(viewer, 150, 120)], [at(viewer, 170, 140)])
    assert viewer.inside("v.state.point") == viewer.inside("v.planes[0].voxelAt(170, 140)") != before
    assert viewer.inside("v.planes[0].zoom") == 1
    apart = [[at(viewer, 150 - d, 150), at(viewer, 150 + d, 150)] for d in (30, 40, 60)]
    touch(viewer, *apart)
    assert viewer.inside("v.planes[0].zoom") == pytest.approx(2, rel=0.2)
    pan = viewer.inside("v.planes[0].pan[0]")
    beside = [[at(viewer, 100 + d, 150), at(viewer, 160 + d, 150)] for d in (0, 20, 40)]
    touch(viewer, *beside)
    assert viewer.inside("v.planes[0].pan[0]") == pytest.approx(pan + 40, abs=8)


def test_the_wheel_with_control_zooms_about_the_pointer_and_shift_drags_the_picture(viewer: Window) -> None:
    page = viewer.page
    page.mouse.move(*at(viewer, 90, 110))
    voxel = viewer.inside("v.planes[0].voxelAt(90, 110)")
    page.keyboard.down("Control")
    page.mouse.wheel(0, -400)
    page.keyboard.up("Control")
    settled(viewer)
    assert viewer.inside("v.planes[0].zoom") > 1.3
    assert viewer.inside("v.planes[0].voxelAt(90, 110)") == voxel
    pan = viewer.inside("v.planes[0].pan")
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(*at(viewer, 120, 100))
    page.mouse.up()
    page.keyboard.up("Shift")
    assert viewer.inside("v.planes[0].pan") == pytest.approx([pan[0] + 30, pan[1] - 10])
    page.locator("canvas[data-plane=axial]").focus()
    page.keyboard.press("r")
    assert viewer.inside("[v.planes[0].zoom, ...v.planes[0].pan]") == [1, 0, 0]


def test_presets_set_the_window(viewer: Window) -> None:
    standard = viewer.inside("v.state.window")
    viewer.page.locator("[data-is=window]").select_option("High contrast")
    low, high = viewer.inside("v.state.window")
    assert high - low == pytest.approx((standard[1] - standard[0]) / 2)
    viewer.page.locator("[data-is=window]").select_option("Standard")
    assert viewer.inside("v.state.window") == pytest.approx(standard)


@pytest.mark.parametrize(
    ("words", "place", "key"),
    [
        ("deepest point", "v.volume.meta.points.deepest", "g"),
        ("largest uncertainty", "v.volume.meta.points.uncertain", "u"),
        ("Hippocampus, left", "v.volume.layer('segmentation').labels[0].point_mm", ""),
        ("Brain Stem", "v.volume.layer('segmentation').labels[2].point_mm", ""),
    ],
)
def test_a_jump_leads_to_its_place(viewer: Window, words: str, place: str, key: str) -> None:
    expected = viewer.inside(f"v.volume.fromMm({place})")
    viewer.inside("v.set({point: [1, 1, 1]})")
    viewer.page.get_by_label("Go to").select_option(label=words)
    assert viewer.inside("v.state.point") == expected
    if key:
        viewer.inside("v.set({point: [1, 1, 1]})")
        viewer.page.locator("canvas[data-plane=axial]").focus()
        viewer.page.keyboard.press(key)
        assert viewer.inside("v.state.point") == expected


def test_outline_fill_and_opacity_change_what_lies_over_the_scan(viewer: Window) -> None:
    viewer.inside("v.set({crosshair: false})")
    settled(viewer)
    seen = [pixels(viewer, "axial")]
    viewer.page.get_by_role("button", name="Outline").click()
    settled(viewer)
    seen.append(pixels(viewer, "axial"))
    viewer.page.get_by_label("Opacity").fill("0.3")
    settled(viewer)
    seen.append(pixels(viewer, "axial"))
    x, y = (round(RATIO * value) for value in viewer.inside("v.planes[0].placeOf(v.state.point)"))
    middle = [tuple(int(value) for value in picture[y, x]) for picture in seen]
    assert len(set(middle)) == 3
    assert middle[0][2] > middle[2][2] > middle[1][2]  # white marker, a little yellow, much yellow


def test_the_scale_of_gate_depth_is_that_of_every_case(viewer: Window) -> None:
    viewer.page.get_by_label("Layer").select_option("depth")
    legend = viewer.page.locator(".legend")
    playwright.expect(legend).to_contain_text(
        "0 to 30: the same scale for every case"
    )  # it comes with the map
    assert "15: brain-t1 exit 3" in legend.inner_text()
