"""Bootstrap interval over patients for any statistic of the rows of a table (ICC, AUC, CCC, ...).

The closed-form intervals hold for independent rows. Where a patient has several, this one draws patients with
all their rows; `statistics.mean_interval` does the same for a mean, faster.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from lnn_med.evaluation.intervals import LEVEL, NotEstimable, check_level
from lnn_med.evaluation.statistics import (
    BCA,
    MIN_PATIENTS_BCA,
    NO_INTERVAL,
    PERCENTILE,
    Interval,
    bca_tails,
)

RESAMPLES = 2_000  # each costs one call of the statistic
MAX_UNDEFINED = (
    0.05  # share of draws without the statistic (one class only); beyond, the rest are a selection
)

Statistic = Callable[[NDArray[np.intp]], float]


def clustered_interval(
    statistic: Statistic,
    patients: Sequence[Hashable],
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Interval of `statistic`, BCa from 20 patients on, else percentile.

    Args:
        statistic: takes row numbers (with repetitions) and gives the number; NotEstimable is allowed.
        patients: patient of each row.
        level: coverage.
        resamples: bootstrap draws.
        seed: of the draws.

    Raises:
        NotEstimable: the statistic does not exist for all rows, or for too many of the draws.

    Example:
        >>> clustered_interval(lambda rows: auc(scores[rows], truth[rows]).estimate, patients)
    """
    check_level(level)
    rows = _rows_by_patient(patients)
    n = len(rows)
    if n == 0:
        raise NotEstimable("A statistic needs at least one row, got none.")
    estimate = float(statistic(np.arange(len(patients))))
    if not np.isfinite(estimate):
        raise NotEstimable("The statistic is not finite.")
    if n < 2:
        return Interval(estimate, None, None, level, NO_INTERVAL, len(patients), n)
    rng = np.random.default_rng(seed)
    picks = rng.integers(n, size=(resamples, n))
    draws = _defined(statistic, [np.concatenate([rows[i] for i in pick]) for pick in picks])
    if len(draws) < (1 - MAX_UNDEFINED) * resamples:
        raise NotEstimable(
            f"The statistic is undefined in {resamples - len(draws)} of {resamples} samples of patients; "
            "the groups are too small for an interval."
        )
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    method = BCA if n >= MIN_PATIENTS_BCA else PERCENTILE
    if method == BCA:
        left_out = [np.concatenate(rows[:i] + rows[i + 1 :]) for i in range(n)]
        jackknife = _defined(statistic, left_out)
        tails = bca_tails(tails, estimate, draws, jackknife.mean() - jackknife)
    low, high = np.quantile(draws, tails)
    return Interval(estimate, float(low), float(high), level, method, len(patients), n)


def _rows_by_patient(patients: Sequence[Hashable]) -> list[NDArray[np.intp]]:
    rows: dict[Hashable, list[int]] = {}
    for row, patient in enumerate(patients):
        rows.setdefault(patient, []).append(row)
    return [np.array(found, dtype=np.intp) for found in rows.values()]


def _defined(statistic: Statistic, samples: list[NDArray[np.intp]]) -> NDArray[np.float64]:
    """The statistic of each sample that has one."""
    found = []
    for sample in samples:
        try:
            found.append(float(statistic(sample)))
        except NotEstimable:
            continue
    draws = np.array(found, dtype=np.float64)
    return draws[np.isfinite(draws)]
