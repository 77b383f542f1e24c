"""AUC, average precision and threshold performance: published data, scikit-learn, laws and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import logit
from scipy.stats import norm
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score, roc_curve

from lnn_med.evaluation.classification import (
    DELONG,
    NEWCOMBE,
    auc,
    compare_auc,
)
from lnn_med.evaluation.intervals import NotEstimable
from lnn_med.evaluation.threshold import (
    ADJUSTED_LOGIT,
    LOGIT,
    decision_curve,
    predictive_values,
    threshold_performance,
)
from lnn_med.evaluation.threshold_curves import average_precision, roc_points

# Ovarian cancer, 43 patients with all tests (DeLong et al. 1988): albumin, total protein, K-G score, outcome
OVARIAN = """
3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1
3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0
4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1
4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1
2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1 3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1
"""
RUNS = 2_000


def ovarian() -> tuple[np.ndarray, ...]:
    albumin, protein, score, outcome = np.array(OVARIAN.split(), dtype=float).reshape(-1, 4).T
    return albumin, protein, -score, outcome


def binormal(rng: np.random.Generator, positives: int, negatives: int, shift: float, runs: int) -> np.ndarray:
    """Scores (runs, positives + negatives), positives first."""
    scores = rng.normal(size=(runs, positives + negatives))
    scores[:, :positives] += shift
    return scores


def truth_of(positives: int, negatives: int) -> np.ndarray:
    return np.repeat([1, 0], [positives, negatives])


def covered(estimates, truth: float) -> float:
    return float(np.mean([found.low <= truth <= found.high for found in estimates]))


def test_delongs_own_data_have_the_published_areas_and_intervals() -> None:
    """As printed by SAS/STAT, PROC LOGISTIC, example "Comparing ROC curves"."""
    albumin, protein, score, outcome = ovarian()
    published = [
        (albumin, 0.7366, 0.5549, 0.9182),
        (score, 0.7258, 0.5243, 0.9273),
        (protein, 0.6478, 0.4518, 0.8439),
    ]
    for values, area, low, high in published:
        found = auc(values, outcome)
        assert (found.estimate, found.low, found.high) == pytest.approx((area, low, high), abs=6e-5)
        assert (found.method, found.n) == (DELONG, 43)


def test_delongs_own_data_have_the_published_paired_tests() -> None:
    albumin, protein, score, outcome = ovarian()
    found = compare_auc(protein, score, outcome)
    assert found.difference.estimate == pytest.approx(-0.0780, abs=6e-5)
    assert (found.difference.low, found.difference.high) == pytest.approx((-0.2830, 0.1271), abs=6e-5)
    assert found.p == pytest.approx(0.4561, abs=1e-4)
    assert compare_auc(albumin, score, outcome).p == pytest.approx(0.9102, abs=1e-4)
    back = compare_auc(score, protein, outcome)
    assert back.difference.estimate == pytest.approx(-found.difference.estimate)
    assert back.p == pytest.approx(found.p)


def slow_delong(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Area and variance from the matrix of all pairs, as in the paper's equations 3 to 6."""
    positives, negatives = scores[truth == 1], scores[truth == 0]
    pairs = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    s10, s01 = pairs.mean(axis=1).var(ddof=1), pairs.mean(axis=0).var(ddof=1)
    return pairs.mean(), s10 / len(positives) + s01 / len(negatives)


@pytest.mark.parametrize("seed", range(5))
def test_area_and_variance_equal_scikit_learn_and_the_slow_pairs_with_ties(seed) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.permutation(truth_of(17, 29))
    scores = np.round(rng.normal(size=46) + truth, 0 if seed % 2 else 3)
    found = auc(scores, truth)
    area, variance = slow_delong(scores, truth)
    assert found.estimate == pytest.approx(roc_auc_score(truth, scores))
    assert found.estimate == pytest.approx(area)
    assert found.estimate - found.low == pytest.approx(1.959964 * np.sqrt(variance), abs=1e-6)


def test_delongs_interval_covers_the_true_area() -> None:
    rng = np.random.default_rng(1)
    truth = truth_of(60, 90)
    runs = [auc(scores, truth) for scores in binormal(rng, 60, 90, 1.0, RUNS)]
    assert 0.93 <= covered(runs, norm.cdf(1 / np.sqrt(2))) <= 0.97


def test_delongs_paired_test_keeps_its_error_and_its_interval_covers() -> None:
    rng = np.random.default_rng(2)
    truth = truth_of(50, 70)
    common = rng.normal(size=(RUNS, 120))
    first = common + rng.normal(0, 0.6, common.shape) + truth
    second = common + rng.normal(0, 0.6, common.shape) + truth
    runs = [compare_auc(a, b, truth) for a, b in zip(first, second, strict=True)]
    assert 0.93 <= covered([run.difference for run in runs], 0) <= 0.97
    assert 0.03 <= np.mean([run.p < 0.05 for run in runs]) <= 0.07


