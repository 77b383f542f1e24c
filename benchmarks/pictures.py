"""The pictures of the viewer in docs/screens: every page in light and dark, from real networks.

    pictures.py                          scan, result, dementia, edit, change, space, self_test, about
    pictures.py result change -o OUT     some of them, elsewhere
    pictures.py cohort reports --runs RUNS       folder of runs of `score`, as the viewer takes it

The head is the MNI152 template, made smaller and turned in its header, so that it is no longer in template
space and has percentiles; the earlier scan is the same one, 1 % larger. Look at what comes out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from scipy.spatial.transform import Rotation
from viewer import ARGUMENTS, PATIENCE_SECONDS, chromium, serving

from lnn_med.io.mni_template import mni152_template
from lnn_med.io.nifti import write_nifti

SCREENS = Path(__file__).parents[1] / "docs" / "screens"
WIDTH, HEIGHT, STORED_WIDTH = 1440, 900, 1000  # pixels
LARGEST_BYTES = 149_000  # of a picture
TURN_DEGREES, SHIFT_MM = (6, 0, -4), (3, -14, 22)
NOW, EARLIER = "2026.nii.gz", "2024.nii.gz"
MAIN = "document.querySelector('[data-testid=stMain]')"
SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
SETTLE_MS = 2000


class Camera:
    """A window of the viewer that takes pictures in both themes."""

    def __init__(self, page: Page, address: str, scans: Path, out: Path) -> None:
        self.page, self.address, self.scans, self.out = page, address, scans, out

    def take(self, name: str, **options: Any) -> None:
        """Both themes, packed."""
        self.page.mouse.move(5, 600)
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            self.page.wait_for_timeout(SETTLE_MS)
            file = self.out / f"{name}_{scheme}.png"
            self.page.screenshot(path=file, **options)
            print(f"{file.name}: {pack(file)} bytes", flush=True)

    def open(self, link: str = "") -> None:
        """A page by its name; a new visit without one."""
        if link:
            self.page.get_by_role("link", name=link, exact=True).click()
        else:
            self.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
            self.page.goto(self.address)
            self.page.get_by_text("Drop a T1 head scan here").wait_for()
        self.page.wait_for_timeout(SETTLE_MS)

    def measure(self, file: str, age: str = "") -> None:
        """Give a scan and wait for its images."""
        page = self.page
        page.get_by_text("Drop a T1 head scan here").wait_for()
        page.get_by_label("Files of the scan").set_input_files(str(self.scans / file))
        if age:
            page.get_by_label("Age, years").fill(age)
            page.get_by_label("Sex").click()
            page.get_by_role("option", name="F", exact=True).click()
            page.wait_for_timeout(SETTLE_MS)
        page.get_by_role("button", name="Measure", exact=True).click()
        page.locator(".lnn-viewer[data-ready=true]").wait_for()
        page.wait_for_timeout(SETTLE_MS)

    def scroll_to(self, text: str) -> None:
        """Bring a heading or a table's title to the top."""
        found = self.page.locator("h2, h3, caption").filter(has_text=text).first
        found.evaluate("one => one.scrollIntoView({block: 'start'})")
        self.page.evaluate(f"{MAIN}.scrollBy(0, -70)")
        self.page.wait_for_timeout(SETTLE_MS)


def scan(camera: Camera) -> None:
    """The first page."""
    camera.open()
    camera.take("scan")


def result(camera: Camera) -> None:
    """First screen of a result, and what stands below."""
    camera.open()
    camera.measure(NOW, "72")
    camera.take("result")
    camera.scroll_to("Gate depth")
    camera.take("result_below")


def dementia(camera: Camera) -> None:
    """The layer Evidence, and the panel below the volumes."""
    camera.open()
    camera.measure(NOW, "72")
    camera.page.get_by_label("Layer").select_option("evidence")
    camera.page.set_viewport_size({"width": WIDTH, "height": 1700})
    camera.take("dementia")


def edit(camera: Camera) -> None:
    """The brush, with a stroke."""
    camera.open()
    camera.measure(NOW, "72")
    page = camera.page
    page.get_by_role("button", name="Edit", exact=True).click()
    place = "host => { const v = host.viewers[0]; return v.planes[0].placeOf(v.state.point) }"
    x, y = page.locator(".lnn-viewer").evaluate(place)
    box = page.locator("canvas[data-plane=axial]").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.mouse.down()
    page.mouse.move(box["x"] + x + 16, box["y"] + y - 24, steps=8)
    page.mouse.up()
    camera.take("edit")


