"""Selective risk: how the mean error falls when the least certain cases are left to a person.

Geifman & El-Yaniv, NeurIPS 2017; AURC and its excess over the best order: Geifman et al., ICLR 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lnn_med.evaluation.intervals import NotEstimable, finite_pair


@dataclass(frozen=True)
class SelectiveRisk:
    """Mean loss (`risk`) of the most certain share of cases (`coverage`), at each distinct uncertainty.

    `aurc`: mean risk over all n shares; `aurc_best`: the same when cases are kept in order of their true
    loss; `aurc_random`: when uncertainty says nothing, which is the risk of all cases.
    """

    n: int
    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    aurc: float
    aurc_best: float
    aurc_random: float


def selective_risk(uncertainty: ArrayLike, loss: ArrayLike) -> SelectiveRisk:
    """Risk-coverage curve; cases of equal uncertainty are taken in random order, on average.

    Args:
        uncertainty: (n,) higher is less certain.
        loss: (n,) error of each case, such as 1 - Dice or wrong = 1.

    Raises:
        NotEstimable: no cases.
    """
    order, losses = finite_pair(uncertainty, loss, ("uncertainties", "losses"))
    if len(losses) == 0:
        raise NotEstimable("Selective risk needs cases, got none.")
    n = len(losses)
    distinct, member, counts = np.unique(order, return_inverse=True, return_counts=True)
    means = np.bincount(member, losses) / counts
    running = np.cumsum(np.repeat(means, counts)) / np.arange(1, n + 1)  # a tie gives each case its mean
    ends = np.cumsum(counts)
    return SelectiveRisk(
        n=n,
        coverage=tuple((ends / n).tolist()),
        risk=tuple(running[ends - 1].tolist()),
        aurc=float(running.mean()),
        aurc_best=_area(np.sort(losses)),
        aurc_random=float(losses.mean()),
    )


def _area(ordered: NDArray[np.float64]) -> float:
    return float((np.cumsum(ordered) / np.arange(1, len(ordered) + 1)).mean())
