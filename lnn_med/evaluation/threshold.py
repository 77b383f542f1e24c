"""A locked threshold: sensitivity, specificity, predictive values at a stated prevalence, and net benefit.

The threshold is chosen before, on other patients; "score >= threshold" is positive. Wilson intervals for
proportions; MOVER (Zou & Donner 2008) for their mean; logit intervals for predictive values at a given
prevalence (Mercaldo, Lau & Zhou, Stat Med 2007; 26: 2170). Net benefit: Vickers & Elkin, Med Decis Making
2006; 26: 565.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from lnn_med.evaluation.classification import binary_outcome
from lnn_med.evaluation.intervals import (
    LEVEL,
    NO_INTERVAL,
    Estimate,
    NotEstimable,
    normal_quantile,
    wilson,
)

MOVER = "mover (Wilson)"
LOGIT = "logit (Mercaldo 2007)"
ADJUSTED_LOGIT = "adjusted logit (Mercaldo 2007)"


@dataclass(frozen=True)
class ThresholdPerformance:
    """Counts and rates at one threshold; a rate without cases has estimate None.

    `ppv` and `npv` are those of patients with the stated `prevalence`, None when none was stated.
    """

    threshold: float
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int
    sensitivity: Estimate
    specificity: Estimate
    balanced_accuracy: Estimate
    prevalence: float | None
    ppv: Estimate | None
    npv: Estimate | None


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit a patient, by threshold probability: of the model, of treating all; of none it is 0."""

    n: int
    thresholds: tuple[float, ...]
    model: tuple[float, ...]
    treat_all: tuple[float, ...]


def threshold_performance(
    scores: ArrayLike,
    truth: ArrayLike,
    threshold: float,
    prevalence: float | None = None,
    level: float = LEVEL,
) -> ThresholdPerformance:
    """Performance of "score >= threshold".

    Args:
        scores: (n,) finite numbers.
        truth: (n,) 0 or 1.
        threshold: fixed before the data were seen.
        prevalence: of the patients that predictive values are wanted for, between 0 and 1.
        level: coverage of the intervals.

    Raises:
        NotEstimable: no case at all.
        ValueError: a prevalence or threshold that cannot be.
    """
    numbers, labels = binary_outcome(scores, truth)
    if len(numbers) == 0:
        raise NotEstimable("Sensitivity and specificity need cases, got none.")
    if not np.isfinite(threshold):
        raise ValueError(f"Threshold is {threshold}; it must be a finite number.")
    called = numbers >= threshold
    tp, fn = int((called & labels).sum()), int((~called & labels).sum())
    fp, tn = int((called & ~labels).sum()), int((~called & ~labels).sum())
    sensitivity = _rate(tp, tp + fn, level, "No positive case.")
    specificity = _rate(tn, tn + fp, level, "No negative case.")
    ppv = npv = None
    if prevalence is not None:
        ppv, npv = predictive_values(tp, fn, tn, fp, prevalence, level)
    return ThresholdPerformance(
        *(float(threshold), tp, fp, tn, fn, sensitivity, specificity),
        balanced_accuracy=_balanced(sensitivity, specificity, level, len(numbers)),
        prevalence=prevalence,
        ppv=ppv,
        npv=npv,
    )


