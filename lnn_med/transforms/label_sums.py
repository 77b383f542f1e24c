"""Counts and sums by label, plane by plane: numpy would widen whole volumes to eight bytes a voxel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]  # (I, J, K)


def label_counts(labels: Labels, size: int) -> NDArray[np.int64]:
    """Voxels of each label below `size`, (size,)."""
    counts = np.zeros(size, dtype=np.int64)
    for plane in _planes(labels):
        counts += np.bincount(plane.ravel("K"), minlength=size)
    return counts


def label_sums(labels: Labels, values: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    """Sum of `values` (I, J, K) over the voxels of each label below `size`, (size,)."""
    pairs = np.zeros((size, 256), dtype=np.int64)
    for plane, worth in zip(_planes(labels), _planes(values), strict=True):
        both = plane.astype(np.uint16) * np.uint16(256) + worth
        pairs += np.bincount(both.ravel(), minlength=pairs.size).reshape(pairs.shape)
    return pairs @ np.arange(256)


def label_centres(labels: Labels, size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Voxels of each label from 1 to below `size`, and their mean index (size, 3), NaN where none are."""
    counts, sums = np.zeros(size, dtype=np.int64), np.zeros((size, 3))
    rows, columns = (size * np.arange(n) for n in labels.shape[1:])
    for index, plane in enumerate(labels):
        if not plane.any():
            continue
        by_row = np.bincount((rows[:, None] + plane).ravel(), minlength=size * len(rows))
        by_column = np.bincount((columns + plane).ravel(), minlength=size * len(columns))
        by_row, by_column = by_row.reshape(-1, size), by_column.reshape(-1, size)
        found = by_row.sum(axis=0)
        counts += found
        sums += np.stack(
            [index * found, np.arange(len(rows)) @ by_row, np.arange(len(columns)) @ by_column], 1
        )
    with np.errstate(invalid="ignore"):
        return counts, sums / counts[:, None]


def _planes(volume: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The volume with its slowest axis in memory first, so that planes lie in one piece."""
    return np.moveaxis(volume, int(np.argmax(volume.strides)), 0)
