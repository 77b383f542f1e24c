"""Estimates with closed-form confidence intervals: the result type, proportions, and the median.

An `Estimate` with `low` and `high` of None is a number that the data give, without an interval (too few
values); `note` says why. What the data do not give at all (AUC with one class, ICC of equal values) raises
`NotEstimable`, whose words can be printed in place of the number. Wrong input raises a plain ValueError.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtri
from scipy.stats import binom

NO_INTERVAL = "none"
WILSON = "wilson"
CLOPPER_PEARSON = "clopper-pearson"
ORDER_STATISTICS = "order statistics"
LEVEL = 0.95


class NotEstimable(ValueError):  # noqa: N818, a finding about the data rather than an error
    """The data are valid, but this number does not exist for them; the message says why."""


@dataclass(frozen=True)
class Estimate:
    """A number with its confidence interval.

    `n` counts the independent units behind it (patients, pairs, cases), `method` names the interval, and
    `note` is a sentence to print beside it, empty when there is nothing to say.
    """

    estimate: float | None
    low: float | None
    high: float | None
    level: float
    n: int
    method: str
    note: str = ""


@dataclass(frozen=True)
class MedianEstimate(Estimate):
    """`attained` is the exact coverage of the interval (at least `level`); None without one."""

    attained: float | None = None


def wilson(successes: int, n: int, level: float = LEVEL) -> Estimate:
    """Proportion with Wilson's score interval (Wilson 1927; method 3 of Newcombe 1998).

    Raises:
        NotEstimable: n is 0.
        ValueError: counts that cannot be.
    """
    p = _proportion(successes, n, level)
    z = normal_quantile(level)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == n else float(centre + half)
    return Estimate(p, low, high, level, n, WILSON)


def clopper_pearson(successes: int, n: int, level: float = LEVEL) -> Estimate:
    """Proportion with the exact interval of Clopper and Pearson (1934): it covers at least `level`.

    Raises:
        NotEstimable: n is 0.
        ValueError: counts that cannot be.
    """
    p = _proportion(successes, n, level)
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return Estimate(p, low, high, level, n, CLOPPER_PEARSON)


def median_interval(values: ArrayLike, level: float = LEVEL) -> MedianEstimate:
    """Median with the exact interval between two order statistics (Conover 1999, section 3.2).

    The interval runs from the r-th smallest to the r-th largest value, with the largest r for which it covers
    the median with at least `level`, whatever the distribution. At 95 % that needs six values.

    Args:
        values: (n,) finite numbers, one for each independent patient.
        level: coverage, 0 to 1.

    Raises:
        NotEstimable: no values.
    """
    check_level(level)
    ordered = np.sort(finite(values, "values"))
    n = len(ordered)
    if n == 0:
        raise NotEstimable("A median needs at least one value, got none.")
    estimate = float(np.median(ordered))
    rank, attained = _median_rank(n, level)
    if rank < 1:
        note = f"No interval: {n} values are too few for {100 * level:g} %."
        return MedianEstimate(estimate, None, None, level, n, NO_INTERVAL, note)
    low, high = float(ordered[rank - 1]), float(ordered[n - rank])
    return MedianEstimate(estimate, low, high, level, n, ORDER_STATISTICS, attained=attained)


@lru_cache(maxsize=256)
def _median_rank(n: int, level: float) -> tuple[int, float]:
    """Largest r for which fewer than r values lie below the median with at most the tail's probability.

    With it, the coverage of the interval from the r-th smallest to the r-th largest value.
    """
    rank = int(binom.ppf((1 - level) / 2, n, 0.5))
    return rank, float(1 - 2 * binom.cdf(rank - 1, n, 0.5))


def finite(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """The values as a flat array of float64; refuses NaN and infinity instead of passing them on."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim > 1:
        raise ValueError(f"{name} must be one list of numbers, got shape {numbers.shape}.")
    bad = int((~np.isfinite(numbers)).sum())
    if bad:
        raise ValueError(
            f"{bad} of {numbers.size} {name} are not finite; leave out or replace missing ones before."
        )
    return numbers.ravel()


def finite_pair(
    first: ArrayLike, second: ArrayLike, names: tuple[str, str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two finite arrays of equal length."""
    a, b = finite(first, names[0]), finite(second, names[1])
    if len(a) != len(b):
        raise ValueError(f"{names[0]} and {names[1]} must be of one length, got {len(a)} and {len(b)}.")
    return a, b


def check_level(level: float) -> None:
    """Refuse a confidence level outside 0 to 1 (95 instead of 0.95, for example)."""
    if not 0 < level < 1:
        raise ValueError(f"Level is {level:g}; it must lie between 0 and 1, such as 0.95.")


def normal_quantile(level: float) -> float:
    """The z of a two-sided interval: 1.96 for 0.95."""
    check_level(level)
    return float(ndtri((1 + level) / 2))


def _proportion(successes: int, n: int, level: float) -> float:
    check_level(level)
    if n < 0 or not 0 <= successes <= n or successes != int(successes) or n != int(n):
        raise ValueError(f"{successes} of {n} is no count of successes.")
    if n == 0:
        raise NotEstimable("A proportion needs at least one case, got none.")
    return successes / n
