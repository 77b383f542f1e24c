"""Time from giving a 1 mm head to the viewer until its result and its images are seen, in real Chromium.

    viewer.py [--runs 3] [--json]

The scan is the MNI152 template at 1 mm, as NIfTI. One viewer serves all runs; the first one may also wait for
its networks to be loaded. Clicks are made as soon as they can be. "result" is the first volume on the page,
"images" all maps drawn, "redraw" the median of the three planes while scrolling. The load of the machine is
printed beside the times, which mean little on a busy one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, sync_playwright

from lnn_med.io.mni_template import mni152_template
from lnn_med.io.nifti import write_nifti

PROGRAM = "from lnn_med.cli import main; main()"
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-3d-apis",
)  # fmt: skip
PATIENCE_SECONDS = 600.0
SCROLLS = 20
SCROLL = """async host => {
  const viewer = host.viewers[0], times = []
  for (let step = 0; step < %d; step += 1) {
    viewer.scroll(viewer.planes[step %% 3], 1)
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))
    times.push(viewer.lastDrawMs)
  }
  return times
}"""


@contextmanager
def serving(*options: str) -> Iterator[str]:
    """Address of a viewer of its own, stopped afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, "view", "--port", str(port), *options])
    address = f"http://localhost:{port}"
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=5).close()
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() > end:
                    raise SystemExit("The viewer does not answer.") from error
                time.sleep(0.3)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def chromium() -> str:
    """The browser, wherever it is installed."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise SystemExit("This needs Chromium.")


def measure(page: Page, address: str, scan: Path) -> dict[str, float]:
    """One scan, from the moment it is given."""
    page.goto(address)
    page.get_by_text("Drop a T1 head scan here").wait_for()
    start = time.perf_counter()
    page.get_by_label("Files of the scan").set_input_files(str(scan))
    button = page.get_by_role("button", name="Measure", exact=True)
    _wait(page, button)
    looked_into = time.perf_counter() - start
    button.click()
    _wait(page, page.locator("td .big").first)
    result = time.perf_counter() - start
    host = page.locator(".lnn-viewer[data-ready=true]")
    host.wait_for()
    images = time.perf_counter() - start
    redraw_ms = statistics.median(host.evaluate(SCROLL % SCROLLS))
    return {"looked_into_s": looked_into, "result_s": result, "images_s": images, "redraw_ms": redraw_ms}


def _wait(page: Page, what: Locator) -> None:
    """Wait until it is seen; end where the page refuses the scan instead."""
    refusal = page.get_by_text("Code E_")
    what.or_(refusal).first.wait_for()
    if refusal.count():
        raise SystemExit(f"The viewer refuses the scan: {refusal.first.inner_text()}")


def main() -> None:
    """Print the median as a Markdown table, or everything as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="scans, one after the other (default 3)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    volume = mni152_template()
    runs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name, serving() as address, sync_playwright() as driver:
        scan = Path(name) / "mni152.nii.gz"
        write_nifti(volume, scan)
        browser = driver.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        for _ in range(options.runs):
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            page = context.new_page()
            page.set_default_timeout(1000 * PATIENCE_SECONDS)
            runs.append({**measure(page, address, scan), "load": os.getloadavg()[0]})
            context.close()
        browser.close()
    medians = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    report: dict[str, Any] = {
        "scan": {"shape": volume.shape, "spacing_mm": volume.spacing_mm},
        "cores": len(os.sched_getaffinity(0)),
        "median": medians,
        "all": runs,
    }
    if options.json:
        print(json.dumps(report, indent=2))
        return
    shape = " x ".join(map(str, volume.shape))
    print(f"MNI152 template, {shape} voxels of 1 mm, {report['cores']} cores, {options.runs} runs\n")
    print("| | " + " | ".join(medians) + " |\n|" + "---|" * (1 + len(medians)))
    for title, found in (("median", medians), *((f"run {at}", run) for at, run in enumerate(runs, 1))):
        print(f"| {title} | " + " | ".join(f"{value:.1f}" for value in found.values()) + " |")


if __name__ == "__main__":
    main()
