"""Writes a volume as a classic DICOM series: one MR Image Storage file for each slice.

Attributes: PS3.3 section A.4 (MR Image IOD). UIDs follow from the content: two runs write the same files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from lnn_med.errors import Code, InputError
from lnn_med.io.dicom_stack import LPS_TO_RAS
from lnn_med.volume import Volume

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
HIGHEST_STORED = 65535  # 16 bits, unsigned


@dataclass(frozen=True)
class SeriesText:
    """What the headers say beside the geometry; defaults describe an anonymous T1 scan."""

    description: str = "T1"
    patient_name: str = "ANONYMOUS"
    patient_id: str = "ANONYMOUS"
    study_date: str = ""


def write_t1_series(volume: Volume, folder: Path, text: SeriesText | None = None) -> list[Path]:
    """Write the slices of a volume into `folder`, which must be empty or missing; all of them or none.

    Slices lie along the third array axis. Whole numbers from 0 to 65535 are stored as they are, other values
    as 65,536 steps from the lowest to the highest with RescaleSlope and RescaleIntercept.

    Returns:
        The files in the order of the slices.

    Raises:
        InputError: E_STORAGE when the folder is not empty or cannot be written, E_NODATA for values that are
            not finite.
    """
    text = text or SeriesText()
    folder = Path(folder)
    stored, slope, intercept = _stored(volume.data)
    shared = _shared_header(volume, text, slope, intercept)
    try:
        if folder.exists() and any(folder.iterdir()):
            raise InputError(Code.STORAGE, "The folder for the DICOM series is not empty.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".dicom-", dir=folder.parent))
        try:
            names = [_write_slice(shared, volume, stored, k, temporary) for k in range(volume.shape[2])]
            temporary.chmod(0o755)  # mkdtemp gives it to its owner alone
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise InputError(Code.STORAGE, f"The DICOM series cannot be written ({reason}).") from error
    return [folder / name for name in names]


def _stored(data: NDArray[np.generic]) -> tuple[NDArray[np.uint16], str, str]:
    """Pixels, RescaleSlope and RescaleIntercept."""
    values = np.asarray(data, np.float64)
    if not np.isfinite(values).all():
        raise InputError(Code.NODATA, "The volume holds values that are not finite.")
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= HIGHEST_STORED and (values == np.rint(values)).all():
        return values.astype(np.uint16), "1", "0"
    slope = format_number_as_ds((high - low) / HIGHEST_STORED or 1.0)
    intercept = format_number_as_ds(low)
    # from the written numbers, so that rounding them to 16 characters costs nothing
    steps = np.rint((values - float(intercept)) / float(slope))
    return np.clip(steps, 0, HIGHEST_STORED).astype(np.uint16), slope, intercept


def _shared_header(volume: Volume, text: SeriesText, slope: str, intercept: str) -> Dataset:
    """Everything that all slices have in common."""
    digest = hashlib.sha256(np.ascontiguousarray(volume.data).tobytes())
    digest.update(np.ascontiguousarray(volume.affine).tobytes())
    seed = [digest.hexdigest(), repr(text)]
    row_mm, column_mm, slice_mm = volume.spacing_mm[1], volume.spacing_mm[0], volume.spacing_mm[2]
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    header.SOPClassUID = MR_IMAGE_STORAGE
    header.Modality = "MR"
    header.Manufacturer = "LNN-Med"
    header.SeriesDescription = text.description
    header.PatientName, header.PatientID = text.patient_name, text.patient_id
    header.StudyDate = text.study_date
    _set_empty(header, "StudyTime AccessionNumber ReferringPhysicianName PatientBirthDate PatientSex StudyID")
    _set_empty(header, "Laterality PatientPosition")
    header.BodyPartExamined = "BRAIN"
    header.StudyInstanceUID = generate_uid(entropy_srcs=[*seed, "study"])
    header.SeriesInstanceUID = generate_uid(entropy_srcs=[*seed, "series"])
    header.FrameOfReferenceUID = generate_uid(entropy_srcs=[*seed, "frame of reference"])
    header.SeriesNumber = 1
    _set_empty(header, "PositionReferenceIndicator RepetitionTime EchoTime EchoTrainLength")
    header.ScanningSequence, header.SequenceVariant, header.ScanOptions = "RM", "NONE", ""
    header.MRAcquisitionType = "3D"
    header.PixelSpacing = [format_number_as_ds(row_mm), format_number_as_ds(column_mm)]
    header.SliceThickness = header.SpacingBetweenSlices = format_number_as_ds(slice_mm)
    directions = (volume.affine[:3, :3] / volume.spacing_mm).T @ LPS_TO_RAS
    header.ImageOrientationPatient = [_ds(value) for value in directions[:2].ravel()]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows, header.Columns = volume.shape[1], volume.shape[0]
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = slope, intercept, "US"
    return header


def _write_slice(shared: Dataset, volume: Volume, stored: NDArray[np.uint16], k: int, folder: Path) -> str:
    header = Dataset()
    header.update(shared)
    header.SOPInstanceUID = generate_uid(entropy_srcs=[shared.SeriesInstanceUID, str(k)])
    header.InstanceNumber = k + 1
    position = LPS_TO_RAS @ (volume.affine @ (0, 0, k, 1))[:3]
    header.ImagePositionPatient = [_ds(value) for value in position]
    header.PixelData = np.ascontiguousarray(stored[:, :, k].T, "<u2").tobytes()  # rows = second array axis
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    name = f"{k + 1:04d}.dcm"
    header.save_as(folder / name, enforce_file_format=True)
    return name


def _set_empty(header: Dataset, keywords: str) -> None:
    """Attributes that must be there and may be empty (type 2)."""
    for keyword in keywords.split():
        setattr(header, keyword, None)


def _ds(value: float) -> str:
    """A number in at most 16 characters; plain 0 where rounding left a trace."""
    return format_number_as_ds(0.0 if abs(value) < 1e-12 else float(value))
