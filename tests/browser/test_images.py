"""The images in a real browser, judged by their pixels: sides, letters, places, layers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lnn_med import geometry
from tests.browser.conftest import Window, open_window
from tests.browser.test_accessibility import faults
from tests.browser.test_reading import choose
from tests.phantoms import marker_mm, phantom

pytestmark = pytest.mark.browser

LETTER_BOX_PX = 26


@pytest.fixture
def viewer(measured: Window) -> Iterator[Window]:
    """The shared result in its first state: no overlay, no crosshair, radiological, on the marker."""
    mm = marker_mm(phantom()).tolist()
    measured.inside("v.reset()")
    measured.inside(
        f"v.set({{layer: '', crosshair: false, radiological: true, outline: true}}), v.goTo({mm})"
    )
    settled(measured)
    yield measured
    assert not measured.complaints
    assert not measured.foreign


def settled(window: Window) -> None:
    """Wait for the next picture."""
    window.page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def pixels(window: Window, plane: str) -> NDArray[np.uint8]:
    """What the browser shows of a plane, (rows, columns, 3)."""
    shot = window.page.locator(f"canvas[data-plane={plane}]").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))


def marker_place(picture: NDArray[np.uint8]) -> tuple[float, float]:
    """Column and row of the brightest large patch, away from letters at the border."""
    grey = picture.min(axis=2).astype(float)
    border = LETTER_BOX_PX + 6
    inner = np.zeros_like(grey)
    inner[border:-border, border:-border] = grey[border:-border, border:-border]
    rows, columns = np.nonzero(inner > 245)
    assert len(rows) > 30, "The marker is not to be seen."
    return float(columns.mean()), float(rows.mean())


def letter_at(window: Window, plane: str, side: str) -> str:
    """The letter drawn at a border, found by comparing its pixels with each letter drawn anew."""
    picture = pixels(window, plane)
    height, width = picture.shape[:2]
    half = LETTER_BOX_PX // 2
    row, column = {
        "left": (height // 2, 15), "right": (height // 2, width - 15), "top": (15, width // 2),
        "bottom": (height - 15, width // 2),
    }[side]  # fmt: skip
    crop = picture[row - half : row + half, column - half : column + half].min(axis=2) > 200
    scores = {letter: _likeness(crop, _drawn(window, letter)) for letter in "LRAPSI"}
    return max(scores, key=lambda letter: scores[letter])


def _drawn(window: Window, letter: str) -> NDArray[np.bool_]:
    script = """letter => {
      const c = Object.assign(document.createElement("canvas"), {width: 26, height: 26})
      const pen = c.getContext("2d"); pen.fillStyle = "#fff"; pen.font = "600 18px system-ui, sans-serif"
      pen.textAlign = "center"; pen.textBaseline = "middle"; pen.fillText(letter, 13, 13)
      return [...pen.getImageData(0, 0, 26, 26).data].filter((_, i) => i % 4 === 3)
    }"""
    return np.array(window.page.evaluate(script, letter)).reshape(26, 26) > 128


def _likeness(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Best overlap (Dice) over shifts of up to three pixels."""
    best = 0.0
    for down in range(-3, 4):
        for across in range(-3, 4):
            moved = np.roll(other, (down, across), axis=(0, 1))
            best = max(best, 2 * float((one & moved).sum()) / max(1, int(one.sum() + moved.sum())))
    return best


@pytest.mark.parametrize(
    ("radiological", "letters", "marker_right_of_middle"),
    [
        (True, "RL", True),  # the patient's left, where the marker is, on the right of the picture
        (False, "LR", False),
    ],
)
@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_the_marker_lies_at_the_letter_of_its_side(
    viewer: Window, plane: str, radiological: bool, letters: str, marker_right_of_middle: bool
) -> None:
    viewer.inside(f"v.set({{radiological: {str(radiological).lower()}}})")
    settled(viewer)
    column, _ = marker_place(pixels(viewer, plane))
    assert (column > pixels(viewer, plane).shape[1] / 2) == marker_right_of_middle
    assert letter_at(viewer, plane, "left") + letter_at(viewer, plane, "right") == letters


def test_up_down_front_and_back_have_their_letters(viewer: Window) -> None:
    assert letter_at(viewer, "axial", "top") + letter_at(viewer, "axial", "bottom") == "AP"
    assert letter_at(viewer, "coronal", "top") + letter_at(viewer, "coronal", "bottom") == "SI"
    assert letter_at(viewer, "sagittal", "left") + letter_at(viewer, "sagittal", "right") == "AP"


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_click_on_the_marker_reads_its_place_and_structure(viewer: Window, plane: str) -> None:
    column, row = marker_place(pixels(viewer, plane))
    viewer.page.locator(f"canvas[data-plane={plane}]").click(position={"x": column, "y": row})
    settled(viewer)
    text = viewer.page.locator("#readout-mm").inner_text().removesuffix(" mm (RAS)").replace("−", "-")
    found = np.array([float(part) for part in text.split(",")])
    assert np.abs(found - marker_mm(phantom())).max() < 2 * max(phantom().spacing_mm)
    assert "Hippocampus, left" in viewer.page.locator("#readout-segmentation").inner_text()
    assert viewer.page.locator("#readout-value").inner_text() == "1\u202f000"
    voxel = [int(part) for part in viewer.page.locator("#readout-voxel").inner_text().split(",")]
    assert np.abs(geometry.voxel_to_mm(phantom().affine, voxel) - found).max() < 0.06


