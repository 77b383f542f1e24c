"""Anterior and posterior hippocampus at 1 mm with `hippocampus-t1`, which knows left hippocampi only.

The right side is mirrored in and out. A lone crop of unknown side is read both ways; the more confident counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnn_med import geometry
from lnn_med.inference.head import Segmented, entropy
from lnn_med.inference.native_grid import labels_in_native_grid, map_in_native_grid
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


def segment_in_head(volume: Volume, coarse: NDArray[np.bool_], right: bool, engine: Engine) -> Segmented:
    """Segment the hippocampus of one side in a head, at the place of its coarse mask (I, J, K) on the scan's grid."""
    return _segment(cut(volume, coarse, right, engine), engine)


def segment_crop(volume: Volume, engine: Engine) -> tuple[Reading, Reading]:
    """Read a lone crop as it is and mirrored; the more certain reading comes first."""
    space = engine.bundle.info.space
    placement = place(volume, space.spacing_mm)
    whole = crop_to(placement, _everything(placement), space.multiple, space.minimum)
    image = whole.to_model(fit_scaling(volume.data, space.intensity).apply(volume.data))
    readings = []
    for mirrored in (False, True):
        crop = Crop(np.ascontiguousarray(image[::-1]) if mirrored else image, whole, mirrored)
        segmented = _segment(crop, engine)
        readings.append(Reading(segmented, mirrored, _certainty(segmented.run)))
    first, second = sorted(readings, key=lambda reading: -reading.certainty)
    return first, second


def cut(volume: Volume, coarse: NDArray[np.bool_], right: bool, engine: Engine) -> Crop:
    """Cut a hippocampus with its margin out of a head at the network's spacing; outside the margin it is 0."""
    space = engine.bundle.info.space
    corners = np.argwhere(coarse)
    low, high = corners.min(axis=0), corners.max(axis=0)
    centre = geometry.voxel_to_mm(volume.affine, (low + high) / 2)
    around = place(volume, space.spacing_mm, centre, (round(2 * LARGEST_MM / space.spacing_mm),) * 3)
    found = np.argwhere(around.labels_to_model(coarse.astype(np.uint8)))
    margin = round(MARGIN_MM / space.spacing_mm)
    box = tuple(
        slice(max(0, int(a) - margin), int(b) + 1 + margin)
        for a, b in zip(found.min(axis=0), found.max(axis=0), strict=True)
    )
    tight = crop_to(around, (box[0], box[1], box[2]), multiple=1, minimum=1)
    raw = tight.to_model(volume.data)
    scaled = fit_scaling(raw, space.intensity).apply(raw)
    padded = crop_to(tight, _everything(tight), space.multiple, space.minimum)
    image = np.zeros(padded.shape, dtype=np.float32)
    offset = [(new - old) // 2 for new, old in zip(padded.shape, tight.shape, strict=True)]
    image[tuple(slice(o, o + n) for o, n in zip(offset, tight.shape, strict=True))] = scaled
    return Crop(np.ascontiguousarray(image[::-1]) if right else image, padded, right)


def _segment(crop: Crop, engine: Engine) -> Segmented:
    run = engine(crop.image, (1.0, 1.0, 1.0))
    if crop.mirrored:
        run = run._replace(probabilities=run.probabilities.flip(0), depth=run.depth[::-1])
    return Segmented(
        labels_in_native_grid(run.probabilities, crop.placement),
        map_in_native_grid(entropy(run), crop.placement),
        crop.placement.labels_to_source(run.depth).astype(np.uint8),
        run,
    )


def _certainty(run: Run) -> float:
    best, found = run.probabilities.float().max(dim=-1)
    inside = found > 0
    return float(best[inside].mean()) if inside.any() else 0.0


def _everything(placement: Placement) -> tuple[slice, slice, slice]:
    i, j, k = placement.shape
    return slice(0, i), slice(0, j), slice(0, k)
