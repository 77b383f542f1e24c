"""Intraclass correlation of several raters or methods: ICC(2,1) for agreement, ICC(3,1) for consistency.

Shrout & Fleiss, Psychol Bull 1979; 86: 420; intervals as in McGraw & Wong, Psychol Methods 1996; 1: 30.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import fdtri

from lnn_med.evaluation.intervals import LEVEL, NO_INTERVAL, Estimate, NotEstimable, check_level

F_DISTRIBUTION = "F (Shrout-Fleiss)"
Kind = Literal["agreement", "consistency"]
KINDS: tuple[Kind, Kind] = ("agreement", "consistency")
SATTERTHWAITE = "F, Satterthwaite (Shrout-Fleiss)"


@dataclass(frozen=True)
class IntraclassCorrelation:
    """`agreement`: ICC(2,1), raters are a sample, their bias counts; `consistency`: ICC(3,1), it does not."""

    n_subjects: int
    n_raters: int
    agreement: Estimate
    consistency: Estimate


@dataclass(frozen=True)
class _MeanSquares:
    """Two-way table: mean squares of subjects (rows), raters (columns) and error."""

    n: int
    k: int
    subjects: float
    raters: float
    error: float


def intraclass_correlation(ratings: ArrayLike, level: float = LEVEL) -> IntraclassCorrelation:
    """ICC(2,1) and ICC(3,1) of single measurements.

    Args:
        ratings: (subjects, raters) finite numbers, complete; (n, 2) with columns measured, reference to
            compare a method with its reference.
        level: coverage of the intervals.

    Raises:
        NotEstimable: fewer than two subjects, or a table without any spread.
        ValueError: not a table of two columns or more, or values that are not finite.
    """
    check_level(level)
    squares = _mean_squares(np.asarray(ratings, dtype=np.float64))
    return IntraclassCorrelation(
        squares.n, squares.k, _agreement(squares, level), _consistency(squares, level)
    )


def intraclass_estimate(ratings: ArrayLike, kind: Kind) -> float:
    """ICC(2,1) ("agreement") or ICC(3,1) ("consistency") without its interval: quick enough to resample.

    Raises:
        NotEstimable: as `intraclass_correlation`, or nothing but error.
        ValueError: as `intraclass_correlation`.
    """
    ms = _mean_squares(np.asarray(ratings, dtype=np.float64))
    found = _agreement_value(ms) if kind == "agreement" else _consistency_value(ms)
    if found is None:
        raise NotEstimable("An ICC needs subjects that differ.")
    return found


def _agreement_value(ms: _MeanSquares) -> float | None:
    """Shrout & Fleiss 1979, ICC(2,1); None for two subjects, two raters, and nothing but error."""
    total = ms.subjects + (ms.k - 1) * ms.error + ms.k * (ms.raters - ms.error) / ms.n
    return max((ms.subjects - ms.error) / total, _smallest(ms)) if total > 0 else None


def _consistency_value(ms: _MeanSquares) -> float | None:
    """Shrout & Fleiss 1979, ICC(3,1); None when nothing varies."""
    total = ms.subjects + (ms.k - 1) * ms.error
    return (ms.subjects - ms.error) / total if total > 0 else None


def _smallest(ms: _MeanSquares) -> float:
    """What k raters can have; the formulas of a few subjects run below it."""
    return -1 / (ms.k - 1)


def _mean_squares(table: np.ndarray) -> _MeanSquares:
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"Ratings must be (subjects, raters >= 2), got shape {table.shape}.")
    if not np.isfinite(table).all():
        raise ValueError(
            f"{int((~np.isfinite(table)).sum())} ratings are not finite; leave out such subjects."
        )
    n, k = table.shape
    if n < 2 or np.ptp(table) == 0:
        raise NotEstimable("An ICC needs two subjects or more, and values that are not all equal.")
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    residual = table - rows[:, None] - columns[None, :] + table.mean()
    return _MeanSquares(
        n=n,
        k=k,
        subjects=float(k * rows.var(ddof=1)),
        raters=float(n * columns.var(ddof=1)),
        error=_rounded_to_zero(float((residual**2).sum() / ((n - 1) * (k - 1))), table),
    )


def _rounded_to_zero(error: float, table: np.ndarray) -> float:
    """Residuals of an exact fit are rounding; as 0 they give the limit of the formulas."""
    return 0.0 if error <= (np.abs(table).max() * np.finfo(float).eps * 8) ** 2 else error


def _agreement(ms: _MeanSquares, level: float) -> Estimate:
    n, k = ms.n, ms.k
    rest = k * ms.raters + (k * n - k - n) * ms.error  # what F multiplies in both bounds
    if ms.raters == 0 and ms.error == 0:
        return Estimate(1.0, 1.0, 1.0, level, n, SATTERTHWAITE, "All raters give equal values.")
    icc = _agreement_value(ms)
    if icc is None:
        return Estimate(None, None, None, level, n, NO_INTERVAL, "Too few subjects and raters.")
    a = k * icc / (n * (1 - icc))
    b = 1 + k * icc * (n - 1) / (n * (1 - icc))
    spread = (a * ms.raters) ** 2 / (k - 1) + (b * ms.error) ** 2 / ((n - 1) * (k - 1))
    freedom = (a * ms.raters + b * ms.error) ** 2 / spread if spread > 0 else float(k - 1)
    above = fdtri(n - 1, freedom, (1 + level) / 2)
    below = fdtri(freedom, n - 1, (1 + level) / 2)
    low = n * (ms.subjects - above * ms.error) / (above * rest + n * ms.subjects)
    high = n * (below * ms.subjects - ms.error) / (rest + n * below * ms.subjects)
    low, high = (max(float(value), _smallest(ms)) for value in (low, high))
    return Estimate(icc, low, high, level, n, SATTERTHWAITE)


def _consistency(ms: _MeanSquares, level: float) -> Estimate:
    n, k = ms.n, ms.k
    if ms.error == 0:
        if ms.subjects == 0:
            raise NotEstimable("An ICC needs subjects that differ.")
        return Estimate(1.0, 1.0, 1.0, level, n, F_DISTRIBUTION, "Raters differ by a constant only.")
    ratio, freedom = ms.subjects / ms.error, (n - 1) * (k - 1)
    f_low = ratio / fdtri(n - 1, freedom, (1 + level) / 2)
    f_high = ratio * fdtri(freedom, n - 1, (1 + level) / 2)
    icc, low, high = ((value - 1) / (value + k - 1) for value in (ratio, f_low, f_high))
    return Estimate(float(icc), float(low), float(high), level, n, F_DISTRIBUTION)
