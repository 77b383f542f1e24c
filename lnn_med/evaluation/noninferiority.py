"""Paired comparison of two methods against a margin: superior, not inferior, worse, or not shown.

The two-sided 95 % interval of the difference decides, which is a one-sided test at 2.5 %: its lower end above
-margin shows non-inferiority, above 0 superiority (testing both costs no correction: they are nested).
Several endpoints are adjusted by Holm (Scand J Stat 1979; 6: 65).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from lnn_med.evaluation.intervals import LEVEL, NotEstimable, check_level, finite, finite_pair
from lnn_med.evaluation.statistics import Interval, mean_interval, p_value_above

ALPHA = 0.025  # one-sided


class Verdict(str, Enum):
    """What the interval of the gain (positive: the new method is better) shows."""

    SUPERIOR = "superior"
    NON_INFERIOR = "non-inferior"
    NOT_SHOWN = "not shown"
    INFERIOR = "inferior"


@dataclass(frozen=True)
class Comparison:
    """Gain of the new method over the other, in the unit of the endpoint; positive is better.

    `gain` is new - old where higher is better, else old - new. `verdict` rests on the interval of this
    endpoint alone; `p_noninferior` and `p_superior` are one-sided and go into `holm` when several endpoints
    count. `words` is the sentence to print.
    """

    gain: Interval
    margin: float
    higher_is_better: bool
    verdict: Verdict
    words: str
    p_noninferior: float
    p_superior: float


@dataclass(frozen=True)
class HolmResult:
    """Adjusted p-values in the order given, and which hypotheses are rejected at `alpha`."""

    alpha: float
    adjusted: tuple[float, ...]
    rejected: tuple[bool, ...]


def compare_paired(
    new: ArrayLike,
    old: ArrayLike,
    margin: float,
    patients: Sequence[Hashable] | None = None,
    higher_is_better: bool = True,
    level: float = LEVEL,
    seed: int = 0,
) -> Comparison:
    """Compare two methods measured on the same cases.

    Args:
        new, old: (n,) endpoint of each case.
        margin: the largest loss that is acceptable, above 0, fixed before; 0 asks for superiority only.
        patients: patient of each case; the bootstrap draws patients.
        higher_is_better: False for distances and errors.
        level: of the two-sided interval; 0.95 tests one-sided at 2.5 %.
        seed: of the bootstrap.

    Raises:
        NotEstimable: fewer than two patients.
        ValueError: a negative margin, or values that cannot be compared.
    """
    check_level(level)
    if not (np.isfinite(margin) and margin >= 0):
        raise ValueError(f"Margin is {margin:g}; give the acceptable loss as a number of 0 or more.")
    a, b = finite_pair(new, old, ("new values", "old values"))
    gains = a - b if higher_is_better else b - a
    gain = mean_interval(gains, patients, level, seed=seed)
    if gain.low is None or gain.high is None:
        raise NotEstimable(f"A comparison needs two patients or more, got {gain.n_patients}.")
    verdict, words = judge(gain.low, gain.high, margin, level)
    return Comparison(
        gain=gain,
        margin=margin,
        higher_is_better=higher_is_better,
        verdict=verdict,
        words=words,
        p_noninferior=p_value_above(gains, -margin, patients, seed=seed),
        p_superior=p_value_above(gains, 0.0, patients, seed=seed),
    )


def holm(p_values: ArrayLike, alpha: float = ALPHA) -> HolmResult:
    """Holm's step-down adjustment: the family-wise error stays at or below `alpha`.

    Raises:
        ValueError: values that are no p-values.
    """
    check_level(alpha)
    p = finite(p_values, "p-values")
    if len(p) and (p.min() < 0 or p.max() > 1):
        raise ValueError("P-values must lie between 0 and 1.")
    order = np.argsort(p, kind="stable")
    steps = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * steps), 1) if len(p) else p
    return HolmResult(alpha, tuple(adjusted.tolist()), tuple((adjusted <= alpha).tolist()))


def judge(low: float, high: float, margin: float, level: float = LEVEL) -> tuple[Verdict, str]:
    """What the interval `low` to `high` of a gain shows against a margin, and the sentence to print."""
    verdict = _verdict(low, high, margin)
    return verdict, _words(verdict, low, high, margin, level)


def _verdict(low: float, high: float, margin: float) -> Verdict:
    if low > 0:
        return Verdict.SUPERIOR
    if low > -margin:
        return Verdict.NON_INFERIOR
    return Verdict.INFERIOR if high < -margin else Verdict.NOT_SHOWN


def _words(verdict: Verdict, low: float, high: float, margin: float, level: float) -> str:
    interval = f"the {100 * level:g} % interval of the gain, {low:.4g} to {high:.4g},"
    if verdict is Verdict.SUPERIOR:
        return f"Superior: {interval} lies above 0."
    if verdict is Verdict.NON_INFERIOR:
        worse = " It also lies below 0: worse, by less than the margin." if high < 0 else ""
        return f"Non-inferior: {interval} lies above the margin {-margin:.4g}.{worse}"
    if verdict is Verdict.INFERIOR:
        return f"Inferior: {interval} lies below the margin {-margin:.4g}."
    goal = f"reaches the margin {-margin:.4g}" if margin else "includes 0"
    return f"Not shown: {interval} {goal}."
