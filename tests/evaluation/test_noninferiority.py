"""Paired comparisons and Holm: verdicts, published adjustment, p-values against intervals, error rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lnn_med.evaluation.intervals import NotEstimable
from lnn_med.evaluation.noninferiority import Verdict, compare_paired, holm
from lnn_med.evaluation.statistics import mean_interval, p_value_above

VERDICTS = [  # true gain, margin, what 60 cases of SD 0.02 show
    (0.02, 0.01, Verdict.SUPERIOR, "lies above 0"),
    (0.0, 0.01, Verdict.NON_INFERIOR, "lies above the margin -0.01"),
    (-0.01, 0.01, Verdict.NOT_SHOWN, "reaches the margin -0.01"),
    (-0.03, 0.01, Verdict.INFERIOR, "lies below the margin -0.01"),
    (0.0, 0.0, Verdict.NOT_SHOWN, "includes 0"),
]


def pair(gain: float, n: int = 60, sd: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=n)
    old = rng.uniform(0.8, 0.9, n)
    return old + gain + sd * (noise - noise.mean()) / noise.std(), old


@pytest.mark.parametrize(("gain", "margin", "verdict", "words"), VERDICTS)
def test_verdict_follows_the_interval_and_says_so(gain, margin, verdict, words) -> None:
    new, old = pair(gain)
    found = compare_paired(new, old, margin)
    assert found.verdict is verdict
    assert words in found.words
    assert found.gain == mean_interval(new - old)
    assert (found.p_noninferior < 0.025) is (verdict in (Verdict.SUPERIOR, Verdict.NON_INFERIOR))
    assert (found.p_superior < 0.025) is (verdict is Verdict.SUPERIOR)


def test_a_small_loss_is_non_inferior_and_called_worse() -> None:
    new, old = pair(-0.01)
    assert "worse, by less than the margin" in compare_paired(new, old, 0.05).words


def test_distances_are_better_when_smaller() -> None:
    new, old = pair(0.02)
    found = compare_paired(old, new, 0.01, higher_is_better=False)  # old is smaller: better as a distance
    assert found.verdict is Verdict.SUPERIOR
    assert found.gain.estimate == pytest.approx(0.02)
    assert compare_paired(new, old, 0.01, higher_is_better=False).verdict is Verdict.INFERIOR


def test_two_structures_a_patient_are_no_second_patient() -> None:
    new, old = pair(-0.004, n=30)
    patients = np.repeat(np.arange(30), 4).tolist()
    alone = compare_paired(new, old, 0.01)
    copied = compare_paired(np.repeat(new, 4), np.repeat(old, 4), 0.01, patients)
    assert copied.gain.low == pytest.approx(alone.gain.low)
    assert copied.p_noninferior == pytest.approx(alone.p_noninferior)
    assert compare_paired(np.repeat(new, 4), np.repeat(old, 4), 0.01).p_noninferior < alone.p_noninferior


@pytest.mark.parametrize("n", [8, 40])
def test_p_value_and_interval_are_one_statement(n) -> None:
    values = np.random.default_rng(2).exponential(size=n)  # skewed: percentile below 20 patients, else BCa
    for level in (0.8, 0.9, 0.95):
        low = mean_interval(values, level=level).low
        assert p_value_above(values, low) == pytest.approx((1 - level) / 2, abs=0.002)
        assert p_value_above(values, low - 0.05) < (1 - level) / 2 < p_value_above(values, low + 0.05)


def test_p_value_is_near_that_of_students_test_for_normal_values() -> None:
    values = np.random.default_rng(3).normal(0.2, 1, 100)
    expected = stats.ttest_1samp(values, 0, alternative="greater").pvalue
    assert p_value_above(values, 0.0, resamples=40_000) == pytest.approx(expected, rel=0.2)
    assert 1 / 4_001 <= p_value_above(values + 10, 0.0) < 1e-3  # never 0: 4,000 draws cannot tell


@pytest.mark.slow
def test_false_non_inferiority_stays_near_its_nominal_rate() -> None:
    """Gain exactly at the margin in 2,000 studies of 60 patients with two structures each."""
    rng = np.random.default_rng(4)
    patients = np.repeat(np.arange(60), 2).tolist()
    shown = 0
    for run in range(2_000):
        gains = -0.01 + np.repeat(rng.normal(0, 0.02, 60), 2) + rng.normal(0, 0.01, 120)
        shown += p_value_above(gains, -0.01, patients, resamples=500, seed=run) < 0.025
    assert 0.015 <= shown / 2_000 <= 0.035


def test_comparisons_that_cannot_be_are_refused() -> None:
    with pytest.raises(NotEstimable, match="two patients or more, got 1"):
        compare_paired([1.0, 2.0], [1.0, 2.0], 0.1, ["a", "a"])
    with pytest.raises(NotEstimable, match="got 0"):
        compare_paired([], [], 0.1)
    with pytest.raises(ValueError, match=r"Margin is -0\.1"):
        compare_paired([1.0, 2.0], [1.0, 2.0], -0.1)
    with pytest.raises(ValueError, match="1 of 2 new values are not finite"):
        compare_paired([np.nan, 2.0], [1.0, 2.0], 0.1)
    with pytest.raises(ValueError, match="two patients"):
        p_value_above([1.0], 0.0)
    equal = compare_paired([0.9] * 5, [0.9] * 5, 0.01)
    assert (equal.verdict, equal.gain.low) == (Verdict.NON_INFERIOR, 0.0)


def test_holm_gives_the_textbook_adjustment() -> None:
    """Four hypotheses of the common example: 0.01, 0.04, 0.03, 0.005 become 0.03, 0.06, 0.06, 0.02."""
    found = holm([0.01, 0.04, 0.03, 0.005], alpha=0.05)
    assert found.adjusted == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert found.rejected == (True, False, False, True)


def test_holm_equals_statsmodels_with_ties_and_ends() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        p = np.round(rng.beta(0.5, 3, 9), 2)
        rejected, adjusted, *_ = multipletests(p, 0.025, "holm")
        found = holm(p)
        assert found.adjusted == pytest.approx(adjusted)
        assert found.rejected == tuple(rejected)
    assert holm([]).adjusted == ()
    assert holm([1.0, 0.9]).adjusted == (1.0, 1.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([1.2])
    with pytest.raises(ValueError, match="not finite"):
        holm([np.nan])
