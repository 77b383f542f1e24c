"""Conformal class sets: by hand, by simulation, and in the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lnn_med.evaluation.class_sets import cross_fitted_sets, scores_of, set_summary, sets_at
from lnn_med.evaluation.intervals import NotEstimable
from lnn_med.evaluation.protocol import Protocol
from lnn_med.evaluation.report.sections.calibration import _class_sets
from lnn_med.evaluation.results.class_sets import class_set_results
from lnn_med.inference.calibration import conformal_quantile


def drawn(n: int, rng: np.random.Generator, sharpness: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that overstate how certain they are, and outcomes."""
    logit = rng.normal(0, 1.5, n)
    truth = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float)
    return 1 / (1 + np.exp(-sharpness * logit)), truth


@pytest.mark.parametrize(
    ("quantile", "expected"),
    [
        (0.3, [[True, False], [False, False], [False, True]]),  # 0.5: each class scores 0.5, out of reach
        (0.5, [[True, False], [True, True], [False, True]]),
        (0.05, [[False, False], [False, False], [False, True]]),
        (None, [[True, True]] * 3),  # too few calibration cases rule nothing out
    ],
)
def test_sets_hold_the_classes_within_the_quantile(quantile: float | None, expected: list) -> None:
    assert sets_at([0.1, 0.5, 0.99], quantile).tolist() == expected


def test_a_score_is_what_is_missing_to_the_true_class() -> None:
    np.testing.assert_allclose(scores_of([0.9, 0.9, 0.2], [1, 0, 0]), [0.1, 0.9, 0.2])
    for wrong in (([1.2], [1]), ([0.5], [2]), ([0.5, 0.5], [1])):
        with pytest.raises(ValueError, match=r"must|one of each"):
            scores_of(*wrong)


def test_sets_of_an_overconfident_model_cover_new_cases_as_often_as_they_say() -> None:
    """The threshold at 0.5 alone, on the same draws, is right far less often."""
    rng = np.random.default_rng(5)
    hits, calls = [], []
    for _ in range(2_000):
        chance, truth = drawn(70, rng)
        quantile = conformal_quantile(scores_of(chance[:60], truth[:60]), 0.9)
        sets = sets_at(chance[60:], quantile)
        hits.append(sets[np.arange(10), truth[60:].astype(int)].mean())
        calls.append(((chance[60:] >= 0.5) == truth[60:]).mean())
    assert 0.895 < np.mean(hits) < 0.92  # 55 of 61 is 0.902, plus ties
    assert np.mean(calls) < 0.8


def test_cross_fitted_sets_cover_and_a_patient_never_meets_its_own_scans() -> None:
    rng = np.random.default_rng(6)
    hits = []
    for _ in range(300):
        chance, truth = drawn(60, rng)
        sets = cross_fitted_sets(chance, truth, [f"P{n}" for n in range(60)], 0.9)
        hits.append(sets[np.arange(60), truth.astype(int)].mean())
    assert 0.89 < np.mean(hits) < 0.93
    # One patient with all the odd scans: were they in their own calibration, their scores would be usual.
    chance = np.r_[np.full(50, 0.1), np.full(10, 0.9)]
    odd = cross_fitted_sets(chance, np.zeros(60), [*(f"P{n}" for n in range(50)), *["Q"] * 10], 0.9)
    assert not odd[50:, 0].any()
    with pytest.raises(NotEstimable):
        cross_fitted_sets([0.5, 0.5], [0, 1], ["P", "P"], 0.9)


def test_the_summary_counts_sizes_and_classes() -> None:
    sets = np.array([[True, False], [True, True], [False, False], [False, True]])
    found = set_summary(sets, [0, 1, 1, 1], 0.9)
    assert (found.n_one, found.n_both, found.n_none) == (2, 1, 1)
    assert found.coverage.observed.estimate == 0.75
    assert found.no is not None
    assert found.yes is not None
    assert (found.no.estimate, found.yes.estimate) == (1.0, pytest.approx(2 / 3))
    assert set_summary(sets[:1], [0], 0.9).yes is None


@pytest.mark.parametrize("target", ["dementia", "dementia_network"])
def test_the_report_shows_the_sets_of_the_device_beside_cross_fitted_ones(target: str) -> None:
    rng = np.random.default_rng(7)
    chance, truth = drawn(40, rng)
    who = [f"P{n}" for n in range(40)]
    names = (["no dementia"], ["no", "yes"], ["No dementia"], ["no dementia", "dementia"])
    entries = [{"target": target, "prediction_set": names[n % 4], "coverage": 0.8} for n in range(40)]
    found = class_set_results(chance, truth, who, entries, Protocol())
    right = [n % 2 == 1 or truth[n] == 0 for n in range(40)]
    assert found["device"]["coverage"]["observed"]["estimate"] == pytest.approx(np.mean(right))
    assert found["device"]["coverage"]["nominal"] == 0.8
    assert found["cross_fitted"]["coverage"]["nominal"] == 0.9
    (table,) = _class_sets({"sets": json.loads(json.dumps(found))})
    assert [row[0] for row in table["rows"]] == ["of the device", "cross-fitted, other patients' quantile"]
    assert table["rows"][0][-1] == "20, 20, 0"


def test_a_class_that_nobody_knows_is_not_guessed() -> None:
    entries = [{"target": "dementia", "prediction_set": [name]} for name in ("dementia", "tumour")]
    found = class_set_results(np.array([0.4, 0.6]), np.array([0.0, 1.0]), ["P", "Q"], entries, Protocol())
    assert "tumour" in found["device"]["note"]
    assert "tumour" in json.dumps(_class_sets({"sets": found}))


def test_a_tool_without_sets_and_a_single_patient_are_said_so() -> None:
    found = class_set_results(np.array([0.4, 0.6]), np.array([0.0, 1.0]), ["P", "P"], [{}, {}], Protocol())
    words = [block["text"] for block in _class_sets({"sets": found})]
    assert "the predictions hold none" in words[0]
    assert "two patients" in words[1]


def test_probabilities_of_another_tool_reach_the_sets(tmp_path: Path) -> None:
    from lnn_med.evaluation.validation import read_study, record_of
    from tests.evaluation.label_maps import NAMES, references, truth, write

    references(tmp_path / "ref")
    (tmp_path / "ref" / "participants.csv").write_text("case,dx\na,yes\nb,no\nc,no\nd,no\ne,yes\n")
    write(tmp_path / "pred", {name: truth(seed) for seed, name in enumerate(NAMES)})
    (tmp_path / "pred" / "scores.csv").write_text("case,dementia_probability\na,0.9\nb,0.2\nd,0.1\ne,0.9\n")
    (tmp_path / "protocol.yaml").write_text("labels: {A: 1}\nclassification: {reference: dx}\n")
    study = read_study(
        tmp_path / "pred", tmp_path / "ref", tmp_path / "protocol.yaml", {}, None, lambda *_: None
    )
    sets = record_of(study, "")["classification"]["sets"]
    assert sets["device"] is None
    assert (sets["cross_fitted"]["n"], sets["cross_fitted"]["n_both"]) == (4, 4)  # nine are needed for 90 %
