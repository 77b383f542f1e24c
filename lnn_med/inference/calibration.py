"""What a bundle's calibration.json says: temperatures, depth, volume intervals, and how usual input looks.

The numbers are fitted by `lnn-med calibrate` on cases that no weight has seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnn_med.models.expected_gain import ExpectedGain

SMALLEST_SPREAD = 0.005  # of a volume; a network that is sure of every voxel is still no better than this
LARGEST_CHANGE = 0.001  # of Dice that bfloat16 may make
WIDEST = 20.0  # factor; a few voxels in doubt would otherwise give litres


@dataclass(frozen=True)
class VolumeCalibration:
    """Split conformal interval of one structure: volume times exp(± quantile x relative spread).

    `quantile` is None where there were too few cases for the coverage. `n` cases held the structure;
    `cross_fitted` is the coverage of intervals made without the case they were tried on; `width_pct` the
    median width of these in percent of the volume.
    """

    quantile: float | None
    n: int
    cross_fitted: float | None = None
    width_pct: float | None = None


@dataclass(frozen=True)
class UsualInput:
    """Summaries of trunk features of training scans: mean (F,), inverse covariance (F, F), and the distance
    that a given share of unseen good scans stays within."""

    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    limit: float

    def oddness(self, summary: NDArray[np.float32]) -> float:
        """Mahalanobis distance of a summary (F,) over the limit: above 1 is unusual."""
        away = summary.astype(np.float64) - np.array(self.mean)
        return math.sqrt(max(0.0, float(away @ np.array(self.precision) @ away))) / self.limit


@dataclass(frozen=True)
class Calibration:
    """Content of calibration.json; empty for a bundle that was not calibrated."""

    date: str = ""
    splits: tuple[str, ...] = ()  # of the bundle, whose cases were used
    cases: int = 0
    temperature: tuple[float, ...] = ()  # of each exit
    gain: ExpectedGain | None = None  # of each fine stage, and where it pays
    coverage: float = 0.9  # of volume intervals
    volumes: Mapping[str, VolumeCalibration] = field(default_factory=dict)
    usual: UsualInput | None = None
    usual_stripped: UsualInput | None = None  # the same of scans whose skull was removed
    usual_doubt: float | None = None  # mean entropy within the labels that good unseen scans stay within
    measured: Mapping[str, Any] = field(default_factory=dict)  # ECE, reliability diagram, worth of auto
    static_bf16: tuple[float, ...] = ()  # change of Dice of each exit as a static graph in bfloat16

    def static_precision(self, exit_number: int) -> str:
        """Number type of a static graph on a CPU that has bfloat16: "f32" unless it was measured that "bf16"
        changes the Dice of that exit, from 1, by at most LARGEST_CHANGE."""
        changes = self.static_bf16[exit_number - 1 : exit_number]
        return "bf16" if changes and abs(changes[0]) <= LARGEST_CHANGE else "f32"

    def oddness(self, summary: NDArray[np.float32]) -> float | None:
        """How unlike training scans, with or without skull, a scan looks; None when nothing is known."""
        known = [usual.oddness(summary) for usual in (self.usual, self.usual_stripped) if usual is not None]
        return min(known, default=None)

    def interval_mm3(self, name: str, volume_mm3: float, spread_mm3: float) -> tuple[float, float] | None:
        """Interval of a structure's volume; None where it was not calibrated, nothing was found, or so little
        is certain that the interval would span more than WIDEST times the volume either way.

        Args:
            name: of the structure.
            volume_mm3: what was measured.
            spread_mm3: uncertain part of it, see `inference.head.uncertainty`.
        """
        found = self.volumes.get(name)
        if found is None or found.quantile is None or volume_mm3 <= 0:
            return None
        factor = math.exp(found.quantile * relative_spread(volume_mm3, spread_mm3))
        if factor > WIDEST:
            return None
        return volume_mm3 / factor, volume_mm3 * factor


def relative_spread(volume_mm3: float, spread_mm3: float) -> float:
    """Uncertain share of a volume above 0, at least SMALLEST_SPREAD."""
    return max(spread_mm3 / volume_mm3, SMALLEST_SPREAD)


def nonconformity(volume_mm3: float, spread_mm3: float, reference_mm3: float) -> float:
    """|log of measured over true volume| in units of the relative spread; infinite when nothing was found."""
    if volume_mm3 <= 0:
        return math.inf
    return abs(math.log(volume_mm3 / reference_mm3)) / relative_spread(volume_mm3, spread_mm3)


def conformal_quantile(scores: NDArray[np.float64], coverage: float) -> float | None:
    """The ceil((n + 1) coverage)-th smallest score (Vovk 2005; Lei 2018); None when n is too small for it
    or the score there is infinite."""
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)
    if rank > len(scores):
        return None
    value = float(np.sort(scores)[rank - 1])
    return value if math.isfinite(value) else None
