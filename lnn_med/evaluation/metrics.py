"""Overlap, surface and volume metrics of each structure in a pair of label maps.

*Surface*: the surface elements between voxels of Nikolov et al. (arXiv 1809.04430), each with its area; the
same elements as the package surface-distance, whose table of areas is used.
*DSC*: 2 |P and R| / (|P| + |R|).
*NSD at tau*: share of both surfaces, by area, that lies within tau mm of the other surface.
*HD95*: the larger of the two directed distances that 95 % of a surface, by area, does not exceed; mm.

Empty structures: both empty is agreement (DSC 1, NSD 1, HD95 0, counted apart); one empty is the worst value
(DSC 0, NSD 0, HD95 = diagonal of the image); a missing prediction has the worst value for every structure.

The package's own distance function is not called: it sorts surfaces in Python (10 s for 40 structures of a
1 mm head) and fails on an empty mask with NumPy 2. The tests hold this file to its results, and to those of
MONAI, which takes voxels for the surface, within one voxel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.spatial import KDTree
from surface_distance.lookup_tables import (
    ENCODE_NEIGHBOURHOOD_3D_KERNEL,
    create_table_neighbour_code_to_surface_area,
)

Mask = NDArray[np.bool_]  # (I, J, K)
Labels = NDArray[np.integer]  # (I, J, K), 0 is background
Spacing = tuple[float, float, float]  # mm along each array axis
Box = tuple[slice, slice, slice]

HD_PERCENTILE = 95.0
ROUNDING_MM = 1e-6  # a distance of exactly tau counts as within, however its products were rounded
INSIDE = 255  # code of a corner whose eight voxels all belong to the structure

SCORED = "scored"
BOTH_EMPTY = "both_empty"
REFERENCE_EMPTY = "reference_empty"
PREDICTION_EMPTY = "prediction_empty"
MISSING = "missing"


@dataclass(frozen=True)
class StructureMetrics:
    """Agreement of one structure in one case; `state` tells which empty rule, if any, gave the values.

    Predicted volume and errors are None for a missing prediction; the error in % is None for an empty
    reference.
    """

    state: str
    dsc: float
    nsd: float
    hd95_mm: float
    reference_voxels: int
    reference_mm3: float
    volume_mm3: float | None
    error_mm3: float | None
    error_pct: float | None


def structure_metrics(
    predicted: Labels | None,
    reference: Labels,
    labels: Sequence[int],
    spacing_mm: Spacing,
    tolerance_mm: float,
) -> dict[int, StructureMetrics]:
    """Metrics of each label.

    Args:
        predicted: label map on the grid of `reference`; None when the prediction is missing.
        reference: label map.
        labels: the integers (> 0) to compare.
        spacing_mm: voxel spacing along each array axis.
        tolerance_mm: tau of the NSD.
    """
    if predicted is not None and predicted.shape != reference.shape:
        raise ValueError(
            f"Prediction has shape {predicted.shape}, reference {reference.shape}; they must be equal."
        )
    if min(labels, default=1) < 1:
        raise ValueError(f"Label {min(labels)} cannot be a structure; labels begin at 1.")
    if not all(np.isfinite(length) and length > 0 for length in spacing_mm):
        raise ValueError(f"Spacing {spacing_mm} mm must be three positive numbers.")
    diagonal_mm = float(np.linalg.norm(np.array(reference.shape) * np.array(spacing_mm)))
    reference_boxes = _boxes(reference)
    predicted_boxes = {} if predicted is None else _boxes(predicted)
    found = {}
    for label in labels:
        box = _union(reference_boxes.get(label), predicted_boxes.get(label))
        reference_mask = reference[box] == label
        mask = np.zeros_like(reference_mask) if predicted is None else predicted[box] == label
        pair = mask_metrics(mask, reference_mask, spacing_mm, tolerance_mm, diagonal_mm)
        found[label] = _as_missing(pair, diagonal_mm) if predicted is None else pair
    return found


def mask_metrics(
    predicted: Mask, reference: Mask, spacing_mm: Spacing, tolerance_mm: float, diagonal_mm: float
) -> StructureMetrics:
    """Metrics of two masks of equal shape; `diagonal_mm` is the HD95 when only one of them is empty."""
    voxels, reference_voxels = int(predicted.sum()), int(reference.sum())
    voxel_mm3 = float(np.prod(spacing_mm))
    if voxels and reference_voxels:
        state = SCORED
        dsc = 2 * int((predicted & reference).sum()) / (voxels + reference_voxels)
        nsd, hd95_mm = surface_metrics(predicted, reference, spacing_mm, tolerance_mm)
    elif voxels or reference_voxels:
        state = REFERENCE_EMPTY if voxels else PREDICTION_EMPTY
        dsc, nsd, hd95_mm = 0.0, 0.0, diagonal_mm
    else:
        state, dsc, nsd, hd95_mm = BOTH_EMPTY, 1.0, 1.0, 0.0
    difference = voxels - reference_voxels
    return StructureMetrics(
        state=state,
        dsc=dsc,
        nsd=nsd,
        hd95_mm=hd95_mm,
        reference_voxels=reference_voxels,
        reference_mm3=reference_voxels * voxel_mm3,
        volume_mm3=voxels * voxel_mm3,
        error_mm3=difference * voxel_mm3,
        error_pct=100 * difference / reference_voxels if reference_voxels else None,
    )


def surface_metrics(
    predicted: Mask, reference: Mask, spacing_mm: Spacing, tolerance_mm: float
) -> tuple[float, float]:
    """NSD and HD95 in mm of two masks that are not empty."""
    points, areas = _surface(predicted, spacing_mm)
    reference_points, reference_areas = _surface(reference, spacing_mm)
    to_reference_mm = KDTree(reference_points).query(points)[0]
    to_predicted_mm = KDTree(points).query(reference_points)[0]
    limit_mm = tolerance_mm + ROUNDING_MM
    within = areas[to_reference_mm <= limit_mm].sum() + reference_areas[to_predicted_mm <= limit_mm].sum()
    nsd = float(within / (areas.sum() + reference_areas.sum()))
    hd95_mm = max(_percentile(to_reference_mm, areas), _percentile(to_predicted_mm, reference_areas))
    return nsd, hd95_mm


def _surface(mask: Mask, spacing_mm: Spacing) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Surface elements: positions (n, 3) in mm, areas (n,) in mm². They sit at the corners between voxels."""
    padded = np.pad(mask, 1).view(np.uint8)
    i, j, k = (length + 1 for length in mask.shape)
    codes = np.zeros((i, j, k), dtype=np.uint8)
    for (a, b, c), weight in np.ndenumerate(ENCODE_NEIGHBOURHOOD_3D_KERNEL):
        codes += padded[a : a + i, b : b + j, c : c + k] * np.uint8(weight)
    corners = np.nonzero((codes != 0) & (codes != INSIDE))
    return np.stack(corners, axis=1) * np.array(spacing_mm), _areas_mm2(spacing_mm)[codes[corners]]


