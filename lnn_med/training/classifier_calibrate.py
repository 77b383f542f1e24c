"""What answers about people held back say of a classifier: calibration, reliability, numbers of its card."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnn_med.evaluation.classification import auc
from lnn_med.inference.classifier_bundle import ClassifierCalibration, NetworkCalibration
from lnn_med.inference.risk_model import RECORD, Reliability, RiskModel
from lnn_med.training.classifier_config import ClassifierRun
from lnn_med.training.classify import People, known_code
from lnn_med.training.held_back import (
    OLD_YEARS,
    HeldBack,
    fit_sum,
    prediction_sets,
    reliability,
    weight_interval,
)
from lnn_med.training.risk_fit import SETS, code_of

AGE, MMSE = RECORD.index("age"), RECORD.index("mmse")
FEWEST = 5  # of each class in a group with an AUC
AGREEING = 0.99  # share of sure early answers that the last exit must confirm
Values = NDArray[np.float64]


def calibrate(
    run: ClassifierRun, people: People, persons: list[str], held: HeldBack, models: tuple[RiskModel, ...]
) -> tuple[ClassifierCalibration, dict[str, Any]]:
    """Models of everyone, corrected by what happened to people held back; and the numbers of the card.

    A logistic regression of few people is too sure of itself: its logit is corrected by intercept and slope.
    Probabilities that reliability is counted on are cross-fitted, so that no one corrects their own.

    Args:
        run: the configuration.
        people: everyone.
        persons: names, in that order.
        held: answers about everyone with an outcome from models that had not seen them.
        models: fitted on everyone, in the order of SETS.
    """
    known = np.flatnonzero(people.dementia.isfinite().numpy())
    truth = people.dementia.double().numpy()[known]
    clinical = people.clinical.double().numpy()[known]
    ages, names = clinical[:, AGE], [persons[n] for n in known]
    corrected, offsets, risks = [], np.zeros((len(known), len(SETS))), {}
    for model in models:
        columns = [RECORD.index(name) for name in model.known]
        rows = np.flatnonzero(np.isfinite(clinical[:, columns]).all(axis=1))
        raw = held.risk[:, known[rows], code_of(model.known)].mean(axis=0)
        (intercept, slope), crossed = fit_sum(raw[:, None], truth[rows])
        offsets[rows, code_of(model.known)] = intercept + slope * raw
        risks[model.known] = crossed
        found = reliability(crossed, raw, truth[rows], ages[rows], [names[n] for n in rows])
        corrected.append(replace(model.recalibrated(intercept, slope), reliability=found))
    networks, told = [], []
    for column, hide in enumerate((True, False)):
        shown = people.clinical[known].clone()
        if hide:
            shown[:, MMSE] = math.nan
        offset = offsets[np.arange(len(known)), known_code(shown).numpy()]
        evidence = held.evidence[:, known, column].mean(axis=0)  # (N, exits)
        both = np.column_stack([offset, evidence[:, -1]])
        (constant, of_risk, of_places), crossed = fit_sum(both, truth)
        told.append((constant + of_risk * offset[:, None] + of_places * evidence, both))
        found = reliability(crossed, both.sum(axis=1), truth, ages, names)
        networks.append(NetworkCalibration(constant, of_risk, of_places, found))
    by_exit, logits = told[0]  # without MMSE
    sure = sure_logit(by_exit)
    leaving = np.zeros(len(truth), bool) if sure is None else np.abs(by_exit[:, 0]) >= sure
    worth = weight_interval(logits, truth, names, 1)
    by_exit_years = held.age[:, known].mean(axis=0)
    brain_ages = np.where(leaving, by_exit_years[:, 0], by_exit_years[:, -1])
    errors = np.abs(brain_ages - ages)[truth == 0]
    whole = ClassifierCalibration(
        coverage=run.coverage,
        sure=sure,
        risk_models=tuple(corrected),
        without_mmse=networks[0],
        with_mmse=networks[1],
        brain_age_mae=float(errors.mean()),
    )
    usual = corrected[SETS.index(RECORD[:MMSE])]
    male = auc(held.male[:, known].mean(axis=0), clinical[:, RECORD.index("sex")])
    metrics = {
        "people": len(truth),
        "with_dementia": int(truth.sum()),
        "age_sex_education": _numbers(usual.reliability, run.coverage),
        "network": _numbers(networks[0].reliability, run.coverage),
        "network_with_mmse": _numbers(networks[1].reliability, run.coverage),
        "image_slope": [round(value or 0.0, 3) for value in (worth.estimate, worth.low, worth.high)],
        "answered_by_exit_1": round(float(leaving.mean()), 3),
        "brain_age_mae_years": round(float(errors.mean()), 2),
        "sex_auc": round(float(male.estimate or 0.5), 3),
        "subgroups": subgroups(risks[RECORD[:MMSE]], truth, clinical),
    }
    return whole, metrics


def subgroups(risk: Values, truth: Values, clinical: Values) -> dict[str, dict[str, Any]]:
    """AUC, mean risk and frequency in groups of sex, age and education; no AUC of fewer than 5 in a class.

    Args:
        risk: probabilities about people held back (N,).
        truth: (N,) 1 or 0.
        clinical: (N, 4) in the order of RECORD.
    """
    age, sex, level = clinical[:, 0], clinical[:, 1], clinical[:, 2]
    groups = {
        "women": sex == 0,
        "men": sex == 1,
        "under 60": age < OLD_YEARS,
        "60 to 69": (age >= OLD_YEARS) & (age < 70),
        "70 to 79": (age >= 70) & (age < 80),
        "80 and older": age >= 80,
        "education 1 or 2": level <= 2,
        "education 3 to 5": level > 2,
    }
    found = {}
    for name, rows in groups.items():
        sick = int(truth[rows].sum())
        enough = min(sick, int(rows.sum()) - sick) >= FEWEST
        found[name] = {
            "people": int(rows.sum()),
            "with_dementia": sick,
            "mean_risk": round(float(risk[rows].mean()), 3) if rows.any() else None,
            "auc": round(float(auc(risk[rows], truth[rows]).estimate or 0.5), 3) if enough else None,
        }
    return found


def sure_logit(by_exit: Values) -> float | None:
    """Smallest size of the first exit's logit beyond which the last exit nearly always agrees; or None.

    Args:
        by_exit: logits of people held back (N, exits).
    """
    first, last = by_exit[:, 0], by_exit[:, -1]
    same = (first > 0) == (last > 0)
    for size in np.sort(np.abs(first)):
        beyond = np.abs(first) >= size
        if same[beyond].mean() >= AGREEING:
            return float(size)
    return None


def _numbers(found: Reliability, level: float) -> dict[str, Any]:
    sets = prediction_sets(found, level)
    return {
        "auc": [round(v, 3) for v in found.auc],
        "auc_from_60": [round(v, 3) for v in found.auc_old],
        "brier": round(found.brier, 3),
        "ece": round(found.ece, 3),
        "ece_null": round(found.ece_null, 3),
        "intercept": round(found.intercept, 2),
        "slope": round(found.slope, 2),
        "coverage_with": round(sets.with_dementia, 3),
        "coverage_without": round(sets.without, 3),
        "sets_of_both": round(sets.both, 3),
    }
