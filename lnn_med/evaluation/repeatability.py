"""Repeatability from repeat scans: within-subject SD, wCV and repeatability coefficient.

Two scans of an unchanged subject differ by less than RC = 1.96 sqrt(2) wSD (2.77 wSD) in 95 of 100 pairs; a
wCV of 2 % is an RC of 5.5 %. After Bland & Altman 1986 and the QIBA definitions (Raunig et al., Stat Methods
Med Res 2015; 24: 27). All intervals are those of a variance (chi-squared).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtri

from lnn_med.evaluation.intervals import LEVEL, Estimate, NotEstimable, check_level, finite

CHI_SQUARED = "chi-squared"
RC_FACTOR = 1.96 * 2**0.5  # 95 % of the differences of two scans


@dataclass(frozen=True)
class Repeatability:
    """`within_sd` and `rc` in the unit of the values, `wcv_pct` and `rc_pct` in % of each subject's mean.

    `n` of the estimates counts subjects with repeat scans; `n_scans` their scans, `n_single` the subjects
    with one scan, which say nothing and are left out.
    """

    n_subjects: int
    n_scans: int
    n_single: int
    freedom: int
    within_sd: Estimate
    rc: Estimate
    wcv_pct: Estimate
    rc_pct: Estimate


def repeatability(values: ArrayLike, subjects: Sequence[Hashable], level: float = LEVEL) -> Repeatability:
    """Repeatability of repeat scans; subjects may have unequal numbers of them.

    wSD² pools the variance of scans around their subject's mean, wCV² its ratio to the mean's square.

    Args:
        values: (n,) numbers above 0, such as volumes.
        subjects: subject of each value; a subject is one patient and structure at one visit.
        level: coverage of the intervals.

    Raises:
        NotEstimable: no subject has two scans, or a mean is not above 0.
    """
    check_level(level)
    numbers = finite(values, "values")
    if len(subjects) != len(numbers):
        raise ValueError(f"{len(numbers)} values need as many subjects, got {len(subjects)}.")
    rank: dict[Hashable, int] = {}
    member = np.array([rank.setdefault(subject, len(rank)) for subject in subjects], dtype=np.intp)
    counts = np.bincount(member)
    repeated = counts >= 2
    if not repeated.any():
        raise NotEstimable(f"Repeatability needs subjects with two scans; all {len(rank)} have one.")
    means = np.bincount(member, numbers) / counts
    squares = np.bincount(member, (numbers - means[member]) ** 2)[repeated]
    if (means[repeated] <= 0).any():
        raise NotEstimable("The wCV needs subjects whose mean is above 0.")
    freedom = int((counts[repeated] - 1).sum())
    n = int(repeated.sum())
    within_sd = np.sqrt(squares.sum() / freedom)
    wcv = 100 * np.sqrt((squares / means[repeated] ** 2).sum() / freedom)
    return Repeatability(
        n_subjects=n,
        n_scans=int(counts[repeated].sum()),
        n_single=len(rank) - n,
        freedom=freedom,
        within_sd=_spread(within_sd, freedom, n, level),
        rc=_spread(RC_FACTOR * within_sd, freedom, n, level),
        wcv_pct=_spread(wcv, freedom, n, level),
        rc_pct=_spread(RC_FACTOR * wcv, freedom, n, level),
    )


def _spread(value: float, freedom: int, n: int, level: float) -> Estimate:
    """A standard deviation with the interval of its variance."""
    low, high = value * np.sqrt(freedom / chdtri(freedom, [(1 - level) / 2, (1 + level) / 2]))
    return Estimate(float(value), float(low), float(high), level, n, CHI_SQUARED)
