"""Writes the depth, uncertainty or evidence map as a DICOM Parametric Map of float32 (PS3.3 section A.75)."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from lnn_med.io.dicom_codes import EVIDENCE_LOG_ODDS, EXECUTED_BLOCKS, LABEL_ENTROPY
from lnn_med.io.dicom_frame_list import source_groups
from lnn_med.io.dicom_making import (
    RESEARCH_USE,
    Making,
    common_arguments,
    orientation,
    position,
    quiet,
    reference_series,
    save,
    settle,
    source_header,
)
from lnn_med.prediction import DEPTH, EVIDENCE, UNCERTAINTY
from lnn_med.volume import Volume

ROLE = "MAP"
# What the values mean, and the instance number within the series of maps.
MAPS: dict[str, tuple[Code, int]] = {
    DEPTH: (EXECUTED_BLOCKS, 1),
    UNCERTAINTY: (LABEL_ENTROPY, 2),
    EVIDENCE: (EVIDENCE_LOG_ODDS, 3),
}
NARROWEST_WINDOW = 1e-3  # of a map with one value everywhere
PROCESSED = Code("113085", "DCM", "Spatial resampling")  # CID 7203: the map was computed on another grid


def write_map(making: Making, map_name: str, path: Path) -> None:
    """Write one of MAPS of the prediction."""
    values = making.prediction.maps[map_name]
    quantity, number = MAPS[map_name]
    pixels = np.ascontiguousarray(values.data.transpose(2, 1, 0), np.float32)  # (slices, rows, columns)
    row_mm, column_mm, slice_mm = values.spacing_mm[1], values.spacing_mm[0], values.spacing_mm[2]
    low, high = float(pixels.min()), float(pixels.max())
    with quiet():
        dataset = hd.pm.ParametricMap(
            source_images=[source_header(making)],
            pixel_array=pixels,
            sop_instance_uid=making.uid(ROLE, map_name),
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[_meaning(quantity, map_name, low, high)],
            voi_lut_transformations=[_window(low, high)],
            content_label=map_name.partition(".")[0].upper()[:16],
            content_description=RESEARCH_USE,
            pixel_measures=hd.PixelMeasuresSequence((row_mm, column_mm), slice_mm, slice_mm),
            plane_orientation=hd.PlaneOrientationSequence("PATIENT", tuple(map(float, orientation(values)))),
            plane_positions=_places(values),
            series_description="LNN-Med parametric map (research use only)",
            **(common_arguments(making, ROLE) | {"instance_number": number}),
        )
        dataset.BodyPartExamined = "BRAIN"  # not one of a pair, so no side is asked for
        _refer(dataset, making, values)
    save(settle(dataset, making, f"{ROLE} {map_name}"), path)


def _meaning(quantity: Code, map_name: str, low: float, high: float) -> hd.pm.RealWorldValueMapping:
    return hd.pm.RealWorldValueMapping(
        lut_label=map_name.partition(".")[0][:16],
        lut_explanation=quantity.meaning,
        unit=codes.UCUM.NoUnits,
        value_range=(low, high),
        slope=1,
        intercept=0,
        quantity_definition=quantity,
    )


def _window(low: float, high: float) -> hd.VOILUTTransformation:
    """The whole range; the exact function is the only one whose window may be narrower than 1."""
    return hd.VOILUTTransformation(
        window_center=(low + high) / 2,
        window_width=max(high - low, NARROWEST_WINDOW),
        voi_lut_function="LINEAR_EXACT",
    )


def _places(values: Volume) -> list[hd.PlanePositionSequence]:
    return [
        hd.PlanePositionSequence("PATIENT", tuple(map(float, position(values, k))))
        for k in range(values.shape[2])
    ]


def _refer(dataset: hd.pm.ParametricMap, making: Making, values: Volume) -> None:
    """Each frame names the image that it belongs to; frames are found by their place."""
    reference_series(dataset, making.origin)
    dataset.SourceImageSequence = dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    at = {tuple(place[0].ImagePositionPatient): k for k, place in enumerate(_places(values))}
    for group in dataset.PerFrameFunctionalGroupsSequence:
        k = at[tuple(group.PlanePositionSequence[0].ImagePositionPatient)]
        sources = source_groups(values, k, making.origin, PROCESSED)
        group.DerivationImageSequence = sources.DerivationImageSequence
