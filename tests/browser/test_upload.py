"""Uploads in a real browser: what is accepted, refused in which words, and equal to the command line."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pydicom
import pytest

from lnn_med.io import read
from lnn_med.io.dicom_writer import SeriesText, write_t1_series
from lnn_med.io.result_record import result_record
from tests.app.serve import FAILS_AT
from tests.app.stand_in import stand_in_prediction
from tests.browser.conftest import Window
from tests.browser.test_reading import choose
from tests.phantoms import mirrored, phantom

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


def write_person(folder: Path, **text: str) -> None:
    """Write these attributes into each file of a series."""
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        for name, value in text.items():
            setattr(header, name, value)
        header.save_as(path)


def test_a_folder_of_two_series_asks_which_one_and_knows_age_and_sex(window: Window, tmp_path: Path) -> None:
    volume = phantom((40, 44, 30), (2.0, 2.2, 2.6))
    folder = tmp_path / "study"
    for name, head in (("first", volume), ("second", mirrored(volume))):
        write_t1_series(head.with_data(head.data.astype("int16")), folder / name, SeriesText(f"T1 {name}"))
        write_person(folder / name, PatientAge="072Y", PatientSex="F", StudyInstanceUID="1.2.3")
    page = window.page
    page.get_by_text("Drop a T1 head scan here").wait_for()
    page.get_by_label("Folder of the scan").set_input_files(str(folder))
    table = page.get_by_role("table", name="Series found")
    table.wait_for()
    assert table.get_by_role("row").count() == 3
    page.get_by_text("Several series can be measured").wait_for()
    assert page.get_by_role("button", name="Measure", exact=True).count() == 0  # none is taken unasked
    page.get_by_text("T1 second, ").click()
    assert float(page.get_by_label("Age, years").input_value()) == 72
    page.get_by_role("button", name="Measure", exact=True).click()
    page.locator(".lnn-viewer[data-ready=true]").wait_for()
    assert "Sex F" in page.locator(".facts").first.inner_text()
    assert "Age 72 years" in page.locator(".facts").first.inner_text()
    record = record_of(folder / "second")
    volumes = {one["name"]: one["volume_mm3"] for one in record["structures"]}
    assert shown_volumes(window)["Hippocampus_R"] == as_printed(volumes["Hippocampus_R"])
    uid = record["input"]["series_uid"]
    for name, kind in (("DICOM SEG", "SEG"), ("DICOM SR", "SR")):
        with page.expect_download() as caught:
            page.get_by_role("link", name=name).click()
        made = pydicom.dcmread(caught.value.path())
        assert made.Modality == kind
        assert uid in str(made)
    assert not window.complaints


def test_loose_dicom_files_are_one_scan(window: Window, tmp_path: Path) -> None:
    volume = phantom((40, 44, 30), (2.0, 2.2, 2.6))
    files = write_t1_series(volume.with_data(volume.data.astype("int16")), tmp_path / "series")
    window.give(*files)
    window.page.get_by_role("button", name="Measure", exact=True).wait_for()
    assert "40 × 44 × 30 voxels" in window.page.locator(".stMain").inner_text()
    assert not window.complaints


def test_a_failed_quality_check_shows_no_number_of_the_network(window: Window, head_file: Path) -> None:
    window.give(head_file)
    page = window.page
    page.get_by_label("Age, years").fill(f"{FAILS_AT:.0f}")
    choose(window, "Sex", "F")
    page.get_by_role("button", name="Measure", exact=True).click()
    page.locator(".lnn-viewer[data-ready=true]").wait_for()
    page.get_by_text("Quality: FAIL").wait_for()
    said = page.locator(".stMain").inner_text()
    assert "no volume, interval or probability is shown" in said
    assert not re.search(r"\d\s?mm³", said)
    for word in ("Volumes, mm³", "percentile", "of ICV", "Dementia rating", "Gate depth\nResidual"):
        assert word not in said, word
    with page.expect_download() as caught:
        page.get_by_role("link", name="whole result (JSON)").click()
    structures = json.loads(Path(caught.value.path()).read_bytes())["structures"]
    assert {one["volume_mm3"] for one in structures} == {None}
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
