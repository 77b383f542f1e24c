"""Probabilities against diagnoses: endpoints, groups, another tool, and names that nobody holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lnn_med.errors import ConfigError
from lnn_med.evaluation.classification import compare_auc, score_interval
from lnn_med.evaluation.intervals import wilson
from lnn_med.evaluation.report.figures import figures
from lnn_med.evaluation.report.sections.document import document
from lnn_med.evaluation.report.sections.remarks import remarks
from lnn_med.evaluation.validation import read_study, record_of, validate
from tests.cli_runner import run
from tests.evaluation.label_maps import references, truth, write

N = 60
RNG = np.random.default_rng(4)
ILL = np.arange(N) % 2 == 0
GOOD = np.where(ILL, 0.7, 0.3) + RNG.normal(0, 0.2, N)
GOOD = np.clip(GOOD, 0.01, 0.99).round(4)
POOR = np.clip(0.5 + RNG.normal(0, 0.2, N), 0.01, 0.99).round(4)
CLASSIFICATION = "classification: {reference: dx, positive: [AD]}\n"


def write_scores(folder: Path, chances: np.ndarray, without: tuple[int, ...] = ()) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"c{i:02d},{chance}\n" for i, chance in enumerate(chances) if i not in without]
    (folder / "scores.csv").write_text("case,dementia_probability\n" + "".join(rows))


def write_people(folder: Path, header: str = "case,patient,dx,sex", pairs: bool = False) -> None:
    """60 cases, half of them ill; `pairs`: two neighbouring cases of one diagnosis are one patient."""
    rows = [
        f"c{i:02d},P{i % 2 + i // 4 * 2 if pairs else i},{'AD' if ILL[i] else 'CN'},{'F' if i % 3 else 'M'}\n"
        for i in range(N)
    ]
    (folder / "people.csv").write_text(header + "\n" + "".join(rows))


def record_in(folder: Path, protocol: str = CLASSIFICATION, against: str | None = None) -> dict[str, Any]:
    (folder / "protocol.yaml").write_text(protocol)
    study = read_study(
        folder / "pred",
        folder / "people.csv",
        folder / "protocol.yaml",
        {},
        folder / against if against else None,
        lambda *_: None,
    )
    return record_of(study, "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_scores(tmp_path / "pred", GOOD)
    write_scores(tmp_path / "poor", POOR)
    write_people(tmp_path)
    return tmp_path


def words(record: Mapping[str, Any], number: int) -> str:
    section = document({**record, "sha256": ""})[number]
    return json.dumps([dict(block) for block in section.blocks], ensure_ascii=False)


def test_an_auc_can_be_the_primary_endpoint_of_a_final_report(folder: Path) -> None:
    protocol = "status: FINAL\nprimary: {metric: auc, threshold: 0.8}\nsecondary:\n"
    protocol += (
        "- {metric: sensitivity, threshold: 0.99}\n- {metric: specificity, threshold: 0.5, rule: estimate}\n"
    )
    record = record_in(folder, protocol + CLASSIFICATION)
    area, sensitivity, specificity = record["endpoints"]
    found = record["classification"]["all"]
    assert record["status"] == "FINAL"
    assert area["number"]["estimate"] == found["auc"]["estimate"]
    assert area["verdict"] == ("met" if found["auc"]["low"] >= 0.8 else "not met") == "met"
    assert (sensitivity["verdict"], specificity["verdict"]) == ("not met", "met")
    assert (sensitivity["number"]["n"], sensitivity["number"]["n_patients"]) == (30, 30)
    assert "AUC: 0." in words(record, 5)
    assert "sensitivity at the locked threshold" in words(record, 2)
    assert "endpoints" in figures(record)


def test_a_missing_probability_is_a_wrong_call_in_the_endpoint_too(folder: Path) -> None:
    protocol = "primary: {metric: sensitivity, threshold: 0.5}\n" + CLASSIFICATION
    whole = record_in(folder, protocol)["endpoints"][0]
    write_scores(folder / "pred", GOOD, without=(0, 2, 4))  # three of the 30 ill
    right = int((GOOD[ILL] >= 0.5).sum())
    lost = int((GOOD[[0, 2, 4]] >= 0.5).sum())
    found = record_in(folder, protocol)["endpoints"][0]
    assert whole["number"]["estimate"] == pytest.approx(right / 30)
    assert found["number"]["estimate"] == pytest.approx((right - lost) / 30)
    assert found["other_rule"]["estimate"] == pytest.approx((right - lost) / 27)
    assert lost > 0
    assert found["n_missing"] == 3


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("primary: {metric: auc, threshold: 0.8}", "no `classification`"),
        ("primary: {metric: auc, threshold: 0.8, structure: A}\n" + CLASSIFICATION, "neither `structure`"),
        ("primary: {metric: dsc, threshold: 0.8}\n" + CLASSIFICATION, "compares label maps"),
        ("classification: {reference: dx, positive: [AD], target: dementai}", "probabilities of dementia"),
    ],
)
def test_what_a_study_of_probabilities_cannot_answer_is_refused(
    folder: Path, protocol: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        record_in(folder, protocol)


@pytest.mark.parametrize("name", ["Diagnosis", "diagnosis", "Stage", "disease_stage"])
def test_the_column_of_the_diagnosis_is_found_however_it_is_spelled(folder: Path, name: str) -> None:
    write_people(folder, header=f"Case,Patient,{name},Gender")
    record = record_in(
        folder, f"classification: {{reference: {name}, positive: [AD]}}\nsubgroups: [Gender]\n"
    )
    assert record["classification"]["n"] == N
    assert record["classification"]["n_positive"] == 30
    assert {one["group"] for one in record["call_groups"][0]["groups"]} == {"F", "M"}
    assert record["people"]["unused_columns"] == []


def test_a_diagnosis_that_nobody_has_is_told_with_what_the_column_holds(folder: Path) -> None:
    record = record_in(folder, "classification: {reference: dx, positive: [Alzheimer]}\n")
    (said,) = [one for one in remarks(record) if "No case is positive" in one]
    assert "AD (30), CN (30)" in said
    assert "Alzheimer" in said
    assert "AD (30, negative)" in words(record, 8)
    assert not any("positive" in one for one in remarks(record_in(folder)))


def test_sensitivity_and_specificity_of_groups_have_wilsons_interval_and_are_marked_when_small(
    folder: Path,
) -> None:
    record = record_in(folder, CLASSIFICATION + "subgroups: [sex, dx]\n")
    assert record["subgroups"] is None  # no label maps
    found = {(part["metric"], one["group"]): one for part in record["call_groups"] for one in part["groups"]}
    men = (np.arange(N) % 3 == 0) & ILL
    own = found[("sensitivity", "M")]
    right = int((GOOD[men] >= 0.5).sum())
    assert (own["n_scans"], own["too_few"]) == (10, True)
    assert own["estimate"]["low"] == pytest.approx(wilson(right, 10).low)
    rest = ILL & ~men
    expected = (GOOD[men] >= 0.5).mean() - (GOOD[rest] >= 0.5).mean()
    assert own["difference"]["estimate"] == pytest.approx(expected)
    assert not any(column == "dx" for column in {one["column"] for one in found.values()})
    assert "Specificity at the threshold" in words(record, 10)
    assert "too few (n < 20)" in words(record, 10)


def test_another_tools_probabilities_are_compared_by_delongs_paired_test(folder: Path) -> None:
    record = record_in(folder, against="poor")
    found, expected = record["comparison_auc"], compare_auc(GOOD, POOR, ILL)
    assert record["comparison"] is None
    assert found["gain"]["estimate"] == pytest.approx(expected.difference.estimate)
    assert found["gain"]["low"] == pytest.approx(expected.difference.low)
    assert found["p"] == pytest.approx(expected.p)
    assert found["verdict"] == "superior"
    assert "Gain in AUC of dementia" in words(record, 5)


def test_a_tool_that_leaves_out_cases_gains_nothing_by_it(folder: Path) -> None:
    before = record_in(folder, against="poor")["comparison_auc"]
    write_scores(folder / "pred", GOOD, without=tuple(range(20)))
    after = record_in(folder, against="poor")["comparison_auc"]
    assert (after["missing_new"], after["missing_other"], after["n_cases"]) == (20, 0, N)
    assert after["gain"]["estimate"] < before["gain"]["estimate"] - 0.1


def test_two_scans_of_a_patient_widen_the_interval_of_the_gain_and_have_no_p(folder: Path) -> None:
    """Each probability twice: the second scan of a patient brings nothing new."""
    alone = record_in(folder, against="poor")["comparison_auc"]["gain"]
    for name, chances in (("pred", GOOD), ("poor", POOR)):
        write_scores(folder / name, np.stack([chances[:30:2], chances[1:30:2]] * 2).T.ravel().round(4))
    write_people(folder, pairs=True)
    paired = record_in(folder, against="poor")["comparison_auc"]
    assert paired["gain"]["n_patients"] == 30
    assert "over patients" in paired["gain"]["method"]
    assert paired.get("p") is None
    assert paired["gain"]["high"] - paired["gain"]["low"] > 1.2 * (alone["high"] - alone["low"])


def test_equal_predictions_decide_nothing_and_the_command_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "protocol.yaml").write_text(CLASSIFICATION)
    arguments = ("validate", folder / "pred", folder / "people.csv", "-o", folder / "out")
    assert run(*arguments, "--protocol", folder / "protocol.yaml", "--against", folder / "pred") == 0
    assert "rank the patients alike" in " ".join(capsys.readouterr().out.split())
    assert run(*arguments, "--against", folder / "pred") == 3  # nothing to compare


def test_label_maps_and_probabilities_of_one_study_are_both_compared(tmp_path: Path) -> None:
    references(tmp_path / "ref", ("a", "b", "c", "d"))
    rows = "case,dx\na,AD\nb,CN\nc,AD\nd,CN\n"
    (tmp_path / "ref" / "participants.csv").write_text(rows)
    for name, chances in (("one", (0.9, 0.1, 0.8, 0.3)), ("two", (0.4, 0.6, 0.8, 0.3))):
        write(tmp_path / name, {case: truth(seed) for seed, case in enumerate("abcd")})
        lines = "".join(f"{case},{chance}\n" for case, chance in zip("abcd", chances, strict=True))
        (tmp_path / name / "scores.csv").write_text("case,dementia_probability\n" + lines)
    (tmp_path / "protocol.yaml").write_text("labels: {A: 1, B: 2}\n" + CLASSIFICATION)
    done = validate(
        *(tmp_path / "one", tmp_path / "ref", tmp_path / "out", tmp_path / "protocol.yaml"),
        against=tmp_path / "two",
    )
    assert done.record["comparison"]["mean"]["gain"]["estimate"] == 0
    assert done.record["comparison_auc"]["gain"]["estimate"] == pytest.approx(0.25)


def test_perfect_calls_of_a_few_patients_with_two_scans_are_no_certainty(folder: Path) -> None:
    """No sample of patients can show another AUC than 1: a bootstrap would claim an interval of no width."""
    perfect = np.where(ILL, 0.9, 0.1)
    write_scores(folder / "pred", perfect)
    write_scores(folder / "poor", perfect)
    write_people(folder, pairs=True)
    record = record_in(folder, CLASSIFICATION + "primary: {metric: auc, threshold: 0.95}\n", against="poor")
    found = record["classification"]["all"]
    assert found["auc"]["estimate"] == 1
    assert found["auc"]["low"] == pytest.approx(score_interval(1, 15, 15)[0])
    assert record["endpoints"][0]["verdict"] == "not met"
    for name in ("sensitivity", "specificity"):
        rate = found["performance"][name]
        assert (rate["estimate"], rate["n"], rate["n_patients"]) == (1, 30, 15)
        assert rate["low"] == pytest.approx(wilson(15, 15).low)
    groups = [one for part in record["call_groups"] for one in part["groups"] if one["column"] == "sex"]
    assert {one["group"] for one in groups} == {"F", "M"}
    assert all(one["difference"]["low"] is None for one in groups)  # 0 in every sample of patients
    assert record["comparison_auc"]["gain"]["low"] is None
    assert "verdict" not in record["comparison_auc"]
    assert "cannot be decided" in words(record, 5)
