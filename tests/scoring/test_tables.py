"""Columns of scores.csv: one bundle's numbers never stand under another's name."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from pyarrow import parquet

from lnn_med.scoring.manifest import NIFTI, Scan
from lnn_med.scoring.participants import Participants
from lnn_med.scoring.tables import write_scores
from tests.classified import REASON, abstained, answered

TARGETS = ("dementia", "dementia_network")


def structure(name: str, bundle: str, volume_mm3: float | None) -> dict[str, Any]:
    return {"name": name, "bundle": bundle, "volume_mm3": volume_mm3, "interval_mm3": None}


def write_case(
    run: Path, case: str, structures: list[dict[str, Any]], probability: float | None = None
) -> Scan:
    folder = run / "cases" / case
    folder.mkdir(parents=True)
    classification = [] if probability is None else [{"target": "dementia", "probability": probability}]
    record = {
        "qc": {"status": "pass", "reasons": []},
        "warnings": [{"code": "W_OOD", "message": "x"}, {"code": "W_OOD", "message": "y"}],
        "model": [],
        "compute": {"seconds": 1.0, "fraction": 0.5},
        "derived": {},
        "classification": classification,
        "structures": structures,
    }
    (folder / "result.json").write_text(json.dumps(record))
    return Scan(case, f"{case}.nii", NIFTI, None, (f"{case}.nii",))


def test_a_structure_of_two_bundles_has_a_column_for_each_in_every_row(tmp_path: Path) -> None:
    both = [
        structure("Hippocampus_L", "brain-t1", 3000.5),
        structure("Hippocampus_L", "hippocampus-t1", 2900.0),
    ]
    scans = [
        write_case(tmp_path, "a", both, 0.25),
        write_case(tmp_path, "b", [structure("Hippocampus_L", "hippocampus-t1", 2800.0)]),
        write_case(tmp_path, "c", [structure("Amygdala_L", "brain-t1", None)]),
    ]
    write_scores(tmp_path, scans, Participants())
    with (tmp_path / "scores.csv").open(newline="") as stream:
        first, second, third = csv.DictReader(stream)
    assert "Hippocampus_L_mm3" not in first
    assert first["Hippocampus_L@brain-t1_mm3"] == "3000.5"
    assert first["Hippocampus_L@hippocampus-t1_mm3"] == "2900.0"
    assert (second["Hippocampus_L@brain-t1_mm3"], second["Hippocampus_L@hippocampus-t1_mm3"]) == (
        "",
        "2800.0",
    )
    assert third["Amygdala_L_mm3"] == ""  # QC failed: no number
    assert (first["dementia_probability"], second["dementia_probability"]) == ("0.25", "")
    assert first["warnings"] == "W_OOD"


def test_answers_of_classifiers_have_columns_and_an_abstained_one_only_its_reason(tmp_path: Path) -> None:
    scans = [write_case(tmp_path, case, [structure("Amygdala_L", "brain-t1", 1.0)]) for case in "abc"]
    entries = {"a": answered(), "b": abstained(), "c": ()}
    for case, said in entries.items():
        path = tmp_path / "cases" / case / "result.json"
        age = {"a": 71.3, "b": None}.get(case)
        derived = {} if case == "c" else {"brain_age_years": age}
        path.write_text(
            json.dumps(json.loads(path.read_text()) | {"classification": said, "derived": derived})
        )
    table = write_scores(tmp_path, scans, Participants())
    with (tmp_path / "scores.csv").open(newline="") as stream:
        first, second, third = csv.DictReader(stream)
    names = ("probability", "set", "known", "abstained")
    told = [tuple(first[f"{target}_{name}"] for name in names) for target in TARGETS]
    assert told == [("0.34217", "no dementia; dementia", "age sex", ""), ("0.41", "dementia", "age sex", "")]
    assert [tuple(second[f"{target}_{name}"] for name in names) for target in TARGETS] == [
        ("", "", "", REASON)
    ] * 2
    assert {third[f"{target}_{name}"] for target in TARGETS for name in names} == {""}
    assert [row["brain_age_years"] for row in (first, second, third)] == ["71.3", "", ""]
    assert {f"{target}_probability" for target in TARGETS} | {"brain_age_years"} <= set(table.measured)
    assert not {f"{target}_{name}" for target in TARGETS for name in names[1:]} & set(table.measured)
    frame = parquet.read_table(tmp_path / "scores.parquet")
    assert frame["dementia_set"].to_pylist() == ["no dementia; dementia", None, None]
    assert frame["dementia_probability"].to_pylist() == [0.34217, None, None]


def test_an_empty_run_still_has_a_header(tmp_path: Path) -> None:
    write_scores(tmp_path, [], Participants())
    assert (tmp_path / "scores.csv").read_text().startswith("case,path,kind,series_uid,qc,")
