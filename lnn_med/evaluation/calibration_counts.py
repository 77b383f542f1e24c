"""Pairs of a probability and its outcome, kept as a fine histogram with sums.

Millions of voxels need 60 kB, and counts of cases, blocks or structures are added with `+`. A pair is
(probability, outcome): for a two-class score probability of 1 and truth; for segmentation either (confidence
of the predicted label, was it right) or, for one class, (probability of the class, is it the class).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FINE = 1_500  # cells of the histogram: 100 in each of 15 bins; divisible by 2, 3, 5, 10, 12, 15, 20, 25, 30
SMALLEST = 2.0**-24  # a probability below is rounding of float32: log of 0 would make one voxel infinite
BLOCK = 2**20  # values turned to float64 at once

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CalibrationCounts:
    """Sums over the pairs in each of FINE cells of probability, arrays (FINE,); `nll` sums all pairs."""

    number: Vector
    probability: Vector
    squared: Vector
    outcome: Vector
    product: Vector
    nll: float

    def __add__(self, other: CalibrationCounts) -> CalibrationCounts:
        return CalibrationCounts(
            self.number + other.number,
            self.probability + other.probability,
            self.squared + other.squared,
            self.outcome + other.outcome,
            self.product + other.product,
            self.nll + other.nll,
        )

    @property
    def n(self) -> int:
        """Number of pairs."""
        return int(self.number.sum())


def calibration_counts(probabilities: ArrayLike, outcomes: ArrayLike) -> CalibrationCounts:
    """Counts of pairs; arrays of any equal shape and number type.

    Args:
        probabilities: 0 to 1; rounding beyond by 1e-6 is cut.
        outcomes: 0 or 1, or boolean.

    Raises:
        ValueError: shapes that differ, NaN, or values outside.
    """
    p, y = np.asarray(probabilities), np.asarray(outcomes)
    if p.shape != y.shape:
        raise ValueError(f"Probabilities {p.shape} and outcomes {y.shape} must have equal shapes.")
    p, y = p.ravel(), y.ravel()
    total = _empty()
    for start in range(0, p.size, BLOCK):
        total = total + _block(p[start : start + BLOCK], y[start : start + BLOCK])
    return total


def _empty() -> CalibrationCounts:
    zero = np.zeros(FINE)
    return CalibrationCounts(zero, zero, zero, zero, zero, 0.0)


def _block(p: NDArray[np.generic], y: NDArray[np.generic]) -> CalibrationCounts:
    probability, outcome = p.astype(np.float64), y.astype(np.float64)
    if not ((probability >= -1e-6) & (probability <= 1 + 1e-6)).all():
        raise ValueError("Probabilities must lie between 0 and 1 and must not be NaN.")
    if not ((outcome == 0) | (outcome == 1)).all():
        raise ValueError("Outcomes must be 0 or 1.")
    probability = np.clip(probability, 0, 1)
    cell = np.minimum((probability * FINE).astype(np.intp), FINE - 1)
    of_truth = np.where(outcome == 1, probability, 1 - probability)

    def sums(weights: Vector | None) -> Vector:
        return np.bincount(cell, weights, minlength=FINE).astype(np.float64)

    return CalibrationCounts(
        number=sums(None),
        probability=sums(probability),
        squared=sums(probability**2),
        outcome=sums(outcome),
        product=sums(probability * outcome),
        nll=float(-np.log(np.maximum(of_truth, SMALLEST)).sum()),
    )
