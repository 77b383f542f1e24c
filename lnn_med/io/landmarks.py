"""Where to look: a point inside each structure, the deepest point, the most uncertain one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from lnn_med.volume import ImageArray

Index = tuple[int, int, int]


def point_inside(mask: NDArray[np.bool_]) -> Index | None:
    """The voxel of `mask` (I, J, K) that is nearest to its centre of mass; None when the mask is empty.

    The centre of mass itself may lie outside, as in a ring or a horseshoe.
    """
    indices = np.argwhere(mask)
    if not len(indices):
        return None
    distances = ((indices - indices.mean(axis=0)) ** 2).sum(axis=1)
    i, j, k = indices[int(np.argmin(distances))]
    return int(i), int(j), int(k)


def points_of_labels(labels: ImageArray, wanted: Iterable[int]) -> dict[int, Index]:
    """`point_inside` of each label that occurs; labels that do not are left out."""
    boxes = find_objects(labels.astype(np.int32))
    points: dict[int, Index] = {}
    for label in wanted:
        box = boxes[label - 1] if 0 < label <= len(boxes) else None
        inside = point_inside(labels[box] == label) if box is not None else None
        if box is not None and inside is not None:
            i, j, k = (int(start) + part.start for start, part in zip(inside, box, strict=True))
            points[label] = (i, j, k)
    return points


def point_of_maximum(values: ImageArray) -> Index:
    """The voxel with the largest value; of many with the same, the one nearest to their middle."""
    point = point_inside(values == values.max())
    assert point is not None
    return point
