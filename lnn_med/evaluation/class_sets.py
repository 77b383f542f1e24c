"""Conformal class sets: the classes that a probability cannot rule out (Vovk 2005; Sadinle 2019).

The score of a case is 1 minus the probability of its true class; a set holds every class whose own score lies
within the quantile that `coverage` of the calibration cases keep. Cross-fitted: each patient's cases get the
quantile of the other patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lnn_med.evaluation.coverage import CoverageCheck, coverage_check
from lnn_med.evaluation.intervals import LEVEL, Estimate, NotEstimable, check_level, clopper_pearson
from lnn_med.inference.calibration import conformal_quantile

NO, YES = "no", "yes"  # the classes of a target, as they stand in `prediction_set`
FOLDS = 5

Sets = NDArray[np.bool_]  # (n, 2): whether the set of a case holds NO, and YES


@dataclass(frozen=True)
class SetSummary:
    """How class sets did: coverage of the true class, in all and class by class, and how large they are."""

    n: int
    coverage: CoverageCheck
    no: Estimate | None  # coverage among cases without the disease; None without any
    yes: Estimate | None  # and with it
    n_one: int  # sets of one class
    n_both: int  # nothing ruled out
    n_none: int  # everything ruled out


def scores_of(probabilities: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """1 - probability of the true class: (n,) from probabilities of YES and truth 0 or 1, both (n,)."""
    chance, true = np.asarray(probabilities, dtype=float), np.asarray(truth, dtype=float)
    if chance.shape != true.shape or chance.ndim != 1:
        raise ValueError(f"{chance.shape} probabilities and {true.shape} outcomes; one of each a case.")
    if not ((chance >= 0) & (chance <= 1)).all() or not np.isin(true, (0, 1)).all():
        raise ValueError("Probabilities must lie between 0 and 1, outcomes must be 0 or 1.")
    return np.where(true == 1, 1 - chance, chance)


def sets_at(probabilities: ArrayLike, quantile: float | None) -> Sets:
    """Sets of cases at one quantile; None, for want of calibration cases, rules nothing out."""
    chance = np.asarray(probabilities, dtype=float)
    scores = np.stack([chance, 1 - chance], axis=-1)  # of NO, and of YES
    return np.ones_like(scores, dtype=bool) if quantile is None else scores <= quantile


def cross_fitted_sets(
    probabilities: ArrayLike, truth: ArrayLike, patients: Sequence[str], coverage: float
) -> Sets:
    """Sets of cases, each by the quantile of other patients.

    Raises:
        NotEstimable: one patient alone.
    """
    check_level(coverage)
    chance, scores = np.asarray(probabilities, dtype=float), scores_of(probabilities, truth)
    _, who = np.unique(np.asarray(patients), return_inverse=True)
    if who.max(initial=0) < 1:
        raise NotEstimable("cross-fitting needs two patients or more")
    found = np.ones((len(chance), 2), dtype=bool)
    for fold in range(FOLDS):
        judged = who % FOLDS == fold
        found[judged] = sets_at(chance[judged], conformal_quantile(scores[~judged], coverage))
    return found


def set_summary(sets: Sets, truth: ArrayLike, nominal: float, level: float = LEVEL) -> SetSummary:
    """Coverage and size of sets.

    Raises:
        NotEstimable: no cases.
    """
    true = np.asarray(truth, dtype=int)
    hit, size = sets[np.arange(len(true)), true], sets.sum(axis=1)
    no, yes = (_share(hit[true == value], level) for value in (0, 1))
    n_none, n_one, n_both = (int((size == count).sum()) for count in range(3))
    return SetSummary(len(true), coverage_check(hit, nominal, level=level), no, yes, n_one, n_both, n_none)


def _share(hit: NDArray[np.bool_], level: float) -> Estimate | None:
    return clopper_pearson(int(hit.sum()), len(hit), level) if len(hit) else None
