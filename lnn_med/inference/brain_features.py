"""What a classifier sees of a head: places of an MNI grid, and volumes as they would be in the template.

The segmentation network has already looked at the scan, so its trunk features and probabilities are used: no
second network reads the image. Its structures place the brain in MNI space.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lnn_med import geometry
from lnn_med.inference.bundle import Label
from lnn_med.inference.native_grid import most_likely
from lnn_med.transforms.standard_space import StandardSpace, centroids_mm, to_standard_space
from lnn_med.volume import Affine

FIRST_MM = (-78.0, -110.0, -72.0)  # MNI RAS of the first sample
SAMPLE_MM, SAMPLES = 4.0, (40, 48, 40)  # the trunk's own resolution
POOL = 4  # samples along one side of a place: 16 mm
GRID = (SAMPLES[0] // POOL, SAMPLES[1] // POOL, SAMPLES[2] // POOL)
BRAIN_SHARE = 0.25  # of a place that must be labelled for it to count as brain
TISSUES = ("cortex", "white matter", "deep", "medial temporal", "ventricle", "cerebellum", "fluid")
# The first word that a structure's name holds decides.
WORDS = (
    ("Ventricle", "ventricle"),
    ("LatVent", "ventricle"),
    ("CSF", "fluid"),
    ("Cerebell", "cerebellum"),
    ("Hippocampus", "medial temporal"),
    ("Amygdala", "medial temporal"),
    ("GM", "cortex"),
    ("WM", "white matter"),
    ("Corp", "white matter"),
)


class BrainFeatures(NamedTuple):
    """A head as a classifier sees it: `places` (F, *GRID) and which of them lie `inside` the brain (*GRID),
    `volumes` (S,) as logarithms of mm³ in MNI space, the way there, and the `labels` (X, Y, Z) of exit 1."""

    places: Tensor
    inside: Tensor
    volumes: Tensor
    space: StandardSpace
    labels: NDArray[np.uint8]


def tissue_of(name: str) -> str:
    """The tissue a structure belongs to."""
    return next((tissue for word, tissue in WORDS if word in name), "deep")


def brain_features(
    features: Tensor,
    probabilities: Tensor,
    image: NDArray[np.float32],
    affine: Affine,
    labels: tuple[Label, ...],
    template_mm: NDArray[np.float64],
) -> BrainFeatures:
    """Carry one network's view of a head into MNI space.

    Args:
        features: trunk features (C, X/2, Y/2, Z/2).
        probabilities: (X, Y, Z, classes), of exit 1.
        image: what the network saw (X, Y, Z).
        affine: model index to RAS mm.
        labels: of the network.
        template_mm: centroids of the structures in the template, RAS mm, (classes - 1, 3).

    Raises:
        ValueError: too few structures were found to place the brain.
    """
    classes = probabilities.shape[-1]
    hard = most_likely(probabilities)
    space = to_standard_space(centroids_mm(hard, affine, classes), template_mm)
    table = torch.zeros(classes, len(TISSUES))
    for label in labels:
        table[label.index, TISSUES.index(tissue_of(label.name))] = 1
    tissues = torch.empty(*probabilities.shape[:3], len(TISSUES))
    soft = torch.zeros(classes, dtype=torch.float64)  # voxels
    for row, plane in enumerate(probabilities):  # a float32 copy of all classes would be large
        shares = plane.float()
        tissues[row] = shares @ table
        soft += shares.sum(dim=(0, 1))
    seen = torch.cat([tissues, torch.from_numpy(image)[..., None]], dim=-1).movedim(-1, 0)
    halved = F.avg_pool3d(seen[None], 2)[0]
    sampled = _sampled(torch.cat([features.float(), halved]), affine, space)
    share = F.avg_pool3d(sampled[None, -1 - len(TISSUES) : -1].sum(dim=1, keepdim=True), POOL)[0, 0]
    volumes_mm3 = soft[1:].float() * float(np.prod(geometry.spacing_mm(affine)))
    return BrainFeatures(
        F.avg_pool3d(sampled[None], POOL)[0],
        share > BRAIN_SHARE,
        (volumes_mm3 * space.growth).clamp(min=1.0).log(),
        space,
        hard,
    )


def _sampled(values: Tensor, affine: Affine, space: StandardSpace) -> Tensor:
    """Values (C, X/2, Y/2, Z/2) of the model grid at the samples of the MNI grid, (C, *SAMPLES)."""
    index = np.stack(np.meshgrid(*map(np.arange, SAMPLES), indexing="ij"), axis=-1).reshape(-1, 3)
    mm = geometry.mm_to_voxel(space.affine, index * SAMPLE_MM + np.array(FIRST_MM))
    voxel = (geometry.mm_to_voxel(affine, mm) - 0.5) / 2  # a trunk voxel lies between two of the model grid
    unit = (2 * voxel + 1) / np.array(values.shape[1:]) - 1  # as grid_sample counts
    where = torch.from_numpy(unit[:, ::-1].copy()).float().reshape(1, *SAMPLES, 3)
    return F.grid_sample(values[None], where, padding_mode="zeros", align_corners=False)[0]