def predictive_values(
    true_positives: int,
    false_negatives: int,
    true_negatives: int,
    false_positives: int,
    prevalence: float,
    level: float = LEVEL,
) -> tuple[Estimate, Estimate]:
    """Positive and negative predictive value of patients with a known prevalence.

    The interval of logit PPV is symmetric; a table with a zero has z²/2 added to each cell for the interval,
    which is then widened to hold the estimate.
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"Prevalence is {prevalence:g}; it must lie between 0 and 1, such as 0.2.")
    odds = float(logit(prevalence))
    positive = _predictive(true_positives, false_negatives, false_positives, true_negatives, odds, level)
    negative = _predictive(true_negatives, false_positives, false_negatives, true_positives, -odds, level)
    return positive, negative


def decision_curve(
    probabilities: ArrayLike, truth: ArrayLike, thresholds: Sequence[float] | None = None
) -> DecisionCurve:
    """Net benefit TP/n - FP/n · pt/(1 - pt) of acting from threshold probability pt on.

    Args:
        probabilities: (n,) 0 to 1.
        truth: (n,) 0 or 1; the share of 1 is the prevalence that counts.
        thresholds: between 0 and 1; 0.01, 0.02, ... 0.99 when None.

    Raises:
        NotEstimable: no case at all.
    """
    values, labels = binary_outcome(probabilities, truth)
    if len(values) == 0:
        raise NotEstimable("Net benefit needs cases, got none.")
    if values.min() < 0 or values.max() > 1:
        raise ValueError("Net benefit needs probabilities between 0 and 1.")
    cuts = np.arange(1, 100) / 100 if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    if len(cuts) and not (cuts.min() > 0 and cuts.max() < 1):
        raise ValueError("Threshold probabilities must lie between 0 and 1, both excluded.")
    called = values[None, :] >= cuts[:, None]
    weight = cuts / (1 - cuts)
    model = (called & labels).mean(axis=1) - (called & ~labels).mean(axis=1) * weight
    treat_all = labels.mean() - (1 - labels.mean()) * weight
    return DecisionCurve(len(values), tuple(cuts.tolist()), tuple(model.tolist()), tuple(treat_all.tolist()))


def _rate(successes: int, n: int, level: float, missing: str) -> Estimate:
    if n == 0:
        return Estimate(None, None, None, level, 0, NO_INTERVAL, missing)
    return wilson(successes, n, level)


def _balanced(sensitivity: Estimate, specificity: Estimate, level: float, n: int) -> Estimate:
    """Mean of two independent proportions; each limit moves by the root of the summed squares."""
    if sensitivity.estimate is None or specificity.estimate is None:
        return Estimate(None, None, None, level, n, NO_INTERVAL, "One class only.")
    parts = np.array(
        [(rate.low, rate.estimate, rate.high) for rate in (sensitivity, specificity)], dtype=float
    )
    low, middle, high = parts.T
    mean = float(middle.mean())
    down = float(np.hypot(*(middle - low)) / 2)
    up = float(np.hypot(*(high - middle)) / 2)
    return Estimate(mean, mean - down, mean + up, level, n, MOVER)


def _predictive(
    right: int, missed: int, wrong: int, rejected: int, log_odds: float, level: float
) -> Estimate:
    """Share of right calls among calls, from the rate of calls among own and among other cases.

    `right` + `missed` are the own class, `wrong` + `rejected` the other.
    """
    n = right + missed + wrong + rejected
    if right + missed == 0 or wrong + rejected == 0:
        return Estimate(None, None, None, level, n, NO_INTERVAL, "One class only.")
    if right + wrong == 0:
        return Estimate(None, None, None, level, n, NO_INTERVAL, "No case was called so.")
    z = normal_quantile(level)
    cells = np.array([right, missed, wrong, rejected], dtype=np.float64)
    hit, alarm = right / (right + missed), wrong / (wrong + rejected)
    weight = float(np.exp(log_odds))
    estimate = hit * weight / (hit * weight + alarm)
    method = LOGIT
    if (cells == 0).any():
        cells, method = cells + z**2 / 2, ADJUSTED_LOGIT
    hit, alarm = cells[0] / cells[:2].sum(), cells[2] / cells[2:].sum()
    centre = log_odds + np.log(hit / alarm)
    half = z * np.sqrt((1 - hit) / cells[0] + (1 - alarm) / cells[2])
    low, high = expit(centre + np.array([-half, half]))
    low, high = min(low, estimate), max(high, estimate)  # cells that were added may pull both limits past it
    return Estimate(float(estimate), float(low), float(high), level, n, method)
