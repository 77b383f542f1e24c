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

from lnn_med.transforms.space import Axis, Placement, apply_axes

CHUNK = 200_000  # voxels interpolated at once: 8 x 51 probabilities each, 160 MB


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
    coarse = probabilities.argmax(dim=-1).to(torch.uint8).numpy()
    result = np.zeros(placement.canonical_shape, dtype=np.uint8)
    flat = probabilities.reshape(-1, probabilities.shape[-1])
    for row in range(len(lower[0])):
        corners = [
            coarse[i[row]][np.ix_(j, k)]
            for i in (lower[0], upper[0])
            for j in (lower[1], upper[1])
            for k in (lower[2], upper[2])
        ]
        plane = corners[0].copy()
        differs = np.zeros(plane.shape, dtype=bool)
        for corner in corners[1:]:
            differs |= corner != plane
        where = np.nonzero(differs)
        if where[0].size:
            plane[where] = _interpolated(flat, probabilities.shape[:3], row, where, lower, upper, weight)
        result[inside[0].start + row, inside[1], inside[2]] = plane
    return placement.from_canonical(result).astype(np.uint8, copy=False)


def map_in_native_grid(values: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """Interpolate one model-space map (X, Y, Z) linearly into the scan's grid; 0 outside the model grid."""
    carried = apply_axes(values, [axis.to_source() for axis in placement.axes])
    result = np.zeros_like(carried)
    inside = placement.canonical_inside()
    result[inside] = carried[inside]
    return placement.from_canonical(result).astype(np.float32, copy=False)


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
    flat: Tensor,
    shape: tuple[int, ...],
    row: int,
    where: tuple[NDArray[np.int64], ...],
    lower: Sequence[NDArray[np.int64]],
    upper: Sequence[NDArray[np.int64]],
    weight: Sequence[NDArray[np.float32]],
) -> NDArray[np.uint8]:
    """Most likely class of chosen voxels of one plane."""
    result = np.empty(where[0].size, dtype=np.uint8)
    _, size_j, size_k = shape
    for first in range(0, where[0].size, CHUNK):
        j, k = where[0][first : first + CHUNK], where[1][first : first + CHUNK]
        total = torch.zeros(len(j), flat.shape[1])
        for i_index, i_weight in ((lower[0][row], 1 - weight[0][row]), (upper[0][row], weight[0][row])):
            for j_index, j_weight in ((lower[1][j], 1 - weight[1][j]), (upper[1][j], weight[1][j])):
                for k_index, k_weight in ((lower[2][k], 1 - weight[2][k]), (upper[2][k], weight[2][k])):
                    if i_weight == 0:
                        continue
                    index = torch.from_numpy((i_index * size_j + j_index) * size_k + k_index)
                    factor = torch.from_numpy((i_weight * j_weight * k_weight).astype(np.float32))
                    total.addcmul_(flat[index].float(), factor[:, None])
        result[first : first + CHUNK] = total.argmax(dim=1).to(torch.uint8).numpy()
    return result
