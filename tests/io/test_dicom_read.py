"""Series of every kind and encoding are read as dcm2niix reads them: the same values at the same places."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.uid import generate_uid

from lnn_med.errors import Code, InputError, WarningCode
from lnn_med.io import dicom_pixels
from lnn_med.io.dicom_folder import open_folder
from lnn_med.io.dicom_series import list_series, read_series
from lnn_med.volume import Volume
from tests import dicom_broken as broken
from tests.dicom_factory import (
    COMPRESSED,
    LOSSY,
    NATIVE,
    PATIENT,
    PATIENT_ID,
    SERIES_UID,
    assert_same_image,
    dcm2niix,
    enhanced,
    mosaic,
    save,
    save_all,
    slices,
    small_phantom,
    stored_pixels,
    transcode,
)
from tests.phantoms import reordered

UNREAD_BY_DCM2NIIX = ("deflated", "JPEG-LS")  # by the build that Debian ships; the phantom is the oracle then


def as_image(volume: Volume) -> nib.Nifti1Image:
    return nib.Nifti1Image(np.asarray(volume.data, np.float64), volume.affine)


@pytest.mark.parametrize("name", NATIVE)
def test_uncompressed_series(name: str, tmp_path: Path) -> None:
    folder = save_all(slices(small_phantom()), tmp_path / "scan", NATIVE[name])
    volume = read_series(folder)
    assert volume.data.dtype == np.float32
    assert_same_image(volume, as_image(small_phantom()))
    if name not in UNREAD_BY_DCM2NIIX:
        assert_same_image(volume, dcm2niix(folder, tmp_path / "out"))


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_series(name: str, tmp_path: Path) -> None:
    folder = transcode(save_all(slices(small_phantom()), tmp_path / "scan"), COMPRESSED[name])
    volume = read_series(folder)
    assert_same_image(volume, as_image(small_phantom()))
    if name not in UNREAD_BY_DCM2NIIX:
        assert_same_image(volume, dcm2niix(folder, tmp_path / "out"))


@pytest.mark.parametrize("name", ["JPEG lossless", "JPEG 2000", "RLE", "JPEG-LS"])
def test_compressed_signed_series(name: str, tmp_path: Path) -> None:
    phantom = small_phantom((24, 20, 4))
    phantom = phantom.with_data(phantom.data - 400)
    headers = slices(phantom, stored_pixels(phantom, "i2"))
    folder = transcode(save_all(headers, tmp_path / "scan"), COMPRESSED[name])
    assert_same_image(read_series(folder), as_image(phantom))


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_series_is_read_with_a_warning(name: str, tmp_path: Path) -> None:  # D28
    phantom = small_phantom((24, 20, 4))
    phantom = phantom.with_data(phantom.data // 8)
    volume = read_series(
        transcode(save_all(slices(phantom, stored_pixels(phantom, "u1")), tmp_path / "a"), LOSSY[name])
    )
    assert [finding.code for finding in volume.findings] == [WarningCode.LOSSY]
    ours, theirs = (nib.as_closest_canonical(as_image(one)).get_fdata() for one in (volume, phantom))
    assert np.abs(ours - theirs).max() <= 2


def test_series_of_mixed_encodings(tmp_path: Path) -> None:
    headers = slices(small_phantom())
    save_all(headers[:6], tmp_path / "scan" / "a")
    transcode(save_all(headers[6:], tmp_path / "scan" / "b"), COMPRESSED["JPEG lossless"])
    assert_same_image(read_series(tmp_path / "scan"), as_image(small_phantom()))


@pytest.mark.parametrize("codes", ["LPS", "PSR", "SAL", "IRP"])
def test_axial_sagittal_and_coronal_series(codes: str, tmp_path: Path) -> None:
    phantom = reordered(small_phantom(), codes)
    folder = save_all(slices(phantom), tmp_path / "scan")
    volume = read_series(folder)
    assert_same_image(volume, as_image(phantom))
    assert_same_image(volume, dcm2niix(folder, tmp_path / "out"))


def test_slices_in_reverse_order(tmp_path: Path) -> None:
    headers = slices(small_phantom())
    for number, header in enumerate(reversed(headers)):
        header.InstanceNumber = number + 1
    folder = save_all(headers, tmp_path / "scan")
    volume = read_series(folder)
    assert_same_image(volume, as_image(small_phantom()))
    assert_same_image(volume, dcm2niix(folder, tmp_path / "out"))


@pytest.mark.parametrize("reverse", [False, True])
def test_enhanced_multiframe(reverse: bool, tmp_path: Path) -> None:  # D29
    order = range(12)[:: -1 if reverse else 1]
    path = save(enhanced(small_phantom(), order=order), tmp_path / "scan" / "one.dcm")
    volume = read_series(path)
    assert_same_image(volume, as_image(small_phantom()))
    assert_same_image(volume, dcm2niix(path.parent, tmp_path / "out"))
    assert volume.source is not None
    assert volume.source.tags["EchoTime"] == pytest.approx(2.98)
    assert volume.source.tags["RepetitionTime"] == 2300


def test_compressed_enhanced_multiframe(tmp_path: Path) -> None:
    save(enhanced(small_phantom()), tmp_path / "scan" / "one.dcm")
    transcode(tmp_path / "scan", COMPRESSED["JPEG 2000"])
    assert_same_image(read_series(tmp_path / "scan"), as_image(small_phantom()))


def test_legacy_converted_enhanced_by_highdicom(tmp_path: Path) -> None:
    from highdicom.legacy import LegacyConvertedEnhancedMRImage

    headers = slices(small_phantom())
    for header in headers:
        header.FrameOfReferenceUID, header.PositionReferenceIndicator = "1.2.3.4.6", ""
        header.StudyID = header.AccessionNumber = header.ReferringPhysicianName = ""
    folder = save_all(headers, tmp_path / "classic")
    classic = [broken.dcmread(path) for path in folder.iterdir()]
    image = LegacyConvertedEnhancedMRImage(classic, "1.2.3.4.7", 2, generate_uid(), 1)
    (tmp_path / "legacy").mkdir()
    image.save_as(tmp_path / "legacy" / "one.dcm")
    assert_same_image(read_series(tmp_path / "legacy"), as_image(small_phantom()))


@pytest.mark.parametrize("count", [12, 9])  # with and without empty tiles
@pytest.mark.parametrize("codes", ["LPS", "LIP"])  # slices along the normal of the plane and against it
def test_siemens_mosaic(count: int, codes: str, tmp_path: Path) -> None:  # D29
    phantom = reordered(small_phantom((24, 20, 14)), codes)
    phantom = Volume(phantom.data[:, :, :count], phantom.affine)
    path = save(mosaic(phantom), tmp_path / "scan" / "one.dcm")
    volume = read_series(path)
    assert_same_image(volume, as_image(phantom))
    assert_same_image(volume, dcm2niix(path.parent, tmp_path / "out"))


def test_two_times_of_a_mosaic_are_refused(tmp_path: Path) -> None:
    for number in range(2):
        save(mosaic(small_phantom()), tmp_path / f"{number}.dcm")
    with pytest.raises(InputError) as caught:
        read_series(tmp_path)
    assert caught.value.code is Code.MIXED


@pytest.mark.parametrize(
    ("dtype", "attributes", "remark"),
    [
        ("i2", {}, "signed"),
        ("u1", {}, "8 bits"),
        ("u2", {"RescaleSlope": "0.37", "RescaleIntercept": "-123.5"}, "rescaled"),
        ("i2", {"RescaleSlope": "2", "RescaleIntercept": "7"}, "signed and rescaled"),
        ("u2", {"PhotometricInterpretation": "MONOCHROME1"}, "the values stay, only displays turn them"),
        ("u2", {"BitsStored": 12, "HighBit": 11}, "12 of 16 bits"),
        ("i2", {"BitsStored": 12, "HighBit": 11}, "12 of 16 bits, signed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pixel_formats(dtype: str, attributes: dict[str, object], remark: str, tmp_path: Path) -> None:  # D29
    phantom = small_phantom()
    stored = stored_pixels(phantom, "i4") - (200 if dtype == "i2" else 0)
    stored = (stored // 8 if dtype == "u1" else stored).astype(dtype)
    folder = save_all(slices(phantom, stored, **attributes), tmp_path / "scan")
    volume = read_series(folder)
    if not (dtype == "i2" and "BitsStored" in attributes):  # dcm2niix cuts such values without their sign
        assert_same_image(volume, dcm2niix(folder, tmp_path / "out"))
    slope, intercept = (
        float(str(attributes.get(f"Rescale{name}", start)))
        for name, start in (("Slope", 1), ("Intercept", 0))
    )
    assert_same_image(volume, nib.Nifti1Image(stored * slope + intercept, phantom.affine))
    assert volume.source is not None
    inverted = attributes.get("PhotometricInterpretation") == "MONOCHROME1"
    assert [finding.code for finding in volume.findings] == [WarningCode.SCALING] * inverted
    assert volume.source.tags["PhotometricInterpretation"] == attributes.get(
        "PhotometricInterpretation", "MONOCHROME2"
    )


def test_overlay_in_the_spare_bits_is_cut_off(tmp_path: Path) -> None:
    phantom = small_phantom()
    stored = stored_pixels(phantom)
    stored[::2] |= 0x8000
    volume = read_series(save_all(slices(phantom, stored, BitsStored=12, HighBit=11), tmp_path / "scan"))
    assert_same_image(volume, as_image(phantom))
    assert [finding.code for finding in volume.findings] == [WarningCode.SCALING]


def test_padding_takes_the_lowest_value_of_the_image(tmp_path: Path) -> None:
    phantom = small_phantom()
    stored = stored_pixels(phantom, "i2") + np.int16(10)
    stored[:3] = -2000
    volume = read_series(save_all(slices(phantom, stored, PixelPaddingValue=-2000), tmp_path / "scan"))
    assert volume.data.min() == 10
    assert_same_image(volume, nib.Nifti1Image(np.where(stored < 0, 10, stored).astype(float), phantom.affine))


def test_source_tells_the_acquisition_and_hides_the_patient(tmp_path: Path) -> None:
    source = read_series(save_all(slices(small_phantom()), tmp_path / "scan")).source
    assert source is not None
    assert (source.kind, source.name, source.series_uid) == ("dicom", "scan", SERIES_UID)
    assert source.tags["Modality"] == "MR"
    assert source.tags["MagneticFieldStrength"] == 3
    assert source.tags["InversionTime"] == 900
    assert source.tags["ContrastBolusAgent"] is False
    assert source.patient == {
        "PatientAge": pytest.approx(70, abs=0.01),
        "PatientAgeFrom": "PatientBirthDate and StudyDate",
        "PatientSex": "F",
    }
    assert not any(secret in repr(source) for secret in (PATIENT, PATIENT_ID, "19500101"))


def test_hash_does_not_depend_on_the_names_of_the_files(tmp_path: Path) -> None:
    folder = save_all(slices(small_phantom()), tmp_path / "scan")
    other = tmp_path / "other"
    other.mkdir()
    for number, path in enumerate(sorted(folder.iterdir(), reverse=True)):
        shutil.copy(path, other / str(number))
    hashes = {source.sha256 for source in (read_series(folder).source, read_series(other).source) if source}
    assert len(hashes) == 1


def test_list_of_files_is_a_series(tmp_path: Path) -> None:
    paths = sorted(save_all(slices(small_phantom()), tmp_path / "scan").iterdir())
    assert read_series(paths).shape == (24, 20, 12)
    assert [row.images for row in list_series(paths)] == [12]


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"PatientName": "<img onerror=x>", "SeriesDescription": "../../t1"}, None),  # D14
        ({"LossyImageCompression": "01"}, WarningCode.LOSSY),  # D28
        ({"BurnedInAnnotation": "YES"}, WarningCode.PHI_PIXELS),  # D30
    ],
)
def test_odd_headers_are_read_with_a_warning(
    attributes: dict[str, str], code: WarningCode | None, tmp_path: Path
) -> None:
    volume = read_series(save_all(slices(small_phantom(), **attributes), tmp_path / "scan"))
    assert [finding.code for finding in volume.findings] == ([code] if code else [])


def test_unknown_charset_is_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:  # D20
    folder = save_all(slices(small_phantom()), tmp_path / "scan")
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 999"))
    volume = read_series(folder)
    assert [finding.code for finding in volume.findings] == [WarningCode.CHARSET]
    assert not caplog.records


def test_tags_out_of_order_are_read_with_a_warning(tmp_path: Path) -> None:  # D22
    folder = save_all(slices(small_phantom()), tmp_path / "scan")
    broken.tags_out_of_order(next(folder.iterdir()))
    volume = read_series(folder)
    assert [finding.code for finding in volume.findings] == [WarningCode.NONCONFORMANT]
    assert_same_image(volume, as_image(small_phantom()))


def test_strangers_in_the_folder_are_counted(tmp_path: Path) -> None:
    folder = save_all(slices(small_phantom()), tmp_path / "scan")
    broken.text_file(folder / "notes.txt")
    volume = read_series(folder)
    assert [finding.code for finding in volume.findings] == [WarningCode.FILETYPE]
    assert "1 of 13" in volume.findings[0].message


def test_files_without_preamble_are_read_leniently(tmp_path: Path) -> None:  # D11
    folder = save_all(slices(small_phantom()), tmp_path / "scan")
    for path in folder.iterdir():
        broken.no_preamble(path)
    assert_same_image(read_series(folder, lenient=True), as_image(small_phantom()))


def test_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    folder = save_all(slices(small_phantom()), tmp_path / "scan")
    place = open_folder(folder).series[0].instances[0].place
    assert place is not None
    place.path.write_bytes(place.path.read_bytes() + b"\0")
    with pytest.raises(InputError) as caught:
        place.read()
    assert caught.value.code is Code.CHANGED


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import os; os.abort()", Code.DECODE),
        ("import time; time.sleep(60)", Code.RESOURCE),
        ("print('too short')", Code.DECODE),
        ("import resource, sys\nsys.path.insert(0, '')\nbytearray(64 << 30)", Code.DECODE),
    ],
)
def test_decoder_that_fails_ends_alone(
    program: str, code: Code, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = transcode(save_all(slices(small_phantom((24, 20, 2))), tmp_path / "scan"), COMPRESSED["RLE"])
    (tmp_path / "program.py").write_text(program)
    monkeypatch.setattr(dicom_pixels, "DECODER", tmp_path / "program.py")
    monkeypatch.setattr(dicom_pixels, "DECODER_BASE_S", 1)
    monkeypatch.setattr(dicom_pixels, "DECODER_FRAME_S", 0)
    if code is Code.RESOURCE:
        monkeypatch.setattr(dicom_pixels, "DECODER_WAIT", 1)
    with pytest.raises(InputError) as caught:
        read_series(folder)
    assert caught.value.code is code


def test_decoder_limits_its_memory() -> None:
    """The limits are set before the codecs are imported, and they hold."""
    import subprocess

    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import dicom_decoder as d\n"
        "d._limit({'memory_bytes': 1 << 30, 'cpu_s': 5})\n"
        "try: bytearray(2 << 30)\nexcept MemoryError: print('refused')"
    )
    folder = str(dicom_pixels.DECODER.parent)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, folder], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "refused"


@pytest.mark.data
@pytest.mark.parametrize("name", ["11-T1post-18670", "11_HCropVolume"])
def test_real_series_equal_dcm2niix(name: str, data_folder: Path, tmp_path: Path) -> None:
    folder = data_folder / "dicom_head" / name
    volume = read_series(folder)
    assert_same_image(volume, dcm2niix(folder, tmp_path / "out"), relative=0)


@pytest.mark.data
def test_real_head_is_chosen_beside_a_crop(data_folder: Path) -> None:
    rows = list_series(data_folder / "dicom_head")
    assert [(row.shape, row.chosen) for row in rows] == [((34, 50, 40), False), ((280, 320, 22), True)]
