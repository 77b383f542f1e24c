"""Robust intensity normalisation: air becomes 0, bright tissue about 1, whatever the scanner's units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnn_med.errors import Code, InputError

SAMPLE = 500_000  # most voxels that percentiles are read from; enough for 0.1 % and quick on 512³


@dataclass(frozen=True)
class IntensityConfig:
    """Where 0 and 1 lie, as percentiles."""

    low_percentile: float = 0.5  # of all voxels: air, or the darkest tissue of a crop
    high_percentile: float = 90.0  # of the voxels above the mean: above it lie fat and vessels
    ceiling: float = 3.0  # normalised values are clipped here; contrast agent and fat carry no anatomy


@dataclass(frozen=True)
class Scaling:
    """The values that became 0 and 1; `apply` maps scanner units to normalised ones."""

    low: float
    high: float
    ceiling: float

    def apply(self, data: NDArray[np.generic]) -> NDArray[np.float32]:
        """Normalised float32 values in [0, ceiling]; not-finite values become 0."""
        scaled = (np.asarray(data, dtype=np.float32) - np.float32(self.low)) / np.float32(
            self.high - self.low
        )
        return np.clip(np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0), 0.0, self.ceiling)


def fit_scaling(data: NDArray[np.generic], config: IntensityConfig) -> Scaling:
    """Read off the percentiles of an image (any shape, any units).

    Raises:
        InputError: E_NODATA when fewer than 100 voxels differ from the background.
    """
    values = _thinned(np.asarray(data)).astype(np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0 or values.max() == values.min():
        raise InputError(Code.NODATA, "All voxels have the same value.")
    low = float(np.percentile(values, config.low_percentile))
    above = values[values > values.mean()]
    if above.size < 100:
        raise InputError(
            Code.NODATA, f"Only {above.size} voxels are brighter than the background; 100 are needed."
        )
    high = float(np.percentile(above, config.high_percentile))
    if not high > low:
        raise InputError(Code.NODATA, f"Nearly all voxels have the value {low:g}.")
    return Scaling(low, high, config.ceiling)


def _thinned(data: NDArray[np.generic]) -> NDArray[np.generic]:
    """Every 2nd, 4th, ... voxel along the longest axes, as 1D; the order of the axes makes no difference.

    A step over the flattened array would see only two of 22 thick slices when it divides their number.
    """
    counts = np.array(data.shape)
    while counts.prod() > SAMPLE:
        counts[counts == counts.max()] = -(-counts.max() // 2)
    steps = [-(-size // count) if count else 1 for size, count in zip(data.shape, counts, strict=True)]
    return data[tuple(slice(None, None, int(step)) for step in steps)].reshape(-1)