def change(camera: Camera) -> None:
    """An earlier scan beside this one."""
    camera.open()
    camera.measure(EARLIER)
    camera.open("Scan")
    camera.measure(NOW)
    page = camera.page
    page.get_by_label("Earlier scan, shown beside it").click()
    page.get_by_role("option", name=f"1. {EARLIER}").click()
    page.locator(".lnn-viewer.two[data-ready=true]").wait_for()
    page.get_by_role("link", name="with the change").wait_for()
    page.set_viewport_size({"width": WIDTH, "height": 1200})
    camera.scroll_to("Change since")
    camera.take("change")


def space(camera: Camera) -> None:
    """The tab 3D; a browser without a graphics card takes minutes."""
    camera.open()
    camera.measure(NOW, "72")
    camera.page.get_by_role("tab", name="3D").click()
    camera.page.locator(".lnn-render[data-state=ready]").wait_for()
    camera.take("space")


def self_test(camera: Camera) -> None:
    """The self-test after its end."""
    camera.open()
    camera.open("Self-test")
    camera.page.get_by_role("button", name="Run the self-test").click()
    camera.page.get_by_text("images arrived with").wait_for()
    camera.take("self_test")


def about(camera: Camera) -> None:
    """A model card."""
    camera.open()
    camera.open("About")
    camera.page.locator("[data-testid=stExpander] summary").filter(has_text="dementia").click()
    camera.take("about")


def cohort(camera: Camera) -> None:
    """A run of `score`."""
    camera.open()
    camera.open("Cohort")
    camera.page.get_by_role("button", name="Show", exact=True).first.wait_for()
    camera.take("cohort")


def reports(camera: Camera) -> None:
    """A report that is there already."""
    camera.open()
    camera.open("Reports")
    camera.page.get_by_text("Save report.html").wait_for()
    camera.take("reports")


PAGES: dict[str, Callable[[Camera], None]] = {
    made.__name__: made for made in (scan, result, dementia, edit, change, space, self_test, about)
}
OF_RUNS: dict[str, Callable[[Camera], None]] = {made.__name__: made for made in (cohort, reports)}


def pack(file: Path) -> int:
    """Make a picture small, with few colours, of which colours get as many as greys; gives its bytes."""
    picture = Image.open(file).convert("RGB")
    picture = picture.resize((STORED_WIDTH, round(picture.height * STORED_WIDTH / picture.width)))
    pixels = np.asarray(picture).reshape(-1, 3)
    vivid = pixels[np.ptp(pixels.astype(int), axis=1) > 50]
    if len(vivid):
        pixels = np.concatenate([pixels, vivid[np.resize(np.arange(len(vivid)), len(pixels))]])
    sample = Image.fromarray(pixels.reshape(-1, STORED_WIDTH, 3))
    for colours in (256, 192, 128, 96, 64, 48):
        palette = sample.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        picture.quantize(palette=palette, dither=Image.Dither.NONE).save(file, optimize=True)
        if file.stat().st_size < LARGEST_BYTES:
            break
    return file.stat().st_size


def write_scans(folder: Path) -> None:
    """The template smaller and turned, and once more a little larger."""
    template = mni152_template()
    moved = np.eye(4)
    moved[:3, 3] = SHIFT_MM
    for name, size in ((NOW, 0.9), (EARLIER, 0.909)):
        moved[:3, :3] = size * Rotation.from_euler("xyz", TURN_DEGREES, degrees=True).as_matrix()
        write_nifti(replace(template, affine=moved @ template.affine), folder / name)


def main() -> None:
    """Take them one after the other, each in a window of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", nargs="*", metavar="PAGE", help=", ".join([*PAGES, *OF_RUNS]))
    parser.add_argument("-o", "--out", type=Path, default=SCREENS)
    parser.add_argument("--runs", type=Path, help="folder of runs of `score`")
    chosen = parser.parse_args()
    wanted = chosen.pages or [*PAGES, *(OF_RUNS if chosen.runs else ())]
    unknown = [page for page in wanted if page not in PAGES | OF_RUNS]
    if unknown:
        parser.error(f"no such page: {', '.join(unknown)}")
    chosen.out.mkdir(parents=True, exist_ok=True)
    more = ("--runs", str(chosen.runs)) if chosen.runs else ()
    with tempfile.TemporaryDirectory() as name, serving(*more) as address, sync_playwright() as driver:
        write_scans(Path(name))
        for page in wanted:
            arguments = [one for one in ARGUMENTS if page != "space" or one != "--disable-3d-apis"]
            arguments += SOFTWARE_GL if page == "space" else ()
            browser = driver.chromium.launch(executable_path=chromium(), args=arguments)
            window = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            window.set_default_timeout(1000 * PATIENCE_SECONDS)
            (PAGES | OF_RUNS)[page](Camera(window, address, Path(name), chosen.out))
            browser.close()


if __name__ == "__main__":
    main()
