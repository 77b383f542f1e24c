"""What all DICOM files made from one prediction share: patient, study, UIDs, dates, equipment.

UIDs follow from the input, the models and what came out, so that equal content carries equal UIDs and other
content never does. Without a given time the dates are those of the study: a second run writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from lnn_med.errors import WarningCode
from lnn_med.io.dicom_origin import IDENTITY
from lnn_med.io.dicom_stack import LPS_TO_RAS
from lnn_med.io.dicom_values import silent_pydicom
from lnn_med.prediction import Prediction
from lnn_med.volume import DicomOrigin, Volume

MANUFACTURER = "LNN-Med"
RESEARCH_USE = "Research use only: not a medical device."
MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
# Far from the numbers that scanners give to their series.
SERIES_NUMBERS = {"SEG": 9001, "SR": 9002, "SC": 9003, "DOC": 9004, "MAP": 9005}
NO_DATE, NO_TIME = "19700101", "000000"  # where neither a time is given nor the study says its own
_EMPTY_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
_LOSS = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


@dataclass(frozen=True)
class Making:
    """A prediction on its way into DICOM; `record` is its `result_record`, the home of all numbers."""

    prediction: Prediction
    origin: DicomOrigin
    record: Mapping[str, Any]
    key: str
    date: str  # DA
    time: str  # TM

    def uid(self, *role: str) -> str:
        """The UID of one thing in these files, always the same for the same prediction."""
        return str(generate_uid(entropy_srcs=[self.key, *role]))

    @property
    def software(self) -> str:
        """Version of this package."""
        return self.prediction.software.get("lnn-med", "unknown")


def make(prediction: Prediction, record: Mapping[str, Any], when: datetime | None = None) -> Making:
    """Gather what the files share.

    Args:
        prediction: made from a DICOM series.
        record: its `result_record`.
        when: date and time that the files carry; None takes those of the study.

    Raises:
        ValueError: the prediction was not made from a DICOM series that can be referred to.
    """
    origin = prediction.source.dicom
    if origin is None:
        raise ValueError("The scan is no DICOM series that results can refer to.")
    date = when.strftime("%Y%m%d") if when else origin.header.get("StudyDate") or NO_DATE
    time = when.strftime("%H%M%S") if when else origin.header.get("StudyTime") or NO_TIME
    return Making(prediction, origin, record, _key(prediction, record), str(date), str(time))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep highdicom and pydicom from logging: they quote names that they find odd."""
    log = logging.getLogger("highdicom")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with silent_pydicom():
            yield
    finally:
        log.setLevel(level)


def source_header(making: Making) -> Dataset:
    """A stand-in for an image of the series, with identity and geometry of its first slice, for highdicom."""
    scan = making.prediction.scan
    header = _identity(making.origin)
    header.SOPClassUID, header.SOPInstanceUID = MR_IMAGE_STORAGE, making.origin.images[0].sop_instance_uid
    header.Modality = "MR"
    header.SeriesInstanceUID = making.origin.series_uid
    header.FrameOfReferenceUID = making.origin.frame_of_reference_uid
    header.Rows, header.Columns = scan.shape[1], scan.shape[0]
    header.ImagePositionPatient = position(scan, 0)
    header.ImageOrientationPatient = orientation(scan)
    header.PixelSpacing = [ds(scan.spacing_mm[1]), ds(scan.spacing_mm[0])]
    header.SliceThickness = ds(scan.spacing_mm[2])
    if _is_lossy(making.prediction):  # what comes from lossy images says so (PS3.3 section C.7.6.1.1.5)
        _copy(making.origin.header, header, _LOSS)
        header.LossyImageCompression = "01"
    return header