def test_perfect_separation_has_an_area_of_one_and_an_honest_interval() -> None:
    truth = truth_of(10, 10)
    found = auc(truth * 2.0, truth)
    assert (found.estimate, found.high, found.method) == (1.0, 1.0, NEWCOMBE)
    assert 0.7 < found.low < 0.95
    grid = np.linspace(0.5, 0.99999, 200_000)  # second implementation: search |1 - A| = z SE(A)
    size = 20 / 2 - 1
    square = grid * (1 - grid) * (1 + size * ((1 - grid) / (2 - grid) + grid / (1 + grid))) / 100
    root = grid[np.argmin(np.abs((1 - grid) - 1.959964 * np.sqrt(square)))]
    assert found.low == pytest.approx(root, abs=1e-4)
    wrong = auc(-truth * 2.0, truth)
    assert (wrong.estimate, wrong.low) == (0.0, 0.0)
    assert wrong.high == pytest.approx(1 - found.low)
    more = auc(truth_of(100, 100) * 1.0, truth_of(100, 100))
    assert more.low > found.low


def test_perfect_separation_is_rare_when_the_truth_is_the_lower_end() -> None:
    """The meaning of a 95 % interval: below its lower end the data seen have less than about 2.5 %."""
    rng = np.random.default_rng(3)
    for n in (8, 30):
        low = auc(truth_of(n, n) * 1.0, truth_of(n, n)).low
        scores = binormal(rng, n, n, np.sqrt(2) * norm.ppf(low), 20_000)
        perfect = np.mean(scores[:, :n].min(axis=1) > scores[:, n:].max(axis=1))
        assert perfect < 0.025
        assert low > 1 - 4 / n  # and the interval is no idle 0 to 1


def test_areas_of_few_equal_or_single_class_scores() -> None:
    assert auc([1, 1, 1, 1], [0, 1, 0, 1]).estimate == 0.5
    two = auc([0.2, 0.8], [0, 1])
    assert (two.estimate, two.method) == (1.0, NEWCOMBE)
    assert two.low < 0.5  # one pair shows nothing
    for truth in ([1, 1], [0, 0], []):
        with pytest.raises(NotEstimable, match="needs both classes, got"):
            auc(np.zeros(len(truth)), truth)
    with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
        auc([np.nan, 1], [0, 1])
    with pytest.raises(ValueError, match="Truth must be 0 or 1, found 2"):
        auc([0.1, 0.2], [0, 2])
    with pytest.raises(ValueError, match="as many truth values"):
        auc([0.1], [0, 1])


def test_scores_that_rank_alike_have_no_p_value() -> None:
    truth, scores = truth_of(3, 3), np.array([0.9, 0.4, 0.8, 0.1, 0.5, 0.2])
    same = compare_auc(scores, scores**3, truth)
    assert (same.difference.estimate, same.difference.low, same.p) == (0.0, None, None)
    assert "rank the patients alike" in same.difference.note
    opposite = compare_auc(truth, -truth, truth)
    assert (opposite.difference.estimate, opposite.p) == (1.0, None)
    with pytest.raises(NotEstimable, match="two patients of each class"):
        compare_auc([1, 2, 3], [1, 2, 3], [1, 0, 0])


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_equals_scikit_learn_with_ties(seed) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.permutation(truth_of(12, 40))
    scores = np.round(rng.normal(size=52) + truth, seed)
    assert average_precision(scores, truth).estimate == pytest.approx(average_precision_score(truth, scores))


def test_interval_of_average_precision_covers_the_truth() -> None:
    rng = np.random.default_rng(4)
    positives, negatives, shift = 100, 200, 1.0
    share = positives / (positives + negatives)

    def precision(recall: float) -> float:
        cut = norm.isf(recall) + shift
        hits, alarms = share * recall, (1 - share) * norm.sf(cut)
        return hits / (hits + alarms)

    truth = quad(precision, 1e-9, 1)[0]
    labels = truth_of(positives, negatives)
    runs = [average_precision(scores, labels) for scores in binormal(rng, positives, negatives, shift, RUNS)]
    assert 0.93 <= covered(runs, truth) <= 0.97


