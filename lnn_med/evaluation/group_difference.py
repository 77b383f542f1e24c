"""Difference of the means of a group of scans and the rest, with an interval over patients.

Patients are drawn within strata (scans in the group only, in the rest only, in both), so that no bootstrap
sample loses a group; the acceleration of BCa adds the strata's jackknife values as Efron & Tibshirani (1993)
do for several samples.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lnn_med.evaluation.intervals import LEVEL, NotEstimable, check_level, finite
from lnn_med.evaluation.statistics import (
    BCA,
    BLOCK,
    MIN_PATIENTS_BCA,
    NO_INTERVAL,
    PERCENTILE,
    RESAMPLES,
    Interval,
    bca_tails,
)

Table = NDArray[np.float64]  # (patients, 4): sum and number in the group, sum and number in the rest


def group_difference(
    values: ArrayLike,
    in_group: ArrayLike,
    patients: Sequence[Hashable],
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean of the group minus mean of the rest; BCa when both have 20 patients or more, else percentile.

    Args:
        values: (n,) finite numbers.
        in_group: (n,) boolean.
        patients: patient of each value; one may have values on both sides.
        level: coverage.
        resamples, seed: of the bootstrap.

    Raises:
        NotEstimable: the group or the rest is empty.
    """
    check_level(level)
    numbers, inside = finite(values, "values"), np.asarray(in_group, dtype=bool).ravel()
    if not len(numbers) == len(inside) == len(patients):
        raise ValueError(
            f"Lengths differ: {len(numbers)} values, {len(inside)} memberships, {len(patients)} patients."
        )
    if not inside.any() or inside.all():
        raise NotEstimable("A difference needs values in the group and in the rest.")
    table = _by_patient(numbers, inside, patients)
    strata = _strata(table)
    estimate = float(_difference(table.sum(axis=0)))
    smaller = int(min((table[:, 1] > 0).sum(), (table[:, 3] > 0).sum()))
    if smaller < 2:
        return Interval(estimate, None, None, level, NO_INTERVAL, len(numbers), len(table))
    draws = _draws(strata, resamples, np.random.default_rng(seed))
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    method = BCA if smaller >= MIN_PATIENTS_BCA else PERCENTILE
    if method == BCA:
        tails = bca_tails(tails, estimate, draws, _influence(strata, table.sum(axis=0)))
    low, high = np.quantile(draws, tails)
    return Interval(estimate, float(low), float(high), level, method, len(numbers), len(table))


def _by_patient(
    values: NDArray[np.float64], inside: NDArray[np.bool_], patients: Sequence[Hashable]
) -> Table:
    rank: dict[Hashable, int] = {}
    member = [rank.setdefault(patient, len(rank)) for patient in patients]
    weights = (values * inside, inside, values * ~inside, ~inside)
    columns = [np.bincount(member, weight, minlength=len(rank)) for weight in weights]
    return np.stack(columns, axis=1).astype(np.float64)


def _strata(table: Table) -> list[Table]:
    kind = (table[:, 1] > 0).astype(int) + 2 * (table[:, 3] > 0)
    return [table[kind == code] for code in (1, 2, 3) if (kind == code).any()]


def _difference(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3])


def _draws(strata: list[Table], resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    total = np.zeros((resamples, 4))
    for stratum in strata:
        n = len(stratum)
        block = max(1, BLOCK // n)
        for start in range(0, resamples, block):
            size = min(block, resamples - start)
            total[start : start + size] += rng.multinomial(n, np.full(n, 1 / n), size=size) @ stratum
    return _difference(total)


def _influence(strata: list[Table], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Jackknife influence of each patient, scaled by its stratum's (n - 1) / n; a lone patient has none."""
    parts = []
    for stratum in strata:
        n = len(stratum)
        if n > 1:
            without = _difference(total - stratum)
            parts.append((n - 1) / n * (without.mean() - without))
    return np.concatenate(parts)
