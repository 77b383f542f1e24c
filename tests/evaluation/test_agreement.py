"""Agreement, intraclass correlation and repeatability: the papers' own tables, oracles and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from lnn_med.evaluation.agreement import (
    EXACT_LIMITS,
    bland_altman,
    concordance,
    limit_factors,
    linearity,
    relative_difference,
)
from lnn_med.evaluation.intervals import NO_INTERVAL, NotEstimable
from lnn_med.evaluation.intraclass import KINDS, intraclass_correlation, intraclass_estimate
from lnn_med.evaluation.repeatability import repeatability

# Peak flow of 17 subjects, two readings by each meter (Bland & Altman, Lancet 1986, table)
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
WRIGHT_AGAIN = [490, 397, 512, 401, 470, 611, 415, 431, 638, 429, 420, 633, 275, 492, 165, 372, 421]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
MINI_AGAIN = [525, 415, 508, 444, 500, 625, 460, 390, 642, 432, 420, 605, 227, 467, 268, 370, 443]
# Six targets, four judges (Shrout & Fleiss 1979, table 2)
JUDGES = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
RUNS = 2_000


def covered(estimates, truth: float) -> float:
    return float(np.mean([found.low <= truth <= found.high for found in estimates]))


def test_bland_and_altmans_peak_flow_meters_have_their_published_agreement() -> None:
    found = bland_altman(WRIGHT, MINI)
    assert found.bias.estimate == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert (found.bias.low, found.bias.high) == pytest.approx((-22.0, 17.8), abs=0.06)
    limits = bland_altman(WRIGHT, MINI, agreement=2 * stats.norm.cdf(2) - 1)  # the paper takes 2 SD
    assert (limits.lower.estimate, limits.upper.estimate) == pytest.approx((-79.7, 75.5), abs=0.15)
    assert found.slope_p > 0.5


ONE_SIDED_TOLERANCE = [  # k for 95 % of a normal law, 95 % confidence (Natrella, NBS Handbook 91, table A-7)
    (3, 7.655),
    (10, 2.911),
    (20, 2.396),
    (30, 2.220),
    (50, 2.065),
]


@pytest.mark.parametrize(("n", "factor"), ONE_SIDED_TOLERANCE)
def test_exact_limits_are_the_published_tolerance_factors(n, factor) -> None:
    assert limit_factors(n, level=0.9, agreement=0.9)[1] == pytest.approx(factor, abs=1.1e-3)


def test_exact_limits_of_many_pairs_are_bland_and_altmans_approximation() -> None:
    near, far = limit_factors(5_000)
    variance = 1 / 5_000 + stats.norm.ppf(0.975) ** 2 / (2 * 4_999)
    assert (far - near) / 2 == pytest.approx(1.96 * np.sqrt(variance), rel=2e-3)


@pytest.mark.parametrize("n", [5, 40])
def test_intervals_of_bias_limits_and_slope_cover_the_truth(n) -> None:
    rng = np.random.default_rng(n)
    truth = rng.normal(3000, 400, size=(RUNS, n))
    first, second = truth + rng.normal(30, 60, (RUNS, n)), truth + rng.normal(0, 60, (RUNS, n))
    runs = [bland_altman(a, b) for a, b in zip(first, second, strict=True)]
    sigma = 60 * np.sqrt(2)
    assert 0.93 <= covered([run.bias for run in runs], 30) <= 0.97
    assert 0.93 <= covered([run.lower for run in runs], 30 - 1.959964 * sigma) <= 0.97
    assert 0.93 <= covered([run.upper for run in runs], 30 + 1.959964 * sigma) <= 0.97
    assert 0.93 <= covered([run.slope for run in runs], 0) <= 0.97
    assert 0.03 <= np.mean([run.slope_p < 0.05 for run in runs]) <= 0.07


def test_proportional_bias_is_found_with_the_p_value_of_statsmodels() -> None:
    rng = np.random.default_rng(1)
    reference = rng.normal(3000, 400, 60)
    measured = 1.1 * reference + rng.normal(0, 50, 60)
    found = bland_altman(measured, reference)
    mean = (measured + reference) / 2
    oracle = sm.OLS(measured - reference, sm.add_constant(mean)).fit()
    assert found.slope.estimate == pytest.approx(oracle.params[1])
    assert (found.slope.low, found.slope.high) == pytest.approx(oracle.conf_int()[1])
    assert found.slope_p == pytest.approx(oracle.pvalues[1])
    assert found.slope.low > 0


def test_sign_of_the_bias_is_first_minus_second() -> None:
    forth, back = bland_altman([3, 4, 6], [1, 2, 3]), bland_altman([1, 2, 3], [3, 4, 6])
    assert forth.bias.estimate == pytest.approx(7 / 3)
    assert back.bias.estimate == pytest.approx(-7 / 3)
    assert back.lower.low == pytest.approx(-forth.upper.high)


def test_bland_altman_of_few_or_equal_pairs_claims_nothing_it_cannot() -> None:
    one = bland_altman([5.0], [4.0])
    assert (one.bias.estimate, one.bias.low, one.sd, one.lower.estimate) == (1.0, None, None, None)
    two = bland_altman([5.0, 7.0], [4.0, 4.0])
    assert two.bias.low is not None
    assert two.upper.high > 20  # two pairs say next to nothing about the limits
    assert (two.slope.low, two.slope_p, two.slope.method) == (None, None, NO_INTERVAL)
    constant = bland_altman([1.1, 2.1, 3.1, 4.1, 5.3], np.array([1.1, 2.1, 3.1, 4.1, 5.3]) - 0.1)
    assert constant.sd == 0  # the differences are rounding: no slope and no p-value from noise
    assert (constant.slope.estimate, constant.slope_p) == (0.0, None)
    assert constant.lower.low == constant.upper.high == pytest.approx(0.1)
    level = bland_altman([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])
    assert level.slope.estimate is None
    assert "means of the pairs are all equal" in level.slope.note
    with pytest.raises(NotEstimable, match="got none"):
        bland_altman([], [])


def naive_concordance(x: np.ndarray, y: np.ndarray) -> float:
    """Lin 1989: one minus the mean squared distance from the identity, over that by chance."""
    chance = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return 1 - ((x - y) ** 2).mean() / chance


def lin_2000(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Interval as written in Lin's erratum, with p, r, u and its divisions by r."""
    n, r = len(x), np.corrcoef(x, y)[0, 1]
    p = naive_concordance(x, y)
    u = (y.mean() - x.mean()) / (x.var() * y.var()) ** 0.25
    square = (
        (1 - r**2) * p**2 * (1 - p**2) / r**2 + 2 * p**3 * (1 - p) * u**2 / r - 0.5 * p**4 * u**4 / r**2
    ) / (n - 2)
    half = 1.959964 * np.sqrt(square) / (1 - p**2)
    return np.tanh(np.arctanh(p) - half), np.tanh(np.arctanh(p) + half)


