"""Calibration, conformal coverage and selective risk: published values, scikit-learn, laws and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import beta
from sklearn.metrics import brier_score_loss, log_loss

from lnn_med.evaluation.calibration import (
    brier_decomposition,
    calibration_errors,
    ece_null,
    reliability_diagram,
)
from lnn_med.evaluation.calibration_counts import calibration_counts
from lnn_med.evaluation.coverage import coverage_check, coverage_spread
from lnn_med.evaluation.intervals import NotEstimable
from lnn_med.evaluation.recalibration import recalibration
from lnn_med.evaluation.selective import selective_risk

RUNS = 2_000


def draw(rng: np.random.Generator, n: int, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and outcomes that follow them (sharpness 1) or are less certain (above 1)."""
    p = rng.random(n)
    return p, (rng.random(n) < expit(logit(p) / sharpness)).astype(int)


def naive_ece(p: np.ndarray, y: np.ndarray, bins: int) -> tuple[float, float]:
    gaps, total = [], 0.0
    for index in range(bins):
        inside = (p >= index / bins) & ((p < (index + 1) / bins) | (index == bins - 1))
        if inside.any():
            gaps.append(abs(p[inside].mean() - y[inside].mean()))
            total += inside.mean() * gaps[-1]
    return total, max(gaps)


@pytest.mark.parametrize("n", [1, 2, 5, 300, 20_000])
@pytest.mark.parametrize("bins", [10, 15])
def test_errors_equal_slow_bins_and_scikit_learn(n, bins) -> None:
    p, y = draw(np.random.default_rng(n), n, 1.5)
    found = calibration_errors(calibration_counts(p, y), bins)
    ece, mce = naive_ece(p, y, bins)
    assert (found.ece, found.mce) == pytest.approx((ece, mce))
    assert found.brier == pytest.approx(
        brier_score_loss(y, p, pos_label=1) if n > 1 else ((p - y) ** 2).mean()
    )
    assert found.nll == pytest.approx(log_loss(y, p, labels=[0, 1]))
    assert (found.n, found.accuracy, found.confidence) == (n, y.mean(), pytest.approx(p.mean()))


def test_adaptive_error_equals_bins_of_equal_number_of_the_sorted_probabilities() -> None:
    p, y = draw(np.random.default_rng(2), 30_000, 2.0)
    order = np.argsort(p)
    parts = zip(np.array_split(p[order], 15), np.array_split(y[order], 15), strict=True)
    expected = np.mean([abs(a.mean() - b.mean()) for a, b in parts])
    assert calibration_errors(calibration_counts(p, y)).ace == pytest.approx(expected, abs=1e-3)


def test_ties_stay_together_in_adaptive_bins() -> None:
    p = np.repeat([0.2, 1.0], [10, 990])  # nearly all voxels are sure
    y = np.concatenate([np.repeat([1, 0], [5, 5]), np.repeat([1, 0], [891, 99])])
    found = calibration_errors(calibration_counts(p, y))
    assert found.ace == pytest.approx((10 * 0.3 + 990 * 0.1) / 1000)
    assert found.ece == pytest.approx((10 * 0.3 + 990 * 0.1) / 1000)


def test_counts_of_parts_add_up_to_the_counts_of_the_whole() -> None:
    rng = np.random.default_rng(3)
    p, y = draw(rng, 5_000)
    whole = calibration_counts(p.reshape(50, 100), y.reshape(50, 100).astype(bool))
    parts = calibration_counts(p[:1234], y[:1234]) + calibration_counts(p[1234:], y[1234:])
    for function in (calibration_errors, brier_decomposition):
        one, two = function(whole), function(parts)
        assert vars(one) == pytest.approx(vars(two))


def test_millions_of_voxels_are_counted_in_pieces_with_the_same_result() -> None:
    rng = np.random.default_rng(4)
    p = rng.random(1_200_000, dtype=np.float32)
    y = rng.random(p.size) < p
    found = calibration_errors(calibration_counts(p, y))
    assert found.n == p.size
    assert found.brier == pytest.approx(np.mean((p.astype(float) - y) ** 2))
    assert found.ece < 0.003


def test_null_value_is_the_published_one_for_fifty_and_a_thousand_cases() -> None:
    """A perfect model with uniform probabilities in 15 bins scores 0.168 at n = 50 and 0.039 at n = 1,000."""
    for n, published in ((50, 0.168), (1_000, 0.039)):
        draws = [np.random.default_rng(seed).random(n) for seed in range(8)]
        means = [ece_null(calibration_counts(p, np.zeros(n)), runs=500).mean for p in draws]
        assert np.mean(means) == pytest.approx(published, abs=0.004 if n == 50 else 6e-4)


