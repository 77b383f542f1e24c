"""Fit the risk models: one logistic regression for each set of known clinical values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from lnn_med.inference.risk_model import RECORD, RiskModel, risk_terms

INVERSE_PENALTY = 10.0  # on standardised terms: nearly none
CHOSEN_BESIDE = ("age", "sex", "education")
FOLDS, REPEATS = 5, 4  # of the cross-validation that chooses structures
SETS = tuple(known for size in range(len(RECORD) + 1) for known in combinations(RECORD, size))
Table = NDArray[np.float64]


def code_of(known: Sequence[str]) -> int:
    """Number of a set of known values, as `known_code` counts it."""
    return sum(2 ** RECORD.index(name) for name in known)


def both_sides_log(volumes: Tensor, names: Sequence[str]) -> tuple[Table, tuple[str, ...]]:
    """Logarithms of left and right together, (N, structures), and the structures, sorted.

    Args:
        volumes: logarithms of mm³ (N, S).
        names: of the S volumes.
    """
    whole = [name.removesuffix("_L").removesuffix("_R") for name in names]
    structures = tuple(sorted(set(whole)))
    sides = [[n for n, name in enumerate(whole) if name == structure] for structure in structures]
    sums = [volumes[:, both].double().logsumexp(dim=1) for both in sides]
    return torch.stack(sums, dim=1).numpy(), structures


def choose_structures(
    log_volumes: Table, clinical: Table, dementia: Table, persons: Sequence[str], count: int
) -> list[int]:
    """Columns of the volumes that tell most beside age, sex and education, added one by one.

    Each is the one with the largest AUC in four repeats of a five-fold cross-validation by person. Whoever
    judges these models must have had no part in it.

    Args:
        log_volumes: (N, S).
        clinical: (N, 4) in the order of RECORD; NaN where unknown.
        dementia: (N,) 1, 0 or NaN.
        persons: of each row.
        count: how many.

    Raises:
        ValueError: fewer than FOLDS people with, or without, dementia whose record is known.
    """
    columns = [RECORD.index(name) for name in CHOSEN_BESIDE]
    rows = np.flatnonzero(np.isfinite(clinical[:, columns]).all(axis=1) & np.isfinite(dementia))
    if min((dementia[rows] == 1).sum(), (dementia[rows] == 0).sum()) < FOLDS:
        known = ", ".join(CHOSEN_BESIDE)
        raise ValueError(f"{FOLDS} people with and without dementia are needed whose {known} are known")
    records = [dict(zip(CHOSEN_BESIDE, map(float, each), strict=True)) for each in clinical[rows][:, columns]]
    record = np.array([list(risk_terms({}, each).values()) for each in records])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=1000))
    groups = np.array(persons)[rows]
    folds = [
        pair
        for repeat in range(REPEATS)
        for pair in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=repeat).split(
            record, dementia[rows], groups
        )
    ]

    def worth(chosen: list[int]) -> float:
        table = np.column_stack([record, log_volumes[rows][:, chosen]])
        return float(cross_val_score(model, table, dementia[rows], scoring="roc_auc", cv=folds).mean())

    found: list[int] = []
    while len(found) < min(count, log_volumes.shape[1]):
        others = [column for column in range(log_volumes.shape[1]) if column not in found]
        found.append(max(others, key=lambda column: worth([*found, column])))
    return found


def fit_risk_models(
    log_volumes: Table, structures: Sequence[str], clinical: Table, dementia: Table
) -> tuple[RiskModel, ...]:
    """A model for each set of SETS, from the people whose values of that set and outcome are known.

    Args:
        log_volumes: (N, S).
        structures: names of the S volumes.
        clinical: (N, 4) in the order of RECORD; NaN where unknown.
        dementia: (N,) 1, 0 or NaN.

    Raises:
        ValueError: a set for which no one with, or no one without dementia is known.
    """
    return tuple(_fit(known, log_volumes, structures, clinical, dementia) for known in SETS)


def logits(
    models: Sequence[RiskModel], log_volumes: Table, structures: Sequence[str], clinical: Table
) -> Table:
    """(N, sets) in the order of `code_of`; 0 where a value that the model needs is unknown."""
    found = np.zeros((len(clinical), len(models)))
    for model in models:
        for row, (volumes, values) in enumerate(zip(log_volumes, clinical, strict=True)):
            terms = _terms(model.known, volumes, structures, values)
            if terms is not None:
                found[row, code_of(model.known)] = model.logit(terms)
    return found


def _terms(
    known: Sequence[str], volumes: Table, structures: Sequence[str], values: Table
) -> dict[str, float] | None:
    """Terms of one person; None where a known value is not known of them."""
    record = {name: float(values[RECORD.index(name)]) for name in known}
    if not all(map(math.isfinite, record.values())):
        return None
    return risk_terms(dict(zip(structures, map(float, volumes), strict=True)), record)


def _fit(
    known: tuple[str, ...], log_volumes: Table, structures: Sequence[str], clinical: Table, dementia: Table
) -> RiskModel:
    rows = [
        _terms(known, volumes, structures, values)
        for volumes, values in zip(log_volumes, clinical, strict=True)
    ]
    usable = [n for n, row in enumerate(rows) if row is not None and math.isfinite(dementia[n])]
    truth = dementia[usable]
    if len(set(truth)) < 2:
        raise ValueError(f"people with and without dementia are needed whose {known or 'outcome'} is known")
    names = list(rows[usable[0]] or ())
    x = np.array([[(rows[n] or {})[name] for name in names] for n in usable])
    centre, spread = x.mean(axis=0), x.std(axis=0).clip(min=1e-9)
    fitted = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit((x - centre) / spread, truth)
    slopes = fitted.coef_[0] / spread
    intercept = float(fitted.intercept_[0] - slopes @ centre)
    return RiskModel(
        known,
        intercept,
        {name: float(value) for name, value in zip(names, slopes, strict=True)},
        {name: float(value) for name, value in zip(names, centre, strict=True)},
    )
