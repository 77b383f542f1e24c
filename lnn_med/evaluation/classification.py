"""Area under the ROC curve of a score between two classes, with DeLong's variance; two scores compared.

Truth is 0 or 1 (False or True), a higher score speaks for 1. One score a patient: DeLong's variance holds for
independent patients; with repeat scans wrap a function in `resampling.clustered_interval`.

DeLong, DeLong & Clarke-Pearson, Biometrics 1988; 44: 837, by sorting instead of all pairs.
Where DeLong's variance is 0 (perfect separation) it would claim certainty: the score interval of Newcombe
(Stat Med 2006; 25: 559, method 5) takes its place, and `method` says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import ndtr

from lnn_med.evaluation.intervals import (
    LEVEL,
    NO_INTERVAL,
    Estimate,
    NotEstimable,
    finite,
    normal_quantile,
)

DELONG = "delong"
NEWCOMBE = "score (Newcombe 2006)"

Scores = NDArray[np.float64]  # (n,)
Truth = NDArray[np.bool_]  # (n,)


@dataclass(frozen=True)
class AucComparison:
    """Two scores on the same patients; `difference` is first minus second, `p` two-sided or None."""

    first: Estimate
    second: Estimate
    difference: Estimate
    z: float | None
    p: float | None


def binary_outcome(scores: ArrayLike, truth: ArrayLike) -> tuple[Scores, Truth]:
    """Checked scores and truth of equal length.

    Raises:
        ValueError: truth other than 0 and 1, scores that are not finite, lengths that differ.
    """
    numbers, labels = finite(scores, "scores"), finite(truth, "truth values")
    if len(numbers) != len(labels):
        raise ValueError(f"{len(numbers)} scores need as many truth values, got {len(labels)}.")
    strange = np.setdiff1d(labels, (0, 1))
    if len(strange):
        raise ValueError(f"Truth must be 0 or 1, found {strange[0]:g}.")
    return numbers, labels.astype(bool)


def both_classes(truth: Truth, what: str) -> tuple[int, int]:
    """Numbers of positives and negatives, at least one each."""
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if positives == 0 or negatives == 0:
        raise NotEstimable(f"{what} needs both classes, got {positives} positives and {negatives} negatives.")
    return positives, negatives


def auc(scores: ArrayLike, truth: ArrayLike, level: float = LEVEL) -> Estimate:
    """Area under the ROC curve, ties counted half, with DeLong's interval cut to 0..1.

    Raises:
        NotEstimable: one class only.
    """
    numbers, labels = binary_outcome(scores, truth)
    positives, negatives = both_classes(labels, "An AUC")
    z = normal_quantile(level)
    area, in_positives, in_negatives = _components(numbers, labels)
    variance = 0.0
    if positives > 1 and negatives > 1:
        variance = float(in_positives.var(ddof=1) / positives + in_negatives.var(ddof=1) / negatives)
    if variance <= 0:
        low, high = score_interval(area, positives, negatives, level)
        return Estimate(
            area, low, high, level, len(labels), NEWCOMBE, "DeLong's variance does not exist or is 0."
        )
    half = z * np.sqrt(variance)
    return Estimate(
        area, float(max(0.0, area - half)), float(min(1.0, area + half)), level, len(labels), DELONG
    )


def score_interval(area: float, positives: int, negatives: int, level: float = LEVEL) -> tuple[float, float]:
    """Newcombe's score interval of an AUC: from the sizes of both classes alone, even if nothing varies."""
    z = normal_quantile(level)
    return _score_low(area, positives, negatives, z), 1 - _score_low(1 - area, positives, negatives, z)


def compare_auc(first: ArrayLike, second: ArrayLike, truth: ArrayLike, level: float = LEVEL) -> AucComparison:
    """DeLong's paired test of two scores on the same patients.

    Raises:
        NotEstimable: fewer than two patients in a class.
    """
    one, labels = binary_outcome(first, truth)
    two, _ = binary_outcome(second, truth)
    positives, negatives = both_classes(labels, "An AUC")
    if min(positives, negatives) < 2:
        raise NotEstimable("Comparing AUCs needs two patients of each class.")
    area_1, positives_1, negatives_1 = _components(one, labels)
    area_2, positives_2, negatives_2 = _components(two, labels)
    difference, n = area_1 - area_2, len(labels)
    se = np.sqrt(
        (positives_1 - positives_2).var(ddof=1) / positives
        + (negatives_1 - negatives_2).var(ddof=1) / negatives
    )
    areas = auc(one, labels, level), auc(two, labels, level)
    if se < 1e-12:  # the same ranking, or both perfect: nothing varies
        note = (
            "The two scores rank the patients alike."
            if difference == 0
            else "The difference has no variance."
        )
        bare = Estimate(difference, None, None, level, n, NO_INTERVAL, note)
        return AucComparison(*areas, bare, None, None)
    z = float(difference / se)
    half = float(normal_quantile(level) * se)
    estimate = Estimate(
        difference, max(-1.0, difference - half), min(1.0, difference + half), level, n, DELONG
    )
    return AucComparison(*areas, estimate, z, float(2 * ndtr(-abs(z))))


def _components(scores: Scores, truth: Truth) -> tuple[float, Scores, Scores]:
    """AUC, and for each positive (negative) the share of the other class it ranks above (below)."""
    positives, negatives = np.sort(scores[truth]), np.sort(scores[~truth])
    in_positives = _share_below(negatives, scores[truth])
    in_negatives = 1 - _share_below(positives, scores[~truth])
    return float(in_positives.mean()), in_positives, in_negatives


def _share_below(ordered: Scores, values: Scores) -> Scores:
    """Share of `ordered` below each value, equal ones counted half."""
    left, right = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return np.asarray((left + right) / (2 * len(ordered)))


def _score_low(area: float, positives: int, negatives: int, z: float) -> float:
    """The lower A with |area - A| = z SE(A), SE after Hanley and McNeil with the mean class size."""
    if area <= 0:
        return 0.0

    def excess(true: float) -> float:
        gap = area - true
        if area >= 1:  # divided by 1 - true, which is a root without meaning
            return gap - z**2 * true * _spread(true, positives, negatives)
        return gap**2 - z**2 * true * (1 - true) * _spread(true, positives, negatives)

    return float(brentq(excess, 0, area))


def _spread(area: float, positives: int, negatives: int) -> float:
    """SE(A)² / (A (1 - A))."""
    size = (positives + negatives) / 2 - 1
    return (1 + size * ((1 - area) / (2 - area) + area / (1 + area))) / (positives * negatives)
