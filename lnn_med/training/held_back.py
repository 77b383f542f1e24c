"""How probabilities held for people held back, and what a conformal set needs of them."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from lnn_med.evaluation.calibration import brier_decomposition, calibration_errors, ece_null
from lnn_med.evaluation.calibration_counts import calibration_counts
from lnn_med.evaluation.classification import auc
from lnn_med.evaluation.recalibration import recalibration
from lnn_med.evaluation.resampling import RESAMPLES, clustered_interval
from lnn_med.evaluation.statistics import Interval
from lnn_med.inference.risk_model import DEMENTIA, NO_DEMENTIA, Reliability

OLD_YEARS = 60.0  # nobody younger in OASIS-1 has dementia
SET_FOLDS = 10
BINS = 5  # of the calibration error: 188 people are few
Values = NDArray[np.float64]


class HeldBack(NamedTuple):
    """Answers about people held back, one row a seed.

    `risk` (seeds, N, sets) logits of the risk models; `evidence` (seeds, N, 2, exits) of the networks without
    and with MMSE; `age` (seeds, N, exits) years; `male` (seeds, N) logits of the last exit.
    """

    risk: Values
    evidence: Values
    age: Values
    male: Values


def reliability(
    probabilities: Values, scores: Values, truth: Values, ages: Values, persons: list[str]
) -> Reliability:
    """What `Reliability` holds, with bootstrap intervals over persons.

    Args:
        probabilities: of dementia, (N,), each from models that had not seen the person, cross-fitted.
        scores: what ranks people, (N,), of the same models before any correction, which could only add noise.
        truth: (N,) 1 or 0.
        ages: years (N,).
        persons: of each row.

    Raises:
        NotEstimable: one class only.
    """

    def area(rows: NDArray[np.intp]) -> tuple[float, float, float]:
        found = clustered_interval(
            lambda drawn: auc(scores[rows[drawn]], truth[rows[drawn]]).estimate or 0.5,
            [persons[n] for n in rows],
            resamples=RESAMPLES,
        )
        return found.estimate or 0.0, found.low or 0.0, found.high or 1.0

    counts = calibration_counts(probabilities, truth)
    again = recalibration(probabilities, truth)
    return Reliability(
        people=len(truth),
        positives=int(truth.sum()),
        auc=area(np.arange(len(truth))),
        auc_old=area(np.flatnonzero(ages >= OLD_YEARS)),
        brier=brier_decomposition(counts, BINS).brier,
        ece=calibration_errors(counts, BINS).ece,
        ece_null=ece_null(counts, BINS).upper,
        intercept=again.intercept.estimate or 0.0,
        slope=again.slope.estimate or 0.0,
        sick=tuple(round(float(p), 4) for p in sorted(probabilities[truth == 1])),
        healthy=tuple(round(float(p), 4) for p in sorted(probabilities[truth == 0])),
    )


def fit_sum(logits: Values, truth: Values) -> tuple[tuple[float, ...], Values]:
    """Weights (1 + K,) of a constant and of logits about people held back; cross-fitted probabilities (N,).

    Args:
        logits: (N, K).
        truth: (N,) 1 or 0.
    """
    crossed = np.empty(len(truth))
    for train, test in StratifiedKFold(10, shuffle=True, random_state=0).split(logits, truth):
        crossed[test] = _plain().fit(logits[train], truth[train]).predict_proba(logits[test])[:, 1]
    fitted = _plain().fit(logits, truth)
    return (float(fitted.intercept_[0]), *map(float, fitted.coef_[0])), crossed


class Sets(NamedTuple):
    """Shares of sick and of healthy people whose prediction set holds their class, and of all whose set holds
    both classes."""

    with_dementia: float
    without: float
    both: float


def prediction_sets(found: Reliability, level: float) -> Sets:
    """How prediction sets turn out for people who took no part in making them, in ten folds."""
    told: dict[str, list[tuple[str, ...]]] = {DEMENTIA: [], NO_DEMENTIA: []}
    rng = np.random.default_rng(0)
    fold_of = {name: rng.permutation(len(each)) % SET_FOLDS for name, each in _by_class(found).items()}
    for fold in range(SET_FOLDS):
        sick, healthy = (
            tuple(p for p, n in zip(each, fold_of[name], strict=True) if n != fold)
            for name, each in _by_class(found).items()
        )
        others = replace(found, sick=sick, healthy=healthy)
        for name, each in _by_class(found).items():
            held = [p for p, n in zip(each, fold_of[name], strict=True) if n == fold]
            told[name] += [others.prediction_set(p, level) for p in held]
    every = told[DEMENTIA] + told[NO_DEMENTIA]
    return Sets(
        float(np.mean([DEMENTIA in each for each in told[DEMENTIA]])),
        float(np.mean([NO_DEMENTIA in each for each in told[NO_DEMENTIA]])),
        float(np.mean([len(each) == 2 for each in every])),
    )


def _by_class(found: Reliability) -> dict[str, tuple[float, ...]]:
    return {DEMENTIA: found.sick, NO_DEMENTIA: found.healthy}


def weight_interval(logits: Values, truth: Values, persons: list[str], column: int) -> Interval:
    """One of the weights of `fit_sum`, with its 95 % bootstrap interval over people."""
    return clustered_interval(
        lambda rows: float(_plain().fit(logits[rows], truth[rows]).coef_[0, column]),
        persons,
        resamples=RESAMPLES,
    )


def mean_logit(probabilities: Values) -> Values:
    """Probabilities of several seeds (seeds, N) as one (N,), averaged as logits."""
    return expit(logit(np.clip(probabilities, 1e-6, 1 - 1e-6)).mean(axis=0))


def _plain() -> LogisticRegression:
    return LogisticRegression(C=np.inf, max_iter=1000)
