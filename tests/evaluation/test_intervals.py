"""Proportions and medians: published tables, exact coverage by enumeration, statsmodels, and broken input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from lnn_med.evaluation.intervals import (
    NO_INTERVAL,
    NotEstimable,
    clopper_pearson,
    median_interval,
    wilson,
)

NEWCOMBE_1998 = [  # Stat Med 17: 857, table I: successes, n, Wilson (method 3), exact (method 5)
    (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
    (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
    (0, 20, (0.0000, 0.1611), (0.0000, 0.1684)),
    (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
]


@pytest.mark.parametrize(("successes", "n", "score", "exact"), NEWCOMBE_1998)
def test_proportions_have_newcombes_published_intervals(successes, n, score, exact) -> None:
    for found, published in ((wilson(successes, n), score), (clopper_pearson(successes, n), exact)):
        assert found.estimate == pytest.approx(successes / n)
        assert (found.low, found.high) == pytest.approx(published, abs=5e-5)
        assert found.n == n


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (1, 2), (5, 5), (3, 7), (40, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_statsmodels_gives_the_same_proportion_intervals(successes, n, level) -> None:
    for found, name in (
        (wilson(successes, n, level), "wilson"),
        (clopper_pearson(successes, n, level), "beta"),
    ):
        assert (found.low, found.high) == pytest.approx(proportion_confint(successes, n, 1 - level, name))


def test_exact_coverage_of_proportions_over_all_outcomes() -> None:
    """Every outcome weighted by its probability: no simulation error. Wilson is right on average."""
    n, shares = 60, np.linspace(0.02, 0.98, 97)
    outcomes = np.arange(n + 1)
    weights = binom.pmf(outcomes[None, :], n, shares[:, None])
    for method, check in ((wilson, "mean"), (clopper_pearson, "least")):
        bounds = np.array([(found.low, found.high) for found in (method(k, n) for k in outcomes)])
        covers = (bounds[None, :, 0] <= shares[:, None]) & (shares[:, None] <= bounds[None, :, 1])
        coverage = (covers * weights).sum(axis=1)
        if check == "mean":
            assert 0.94 <= coverage.mean() <= 0.96
        else:
            assert coverage.min() >= 0.95


PUBLISHED_RANKS = [  # 95 % intervals of the median (Altman et al., Statistics with Confidence, table 18.4)
    (6, 1, 6),
    (10, 2, 9),
    (20, 6, 15),
    (30, 10, 21),
    (50, 18, 33),
    (100, 40, 61),
]


@pytest.mark.parametrize(("n", "low", "high"), PUBLISHED_RANKS)
def test_median_interval_has_the_published_ranks(n, low, high) -> None:
    found = median_interval(np.random.default_rng(n).permutation(np.arange(1, n + 1)))
    assert (found.low, found.high) == (low, high)
    assert found.estimate == (n + 1) / 2
    inner = 1 - 2 * binom.cdf(low, n, 0.5)  # one rank further in
    assert inner < 0.95 <= found.attained


def test_median_interval_covers_the_median_of_a_skewed_law_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    runs = [median_interval(sample) for sample in rng.exponential(size=(4_000, 51))]
    coverage = np.mean([found.low <= np.log(2) <= found.high for found in runs])
    assert coverage == pytest.approx(runs[0].attained, abs=0.01)
    assert 0.93 <= coverage <= 0.97


def test_few_values_give_a_median_without_interval_and_say_so() -> None:
    for n in (1, 2, 5):
        found = median_interval(np.arange(n))
        assert (found.low, found.high, found.method, found.attained) == (None, None, NO_INTERVAL, None)
        assert f"{n} values are too few" in found.note
    assert median_interval([4.0] * 6).low == 4.0


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(NotEstimable, match="got none"):
        median_interval([])
    with pytest.raises(ValueError, match="1 of 3 values are not finite"):
        median_interval([1.0, np.nan, 2.0])
    with pytest.raises(NotEstimable, match="at least one case"):
        wilson(0, 0)
    for successes, n in ((3, 2), (-1, 2), (1.5, 2), (0, -1)):
        with pytest.raises(ValueError, match="no count"):
            clopper_pearson(successes, n)
    with pytest.raises(ValueError, match=r"Level is 95; .* such as 0\.95"):
        wilson(1, 2, level=95)
