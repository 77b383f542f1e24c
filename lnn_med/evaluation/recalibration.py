"""Calibration intercept and slope of predicted probabilities by logistic regression.

After Cox (Biometrika 1958; 45: 562) and Van Calster et al. (J Clin Epidemiol 2016; 74: 167). Slope below 1:
predictions too extreme; intercept above 0: risks too low on average. Ideal: 1 and 0.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit

from lnn_med.evaluation.classification import Truth, binary_outcome, both_classes
from lnn_med.evaluation.intervals import LEVEL, NO_INTERVAL, Estimate, normal_quantile

WALD = "wald (logistic regression)"
CLIP = 1e-6  # logit of 0 and 1 is infinite; 1e-6 is near float32 rounding and far from any useful risk


@dataclass(frozen=True)
class Recalibration:
    """`intercept`: calibration in the large, the slope held at 1; `slope` with its own free intercept."""

    n: int
    n_clipped: int
    intercept: Estimate
    slope: Estimate


def recalibration(probabilities: ArrayLike, truth: ArrayLike, level: float = LEVEL) -> Recalibration:
    """Calibration intercept and slope with Wald intervals.

    Probabilities of 0 and 1 are moved to 1e-6 and 1 - 1e-6, and counted in `n_clipped`.

    Raises:
        NotEstimable: one class only.
        ValueError: probabilities outside 0 to 1.
    """
    values, labels = binary_outcome(probabilities, truth)
    if len(values) and (values.min() < 0 or values.max() > 1):
        raise ValueError("Calibration needs probabilities between 0 and 1.")
    both_classes(labels, "A calibration intercept")
    clipped = np.clip(values, CLIP, 1 - CLIP)
    risk = logit(clipped)
    return Recalibration(
        n=len(values),
        n_clipped=int((clipped != values).sum()),
        intercept=_intercept(risk, labels, level),
        slope=_slope(risk, labels, level),
    )


def _intercept(risk: NDArray[np.float64], truth: Truth, level: float) -> Estimate:
    value, se = _fit(truth, np.ones((len(risk), 1)), risk)
    return _wald(value, se, level, len(risk))


def _slope(risk: NDArray[np.float64], truth: Truth, level: float) -> Estimate:
    n = len(risk)
    if np.ptp(risk) == 0:
        return Estimate(None, None, None, level, n, NO_INTERVAL, "No slope: all probabilities are equal.")
    own, other = risk[truth], risk[~truth]
    if own.min() >= other.max() or own.max() <= other.min():
        note = "No slope: the probabilities separate the classes, so it is infinite."
        return Estimate(None, None, None, level, n, NO_INTERVAL, note)
    value, se = _fit(truth, np.column_stack([risk, np.ones(n)]), None)
    return _wald(value, se, level, n)


def _fit(
    truth: Truth, design: NDArray[np.float64], offset: NDArray[np.float64] | None
) -> tuple[float, float]:
    """First coefficient of a logistic regression, and its standard error."""
    import statsmodels.api as sm  # a second to import, needed here only

    with warnings.catch_warnings():
        warnings.simplefilter("error", sm.tools.sm_exceptions.ConvergenceWarning)
        model = sm.GLM(truth.astype(float), design, family=sm.families.Binomial(), offset=offset)
        found = model.fit(maxiter=100)
    return float(found.params[0]), float(found.bse[0])


def _wald(value: float, se: float, level: float, n: int) -> Estimate:
    half = normal_quantile(level) * se
    return Estimate(value, value - half, value + half, level, n, WALD)
