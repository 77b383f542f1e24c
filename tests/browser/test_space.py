"""The 3D view in a Chromium that draws with WebGL2 in software."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser.conftest import ARGUMENTS, CHROMIUM, Window, open_window
from tests.phantoms import marker_mm, phantom

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

WITH_WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@pytest.fixture(scope="module")
def space(base: str, chromium: Any, head_file: Path) -> Iterator[Window]:
    """The 3D tab of a measured head."""
    arguments = [*(one for one in ARGUMENTS if one != "--disable-3d-apis"), *WITH_WEBGL]
    browser = chromium.browser_type.launch(executable_path=CHROMIUM, args=arguments)
    window = open_window(base, browser)
    window.measure(head_file)
    window.page.get_by_role("tab", name="3D").click()
    window.page.locator(".lnn-render[data-state=ready]").wait_for()
    yield window
    browser.close()


BUSY = """(() => {
  const labels = v.volume.data.segmentation, before = labels.slice()
  for (let at = 0; at < labels.length; at += 1) labels[at] = at % 4 // no voxel is like its neighbour
  v.set({ layer: "segmentation", outline: true })
  for (const plane of v.planes) plane.stale = true
  const began = performance.now()
  v.redraw(true)
  for (const plane of v.planes) plane.canvas.getContext("2d").getImageData(0, 0, 1, 1) // waits
  const took = performance.now() - began
  labels.set(before)
  for (const plane of v.planes) plane.stale = true
  v.redraw(true)
  return took
})()"""
BUSY_MS = 5000  # drawn on the emulated card it took 30 s on two busy cores


def inside(window: Window, script: str) -> Any:
    """Evaluate with `nv` as NiiVue."""
    return window.page.locator(".lnn-render").evaluate(
        f"host => {{ const nv = host.render; return {script} }}"
    )


def test_the_surface_of_the_left_structure_lies_on_the_marker(space: Window) -> None:
    names = inside(space, "nv.meshes.map(mesh => mesh.name)")
    assert "Hippocampus_L" in names
    script = "Array.from(nv.meshes.find(mesh => mesh.name === 'Hippocampus_L').pts)"
    points = np.array(inside(space, script)).reshape(-1, 3)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    np.testing.assert_allclose(middle, marker_mm(phantom()), atol=max(phantom().spacing_mm))


def test_the_volume_has_its_place_in_the_world_and_no_face(space: Window) -> None:
    corner = inside(space, "Array.from(nv.volumes[0].matRAS)")
    shape = inside(space, "nv.volumes[0].dims.slice(1, 4)")
    assert corner is not None
    assert len(shape) == 3
    drawn, labelled = inside(
        space, "[nv.volumes[0].img.filter(v => v > 0).length, nv.volumes[1].img.filter(v => v > 0).length]"
    )
    assert 0 < drawn == labelled


def test_slices_are_drawn_quickly_where_the_graphics_card_is_emulated(space: Window) -> None:
    space.page.get_by_role("tab", name="Slices").click()
    took_ms = space.inside(BUSY)
    space.page.get_by_role("tab", name="3D").click()
    assert took_ms < BUSY_MS


def test_it_draws_turns_and_shows_depth_without_complaint(space: Window) -> None:
    canvas = space.page.locator(".lnn-render canvas")
    first = canvas.screenshot()
    canvas.focus()
    space.page.keyboard.press("ArrowLeft")
    second = canvas.screenshot()
    assert first != second
    space.page.get_by_label("Gate depth", exact=True).check()
    space.page.wait_for_timeout(500)
    assert canvas.screenshot() != second
    assert inside(space, "nv.volumes[1].cal_max") == inside(space, "Math.round(nv.volumes[1].cal_max)")
    assert space.complaints == []
    assert space.foreign == []
