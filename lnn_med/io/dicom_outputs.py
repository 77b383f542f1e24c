"""The DICOM files of a prediction that was made from a DICOM series: segmentations, report and picture."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnn_med.prediction import DEPTH, EVIDENCE, HIPPOCAMPUS, SEGMENTATION, UNCERTAINTY, Prediction

if TYPE_CHECKING:
    from lnn_med.io.dicom_making import Making

# Our own names: nothing that a data set says becomes part of a path.
SEGMENTATIONS = {SEGMENTATION: "segmentation.dcm", HIPPOCAMPUS: "hippocampus.dcm"}
REPORT = "measurements.dcm"
CAPTURE = "key_image.dcm"
MAPS = {DEPTH: "depth.dcm", UNCERTAINTY: "uncertainty.dcm", EVIDENCE: "evidence.dcm"}
DOCUMENT = "report.dcm"
# In the order in which they are listed; maps and the document are written only when they are asked for.
OWNED = (*SEGMENTATIONS.values(), REPORT, CAPTURE)
OPTIONAL = (*MAPS.values(), DOCUMENT)


def has_origin(prediction: Prediction) -> bool:
    """Whether the scan was a DICOM series that results can refer to."""
    return prediction.source.dicom is not None


def making(prediction: Prediction, record: dict[str, Any], when: datetime | None = None) -> Making:
    """What the files of a prediction share; see `dicom_making.make`."""
    from lnn_med.io.dicom_making import make  # pydicom takes its time to import

    return make(prediction, record, when)


def write_outputs(shared: Making, folder: Path, png: bytes | None) -> list[str]:
    """Write the segmentations, the report and, with the `png` of `thumbnail`, the picture.

    Returns:
        The names of the files.
    """
    from lnn_med.io.dicom_report import write_report  # highdicom takes its time to import
    from lnn_med.io.dicom_segmentation import write_segmentation

    names, segments = [], []
    labelled = [name for name in SEGMENTATIONS if name in shared.prediction.maps]
    for number, name in enumerate(labelled, start=1):
        segments.append(write_segmentation(shared, name, folder / SEGMENTATIONS[name], number))
        names.append(SEGMENTATIONS[name])
    write_report(shared, segments, folder / REPORT)
    names.append(REPORT)
    if png is not None:
        from lnn_med.io.dicom_capture import write_capture

        write_capture(shared, folder / CAPTURE, png)
        names.append(CAPTURE)
    return names


def write_maps(shared: Making, folder: Path) -> list[str]:
    """Write depth, uncertainty and evidence as parametric maps: four bytes a voxel, so only if asked for."""
    from lnn_med.io.dicom_map import write_map

    names = [name for name in MAPS if name in shared.prediction.maps]
    for name in names:
        write_map(shared, name, folder / MAPS[name])
    return [MAPS[name] for name in names]


def write_pdf(shared: Making, pdf: bytes, folder: Path) -> str:
    """Wrap a PDF report; returns the name of the file."""
    from lnn_med.io.dicom_document import write_document

    write_document(shared, pdf, folder / DOCUMENT)
    return DOCUMENT