def test_concordance_equals_lins_definition_and_the_interval_of_his_erratum() -> None:
    rng = np.random.default_rng(5)
    for shift, scale in ((0, 1), (0.7, 1), (-0.4, 1.6)):
        x = rng.normal(size=30)
        y = shift + scale * x + rng.normal(0, 0.5, 30)
        found = concordance(x, y)
        assert found.estimate == pytest.approx(naive_concordance(x, y))
        assert (found.low, found.high) == pytest.approx(lin_2000(x, y), abs=1e-6)
    assert concordance(WRIGHT, MINI).estimate == pytest.approx(0.943, abs=5e-4)


def test_interval_of_concordance_covers_the_truth() -> None:
    rng = np.random.default_rng(6)
    n, shift, scale, noise = 80, 0.3, 1.2, 0.4
    x = rng.normal(size=(RUNS, n))
    y = shift + scale * x + rng.normal(0, noise, (RUNS, n))
    truth = 2 * scale / (1 + scale**2 + noise**2 + shift**2)
    assert 0.93 <= covered([concordance(a, b) for a, b in zip(x, y, strict=True)], truth) <= 0.97


def test_concordance_at_its_ends() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0])
    equal = concordance(values, values)
    assert (equal.estimate, equal.low, equal.high) == pytest.approx((1, 1, 1))
    assert concordance(values, -values + 7.5).estimate == pytest.approx(-1)
    assert concordance(values[:2], values[:2] + 1).low is None
    none = concordance([1, 2, 3, 4], [1, -1, -1, 1])  # correlation 0: no division by it
    assert none.estimate == pytest.approx(0, abs=1e-12)
    assert none.low < 0 < none.high
    for x, y in (([1, 1, 1], [1, 2, 3]), ([2, 2], [2, 2]), ([1], [1]), ([], [])):
        with pytest.raises(NotEstimable, match="differ on both sides"):
            concordance(x, y)