def test_the_wheel_and_the_keys_scroll(viewer: Window) -> None:
    before = viewer.inside("v.state.point")
    canvas = viewer.page.locator("canvas[data-plane=axial]")
    canvas.hover(position={"x": 80, "y": 120})
    viewer.page.mouse.wheel(0, -100)
    assert viewer.inside("v.state.point[2]") == before[2] + 1
    canvas.focus()
    viewer.page.keyboard.press("PageDown")
    viewer.page.keyboard.press("PageDown")
    assert viewer.inside("v.state.point[2]") == before[2] - 1
    assert viewer.inside("v.state.point.slice(0, 2)") == before[:2]


def test_the_arrow_key_to_the_picture_s_right_goes_to_the_patient_s_left(viewer: Window) -> None:
    before = viewer.inside("v.volume.toMm(v.state.point)")
    viewer.page.locator("canvas[data-plane=axial]").focus()
    viewer.page.keyboard.press("ArrowRight")
    assert viewer.inside("v.volume.toMm(v.state.point)")[0] < before[0]


def test_each_layer_colours_the_marker_differently(viewer: Window) -> None:
    column, row = (round(value) for value in marker_place(pixels(viewer, "axial")))
    seen = set()
    for layer in ("", "segmentation", "depth", "uncertainty"):
        viewer.page.get_by_label("Layer").select_option(layer)
        viewer.inside("v.set({outline: false, opacity: 1})")
        settled(viewer)
        seen.add(tuple(int(value) for value in pixels(viewer, "axial")[row, column]))
    assert len(seen) == 4
    assert (255, 214, 64) in seen  # the colour of the left hippocampus


def test_right_drag_changes_the_window_and_reset_restores_it(viewer: Window) -> None:
    before = viewer.inside("v.state.window")
    viewer.page.locator("canvas[data-plane=axial]").hover(position={"x": 100, "y": 100})
    viewer.page.mouse.down(button="right")
    viewer.page.mouse.move(500, 600)
    viewer.page.mouse.up(button="right")
    assert viewer.inside("v.state.window") != before
    viewer.page.get_by_role("button", name="Reset").click()
    assert viewer.inside("v.state.window") == pytest.approx(before)


def test_the_saved_picture_carries_the_mark(viewer: Window) -> None:
    with viewer.page.expect_download() as caught:
        viewer.page.get_by_role("button", name="Picture").click()
    picture = np.asarray(Image.open(caught.value.path()).convert("L"))
    strip = picture[-30:]
    assert (strip > 200).sum() > 300  # letters of the mark below the planes
    assert picture.shape[1] > picture.shape[0]


def test_it_works_without_webgl(viewer: Window) -> None:
    assert viewer.page.evaluate("document.createElement('canvas').getContext('webgl') === null")
    assert pixels(viewer, "axial").max() > 200


def test_a_redraw_takes_no_longer_than_a_blink(viewer: Window) -> None:
    viewer.page.get_by_label("Layer").select_option("segmentation")
    times = []
    for step in (1, -1, 1, -1, 1):
        viewer.inside(f"v.scroll(v.planes[0], {step})")
        settled(viewer)
        times.append(viewer.inside("v.lastDrawMs"))
    assert min(times) < 60


def test_evidence_is_off_until_it_is_chosen_and_has_a_fixed_scale_and_a_value(
    base: str, chromium: Any, head_file: Path
) -> None:
    window = open_window(base, chromium)
    page = window.page
    window.give(head_file)
    page.get_by_label("Age, years").fill("72")
    choose(window, "Sex", "F")
    page.get_by_role("button", name="Measure", exact=True).click()
    page.locator(".lnn-viewer[data-ready=true]").wait_for()
    assert window.inside("v.state.layer") == "segmentation"
    window.inside(f"v.set({{crosshair: false}}), v.goTo({marker_mm(phantom()).tolist()})")
    settled(window)
    window.inside("v.set({layer: ''})")
    settled(window)
    column, row = (round(value) for value in marker_place(pixels(window, "axial")))
    plain = pixels(window, "axial")
    page.get_by_label("Layer").select_option("evidence")
    window.inside("v.set({opacity: 1})")
    settled(window)
    shown = pixels(window, "axial")
    red, _, blue = (int(value) for value in shown[row, column])
    assert red > blue + 20  # for: orange on the white marker
    changed = np.abs(shown.astype(int) - plain).max(axis=2) > 20
    against = shown[changed].astype(int)
    assert ((against[:, 2] - against[:, 0]) > 100).sum() > 50  # against: blue
    assert (plain[~changed] == shown[~changed]).mean() > 0.9  # no evidence, no colour
    assert page.locator("#readout-evidence").inner_text() == "+0.0010 log-odds of the place"
    legend = page.locator(".legend .title").inner_text()
    assert "−0.005 " in legend
    assert "+0.005 " in legend
    assert "same scale for every case" in legend
    panel = page.locator(".stMain").inner_text()
    assert "Second opinion" in panel
    assert "mean error 6.2 years" in panel
    assert faults(window) == []
    assert not window.complaints
    page.context.close()
