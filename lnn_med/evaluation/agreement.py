"""Agreement of two measurements: Bland-Altman, Lin's CCC, linearity, relative difference.

Differences are always first minus second; call with (measured, reference), so that a positive bias means that
the method measures too much. One pair a subject: the closed-form intervals hold for independent pairs. Where
a patient has several, wrap a function in `resampling.clustered_interval`.

Bland & Altman, Lancet 1986; i: 307; exact limits: Carkeet, Optom Vis Sci 2015; 92: e71; CCC: Lin, Biometrics
1989; 45: 255, with the variance as corrected in 2000; 56: 324.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import nct

from lnn_med.evaluation.intervals import (
    LEVEL,
    NO_INTERVAL,
    Estimate,
    NotEstimable,
    check_level,
    finite_pair,
    normal_quantile,
)
from lnn_med.evaluation.lines import Line, least_squares, quadratic_p, student_interval, varies
from lnn_med.evaluation.statistics import Interval, mean_interval

EXACT_LIMITS = "noncentral t (Carkeet 2015)"
FISHER_Z = "fisher z (Lin 2000)"
NAMES = ("first values", "second values")

Vector = NDArray[np.float64]  # (n,)


@dataclass(frozen=True)
class BlandAltman:
    """Bias and limits of agreement of `first - second`, and how the difference depends on the size.

    `slope` is that of the regression of the difference on the mean of both (proportional bias), `slope_p` the
    p-value of "no slope"; it is None where no regression is possible. Two methods whose spread differs have a
    slope without any error in scale: read it together with `linearity`.
    """

    n: int
    sd: float | None
    agreement: float
    bias: Estimate
    lower: Estimate
    upper: Estimate
    slope: Estimate
    slope_p: float | None


@dataclass(frozen=True)
class Linearity:
    """Regression of measured on reference values: 1 and 0 are the ideal slope and intercept.

    `quadratic_p`: p-value of a quadratic term added to the line (small: not linear); None below four pairs.
    """

    n: int
    slope: Estimate
    intercept: Estimate
    r_squared: float
    quadratic_p: float | None


@dataclass(frozen=True)
class RelativeDifference:
    """Mean of 100 (measured - reference) / reference, signed and absolute, in %; intervals over patients."""

    signed_pct: Interval
    absolute_pct: Interval


def bland_altman(
    first: ArrayLike, second: ArrayLike, level: float = LEVEL, agreement: float = 0.95
) -> BlandAltman:
    """Bias with Student's interval; limits bias ± z SD, each with its exact interval; proportional bias.

    Args:
        first, second: (n,) measurements of the same subjects, one pair each.
        level: coverage of the confidence intervals.
        agreement: share of differences between the limits; 0.95 gives z = 1.96.

    Raises:
        NotEstimable: no pair.
    """
    a, b = finite_pair(first, second, NAMES)
    check_level(level)
    n = len(a)
    if n == 0:
        raise NotEstimable("Limits of agreement need pairs, got none.")
    difference = _differences(a, b)
    bias = float(difference.mean())
    if n == 1:
        note = "One pair has no spread."
        bare = Estimate(None, None, None, level, n, NO_INTERVAL, note)
        return BlandAltman(
            n,
            None,
            agreement,
            Estimate(bias, None, None, level, n, NO_INTERVAL, note),
            bare,
            bare,
            bare,
            None,
        )
    sd = float(difference.std(ddof=1))
    near, far = limit_factors(n, level, agreement)
    z = normal_quantile(agreement)
    line = least_squares((a + b) / 2, difference)
    return BlandAltman(
        n=n,
        sd=sd,
        agreement=agreement,
        bias=student_interval(bias, sd / np.sqrt(n), n - 1, level, n),
        lower=Estimate(bias - z * sd, bias - far * sd, bias - near * sd, level, n, EXACT_LIMITS),
        upper=Estimate(bias + z * sd, bias + near * sd, bias + far * sd, level, n, EXACT_LIMITS),
        slope=_slope(line, level, n, "the means of the pairs are all equal"),
        slope_p=line.p if line else None,
    )


@lru_cache(maxsize=256)
def limit_factors(n: int, level: float = LEVEL, agreement: float = 0.95) -> tuple[float, float]:
    """Near and far end of the exact interval of a limit of agreement, in SD from the bias.

    The true limit mu + z sigma lies below bias + k SD with probability P(T < k sqrt(n)), T noncentral t with
    n - 1 degrees of freedom and noncentrality z sqrt(n): one-sided tolerance factors.
    """
    check_level(level)
    if n < 2:
        raise NotEstimable(f"Limits of agreement need two pairs, got {n}.")
    shift = normal_quantile(agreement) * np.sqrt(n)
    near, far = nct.ppf([(1 - level) / 2, (1 + level) / 2], n - 1, shift) / np.sqrt(n)
    return float(near), float(far)


def concordance(first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> Estimate:
    """Lin's concordance correlation coefficient, with the interval of Fisher's z.

    Raises:
        NotEstimable: fewer than two pairs, or one side without any spread.
    """
    a, b = finite_pair(first, second, NAMES)
    z = normal_quantile(level)
    n = len(a)
    if n < 2 or not (varies(a) and varies(b)):
        raise NotEstimable("The CCC needs two pairs or more whose values differ on both sides.")
    sa, sb = a.std(), b.std()
    shift = (a.mean() - b.mean()) ** 2
    accuracy = 2 * sa * sb / (sa**2 + sb**2 + shift)  # C_b: 1 when location and scale agree
    r = float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))
    ccc = float(r * accuracy)
    if n < 3:
        return Estimate(ccc, None, None, level, n, NO_INTERVAL, "No interval: it needs three pairs.")
    if abs(ccc) == 1:
        return Estimate(ccc, ccc, ccc, level, n, FISHER_Z, "All pairs are equal.")
    u2 = shift / (sa * sb)
    variance = (
        (1 - r**2) * accuracy**2 * (1 - ccc**2)
        + 2 * ccc**2 * accuracy * (1 - ccc) * u2
        - 0.5 * ccc**2 * accuracy**2 * u2**2
    ) / (n - 2)
    half = z * np.sqrt(max(variance, 0.0)) / (1 - ccc**2)
    low, high = np.tanh(np.arctanh(ccc) + np.array([-half, half]))
    return Estimate(ccc, float(low), float(high), level, n, FISHER_Z)


def linearity(measured: ArrayLike, reference: ArrayLike, level: float = LEVEL) -> Linearity:
    """Least-squares line of measured on reference values, with Student's intervals.

    Errors of the reference make the slope too small: 1 % when they have a tenth of the subjects' spread.

    Raises:
        NotEstimable: fewer than two pairs, or references that are all equal.
    """
    y, x = finite_pair(measured, reference, ("measured values", "reference values"))
    check_level(level)
    n = len(x)
    line = least_squares(x, y)
    if line is None:
        raise NotEstimable("A line needs two pairs or more whose reference values differ.")
    return Linearity(
        n=n,
        slope=student_interval(line.slope, line.slope_se, n - 2, level, n),
        intercept=student_interval(line.intercept, line.intercept_se, n - 2, level, n),
        r_squared=line.r_squared,
        quadratic_p=quadratic_p(x, y),
    )


def relative_difference(
    measured: ArrayLike,
    reference: ArrayLike,
    patients: Sequence[Hashable] | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> RelativeDifference:
    """Relative difference to the reference, in %; the bootstrap draws patients.

    Raises:
        NotEstimable: a reference that is not above 0.
    """
    y, x = finite_pair(measured, reference, ("measured values", "reference values"))
    if (x <= 0).any():
        raise NotEstimable(f"{int((x <= 0).sum())} of {len(x)} reference values are not above 0.")
    pct = 100 * (y - x) / x
    signed, absolute = (mean_interval(values, patients, level, seed=seed) for values in (pct, np.abs(pct)))
    return RelativeDifference(signed, absolute)


def _differences(a: Vector, b: Vector) -> Vector:
    """a - b; where they differ by rounding only, all equal, so that rounding has no slope and no p-value."""
    difference = a - b
    size = float(max(np.abs(a).max(), np.abs(b).max()))
    return difference if varies(difference, size) else np.full_like(difference, difference.mean())


def _slope(line: Line | None, level: float, n: int, why: str) -> Estimate:
    if line is None:
        return Estimate(None, None, None, level, n, NO_INTERVAL, f"No slope: {why}.")
    return student_interval(line.slope, line.slope_se, n - 2, level, n)
