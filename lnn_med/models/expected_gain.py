"""What a fine stage is expected to gain in a block, told by the doubt of exit 1 and the voxels of the scan.

Our own; thresholds on calibrated uncertainty are those of Anytime Dense Prediction (ICLR 2022). Which voxels
exit 1 doubts says where finer stages find something to mend; that coarse scans leave them less to find is
what the spacing adds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LATER_STAGE = 0.5  # what a stage gains of the one before, while nothing is fitted
BOUND = 30.0  # of logarithms and powers either way
LEAST_ENTROPY = 1e-6  # where the logarithm of a certain block ends


@dataclass(frozen=True)
class ExpectedGain:
    """Share of a block's voxels that each fine stage puts right: exp(level) entropy^power ratio^resolution.

    `level`, `power` and `resolution` have one number a stage; `entropy` is that of exit 1, the mean of a
    block, 0 to 1; `ratio` the geometric mean of the spacing ratio of the scan, see `Gates`. At depth auto a
    stage runs where it and all before it gain more than `price`.
    """

    level: tuple[float, ...]
    power: tuple[float, ...]
    resolution: tuple[float, ...]
    price: float

    @classmethod
    def guess(cls, stages: int) -> ExpectedGain:
        """Proportional to entropy, half as much each stage on; every doubt is worth it."""
        levels = tuple(float(stage * np.log(LATER_STAGE)) for stage in range(stages))
        return cls(levels, (1.0,) * stages, (0.0,) * stages, 0.0)

    def of(self, entropy: Array, spacing_ratio: Array) -> Array:
        """Gain of each stage in each block.

        Args:
            entropy: (I, J, K).
            spacing_ratio: along R, A, S (3,).

        Returns:
            (stages, I, J, K), above 0.
        """
        logs = np.log(np.maximum(entropy, LEAST_ENTROPY))
        coarse = float(np.log(spacing_ratio).mean())
        each = zip(self.level, self.power, self.resolution, strict=True)
        return np.stack([np.exp(level + power * logs + slope * coarse) for level, power, slope in each])

    def wanted(self, gains: Array) -> NDArray[np.int64]:
        """Stages that pay in each block (I, J, K) for gains (stages, I, J, K)."""
        return (gains > self.price).cumprod(axis=0).sum(axis=0)
