"""Overlap, surface and volume metrics of each structure in a pair of label maps.

*DSC*: 2 |P and R| / (|P| + |R|). Distances of surfaces: see `surfaces`.

Empty structures: both empty is agreement (DSC 1, NSD 1, distances 0, counted apart); one empty is the worst
value (DSC 0, NSD 0, distances the diagonal of the image); a missing prediction has the worst value for every
structure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from lnn_med.evaluation.surfaces import Mask, Spacing, SurfaceMetrics, surface_metrics

Labels = NDArray[np.integer]  # (I, J, K), 0 is background
Box = tuple[slice, slice, slice]

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
    msd_mm: float
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


def overlaps(predicted: Labels, reference: Labels, labels: Sequence[int]) -> dict[int, float]:
    """DSC of each label alone, by the rules of `structure_metrics`; no surface is needed, so it is quick."""
    size = 1 + max(labels, default=0)
    both = np.where(predicted == reference, reference, 0)
    hit, found, true = (
        np.bincount(each[each < size], minlength=size) for each in (both, predicted, reference)
    )
    sums = found + true
    return {label: 2 * int(hit[label]) / int(sums[label]) if sums[label] else 1.0 for label in labels}


def mask_metrics(
    predicted: Mask, reference: Mask, spacing_mm: Spacing, tolerance_mm: float, diagonal_mm: float
) -> StructureMetrics:
    """Metrics of two masks of equal shape; distances are `diagonal_mm` when only one of them is empty."""
    voxels, reference_voxels = int(predicted.sum()), int(reference.sum())
    voxel_mm3 = float(np.prod(spacing_mm))
    if voxels and reference_voxels:
        state = SCORED
        dsc = 2 * int((predicted & reference).sum()) / (voxels + reference_voxels)
        surface = surface_metrics(predicted, reference, spacing_mm, tolerance_mm)
    elif voxels or reference_voxels:
        state = REFERENCE_EMPTY if voxels else PREDICTION_EMPTY
        dsc, surface = 0.0, SurfaceMetrics(0.0, diagonal_mm, diagonal_mm)
    else:
        state, dsc, surface = BOTH_EMPTY, 1.0, SurfaceMetrics(1.0, 0.0, 0.0)
    difference = voxels - reference_voxels
    return StructureMetrics(
        state=state,
        dsc=dsc,
        **surface._asdict(),
        reference_voxels=reference_voxels,
        reference_mm3=reference_voxels * voxel_mm3,
        volume_mm3=voxels * voxel_mm3,
        error_mm3=difference * voxel_mm3,
        error_pct=100 * difference / reference_voxels if reference_voxels else None,
    )


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
        msd_mm=diagonal_mm,
        volume_mm3=None,
        error_mm3=None,
        error_pct=None,
    )