@lru_cache(maxsize=32)
def _areas_mm2(spacing_mm: Spacing) -> NDArray[np.float64]:
    """Area of the surface element for each of the 256 neighbourhoods of a corner."""
    return np.asarray(create_table_neighbour_code_to_surface_area(spacing_mm), dtype=np.float64)


def _percentile(distances_mm: NDArray[np.float64], areas: NDArray[np.float64]) -> float:
    """Distance that HD_PERCENTILE % of the surface, by area, does not exceed."""
    order = np.argsort(distances_mm, kind="stable")
    share = np.cumsum(areas[order]) / areas.sum()
    position = min(int(np.searchsorted(share, HD_PERCENTILE / 100)), len(order) - 1)
    return float(distances_mm[order][position])


def _boxes(labels: Labels) -> Mapping[int, Box]:
    """Bounding box of each label that occurs."""
    boxes = find_objects(np.asarray(labels, dtype=np.int32))
    return {label: box for label, box in enumerate(boxes, start=1) if box is not None}


def _union(first: Box | None, second: Box | None) -> Box:
    """Box around both; an empty one where neither exists."""
    if first is None or second is None:
        return first or second or (slice(0, 0), slice(0, 0), slice(0, 0))
    i, j, k = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
    return i, j, k


def _as_missing(pair: StructureMetrics, diagonal_mm: float) -> StructureMetrics:
    """The worst values whatever the reference holds: a scan without prediction agrees with nothing."""
    return replace(
        pair,
        state=MISSING,
        dsc=0.0,
        nsd=0.0,
        hd95_mm=diagonal_mm,
        volume_mm3=None,
        error_mm3=None,
        error_pct=None,
    )
