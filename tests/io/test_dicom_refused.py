"""Every bad DICOM input gets its code, quickly, and without a word about the patient."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lnn_med.errors import Code, InputError
from lnn_med.io.dicom_series import list_series, read_series
from tests import dicom_broken as broken
from tests.dicom_factory import OTHER_UID, PATIENT, PATIENT_ID, save, save_all, slices, small_phantom

Break = Callable[[Path], None]
FILES: list[tuple[str, Break, Code]] = [
    ("D01 empty file", broken.empty, Code.EMPTY),
    ("D02 cut before Rows", broken.cut_in_header, Code.TRUNCATED),
    ("D02 cut in the meta information", broken.cut_in_meta, Code.TRUNCATED),
    ("D03 cut in PixelData", broken.cut_in_pixels, Code.TRUNCATED),
    ("D04 65535 x 65535 pixels in 128 bytes", broken.huge_image, Code.SIZE),
    ("D05 2^31-1 frames", broken.huge_frames, Code.SIZE),
    ("D06 element of 4 GB", broken.huge_element, Code.LENGTH),
    ("D07 native PixelData of undefined length", broken.undefined_native_pixels, Code.LENGTH),
    ("D08 300 nested sequences", broken.nested(300), Code.NESTING),
    ("D08 300 nested sequences of defined length", broken.nested(300, defined=True), Code.NESTING),
    ("D09 20,000 nested sequences", broken.nested(20_000), Code.NESTING),
    ("D10 Windows program", broken.preamble(b"MZ\x90"), Code.POLYGLOT),
    ("D10 Linux program", broken.preamble(b"\x7fELF\2\1\1"), Code.POLYGLOT),
    ("D11 no preamble", broken.no_preamble, Code.NOTDICOM),
    ("D12 Rows as UL", broken.long_rows, Code.VR),
    ("D13 3 bits allocated", broken.odd_bits, Code.PIXELFMT),
    ("D13 colour", broken.colour, Code.PIXELFMT),
    ("D15 PixelSpacing 0", broken.spacing("0\\0"), Code.GEOMETRY),
    ("D15 PixelSpacing negative", broken.spacing("-1\\1"), Code.GEOMETRY),
    ("D16 PixelSpacing NaN", broken.spacing("nan\\1"), Code.GEOMETRY),
    ("D16 PixelSpacing infinite", broken.spacing("1\\inf"), Code.GEOMETRY),
    ("D16 PixelSpacing is a word", broken.spacing("wide\\1"), Code.GEOMETRY),
    ("D16 directions not at right angles", broken.flat_orientation, Code.GEOMETRY),
    ("D16 no position", broken.no_position, Code.GEOMETRY),
    ("D17 deflate bomb, 100 MB in 0.1 MB", broken.deflate_bomb, Code.BOMB),
    ("D17 broken deflate stream", broken.bad_deflate, Code.DECODE),
    ("D18 RLE with false offsets", broken.bad_rle, Code.DECODE),
    ("D19 garbage as JPEG 2000", broken.bad_j2k, Code.DECODE),
    ("D21 text file", broken.text_file, Code.NOTDICOM),
    ("D22 unknown VR", broken.unknown_vr, Code.VR),
    ("D23 unknown transfer syntax", broken.unknown_syntax, Code.SYNTAX),
    ("D23 video", broken.video_syntax, Code.SYNTAX),
    ("D29 RescaleSlope 0", broken.zero_slope, Code.VR),
]
ABOUT_STRANGERS = (Code.NOTDICOM,)  # in a folder, what is no DICOM is passed over
IDS = [name for name, _, _ in FILES]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_all(slices(small_phantom()), tmp_path_factory.mktemp("intact"))


@pytest.fixture
def series(intact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "scan"))


def refusal(path: Path, uid: str | None = None) -> InputError:
    """The error, after a look for the patient in it."""
    with pytest.raises(InputError) as caught:
        read_series(path, series=uid)
    assert not any(
        secret in str(caught.value)
        for secret in (*PATIENT.split("^"), PATIENT_ID, "IM0", "mprage", str(path))
    )
    return caught.value


@pytest.mark.parametrize(("name", "spoil", "code"), FILES, ids=IDS)
def test_bad_file_is_refused(name: str, spoil: Break, code: Code, series: Path, tmp_path: Path) -> None:
    lone = Path(shutil.copy(sorted(series.iterdir())[4], tmp_path / "lone.dcm"))
    spoil(lone)
    assert refusal(lone).code is code


@pytest.mark.parametrize(("name", "spoil", "code"), FILES, ids=IDS)
def test_one_bad_slice_spoils_its_series(name: str, spoil: Break, code: Code, series: Path) -> None:
    spoil(sorted(series.iterdir())[4])
    assert refusal(series).code is (Code.GAP if code in ABOUT_STRANGERS else code)


def test_bad_file_of_another_series_does_not_matter_for_the_named_one(series: Path) -> None:
    other = slices(small_phantom(), SeriesInstanceUID=OTHER_UID)
    save_all(other, series / "other")
    broken.cut_in_pixels(sorted((series / "other").iterdir())[0])
    assert refusal(series).code is Code.TRUNCATED  # both show T1: neither may silently win
    assert read_series(series, series=other[0].SeriesInstanceUID.replace("5.2", "5.1")).shape == (24, 20, 12)
    assert refusal(series, OTHER_UID).code is Code.TRUNCATED


def test_lone_slice_is_refused(series: Path) -> None:
    assert refusal(sorted(series.iterdir())[0]).code is Code.SHAPE


def test_missing_slice_is_refused(series: Path) -> None:  # D24
    broken_at = next(path for path in series.iterdir() if broken.dcmread(path).InstanceNumber == 6)
    broken_at.unlink()
    error = refusal(series)
    assert error.code is Code.GAP
    assert "10.6 mm" in error.detail
    assert "5.3 mm" in error.detail


@pytest.mark.parametrize("percent", [0.5, 1.5])
def test_slice_spacing_may_vary_by_one_percent(percent: float, tmp_path: Path) -> None:  # D24
    volume = small_phantom()
    headers = slices(volume)
    step = volume.affine[:3, 2] * (-1, -1, 1)
    moved = np.array(headers[5].ImagePositionPatient, float) + step * percent / 100
    headers[5].ImagePositionPatient = [f"{value:.8g}" for value in moved]
    folder = save_all(headers, tmp_path / "scan")
    if percent < 1:
        assert read_series(folder).shape == volume.shape
    else:
        assert refusal(folder).code is Code.GAP


def test_copied_slice_is_refused(series: Path) -> None:  # D25
    shutil.copy(sorted(series.iterdir())[0], series / "copy.dcm")
    assert refusal(series).code is Code.MIXED


def test_two_echoes_under_one_uid_are_refused(series: Path) -> None:  # D25
    save_all(slices(small_phantom(), EchoTime="5.2"), series / "second")
    assert refusal(series).code is Code.MIXED


def test_two_patients_under_one_uid_are_refused(series: Path) -> None:  # D25
    volume = small_phantom((24, 20, 14))
    save_all(slices(volume, PatientID="11", PatientName="OTHER")[12:], series / "second")
    assert refusal(series).code is Code.MIXED


def test_two_patients_in_a_folder_are_refused_with_their_series(series: Path) -> None:  # D25
    other = {"SeriesInstanceUID": OTHER_UID, "PatientID": "11", "PatientName": "OTHER"}
    save_all(slices(small_phantom(), **other), series / "second")
    error = refusal(series)
    assert error.code is Code.MIXED
    assert OTHER_UID in error.detail
    assert not any(row.chosen for row in list_series(series))
    assert read_series(series, series=OTHER_UID).shape == (24, 20, 12)


def test_images_of_two_sizes_are_refused(series: Path) -> None:  # D25
    save_all(slices(small_phantom((26, 20, 14)))[12:], series / "second")
    assert refusal(series).code is Code.MIXED


@pytest.mark.parametrize("degrees", [2.0, 20.0])
def test_gantry_tilt_is_refused(degrees: float, tmp_path: Path) -> None:  # D26
    volume = small_phantom()
    headers = slices(volume)
    aside = volume.affine[:3, 1] / volume.spacing_mm[1] * (-1, -1, 1) * np.tan(np.radians(degrees)) * 5.3
    for k, header in enumerate(headers):
        place = np.array(header.ImagePositionPatient, float) + k * aside
        header.ImagePositionPatient = [f"{value:.8g}" for value in place]
    error = refusal(save_all(headers, tmp_path / "scan"))
    assert error.code is Code.GEOMETRY
    assert f"{degrees:.1f} degrees" in error.detail


def test_two_orientations_in_a_series_are_refused(tmp_path: Path) -> None:  # D26
    headers = slices(small_phantom())
    for header in headers[6:]:
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    error = refusal(save_all(headers, tmp_path / "scan"))
    assert error.code is Code.GEOMETRY
    assert "2 orientations" in error.detail


def test_one_slice_beside_the_others_is_refused(tmp_path: Path) -> None:  # D26
    volume = small_phantom()
    headers = slices(volume)
    aside = volume.affine[:3, 0] / volume.spacing_mm[0] * (-1, -1, 1) * 2.0
    headers[3].ImagePositionPatient = [
        f"{v:.8g}" for v in np.array(headers[3].ImagePositionPatient, float) + aside
    ]
    assert refusal(save_all(headers, tmp_path / "scan")).code is Code.GEOMETRY


@pytest.mark.parametrize("components", [("..", "IM1"), ("A", "..", "..", "B"), ("/etc/passwd",), ("C:",)])
def test_dicomdir_that_leads_outside_is_refused(components: tuple[str, ...], series: Path) -> None:  # D31
    broken.dicomdir(series / "DICOMDIR", *components)
    assert refusal(series).code is Code.PATH
    assert refusal(series / "DICOMDIR").code is Code.PATH


def test_dicomdir_stands_for_its_folder(series: Path) -> None:  # D31
    broken.dicomdir(series / "DICOMDIR", "IM00000")
    assert read_series(series / "DICOMDIR").shape == (24, 20, 12)


def test_one_uid_with_two_images_is_refused(series: Path) -> None:  # D32
    twin = broken.dcmread(sorted(series.iterdir())[0])
    twin.PixelData = bytes(reversed(twin.PixelData))
    save(twin, series / "twin.dcm")
    assert refusal(series).code is Code.UID_CONFLICT


def test_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    assert refusal(tmp_path).code is Code.NOTDICOM
    assert refusal(tmp_path / "absent").code is Code.NOTFOUND


def test_every_prefix_of_a_file_is_refused(series: Path, tmp_path: Path) -> None:  # D02, D03
    content = sorted(series.iterdir())[0].read_bytes()
    lone = tmp_path / "lone.dcm"
    for length in (*range(1, len(content) - 960, 13), *range(len(content) - 960, len(content), 131)):
        lone.write_bytes(content[:length])
        assert refusal(lone).code in (Code.TRUNCATED, Code.NOTDICOM)


def test_random_damage_is_read_or_refused(series: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    content = np.frombuffer(sorted(series.iterdir())[0].read_bytes(), np.uint8)
    lone = tmp_path / "lone.dcm"
    codes = set()
    for _ in range(150):
        damaged = content.copy()
        places = rng.integers(132, len(content) - 960, rng.integers(1, 6))
        damaged[places] = rng.integers(0, 256, len(places))
        lone.write_bytes(damaged.tobytes())
        codes.add(refusal(lone).code)  # a lone slice is refused in any case
    assert len(codes) > 3