def test_linearity_is_that_of_statsmodels_with_its_quadratic_term() -> None:
    rng = np.random.default_rng(2)
    reference = rng.uniform(1000, 5000, 40)
    measured = 100 + 0.9 * reference + 2e-5 * (reference - 3000) ** 2 + rng.normal(0, 30, 40)
    found = linearity(measured, reference)
    line = sm.OLS(measured, sm.add_constant(reference)).fit()
    curve = sm.OLS(measured, np.column_stack([np.ones(40), reference, reference**2])).fit()
    assert (found.intercept.estimate, found.slope.estimate) == pytest.approx(line.params)
    assert (found.slope.low, found.slope.high) == pytest.approx(line.conf_int()[1])
    assert (found.intercept.low, found.intercept.high) == pytest.approx(line.conf_int()[0])
    assert found.r_squared == pytest.approx(line.rsquared)
    assert found.quadratic_p == pytest.approx(curve.pvalues[2], rel=1e-6)
    assert found.quadratic_p < 0.05


def test_anscombes_quartet_has_its_published_line_and_only_the_second_is_curved() -> None:
    x = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
    straight = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
    curved = [9.14, 8.14, 8.74, 8.77, 9.26, 8.10, 6.13, 3.10, 9.13, 7.26, 4.74]
    for y in (straight, curved):
        found = linearity(y, x)
        assert found.slope.estimate == pytest.approx(0.500, abs=1e-3)
        assert found.intercept.estimate == pytest.approx(3.00, abs=5e-3)
        assert found.r_squared == pytest.approx(0.67, abs=5e-3)
    assert linearity(straight, x).quadratic_p > 0.3
    assert linearity(curved, x).quadratic_p < 1e-9


def test_intervals_of_slope_and_intercept_cover_the_truth() -> None:
    rng = np.random.default_rng(4)
    x = rng.uniform(1000, 5000, (RUNS, 12))
    y = 50 + 0.95 * x + rng.normal(0, 100, x.shape)
    runs = [linearity(a, b) for a, b in zip(y, x, strict=True)]
    assert 0.93 <= covered([run.slope for run in runs], 0.95) <= 0.97
    assert 0.93 <= covered([run.intercept for run in runs], 50) <= 0.97


def test_linearity_of_too_little_says_so() -> None:
    two = linearity([2.0, 4.0], [1.0, 2.0])
    assert (two.slope.estimate, two.slope.low, two.quadratic_p) == (2.0, None, None)
    assert linearity([3.0, 3.0, 3.0], [1.0, 2.0, 4.0]).r_squared == 0  # a constant follows nothing
    with pytest.raises(NotEstimable, match="reference values differ"):
        linearity([1.0, 2.0, 3.0], [5.0, 5.0, 5.0])


def test_relative_difference_is_of_the_reference_and_keeps_its_sign() -> None:
    found = relative_difference([110, 95, 100], [100, 100, 50], ["a", "b", "c"])
    assert found.signed_pct.estimate == pytest.approx((10 - 5 + 100) / 3)
    assert found.absolute_pct.estimate == pytest.approx(115 / 3)
    with pytest.raises(NotEstimable, match="1 of 2 reference values are not above 0"):
        relative_difference([1, 1], [0, 1])


def test_shrout_and_fleiss_table_has_its_published_correlations_and_intervals() -> None:
    found = intraclass_correlation(JUDGES)
    assert found.agreement.estimate == pytest.approx(0.29, abs=5e-3)
    assert found.consistency.estimate == pytest.approx(0.71, abs=5e-3)
    # the intervals that R's psych::ICC prints for this table
    assert (found.agreement.low, found.agreement.high) == pytest.approx((0.019, 0.76), abs=2e-3)
    assert (found.consistency.low, found.consistency.high) == pytest.approx((0.342, 0.946), abs=1e-3)
    assert (found.n_subjects, found.n_raters) == (6, 4)


