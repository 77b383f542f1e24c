"""The record behind result.json, volumes.csv and every table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import lnn_med.io.result_record as module
from lnn_med.io.result_record import VOLUME_COLUMNS, result_record, volume_rows
from tests.classified import REASON, abstained, answered
from tests.predictions import CANARY, CANARY_ID, make_crop_prediction, make_prediction

SCHEMA = json.loads((Path(module.__file__).parent / "result.schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "prediction",
    [make_prediction(), make_prediction("review"), make_prediction("fail"), make_crop_prediction()],
    ids=["pass", "review", "fail", "crop"],
)
def test_record_fits_the_documented_schema(prediction):
    record = json.loads(json.dumps(result_record(prediction), allow_nan=False))
    jsonschema.Draft202012Validator(SCHEMA).validate(record)


def test_schema_refuses_an_unknown_key_and_a_missing_one():
    record = result_record(make_prediction())
    for broken in ({**record, "extra": 1}, {key: record[key] for key in record if key != "qc"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMA)


def test_numbers_are_rounded_once_and_ordered():
    record = result_record(make_prediction())
    assert record["derived"] == {
        "icv_mm3": 1412345.7,
        "hippocampus_asymmetry_pct": 38.2,
        "intracranial_fraction": None,
    }
    assert record["compute"]["seconds"] == 1.235
    assert record["compute"]["fraction"] == 0.3333
    assert list(record["compute"]["depth_histogram"].items()) == [("2", 0.75), ("8", 0.25)]
    assert record["classification"][0] == {
        "target": "dementia",
        "probability": 0.1235,
        "prediction_set": ["no"],
        "coverage": 0.9,
    }
    assert record["input"]["orientation"] == "LPS"
    assert record["input"]["spacing_mm"] == [1.5, 2.0, 2.5]


def test_fail_prints_no_measured_number():
    record = result_record(make_prediction("fail"))
    measured = ("volume_mm3", "interval_mm3", "coverage", "mean_depth")
    assert record["structures"]
    assert all(entry[key] is None for entry in record["structures"] for key in measured)
    assert set(record["derived"].values()) == {None}
    assert record["classification"] == [
        {"target": "dementia", "probability": None, "prediction_set": None, "coverage": None}
    ]
    assert record["qc"] == {"status": "fail", "reasons": ["Field of view is cut."]}
    rows = volume_rows(record)
    assert [row["name"] for row in rows] == [entry["name"] for entry in record["structures"]]
    assert all(row[column] is None for row in rows for column in VOLUME_COLUMNS[3:])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float32("nan")])
def test_a_number_that_json_cannot_hold_is_refused_by_name(bad):
    with pytest.raises(ValueError, match="icv_mm3"):
        result_record(replace(make_prediction(), derived={"icv_mm3": bad}))


def classified(entries, status="pass"):
    made = replace(make_prediction(status), classification=entries)
    made = replace(made, derived={**made.derived, "brain_age_years": 71.2567})
    return json.loads(json.dumps(result_record(made), allow_nan=False))


def test_what_classifiers_say_is_rounded_at_any_depth_and_fits_the_schema():
    record = classified(answered())
    jsonschema.validate(record, SCHEMA)
    risk, network = record["classification"]
    assert risk["reliability"]["auc"] == [0.8712, 0.81, 0.92]
    assert risk["reliability"]["ece"] == 0.0512
    assert risk["drivers"]["log Hippocampus"] == -0.5124
    assert (network["evidence"]["Hippocampus"], network["exit"]) == (0.4124, 1)
    assert network["brain_age_mae_years"] == 6.2
    assert record["derived"]["brain_age_years"] == 71.3


def test_an_abstained_answer_has_its_reason_and_no_number():
    record = classified(abstained())
    jsonschema.validate(record, SCHEMA)
    assert {entry["abstained"] for entry in record["classification"]} == {REASON}
    assert {entry["probability"] for entry in record["classification"]} == {None}


def test_after_a_fail_nothing_of_a_classifier_is_left_but_its_name():
    record = classified(answered(), "fail")
    jsonschema.validate(record, SCHEMA)
    for entry in record["classification"]:
        assert {key for key, value in entry.items() if value is not None} == {"target", "bundle"}


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        ({"prob": 0.2}, "an unknown field"),
        ({"abstained": "Because."}, "a reason beside a number"),
        ({"abstained": ""}, "no reason"),
        ({"known": ["age", "height"]}, "a value that no model knows"),
        ({"reliability": {"people": 3}}, "half a reliability"),
        ({"prediction_set": ["dementia", "dementia"]}, "a class twice"),
        ({"drivers": {"age": "large"}}, "a word for a number"),
        ({"exit": 0}, "exits count from 1"),
    ],
)
def test_schema_refuses_a_classification_that_contradicts_itself(changes, remark):
    record = classified(answered())
    record["classification"][0] |= changes
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record, SCHEMA)


def test_numpy_numbers_become_plain_ones():
    made = make_prediction()
    structures = (replace(made.structures[0], volume_mm3=np.float32(12.34)),)
    entry = {
        "target": "dementia",
        "probability": np.float32(0.5),
        "prediction_set": [np.float64(1)],
        "coverage": None,
    }
    record = result_record(replace(made, structures=structures, classification=(entry,)))
    assert json.loads(json.dumps(record)) == record
    assert record["structures"][0]["volume_mm3"] == 12.3


def test_patient_data_is_not_in_the_record():
    text = json.dumps(result_record(make_prediction()))
    assert CANARY not in text
    assert CANARY_ID not in text
