"""Coverage of conformal intervals or sets: what was found, and what chance alone allows.

Split conformal with n calibration cases promises at least `nominal` on average over calibration sets; the
coverage of one calibrated model is a draw from Beta(n + 1 - l, l), l = floor((n + 1)(1 - nominal)) (Vovk
2012; Angelopoulos & Bates, arXiv 2107.07511, section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta, betabinom, binom

from lnn_med.evaluation.intervals import LEVEL, Estimate, check_level, clopper_pearson, finite


@dataclass(frozen=True)
class CoverageCheck:
    """Observed coverage against its nominal value.

    `band_low` to `band_high`: shares of covered cases that chance gives (`level`) when each case is covered
    with probability `nominal`. `spread_low` to `spread_high`: the same with the luck of a calibration set of
    `n_calibration` cases; None when its size is not given. `inside` says whether `observed` lies in the band
    that counts: the wider one where it is known.
    """

    nominal: float
    observed: Estimate
    n_calibration: int | None
    band_low: float
    band_high: float
    spread_low: float | None
    spread_high: float | None
    inside: bool


@dataclass(frozen=True)
class CoverageSpread:
    """Coverage that one calibration set of n cases gives: mean, and the central `level` of its Beta law.

    A set too small for a finite interval has `finite` False, and covers everything.
    """

    n_calibration: int
    nominal: float
    finite: bool
    mean: float
    low: float
    high: float


def coverage_check(
    covered: ArrayLike, nominal: float, n_calibration: int | None = None, level: float = LEVEL
) -> CoverageCheck:
    """Coverage of independent test cases with exact (Clopper-Pearson) interval and the bands of chance.

    Args:
        covered: (n,) 0 or 1 for each case.
        nominal: promised coverage, 0 to 1.
        n_calibration: cases that the conformal quantile was taken from.
        level: of interval and bands.

    Raises:
        NotEstimable: no cases.
    """
    check_level(nominal)
    hits = finite(covered, "coverage values")
    if not np.isin(hits, (0, 1)).all():
        raise ValueError("Coverage values must be 0 or 1.")
    n, found = len(hits), int(hits.sum())
    observed = clopper_pearson(found, n, level)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    low, high = (float(value) for value in binom.ppf(tails, n, nominal) / n)
    spread_low = spread_high = None
    if n_calibration is not None:
        a, b = _beta_parameters(n_calibration, nominal)
        spread = betabinom.ppf(tails, n, a, b) / n if b else np.ones(2)
        spread_low, spread_high = float(spread[0]), float(spread[1])
    bottom, top = (low, high) if spread_low is None or spread_high is None else (spread_low, spread_high)
    inside = bottom <= found / n <= top
    return CoverageCheck(nominal, observed, n_calibration, low, high, spread_low, spread_high, inside)


def coverage_spread(n_calibration: int, nominal: float, level: float = LEVEL) -> CoverageSpread:
    """Spread of the true coverage between calibration sets of `n_calibration` cases.

    The interval is finite from (1 - nominal)(n + 1) >= 1 on: 19 cases for 95 %, 9 for 90 %.
    """
    check_level(level)
    a, b = _beta_parameters(n_calibration, nominal)
    if b == 0:
        return CoverageSpread(n_calibration, nominal, False, 1.0, 1.0, 1.0)
    low, high = beta.ppf([(1 - level) / 2, (1 + level) / 2], a, b)
    return CoverageSpread(n_calibration, nominal, True, a / (a + b), float(low), float(high))


def _beta_parameters(n_calibration: int, nominal: float) -> tuple[int, int]:
    check_level(nominal)
    if n_calibration < 1:
        raise ValueError(f"{n_calibration} calibration cases; at least one is needed.")
    outside = int(
        np.floor((n_calibration + 1) * (1 - nominal) + 1e-9)
    )  # 20 x 0.05 is 0.99999 in floating point
    return n_calibration + 1 - outside, outside
