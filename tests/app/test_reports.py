"""Reports made from the viewer: what may be chosen, and that the report is that of `validate`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from app.parts.estimates import estimate_tables
from app.parts.runs import REFERENCES, protocols_of, references_of
from app.report_task import MakeReport, next_folder
from lnn_med.io.nifti import write_nifti
from lnn_med.scoring.runner import score
from tests.app.serve import StandIn
from tests.phantoms import mirrored, phantom


def test_references_and_protocols_lie_beside_the_runs(tmp_path: Path) -> None:
    assert (references_of(None), protocols_of(None)) == ({}, {})
    assert (references_of(tmp_path), protocols_of(tmp_path)) == ({}, {})
    (tmp_path / REFERENCES / "manual").mkdir(parents=True)
    (tmp_path / REFERENCES / "first.yaml").write_text("")
    assert list(references_of(tmp_path)) == ["manual"]
    assert list(protocols_of(tmp_path)) == ["first.yaml"]


def test_a_report_never_replaces_an_earlier_one(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        folder = next_folder(tmp_path)
        folder.mkdir()
        names.append(folder.name)
    assert names == ["report", "report-2", "report-3"]


def test_a_run_is_compared_with_its_reference(tmp_path: Path) -> None:
    small = phantom((22, 26, 18), (3.2, 3.8, 4.6))
    (tmp_path / "scans").mkdir()
    for name, head in (("sub-01", small), ("sub-02", mirrored(small))):
        write_nifti(head, tmp_path / "scans" / f"{name}.nii.gz")
    score(tmp_path / "scans", tmp_path / "run", models=StandIn(own_process=False), workers=0)
    (tmp_path / "manual").mkdir()
    for name in ("sub-01", "sub-02"):
        source = tmp_path / "run" / "cases" / name / "segmentation.nii.gz"
        shutil.copy(source, tmp_path / "manual" / f"{name}.nii.gz")
    said: list[str] = []
    out = next_folder(tmp_path / "run")
    answer = MakeReport(str(tmp_path / "run"), str(tmp_path / "manual"), str(out)).run(None, said.append)
    assert answer["problems"] == 0
    assert {"report.json", "report.html", "report.pdf"} <= set(answer["files"])
    record = json.loads((out / "report.json").read_bytes())
    assert record["flow"]["analysed"] == 2
    assert record["endpoints"] == []
    assert "1.000 (1.000 to 1.000)" in estimate_tables(record)[0]  # the reference is the run's own labels
    assert said[0] == "Comparing"
    assert said[-1] == "Writing the report"
