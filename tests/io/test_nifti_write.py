"""Write, read back, compare: by our reader, by nibabel and by SimpleITK (whose world is LPS)."""

from __future__ import annotations

import errno
import gzip
import os
import stat
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lnn_med import geometry
from lnn_med.errors import Code, InputError
from lnn_med.io import files
from lnn_med.io.nifti import read_nifti, write_nifti
from lnn_med.volume import Source, Volume
from tests.phantoms import MARKER, marker_mm, mirrored, phantom, reordered

PLACE_TOLERANCE_MM = 1e-4  # the header stores float32


@pytest.fixture(scope="module")
def head() -> Volume:
    return phantom()


@pytest.mark.parametrize("codes", geometry.all_orientations())
def test_each_orientation_keeps_the_world_position_of_every_voxel(
    tmp_path: Path, head: Volume, codes: str
) -> None:
    """N24"""
    written = reordered(head, codes)
    path = tmp_path / "scan.nii"
    write_nifti(written, path)

    volume = read_nifti(path)

    assert volume.orientation == written.orientation == codes
    np.testing.assert_array_equal(volume.data, written.data)
    corners = [(0, 0, 0), tuple(np.array(volume.shape) - 1), (3, 1, 2)]
    np.testing.assert_allclose(
        geometry.voxel_to_mm(volume.affine, corners),
        geometry.voxel_to_mm(written.affine, corners),
        atol=PLACE_TOLERANCE_MM,
    )
    np.testing.assert_allclose(marker_mm(volume), marker_mm(head), atol=PLACE_TOLERANCE_MM)
    assert volume.findings == ()
    np.testing.assert_allclose(_marker_mm_of_simpleitk(path), marker_mm(head), atol=1e-3)


def test_mirrored_head_has_its_marker_on_the_other_side(tmp_path: Path, head: Volume) -> None:
    """Left stays left and right stays right: the marker of the phantom is on the patient's left."""
    middle = geometry.centre_mm(head.affine, head.shape)
    for volume, is_left in ((head, True), (mirrored(head), False)):
        write_nifti(volume, tmp_path / "scan.nii.gz")
        found = marker_mm(read_nifti(tmp_path / "scan.nii.gz"))
        assert bool(found[0] < middle[0]) is is_left


@pytest.mark.parametrize("form", ["sform", "qform"])
def test_sform_and_qform_say_the_same(tmp_path: Path, head: Volume, form: str) -> None:
    write_nifti(head, tmp_path / "scan.nii")

    header = nib.load(tmp_path / "scan.nii").header

    affine, code = header.get_sform(coded=True) if form == "sform" else header.get_qform(coded=True)
    np.testing.assert_allclose(affine, head.affine, atol=PLACE_TOLERANCE_MM)
    assert code == 2
    assert header.get_xyzt_units()[0] == "mm"


def test_dicom_scans_are_marked_as_scanner_coordinates(tmp_path: Path, head: Volume) -> None:
    write_nifti(replace(head, source=Source("series", "dicom", "0" * 64)), tmp_path / "scan.nii")

    header = nib.load(tmp_path / "scan.nii").header

    assert (header["qform_code"], header["sform_code"]) == (1, 1)


def test_slight_shear_stays_in_the_sform_and_no_conflict_is_written(tmp_path: Path, head: Volume) -> None:
    """A quaternion cannot hold shear; half a degree of gantry tilt is read, so it must be written too."""
    affine = head.affine @ np.array([[1, 0, 0, 0], [0, 1, 0.009, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    write_nifti(replace(head, affine=affine), tmp_path / "scan.nii")

    volume = read_nifti(tmp_path / "scan.nii")

    np.testing.assert_allclose(volume.affine, affine, atol=PLACE_TOLERANCE_MM)
    assert volume.findings == ()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "float32"])
@pytest.mark.parametrize("name", ["map.nii", "map.nii.gz"])
def test_values_of_each_type_come_back(tmp_path: Path, head: Volume, dtype: str, name: str) -> None:
    data = (head.data / 4).astype(dtype)
    write_nifti(head.with_data(data), tmp_path / name)

    image = nib.load(tmp_path / name)

    assert image.get_data_dtype() == np.dtype("uint8" if dtype == "bool" else dtype)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), data)


