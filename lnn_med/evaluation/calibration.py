"""Calibration of probabilities from counts: ECE, ACE, MCE, Brier, NLL, reliability diagram, ECE of chance.

Everything is computed from `CalibrationCounts`, a fine histogram with sums: millions of voxels need 60 kB,
and counts of cases, blocks or structures are added with `+`. A pair is (probability, outcome): for a
two-class score probability of 1 and truth; for segmentation either (confidence of the predicted label, was it
right) or, for one class, (probability of the class, is it the class).

*ECE*: mean over bins of equal width, weighted by their number, of |mean probability - observed share|
(Naeini 2015, Guo 2017). *MCE*: the largest of these gaps. *ACE*: the same mean over bins of equal number,
neighbours within 1/1500 kept together (Nixon 2019). *Brier*: mean of (p - y)². *NLL*: mean of -log p(y).
ECE is never 0: `ece_null` says what a perfect model scores with these numbers. Voxels of one scan are no
independent draws: for them the null value is a lower bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from lnn_med.evaluation.intervals import LEVEL, NotEstimable, check_level

FINE = 1_500  # cells of the histogram: 100 in each of 15 bins; divisible by 2, 3, 5, 10, 12, 15, 20, 25, 30
BINS = 15  # as in Guo 2017
SMALLEST = 2.0**-24  # a probability below is rounding of float32: log of 0 would make one voxel infinite
NULL_RUNS = 2_000  # the mean then has a standard error below 1 % of itself
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


@dataclass(frozen=True)
class CalibrationErrors:
    """Errors of one set of pairs; `accuracy` is the share of outcomes, `confidence` the mean probability."""

    n: int
    bins: int
    ece: float
    ace: float
    mce: float
    brier: float
    nll: float
    accuracy: float
    confidence: float


@dataclass(frozen=True)
class BrierDecomposition:
    """Brier = reliability - resolution + uncertainty + within_bin (Murphy 1973; Stephenson 2008).

    `within_bin` is what probabilities vary inside the bins, 0 when each bin holds one probability.
    """

    n: int
    bins: int
    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within_bin: float


@dataclass(frozen=True)
class EceNull:
    """ECE of a perfect model with the same probabilities: mean, and the value that 95 % stay below."""

    n: int
    bins: int
    mean: float
    upper: float
    runs: int
    seed: int


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin: `consistency_low` to `consistency_high` is where a calibrated model's `observed` would lie."""

    low: float
    high: float
    n: int
    confidence: float
    observed: float
    consistency_low: float
    consistency_high: float


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


def calibration_errors(counts: CalibrationCounts, bins: int = BINS) -> CalibrationErrors:
    """ECE, ACE, MCE, Brier and NLL.

    Raises:
        NotEstimable: no pairs.
        ValueError: a number of bins that does not divide FINE.
    """
    number, probability, outcome = _merged(counts, bins)
    n = counts.n
    gaps = np.abs(probability - outcome)
    filled = number > 0
    return CalibrationErrors(
        n=n,
        bins=bins,
        ece=float(gaps.sum() / n),
        ace=_ace(counts, bins),
        mce=float((gaps[filled] / number[filled]).max()),
        brier=_brier(counts),
        nll=counts.nll / n,
        accuracy=float(outcome.sum() / n),
        confidence=float(probability.sum() / n),
    )


def brier_decomposition(counts: CalibrationCounts, bins: int = BINS) -> BrierDecomposition:
    """Brier score and its parts over bins of equal width.

    Raises:
        NotEstimable: no pairs.
    """
    number, probability, outcome = _merged(counts, bins)
    n, filled = counts.n, number > 0
    number, p, y = number[filled], (probability[filled] / number[filled]), (outcome[filled] / number[filled])
    base = float(outcome.sum() / n)
    reliability = float((number * (p - y) ** 2).sum() / n)
    resolution = float((number * (y - base) ** 2).sum() / n)
    uncertainty = base * (1 - base)
    brier = _brier(counts)
    within = brier - reliability + resolution - uncertainty
    return BrierDecomposition(n, bins, brier, reliability, resolution, uncertainty, within)


def ece_null(counts: CalibrationCounts, bins: int = BINS, runs: int = NULL_RUNS, seed: int = 0) -> EceNull:
    """Simulated ECE of a model whose outcomes follow its probabilities exactly.

    Outcomes of a fine cell are drawn with the mean probability of the cell, which changes their variance by
    less than 1e-6.

    Raises:
        NotEstimable: no pairs.
    """
    _merged(counts, bins)  # refuses what has no bins
    filled = counts.number > 0
    number = counts.number[filled].astype(np.int64)
    mean = np.clip(counts.probability[filled] / number, 0, 1)
    drawn = np.random.default_rng(seed).binomial(number, mean, size=(runs, len(number)))
    member = np.flatnonzero(filled) // (FINE // bins)
    starts = np.flatnonzero(np.diff(member, prepend=-1))
    gaps = np.add.reduceat(drawn - counts.probability[filled], starts, axis=1)
    errors = np.abs(gaps).sum(axis=1) / counts.n
    return EceNull(counts.n, bins, float(errors.mean()), float(np.quantile(errors, 0.95)), runs, seed)


def reliability_diagram(
    counts: CalibrationCounts, bins: int = BINS, level: float = LEVEL
) -> tuple[ReliabilityBin, ...]:
    """Filled bins with consistency bars (Bröcker & Smith 2007), here exact binomial quantiles.

    Raises:
        NotEstimable: no pairs.
    """
    check_level(level)
    number, probability, outcome = _merged(counts, bins)
    rows = []
    for index in np.flatnonzero(number):
        n = int(number[index])
        mean = float(min(probability[index] / n, 1.0))
        bars = binom.ppf([(1 - level) / 2, (1 + level) / 2], n, mean) / n
        rows.append(
            ReliabilityBin(
                *(index / bins, (index + 1) / bins, n, mean, float(outcome[index] / n)),
                *(float(bars[0]), float(bars[1])),
            )
        )
    return tuple(rows)


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


def _merged(counts: CalibrationCounts, bins: int) -> tuple[Vector, Vector, Vector]:
    """Number, sum of probabilities and sum of outcomes in each of `bins` bins of equal width."""
    if bins < 1 or FINE % bins:
        raise ValueError(f"{bins} bins do not divide the {FINE} cells of the histogram; take 10, 15 or 20.")
    if counts.n == 0:
        raise NotEstimable("Calibration needs pairs of probability and outcome, got none.")
    merged = (
        values.reshape(bins, -1).sum(axis=1) for values in (counts.number, counts.probability, counts.outcome)
    )
    number, probability, outcome = merged
    return number, probability, outcome


def _brier(counts: CalibrationCounts) -> float:
    return float((counts.squared - 2 * counts.product + counts.outcome).sum() / counts.n)


def _ace(counts: CalibrationCounts, bins: int) -> float:
    """Bins of about equal number; a cell belongs to the bin in which its middle pair lies."""
    middle = np.cumsum(counts.number) - counts.number / 2
    member = np.minimum((middle * bins / counts.n).astype(np.intp), bins - 1)
    gaps = np.bincount(member, counts.probability - counts.outcome, minlength=bins)
    return float(np.abs(gaps).sum() / counts.n)
