"""`lnn-data convert` and `lnn-data series`, as the command line calls them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from data_tools.convert import convert, series_table
from lnn_med.errors import Code, ConfigError, InputError, WarningCode
from tests.dicom_factory import OTHER_UID, SERIES_UID, assert_same_image, save_all, slices, small_phantom


@pytest.fixture
def two_series(tmp_path: Path) -> Path:
    save_all(slices(small_phantom()), tmp_path / "scan" / "a")
    other = small_phantom((20, 18, 9))
    save_all(slices(other, SeriesInstanceUID=OTHER_UID, SeriesDescription="FLAIR"), tmp_path / "scan" / "b")
    return tmp_path / "scan"


def test_folder_becomes_nifti(tmp_path: Path) -> None:
    folder = save_all(slices(small_phantom()), tmp_path / "scan")
    volume = convert(folder, tmp_path / "out" / "scan.nii.gz")
    image = nib.load(tmp_path / "out" / "scan.nii.gz")
    assert_same_image(volume, image)
    phantom = small_phantom()
    assert_same_image(volume, nib.Nifti1Image(np.asarray(phantom.data, np.float64), phantom.affine))


def test_several_series_are_refused_and_nothing_is_written(two_series: Path, tmp_path: Path) -> None:
    out = tmp_path / "scan.nii.gz"
    with pytest.raises(InputError) as caught:
        convert(two_series, out)
    assert caught.value.code is Code.SERIES
    assert SERIES_UID in caught.value.detail
    assert OTHER_UID in caught.value.detail
    assert not out.exists()


def test_named_series_is_converted(two_series: Path, tmp_path: Path) -> None:
    assert convert(two_series, tmp_path / "one.nii", series=OTHER_UID).shape == (20, 18, 9)
    assert nib.load(tmp_path / "one.nii").shape == (20, 18, 9)


def test_only_series_is_converted_whatever_it_shows(two_series: Path, tmp_path: Path) -> None:
    volume = convert(two_series / "b", tmp_path / "flair.nii.gz")
    assert WarningCode.MODALITY in [finding.code for finding in volume.findings]


def test_zip_is_converted_and_listed(two_series: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for path in sorted((two_series / "a").iterdir()):
            archive.write(path, f"study/{path.name}")
    assert convert(tmp_path / "scan.zip", tmp_path / "scan.nii.gz").shape == (24, 20, 12)
    assert [row["series_uid"] for row in series_table(tmp_path / "scan.zip")] == [SERIES_UID]


def test_table_has_a_row_for_each_series(two_series: Path) -> None:
    first, second = series_table(two_series)
    assert first == {
        "series_uid": SERIES_UID,
        "modality": "MR",
        "description": "t1_mprage_sag",
        "images": 12,
        "shape": "24x20x12",
        "spacing_mm": "3.1x3.7x5.3",
        "orientation": "RAS",
        "usable": True,
        "chosen": True,
        "reason": "the only series that may be a T1 head scan",
    }
    assert (second["usable"], second["chosen"], second["reason"]) == (True, False, "not T1-weighted")


def test_another_ending_is_refused(two_series: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        convert(two_series, tmp_path / "scan.mgz", series=SERIES_UID)


def test_slice_beside_nothing_is_refused_with_its_own_reason(two_series: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        convert(next((two_series / "a").iterdir()), tmp_path / "one.nii.gz")
    assert caught.value.code is Code.SHAPE


@pytest.mark.data
def test_real_folder_with_two_series_is_refused(data_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        convert(data_folder / "dicom_head", tmp_path / "scan.nii.gz")
    assert caught.value.code is Code.SERIES
