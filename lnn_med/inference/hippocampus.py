"""Anterior and posterior hippocampus at 1 mm with `hippocampus-t1`, which knows left hippocampi only.

The right side is mirrored in and out. A lone crop of unknown side is read both ways; the surer one counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lnn_med import geometry
from lnn_med.inference.head import Segmented, in_scan_grid, spacing_ratio
from lnn_med.inference.runtime import Engine, Run
from lnn_med.transforms.intensity import fit_scaling
from lnn_med.transforms.space import Placement, crop_to, place
from lnn_med.volume import Volume

MARGIN_MM = 6.0  # around the coarse hippocampus; the training crops leave 3 to 13, median 5 to 7
LARGEST_MM = 64.0  # side of the box; the longest training crop has 59


class Crop(NamedTuple):
    """A crop in the network's space, as a left hippocampus: image (X, Y, Z) and where it lies."""

    image: NDArray[np.float32]
    placement: Placement
    mirrored: bool


class Reading(NamedTuple):
    """A lone crop read as one side: its answer, and the mean certainty 0 to 1 within what was found."""

    segmented: Segmented
    mirrored: bool
    certainty: float


def segment_in_head(
    volume: Volume, coarse: NDArray[np.bool_], right: bool, engine: Engine
) -> tuple[tuple[slice, slice, slice], Segmented]:
    """Segment the hippocampus of one side in a head, at the place of its coarse mask (I, J, K).

    Returns:
        The part of the scan that the network looked at, and its answer there.
    """
    crop = cut(volume, coarse, right, engine)
    box, placement = crop.placement.covered()
    return box, _segment(crop._replace(placement=placement), volume, engine)


def segment_crop(volume: Volume, engine: Engine) -> tuple[Reading, Reading]:
    """Read a lone crop as it is and mirrored; the more certain reading comes first."""
    space = engine.bundle.info.space
    placement = place(volume, space.spacing_mm)
    whole = crop_to(placement, _everything(placement), space.multiple, space.minimum)
    image = whole.to_model(volume.data, fit_scaling(volume.data, space.intensity).apply)
    readings = []
    for mirrored in (False, True):
        crop = Crop(np.ascontiguousarray(image[::-1]) if mirrored else image, whole, mirrored)
        segmented = _segment(crop, volume, engine)
        readings.append(Reading(segmented, mirrored, _certainty(segmented.run)))
    first, second = sorted(readings, key=lambda reading: -reading.certainty)
    return first, second


def cut(volume: Volume, coarse: NDArray[np.bool_], right: bool, engine: Engine) -> Crop:
    """Cut a hippocampus with its margin out of a head at the network's spacing; outside the margin it is 0.

    Of the coarse mask (I, J, K) the largest piece counts: a stray voxel elsewhere must not widen the crop.
    """
    space = engine.bundle.info.space
    low, high = _extent_of_largest(coarse)
    centre = geometry.voxel_to_mm(volume.affine, (low + high) / 2)
    around = place(volume, space.spacing_mm, centre, (round(2 * LARGEST_MM / space.spacing_mm),) * 3)
    box = _box_around(volume, around, low, high, margin=round(MARGIN_MM / space.spacing_mm))
    tight = crop_to(around, box, multiple=1, minimum=1)
    raw = tight.to_model(volume.data)
    scaled = fit_scaling(raw, space.intensity).apply(raw)
    everything = _everything(tight)
    padded = crop_to(tight, everything, space.multiple, space.minimum)
    if right and (padded.shape[0] - tight.shape[0]) % 2:  # mirrored, the odd plane must lie as for a left one
        padded = crop_to(tight, (slice(-1, tight.shape[0]), *everything[1:]), space.multiple, space.minimum)
    image = np.zeros(padded.shape, dtype=np.float32)
    offset = [
        round((old.start - new.start) / new.step) for new, old in zip(padded.axes, tight.axes, strict=True)
    ]
    image[tuple(slice(o, o + n) for o, n in zip(offset, tight.shape, strict=True))] = scaled
    return Crop(np.ascontiguousarray(image[::-1]) if right else image, padded, right)


def _extent_of_largest(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last voxel index (3,) of the largest connected piece of a mask that is not empty."""
    filled = [np.flatnonzero(mask.any(axis=tuple(n for n in range(3) if n != axis))) for axis in range(3)]
    first = np.array([indices[0] for indices in filled])
    pieces, _ = ndimage.label(mask[tuple(slice(indices[0], indices[-1] + 1) for indices in filled)])
    largest = 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    box = ndimage.find_objects(pieces)[largest - 1]
    return first + [part.start for part in box], first + [part.stop - 1 for part in box]


def _box_around(
    volume: Volume, grid: Placement, low: NDArray[np.int64], high: NDArray[np.int64], margin: int
) -> tuple[slice, slice, slice]:
    """Grid voxels whose centres lie within the scan's voxels `low` to `high`, `margin` more on each side."""
    edges_mm = geometry.voxel_to_mm(volume.affine, np.stack([low - 0.5, high + 0.5]))
    edges = np.sort(geometry.mm_to_voxel(grid.affine, edges_mm), axis=0)
    first = np.maximum(np.ceil(edges[0] - 1e-6).astype(int) - margin, 0)
    last = np.minimum(np.floor(edges[1] + 1e-6).astype(int) + margin, np.array(grid.shape) - 1)
    i, j, k = (slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
    return i, j, k


def _segment(crop: Crop, volume: Volume, engine: Engine) -> Segmented:
    run = engine(crop.image, spacing_ratio(volume, engine.bundle.info.space.spacing_mm))
    if crop.mirrored:
        run = run._replace(probabilities=run.probabilities.flip(0), depth=run.depth[::-1])
    return in_scan_grid(run, crop.placement, engine.bundle.info.space.spacing_mm)


def _certainty(run: Run) -> float:
    best, found = run.probabilities.float().max(dim=-1)
    inside = found > 0
    return float(best[inside].mean()) if inside.any() else 0.0


def _everything(placement: Placement) -> tuple[slice, slice, slice]:
    i, j, k = placement.shape
    return slice(0, i), slice(0, j), slice(0, k)
