"""Makes DICOM files of every kind that is read, and of the kinds that are refused, with pydicom alone."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gdcm
import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from lnn_med.volume import Volume
from tests.phantoms import phantom

MR_IMAGE, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
SERIES_UID, OTHER_UID, STUDY_UID = "1.2.3.4.5.1", "1.2.3.4.5.2", "1.2.3.4.5"
PATIENT = "ZZCANARY^JOHN"  # must never be met in a message
PATIENT_ID = "99887766"
LPS = np.array([-1.0, -1.0, 1.0])
NATIVE = {
    "explicit little endian": ExplicitVRLittleEndian,
    "implicit little endian": ImplicitVRLittleEndian,
    "explicit big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
COMPRESSED = {
    "RLE": gdcm.TransferSyntax.RLELossless,
    "JPEG lossless": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "JPEG-LS": gdcm.TransferSyntax.JPEGLSLossless,
    "JPEG 2000": gdcm.TransferSyntax.JPEG2000Lossless,
}
LOSSY = {
    "JPEG baseline": gdcm.TransferSyntax.JPEGBaselineProcess1,  # 8 bits only
    "JPEG-LS near-lossless": gdcm.TransferSyntax.JPEGLSNearLossless,
}


def small_phantom(shape: tuple[int, int, int] = (24, 20, 12)) -> Volume:
    """The tilted phantom, coarse and with few slices, so that a series is written in milliseconds."""
    return phantom(shape, (3.1, 3.7, 5.3))


def stored_pixels(volume: Volume, dtype: str = "u2") -> NDArray[Any]:
    """The values of the phantom as whole numbers, (I, J, K)."""
    return np.rint(volume.data).astype(dtype)


def base_header(**attributes: Any) -> Dataset:
    """What every MR image says, with a patient that must stay unnamed."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 100"
    header.SOPClassUID, header.SOPInstanceUID = MR_IMAGE, generate_uid()
    header.Modality, header.Manufacturer = "MR", "SIEMENS"
    header.ImageType = ["ORIGINAL", "PRIMARY", "M", "NORM"]
    header.SeriesDescription = "t1_mprage_sag"
    header.PatientName, header.PatientID, header.PatientBirthDate = PATIENT, PATIENT_ID, "19500101"
    header.PatientSex = "F"
    header.StudyInstanceUID, header.SeriesInstanceUID = STUDY_UID, SERIES_UID
    header.SeriesNumber, header.InstanceNumber = 1, 1
    for name in (
        "Study",
        "Series",
        "Acquisition",
        "Content",
    ):  # gdcm fills in the time of day where they are missing
        setattr(header, f"{name}Date", "20200101")
        setattr(header, f"{name}Time", "101112")
    header.MagneticFieldStrength, header.RepetitionTime, header.EchoTime = "3", "2300", "2.98"
    header.InversionTime, header.FlipAngle = "900", "9"
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    set_all(header, attributes)
    return header


def set_pixels(header: Dataset, pixels: NDArray[Any]) -> None:
    """Store one frame (rows, columns) or several (frames, rows, columns)."""
    header.Rows, header.Columns = pixels.shape[-2:]
    header.BitsAllocated = header.BitsStored = pixels.dtype.itemsize * 8
    header.HighBit, header.PixelRepresentation = header.BitsStored - 1, int(pixels.dtype.kind == "i")
    header.PixelData = np.ascontiguousarray(pixels).tobytes()
    header["PixelData"].VR = "OW" if pixels.dtype.itemsize == 2 else "OB"


def set_all(header: Dataset, attributes: dict[str, Any]) -> None:
    """Set attributes by keyword; None removes one."""
    for keyword, value in attributes.items():
        if value is None:
            del header[keyword]
        else:
            setattr(header, keyword, value)


