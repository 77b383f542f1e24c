"""Training of a classifier: nobody judges themselves, what ships are the models of everyone, corrected."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit

from lnn_med.errors import ConfigError
from lnn_med.inference.risk_model import RECORD, risk_terms
from lnn_med.models.brain_classifier import ClassifierConfig
from lnn_med.training import dementia, held_back
from lnn_med.training.classifier_calibrate import calibrate, subgroups, sure_logit
from lnn_med.training.classifier_config import ClassifierRun, is_classifier_run, read_classifier_run
from lnn_med.training.classify import ClassifierSchedule, People
from lnn_med.training.dementia import Cohort, cross_validate, fit_network, folds_of, gather, risk_models
from lnn_med.training.held_back import fit_sum, mean_logit, prediction_sets, reliability, weight_interval
from lnn_med.training.people import Measured, PeopleSource
from lnn_med.training.risk_fit import SETS, code_of
from lnn_med.training.run_config import shipped_config

NETWORK = ClassifierConfig(features=3, structures=4, grid=(2, 2, 2), width=8, attention_top_k=1)
RUN = ClassifierRun(
    "classifier",
    "toy",
    "test",
    PeopleSource("a"),
    PeopleSource("b"),
    NETWORK,
    structures=1,
    schedule=ClassifierSchedule(first_epochs=1, epochs=1),
    folds=3,
    seeds=2,
)
PATIENTS, OTHERS = 90, 12


def cohort(seed: int = 0) -> Cohort:
    """Patients whose hippocampus and age decide, some measured twice, and others without an outcome."""
    rng = np.random.default_rng(seed)
    n = PATIENTS + OTHERS
    volume = rng.normal(8.7, 0.15, n)
    clinical = np.column_stack(
        [rng.uniform(40, 90, n), rng.integers(0, 2, n), rng.integers(1, 6, n), rng.normal(27, 2, n)]
    )
    truth = (rng.random(n) < expit(-10 * (volume - 8.7) + (clinical[:, 0] - 65) / 10)).astype(float)
    truth[PATIENTS:] = math.nan
    people = People(
        torch.from_numpy(rng.normal(size=(n, 3, 2, 2, 2))).float(),
        torch.ones(n, 2, 2, 2, dtype=torch.bool),
        torch.from_numpy(rng.normal(size=(n, 4))).float(),
        torch.from_numpy(clinical).float(),
        torch.from_numpy(truth).float(),
        torch.zeros(n, 16),
    )
    persons = [f"p{max(1, k)}" for k in range(n)]  # the first two are one person
    volumes = np.column_stack([rng.normal(size=n), volume])
    summaries = rng.normal(size=(n, 4)).astype(np.float32)
    return Cohort(people, volumes, ("Amygdala", "Hippocampus"), persons, summaries)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_back, "RESAMPLES", 100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folds")


@pytest.fixture(scope="module")
def held(folder: Path) -> Any:
    return cross_validate(RUN, cohort(), folder)


def test_folds_keep_persons_together_and_hold_everyone_with_an_outcome_back_once() -> None:
    made = cohort()
    tested: list[int] = []
    for train, test in folds_of(made, 3, 0):
        assert not {made.persons[k] for k in train} & {made.persons[k] for k in test}
        assert set(range(PATIENTS, PATIENTS + OTHERS)) <= set(train)
        share = made.people.dementia[test].mean()
        assert share == pytest.approx(made.people.dementia[:PATIENTS].mean().item(), abs=0.12)
        tested += list(test)
    assert sorted(tested) == list(range(PATIENTS))


def test_answers_about_the_held_back_come_from_models_of_the_others(held: Any) -> None:
    made = cohort()
    train, test = folds_of(made, 3, 1)[2]
    models = {model.known: model for model in risk_models(RUN, made.of(train))}
    for row in test[:3]:
        values = made.people.clinical[row].double().numpy()
        terms = risk_terms(
            {"Hippocampus": made.log_volumes[row, 1]}, dict(zip(RECORD, map(float, values), strict=True))
        )
        assert held.risk[1, row, code_of(RECORD)] == pytest.approx(models[RECORD].logit(terms), abs=1e-4)
    assert np.isfinite(held.evidence[:, :PATIENTS]).all()
    assert np.isnan(held.evidence[:, PATIENTS:]).all()
    assert held.age.shape == (RUN.seeds, PATIENTS + OTHERS, NETWORK.exits)


def test_each_training_fold_chooses_its_volumes() -> None:
    made, wanted = cohort(), ("Hippocampus", "Amygdala")
    learners = made.of(folds_of(made, 3, 0)[0][0])
    changed = learners._replace(log_volumes=learners.log_volumes[:, ::-1].copy())
    for people, name in zip((learners, changed), wanted, strict=True):
        assert {model.structures for model in risk_models(RUN, people)} == {(name,)}


def test_copies_go_along_and_one_that_was_not_placed_is_replaced_by_the_scan(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = cohort()
    residual = torch.zeros(len(made.persons))
    residual[3] = math.inf

    def measure(*arguments: Any) -> Measured:
        copy = arguments[-1]
        people = made.people._replace(volumes=made.people.volumes + copy, image=made.people.image + copy)
        lost = residual if copy == 2 else torch.zeros(len(made.persons))
        return Measured(people, made.persons, lost, torch.from_numpy(made.summaries))

    monkeypatch.setattr(dementia, "measure_people", measure)
    labels = [SimpleNamespace(name=name) for name in ("Hippocampus_L", "Hippocampus_R", "Rest_L", "Rest_R")]
    engine: Any = SimpleNamespace(bundle=SimpleNamespace(info=SimpleNamespace(labels=labels)))
    found = gather(replace(RUN, copies=2), engine, np.zeros((4, 3)), tmp_path)
    some = found.of(np.array([3, 5]))
    away = [(each.people.image - some.people.image).mean(dim=(1, 2, 3, 4)).tolist() for each in some.copies]
    assert np.allclose(away, [[1, 1], [0, 2]], atol=1e-5)
    volumes = [each.log_volumes[:, 0] - some.log_volumes[:, 0] for each in some.copies]
    assert np.allclose(volumes, [[1, 1], [0, 2]], atol=1e-5)

    seen: list[Any] = []
    monkeypatch.setattr(dementia, "fit_classifier", lambda *arguments: seen.extend(arguments))
    models = risk_models(RUN, found)
    assert found.structures == ("Hippocampus", "Rest")
    fit_network(RUN, found, models, 0)
    assert len(seen[-1]) == 2
    assert not torch.allclose(seen[-1][0].offsets[:PATIENTS], seen[0].offsets[:PATIENTS])


def test_what_was_trained_is_not_trained_again(
    held: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(dementia, "fit_classifier", never)
    again = cross_validate(RUN, cohort(), folder)
    assert all(np.array_equal(one, two, equal_nan=True) for one, two in zip(held, again, strict=True))


def test_shipped_models_are_those_of_everyone_corrected_by_the_held_back(held: Any) -> None:
    made = cohort()
    models = risk_models(RUN, made)
    found, metrics = calibrate(RUN, made.people, made.persons, held, models)
    truth = made.people.dementia[:PATIENTS].double().numpy()
    for model, corrected in zip(models, found.risk_models, strict=True):
        raw = held.risk[:, :PATIENTS, code_of(model.known)].mean(axis=0)
        (intercept, slope), crossed = fit_sum(raw[:, None], truth)
        assert corrected.intercept == pytest.approx(intercept + slope * model.intercept)
        assert corrected.slopes["log Hippocampus"] == pytest.approx(slope * model.slopes["log Hippocampus"])
        assert corrected.reliability.people == PATIENTS
        assert corrected.reliability.sick == pytest.approx(sorted(crossed[truth == 1]), abs=1e-4)
    told = found.risk_models[SETS.index(RECORD[:3])].reliability
    assert metrics["age_sex_education"]["auc"][0] == round(told.auc[0], 3)
    assert told.auc[1] < told.auc[0] < told.auc[2]
    assert metrics["people"] == PATIENTS
    assert sum(metrics["subgroups"][sex]["people"] for sex in ("women", "men")) == PATIENTS


@pytest.mark.parametrize(("agreeing", "early", "error"), [(True, 1.0, 3.0), (False, 0.0, 8.0)])
def test_brain_age_is_judged_at_the_exit_that_answers(
    held: Any, agreeing: bool, early: float, error: float
) -> None:
    made = cohort()
    ages = made.people.clinical[:, 0].double().numpy()
    years = np.stack([ages + 3, ages - 8], axis=-1)  # of exit 1 and of the last
    sure = np.where(made.people.dementia == 1, 9.0, -9.0)
    last = np.stack([sure if agreeing else -sure, sure], axis=-1)
    told = held._replace(age=np.stack([years] * 2), evidence=np.stack([np.stack([last] * 2, axis=1)] * 2))
    found, metrics = calibrate(RUN, made.people, made.persons, told, risk_models(RUN, made))
    assert metrics["answered_by_exit_1"] == early
    assert found.brain_age_mae == pytest.approx(error, abs=1e-4)


def test_noise_is_given_no_weight_and_a_signal_its_own() -> None:
    rng = np.random.default_rng(0)
    signal, noise = rng.normal(size=1000), rng.normal(size=1000)
    truth = (rng.random(1000) < expit(0.3 + 1.5 * signal)).astype(float)
    weights, crossed = fit_sum(np.column_stack([signal, noise]), truth)
    assert weights == pytest.approx((0.3, 1.5, 0.0), abs=0.25)
    found = reliability(crossed, crossed, truth, np.full(1000, 70.0), [str(k) for k in range(1000)])
    assert found.slope == pytest.approx(1, abs=0.2)
    assert found.ece <= found.ece_null
    sets = prediction_sets(found, 0.9)
    assert sets[:2] == pytest.approx((0.9, 0.9), abs=0.02)
    both = [len(found.prediction_set(p, 0.9)) == 2 for p in found.sick + found.healthy]
    assert sets.both == pytest.approx(np.mean(both), abs=0.01)
    people = [str(k) for k in range(1000)]
    for column, worth in ((0, 1.5), (1, 0.0)):
        gap = weight_interval(np.column_stack([signal, noise]), truth, people, column)
        assert gap.low < worth < gap.high
    assert found.auc == found.auc_old


def test_answers_of_seeds_are_averaged_as_logits() -> None:
    assert mean_logit(np.array([[0.1, 0.5], [0.9, 0.8]])) == pytest.approx([0.5, 2 / 3])


def test_an_early_answer_is_sure_where_the_last_one_agrees() -> None:
    first = np.array([-3.0, -2.0, -0.5, 0.4, 1.0, 3.0])
    assert sure_logit(np.column_stack([first, first])) == pytest.approx(0.4)
    assert sure_logit(np.column_stack([first, np.where(np.abs(first) < 2, -first, first)])) == 2.0
    assert sure_logit(np.column_stack([first, -first])) is None


def test_groups_without_enough_of_both_have_no_auc() -> None:
    clinical = np.column_stack([np.r_[np.full(20, 40.0), np.full(20, 75.0)], np.zeros(40), np.ones(40)])
    truth = np.r_[np.zeros(20), np.ones(10), np.zeros(10)]
    found = subgroups(np.linspace(0.9, 0.1, 40), truth, clinical)
    assert found["under 60"] == {"people": 20, "with_dementia": 0, "mean_risk": 0.705, "auc": None}
    assert found["70 to 79"]["auc"] == 1.0
    assert found["men"]["people"] == 0


def test_the_shipped_configuration_is_a_classifiers_and_others_are_not(tmp_path: Path) -> None:
    assert is_classifier_run(shipped_config("dementia-t1"))
    assert not is_classifier_run(shipped_config("brain-t1"))
    run = read_classifier_run(shipped_config("dementia-t1"), ["patients.root=/x", "seeds=1"])
    assert (run.patients.root, run.patients.education, run.seeds) == ("/x", "educ", 1)
    with pytest.raises(ConfigError, match="folds"):
        read_classifier_run(shipped_config("dementia-t1"), ["folds=1"])
