"""Sample sizes of a validation study, each with its formula and what it assumes.

n counts independent patients (for Bland-Altman: one pair each). The paired formula is the usual normal one; a
t-test needs about two patients more. Non-inferiority: Julious, Stat Med 2004; 23: 1921; AUC: Hanley & McNeil,
Radiology 1982; 143: 29; limits of agreement: Carkeet 2015; proportion: Wilson's interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from lnn_med.errors import ConfigError
from lnn_med.evaluation.agreement import limit_factors
from lnn_med.evaluation.intervals import normal_quantile

POWER = 0.9
ALPHA = 0.025  # one-sided
LEVEL = 0.95
LARGEST = 10_000_000  # a study beyond it is a wrong option


@dataclass(frozen=True)
class SampleSize:
    """Patients needed; `assumptions` are the numbers that went in, `formula` how."""

    purpose: str
    n: int
    formula: str
    assumptions: dict[str, float]


def noninferiority_size(
    sd: float, margin: float, gain: float = 0.0, power: float = POWER, alpha: float = ALPHA
) -> SampleSize:
    """Patients for a paired non-inferiority test.

    Args:
        sd: standard deviation of the paired difference.
        margin: largest acceptable loss, above 0.
        gain: true mean of new minus old that is expected; 0: both are alike.
        power: chance of showing it.
        alpha: one-sided error.

    Raises:
        ConfigError: a value out of range, or an expected loss as large as the margin.
    """
    _positive(sd=sd, margin=margin)
    _share(power=power, alpha=alpha)
    if not (np.isfinite(gain) and gain > -margin):
        raise ConfigError(f"gain is {gain:g}; with a margin of {margin:g} it must lie above {-margin:g}.")
    if power <= alpha:
        raise ConfigError(f"power is {power:g}; it must lie above alpha, {alpha:g}.")
    z = float(ndtri(1 - alpha) + ndtri(power))
    n = _whole((z * sd / (margin + gain)) ** 2, least=2)
    return SampleSize(
        "paired non-inferiority",
        n,
        "((z_alpha + z_power) SD / (margin + gain))²",
        {"sd": sd, "margin": margin, "gain": gain, "power": power, "alpha": alpha},
    )


def auc_size(auc: float, half_width: float, prevalence: float = 0.5, level: float = LEVEL) -> SampleSize:
    """Patients, of both classes together, for an AUC known to ± half_width (error of Hanley and McNeil)."""
    _share(auc=auc, half_width=half_width, prevalence=prevalence, level=level)
    z = normal_quantile(level)

    def reached(n: int) -> bool:
        positives, negatives = n * prevalence, n * (1 - prevalence)
        return (
            min(positives, negatives) >= 1 and z * hanley_mcneil_se(auc, positives, negatives) <= half_width
        )

    return SampleSize(
        "AUC, width of interval",
        _smallest(reached, 2),
        "z SE(AUC; Hanley-McNeil) <= half-width",
        {"auc": auc, "half_width": half_width, "prevalence": prevalence, "level": level},
    )


def hanley_mcneil_se(auc: float, positives: float, negatives: float) -> float:
    """Standard error of an AUC under exponential scores (Hanley & McNeil 1982)."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    square = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return float(np.sqrt(square / (positives * negatives)))


def agreement_size(half_width_sd: float, level: float = LEVEL) -> SampleSize:
    """Pairs for limits of agreement known to ± half_width_sd, in SD of the differences.

    Bland's rule of thumb 1.96 sqrt(3 / n) gives nearly the same: 0.34 SD at n = 100.
    """
    _positive(half_width_sd=half_width_sd)
    _share(level=level)

    def reached(n: int) -> bool:
        near, far = limit_factors(n, level)
        return (far - near) / 2 <= half_width_sd

    return SampleSize(
        "Bland-Altman limits, width of interval",
        _smallest(reached, 3),
        "half the width of Carkeet's exact interval <= half-width",
        {"half_width_sd": half_width_sd, "level": level},
    )


def proportion_size(proportion: float, half_width: float, level: float = LEVEL) -> SampleSize:
    """Cases for a proportion (sensitivity, coverage, ...) whose Wilson interval is ± half_width.

    For a sensitivity they are cases with the condition, for a specificity those without.
    """
    _share(half_width=half_width, level=level)
    if not 0 <= proportion <= 1:
        raise ConfigError(f"proportion is {proportion:g}; it must lie between 0 and 1.")
    z = normal_quantile(level)

    def reached(n: int) -> bool:
        half = z * np.sqrt(proportion * (1 - proportion) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
        return bool(half <= half_width)

    return SampleSize(
        "proportion, width of interval",
        _smallest(reached, 1),
        "half the width of Wilson's interval <= half-width",
        {"proportion": proportion, "half_width": half_width, "level": level},
    )


def with_dropout(size: SampleSize, dropout: float) -> SampleSize:
    """The patients to enrol when a share `dropout` cannot be analysed: n / (1 - dropout)."""
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout is {dropout:g}; it must lie from 0 to below 1.")
    if dropout == 0:
        return size
    return SampleSize(
        size.purpose,
        _whole(size.n / (1 - dropout), least=1),
        f"{size.formula}, / (1 - dropout)",
        size.assumptions | {"dropout": dropout},
    )


def _smallest(reached: Callable[[int], bool], start: int) -> int:
    """The first n from `start` on that is enough: doubling, then halving the step between."""
    high = start
    while not reached(high):
        high *= 2
        if high > LARGEST:
            raise ConfigError(f"More than {LARGEST:,} patients would be needed; allow a wider interval.")
    low = max(high // 2, start - 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _whole(n: float, least: int) -> int:
    """Rounded up; 1e-9 keeps a whole number that floating point has pushed above itself."""
    if n > LARGEST:
        raise ConfigError(f"More than {LARGEST:,} patients would be needed; allow a wider margin.")
    return max(least, int(np.ceil(n - 1e-9)))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise ConfigError(f"{name} is {value:g}; it must lie above 0.")


def _share(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < 1:
            raise ConfigError(f"{name} is {value:g}; it must lie between 0 and 1, such as 0.05.")
