"""Fitting of the risk models: the right slopes, a model for each set of known values, nobody imputed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import expit

from lnn_med.inference.risk_model import RECORD, risk_terms
from lnn_med.training.classify import known_code
from lnn_med.training.risk_fit import (
    SETS,
    both_sides_log,
    choose_structures,
    code_of,
    fit_risk_models,
    logits,
)

NAMES = ("Hippocampus", "InfLatVentricle")


def crowd(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Volumes, records and an outcome that one volume, age and MMSE decide."""
    rng = np.random.default_rng(seed)
    volumes = rng.normal([8.7, 6.0], [0.15, 0.5], (n, 2))
    record = np.column_stack(
        [rng.uniform(50, 90, n), rng.integers(0, 2, n), rng.integers(1, 6, n), rng.normal(27, 2, n)]
    )
    logit = -8 * (volumes[:, 0] - 8.7) + 0.8 * (record[:, 0] - 70) / 10 - 0.7 * (record[:, 3] - 27)
    return volumes, record, (rng.random(n) < expit(logit)).astype(float)


def test_slopes_are_those_that_made_the_outcome() -> None:
    models = {model.known: model for model in fit_risk_models(crowd(20_000)[0], NAMES, *crowd(20_000)[1:])}
    slopes = models[RECORD].slopes
    assert slopes["log Hippocampus"] == pytest.approx(-8, rel=0.05)
    assert slopes["age"] == pytest.approx(0.8, rel=0.1)
    assert slopes["mmse"] == pytest.approx(-0.7, rel=0.05)
    assert abs(slopes["log InfLatVentricle"]) < 0.1
    assert abs(slopes["sex"]) < 0.1


def test_there_is_a_model_for_each_set_and_its_number_is_the_networks() -> None:
    models = fit_risk_models(crowd(200)[0], NAMES, *crowd(200)[1:])
    assert [model.known for model in models] == list(SETS)
    assert len(set(map(code_of, SETS))) == 16
    for known in SETS:
        record = torch.tensor([[1.0 if name in known else math.nan for name in RECORD]])
        assert known_code(record).item() == code_of(known)


def test_logits_of_people_are_those_of_the_models_and_zero_where_a_value_is_unknown() -> None:
    volumes, record, truth = crowd(100)
    models = fit_risk_models(volumes, NAMES, record, truth)
    record[0, RECORD.index("mmse")] = math.nan
    found = logits(models, volumes, NAMES, record)
    for model in models:
        code = code_of(model.known)
        if "mmse" in model.known:
            assert found[0, code] == 0
        terms = risk_terms(
            dict(zip(NAMES, volumes[1], strict=True)),
            {name: record[1, RECORD.index(name)] for name in model.known},
        )
        assert expit(found[1, code]) == pytest.approx(model.probability(terms))


def test_unknown_outcomes_teach_nothing_and_unknown_values_leave_their_model_alone() -> None:
    volumes, record, truth = crowd(120)
    first = fit_risk_models(volumes[:100], NAMES, record[:100], truth[:100])
    truth[100:] = math.nan
    assert fit_risk_models(volumes, NAMES, record, truth) == first
    with pytest.raises(ValueError, match="with and without dementia"):
        fit_risk_models(volumes, NAMES, record, np.zeros(120))


def test_both_sides_are_added_before_the_logarithm() -> None:
    volumes = torch.tensor([[3000.0, 3500.0, 900.0, 20.0]]).log()
    names = ("Hippocampus_L", "Hippocampus_R", "3rdVentricle", "Hippocampus_L_Anterior")
    found, structures = both_sides_log(volumes, names)
    assert structures == ("3rdVentricle", "Hippocampus", "Hippocampus_L_Anterior")
    assert np.exp(found) == pytest.approx(np.array([[900.0, 6500.0, 20.0]]))


def test_the_volumes_that_are_chosen_are_those_that_decide_beside_the_record() -> None:
    rng = np.random.default_rng(0)
    _, record, _ = crowd(300)
    volumes = rng.normal(size=(300, 6))
    volumes[:, 1] = record[:, 0] / 10 + 0.1 * rng.normal(size=300)  # tells age, which is known anyway
    decides = 1.5 * volumes[:, 4] - 1.0 * volumes[:, 2] + (record[:, 0] - 70) / 5
    truth = (rng.random(300) < expit(decides)).astype(float)
    persons = [f"p{n}" for n in range(300)]
    assert choose_structures(volumes, record, truth, persons, 2) == [4, 2]
    assert choose_structures(volumes[:, :1], record, truth, persons, 2) == [0]
    with pytest.raises(ValueError, match=r"5 people with and without dementia .* age, sex, education"):
        choose_structures(volumes, record, np.where(np.arange(300) < 4, 1.0, 0.0), persons, 2)
    unknown = truth.copy()
    unknown[200:] = math.nan
    some = choose_structures(volumes[:200], record[:200], truth[:200], persons[:200], 3)
    volumes[200:] = math.nan  # of people without an outcome, nothing is read
    assert choose_structures(volumes, record, unknown, persons, 3) == some
