"""The risk models: sums of terms, one for each set of known values; sets that hold what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit

from lnn_med.inference.risk_model import (
    DEMENTIA,
    NO_DEMENTIA,
    POSSIBLE,
    Reliability,
    RiskModel,
    education_level,
    known_values,
    record_of,
    risk_terms,
)
from lnn_med.scoring.participants import RANGES

VOLUMES = {"Hippocampus": 8.7}


def test_the_probability_is_the_logistic_function_of_the_sum() -> None:
    slopes = {"log Hippocampus": -2.0, "age": 0.5, "age squared": 0.1}
    model = RiskModel(("age",), 16.0, slopes, {"log Hippocampus": 9.0, "age": 0.0, "age squared": 0.0})
    terms = risk_terms(VOLUMES, {"age": 80.0})
    assert terms == {"log Hippocampus": 8.7, "age": 1.0, "age squared": 1.0}
    assert model.probability(terms) == pytest.approx(expit(16 - 17.4 + 0.5 + 0.1))
    assert model.drivers(terms) == pytest.approx({"log Hippocampus": 0.6, "age": 0.5, "age squared": 0.1})


def test_only_what_is_known_becomes_a_term() -> None:
    record = record_of({"age": 70, "sex": "M", "education": 16, "mmse": 28})
    assert record == {"age": 70.0, "sex": 1.0, "education": 4.0, "mmse": 28.0}
    assert record_of({"sex": "F"}) == {"sex": 0.0}
    assert known_values({"mmse": 28.0, "age": math.nan, "sex": 0.0}) == ("sex", "mmse")
    assert set(risk_terms(VOLUMES, {"sex": 0.0})) == {"log Hippocampus", "sex"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("sex", value) for value in ("m", "X", "", 1.0)],
        *[("age", value) for value in (-1, 121, math.inf)],
        *[("mmse", value) for value in (31.0, -0.5)],
        *[("education", value) for value in (-1, 41)],
    ],
)
def test_a_value_that_cannot_be_is_refused_and_not_counted_as_another(name: str, value: float | str) -> None:
    with pytest.raises(ValueError, match=name):
        record_of({"age": 70.0, name: value})


def test_what_is_not_a_number_is_not_known_and_zero_is_a_value() -> None:
    assert record_of({"age": math.nan, "mmse": math.nan, "sex": "F"}) == {"sex": 0.0}
    assert record_of({"mmse": 0, "education": 0}) == {"mmse": 0.0, "education": 1.0}


def test_what_is_possible_is_the_same_in_a_table_of_people() -> None:
    assert POSSIBLE == RANGES


@pytest.mark.parametrize(("years", "level"), [(0, 1), (11, 1), (12, 2), (13, 3), (15, 3), (16, 4), (17, 5)])
def test_years_of_schooling_become_the_level_of_the_data(years: float, level: int) -> None:
    assert education_level(years) == level


def test_sets_hold_each_class_as_often_as_they_promise() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        logit = {name: rng.normal(mean, 1, 61) for name, mean in (("sick", 1.0), ("healthy", -1.0))}
        known = Reliability(
            sick=tuple(sorted(expit(logit["sick"][1:]))), healthy=tuple(sorted(expit(logit["healthy"][1:])))
        )
        found = [known.prediction_set(float(expit(logit[name][0])), 0.9) for name in ("sick", "healthy")]
        held.append((DEMENTIA in found[0], NO_DEMENTIA in found[1]))
    assert np.mean(held, axis=0) == pytest.approx([0.9, 0.9], abs=0.05)


def test_a_set_says_one_thing_when_sure_both_when_not_and_is_never_empty() -> None:
    apart = Reliability(sick=tuple(np.linspace(0.7, 0.9, 40)), healthy=tuple(np.linspace(0.1, 0.3, 40)))
    assert apart.prediction_set(0.85, 0.9) == (DEMENTIA,)
    assert apart.prediction_set(0.15, 0.9) == (NO_DEMENTIA,)
    assert len(apart.prediction_set(0.5, 0.9)) == 1  # unlike both
    alike = Reliability(sick=tuple(np.linspace(0.3, 0.7, 40)), healthy=tuple(np.linspace(0.3, 0.7, 40)))
    assert alike.prediction_set(0.5, 0.9) == (NO_DEMENTIA, DEMENTIA)
