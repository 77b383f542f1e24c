"""Sample sizes: published numbers, second implementations, simulated power, and the command plan-study."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import norm
from statsmodels.stats.power import TTestPower

from lnn_med.cli import trials
from lnn_med.cli.app import app
from lnn_med.errors import ConfigError
from lnn_med.evaluation.agreement import limit_factors
from lnn_med.evaluation.intervals import wilson
from lnn_med.evaluation.planning import (
    agreement_size,
    auc_size,
    hanley_mcneil_se,
    noninferiority_size,
    proportion_size,
    with_dropout,
)


@pytest.mark.parametrize(("margin", "n"), [(0.01, 95), (0.02, 24)])
def test_paired_noninferiority_of_dice_needs_the_published_numbers(margin, n) -> None:
    assert noninferiority_size(sd=0.03, margin=margin).n == n


def test_a_t_test_needs_about_two_patients_more() -> None:
    for margin in (0.01, 0.02):
        exact = TTestPower().solve_power(margin / 0.03, power=0.9, alpha=0.025, alternative="larger")
        assert 0 < exact - noninferiority_size(0.03, margin).n < 3


def test_planned_power_is_reached_in_simulation() -> None:
    rng = np.random.default_rng(1)
    n = noninferiority_size(0.03, 0.01).n
    gains = rng.normal(0, 0.03, size=(20_000, n))
    shown = gains.mean(axis=1) - norm.ppf(0.975) * 0.03 / np.sqrt(n) > -0.01
    assert shown.mean() == pytest.approx(0.9, abs=0.01)
    better = noninferiority_size(0.03, 0.01, gain=0.005).n  # an expected gain makes the study smaller
    shown = rng.normal(0.005, 0.03, size=(20_000, better)).mean(axis=1) > -0.01 + norm.ppf(
        0.975
    ) * 0.03 / np.sqrt(better)
    assert better < n / 2
    assert shown.mean() == pytest.approx(0.9, abs=0.015)


def test_error_of_an_area_is_that_of_hanley_and_mcneils_own_example() -> None:
    """CT images of 58 normal and 51 abnormal patients, area 0.893 (Radiology 1982; 143: 29): 0.032."""
    assert hanley_mcneil_se(0.893, 51, 58) == pytest.approx(0.0325, abs=5e-5)


def test_an_area_is_as_precise_as_planned_and_one_patient_fewer_is_not_enough() -> None:
    for prevalence in (0.5, 0.2):
        n = auc_size(0.85, 0.05, prevalence).n
        for size, enough in ((n, True), (n - 1, False)):
            half = 1.959964 * hanley_mcneil_se(0.85, size * prevalence, size * (1 - prevalence))
            assert (half <= 0.05) is enough
    assert auc_size(0.85, 0.05, 0.2).n > auc_size(0.85, 0.05, 0.5).n


def test_limits_of_agreement_follow_blands_rule_of_a_hundred() -> None:
    """Bland: 100 pairs give the limits to about ± 0.34 SD, by 1.96 sqrt(3 / n)."""
    n = agreement_size(0.34).n
    assert n == pytest.approx(100, abs=3)
    assert 1.96 * np.sqrt(3 / 100) == pytest.approx(0.34, abs=1e-3)
    for size, enough in ((n, True), (n - 1, False)):
        near, far = limit_factors(size)
        assert ((far - near) / 2 <= 0.34) is enough


def test_a_proportion_is_as_precise_as_planned() -> None:
    """At one half Wilson's interval needs z² cases fewer than the 385 of the textbook's."""
    assert proportion_size(0.5, 0.05).n == int(np.ceil(1.959964**2 / (4 * 0.05**2) - 1.959964**2)) == 381
    n = proportion_size(0.9, 0.05).n
    found = wilson(round(0.9 * n), n)
    assert (found.high - found.low) / 2 == pytest.approx(0.05, abs=5e-4)
    assert proportion_size(1.0, 0.05).n > 10  # certainty is planned for, too


def test_dropout_is_added_on_top() -> None:
    base = noninferiority_size(0.03, 0.01)
    assert with_dropout(base, 0.1).n == 106  # 95 / 0.9 = 105.6
    assert with_dropout(base, 0.5).n == 190
    assert with_dropout(base, 0.0) is base


def test_studies_that_cannot_be_are_refused() -> None:
    for call, words in (
        (lambda: noninferiority_size(0.03, 0), "margin is 0; it must lie above 0"),
        (lambda: noninferiority_size(np.nan, 0.01), "sd is nan"),
        (lambda: noninferiority_size(0.03, 0.01, gain=-0.01), "must lie above -0.01"),
        (lambda: noninferiority_size(0.03, 0.01, power=90), "power is 90; it must lie between 0 and 1"),
        (lambda: noninferiority_size(0.03, 0.01, power=0.02), "must lie above alpha"),
        (lambda: noninferiority_size(0.03, 1e-9), "More than 10,000,000 patients"),
        (lambda: proportion_size(0.5, 1e-6), "More than 10,000,000 patients"),
        (lambda: proportion_size(1.5, 0.05), "proportion is 1.5"),
        (lambda: auc_size(1.0, 0.05), "auc is 1"),
        (lambda: with_dropout(noninferiority_size(0.03, 0.01), 1.0), "dropout is 1"),
    ):
        with pytest.raises(ConfigError, match=words):
            call()


@pytest.fixture
def quiet(monkeypatch):
    """The command leaves the logging of this process alone."""
    monkeypatch.setattr(trials, "set_up_logging", lambda verbose: None)


def test_plan_study_prints_a_table_of_all_studies(quiet, capsys) -> None:
    assert trials.plan_study() == 0
    shown = capsys.readouterr().out
    for words in (
        " 95 ",
        " 24 ",
        "non-inferiority",
        "AUC",
        "Bland-Altman",
        "proportion",
        "Research use only",
    ):
        assert words in shown


def test_plan_study_gives_one_json_document_with_formula_and_assumptions(quiet, capsys) -> None:
    assert trials.plan_study(sd=0.05, margin=[0.02], dropout=0.1, as_json=True) == 0
    studies = json.loads(capsys.readouterr().out)["studies"]
    assert studies[0]["purpose"] == "paired non-inferiority"
    assert len(studies) == 4
    expected = with_dropout(noninferiority_size(0.05, 0.02), 0.1)
    assert studies[0]["n"] == expected.n
    assert studies[0]["assumptions"] == expected.assumptions


def test_plan_study_refuses_a_wrong_value_and_is_a_command_with_an_example(quiet) -> None:
    with pytest.raises(ConfigError, match="margin is -1; it must lie above 0"):
        trials.plan_study(margin=[-1.0])
    (command,) = [each for each in app.registered_commands if each.name == "plan-study"]
    assert "lnn-med plan-study --sd 0.03" in command.epilog