def plain_header(making: Making, sop_class: str, modality: str, role: str) -> Dataset:
    """The beginning of a file that is written without highdicom, meta information included."""
    header = _identity(making.origin)
    header.SOPClassUID, header.SOPInstanceUID = sop_class, making.uid(role, "instance")
    header.Modality = modality
    header.SeriesInstanceUID = making.uid(role, "series")
    header.SeriesNumber, header.InstanceNumber = SERIES_NUMBERS[role], 1
    header.Manufacturer = header.ManufacturerModelName = MANUFACTURER
    header.DeviceSerialNumber, header.SoftwareVersions = serial_number(making), making.software
    header.ContentDate, header.ContentTime = making.date, making.time
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return header


def common_arguments(making: Making, role: str) -> dict[str, Any]:
    """Arguments that the constructors of highdicom share."""
    return {
        "series_instance_uid": making.uid(role, "series"),
        "series_number": SERIES_NUMBERS[role],
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MANUFACTURER,
        "software_versions": making.software,
        "device_serial_number": serial_number(making),
        "specific_character_set": "ISO_IR 192",
        "content_date": making.date,
        "content_time": making.time,
    }


def settle(dataset: Dataset, making: Making, role: str) -> Dataset:
    """Replace what highdicom takes from the clock or from chance; the data set itself is returned."""
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        if keyword in dataset:
            del dataset[keyword]
    for item in dataset.get("ContributingEquipmentSequence") or ():
        item.ContributionDateTime = making.date + making.time
    organization = making.uid(role, "dimensions")
    for keyword in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in dataset.get(keyword) or ():
            item.DimensionOrganizationUID = organization
    return dataset


def reference_series(dataset: Dataset, origin: DicomOrigin) -> None:
    """Refer to every image of the source series (PS3.3 section C.12.2)."""
    images = []
    for image in origin.images:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (
            image.sop_class_uid,
            image.sop_instance_uid,
        )
        images.append(item)
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = origin.series_uid, images
    dataset.ReferencedSeriesSequence = [series]


def serial_number(making: Making) -> str:
    """What stands for a serial number: the weights that worked, by the beginning of their hashes."""
    return "-".join(used.weights_sha256[:8] for used in making.prediction.models)[:64]


def position(volume: Volume, k: int) -> list[str]:
    """ImagePositionPatient of a slice along the third array axis."""
    return [ds(value) for value in LPS_TO_RAS @ (volume.affine @ (0, 0, k, 1))[:3]]


def orientation(volume: Volume) -> list[str]:
    """ImageOrientationPatient: directions of growing column and row index."""
    directions = (volume.affine[:3, :3] / volume.spacing_mm).T @ LPS_TO_RAS
    return [ds(value) for value in directions[:2].ravel()]


def ds(value: float) -> str:
    """A number in at most 16 characters; plain 0 where rounding left a trace."""
    return str(format_number_as_ds(0.0 if abs(value) < 1e-12 else float(value)))


def save(dataset: Dataset, path: Path) -> None:
    """Write one file with preamble and meta information."""
    with quiet():
        dataset.save_as(path, enforce_file_format=True)


def _identity(origin: DicomOrigin) -> Dataset:
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _EMPTY_TYPE_2:
        setattr(header, keyword, None)
    _copy(origin.header, header, IDENTITY)
    header.StudyInstanceUID = origin.study_uid
    return header


def _copy(read: Dataset, header: Dataset, keywords: Iterable[str]) -> None:
    """Copy values, never elements: pydicom would change a shared element in both data sets."""
    for keyword in keywords:
        if keyword in read:
            setattr(header, keyword, read[keyword].value)


def _is_lossy(prediction: Prediction) -> bool:
    return any(found.code is WarningCode.LOSSY for found in prediction.findings)


def _key(prediction: Prediction, record: Mapping[str, Any]) -> str:
    """Hash over input, models and outcome; times of this run are no part of the outcome."""
    told = {name: record[name] for name in ("input", "model", "qc", "structures", "derived")}
    told["input"] = {name: value for name, value in told["input"].items() if name != "name"}
    told["software"] = prediction.software.get("lnn-med", "unknown")
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name in sorted(prediction.maps):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(prediction.maps[name].data).data)
    return digest.hexdigest()
