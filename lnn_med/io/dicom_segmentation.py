"""Writes a label map as a DICOM Segmentation (BINARY), a segment for each label (PS3.3 section A.51)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from lnn_med.io.dicom_codes import ANATOMICAL_STRUCTURE, anatomy
from lnn_med.io.dicom_frame_list import frames_of, write_frames
from lnn_med.io.dicom_making import (
    MANUFACTURER,
    RESEARCH_USE,
    Making,
    common_arguments,
    ds,
    orientation,
    position,
    quiet,
    reference_series,
    settle,
    source_header,
)
from lnn_med.prediction import ModelUsed
from lnn_med.volume import Volume

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
ROLE = "SEG"


@dataclass(frozen=True)
class Segments:
    """What a written segmentation is called, and the segment number of each structure in it."""

    sop_instance_uid: str
    series_uid: str
    numbers: dict[str, int]


def write_segmentation(making: Making, map_name: str, path: Path, instance_number: int = 1) -> Segments:
    """Write one label map of the prediction.

    Labels keep their numbers where these are 1, 2, 3, ...; else segments are numbered in their order, because
    DICOM asks for numbers without gaps. A label without voxels stays a segment, with no frames.
    """
    labels = making.prediction.maps[map_name]
    names = making.prediction.label_names[map_name]
    numbers = {label: number for number, label in enumerate(sorted(names), start=1)}
    uid = making.uid(ROLE, map_name)
    descriptions = [_description(making, names[label], number) for label, number in numbers.items()]
    with quiet():
        header = _header(making, labels, descriptions, uid, map_name, instance_number)
    frames = frames_of(labels, numbers)
    write_frames(header, frames, labels, numbers, making.origin, path)
    by_name = {names[label]: number for label, number in numbers.items()}
    return Segments(uid, making.uid(ROLE, "series"), by_name)


def algorithm(used: ModelUsed) -> dict[str, Any]:
    """A bundle as the arguments by which highdicom identifies an algorithm."""
    return {
        "name": used.bundle,
        "version": used.version,
        "parameters": {"weights_sha256": used.weights_sha256},
    }


def model_of(making: Making, name: str) -> ModelUsed:
    """The bundle that found a structure."""
    bundle = next((one.bundle for one in making.prediction.structures if one.name == name), None)
    models = making.prediction.models
    return next((used for used in models if used.bundle == bundle), models[0])


def _header(
    making: Making,
    labels: Volume,
    descriptions: list[hd.seg.SegmentDescription],
    uid: str,
    map_name: str,
    instance_number: int,
) -> Dataset:
    """The data set with one blank frame, which `write_frames` replaces."""
    row_mm, column_mm, slice_mm = labels.spacing_mm[1], labels.spacing_mm[0], labels.spacing_mm[2]
    arguments = common_arguments(making, ROLE) | {"instance_number": instance_number}
    dataset = hd.seg.Segmentation(
        source_images=[source_header(making)],
        pixel_array=np.zeros((1, labels.shape[1], labels.shape[0]), np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        sop_instance_uid=uid,
        plane_positions=[hd.PlanePositionSequence("PATIENT", tuple(map(float, position(labels, 0))))],
        plane_orientation=hd.PlaneOrientationSequence("PATIENT", tuple(map(float, orientation(labels)))),
        pixel_measures=hd.PixelMeasuresSequence((row_mm, column_mm), slice_mm, slice_mm),
        content_label=map_name.partition(".")[0].upper()[:16],
        content_description=RESEARCH_USE,
        series_description="LNN-Med segmentation (research use only)",
        **arguments,
    )
    shared = dataset.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" in shared:  # of a lone segment; it is given with each frame instead
        del shared.SegmentIdentificationSequence
    shared.PixelMeasuresSequence[0].SpacingBetweenSlices = ds(slice_mm)
    reference_series(dataset, making.origin)
    dataset.SourceImageSequence = dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    return settle(dataset, making, ROLE)


def _description(making: Making, name: str, number: int) -> hd.seg.SegmentDescription:
    meant = anatomy(name)
    used = algorithm(model_of(making, name))
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=ANATOMICAL_STRUCTURE,
        segmented_property_type=meant.kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            family=codes.cid7162.ArtificialIntelligence, source=MANUFACTURER, **used
        ),
        tracking_uid=making.uid("tracking", name),
        tracking_id=name[:64],
        anatomic_regions=[meant.region] if meant.region else None,
    )
    modifiers = [hd.sr.CodedConcept(*code) for code in (meant.side, *meant.parts) if code]
    if modifiers:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = modifiers
    if meant.region and meant.side:
        region = description.AnatomicRegionSequence[0]
        region.AnatomicRegionModifierSequence = [hd.sr.CodedConcept(*meant.side)]
    return description