def test_null_value_equals_the_errors_of_simulated_perfect_models() -> None:
    rng = np.random.default_rng(5)
    p = rng.beta(5, 1, 200)
    found = ece_null(calibration_counts(p, np.zeros(200)))
    slow = [naive_ece(p, (rng.random(200) < p).astype(int), 15)[0] for _ in range(RUNS)]
    assert found.mean == pytest.approx(np.mean(slow), rel=0.02)
    assert found.upper == pytest.approx(np.quantile(slow, 0.95), rel=0.05)
    assert 0.93 <= np.mean(np.array(slow) <= found.upper) <= 0.97
    assert ece_null(calibration_counts(p, np.ones(200))) == found  # outcomes do not matter, the seed does


def test_brier_parts_sum_to_the_score_and_are_murphys_for_few_distinct_probabilities() -> None:
    rng = np.random.default_rng(6)
    p = rng.choice([0.1, 0.3, 0.7, 0.9], 400)
    y = (rng.random(400) < p**1.5).astype(int)
    found = brier_decomposition(calibration_counts(p, y))
    reliability = sum((p == value).mean() * (value - y[p == value].mean()) ** 2 for value in np.unique(p))
    resolution = sum((p == v).mean() * (y[p == v].mean() - y.mean()) ** 2 for v in np.unique(p))
    assert found.reliability == pytest.approx(reliability)
    assert found.resolution == pytest.approx(resolution)
    assert found.uncertainty == pytest.approx(y.mean() * (1 - y.mean()))
    assert found.within_bin == pytest.approx(0, abs=1e-12)
    p, y = draw(rng, 400)
    spread = brier_decomposition(calibration_counts(p, y), bins=5)
    total = spread.reliability - spread.resolution + spread.uncertainty + spread.within_bin
    assert total == pytest.approx(brier_score_loss(y, p))
    assert abs(spread.within_bin) > 1e-4


def test_rain_forecasts_of_wilks_have_his_climate_and_are_nearly_reliable() -> None:
    """12 forecast probabilities, their use and observed frequency (Wilks, Statistical Methods, table 7.3)."""
    forecasts = np.array([0, 0.05, *np.arange(1, 11) / 10])
    observed = [0.006, 0.019, 0.059, 0.15, 0.277, 0.377, 0.511, 0.587, 0.723, 0.779, 0.934, 0.933]
    share = [0.4112, 0.0671, 0.1833, 0.0986, 0.0616, 0.0366, 0.0303, 0.0275, 0.0245, 0.022, 0.017, 0.0203]
    total = np.round(np.array(share) * 100_000).astype(int)
    wet = np.round(total * observed).astype(int)
    outcomes = np.concatenate([np.repeat([1, 0], [a, n - a]) for a, n in zip(wet, total, strict=True)])
    found = brier_decomposition(calibration_counts(np.repeat(forecasts, total), outcomes), bins=20)
    assert outcomes.mean() == pytest.approx(0.162, abs=1e-3)  # the climate that Wilks prints
    assert found.reliability < 0.01 * found.uncertainty
    assert found.brier == pytest.approx(found.reliability - found.resolution + found.uncertainty, abs=2e-4)


def test_consistency_bars_hold_a_calibrated_model_and_show_an_overconfident_one() -> None:
    rng = np.random.default_rng(7)
    inside, total = 0, 0
    for _ in range(200):
        p, y = draw(rng, 600)
        for row in reliability_diagram(calibration_counts(p, y)):
            assert row.low <= row.confidence <= row.high
            inside += row.consistency_low <= row.observed <= row.consistency_high
            total += 1
    assert total >= 2_000
    assert 0.94 <= inside / total <= 0.985  # exact binomial bars are discrete: a little too wide
    p, y = draw(rng, 3_000, sharpness=3.0)
    rows = reliability_diagram(calibration_counts(p, y))
    assert rows[0].observed > rows[0].consistency_high
    assert rows[-1].observed < rows[-1].consistency_low
    assert sum(row.n for row in rows) == 3_000


def test_a_shift_of_the_log_odds_is_the_intercept_and_a_factor_its_inverse_slope() -> None:
    rng = np.random.default_rng(8)
    p, y = draw(rng, 800)
    base = recalibration(p, y)
    shifted = recalibration(expit(logit(p) - 0.7), y)
    assert shifted.intercept.estimate == pytest.approx(base.intercept.estimate + 0.7, abs=1e-6)
    assert shifted.slope.estimate == pytest.approx(base.slope.estimate, abs=1e-6)
    sharper = recalibration(expit(2 * logit(p)), y)
    assert sharper.slope.estimate == pytest.approx(base.slope.estimate / 2, abs=1e-6)


