"""Intervals against scipy, against hand-made answers, and by simulated coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lnn_med.evaluation.statistics import BCA, NO_INTERVAL, PERCENTILE, mean_interval, paired_difference


def test_scipy_gives_the_same_bca_interval_when_each_patient_has_one_value() -> None:
    values = np.random.default_rng(4).exponential(size=60)  # skewed, so that BCa differs from percentile
    found = mean_interval(values, resamples=40_000)
    oracle = stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method="BCa", rng=np.random.default_rng(5)
    ).confidence_interval
    width = oracle.high - oracle.low
    assert found.method == BCA
    assert found.low == pytest.approx(oracle.low, abs=0.02 * width)
    assert found.high == pytest.approx(oracle.high, abs=0.02 * width)
    plain = stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    assert abs(found.high - plain.high) > 0.03 * width


def test_scipy_gives_the_same_percentile_interval_below_twenty_patients() -> None:
    values = np.random.default_rng(2).exponential(size=19)
    found = mean_interval(values, resamples=40_000)
    oracle = stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    assert found.method == PERCENTILE
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=0.02)
    assert mean_interval(np.append(values, 1.0)).method == BCA


def test_equal_copies_of_a_patient_add_no_certainty() -> None:
    values = np.random.default_rng(0).normal(size=30)
    once = mean_interval(values, list(range(30)), seed=1)
    thrice = mean_interval(np.repeat(values, 3), np.repeat(np.arange(30), 3).tolist(), seed=1)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    assert (thrice.n_values, thrice.n_patients) == (90, 30)


def test_estimate_is_the_mean_over_values_when_patients_have_unequal_numbers() -> None:
    found = mean_interval([1.0, 1.0, 1.0, 5.0], ["a", "a", "a", "b"])
    assert found.estimate == pytest.approx(2.0)
    assert found.low == pytest.approx(1.0)  # both draws patient a
    assert found.high == pytest.approx(5.0)  # both draws patient b


def test_covers_the_true_mean_where_the_naive_bootstrap_does_not() -> None:
    """Two structures a patient, correlation 0.8: 2,000 simulated studies of 50 patients."""
    runs, naive_runs, n_patients = 2_000, 600, 50
    patients = np.repeat(np.arange(n_patients), 2).tolist()
    clustered = naive = 0
    for run in range(runs):
        rng = np.random.default_rng(run)
        common = rng.normal(size=(n_patients, 1))
        values = (common + 0.5 * rng.normal(size=(n_patients, 2))).ravel()
        right = mean_interval(values, patients, resamples=400, seed=run)
        clustered += right.low <= 0 <= right.high
        if run < naive_runs:
            wrong = mean_interval(values, resamples=400, seed=run)
            naive += wrong.low <= 0 <= wrong.high
    assert 0.93 <= clustered / runs <= 0.97
    assert naive / naive_runs < 0.90


def test_same_seed_same_interval_other_seed_nearly_the_same() -> None:
    values = np.random.default_rng(7).normal(size=40)
    first = mean_interval(values, seed=1)
    assert mean_interval(values, seed=1) == first
    other = mean_interval(values, seed=2)
    assert other != first
    assert other.low == pytest.approx(first.low, abs=0.05 * (first.high - first.low))


def test_paired_difference_is_narrower_than_what_the_two_means_suggest() -> None:
    rng = np.random.default_rng(0)
    easy = rng.normal(0.9, 0.05, size=50)  # how easy a case is decides most of its Dice
    first, second = easy + rng.normal(0.01, 0.005, 50), easy
    found = paired_difference(first, second)
    assert found.estimate == pytest.approx((first - second).mean())
    assert found.low > 0
    alone = mean_interval(first)
    assert found.high - found.low < 0.3 * (alone.high - alone.low)


def test_no_interval_is_claimed_without_a_second_patient() -> None:
    single = mean_interval([0.8, 0.9], ["a", "a"])
    assert (single.estimate, single.low, single.high, single.method) == (
        pytest.approx(0.85),
        None,
        None,
        NO_INTERVAL,
    )
    nothing = mean_interval([])
    assert (nothing.estimate, nothing.n_values, nothing.method) == (None, 0, NO_INTERVAL)


def test_equal_values_give_a_point() -> None:
    found = mean_interval([0.5] * 25)
    assert (found.low, found.estimate, found.high) == (0.5, 0.5, 0.5)


def test_values_that_cannot_be_averaged_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        mean_interval([1.0, float("nan")])
    with pytest.raises(ValueError, match="as many patients"):
        mean_interval([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="shapes"):
        paired_difference([1.0], [1.0, 2.0])