def cosines(volume: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """LPS directions of the first and the second array axis."""
    directions = (volume.affine[:3, :3] / volume.spacing_mm).T * LPS
    return directions[0], directions[1]


def position(volume: Volume, k: int) -> list[str]:
    """ImagePositionPatient of slice k."""
    return [f"{value:.10g}" for value in (volume.affine @ (0, 0, k, 1))[:3] * LPS]


def slices(volume: Volume, stored: NDArray[Any] | None = None, **attributes: Any) -> list[Dataset]:
    """One data set for each slice along the third array axis."""
    stored = stored_pixels(volume) if stored is None else stored
    headers = []
    for k in range(volume.shape[2]):
        header = base_header(InstanceNumber=k + 1)
        header.ImagePositionPatient = position(volume, k)
        header.ImageOrientationPatient = [f"{value:.10g}" for value in np.concatenate(cosines(volume))]
        header.PixelSpacing = [f"{volume.spacing_mm[1]:.10g}", f"{volume.spacing_mm[0]:.10g}"]
        header.SliceThickness = f"{volume.spacing_mm[2]:.10g}"
        set_pixels(header, stored[:, :, k].T)
        set_all(header, attributes)
        headers.append(header)
    return headers


def save(header: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write one file with preamble and meta information."""
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian and "PixelData" in header and header.BitsAllocated == 16:
        header.PixelData = np.frombuffer(header.PixelData, "<u2").astype(">u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
    return path


def save_all(headers: Iterable[Dataset], folder: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write files in an order of names that tells nothing about the slices."""
    for number, header in enumerate(headers):
        save(header, folder / f"IM{(number * 7919) % 10007:05d}.dcm", syntax)
    return folder


def transcode(folder: Path, syntax: int) -> Path:
    """Compress all files of a folder in place."""
    for path in sorted(folder.iterdir()):
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    return folder


def enhanced(
    volume: Volume, stored: NDArray[Any] | None = None, order: Iterable[int] | None = None
) -> Dataset:
    """An enhanced multi-frame image; `order` is the order of the slices in the file."""
    stored = stored_pixels(volume) if stored is None else stored
    order = list(range(volume.shape[2]) if order is None else order)
    header = base_header(SOPClassUID=ENHANCED_MR, NumberOfFrames=len(order), AcquisitionContrast="T1")
    header.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    header.DimensionOrganizationType = "3D"
    for keyword in ("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle"):
        del header[keyword]
    directions = [f"{value:.10g}" for value in np.concatenate(cosines(volume))]
    spacing = [f"{volume.spacing_mm[1]:.10g}", f"{volume.spacing_mm[0]:.10g}"]
    thickness = f"{volume.spacing_mm[2]:.10g}"
    shared = item(
        PixelMeasuresSequence=item(PixelSpacing=spacing, SliceThickness=thickness),
        PlaneOrientationSequence=item(ImageOrientationPatient=directions),
        MRTimingAndRelatedParametersSequence=item(RepetitionTime="2300", FlipAngle="9"),
        PixelValueTransformationSequence=item(RescaleSlope="1", RescaleIntercept="0", RescaleType="US"),
    )
    header.SharedFunctionalGroupsSequence = Sequence([shared])
    header.PerFrameFunctionalGroupsSequence = Sequence(
        item(
            FrameContentSequence=item(
                StackID="1",
                InStackPositionNumber=k + 1,
                DimensionIndexValues=[1, k + 1],
                FrameAcquisitionNumber=1,
            ),
            PlanePositionSequence=item(ImagePositionPatient=position(volume, k)),
            MREchoSequence=item(EffectiveEchoTime=2.98),
        )
        for k in order
    )
    set_pixels(header, stored[:, :, order].transpose(2, 1, 0))
    return header


def mosaic(volume: Volume) -> Dataset:
    """A Siemens mosaic with the CSA tags that place its tiles."""
    columns, rows, count = volume.shape
    edge = int(np.ceil(np.sqrt(count)))
    picture = np.zeros((edge * rows, edge * columns), "u2")
    for k in range(count):
        top, left = k // edge * rows, k % edge * columns
        picture[top : top + rows, left : left + columns] = stored_pixels(volume)[:, :, k].T
    header = slices(volume)[0]
    header.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    corner = volume.affine @ (-(edge - 1) / 2 * columns, -(edge - 1) / 2 * rows, 0, 1)
    header.ImagePositionPatient = [f"{value:.10g}" for value in corner[:3] * LPS]
    header.SpacingBetweenSlices = f"{volume.spacing_mm[2]:.10g}"
    set_pixels(header, picture)
    normal = volume.affine[:3, 2] / volume.spacing_mm[2] * LPS
    block = header.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x08, "CS", "IMAGE NUM 4")
    tags = {
        "NumberOfImagesInMosaic": ("US", [str(count)]),
        "SliceNormalVector": ("FD", [f"{v:.8f}" for v in normal]),
    }
    block.add_new(0x10, "OB", csa_header(tags))
    acquisition = header.private_block(0x0051, "SIEMENS MR HEADER", create=True)
    acquisition.add_new(0x0B, "LO", f"{rows}*{columns}")
    return header


def csa_header(tags: dict[str, tuple[str, list[str]]]) -> bytes:
    """A CSA2 header: https://nipy.org/nibabel/dicom/siemens_csa.html"""
    raw = b"SV10\4\3\2\1" + struct.pack("<2I", len(tags), 77)
    for name, (vr, items) in tags.items():
        raw += struct.pack("<64si4s3i", name.encode(), len(items), vr.encode(), 0, len(items), 77)
        for text in items:
            value = text.encode() + b"\0"
            raw += struct.pack("<4i", len(value), len(value), 77, len(value)) + value
            raw += b"\0" * (-len(value) % 4)
    return raw


def item(**attributes: Any) -> Dataset:
    """A data set; a data set as value becomes a sequence of one item."""
    group = Dataset()
    for keyword, value in attributes.items():
        setattr(group, keyword, Sequence([value]) if isinstance(value, Dataset) else value)
    return group


def dcm2niix(folder: Path, out: Path) -> nib.Nifti1Image:
    """What dcm2niix makes of a folder with one series; skips the test where it is not installed."""
    program = shutil.which("dcm2niix")
    if program is None:
        pytest.skip("dcm2niix is not installed")
    out.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [program, "-z", "n", "-f", "image", "-o", str(out), str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    images = list(out.glob("*.nii"))
    assert len(images) == 1, f"dcm2niix wrote {len(images)} images: {done.stdout[-600:]}"
    return nib.load(images[0])


def assert_same_image(volume: Volume, image: nib.Nifti1Image, relative: float = 1e-5) -> None:
    """The same intensities at the same places in the patient, whatever the order of the axes."""
    ours = nib.as_closest_canonical(nib.Nifti1Image(np.asarray(volume.data, np.float64), volume.affine))
    theirs = nib.as_closest_canonical(image)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)
    np.testing.assert_allclose(ours.get_fdata(), theirs.get_fdata(), rtol=relative, atol=1e-3)
