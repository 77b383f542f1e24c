"""What a bundle's network wants to see, and a scan brought there: the same for training and prediction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnn_med.transforms.intensity import IntensityConfig, Scaling, fit_scaling
from lnn_med.transforms.space import Placement, crop_to, place
from lnn_med.volume import Volume

AIR = 0.12  # of bright tissue; scalp and brain lie above it, air and its ghosts below
FILLED = 0.01  # share of a slice that must be above AIR to count as head
MARGIN_MM = 8.0  # kept around the head


@dataclass(frozen=True)
class ModelSpaceConfig:
    """Grid and intensities of a network's input."""

    spacing_mm: float
    multiple: int = 16  # voxels; sizes are grown to it
    minimum: int = 64  # voxels along each axis; 64³ at 2 mm still gives 4,096 tokens of 8 mm
    crop_to_head: bool = True  # leave out air around the head
    intensity: IntensityConfig = field(default_factory=IntensityConfig)

    def __post_init__(self) -> None:
        if not self.spacing_mm > 0:
            raise ValueError(f"spacing_mm is {self.spacing_mm:g}; it must be above 0")
        if self.multiple < 1 or self.minimum % self.multiple:
            raise ValueError(f"minimum is {self.minimum}; it must be a multiple of {self.multiple} voxels")


class Seen(NamedTuple):
    """A scan in model space: image (I, J, K) float32, how it got there, and its intensity scaling."""

    image: NDArray[np.float32]
    placement: Placement
    scaling: Scaling


def into_model_space(volume: Volume, config: ModelSpaceConfig) -> Seen:
    """Reorient, resample, normalise and crop a scan.

    Raises:
        InputError: E_NODATA when the image holds no usable intensities.
    """
    scaling = fit_scaling(volume.data, config.intensity)
    placement = place(volume, config.spacing_mm)
    image = placement.to_model(volume.data, scaling.apply)
    box = (
        head_box(image, config.spacing_mm) if config.crop_to_head else tuple(slice(0, n) for n in image.shape)
    )
    final = crop_to(placement, (box[0], box[1], box[2]), config.multiple, config.minimum)
    return Seen(_recut(image, placement, final), final, scaling)


def head_box(image: NDArray[np.float32], spacing_mm: float) -> tuple[slice, slice, slice]:
    """Smallest box around the head in a normalised image (I, J, K), with a margin."""
    bright = image > AIR
    margin = round(MARGIN_MM / spacing_mm)
    box = []
    for axis in range(3):
        share = bright.mean(axis=tuple(n for n in range(3) if n != axis))
        filled = np.flatnonzero(share > FILLED)
        if filled.size == 0:
            box.append(slice(0, image.shape[axis]))
            continue
        box.append(
            slice(max(0, int(filled[0]) - margin), min(image.shape[axis], int(filled[-1]) + 1 + margin))
        )
    return box[0], box[1], box[2]


def _recut(image: NDArray[np.float32], before: Placement, after: Placement) -> NDArray[np.float32]:
    """Move an image between two grids that differ by whole voxels; new voxels are 0."""
    result = np.zeros(after.shape, dtype=np.float32)
    source, target = [], []
    for old, new in zip(before.axes, after.axes, strict=True):
        offset = round((new.start - old.start) / old.step)
        first, last = max(0, offset), min(old.size, offset + new.size)
        source.append(slice(first, last))
        target.append(slice(first - offset, last - offset))
    result[tuple(target)] = image[tuple(source)]
    return result
