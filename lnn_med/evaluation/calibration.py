"""Calibration of probabilities from counts: ECE, ACE, MCE, Brier, NLL, reliability diagram, ECE of chance.

*ECE*: mean over bins of equal width, weighted by their number, of |mean probability - observed share|
(Naeini 2015, Guo 2017). *MCE*: the largest of these gaps. *ACE*: the same mean over bins of equal number,
neighbours within 1/1500 kept together (Nixon 2019). *Brier*: mean of (p - y)². *NLL*: mean of -log p(y).
ECE is never 0: `ece_null` says what a perfect model scores with these numbers. Voxels of one scan are no
independent draws: for them the null value is a lower bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from lnn_med.evaluation.calibration_counts import FINE, CalibrationCounts, Vector
from lnn_med.evaluation.intervals import LEVEL, NotEstimable, check_level

BINS = 15  # as in Guo 2017
NULL_RUNS = 2_000  # the mean then has a standard error below 1 % of itself


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
