"""A volume written as a DICOM series comes back as the same volume, for us and for dcm2niix."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from lnn_med import geometry
from lnn_med.errors import Code, InputError
from lnn_med.io.dicom_series import read_series
from lnn_med.io.dicom_writer import SeriesText, write_t1_series
from lnn_med.volume import Volume
from tests.dicom_factory import assert_same_image, dcm2niix, small_phantom
from tests.phantoms import MARKER, mirrored, reordered


def as_image(volume: Volume) -> nib.Nifti1Image:
    return nib.Nifti1Image(np.asarray(volume.data, np.float64), volume.affine)


@pytest.mark.parametrize("codes", geometry.all_orientations())
def test_all_orientations_come_back(codes: str, tmp_path: Path) -> None:
    volume = reordered(small_phantom((8, 7, 5)), codes)
    write_t1_series(volume, tmp_path / "scan")
    assert_same_image(read_series(tmp_path / "scan"), as_image(volume))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASL", "SRP"])
def test_dcm2niix_reads_the_same(codes: str, tmp_path: Path) -> None:
    volume = reordered(small_phantom(), codes)
    write_t1_series(volume, tmp_path / "scan")
    assert_same_image(volume, dcm2niix(tmp_path / "scan", tmp_path / "out"))


def test_mirrored_patient_comes_back_mirrored(tmp_path: Path) -> None:
    volume = small_phantom((24, 22, 18))
    for name, one in (("a", volume), ("b", mirrored(volume))):
        write_t1_series(one, tmp_path / name)
        back = read_series(tmp_path / name)
        expected = np.argwhere(one.data == MARKER).mean(axis=0)
        found = np.argwhere(back.data == MARKER).mean(axis=0)
        np.testing.assert_allclose(
            geometry.voxel_to_mm(back.affine, found), geometry.voxel_to_mm(one.affine, expected), atol=1e-3
        )


@pytest.mark.parametrize(
    ("scale", "offset", "remark"),
    [
        (1, 0, "whole numbers"),
        (1e-6, 0, "tiny"),
        (1.7e3, -9.1, "to 1.7 million, negative"),
        (0, 3.5, "constant"),
    ],
)
def test_values_come_back_within_a_step(scale: float, offset: float, remark: str, tmp_path: Path) -> None:
    volume = small_phantom()
    volume = volume.with_data((volume.data * scale + offset).astype(np.float32))
    write_t1_series(volume, tmp_path / "scan")
    back = read_series(tmp_path / "scan")
    step = float(np.ptp(volume.data)) / 65535
    ours, theirs = (nib.as_closest_canonical(as_image(one)).get_fdata() for one in (back, volume))
    tolerance = step / 2 + 1e-6 * np.abs(volume.data).max() if scale != 1 else 0
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def test_two_runs_write_the_same_bytes_and_other_volumes_other_uids(tmp_path: Path) -> None:
    volume = small_phantom((8, 7, 5))
    first, second = (write_t1_series(volume, tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    other = write_t1_series(volume.with_data(volume.data + 1), tmp_path / "c")
    uids = {dcmread(path).SeriesInstanceUID for path in (first[0], other[0])}
    assert len(uids) == 2


def test_headers_hold_what_an_mr_image_needs(tmp_path: Path) -> None:
    paths = write_t1_series(small_phantom((8, 7, 5)), tmp_path / "scan", SeriesText(description="template"))
    headers = [dcmread(path) for path in paths]
    assert [header.InstanceNumber for header in headers] == [1, 2, 3, 4, 5]
    assert len({header.SOPInstanceUID for header in headers}) == 5
    assert len({header.FrameOfReferenceUID for header in headers}) == 1
    assert {header.SOPClassUID.name for header in headers} == {"MR Image Storage"}
    assert {header.SeriesDescription for header in headers} == {"template"}
    assert (headers[0].Rows, headers[0].Columns) == (7, 8)


def test_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError) as caught:
        write_t1_series(small_phantom((8, 7, 5)), tmp_path)
    assert caught.value.code is Code.STORAGE
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    volume = small_phantom((8, 7, 5))
    volume.data[0, 0, 0] = np.nan
    with pytest.raises(InputError) as caught:
        write_t1_series(volume, tmp_path / "scan")
    assert caught.value.code is Code.NODATA
    assert not (tmp_path / "scan").exists()
