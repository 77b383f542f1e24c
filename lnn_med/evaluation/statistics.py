"""Confidence intervals that resample patients, not structures or repeat scans (Efron 1987 for BCa).

Two hippocampi of one patient are alike: an interval that resamples hippocampi is too narrow. Patients are
drawn with replacement, each with all of its values. BCa (bias-corrected, accelerated) is used from 20
patients on, the plain percentile interval below, and each interval says which it is.

Simulated 2,000 times with 50 patients of two values each (correlation 0.8): 94 % of the 95 % intervals cover
the true mean, of the naive bootstrap's 83 % (tests/evaluation/test_statistics.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

BCA = "bca"
PERCENTILE = "percentile"
NO_INTERVAL = "none"
MIN_PATIENTS_BCA = 20  # below, the acceleration rests on too few jackknife values
RESAMPLES = 4_000  # the bounds then move by less than 2 % of the width between seeds
BLOCK = 2**22  # resampling weights held at once; bounds memory for studies of many thousand patients


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; `method` is "bca", "percentile" or "none".

    With values of fewer than two patients there is no interval: `low` and `high` are None.
    Without any value the estimate is None, too.
    """

    estimate: float | None
    low: float | None
    high: float | None
    level: float
    method: str
    n_values: int
    n_patients: int


def mean_interval(
    values: ArrayLike,
    patients: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean over all values with a bootstrap interval over patients.

    Args:
        values: (n,) finite numbers.
        patients: patient of each value; None when every value has its own.
        level: coverage, 0 to 1.
        resamples: bootstrap draws.
        seed: of the draws; the same seed gives the same interval.

    Raises:
        ValueError: values that are not finite, or lengths that differ.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(numbers).all():
        raise ValueError("Values must be finite; leave out or replace missing ones before.")
    sums, counts = _by_patient(numbers, patients)
    n_patients = len(sums)
    estimate = float(numbers.mean()) if len(numbers) else None
    if estimate is None or n_patients < 2:
        return Interval(estimate, None, None, level, NO_INTERVAL, len(numbers), n_patients)
    draws = _bootstrap_means(sums, counts, resamples, np.random.default_rng(seed))
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    method = BCA if n_patients >= MIN_PATIENTS_BCA else PERCENTILE
    if method == BCA:
        tails = bca_tails(tails, estimate, draws, _influence(sums, counts))
    low, high = np.quantile(draws, tails)
    return Interval(estimate, float(low), float(high), level, method, len(numbers), n_patients)


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    patients: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean of `first - second`, measured on the same cases, with an interval over patients."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"Paired values need equal shapes, got {a.shape} and {b.shape}.")
    return mean_interval(a - b, patients, level, resamples, seed)


def p_value_above(
    values: ArrayLike,
    threshold: float,
    patients: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> float:
    """One-sided p-value of "the true mean is not above `threshold`".

    It is the tail at which the lower end of `mean_interval` (same seed) reaches the threshold, so that
    p < 0.025 and "the 95 % interval lies above the threshold" are one statement, up to 1 / `resamples`, which
    is also the smallest value.

    Raises:
        ValueError: fewer than two patients, or values that are not finite.
    """
    interval = mean_interval(values, patients, resamples=resamples, seed=seed)
    if interval.estimate is None or interval.n_patients < 2:
        raise ValueError(f"A p-value needs two patients or more, got {interval.n_patients}.")
    sums, counts = _by_patient(np.asarray(values, dtype=np.float64).ravel(), patients)
    draws = _bootstrap_means(sums, counts, resamples, np.random.default_rng(seed))
    below = ((draws < threshold).sum() + (draws <= threshold).sum()) / 2
    tail = (below + 1) / (resamples + 1)
    if interval.method == BCA and 0 < tail < 1:
        found = _bias_and_acceleration(interval.estimate, draws, _influence(sums, counts))
        if found is not None:
            bias, acceleration = found
            offset = ndtri(tail) - bias
            tail = float(ndtr(offset / (1 + acceleration * offset) - bias))
    return float(max(tail, 1 / (resamples + 1)))


def _by_patient(
    values: NDArray[np.float64], patients: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of each patient's values; the order of patients does not depend on their names."""
    if patients is None:
        return values, np.ones_like(values)
    if len(patients) != len(values):
        raise ValueError(f"{len(values)} values need as many patients, got {len(patients)}.")
    rank: dict[Hashable, int] = {}
    member = [rank.setdefault(patient, len(rank)) for patient in patients]
    size = len(rank)
    sums = np.bincount(member, values, minlength=size).astype(np.float64)
    return sums, np.bincount(member, minlength=size).astype(np.float64)


def _bootstrap_means(
    sums: NDArray[np.float64], counts: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means of samples of patients drawn with replacement, (resamples,)."""
    n_patients = len(sums)
    block = max(1, BLOCK // n_patients)
    means = np.empty(resamples)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        weights = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=size)
        means[start : start + size] = (weights @ sums) / (weights @ counts)
    return means


def _influence(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each patient draws the mean: jackknife, one patient left out at a time."""
    without = (sums.sum() - sums) / (counts.sum() - counts)
    return np.asarray(without.mean() - without)


def bca_tails(
    tails: NDArray[np.float64], estimate: float, draws: NDArray[np.float64], influence: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Quantiles of the draws that the bias z0 and the acceleration a ask for (Efron 1987).

    Args:
        tails: wanted tail probabilities, such as 0.025 and 0.975.
        estimate: of all patients.
        draws: the estimate in each bootstrap sample.
        influence: jackknife influence of each patient; only its shape matters, not its scale.
    """
    found = _bias_and_acceleration(estimate, draws, influence)
    if found is None:  # all patients alike: every quantile is the estimate
        return tails
    bias, acceleration = found
    shifted = bias + ndtri(tails)
    return np.asarray(ndtr(bias + shifted / (1 - acceleration * shifted)))


def _bias_and_acceleration(
    estimate: float, draws: NDArray[np.float64], influence: NDArray[np.float64]
) -> tuple[float, float] | None:
    below = ((draws < estimate).mean() + (draws <= estimate).mean()) / 2
    spread = (influence**2).sum() ** 1.5
    if spread == 0 or not 0 < below < 1:
        return None
    return float(ndtri(below)), float((influence**3).sum() / (6 * spread))
