"""The numbers of a validation: worst values for what is missing, patients as units, checked by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lnn_med.evaluation.comparing import Comparison
from lnn_med.evaluation.report.sections.document import document
from lnn_med.evaluation.results.cases import column
from lnn_med.evaluation.validation import Study, read_study, record_of
from tests.evaluation.label_maps import (
    NAMES,
    SPACING_MM,
    on_larger_grid,
    references,
    shifted,
    truth,
    write,
)
from tests.phantoms import reordered

LABELS = {"A": 1, "B": 2}


def study(tmp_path: Path, predicted: Mapping[str, Any], table: str = "", protocol: str = "") -> Study:
    """Five references against the given predictions."""
    references(tmp_path / "ref")
    write(tmp_path / "pred", dict(predicted))
    if table:
        (tmp_path / "ref" / "participants.csv").write_text(table)
    path = tmp_path / "protocol.yaml"
    path.write_text(protocol or "id: test\n")
    return read_study(tmp_path / "pred", tmp_path / "ref", path, LABELS, None, lambda done, total: None)


def every(change: Any = lambda volume: volume) -> dict[str, Any]:
    return {name: change(truth(seed)) for seed, name in enumerate(NAMES)}


def mean_dsc(comparison: Comparison, missing: str = "worst") -> float:
    return float(np.mean(column(comparison, "dsc", missing=missing).values))


def test_equal_maps_agree_perfectly(tmp_path: Path) -> None:
    record = record_of(study(tmp_path, every()), "")
    mean = record["segmentation"]["mean"]["all"]
    assert mean["dsc"]["estimate"] == 1
    assert mean["msd_mm"]["estimate"] == 0
    assert record["failures"] == []


def test_a_missing_prediction_counts_with_the_worst_value_and_a_second_table_leaves_it_out(
    tmp_path: Path,
) -> None:
    predicted = every()
    del predicted["c"]
    found = study(tmp_path, predicted)
    assert mean_dsc(found.comparison) == pytest.approx(4 / 5)
    assert mean_dsc(found.comparison, "leave_out") == 1
    record = record_of(found, "")
    worst = record["segmentation"]["mean"]
    diagonal = float(np.linalg.norm(np.array(truth().shape) * SPACING_MM))
    assert worst["all"]["hd95_mm"]["max"] == pytest.approx(diagonal)
    assert worst["without_missing"]["hd95_mm"]["max"] == 0
    assert [row["case"] for row in record["failures"]] == ["c"]


def test_the_protocol_can_turn_the_rule_round_and_both_numbers_stay(tmp_path: Path) -> None:
    predicted = every()
    del predicted["c"]
    endpoint = "primary: {metric: dsc, threshold: 0.9, rule: estimate}\n"
    (worst,) = record_of(study(tmp_path / "1", predicted, protocol=endpoint), "")["endpoints"]
    (left,) = record_of(study(tmp_path / "2", predicted, protocol=endpoint + "missing: leave_out\n"), "")[
        "endpoints"
    ]
    assert (worst["verdict"], worst["other_verdict"]) == ("not met", "met")
    assert (left["verdict"], left["other_verdict"]) == ("met", "not met")


def test_another_grid_is_never_resampled_but_another_axis_order_is_the_same_grid(tmp_path: Path) -> None:
    predicted = every() | {
        "b": on_larger_grid(truth(1)),
        "d": reordered(truth(3), "LPI"),
        "e": reordered(truth(4), "SAL"),
    }
    record = record_of(study(tmp_path, predicted), "")
    states = {case["case"]: (case["code"], case["structures"]["A"]["dsc"]) for case in record["cases"]}
    assert states["b"] == ("E_GEOMETRY", 0)
    assert states["d"] == states["e"] == (None, 1)


def test_left_and_right_cannot_be_exchanged_unseen(tmp_path: Path) -> None:
    predicted = every() | {"a": truth(0).with_data(np.flip(truth(0).data, 0).copy())}
    record = record_of(study(tmp_path, predicted), "")
    assert record["cases"][0]["structures"]["A"]["dsc"] < 0.6


def test_an_unreadable_prediction_is_missing_and_an_unreadable_reference_is_no_case(tmp_path: Path) -> None:
    references(tmp_path / "ref")
    write(tmp_path / "pred", every())
    (tmp_path / "pred" / "a.nii.gz").write_bytes(b"")
    (tmp_path / "ref" / "b.nii.gz").write_bytes(b"no image")
    found = read_study(tmp_path / "pred", tmp_path / "ref", None, LABELS, None, lambda done, total: None)
    record = record_of(found, "")
    assert {row["case"]: row["code"] for row in record["failures"]} == {"a": "E_EMPTY", "b": "E_GZIP"}
    assert [case["case"] for case in record["cases"]] == ["a", "c", "d", "e"]
    assert mean_dsc(found.comparison) == pytest.approx(3 / 4)
    steps = {step["step"]: step["n"] for step in record["flow"]["steps"]}
    assert steps == {"received": 5, "eligible": 5, "readable": 3, "scored": 3}


def test_empty_sides_follow_the_rules(tmp_path: Path) -> None:
    def without(volume: Any, label: int) -> Any:
        return volume.with_data(np.where(volume.data == label, 0, volume.data))

    predicted = every() | {"a": without(truth(0), 2), "b": without(truth(1), 2)}
    references(tmp_path / "ref")
    write(tmp_path / "pred", predicted)
    write(tmp_path / "ref", {"b": without(truth(1), 2), "c": truth(2).with_data(truth(2).data * 0)})
    found = read_study(tmp_path / "pred", tmp_path / "ref", None, LABELS, None, lambda done, total: None)
    record = record_of(found, "")
    states = {case["case"]: case["structures"]["B"] for case in record["cases"]}
    assert (states["a"]["state"], states["a"]["dsc"]) == ("prediction_empty", 0)
    assert (states["b"]["state"], states["b"]["dsc"]) == ("both_empty", 1)
    assert (states["c"]["state"], states["c"]["dsc"]) == ("reference_empty", 0)
    part = next(one for one in record["segmentation"]["structures"] if one["name"] == "B")
    assert (part["n_both_empty"], part["n_reference_empty"], part["n_prediction_empty"]) == (1, 1, 1)
    assert record["segmentation"]["empty_references"] == ["c"]


def test_a_class_absent_everywhere_is_in_no_mean_and_is_named(tmp_path: Path) -> None:
    references(tmp_path / "ref")
    write(tmp_path / "pred", every(shifted))
    labels = LABELS | {"Nowhere": 9}
    with_it = read_study(tmp_path / "pred", tmp_path / "ref", None, labels, None, lambda done, total: None)
    without = read_study(tmp_path / "pred", tmp_path / "ref", None, LABELS, None, lambda done, total: None)
    assert mean_dsc(with_it.comparison) == mean_dsc(without.comparison) < 1
    assert record_of(with_it, "")["segmentation"]["absent_everywhere"] == ["Nowhere"]


def test_two_scans_of_one_patient_are_one_unit(tmp_path: Path) -> None:
    table = "case,patient,visit\na,P1,1\nb,P1,1\nc,P2,1\nd,P3,1\ne,P4,1\n"
    record = record_of(study(tmp_path, every(shifted), table), "")
    number = record["segmentation"]["mean"]["all"]["dsc"]
    assert (number["n"], number["n_patients"]) == (5, 4)
    assert record["people"]["n_patients_with_several"] == 1
    assert record["repeats"][0]["n_subjects"] == 1
    assert {case["patient"] for case in record["cases"]} == {"P0001", "P0002", "P0003", "P0004"}


def test_excluded_cases_and_extra_predictions_are_counted_apart(tmp_path: Path) -> None:
    table = "case,eligible,exclusion_reason\na,yes,\nb,no,tumour\nc,,\nd,1,\ne,yes,\n"
    record = record_of(study(tmp_path, every() | {"z": truth()}, table), "")
    steps = {step["step"]: (step["n"], step["lost"]) for step in record["flow"]["steps"]}
    assert steps["received"] == (6, 0)
    assert steps["eligible"] == (4, 2)
    assert record["flow"]["analysed"] == 4


def test_subgroups_show_small_groups_and_missing_values(tmp_path: Path) -> None:
    table = "case,sex,age\na,F,55\nb,M,\nc,f,66\nd,nan,71\ne,M,NaN\n"
    groups = record_of(study(tmp_path, every(shifted), table), "")["subgroups"]["groups"]
    found = {(one["column"], one["group"]): one["n_patients"] for one in groups}
    assert found[("sex", "F")] == 2  # f and F are one group
    assert found[("sex", "missing")] == 1
    assert found[("age", "missing")] == 2
    assert all(one["note"] == "too few (n < 20)" for one in groups)


def test_a_missing_probability_is_the_wrong_call(tmp_path: Path) -> None:
    table = "case,dx\na,yes\nb,yes\nc,no\nd,no\ne,nan\n"
    protocol = "classification: {reference: dx, positive: ['yes'], threshold: 0.5}\n"
    write(tmp_path / "pred", {})
    (tmp_path / "pred" / "scores.csv").write_text("case,dementia_probability\na,0.9\nc,0.1\nd,0.2\ne,0.9\n")
    record = record_of(study(tmp_path, every(), table, protocol), "")["classification"]
    assert (record["n"], record["n_missing"], record["n_without_reference"]) == (4, 1, 1)
    assert record["all"]["performance"]["sensitivity"]["estimate"] == 0.5
    assert record["without_missing"]["performance"]["sensitivity"]["estimate"] == 1
    assert record["all"]["auc"]["estimate"] == 0.5  # b below both of the well
    assert record["without_missing"]["auc"]["estimate"] == 1


def test_the_training_table_finds_people_seen_before(tmp_path: Path) -> None:
    (tmp_path / "training.csv").write_text("case,patient\nx,P1\nc,P9\n")
    table = "case,patient\na,P1\nb,P2\nc,P3\nd,P4\ne,P5\n"
    found = study(tmp_path, every(), table, "training_table: training.csv\n")
    assert record_of(found, "")["leakage"]["found"]["train"] == ["a", "c"]


def test_a_second_reader_is_compared_with_the_reference(tmp_path: Path) -> None:
    write(tmp_path / "reader", {"a": truth(0), "b": shifted(truth(1)), "c": truth(2)})
    readers = record_of(study(tmp_path, every(), protocol="second_reader: reader\n"), "")["readers"]
    assert readers["n"] == 3
    first = readers["segmentation"]["structures"][0]["all"]["dsc"]
    assert 0 < first["min"] < first["max"] == 1


def test_training_cases_of_weights_that_are_not_installed_are_not_known(tmp_path: Path) -> None:
    found = study(tmp_path, every())
    models = {"bundles": [{"name": "brain-t1", "version": "0", "weights_sha256": "0" * 64}]}
    other = replace(found, predictions=replace(found.predictions, models=models))
    assert record_of(other, "")["leakage"]["unknown"] == ["brain-t1"]


def test_a_training_scan_under_another_name_is_known_by_its_voxels(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "SHA256SUMS").write_text(f"{'e' * 64}  weights.safetensors\n")
    (bundle / "bundle.yaml").write_text(
        f"split: {{train: [x], val: [y]}}\npixels: {{x: '{'1' * 16}', y: '{'2' * 16}'}}\n"
    )
    models = {
        "options": {"bundle": [str(bundle)]},
        "bundles": [{"name": "mine", "version": "0", "weights_sha256": "e" * 64}],
    }
    found = study(tmp_path, every())
    hashes = {"a": "1" * 64, "b": "2" * 64, "c": "3" * 64}
    known = {
        pair.prediction.case: replace(
            pair, prediction=replace(pair.prediction, pixels_sha256=hashes.get(pair.prediction.case))
        )
        for pair in found.matched.pairs
        if pair.prediction
    }
    cases = tuple(replace(case, pair=known[case.name]) for case in found.comparison.cases)
    ours = replace(
        found,
        predictions=replace(found.predictions, models=models),
        matched=replace(found.matched, pairs=tuple(known.values())),
        comparison=replace(found.comparison, cases=cases),
    )
    leakage = record_of(ours, "")["leakage"]
    assert leakage["found"] == {"train": ["a"], "val": ["b"], "calibration": []}
    assert leakage["compared"] == ["case names", "voxels"]


def test_cases_that_a_bundle_was_calibrated_on_are_told_even_when_they_chose_it_too(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "SHA256SUMS").write_text(f"{'e' * 64}  weights.safetensors\n")
    (bundle / "bundle.yaml").write_text("split: {train: [a], val: [a, b, c], calibration: [d]}\n")
    models = {
        "options": {"bundle": [str(bundle)]},
        "bundles": [{"name": "mine", "version": "0", "weights_sha256": "e" * 64}],
    }
    found = study(tmp_path, every())
    ours = replace(found, predictions=replace(found.predictions, models=models))
    assert record_of(ours, "")["leakage"]["found"] == {
        "train": ["a"],
        "val": ["b", "c"],
        "calibration": ["d"],
    }
    (bundle / "calibration.json").write_text('{"splits": ["val", "calibration"]}')
    record = record_of(ours, "")
    assert record["leakage"]["found"] == {"train": ["a"], "val": ["b", "c"], "calibration": ["b", "c", "d"]}
    limits = json.dumps([dict(block) for block in document({**record, "sha256": ""})[15].blocks])
    assert "fitted on 3 analysed cases too" in limits
