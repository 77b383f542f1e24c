"""Percentile curves of a bundle's volumes over healthy people, by maximum likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from lnn_med.inference.percentiles import Curve, Person, covariates

FOLDS = 5
BAND = 1.6448536269514722  # standard deviations from the mean to the 5th and 95th percentile
FEWEST = 40  # people; a curve has 7 numbers

Values = NDArray[np.float64]


def fit_curve(volumes_mm3: Values, people: Sequence[Person], usual_icv_mm3: float) -> Curve | None:
    """The curve of one structure, of volumes or of logarithms: what foretells people left out better.

    Args:
        volumes_mm3: one a person, (n,).
        people: the n people.
        usual_icv_mm3: their mean intracranial volume.

    Returns:
        None when the structure is missing in someone: then zero is a usual volume and no curve describes it.
    """
    if (volumes_mm3 <= 0).any():
        return None
    fold = np.random.default_rng(0).permutation(len(people)) % FOLDS
    tried = []
    for log in (False, True):
        rows = np.array([covariates(person, usual_icv_mm3, log) for person in people])
        values = np.log(volumes_mm3) if log else volumes_mm3
        loss, inside = 0.0, 0
        for left_out in range(FOLDS):
            kept = fold != left_out
            mean, log_spread = _fit(values[kept], rows[kept])
            spread = log_spread[0] + log_spread[1] * rows[~kept, 1]
            scores = (values[~kept] - rows[~kept] @ mean) / np.exp(spread)
            loss += float((scores**2 / 2 + spread).sum())
            inside += int((np.abs(scores) <= BAND).sum())
        if log:
            loss += float(values.sum())  # density of the volume itself, not of its logarithm
        mean, log_spread = _fit(values, rows)
        curve = Curve(log, _five(mean), (float(log_spread[0]), float(log_spread[1])))
        tried.append((loss, replace(curve, inside=inside / len(people))))
    return min(tried, key=lambda entry: entry[0])[1]


def _fit(values: Values, rows: Values) -> tuple[Values, Values]:
    """Factors of the mean (5,) and of the logarithm of the spread (2,), at the largest likelihood."""
    scale = float(values.std())
    scaled = (values - values.mean()) / scale
    age = rows[:, 1]
    mean, *_ = np.linalg.lstsq(rows, scaled, rcond=None)
    first = np.r_[mean, math.log(float((scaled - rows @ mean).std())), 0.0]

    def loss(numbers: Values) -> tuple[float, Values]:
        spread = numbers[5] + numbers[6] * age
        precision = np.exp(-2 * spread)
        away = scaled - rows @ numbers[:5]
        pull = 1 - away**2 * precision
        gradient = np.r_[-(away * precision) @ rows, pull.sum(), pull @ age]
        return float((away**2 * precision / 2 + spread).sum()), gradient

    found = minimize(loss, first, jac=True, method="BFGS").x
    mean = found[:5] * scale
    mean[0] += values.mean()
    return mean, np.array([found[5] + math.log(scale), found[6]])


def _five(mean: Values) -> tuple[float, float, float, float, float]:
    a, b, c, d, e = (float(value) for value in mean)
    return a, b, c, d, e