def test_intercept_and_slope_equal_a_direct_maximum_of_the_likelihood() -> None:
    rng = np.random.default_rng(9)
    p, y = draw(rng, 300, 1.5)
    risk = logit(p)

    def loss(intercept: float, slope: float) -> float:
        linear = intercept + slope * risk
        return float((np.logaddexp(0, linear) - y * linear).sum())

    found = recalibration(p, y)
    both = minimize(lambda x: loss(x[0], x[1]), [0.0, 1.0], tol=1e-10).x
    alone = minimize(lambda x: loss(x[0], 1.0), [0.0], tol=1e-10).x
    assert found.slope.estimate == pytest.approx(both[1], abs=1e-4)
    assert found.intercept.estimate == pytest.approx(alone[0], abs=1e-4)
    fitted = expit(alone[0] + risk)
    half = 1.959964 / np.sqrt((fitted * (1 - fitted)).sum())  # Fisher information of the intercept
    assert found.intercept.high - found.intercept.estimate == pytest.approx(half, rel=1e-4)


@pytest.mark.slow
def test_intervals_of_intercept_and_slope_cover_the_truth() -> None:
    rng = np.random.default_rng(10)
    runs = [recalibration(expit(1.25 * logit(p) - 0.4), y) for p, y in (draw(rng, 200) for _ in range(RUNS))]
    slope = [run.slope.low <= 0.8 <= run.slope.high for run in runs]
    assert 0.93 <= np.mean(slope) <= 0.97
    runs = [recalibration(expit(logit(p) - 0.4), y) for p, y in (draw(rng, 200) for _ in range(RUNS))]
    offset = [run.intercept.low <= 0.4 <= run.intercept.high for run in runs]
    assert 0.93 <= np.mean(offset) <= 0.97


def test_recalibration_where_no_number_exists() -> None:
    separated = recalibration([0.2, 0.3, 0.7, 0.8], [0, 0, 1, 1])
    assert separated.slope.estimate is None
    assert "infinite" in separated.slope.note
    assert separated.intercept.estimate == pytest.approx(0, abs=1e-6)
    flat = recalibration([0.4] * 10, [1] * 4 + [0] * 6)
    assert "all probabilities are equal" in flat.slope.note
    assert flat.intercept.estimate == pytest.approx(0, abs=1e-6)
    edged = recalibration([0.0, 1.0, 0.3, 0.6, 0.5, 1.0], [0, 1, 1, 0, 1, 0])
    assert edged.n_clipped == 3
    assert np.isfinite([edged.slope.estimate, edged.slope.low, edged.slope.high]).all()
    with pytest.raises(NotEstimable, match="both classes"):
        recalibration([0.2, 0.3], [1, 1])
    with pytest.raises(ValueError, match="between 0 and 1"):
        recalibration([1.2, 0.3], [1, 0])