def test_variance_of_average_precision_equals_a_jackknife_within_the_classes() -> None:
    rng = np.random.default_rng(8)
    truth = truth_of(150, 250)
    scores = np.round(rng.normal(size=400) + truth, 1)
    found = average_precision(scores, truth)
    se = (logit(found.high) - logit(found.estimate)) / 1.959964 * found.estimate * (1 - found.estimate)
    square = 0.0
    for label, size in ((1, 150), (0, 250)):
        left_out = []
        for i in np.flatnonzero(truth == label):
            keep = np.delete(np.arange(400), i)
            weights = np.where(truth[keep] == label, size / (size - 1), 1.0)  # the class keeps its share
            left_out.append(average_precision_score(truth[keep], scores[keep], sample_weight=weights))
        square += (size - 1) / size * ((np.array(left_out) - np.mean(left_out)) ** 2).sum()
    assert se == pytest.approx(np.sqrt(square), rel=0.05)


def test_average_precision_at_its_ends() -> None:
    perfect = average_precision([0.9, 0.8, 0.1], [1, 1, 0])
    assert (perfect.estimate, perfect.high) == (1.0, 1.0)
    assert perfect.low < 0.5  # two positives
    flat = average_precision([0.5] * 4, [1, 1, 0, 0])
    assert (flat.estimate, flat.low) == (0.5, None)
    single = average_precision([0.5, 0.9, 0.1], [1, 0, 0])
    assert (single.estimate, single.low) == (0.5, None)
    assert "one positive case" in single.note
    with pytest.raises(NotEstimable, match="got none of 2"):
        average_precision([0.1, 0.2], [0, 0])


def test_roc_points_are_those_of_scikit_learn_and_hold_no_infinity() -> None:
    rng = np.random.default_rng(0)
    truth = rng.permutation(truth_of(9, 14))
    scores = np.round(rng.normal(size=23) + truth, 1)
    found = roc_points(scores, truth)
    false, true, cuts = roc_curve(truth, scores, drop_intermediate=False)
    assert found.false_positive_rate == pytest.approx(false)
    assert found.true_positive_rate == pytest.approx(true)
    assert found.thresholds[0] is None
    assert found.thresholds[1:] == pytest.approx(cuts[1:])
    area = np.trapezoid(found.true_positive_rate, found.false_positive_rate)
    assert area == pytest.approx(auc(scores, truth).estimate)


def test_threshold_counts_are_those_of_paper_and_pencil() -> None:
    scores = [0.1, 0.4, 0.5, 0.6, 0.5, 0.9, 0.2]
    truth = [0, 0, 0, 1, 1, 1, 1]
    found = threshold_performance(scores, truth, 0.5)  # a score of 0.5 is positive
    counts = (found.true_positives, found.false_positives, found.true_negatives, found.false_negatives)
    assert counts == (3, 1, 2, 1)
    assert found.sensitivity.estimate == pytest.approx(3 / 4)
    assert found.specificity.estimate == pytest.approx(2 / 3)
    called = np.array(scores) >= 0.5
    assert found.balanced_accuracy.estimate == pytest.approx(balanced_accuracy_score(truth, called))
    assert (found.ppv, found.npv) == (None, None)


def test_predictive_values_at_the_studys_own_prevalence_are_its_proportions() -> None:
    ppv, npv = predictive_values(30, 10, 50, 10, prevalence=0.4)  # 40 of 100 have the condition
    assert ppv.estimate == pytest.approx(30 / 40)
    assert npv.estimate == pytest.approx(50 / 60)
    turned_ppv, turned_npv = predictive_values(50, 10, 30, 10, prevalence=0.6)  # classes change their names
    assert (turned_ppv.low, turned_ppv.high) == pytest.approx((npv.low, npv.high))
    assert (turned_npv.low, turned_npv.high) == pytest.approx((ppv.low, ppv.high))


def test_predictive_values_equal_the_likelihood_ratios_of_bayes() -> None:
    """Second implementation: interval of the likelihood ratio (Simel 1991), carried through Bayes' rule."""
    tp, fn, tn, fp, prevalence = (
        240,
        178,
        288,
        87,
        0.03,
    )  # ApoE4 and Alzheimer's disease, Mercaldo et al. 2007
    ppv, npv = predictive_values(tp, fn, tn, fp, prevalence)
    sensitivity, alarm = tp / (tp + fn), fp / (tn + fp)
    se = np.sqrt(1 / tp - 1 / (tp + fn) + 1 / fp - 1 / (tn + fp))
    ratio = np.exp(np.log(sensitivity / alarm) + 1.959964 * np.array([-1, 0, 1]) * se)
    odds = prevalence / (1 - prevalence) * ratio
    assert (ppv.low, ppv.estimate, ppv.high) == pytest.approx(odds / (1 + odds), rel=1e-6)
    assert npv.estimate == pytest.approx(
        0.97 * tn / (tn + fp) / (0.97 * tn / (tn + fp) + 0.03 * (1 - sensitivity))
    )
    assert ppv.method == LOGIT


