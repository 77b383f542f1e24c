"""A least-squares line with its standard errors, and Student's interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from lnn_med.evaluation.intervals import NO_INTERVAL, Estimate

STUDENT = "student t"
ROUNDING = 1e-12  # relative; differences of sums of float64 stay well below


@dataclass(frozen=True)
class Line:
    """A least-squares line with standard errors; `p` of slope 0 is None without residual freedom."""

    slope: float
    intercept: float
    slope_se: float | None
    intercept_se: float | None
    p: float | None
    r_squared: float


def student_interval(estimate: float, se: float | None, freedom: int, level: float, n: int) -> Estimate:
    """Student's interval; none without degrees of freedom."""
    if se is None or freedom < 1:
        return Estimate(estimate, None, None, level, n, NO_INTERVAL, "No interval: too few values.")
    half = float(stdtrit(freedom, (1 + level) / 2) * se)
    return Estimate(estimate, estimate - half, estimate + half, level, n, STUDENT)


def least_squares(x: NDArray[np.float64], y: NDArray[np.float64]) -> Line | None:
    """Least squares of y on x; None where x does not vary."""
    n = len(x)
    if n < 2 or not varies(x):
        return None
    dx, dy = x - x.mean(), y - y.mean()
    sxx, syy = float(dx @ dx), float(dy @ dy)
    slope = float(dx @ dy) / sxx
    residual = float(((dy - slope * dx) ** 2).sum())
    r_squared = 0.0 if syy == 0 else 1 - residual / syy  # a constant is explained by nothing
    intercept = float(y.mean() - slope * x.mean())
    if n == 2:
        return Line(slope, intercept, None, None, None, r_squared)
    sigma = np.sqrt(residual / (n - 2))
    slope_se = float(sigma / np.sqrt(sxx))
    intercept_se = float(sigma * np.sqrt(1 / n + x.mean() ** 2 / sxx))
    return Line(slope, intercept, slope_se, intercept_se, _p_value(slope, slope_se, n - 2), r_squared)


def quadratic_p(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    """p-value of the quadratic term, by the part of x² that a line does not explain (Frisch-Waugh)."""
    n = len(x)
    if n < 4 or len(np.unique(x)) < 3:
        return None
    scaled = (x - x.mean()) / x.std()
    line = np.column_stack([np.ones(n), scaled])
    square, rest = (v - line @ np.linalg.lstsq(line, v, rcond=None)[0] for v in (scaled**2, y))
    slope = float(square @ rest / (square @ square))
    residual = float(((rest - slope * square) ** 2).sum())
    return _p_value(slope, float(np.sqrt(residual / (n - 3) / (square @ square))), n - 3)


def varies(values: NDArray[np.float64], scale: float | None = None) -> bool:
    """Whether values differ by more than the rounding of numbers of size `scale` (their own by default)."""
    size = float(np.abs(values).max()) if scale is None else scale
    return bool(np.ptp(values) > ROUNDING * size)


def _p_value(value: float, se: float, freedom: int) -> float | None:
    """Two-sided p of "the true value is 0"; None where nothing scatters."""
    return float(2 * stdtr(freedom, -abs(value / se))) if se > 0 else None
