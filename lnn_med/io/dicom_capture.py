"""Writes the picture of a prediction as a DICOM Secondary Capture (PS3.3 section A.8).

The picture says "research use only" in itself and ends before the face; see `thumbnail`.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from lnn_med.io.dicom_making import RESEARCH_USE, Making, plain_header, reference_series, save
from lnn_med.io.thumbnail import thumbnail

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ROLE = "SC"


def write_capture(making: Making, path: Path, png: bytes | None = None) -> None:
    """Write the picture; `png` is what `thumbnail` drew, where that is at hand."""
    picture = Image.open(io.BytesIO(png or thumbnail(making.prediction))).convert("RGB")
    pixels = np.asarray(picture)  # (rows, columns, colour)
    header = plain_header(making, SECONDARY_CAPTURE, "OT", ROLE)
    header.ImageType = ["DERIVED", "SECONDARY"]
    header.ConversionType = "WSD"
    header.SeriesDescription = "LNN-Med key image (research use only)"
    header.ImageComments = RESEARCH_USE
    header.BodyPartExamined = "BRAIN"
    header.ImageLaterality = laterality(making)
    header.PatientOrientation = None  # planes of several orientations in one picture
    # No burned-in text that names the patient, and nothing to recognise a face by.
    header.BurnedInAnnotation = header.RecognizableVisualFeatures = "NO"
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PlanarConfiguration = 3, "RGB", 0
    header.Rows, header.Columns = pixels.shape[:2]
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 8, 8, 7, 0
    raw = pixels.tobytes()
    header.PixelData = raw + bytes(len(raw) % 2)
    header["PixelData"].VR = "OB"
    reference_series(header, making.origin)
    header.SourceImageSequence = header.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    save(header, path)


def laterality(making: Making) -> str:
    """Sides that the picture shows: "R", "L", "B" for both, "U" where it cannot tell (PS3.3 C.7.6.1.1.6)."""
    sides = set()
    for name, table in making.prediction.label_names.items():
        volume = making.prediction.maps.get(name)
        if volume is None:
            continue
        found = set(np.unique(volume.data).tolist())
        for index, structure in table.items():
            head, *rest = structure.split("_")
            if head == "Hippocampus" and index in found:
                sides |= {side for side in ("L", "R") if side in rest}
    return "B" if len(sides) == 2 else sides.pop() if sides else "U"
