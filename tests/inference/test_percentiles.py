"""Percentile curves: known distributions are found again; where nobody was measured there is no answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm

from lnn_med.inference.percentiles import Curve, Percentiles, Person, both_sides, covariates
from lnn_med.training.percentile_fit import fit_curve

ICV = 1_500_000.0
TRUE = Curve(log=False, mean=(4000.0, -100.0, -20.0, 150.0, 3000.0), log_spread=(math.log(250.0), 0.1))


def crowd(n: int, seed: int = 0) -> list[Person]:
    rng = np.random.default_rng(seed)
    return [
        Person(age, sex, icv)
        for age, sex, icv in zip(
            rng.uniform(20, 85, n), rng.choice(["F", "M"], n), rng.normal(ICV, 120_000, n), strict=True
        )
    ]


def volumes(curve: Curve, people: list[Person], seed: int = 1) -> np.ndarray:
    chances = np.random.default_rng(seed).uniform(0, 100, len(people))
    return np.array([curve.volume_mm3(p, person, ICV) for p, person in zip(chances, people, strict=True)])


@pytest.mark.parametrize("log", [False, True])
def test_a_percentile_and_its_volume_are_each_others_inverse(log: bool) -> None:
    curve = Curve(
        log, (8.0, 0.1, 0.0, 0.05, 0.9) if log else TRUE.mean, (-1.5, 0.1) if log else TRUE.log_spread
    )
    known = Percentiles(ages=(20, 86), usual_icv_mm3=ICV, curves={"Hippocampus": curve})
    for person in crowd(20):
        for percentile in (1, 25, 50, 97.5):
            volume = curve.volume_mm3(percentile, person, ICV)
            assert known.percentile("Hippocampus", volume, person) == pytest.approx(percentile)


def test_a_known_distribution_is_found_again() -> None:
    people = crowd(4000)
    found = fit_curve(volumes(TRUE, people), people, ICV)
    assert found is not None
    assert found.inside is not None
    assert abs(found.inside - 0.9) < 0.02
    for person in crowd(30, seed=5):
        for percentile in (5, 50, 95):
            expected = TRUE.volume_mm3(percentile, person, ICV)
            spread = TRUE.volume_mm3(84, person, ICV) - TRUE.volume_mm3(50, person, ICV)
            assert abs(found.volume_mm3(percentile, person, ICV) - expected) < 0.2 * spread


def test_with_an_even_spread_the_mean_is_that_of_least_squares() -> None:
    people = crowd(60)
    even = Curve(False, TRUE.mean, (math.log(250.0), 0.0))
    measured = volumes(even, people)
    found = fit_curve(measured, people, ICV)
    rows = np.array([covariates(person, ICV, False) for person in people])
    plain = sm.OLS(measured, rows).fit()
    assert found is not None
    assert not found.log
    away = rows @ np.array(found.mean) - plain.fittedvalues
    assert np.abs(away).max() < 2 * plain.bse[0]


def test_skewed_volumes_get_a_curve_of_logarithms_and_even_ones_do_not() -> None:
    people = crowd(300)
    skewed = Curve(True, (9.5, 0.2, 0.02, 0.1, 1.0), (math.log(0.5), 0.0))
    for curve in (skewed, TRUE):
        found = fit_curve(volumes(curve, people), people, ICV)
        assert found is not None
        assert found.log == curve.log


def test_a_structure_that_someone_lacks_gets_no_curve() -> None:
    people = crowd(50)
    measured = volumes(TRUE, people)
    measured[7] = 0
    assert fit_curve(measured, people, ICV) is None


def test_nobody_is_compared_beyond_the_ages_that_were_measured() -> None:
    known = Percentiles(ages=(20, 86), usual_icv_mm3=ICV, curves={"Hippocampus": TRUE})
    assert known.percentile("Hippocampus", 3900, Person(86, "F", ICV)) is not None
    assert known.percentile("Hippocampus", 3900, Person(86.5, "F", ICV)) is None
    assert known.percentile("Hippocampus", 3900, Person(19, "M", ICV)) is None
    assert known.percentile("Amygdala", 3900, Person(50, "M", ICV)) is None


@pytest.mark.parametrize("sex", ["m", "X", ""])
def test_a_sex_that_is_not_known_is_not_taken_for_a_woman(sex: str) -> None:
    with pytest.raises(ValueError, match="F or M"):
        Person(50, sex, ICV)


@pytest.mark.parametrize("log", [False, True])
def test_head_size_is_taken_out_of_the_adjusted_volume(log: bool) -> None:
    curve = Curve(log, (8.0, 0.1, 0.0, 0.05, 0.9) if log else TRUE.mean, (-1.5, 0.0) if log else (5.5, 0.0))
    for person in crowd(10):
        usual = Person(person.age, person.sex, ICV)
        for percentile in (10, 60):  # the same percentile in a head of usual size
            volume = curve.volume_mm3(percentile, person, ICV)
            assert curve.adjusted_mm3(volume, person, ICV) == pytest.approx(
                curve.volume_mm3(percentile, usual, ICV)
            )


def test_lines_reach_from_the_youngest_to_the_oldest_at_this_head_size() -> None:
    known = Percentiles(ages=(20, 86), usual_icv_mm3=ICV, curves={"Hippocampus": TRUE})
    person = Person(90.0, "M", 1.1 * ICV)
    found = known.reference("Hippocampus", 4000.0, person, (5, 50))
    assert found is not None
    assert found.percentile is None  # nobody was that old
    assert (found.ages_years[0], found.ages_years[-1]) == (20, 86)
    assert max(np.diff(found.ages_years)) <= 5
    for number, line in found.lines_mm3.items():
        for age, value in zip(found.ages_years, line, strict=True):
            assert value == pytest.approx(TRUE.volume_mm3(number, Person(age, "M", 1.1 * ICV), ICV))
    assert known.reference("Amygdala", 4000.0, person, (5,)) is None


def test_both_sides_are_summed_under_the_plain_name() -> None:
    assert both_sides({"Frontal_GM_L": 2.0, "Frontal_GM_R": 3.0, "CSF": 7.0}) == {"Frontal_GM": 5.0}