def test_intraclass_correlations_equal_those_from_the_anova_of_statsmodels() -> None:
    import pandas as pd
    from statsmodels.formula.api import ols

    rng = np.random.default_rng(8)
    table = rng.normal(size=(9, 1)) + np.array([0, 0.5, -0.3]) + rng.normal(0, 0.6, (9, 3))
    rows, columns = np.indices(table.shape)
    frame = pd.DataFrame({"y": table.ravel(), "row": rows.ravel(), "column": columns.ravel()})
    squares = sm.stats.anova_lm(ols("y ~ C(row) + C(column)", frame).fit())["sum_sq"]
    subjects, raters, error = squares.iloc[0] / 8, squares.iloc[1] / 2, squares.iloc[2] / 16
    found = intraclass_correlation(table)
    assert found.consistency.estimate == pytest.approx((subjects - error) / (subjects + 2 * error))
    bias = 3 * (raters - error) / 9
    assert found.agreement.estimate == pytest.approx((subjects - error) / (subjects + 2 * error + bias))


def test_intervals_of_intraclass_correlations_cover_the_truth() -> None:
    rng = np.random.default_rng(9)
    n, k, subject, rater, noise = 30, 4, 1.0, 0.3, 0.5
    tables = (
        subject * rng.normal(size=(RUNS, n, 1))
        + rater * rng.normal(size=(RUNS, 1, k))
        + noise * rng.normal(size=(RUNS, n, k))
    )
    runs = [intraclass_correlation(table) for table in tables]
    agreement = subject**2 / (subject**2 + rater**2 + noise**2)
    consistency = subject**2 / (subject**2 + noise**2)
    assert 0.93 <= covered([run.agreement for run in runs], agreement) <= 0.97
    assert 0.93 <= covered([run.consistency for run in runs], consistency) <= 0.97


def test_a_constant_offset_of_one_rater_lowers_agreement_and_not_consistency() -> None:
    base = np.array([1.0, 2.0, 4.0, 8.0, 9.0])
    found = intraclass_correlation(np.column_stack([base, base + 3]))
    assert found.consistency.estimate == 1.0
    between = base.var(ddof=1)
    assert found.agreement.estimate == pytest.approx(2 * between / (2 * between + 9))  # MSE = 0, MSC = 22.5
    assert 0 < found.agreement.low < found.agreement.estimate < found.agreement.high < 1
    equal = intraclass_correlation(np.column_stack([base, base]))
    assert (equal.agreement.estimate, equal.consistency.estimate) == (1.0, 1.0)
    noisy = intraclass_correlation(np.column_stack([base / 3, base / 3 + 0.1]))  # the offset rounds unevenly
    assert noisy.consistency.estimate == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_bare_intraclass_correlation_is_the_estimate_of_the_full_one(kind: str) -> None:
    rng = np.random.default_rng(5)
    for raters in (2, 3):
        table = rng.normal(0, 2, (12, 1)) + rng.normal(0, 1, (12, raters)) + np.arange(raters)
        whole = getattr(intraclass_correlation(table), kind)
        assert intraclass_estimate(table, kind) == pytest.approx(whole.estimate)
    with pytest.raises(NotEstimable):
        intraclass_estimate(np.ones((4, 2)), kind)


def test_intraclass_correlation_refuses_what_has_none() -> None:
    for table in ([[1, 2]], [[3, 3], [3, 3]]):
        with pytest.raises(NotEstimable, match="two subjects"):
            intraclass_correlation(table)
    with pytest.raises(NotEstimable, match="subjects that differ"):
        intraclass_correlation([[1, 2], [1, 2]])
    with pytest.raises(ValueError, match="not finite"):
        intraclass_correlation([[1, np.nan], [2, 3]])
    for shape in ((4, 1), (4,)):
        with pytest.raises(ValueError, match="subjects, raters"):
            intraclass_correlation(np.ones(shape))
    small = intraclass_correlation([[1, 2], [4, 3]])
    assert small.agreement.estimate == pytest.approx(3 / 4)  # MSR 4, MSC 0, MSE 1
    assert small.consistency.estimate == pytest.approx(3 / 5)
    below = intraclass_correlation([[1, 2], [2, 1.1], [1.4, 1.5]])  # the formula gives less than -1
    assert (below.agreement.estimate, below.agreement.low) == (-1.0, -1.0)
    only_error = intraclass_correlation([[1, 2], [2, 1]])
    assert (only_error.agreement.estimate, only_error.consistency.estimate) == (None, -1.0)
    assert -1 <= small.agreement.low <= small.agreement.estimate <= small.agreement.high <= 1


