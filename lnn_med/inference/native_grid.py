"""From a network's probabilities in model space to labels in the scan's own grid, slab by slab.

Most voxels lie in a cell whose eight model voxels agree, and take that label at once. Only where they differ
are probabilities interpolated and compared, so memory and time do not grow with classes times voxels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lnn_med.transforms.space import Axis, Placement, apply_axes

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def most_likely(probabilities: Tensor) -> NDArray[np.uint8]:
    """Class with the largest probability (..., classes) -> (...), the first of equal ones.

    Numbers that are not negative have the order of their bits, and integers are compared four times as fast.
    """
    bits = probabilities.view(_BITS[probabilities.element_size()])
    return bits.argmax(dim=-1).to(torch.uint8).numpy()


def labels_in_native_grid(probabilities: Tensor, placement: Placement) -> NDArray[np.uint8]:
    """Interpolate probabilities linearly into the scan's grid and take the most likely class.

    Args:
        probabilities: (X, Y, Z, classes) on the placement's model grid.
        placement: how the scan lies in model space.

    Returns:
        Label map on the scan's own grid (I, J, K); 0 outside the model grid.
    """
    axes = list(placement.axes)
    for number, axis in enumerate(axes):
        if axis.step < 1:  # the scan is coarser here: average first, then no interpolation is left to do
            probabilities = _reduce(probabilities, axis, number)
            axes[number] = Axis(axis.source_size, axis.source_size, 0.0, 1.0)
    inside = placement.canonical_inside()
    lower, upper, weight = zip(
        *(_neighbours(axis, part) for axis, part in zip(axes, inside, strict=True)), strict=True
    )
    coarse = most_likely(probabilities)
    result = np.zeros(placement.source_shape, dtype=np.uint8)
    seen = placement.canonical_view(result)[inside]
    for plane_of_scan, low, high, share in zip(seen, lower[0], upper[0], weight[0], strict=True):
        smallest, largest = coarse[low], coarse[low]
        if high != low:
            smallest, largest = np.minimum(smallest, coarse[high]), np.maximum(largest, coarse[high])
        for number in (0, 1):
            one, other = lower[number + 1], upper[number + 1]
            smallest = np.minimum(smallest.take(one, number), smallest.take(other, number))
            largest = np.maximum(largest.take(one, number), largest.take(other, number))
        where = np.nonzero(smallest != largest)
        if where[0].size:
            plane = torch.lerp(probabilities[low].float(), probabilities[high].float(), float(share))
            smallest[where] = _interpolated(plane, where, lower[1:], upper[1:], weight[1:])
        plane_of_scan[...] = smallest
    return result


def map_in_native_grid(values: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """Interpolate one model-space map (X, Y, Z) linearly into the scan's grid; 0 outside the model grid."""
    result = np.zeros(placement.source_shape, dtype=np.float32)
    inside = placement.canonical_inside()
    weights = [axis.to_source()[part] for axis, part in zip(placement.axes, inside, strict=True)]
    apply_axes(values, weights, placement.canonical_view(result)[inside])
    return result


def _reduce(probabilities: Tensor, axis: Axis, number: int) -> Tensor:
    weights = torch.from_numpy(axis.to_source()).to(probabilities.dtype)  # (source_size, size)
    moved = probabilities.movedim(number, 0)
    averaged = (weights @ moved.reshape(moved.shape[0], -1)).reshape(-1, *moved.shape[1:])
    return averaged.movedim(0, number).contiguous()


def _neighbours(axis: Axis, part: slice) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Lower and upper model index and weight of the upper one, for each source index in `part`."""
    position = (np.arange(part.start, part.stop) - axis.start) / axis.step
    position = np.clip(position, 0, axis.size - 1)
    nearest = np.rint(position)
    position = np.where(np.abs(position - nearest) < 1e-4, nearest, position)
    lower = np.floor(position).astype(np.int64)
    weight = (position - lower).astype(np.float32)
    upper = np.where(weight > 0, lower + 1, lower)
    return lower, upper, weight


def _interpolated(
    plane: Tensor,
    where: tuple[NDArray[np.int64], ...],
    lower: Sequence[NDArray[np.int64]],
    upper: Sequence[NDArray[np.int64]],
    weight: Sequence[NDArray[np.float32]],
) -> NDArray[np.uint8]:
    """Most likely class of chosen voxels of one plane.

    Args:
        plane: probabilities (Y, Z, classes), float32.
        where: row and column of the chosen voxels.
        lower, upper, weight: neighbours in `plane` along rows and columns, see `_neighbours`.
    """
    j, k = where
    ends_j = ((lower[0][j], 1 - weight[0][j]), (upper[0][j], weight[0][j]))
    ends_k = ((lower[1][k], 1 - weight[1][k]), (upper[1][k], weight[1][k]))
    rows = np.stack([y * plane.shape[1] + z for y, _ in ends_j for z, _ in ends_k], axis=1)
    shares = np.stack([a * b for _, a in ends_j for _, b in ends_k], axis=1)
    blended = F.embedding_bag(
        torch.from_numpy(rows),
        plane.flatten(0, 1),
        mode="sum",
        per_sample_weights=torch.from_numpy(shares),
    )
    return most_likely(blended)
