"""One viewer and one Chromium, without WebGL, for all browser tests; each test may open its own windows."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.phantoms import mirrored, phantom
from tests.ports import free_port

pytest.importorskip("streamlit")
playwright = pytest.importorskip("playwright.sync_api")

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-3d-apis",
)  # fmt: skip
START_SECONDS = 180.0  # a busy machine needs most of a minute
WAIT_MS = 150_000.0


@dataclass
class Window:
    """A page of a browser of its own, with what it complained about and where it asked."""

    page: Any
    base: str
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note errors and requests to other hosts."""
        own = (self.base, self.base.replace("http", "ws"), "blob:", "data:")
        page = self.page
        page.on("console", lambda said: said.type == "error" and self.complaints.append(said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda one: one.url.startswith(own) or self.foreign.append(one.url))

    def give(self, *paths: Path) -> None:
        """Upload files."""
        self.page.get_by_text("Drop a T1 head scan here").wait_for()
        self.page.get_by_label("Files of the scan").set_input_files([str(path) for path in paths])

    def measure(self, *paths: Path) -> None:
        """Upload files and wait for the images of the result."""
        self.give(*paths)
        self.page.get_by_role("button", name="Measure", exact=True).click()
        self.page.locator(".lnn-viewer[data-ready=true]").wait_for()

    def inside(self, script: str) -> Any:
        """Evaluate with `v` as the viewer object."""
        return self.page.locator(".lnn-viewer").evaluate(
            f"host => {{ const v = host.viewers[0]; return {script} }}"
        )


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run of `score`: two heads, one of them mirrored, and a file that is none."""
    from app.parts.runs import REFERENCES
    from lnn_med.io.nifti import write_nifti
    from lnn_med.scoring.runner import score
    from tests.app.serve import StandIn

    root = tmp_path_factory.mktemp("study")
    (root / "scans").mkdir()
    small = phantom((22, 26, 18), (3.2, 3.8, 4.6))
    write_nifti(small, root / "scans" / "sub-01_T1w.nii.gz")
    write_nifti(mirrored(small), root / "scans" / "sub-02_T1w.nii.gz")
    (root / "scans" / "broken.nii.gz").write_bytes(b"nothing")
    score(root / "scans", root / "runs" / "trial-a", models=StandIn(own_process=False), workers=0)
    for name in ("sub-01_T1w", "sub-02_T1w"):  # its own labels are the reference
        (root / "runs" / REFERENCES / "manual").mkdir(parents=True, exist_ok=True)
        labels = root / "runs" / "trial-a" / "cases" / name / "segmentation.nii.gz"
        shutil.copy(labels, root / "runs" / REFERENCES / "manual" / f"{name}.nii.gz")
    return root / "runs"


@pytest.fixture(scope="session")
def readings_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the viewer keeps verdicts."""
    return tmp_path_factory.mktemp("readings")


@pytest.fixture(scope="session")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the viewer says."""
    return tmp_path_factory.mktemp("log") / "viewer.log"


@pytest.fixture(scope="session")
def base(runs_folder: Path, readings_folder: Path, log_file: Path) -> Iterator[str]:
    """Address of a running viewer."""
    options = ("--runs", runs_folder, "--readings", readings_folder)
    with serving(*options, log=log_file) as port:
        yield f"http://localhost:{port}"


@contextmanager
def serving(*options: object, log: Path) -> Iterator[int]:
    """Port of a viewer of its own, stopped afterwards."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    port = free_port()
    command = [sys.executable, "-m", "tests.app.serve", str(port), *map(str, options)]
    with log.open("wb") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        try:
            _wait_for(f"http://localhost:{port}/_stcore/health", process)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, "The viewer ended at once."
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise AssertionError("The viewer does not answer.")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser; its contexts share nothing."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


def open_window(base: str, browser: Any, **options: Any) -> Window:
    """A window with an empty memory, on the first page."""
    options = {"viewport": {"width": 1280, "height": 900}, "accept_downloads": True, **options}
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    window = Window(page, base)
    window.watch()
    page.goto(base)
    return window


@pytest.fixture
def window(base: str, chromium: Any) -> Iterator[Window]:
    """A fresh window, closed afterwards."""
    one = open_window(base, chromium)
    yield one
    one.page.context.close()


@pytest.fixture(scope="session")
def head_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tilted head with its marker on the patient's left, as NIfTI."""
    from lnn_med.io.nifti import write_nifti

    path = tmp_path_factory.mktemp("scans") / "head.nii.gz"
    write_nifti(phantom(), path)
    return path


@pytest.fixture(scope="session")
def other_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same head with its marker on the other side."""
    from lnn_med.io.nifti import write_nifti

    path = tmp_path_factory.mktemp("scans") / "other.nii.gz"
    write_nifti(mirrored(phantom()), path)
    return path


@pytest.fixture(scope="session")
def measured(base: str, chromium: Any, head_file: Path) -> Iterator[Window]:
    """A window that shows the result of the head; tests that use it leave the case in place."""
    one = open_window(base, chromium)
    one.measure(head_file)
    yield one
    one.page.context.close()
