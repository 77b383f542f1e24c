"""Subgroups, differences between groups, and bootstrap of any statistic: oracles, coverage, dirty tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lnn_med.evaluation.agreement import concordance
from lnn_med.evaluation.classification import auc
from lnn_med.evaluation.group_difference import group_difference
from lnn_med.evaluation.intervals import NotEstimable
from lnn_med.evaluation.resampling import clustered_interval
from lnn_med.evaluation.statistics import BCA, NO_INTERVAL, PERCENTILE, mean_interval
from lnn_med.evaluation.subgroups import TOO_FEW, bands, subgroup_table


def table(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "dice": rng.normal(0.88, 0.02, n),
            "patient": [f"p{i // 2}" for i in range(n)],
            "sex": ["F" if i // 2 % 3 else "M" for i in range(n)],
            "field_t": [1.5 if i // 2 % 2 else 3.0 for i in range(n)],
        }
    )


def test_groups_have_their_means_counts_and_difference_to_the_rest() -> None:
    data = table()
    found = {
        (row.column, row.group): row for row in subgroup_table(data, "dice", "patient", ["sex", "field_t"])
    }
    assert list(found) == [("sex", "F"), ("sex", "M"), ("field_t", "1.5"), ("field_t", "3")]
    women = data[data.sex == "F"]
    row = found["sex", "F"]
    assert (row.n_scans, row.n_patients) == (len(women), women.patient.nunique()) == (40, 20)
    assert row.estimate == mean_interval(women.dice, women.patient.tolist())
    expected = women.dice.mean() - data[data.sex == "M"].dice.mean()
    assert row.difference.estimate == pytest.approx(expected)
    assert found["sex", "M"].difference.estimate == pytest.approx(-expected)
    assert (row.too_few, row.note) == (False, "")


def test_small_groups_are_shown_and_marked_by_their_patients_not_their_scans() -> None:
    found = {row.group: row for row in subgroup_table(table(), "dice", "patient", ["sex"])}
    men = found["M"]
    assert (men.n_scans, men.n_patients) == (20, 10)  # twenty scans, but ten patients
    assert (men.too_few, men.note) == (True, TOO_FEW)
    assert men.estimate.low < men.estimate.estimate < men.estimate.high
    assert men.difference.method == PERCENTILE


def test_empty_cells_are_a_group_of_their_own_and_come_last() -> None:
    data = table()
    data["stage"] = ["zeta", "alpha", None, np.nan, " ", ""] * 10
    rows = subgroup_table(data, "dice", "patient", ["stage"])
    assert [row.group for row in rows] == ["alpha", "zeta", "missing"]
    assert sum(row.n_scans for row in rows) == len(data)
    nothing = data.assign(stage=np.nan)
    (alone,) = subgroup_table(nothing, "dice", "patient", ["stage"])
    assert (alone.group, alone.n_scans, alone.difference) == ("missing", 60, None)
    with pytest.raises(ValueError, match="stands for empty cells"):
        subgroup_table(data.assign(stage="missing"), "dice", "patient", ["stage"])


def test_bands_are_in_order_of_their_numbers_and_keep_their_borders() -> None:
    assert bands([59.9, 60, 79.9, 80, np.nan], (60, 80), "years") == [
        "< 60 years",
        "60 to < 80 years",
        "60 to < 80 years",
        ">= 80 years",
        None,
    ]
    data = table()
    data["age"] = bands(np.linspace(8, 105, 60), (9, 60, 70, 100), "years")
    groups = [row.group for row in subgroup_table(data, "dice", "patient", ["age"])]
    assert groups == ["< 9 years", "9 to < 60 years", "60 to < 70 years", "70 to < 100 years", ">= 100 years"]
    for edges in ((), (70, 60), (60, 60), (60, np.nan)):
        with pytest.raises(ValueError, match="must rise"):
            bands([1.0], edges)


def test_numbers_are_sorted_by_size_and_whole_numbers_have_one_name() -> None:
    data = table()
    data["slice_mm"] = ([10, 2.0, 2, 0.9] * 15)[:60]
    assert [row.group for row in subgroup_table(data, "dice", "patient", ["slice_mm"])] == ["0.9", "2", "10"]


def test_dirty_tables_are_refused_with_the_reason_and_no_patient_in_it() -> None:
    data = table()
    with pytest.raises(ValueError, match=r"no column 'sxe'\. Did you mean 'sex'"):
        subgroup_table(data, "dice", "patient", ["sxe"])
    with pytest.raises(ValueError, match="no column 'nsd'"):
        subgroup_table(data, "nsd", "patient", ["sex"])
    broken = data.assign(dice=[np.nan, "x", *data.dice[2:]])
    with pytest.raises(ValueError, match="2 of 60 values of 'dice' are no finite numbers"):
        subgroup_table(broken, "dice", "patient", ["sex"])
    with pytest.raises(ValueError, match="1 of 60 scans have no patient") as caught:
        subgroup_table(data.assign(patient=[None, *data.patient[1:]]), "dice", "patient", ["sex"])
    assert "p1" not in str(caught.value)
    with pytest.raises(ValueError, match="60 groups, more than 30"):
        subgroup_table(data.assign(age=np.arange(60)), "dice", "patient", ["age"])
    with pytest.raises(NotEstimable, match="got none"):
        subgroup_table(data.iloc[:0], "dice", "patient", ["sex"])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_tables_of_a_few_scans_claim_no_more_than_they_can(n) -> None:
    data = table(2 * n).iloc[::2].assign(sex=["F", "M", "F", "F", "M"][:n])
    for row in subgroup_table(data, "dice", "patient", ["sex"]):
        assert row.too_few
        if row.n_patients == 1:
            assert (row.estimate.low, row.estimate.method) == (None, NO_INTERVAL)
            assert row.difference is None or row.difference.low is None


def test_difference_of_two_groups_has_the_bca_interval_of_scipy() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.exponential(1.0, 50), rng.exponential(2.0, 30)
    values, inside = np.concatenate([first, second]), np.repeat([True, False], [50, 30])
    found = group_difference(values, inside, list(range(80)), resamples=40_000)
    oracle = stats.bootstrap(
        (first, second),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        n_resamples=40_000,
        method="BCa",
        rng=np.random.default_rng(4),
    ).confidence_interval
    width = oracle.high - oracle.low
    assert found.method == BCA
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=0.02 * width)


def test_interval_of_the_difference_covers_the_truth_with_repeat_scans_on_both_sides() -> None:
    """40 patients on one scanner, 30 on the other, 10 on both; two scans each; true difference 0.5."""
    rng = np.random.default_rng(5)
    patients = np.repeat(np.arange(80), 2)
    inside = np.zeros(160, dtype=bool)
    inside[:80] = True
    inside[140::2] = True  # the last ten have one scan on each side
    runs, hits, naive = 2_000, 0, 0
    names = patients.tolist()
    for run in range(runs):
        values = rng.normal(size=80)[patients] + 0.5 * rng.normal(size=160) + 0.5 * inside
        found = group_difference(values, inside, names, resamples=300, seed=run)
        hits += found.low <= 0.5 <= found.high
        se = np.sqrt(values[inside].var() / inside.sum() + values[~inside].var() / (~inside).sum())
        naive += abs(found.estimate - 0.5) <= 1.96 * se
    assert 0.93 <= hits / runs <= 0.97
    assert naive / runs < 0.9


def test_difference_needs_both_sides() -> None:
    for inside in ([True, True], [False, False], []):
        with pytest.raises(NotEstimable, match="in the group and in the rest"):
            group_difference(np.ones(len(inside)), inside, list(range(len(inside))))
    with pytest.raises(ValueError, match="Lengths differ"):
        group_difference([1.0, 2.0], [True], ["a", "b"])
    lone = group_difference([1.0, 2.0, 4.0], [True, False, False], ["a", "b", "c"])
    assert (lone.estimate, lone.low) == (-2.0, None)
    same = group_difference([1.0] * 50, [True, False] * 25, list(range(50)))
    assert (same.low, same.high) == (0.0, 0.0)


def test_any_statistic_has_the_interval_of_the_mean_when_it_is_the_mean() -> None:
    rng = np.random.default_rng(6)
    values, patients = rng.exponential(size=60), np.repeat(np.arange(30), 2).tolist()
    found = clustered_interval(lambda rows: values[rows].mean(), patients, resamples=8_000)
    expected = mean_interval(values, patients, resamples=8_000)
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.05 * width)
    assert (found.method, found.n_values, found.n_patients) == (BCA, 60, 30)


def test_area_of_repeat_scans_covers_where_delong_does_not() -> None:
    """Each patient scanned four times with the same score: 120 studies."""
    rng = np.random.default_rng(7)
    labels = np.repeat(np.repeat([1, 0], [25, 25]), 4)
    patients = np.repeat(np.arange(50), 4).tolist()
    truth, hits, naive = stats.norm.cdf(1 / np.sqrt(2)), 0, 0
    for run in range(120):
        scores = np.repeat(rng.normal(size=50) + np.repeat([1, 0], 25), 4)
        plain = auc(scores, labels)
        naive += plain.low <= truth <= plain.high
        right = clustered_interval(
            lambda rows, s=scores: auc(s[rows], labels[rows]).estimate, patients, resamples=150, seed=run
        )
        hits += right.low <= truth <= right.high
    assert hits / 120 >= 0.88
    assert naive / 120 < 0.80


def test_statistics_that_samples_do_not_have_are_refused_not_averaged_away() -> None:
    truth = np.array([1] + [0] * 9)  # a third of the samples has no positive patient
    scores = np.arange(10.0)
    with pytest.raises(NotEstimable, match="groups are too small"):
        clustered_interval(
            lambda rows: auc(scores[rows], truth[rows]).estimate, list(range(10)), resamples=200
        )
    with pytest.raises(NotEstimable):
        clustered_interval(lambda rows: concordance([1, 1], [1, 1]).estimate, ["a", "b"])
    with pytest.raises(NotEstimable, match="at least one row"):
        clustered_interval(lambda rows: 1.0, [])
    single = clustered_interval(lambda rows: 3.0, ["a", "a"])
    assert (single.estimate, single.low, single.method) == (3.0, None, NO_INTERVAL)
