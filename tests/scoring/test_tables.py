"""Columns of scores.csv: one bundle's numbers never stand under another's name."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from lnn_med.scoring.manifest import NIFTI, Scan
from lnn_med.scoring.participants import Participants
from lnn_med.scoring.tables import write_scores


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


def test_an_empty_run_still_has_a_header(tmp_path: Path) -> None:
    write_scores(tmp_path, [], Participants())
    assert (tmp_path / "scores.csv").read_text().startswith("case,path,kind,series_uid,qc,")
