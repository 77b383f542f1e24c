"""A scan's way into MNI space, found from where its own structures lie.

Segmented structures are landmarks of known name: their centroids are matched with those of the MNI152
template by least squares. No image has to be registered, and a failure shows in the distances that remain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnn_med import geometry
from lnn_med.transforms.label_sums import label_centres
from lnn_med.volume import Affine

ROUNDS = 5  # of reweighting; the weights no longer change after the third
TYPICAL_MM = 3.0  # distance of a centroid from its place after a good fit; beyond twice that it counts less
FEWEST = 12  # structures: an affine has 12 numbers, each landmark gives 3
# Of 8 brains in template space (OASIS-1) the corners of BRAIN_MM lay 4 to 11 mm from their places on average
# and the axes were stretched by 0.95 to 1.06; of 10 as they came from the scanner (IXI) 22 to 59 mm, and the
# axis that grew most by 1.10 to 1.29.
BRAIN_MM = ((-70.0, 70.0), (-100.0, 70.0), (-45.0, 75.0))  # box of the template's brain
TEMPLATE_MM, TEMPLATE_STRETCH = 15.0, 1.08


@dataclass(frozen=True)
class StandardSpace:
    """`affine` carries scan RAS mm to MNI RAS mm; `residual_mm` is the median distance left."""

    affine: Affine
    residual_mm: float

    @property
    def is_identity(self) -> bool:
        """Whether the brain already lies in the template and is as large: someone normalised the image."""
        corners = np.stack(np.meshgrid(*BRAIN_MM, indexing="ij"), axis=-1).reshape(-1, 3)
        away = np.linalg.norm(geometry.voxel_to_mm(self.affine, corners) - corners, axis=1)
        stretch = np.linalg.svd(self.affine[:3, :3], compute_uv=False)
        inside = (stretch < TEMPLATE_STRETCH) & (stretch > 1 / TEMPLATE_STRETCH)
        return bool(away.mean() < TEMPLATE_MM and inside.all())

    @property
    def growth(self) -> float:
        """Volume in MNI space over volume in the scan."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))


def centroids_mm(labels: NDArray[np.uint8], affine: Affine, classes: int) -> NDArray[np.float64]:
    """Centre of mass of each label from 1 to `classes` - 1, RAS mm, (classes - 1, 3); NaN where absent.

    Args:
        labels: (I, J, K).
        affine: index to RAS mm.
        classes: largest label + 1.
    """
    return geometry.voxel_to_mm(affine, label_centres(labels, classes)[1][1:])


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