def test_big_endian_and_strided_arrays_are_written_by_value(tmp_path: Path, head: Volume) -> None:
    data = np.repeat(head.data, 2, axis=0)[::2].astype(">f4")
    write_nifti(head.with_data(data), tmp_path / "scan.nii")

    np.testing.assert_array_equal(read_nifti(tmp_path / "scan.nii").data, head.data)


def test_equal_volumes_give_equal_bytes(tmp_path: Path, head: Volume) -> None:
    write_nifti(head, tmp_path / "a.nii.gz")
    write_nifti(head.with_data(np.asfortranarray(head.data)), tmp_path / "b.nii.gz")

    content = (tmp_path / "a.nii.gz").read_bytes()

    assert content == (tmp_path / "b.nii.gz").read_bytes()
    assert content[4:8] == bytes(4)  # no time
    assert content[3] == 0  # no flags: no file name, no comment
    assert len(gzip.decompress(content)) == 352 + head.data.size * 4


def test_label_intent_is_written(tmp_path: Path, head: Volume) -> None:
    labels = head.with_data((head.data == MARKER).astype(np.uint8))
    write_nifti(labels, tmp_path / "labels.nii", intent="label")
    write_nifti(head, tmp_path / "depth.nii", intent="depth")

    assert nib.load(tmp_path / "labels.nii").header["intent_code"] == 1002
    assert nib.load(tmp_path / "depth.nii").header.get_intent() == ("none", (), "depth")


@pytest.mark.parametrize(
    ("change", "name", "intent", "said"),
    [
        pytest.param("int64", "scan.nii", "", "int64", id="type that viewers do not know"),
        pytest.param("float64", "scan.nii", "", "float64", id="twice the size for nothing"),
        pytest.param("float32", "scan.img", "", ".nii", id="ending of another format"),
        pytest.param("float32", "scan.nii", "uncertainty of the labels", "15 bytes", id="intent too long"),
    ],
)
def test_what_cannot_be_written_is_refused_before_a_file_exists(
    tmp_path: Path, head: Volume, change: str, name: str, intent: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        write_nifti(head.with_data(head.data.astype(change)), tmp_path / name, intent)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_the_old_file_and_no_rest(
    tmp_path: Path, head: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scan.nii"
    path.write_bytes(b"old")

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", no_space)
    with pytest.raises(InputError) as refusal:
        write_nifti(head, path)

    assert refusal.value.code is Code.STORAGE
    assert path.read_bytes() == b"old"
    assert [child.name for child in tmp_path.iterdir()] == ["scan.nii"]


def test_missing_folder_is_refused(tmp_path: Path, head: Volume) -> None:
    with pytest.raises(InputError) as refusal:
        write_nifti(head, tmp_path / "none" / "scan.nii")
    assert refusal.value.code is Code.STORAGE


def test_written_file_has_the_usual_permissions(tmp_path: Path, head: Volume) -> None:
    """A result that only its writer may read is useless in a shared folder."""
    old = os.umask(0o027)
    try:
        write_nifti(head, tmp_path / "scan.nii")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "scan.nii").stat().st_mode) == 0o640


def test_name_of_255_bytes_is_written(tmp_path: Path, head: Volume) -> None:
    name = "x" * 251 + ".nii"
    write_nifti(head, tmp_path / name)
    assert (tmp_path / name).exists()


def _marker_mm_of_simpleitk(path: Path) -> np.ndarray:
    """World position of the marker as SimpleITK sees it, turned from its LPS into RAS, mm."""
    image = sitk.ReadImage(str(path))
    slices_first = np.argwhere(sitk.GetArrayFromImage(image) == MARKER)
    index = slices_first.mean(axis=0)[::-1]
    position = image.TransformContinuousIndexToPhysicalPoint([float(value) for value in index])
    return np.array(position) * (-1, -1, 1)
