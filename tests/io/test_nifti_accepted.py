"""Odd NIfTI files that are read: the right values, the right place, and a finding where one is due."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lnn_med import geometry
from lnn_med.errors import Code, InputError, WarningCode
from lnn_med.io.nifti import read_labels, read_nifti
from lnn_med.volume import Volume
from tests.io.nifti_factory import SHAPE, SPACING_MM, nifti_bytes, qform_only, voxels

NAN, INF = float("nan"), float("inf")
HALF_TURN = {"quatern_b": 0.0, "quatern_c": 0.0, "quatern_d": 1.0}  # about z
BOGUS_EXTENSION = b"\1\0\0\0" + (2**31 - 1).to_bytes(4, "little") + bytes(8)
GOOD_EXTENSION = b"\1\0\0\0" + (16).to_bytes(4, "little") + (6).to_bytes(4, "little") + b"comment."


def _read(tmp_path: Path, content: bytes, name: str = "scan.nii") -> Volume:
    path = tmp_path / name
    path.write_bytes(content)
    return read_nifti(path)


def _codes(volume: Volume) -> list[WarningCode]:
    return [finding.code for finding in volume.findings]


# (remark, content, expected findings)
CASES = [
    ("plain", nifti_bytes(), []),
    ("big endian", nifti_bytes(order=">"), []),
    ("NIfTI-2", nifti_bytes(version=2), []),
    ("NIfTI-2, big endian", nifti_bytes(version=2, order=">"), []),
    ("gzip inside, plain name: content decides", gzip.compress(nifti_bytes()), []),
    ("two gzip members", gzip.compress(nifti_bytes()[:400]) + gzip.compress(nifti_bytes()[400:]), []),
    ("N06 pixdim 0, but the sform is set", nifti_bytes(pixdim=(0,) * 8), [WarningCode.HEADER]),
    ("N11 slope 0 means no scaling", nifti_bytes(scl_slope=0, scl_inter=5), [WarningCode.SCALING]),
    ("N11 slope NaN, as nibabel leaves it", nifti_bytes(scl_slope=NAN, scl_inter=NAN), [WarningCode.SCALING]),
    ("N17 fourth axis of length one", nifti_bytes(voxels((*SHAPE, 1))), []),
    ("N17 seven axes of length one", nifti_bytes(voxels((*SHAPE, 1, 1, 1, 1))), []),
    ("N19 extension", nifti_bytes(extension=GOOD_EXTENSION), []),
    ("N19 extension of bogus size", nifti_bytes(extension=BOGUS_EXTENSION), [WarningCode.HEADER]),
    ("N19 bytes after the voxels", nifti_bytes() + b"more", [WarningCode.HEADER]),
    ("N22 unit not stated: millimetres", nifti_bytes(xyzt_units=0), []),
]


@pytest.mark.parametrize(("content", "codes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_odd_but_readable_file_keeps_values_and_place(
    tmp_path: Path, content: bytes, codes: list[WarningCode]
) -> None:
    volume = _read(tmp_path, content)

    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, voxels())
    np.testing.assert_allclose(volume.affine[:3, 3], (-2, -3, -4))
    np.testing.assert_allclose(volume.spacing_mm, SPACING_MM)
    assert _codes(volume) == codes


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_real_type_is_read_and_scaled(tmp_path: Path, dtype: str, order: str) -> None:
    stored = (voxels() % 100).astype(dtype)

    volume = _read(tmp_path, nifti_bytes(stored, order=order, scl_slope=0.5, scl_inter=-10))

    np.testing.assert_array_equal(volume.data, stored.astype(np.float64) * 0.5 - 10)


def test_scaling_of_uint8_does_not_wrap(tmp_path: Path) -> None:
    """The IXI heads are stored so: uint8 with a slope, values up to 4,600."""
    volume = _read(tmp_path, nifti_bytes(np.minimum(voxels(), 255).astype(np.uint8), scl_slope=18.0))

    assert volume.data.max() == 209 * 18


def test_nonfinite_values_become_zero_and_are_counted(tmp_path: Path) -> None:
    """N16"""
    data = voxels().astype(np.float32) + 1
    data[0, 0, 0], data[1, 2, 3], data[4, 5, 6] = NAN, INF, -INF

    volume = _read(tmp_path, nifti_bytes(data))

    assert _codes(volume) == [WarningCode.NONFINITE]
    assert volume.findings[0].message.startswith("3 of 210 ")
    assert np.count_nonzero(volume.data == 0) == 3


@pytest.mark.parametrize(("unit", "factor"), [(1, 1e-3), (3, 1e3)], ids=["N22 metres", "N22 micrometres"])
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_other_units_are_converted_with_a_finding(
    tmp_path: Path, unit: int, factor: float, form: str
) -> None:
    scaled = {
        "pixdim": (1, *(value * factor for value in SPACING_MM), 0, 0, 0, 0),
        "srow_x": (SPACING_MM[0] * factor, 0, 0, -2 * factor),
        "srow_y": (0, SPACING_MM[1] * factor, 0, -3 * factor),
        "srow_z": (0, 0, SPACING_MM[2] * factor, -4 * factor),
        "qoffset_x": -2 * factor,
        "qoffset_y": -3 * factor,
        "qoffset_z": -4 * factor,
    }
    codes = {} if form == "sform" else qform_only()

    volume = _read(tmp_path, nifti_bytes(xyzt_units=unit, **scaled, **codes))

    np.testing.assert_allclose(volume.spacing_mm, SPACING_MM, rtol=1e-6)
    np.testing.assert_allclose(volume.affine[:3, 3], (-2, -3, -4), rtol=1e-6)
    assert _codes(volume) == [WarningCode.UNITS]


def test_qform_is_used_where_no_sform_is_set(tmp_path: Path) -> None:
    volume = _read(tmp_path, nifti_bytes(**qform_only(**HALF_TURN, qoffset_x=7.0)))

    np.testing.assert_allclose(volume.affine[:3, :3], np.diag((-1, -1, 1)) * SPACING_MM, atol=1e-7)
    np.testing.assert_allclose(volume.affine[:3, 3], (7, 0, 0))


def test_negative_qfac_makes_a_left_handed_volume(tmp_path: Path) -> None:
    """N24"""
    volume = _read(tmp_path, nifti_bytes(**qform_only(pixdim=(-1, *SPACING_MM, 0, 0, 0, 0))))

    assert volume.orientation == "RAI"


def test_random_qforms_equal_nibabel_and_simpleitk(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for number in range(20):
        quaternion = random.normal(size=4)
        quaternion *= np.sign(quaternion[0]) / np.linalg.norm(quaternion)
        names = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
        fields = dict(zip(names, (*quaternion[1:], *random.normal(size=3) * 80), strict=True))
        pixdim = (random.choice((-1, 1)), *random.uniform(0.5, 3, 3), 0, 0, 0, 0)

        name = f"{number}.nii"
        volume = _read(tmp_path, nifti_bytes(**qform_only(pixdim=pixdim, **fields)), name)

        np.testing.assert_allclose(volume.affine, nib.load(tmp_path / name).affine, atol=1e-4)
        np.testing.assert_allclose(volume.affine, _affine_of_simpleitk(tmp_path / name), atol=1e-4)


def test_quaternion_is_accepted_when_only_rounding_makes_it_longer_than_one(tmp_path: Path) -> None:
    volume = _read(tmp_path, nifti_bytes(**qform_only(quatern_b=1.00001)))

    np.testing.assert_allclose(volume.affine[:3, :3], np.diag((1, -1, -1)) * SPACING_MM, atol=1e-6)


@pytest.mark.parametrize(
    ("shift_mm", "codes"),
    [
        pytest.param(0.0, [], id="N23 they agree"),
        pytest.param(0.09, [], id="N23 within the tolerance"),
        pytest.param(0.2, [WarningCode.AFFINE_CONFLICT], id="N23 0.2 mm apart"),
    ],
)
def test_conflict_of_qform_and_sform_is_reported_and_the_sform_used(
    tmp_path: Path, shift_mm: float, codes: list[WarningCode]
) -> None:
    offsets = {"qoffset_x": -2 + shift_mm, "qoffset_y": -3, "qoffset_z": -4}

    volume = _read(tmp_path, nifti_bytes(qform_code=1, **offsets))

    assert _codes(volume) == codes
    np.testing.assert_allclose(volume.affine[:3, 3], (-2, -3, -4))
    assert all("the sform was used" in finding.message for finding in volume.findings)


def test_rotation_that_shows_only_at_the_far_corner_is_a_conflict(tmp_path: Path) -> None:
    """N23: the first voxel agrees; 1 degree about z moves the far corner by 0.13 mm."""
    half = np.radians(1.0) / 2
    offsets = {"qoffset_x": -2, "qoffset_y": -3, "qoffset_z": -4}

    volume = _read(tmp_path, nifti_bytes(qform_code=1, quatern_d=np.sin(half), **offsets))

    assert _codes(volume) == [WarningCode.AFFINE_CONFLICT]


def test_conflict_that_changes_volumes_says_by_how_much(tmp_path: Path) -> None:
    """An sform into a template space scales the head; the numbers in mm³ depend on the choice."""
    pixdim = (1, *(value / 2 for value in SPACING_MM), 0, 0, 0, 0)
    offsets = {"qoffset_x": -2, "qoffset_y": -3, "qoffset_z": -4}

    volume = _read(tmp_path, nifti_bytes(qform_code=1, pixdim=pixdim, **offsets))

    assert "8 times as large" in volume.findings[0].message


def test_label_map_is_read_as_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii"
    path.write_bytes(nifti_bytes(voxels().astype(np.float64)))

    labels = read_labels(path)

    assert labels.data.dtype == np.int32
    np.testing.assert_array_equal(labels.data, voxels())


def test_probabilities_are_refused_as_a_label_map(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii"
    path.write_bytes(nifti_bytes(voxels() / 210.0))

    with pytest.raises(InputError) as refusal:
        read_labels(path)
    assert refusal.value.code is Code.DTYPE


def _affine_of_simpleitk(path: Path) -> np.ndarray:
    """Voxel index to RAS mm of SimpleITK, whose world is LPS."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag((-1, -1, 1, 1)) @ affine


def test_far_corner_is_at_the_place_that_simpleitk_gives(tmp_path: Path) -> None:
    volume = _read(tmp_path, nifti_bytes())

    corner = sitk.ReadImage(str(tmp_path / "scan.nii")).TransformIndexToPhysicalPoint((4, 5, 6))

    np.testing.assert_allclose(geometry.voxel_to_mm(volume.affine, (4, 5, 6)), np.array(corner) * (-1, -1, 1))