def test_bland_and_altmans_meters_have_their_published_repeatability() -> None:
    for first, second, published in ((WRIGHT, WRIGHT_AGAIN, 43.2), (MINI, MINI_AGAIN, 56.4)):
        found = repeatability(first + second, list(range(17)) * 2)
        assert found.rc.estimate * 2 / 1.96 == pytest.approx(published, abs=0.15)  # the paper takes 2 SD
        assert (found.n_subjects, found.n_scans, found.freedom) == (17, 34, 17)


def test_a_wcv_of_two_percent_is_a_repeatability_of_five_and_a_half() -> None:
    pairs = 100 * np.array([[1 - 0.02 / np.sqrt(2), 1 + 0.02 / np.sqrt(2)]] * 8)
    found = repeatability(pairs.ravel(), np.repeat(np.arange(8), 2).tolist())
    assert found.wcv_pct.estimate == pytest.approx(2.0)
    assert found.rc_pct.estimate == pytest.approx(5.54, abs=0.01)
    assert found.within_sd.estimate == pytest.approx(2.0)


def test_repeatability_of_unequal_numbers_is_the_mean_square_within_of_an_anova() -> None:
    rng = np.random.default_rng(1)
    groups = [rng.normal(3000, 50, size) for size in (2, 3, 2, 5)]
    subjects = [name for name, group in zip("abcd", groups, strict=True) for _ in group]
    found = repeatability([*np.concatenate(groups), 2500.0], [*subjects, "alone"])
    within = sum(((group - group.mean()) ** 2).sum() for group in groups) / 8
    assert found.within_sd.estimate == pytest.approx(np.sqrt(within))
    assert (found.n_single, found.n_subjects, found.freedom) == (1, 4, 8)


def test_intervals_of_repeatability_cover_the_truth() -> None:
    rng = np.random.default_rng(2)
    n = 15
    truth = rng.uniform(2000, 4000, (RUNS, n, 1))
    scans = truth * (1 + 0.02 * rng.normal(size=(RUNS, n, 2)))
    subjects = np.repeat(np.arange(n), 2).tolist()
    runs = [repeatability(scan.ravel(), subjects) for scan in scans]
    assert 0.93 <= covered([run.wcv_pct for run in runs], 2.0) <= 0.97
    assert 0.93 <= covered([run.rc_pct for run in runs], 2.0 * 1.96 * np.sqrt(2)) <= 0.97
    constant = [
        repeatability((scan / base * 3000).ravel(), subjects) for scan, base in zip(scans, truth, strict=True)
    ]
    assert 0.93 <= covered([run.within_sd for run in constant], 60) <= 0.97


def test_repeatability_refuses_what_has_none() -> None:
    with pytest.raises(NotEstimable, match="all 2 have one"):
        repeatability([1.0, 2.0], ["a", "b"])
    with pytest.raises(NotEstimable, match="above 0"):
        repeatability([-1.0, 1.0], ["a", "a"])
    with pytest.raises(ValueError, match="as many subjects"):
        repeatability([1.0, 2.0], ["a"])
    same = repeatability([5.0, 5.0], ["a", "a"])
    assert (same.wcv_pct.estimate, same.wcv_pct.high) == (0.0, 0.0)


@pytest.mark.parametrize("function", [bland_altman, concordance, linearity, relative_difference])
def test_pairs_that_are_no_numbers_or_do_not_match_are_refused(function) -> None:
    with pytest.raises(ValueError, match="not finite"):
        function([1.0, np.nan, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="one length"):
        function([1.0, 2.0], [1.0])


def test_method_names_say_how_an_interval_was_made() -> None:
    assert bland_altman(WRIGHT, MINI).lower.method == EXACT_LIMITS
