"""A scan's way into MNI space, found from where its own structures lie.

Segmented structures are landmarks of known name: their centroids are matched with those of the MNI152
template by least squares. No image has to be registered, and a failure shows in the distances that remain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnn_med import geometry
from lnn_med.volume import Affine

ROUNDS = 5  # of reweighting; the weights no longer change after the third
TYPICAL_MM = 3.0  # distance of a centroid from its place after a good fit; beyond twice that it counts less
FEWEST = 12  # structures: an affine has 12 numbers, each landmark gives 3


@dataclass(frozen=True)
class StandardSpace:
    """`affine` carries scan RAS mm to MNI RAS mm; `residual_mm` is the weighted median distance left."""

    affine: Affine
    residual_mm: float

    @property
    def growth(self) -> float:
        """Volume in MNI space over volume in the scan."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))


def centroids_mm(labels: NDArray[np.integer], affine: Affine, classes: int) -> NDArray[np.float64]:
    """Centre of mass of each label from 1 to `classes` - 1, RAS mm, (classes - 1, 3); NaN where absent.

    Args:
        labels: (I, J, K).
        affine: index to RAS mm.
        classes: largest label + 1.
    """
    counts = np.bincount(labels.ravel(), minlength=classes)[1:classes]
    sums = np.zeros((classes - 1, 3))
    for axis in range(3):  # marginal histograms: one pass an axis, no coordinate volume
        length = labels.shape[axis]
        index = np.arange(length).reshape([-1 if n == axis else 1 for n in range(3)])
        pairs = labels.astype(np.int64) * length + index
        table = np.bincount(pairs.ravel(), minlength=classes * length).reshape(-1, length)[1:classes]
        sums[:, axis] = table @ np.arange(length)
    with np.errstate(invalid="ignore"):
        middle = sums / counts[:, None]
    return geometry.voxel_to_mm(affine, middle)


def to_standard_space(found_mm: NDArray[np.float64], template_mm: NDArray[np.float64]) -> StandardSpace:
    """The affine that brings structures to their places in the template.

    Distances are weighted by Cauchy's function, so that a misplaced structure does not pull the brain.

    Args:
        found_mm: centroids in the scan, RAS mm, (n, 3); NaN where a structure was not found.
        template_mm: the same of the template.

    Raises:
        ValueError: fewer than FEWEST structures in common.
    """
    known = np.isfinite(found_mm).all(axis=1) & np.isfinite(template_mm).all(axis=1)
    if known.sum() < FEWEST:
        raise ValueError(f"{known.sum()} structures found; {FEWEST} are needed to place a brain.")
    source = np.c_[found_mm[known], np.ones(known.sum())]  # (n, 4)
    target = template_mm[known]
    weight = np.ones(len(source))
    for _ in range(ROUNDS):
        root = np.sqrt(weight)[:, None]
        solution, *_ = np.linalg.lstsq(root * source, root * target, rcond=None)  # (4, 3)
        distance = np.linalg.norm(source @ solution - target, axis=1)
        weight = 1 / (1 + (distance / (2 * TYPICAL_MM)) ** 2)
    affine = np.eye(4)
    affine[:3] = solution.T
    return StandardSpace(affine, float(np.median(distance)))
