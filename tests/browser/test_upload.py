"""Uploads in a real browser: what is accepted, refused in which words, and equal to the command line."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lnn_med.io import read
from lnn_med.io.dicom_writer import write_t1_series
from lnn_med.io.result_record import result_record
from tests.app.stand_in import stand_in_prediction
from tests.browser.conftest import Window
from tests.phantoms import phantom

pytestmark = pytest.mark.browser


def as_printed(volume_mm3: float) -> str:
    return f"{volume_mm3:,.0f}".replace(",", "\u202f")


def record_of(scan: Path) -> dict[str, Any]:
    """What `predict` writes for the same file with the same networks."""
    return result_record(stand_in_prediction(read(scan)))


def shown_volumes(window: Window) -> dict[str, str]:
    row = window.page.get_by_role("row").filter(has_text="Hippocampus").first
    left, right, *_ = row.locator("td .big").all_inner_texts()
    return {"Hippocampus_L": left, "Hippocampus_R": right}


def test_the_page_shows_the_volumes_that_the_command_line_gives(measured: Window, head_file: Path) -> None:
    volumes = {one["name"]: one["volume_mm3"] for one in record_of(head_file)["structures"]}
    assert volumes["Hippocampus_L"] != volumes["Hippocampus_R"]
    expected = {name: as_printed(volumes[name]) for name in ("Hippocampus_L", "Hippocampus_R")}
    assert shown_volumes(measured) == expected


def test_downloads_hold_the_same_numbers(measured: Window, head_file: Path) -> None:
    record = record_of(head_file)
    page = measured.page
    with page.expect_download() as caught:
        page.get_by_role("link", name="volumes (CSV)").click()
    rows = list(csv.DictReader(io.StringIO(Path(caught.value.path()).read_text())))
    assert [(row["name"], float(row["volume_mm3"])) for row in rows] == [
        (one["name"], one["volume_mm3"]) for one in record["structures"]
    ]
    with page.expect_download() as caught:
        page.get_by_role("link", name="whole result (JSON)").click()
    assert json.loads(Path(caught.value.path()).read_bytes())["structures"] == record["structures"]


def test_a_zip_of_a_dicom_series_is_measured(window: Window, tmp_path: Path) -> None:
    volume = phantom((40, 44, 30), (2.0, 2.2, 2.6))
    write_t1_series(volume.with_data(volume.data.astype("int16")), tmp_path / "series")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((tmp_path / "series").iterdir()):
            archive.write(path, path.name)
    window.measure(tmp_path / "scan.zip")
    volumes = {one["name"]: one["volume_mm3"] for one in record_of(tmp_path / "series")["structures"]}
    assert shown_volumes(window)["Hippocampus_L"] == as_printed(volumes["Hippocampus_L"])
    assert not window.complaints


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "E_EMPTY"),
        (b"no image at all", "E_FORMAT"),
        (b"PK\x03\x04 a zip without an end", "E_ARCHIVE"),
    ],
)
def test_a_broken_file_is_refused_in_plain_words(
    window: Window, tmp_path: Path, content: bytes, code: str
) -> None:
    from lnn_med.errors import Code

    (tmp_path / "patient_name.nii.gz").write_bytes(content)
    window.give(tmp_path / "patient_name.nii.gz")
    alert = window.page.get_by_role("alert").filter(has_text=code)
    alert.wait_for()
    assert Code(code).remedy in alert.inner_text()
    assert "patient_name" not in alert.inner_text()


def test_more_bytes_than_allowed_are_refused_whatever_the_name(window: Window, tmp_path: Path) -> None:
    (tmp_path / "small.nii").write_bytes(bytes(9 << 20))  # the test's server takes 8 MiB
    window.give(tmp_path / "small.nii")
    alert = window.page.get_by_role("alert").filter(has_text="E_SIZE")
    alert.wait_for()
    assert "8\u202f388\u202f608 bytes" in alert.inner_text()