def test_what_is_no_probability_is_refused() -> None:
    for bad in ([1.5], [-0.1], [np.nan]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            calibration_counts(bad, [1])
    with pytest.raises(ValueError, match="Outcomes must be 0 or 1"):
        calibration_counts([0.5], [0.5])
    with pytest.raises(ValueError, match="equal shapes"):
        calibration_counts([0.5, 0.5], [1])
    with pytest.raises(ValueError, match="do not divide"):
        calibration_errors(calibration_counts([0.5], [1]), bins=7)
    for function in (calibration_errors, brier_decomposition, ece_null, reliability_diagram):
        with pytest.raises(NotEstimable, match="got none"):
            function(calibration_counts([], []))
    sure = calibration_errors(calibration_counts([1.0, 0.0], [0, 1]))  # wrong and sure: large, not infinite
    assert sure.nll == pytest.approx(24 * np.log(2))
    assert (sure.ece, sure.brier) == (1.0, 1.0)


ANGELOPOULOS_BATES = [(0.1, 22), (0.05, 102), (0.01, 2491)]  # arXiv 2107.07511, table 1: slack, n; delta 0.1


@pytest.mark.parametrize(("slack", "n"), ANGELOPOULOS_BATES)
def test_calibration_sets_of_the_published_sizes_hold_the_published_slack(slack, n) -> None:
    outside = int(np.floor((n + 1) * 0.1))
    law = beta(n + 1 - outside, outside)
    assert law.cdf(0.9 + slack) - law.cdf(0.9 - slack) >= 0.9 - 2e-3
    found = coverage_spread(n, 0.9, level=0.9)
    assert found.mean == pytest.approx(law.mean())
    assert (found.low, found.high) == pytest.approx((law.ppf(0.05), law.ppf(0.95)))
    assert found.high - found.low == pytest.approx(2 * slack, rel=0.12)


def test_nineteen_cases_are_needed_for_ninety_five_percent() -> None:
    assert not coverage_spread(18, 0.95).finite
    assert coverage_spread(19, 0.95).finite
    assert not coverage_spread(8, 0.9).finite
    assert coverage_spread(9, 0.9).finite


def test_bands_hold_split_conformal_coverage_by_simulation() -> None:
    """30 calibration, 40 test cases: the plain binomial band is too narrow, that with the spread is right."""
    rng = np.random.default_rng(11)
    n, cases = 30, 40
    scores = np.sort(rng.random((RUNS, n)), axis=1)
    quantile = scores[:, int(np.ceil((n + 1) * 0.9)) - 1]
    hits = rng.binomial(cases, quantile)
    shares = [coverage_check(np.arange(cases) < k, 0.9, n) for k in range(cases + 1)]
    inside = np.mean([shares[k].inside for k in hits])
    plain = np.mean([shares[k].band_low <= k / cases <= shares[k].band_high for k in hits])
    assert 0.94 <= inside <= 0.99
    assert plain < 0.93
    exact = np.mean(
        [shares[k].observed.low <= 0.9 <= shares[k].observed.high for k in rng.binomial(cases, 0.9, RUNS)]
    )
    assert exact >= 0.94


def test_coverage_without_a_calibration_size_is_held_against_the_binomial_band() -> None:
    found = coverage_check([1] * 90 + [0] * 10, 0.9)
    assert (found.observed.estimate, found.spread_low, found.inside) == (0.9, None, True)
    assert (found.band_low, found.band_high) == (0.84, 0.95)  # exact quantiles of Binomial(100, 0.9)
    assert not coverage_check([1] * 75 + [0] * 25, 0.9).inside
    assert not coverage_check([1] * 100, 0.9).inside  # too wide an interval is no success
    assert coverage_check([1] * 10, 0.95, n_calibration=5).inside  # infinite intervals cover all
    with pytest.raises(NotEstimable):
        coverage_check([], 0.9)
    with pytest.raises(ValueError, match="0 or 1"):
        coverage_check([0.5], 0.9)
    with pytest.raises(ValueError, match="at least one"):
        coverage_spread(0, 0.9)


def test_best_area_of_wrong_and_right_is_geifmans_formula() -> None:
    """The best order has AURC r + (1 - r) ln(1 - r) for a share r of wrong cases (Geifman et al. 2019)."""
    wrong = np.repeat([1.0, 0.0], [300, 700])
    found = selective_risk(wrong, wrong)
    assert found.aurc == pytest.approx(0.3 + 0.7 * np.log(0.7), abs=1e-3)
    assert found.aurc == pytest.approx(found.aurc_best, abs=1e-12)
    assert found.aurc_random == pytest.approx(0.3)


def test_curve_equals_a_slow_loop_and_ends_at_the_risk_of_all() -> None:
    rng = np.random.default_rng(12)
    loss = rng.random(30)
    doubt = loss + rng.normal(0, 0.3, 30)
    found = selective_risk(doubt, loss)
    order = np.argsort(doubt)
    slow = [loss[order[: k + 1]].mean() for k in range(30)]
    assert found.risk == pytest.approx(slow)
    assert found.aurc == pytest.approx(np.mean(slow))
    assert (found.coverage[-1], found.risk[-1]) == (1.0, pytest.approx(loss.mean()))
    assert found.aurc_best < found.aurc < found.aurc_random


def test_ties_are_the_mean_over_their_orders() -> None:
    doubt, loss = np.array([0, 1, 1, 1]), np.array([0.0, 1.0, 0.0, 0.5])
    found = selective_risk(doubt, loss)
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(4_000):
        ranked = np.concatenate([loss[:1], rng.permutation(loss[1:])])
        areas.append((np.cumsum(ranked) / np.arange(1, 5)).mean())
    assert found.aurc == pytest.approx(np.mean(areas), abs=0.01)
    assert found.coverage == (0.25, 1.0)
    flat = selective_risk([1, 1, 1], [0.0, 0.3, 0.6])
    assert flat.aurc == pytest.approx(flat.aurc_random)
    with pytest.raises(NotEstimable):
        selective_risk([], [])
    with pytest.raises(ValueError, match="not finite"):
        selective_risk([np.nan], [1.0])