def test_intervals_at_a_threshold_cover_the_truth() -> None:
    rng = np.random.default_rng(5)
    labels = truth_of(120, 150)
    runs = [
        threshold_performance(scores, labels, 0.75, prevalence=0.1)
        for scores in binormal(rng, 120, 150, 1.5, RUNS)
    ]
    sensitivity, specificity = norm.cdf(0.75), norm.cdf(0.75)
    hits, alarms = 0.1 * sensitivity, 0.9 * (1 - specificity)
    passed, missed = 0.9 * specificity, 0.1 * (1 - sensitivity)
    for name, truth in (
        ("sensitivity", sensitivity),
        ("specificity", specificity),
        ("balanced_accuracy", (sensitivity + specificity) / 2),
        ("ppv", hits / (hits + alarms)),
        ("npv", passed / (passed + missed)),
    ):
        assert 0.93 <= covered([getattr(run, name) for run in runs], truth) <= 0.97, name


def test_threshold_performance_of_one_class_and_empty_cells() -> None:
    only = threshold_performance([0.2, 0.8], [1, 1], 0.5, prevalence=0.3)
    assert only.sensitivity.estimate == 0.5
    assert (only.specificity.estimate, only.specificity.note) == (None, "No negative case.")
    assert (only.balanced_accuracy.estimate, only.ppv.estimate) == (None, None)
    perfect = threshold_performance([0.1, 0.9], [0, 1], 0.5, prevalence=0.3)
    assert (perfect.ppv.estimate, perfect.ppv.method) == (1.0, ADJUSTED_LOGIT)
    assert 0 < perfect.ppv.low < perfect.ppv.high == 1  # the estimate is 1
    nobody = threshold_performance([0.1, 0.2], [0, 1], 0.5, prevalence=0.3)
    assert (nobody.ppv.estimate, nobody.ppv.note) == (None, "No case was called so.")
    assert nobody.npv.estimate == pytest.approx(0.7)  # nobody called: the prevalence stays
    with pytest.raises(NotEstimable, match="got none"):
        threshold_performance([], [], 0.5)
    for prevalence in (0, 1, 20):
        with pytest.raises(ValueError, match="Prevalence is"):
            threshold_performance([0.1, 0.9], [0, 1], 0.5, prevalence)
    with pytest.raises(ValueError, match="finite number"):
        threshold_performance([0.1, 0.9], [0, 1], np.nan)


def test_net_benefit_of_a_hundred_patients_is_that_of_paper_and_pencil() -> None:
    """20 of 100 ill; at 25 % threshold 16 of them and 12 healthy are treated: 0.16 - 0.12 / 3."""
    scores = np.repeat([0.9, 0.1, 0.9, 0.1], [16, 4, 12, 68])
    truth = np.repeat([1, 1, 0, 0], [16, 4, 12, 68])
    found = decision_curve(scores, truth, [0.25, 0.2])
    assert found.model[0] == pytest.approx(0.16 - 0.12 / 3)
    assert found.treat_all[0] == pytest.approx(0.2 - 0.8 / 3)
    assert found.treat_all[1] == pytest.approx(0)  # treating all is worth nothing at the prevalence


def test_net_benefit_equals_a_slow_loop_and_treats_all_below_the_smallest_risk() -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(0.1, 0.9, 50)
    truth = (rng.random(50) < p).astype(int)
    found = decision_curve(p, truth)
    for threshold, benefit in zip(found.thresholds, found.model, strict=True):
        hits = sum(1 for x, y in zip(p, truth, strict=True) if x >= threshold and y)
        alarms = sum(1 for x, y in zip(p, truth, strict=True) if x >= threshold and not y)
        assert benefit == pytest.approx(hits / 50 - alarms / 50 * threshold / (1 - threshold))
    assert found.model[4] == pytest.approx(found.treat_all[4])
    assert found.model[-1] == 0
    with pytest.raises(ValueError, match="probabilities between 0 and 1"):
        decision_curve([1.2], [1])
    with pytest.raises(ValueError, match="both excluded"):
        decision_curve([0.2], [1], [1.0])
    with pytest.raises(NotEstimable):
        decision_curve([], [])


@pytest.mark.parametrize("counts", [(3, 0, 4, 0), (30, 0, 40, 0), (3, 1, 4, 0), (0, 3, 4, 1)])
def test_an_interval_of_a_predictive_value_holds_its_estimate_whatever_cell_is_empty(
    counts: tuple[int, int, int, int],
) -> None:
    """The cells that are added for the interval pull it towards the prevalence: 1.00 had 0.08 to 0.55."""
    for prevalence in (0.01, 0.1, 0.5, 0.9):
        for value in predictive_values(*counts, prevalence):
            if value.estimate is not None:
                assert value.low is not None
                assert value.high is not None
                assert value.low <= value.estimate <= value.high
